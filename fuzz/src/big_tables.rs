//! The tracker tables and the big page tables.

use std::path::Path;
use std::sync::{Mutex, OnceLock};

use poolscope::kernel::sessions;
use poolscope::pool::big::BigTable;
use poolscope::pool::lookaside::Parked;
use poolscope::pool::regions::Regions;
use poolscope::pool::{session_tracker, tracker};
use poolscope::synth::{era, small};

use super::bed::{Bed, Place};
use super::locate::{self, Whole};
use super::machines;
use super::shown;

const VARIABLES: [&str; 8] = [
    "PoolTrackTable",
    "PoolTrackTableSize",
    "PoolTrackTableExpansion",
    "PoolTrackTableExpansionSize",
    "ExPoolTagTables",
    "PoolBigPageTable",
    "PoolBigPageTableSize",
    "KeNumberProcessors",
];

fn beds() -> &'static [Mutex<Bed>] {
    static BEDS: OnceLock<Vec<Mutex<Bed>>> = OnceLock::new();
    BEDS.get_or_init(|| {
        let mut unknown = small::of_era(&era::WIN81);
        unknown.options.unknown_kernel = true;
        let specs = [
            small::spec(),
            small::of_era(&era::WIN10_2004),
            small::of_era(&era::SERVER_2003),
            unknown,
            small::of_era(&era::WIN11_24H2),
        ];
        specs
            .iter()
            .map(|spec| machines::bed(spec, groups))
            .collect()
    })
}

fn groups(whole: &Whole) -> Vec<Vec<Place>> {
    let kernel = whole.engine.kernel();
    let mut tables = Vec::new();
    for name in ["PoolTrackTable", "PoolTrackTableExpansion"] {
        if let Some(table) = kernel.pointer_in(name, None) {
            tables.extend(whole.memory(table, 0x2000));
        }
    }
    if let Some(array) = kernel.symbol("ExPoolTagTables") {
        tables.extend(whole.memory(array, 64));
    }
    let big = whole.engine.big();
    let (start, end) = big.table.unwrap();
    let mut out = vec![
        whole.variables(&VARIABLES),
        tables,
        whole.memory(start, end.0 - start.0),
    ];
    out.retain(|group| !group.is_empty());
    out
}

/// The first byte chooses the machine; the rest damages its tables.
pub fn run(data: &[u8]) {
    machines::run_on(beds(), data, ask);
}

/// The undamaged machines.
pub fn seeds() -> Vec<Vec<u8>> {
    machines::untouched(beds().len())
}

fn ask(path: &Path) {
    let Some(kernel) = locate::kernel(path) else {
        return;
    };
    let trackers = tracker::read(&kernel);
    assert!(trackers.rows.is_sorted_by_key(|row| row.tag) || !trackers.rows.is_empty());
    let mut tags: Vec<_> = trackers.rows.iter().map(|row| row.tag).collect();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), trackers.rows.len(), "a tag has two rows");
    for row in &trackers.rows {
        assert!(trackers.get(row.tag).is_some());
        let pools = [&row.nonpaged, &row.paged];
        std::hint::black_box(pools.map(|pool| (pool.is_empty(), pool.bytes_per_alloc())));
    }
    trackers.notes.iter().for_each(|note| shown::check(note));
    let regions = Regions::find(&kernel);
    let big = BigTable::read(&kernel, &regions);
    let apart =
        |a: &poolscope::pool::big::BigBlock, b: &poolscope::pool::big::BigBlock| a.end() <= b.va.0;
    assert!(big.blocks.is_sorted_by(apart), "large blocks overlap");
    for block in big.blocks.iter().take(100) {
        assert_eq!(big.holding(block.va).map(|b| b.va), Some(block.va));
        assert_eq!(big.at(block.va).map(|b| b.va), Some(block.va));
    }
    big.notes.iter().for_each(|note| shown::check(note));
    std::hint::black_box(Parked::read(&kernel));
    std::hint::black_box(session_tracker::read(&kernel, &sessions::find(&kernel)));
}
