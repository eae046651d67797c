//! Every allocation with a tag. The blocks stay in the index and are listed from there, so that
//! a list of all blocks needs no additional memory.

use rustc_hash::FxHashMap;

use crate::analysis::Coverage;
use crate::command::request::PoolChoice;
use crate::memory::Va;
use crate::pool::TagPattern;
use crate::pool::block::{Backend, Block, PoolKind, State};
use crate::pool::index::{Found, SizeCount, Snapshot};

use super::Engine;
use super::info::RegionFacts;

/// The answer of `allocs`.
#[derive(Debug)]
pub struct Allocs<'a> {
    index: &'a Snapshot,
    heuristic: bool,
    pool: PoolChoice,
    /// Which tags.
    pub pattern: &'a TagPattern,
    /// Where the table of large allocations is.
    pub big_table: Option<(Va, Va)>,
    /// The regions that were searched.
    pub regions: Vec<RegionFacts>,
    /// The kernel's accounts against the blocks found.
    pub coverage: Coverage,
    /// What the list adds up to.
    pub summary: Summary,
}

/// What a list adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Allocated blocks of nonpaged pool.
    pub nonpaged: Found,
    /// Of paged pool.
    pub paged: Found,
    /// Of session pool; `None` where no session's pool was walked.
    pub session: Option<Found>,
    /// All of those together.
    pub all: Found,
    /// Of those recognised by their headers alone; in none of the sums above.
    pub heuristic: Found,
    /// Blocks recognised by their headers alone that the list leaves out.
    pub withheld: u64,
    /// Pages that may hold further blocks.
    pub unreadable_pages: u64,
    /// What the kernel counts.
    pub tracker: Option<TrackerSide>,
    /// Everything that was counted was found and is listed.
    pub complete: bool,
    /// Blocks that are counted but not listed, because of the memory limit.
    pub left_out: u64,
    /// What the walk could not do, as sentences.
    pub notes: Vec<String>,
    /// Sizes of the allocated blocks listed; those that take the most bytes first.
    pub sizes: Vec<SizeCount>,
}

/// What the kernel counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackerSide {
    /// Nonpaged pool.
    pub nonpaged: Found,
    /// Paged pool.
    pub paged: Found,
    /// Session pool, where it was walked.
    pub session: Option<Found>,
}

fn sum(parts: &[Found]) -> Found {
    parts.iter().fold(Found::default(), |all, part| Found {
        blocks: all.blocks.saturating_add(part.blocks),
        bytes: all.bytes.saturating_add(part.bytes),
    })
}

impl Summary {
    /// Of the blocks of an index.
    pub fn of(
        index: &Snapshot,
        pattern: &TagPattern,
        coverage: &Coverage,
        heuristic: bool,
    ) -> Summary {
        let c = coverage;
        let (nonpaged, paged, session) = (c.nonpaged.found, c.paged.found, c.session.found);
        let likely = sum(&[&c.nonpaged, &c.paged, &c.session].map(|side| side.heuristic));
        let both = c.nonpaged.tracker.zip(c.paged.tracker);
        Summary {
            nonpaged,
            paged,
            session: index.has_sessions().then_some(session),
            all: sum(&[nonpaged, paged, session]),
            heuristic: likely,
            withheld: if heuristic { 0 } else { likely.blocks },
            unreadable_pages: c.unreadable_pages(),
            tracker: both.map(|(nonpaged, paged)| TrackerSide {
                nonpaged,
                paged,
                session: c.session.tracker,
            }),
            complete: c.complete && index.left_out_of(pattern) == 0,
            left_out: index.left_out_of(pattern),
            notes: index.notes.to_vec(),
            sizes: index.sizes(pattern),
        }
    }
}

impl<'a> Allocs<'a> {
    /// Of the blocks of an index, what was counted, and where was searched.
    pub fn of(
        index: &'a Snapshot,
        pattern: &'a TagPattern,
        heuristic: bool,
        coverage: Coverage,
        big_table: Option<(Va, Va)>,
        regions: Vec<RegionFacts>,
    ) -> Allocs<'a> {
        Allocs {
            index,
            heuristic,
            pool: PoolChoice::Both,
            pattern,
            big_table,
            regions,
            summary: Summary::of(index, pattern, &coverage, heuristic),
            coverage,
        }
    }

    /// The rows of the list, by address.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        let all = self.index.matching(self.pattern);
        all.filter(|block| (self.heuristic || !block.heuristic) && is_of(block, self.pool))
    }

    /// The same of one pool alone. The sums by pool stay; those of the list are the pool's.
    #[must_use]
    pub fn only(mut self, pool: PoolChoice) -> Self {
        self.pool = pool;
        if pool == PoolChoice::Both {
            return self;
        }
        let mut all = Found::default();
        let mut sizes: FxHashMap<u64, u64> = FxHashMap::default();
        let counted = |b: &Block| !b.heuristic && b.state == State::Allocated;
        for block in self.blocks().filter(counted) {
            all.blocks += 1;
            all.bytes = all.bytes.saturating_add(block.bytes);
            *sizes.entry(block.bytes).or_default() += 1;
        }
        let sizes = sizes.into_iter();
        let mut sizes: Vec<_> = sizes
            .map(|(size, count)| SizeCount { size, count })
            .collect();
        sizes.sort_by_key(|s| std::cmp::Reverse((s.bytes(), s.size)));
        self.summary.all = all;
        self.summary.sizes = sizes;
        self
    }

    /// True when blocks of session pool may be among them.
    pub fn has_sessions(&self) -> bool {
        self.index.has_sessions()
    }

    /// True when blocks recognised by their headers alone may be among them.
    pub fn has_heuristic(&self) -> bool {
        self.heuristic && self.index.has_heuristic()
    }
}

/// True for a block of the pool that was asked for.
fn is_of(block: &Block, pool: PoolChoice) -> bool {
    match pool {
        PoolChoice::Both => true,
        PoolChoice::Nonpaged => block.kind.is_nonpaged(),
        PoolChoice::Paged => !block.kind.is_nonpaged(),
        PoolChoice::Session => block.kind == PoolKind::Session,
        PoolChoice::Special => block.backend == Backend::Special,
    }
}

impl Engine {
    /// The allocations of the tags that match a pattern. Blocks recognised by their headers
    /// alone may have been freed: they are counted, and listed only with `heuristic`.
    pub fn allocs<'a>(
        &self,
        index: &'a Snapshot,
        pattern: &'a TagPattern,
        heuristic: bool,
    ) -> Allocs<'a> {
        let coverage = self.coverage_of(pattern, index);
        let table = self.big().table;
        Allocs::of(
            index,
            pattern,
            heuristic,
            coverage,
            table,
            self.info().regions,
        )
    }
}
