//! The allocations of tags. Blocks are listed directly from the index, so a list of all blocks
//! needs no additional memory.

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
    /// The selected tags.
    pub pattern: &'a TagPattern,
    /// The address range of the big page table.
    pub big_table: Option<(Va, Va)>,
    /// The regions that were searched.
    pub regions: Vec<RegionFacts>,
    /// The coverage of the selected tags.
    pub coverage: Coverage,
    /// The sums of the list.
    pub summary: Summary,
}

/// The sums of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Allocated blocks in nonpaged pool.
    pub nonpaged: Found,
    /// Allocated blocks in paged pool.
    pub paged: Found,
    /// Allocated blocks in session pool; `None` if no session's pool was walked.
    pub session: Option<Found>,
    /// Allocated blocks in all pools.
    pub all: Found,
    /// Listed heuristic blocks; not included in the sums above.
    pub heuristic: Found,
    /// Number of heuristic blocks that the list omits.
    pub withheld: u64,
    /// Number of unreadable pages, which may contain further blocks.
    pub unreadable_pages: u64,
    /// The kernel's counts.
    pub tracker: Option<TrackerSide>,
    /// True if all counted allocations were located and are listed.
    pub complete: bool,
    /// Number of located blocks that are not listed because of the memory limit.
    pub left_out: u64,
    /// Limitations of the walk, as sentences.
    pub notes: Vec<String>,
    /// Sizes of the listed allocated blocks, by total bytes, descending.
    pub sizes: Vec<SizeCount>,
}

/// The kernel's counts by pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackerSide {
    /// Nonpaged pool.
    pub nonpaged: Found,
    /// Paged pool.
    pub paged: Found,
    /// Session pool, if it was walked.
    pub session: Option<Found>,
}

fn sum(parts: &[Found]) -> Found {
    parts.iter().fold(Found::default(), |all, part| Found {
        blocks: all.blocks.saturating_add(part.blocks),
        bytes: all.bytes.saturating_add(part.bytes),
    })
}

impl Summary {
    /// The sums of an index's blocks.
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
    /// The answer from an index, with the kernel's counts and the searched regions.
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

    /// The rows of the list, sorted by address.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        let all = self.index.matching(self.pattern);
        all.filter(|block| (self.heuristic || !block.heuristic) && is_of(block, self.pool))
    }

    /// Restricts the list to one pool. The sums by pool stay; those of the list become the
    /// pool's.
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

    /// True if the list may contain blocks of session pool.
    pub fn has_sessions(&self) -> bool {
        self.index.has_sessions()
    }

    /// True if the list may contain heuristic blocks.
    pub fn has_heuristic(&self) -> bool {
        self.heuristic && self.index.has_heuristic()
    }
}

/// True for a block of the selected pool.
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
    /// The allocations of the tags that match a pattern. Heuristic blocks may have been freed:
    /// they are counted, and listed only if `heuristic` is true.
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
