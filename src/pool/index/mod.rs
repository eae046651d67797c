//! The index: every block of the pool, by tag, built in parallel and used while it grows.
//!
//! The pool regions are cut into windows of 64 MB; each is walked by one worker into a
//! [`Segment`]; a [`Snapshot`] is what is finished so far, cheap to take and to share.

mod address_histogram;
mod build;
mod collector;
pub mod file;
#[cfg(test)]
mod fixture;
mod heaps;
mod histogram;
mod lookup;
mod overlaps;
mod page_use;
mod partition;
mod progress;
mod query;
mod read_ahead;
mod realm;
mod segment;
pub mod sort;
mod totals;
mod window;

pub use address_histogram::AddressHistogram;
pub use build::IndexBuilder;
pub use collector::Collector;
pub use histogram::SizeCount;
pub use page_use::PageUse;
pub use progress::Progress;
pub use query::BlockList;
pub use realm::{HeapPool, Owner, Realm};
pub use segment::{Segment, WINDOW, Word};
pub use totals::{Found, PageCounts, PerPool, TagFound, Totals, WindowTotals};

use std::sync::Arc;
use std::time::SystemTime;

/// What is finished of the index.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Finished segments: the system's in order of address, then each session's.
    pub segments: Arc<[Arc<Segment>]>,
    /// Sums over them.
    pub totals: Arc<Totals>,
    /// Windows finished.
    pub windows_done: usize,
    /// Windows in all; 0 before the plan is made.
    pub windows_all: usize,
    /// Sentences about what is missing from the index.
    pub notes: Arc<[String]>,
    /// Windows that could not be walked.
    pub failed_windows: usize,
    /// Blocks that the sums count and the segments leave out, for want of memory.
    pub left_out: u64,
    /// When it was made, for an index that was kept and read again.
    pub kept: Option<SystemTime>,
}

impl Snapshot {
    /// True when every window is in it.
    pub fn is_complete(&self) -> bool {
        self.windows_all > 0 && self.windows_done == self.windows_all
    }

    /// True when the pools of sessions are in it.
    pub fn has_sessions(&self) -> bool {
        let last = self.segments.last();
        last.is_some_and(|s| s.session().is_some())
            || self.totals.session_pages != PageCounts::default()
    }

    /// True when blocks are in it that were recognised by their headers alone.
    pub fn has_heuristic(&self) -> bool {
        let mut tags = self.totals.tags.values();
        tags.any(|found| found.heuristic != PerPool::default())
    }

    /// Bytes of memory that the segments take.
    pub fn footprint(&self) -> usize {
        self.segments.iter().map(|s| s.footprint()).sum()
    }
}
