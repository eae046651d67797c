//! The index: every block of the pool, by tag. It is built in parallel and can be used while it
//! grows.
//!
//! The pool regions are divided into windows of 64 MB. Each window is walked by one worker into
//! a [`Segment`]. A [`Snapshot`] is the finished part, cheap to take and to share.

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

use rustc_hash::FxHashMap;

use crate::pool::tag::Tag;

/// The finished part of the index.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Finished segments: the system's in address order, then each session's.
    pub segments: Arc<[Arc<Segment>]>,
    /// Sums over the segments.
    pub totals: Arc<Totals>,
    /// Number of finished windows.
    pub windows_done: usize,
    /// Number of all windows; 0 before the plan exists.
    pub windows_all: usize,
    /// Remarks on data missing from the index.
    pub notes: Arc<[String]>,
    /// Number of windows that could not be walked.
    pub failed_windows: usize,
    /// Number of blocks that are in the sums but not in the segments, because memory ran out.
    pub left_out: u64,
    /// When it was built, if it comes from the cache.
    pub kept: Option<SystemTime>,
    /// Sizes of the allocated blocks by tag, if they were counted before blocks were removed
    /// from the segments.
    pub kept_sizes: Option<Arc<FxHashMap<Tag, Vec<SizeCount>>>>,
}

impl Snapshot {
    /// True when every window is included.
    pub fn is_complete(&self) -> bool {
        self.windows_all > 0 && self.windows_done == self.windows_all
    }

    /// True when at least one pool block was found. A complete walk without blocks looked in
    /// the wrong place.
    pub fn found_any(&self) -> bool {
        !self.totals.tags.is_empty() || self.totals.free.blocks > 0
    }

    /// True when the pools of sessions are included.
    pub fn has_sessions(&self) -> bool {
        let last = self.segments.last();
        last.is_some_and(|s| s.session().is_some())
            || self.totals.session_pages != PageCounts::default()
    }

    /// True when it includes blocks that were recognised only by their headers.
    pub fn has_heuristic(&self) -> bool {
        let mut tags = self.totals.tags.values();
        tags.any(|found| found.heuristic != PerPool::default())
    }

    /// Memory of the segments in bytes.
    pub fn footprint(&self) -> usize {
        self.segments.iter().map(|s| s.footprint()).sum()
    }
}
