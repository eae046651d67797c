//! Every allocation with a tag. The blocks stay in the index and are listed from there,
//! so that a list of all blocks needs no memory of its own.

use crate::analysis::Coverage;
use crate::memory::Va;
use crate::pool::TagPattern;
use crate::pool::block::Block;
use crate::pool::index::{Found, SizeCount, Snapshot};

use super::Engine;
use super::info::RegionFacts;

/// The answer of `allocs`.
#[derive(Debug)]
pub struct Allocs<'a> {
    index: &'a Snapshot,
    heuristic: bool,
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
    /// Blocks that are counted and in no list, for want of memory.
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
            complete: c.complete && index.left_out == 0,
            left_out: index.left_out,
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
        all.filter(|block| self.heuristic || !block.heuristic)
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
