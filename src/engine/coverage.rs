//! Compares the kernel's counters with the located blocks.

use crate::analysis::{Accounts, Coverage};
use crate::pool::index::Snapshot;
use crate::pool::{Tag, TagPattern};

use super::Engine;

impl Engine {
    /// The coverage of one tag.
    pub fn coverage(&self, tag: Tag, index: &Snapshot) -> Coverage {
        let coverage = Coverage::of(tag, &self.accounts(index), index);
        coverage.with_holes(|| self.dump.hole_bytes())
    }

    /// The coverage of all tags that match.
    pub fn coverage_of(&self, pattern: &TagPattern, index: &Snapshot) -> Coverage {
        let coverage = Coverage::matching(pattern, &self.accounts(index), index);
        coverage.with_holes(|| self.dump.hole_bytes())
    }

    /// The coverage of the whole pool.
    pub fn total_coverage(&self, index: &Snapshot) -> Coverage {
        let coverage = Coverage::total(&self.accounts(index), index);
        coverage.with_holes(|| self.dump.hole_bytes())
    }

    /// The kernel counters to compare an index with; session counters only if the index has
    /// session blocks.
    fn accounts(&self, index: &Snapshot) -> Accounts<'_> {
        let sessions = index.has_sessions().then(|| self.session_trackers());
        Accounts {
            system: &self.trackers,
            sessions,
        }
    }
}
