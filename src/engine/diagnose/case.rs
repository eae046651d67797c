//! The input of a judgement from a dump: counts, pools and limits.

use crate::analysis::judgement::Case;
use crate::analysis::judgement::pressure::{Measure, PoolUse};
use crate::analysis::vm::Line;
use crate::memory::PAGE_SIZE;
use crate::pool::Pool;
use crate::pool::index::Snapshot;

use super::super::{Engine, Machine};

/// Number of 100 ns intervals per second.
const TICKS: u64 = 10_000_000;

fn bytes(pages: Option<u64>) -> Option<u64> {
    pages.map(|pages| pages.saturating_mul(PAGE_SIZE))
}

/// The value of a line if it is plausible.
fn sound(line: &Line) -> Option<u64> {
    bytes(line.pages.filter(|_| line.doubt.is_none()))
}

impl Engine {
    /// The input of a judgement. With an index, located blocks replace missing counters.
    pub fn case(&self, index: Option<&Snapshot>) -> Case {
        let vm = self.vm();
        let machine = &self.kernel().machine;
        let trackers = self.trackers();
        let physical = sound(&vm.physical_memory).or(bytes(machine.physical_pages));
        Case {
            rows: Case::rows_of(trackers),
            complete: !trackers.rows.is_empty(),
            memory: physical,
            commit_limit: sound(&vm.commit_limit),
            uptime: machine.uptime.map(|t| t / TICKS),
            pools: [Pool::Nonpaged, Pool::Paged].map(|pool| self.pool_use(pool, index)),
            courses: self.courses(),
        }
    }

    /// A pool's use; see [`dyn Machine::pool_use`].
    pub fn pool_use(&self, pool: Pool, index: Option<&Snapshot>) -> PoolUse {
        let machine: &dyn Machine = self;
        machine.pool_use(pool, index)
    }
}

impl dyn Machine + '_ {
    /// A pool's use by the best available source, and its maximum. All shares of a pool, on every
    /// screen, have this as their base.
    pub fn pool_use(&self, pool: Pool, index: Option<&Snapshot>) -> PoolUse {
        let vm = self.vm();
        let trackers = self.trackers();
        let (usage, maximum, tags) = match pool {
            Pool::Nonpaged => (
                &vm.nonpaged_usage,
                &vm.nonpaged_max,
                trackers.total.nonpaged,
            ),
            Pool::Paged => (&vm.paged_usage, &vm.paged_max, trackers.total.paged),
        };
        let counter = match (bytes(usage.pages), &usage.doubt) {
            (Some(bytes), None) => Ok(bytes),
            (_, Some(doubt)) => Err(Some(doubt.clone())),
            (None, None) => Err(None),
        };
        let descriptor = match pool {
            Pool::Nonpaged => bytes(vm.nonpaged_descriptor),
            // The counter of paged pool is already the sum of the descriptors.
            Pool::Paged => None,
        };
        let tags = (!trackers.rows.is_empty()).then_some(tags.bytes);
        let walk = index.map(|index| walked(pool, index));
        let mut used = PoolUse::best(counter, descriptor, tags, walk);
        if let Some(used) = &mut used {
            mark_part(used, index);
        }
        PoolUse {
            used,
            maximum: sound(maximum),
        }
    }
}

/// Marks the walk's sum as a lower bound if the walk has gaps.
fn mark_part(used: &mut Measure, index: Option<&Snapshot>) {
    use crate::analysis::judgement::pressure::Source;
    let gaps = index.is_some_and(|index| !index.notes.is_empty() || !index.is_complete());
    used.at_least = used.source == Source::Walk && gaps;
}

/// Bytes of a pool in located allocated blocks.
fn walked(pool: Pool, index: &Snapshot) -> u64 {
    let tags = index.totals.tags.values();
    tags.fold(0, |sum, found| {
        let bytes = match pool {
            Pool::Nonpaged => found.nonpaged.bytes,
            Pool::Paged => found.paged.bytes,
        };
        sum.saturating_add(bytes)
    })
}
