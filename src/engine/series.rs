//! A machine as one point of a series: its trackers and the time of the dump, without a pool
//! walk.

use crate::kernel::Kernel;
use crate::memory::PAGE_SIZE;
use crate::pool::tracker::Usage;
use crate::series::{
    CounterWidth, Counts, Kind, Listing, Machine as Identity, Moment, Point, Row, Totals,
};

use super::Machine;

/// Windows 10 1809, the first build with 64-bit allocation counters.
const FIRST_WIDE: u32 = 17763;

impl dyn Machine + '_ {
    /// The machine as a point of a series.
    pub fn point(&self) -> Point {
        let facts = self.facts();
        let trackers = self.trackers();
        let vm = self.vm();
        let bytes = |pages: Option<u64>| pages.and_then(|p| p.checked_mul(PAGE_SIZE));
        let (major, minor) = facts.version;
        let rows = trackers.rows.iter().map(|row| Row {
            tag: row.tag,
            nonpaged: counts(&row.nonpaged),
            paged: counts(&row.paged),
            ..Row::default()
        });
        let found = !trackers.tables.is_empty();
        // Determined by the layout if there is a kernel, otherwise by the build.
        let field = |kernel: &Kernel| {
            kernel
                .symbols
                .field("_POOL_TRACKER_TABLE", "NonPagedAllocs")
        };
        let size = self
            .engine()
            .and_then(|engine| field(engine.kernel()))
            .map(|field| field.size);
        let narrow = size.map_or(facts.build < FIRST_WIDE, |size| size == 4);
        let kind = match (self.engine(), facts.dump_type) {
            (None, _) => Kind::Evidence,
            (Some(_), Some(_)) => Kind::Dump,
            (Some(_), None) => Kind::Image,
        };
        Point {
            time: facts
                .system_time
                .map(|seconds| Moment(seconds.saturating_mul(1000))),
            uptime_seconds: facts.uptime_seconds,
            machine: Some(Identity {
                build: facts.build,
                kernel_base: facts.kernel_base.0,
                boot_number: facts.boot_number,
            }),
            windows: Some(format!("Windows {major}.{minor}.{}", facts.build)),
            rows: rows.collect(),
            listing: match (found, trackers.notes.is_empty()) {
                (true, true) => Listing::Complete,
                (true, false) => Listing::Truncated(trackers.notes.join("; ")),
                (false, _) => {
                    Listing::Truncated("the pool trackers were not found in the dump".into())
                }
            },
            has_nonpaged: found,
            has_paged: found,
            totals: Totals {
                nonpaged_bytes: bytes(vm.nonpaged_usage.pages),
                paged_bytes: bytes(vm.paged_usage.pages),
                ram_bytes: bytes(facts.physical_pages),
                available_bytes: bytes(vm.available.pages),
                committed_bytes: bytes(vm.committed.pages),
                commit_limit_bytes: bytes(vm.commit_limit.pages),
                free_system_ptes: vm.free_system_ptes.pages,
                ..Totals::default()
            },
            width: match narrow {
                true => CounterWidth::Bits32,
                false => CounterWidth::Bits64,
            },
            ..Point::new(&facts.path, kind)
        }
    }
}

fn counts(usage: &Usage) -> Counts {
    Counts {
        allocs: Some(usage.allocs),
        frees: Some(usage.frees),
        outstanding: Some(usage.outstanding),
        bytes: Some(usage.bytes),
    }
}
