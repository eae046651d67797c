//! The kernel's accounts against the blocks found.

use crate::analysis::{Accounts, Coverage};
use crate::pool::index::Snapshot;
use crate::pool::{Tag, TagPattern};

use super::Engine;

impl Engine {
    /// The trackers against the blocks found, for one tag.
    pub fn coverage(&self, tag: Tag, index: &Snapshot) -> Coverage {
        let coverage = Coverage::of(tag, &self.accounts(index), index);
        coverage.with_holes(|| self.dump.hole_bytes())
    }

    /// The trackers against the blocks found, for all tags that match.
    pub fn coverage_of(&self, pattern: &TagPattern, index: &Snapshot) -> Coverage {
        let coverage = Coverage::matching(pattern, &self.accounts(index), index);
        coverage.with_holes(|| self.dump.hole_bytes())
    }

    /// The trackers against the blocks found, for the whole pool.
    pub fn total_coverage(&self, index: &Snapshot) -> Coverage {
        let coverage = Coverage::total(&self.accounts(index), index);
        coverage.with_holes(|| self.dump.hole_bytes())
    }

    /// The kernel counters to compare an index with; those of sessions only if it has their blocks.
    fn accounts(&self, index: &Snapshot) -> Accounts<'_> {
        let sessions = index.has_sessions().then(|| self.session_trackers());
        Accounts {
            system: &self.trackers,
            sessions,
        }
    }
}
