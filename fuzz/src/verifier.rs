//! Driver Verifier's records: the tree of drivers, the lists of their blocks, and the log.

use std::path::Path;
use std::sync::{Mutex, OnceLock};

use poolscope::engine::{Engine, StacksOf};
use poolscope::kernel::verifier::{Kinds, Verifier};
use poolscope::memory::Va;
use poolscope::synth::era::{self, Era};
use poolscope::synth::{Container, Machine, small, verifier};

use super::bed::{Bed, Place};
use super::locate::{self, Whole};
use super::machines;
use super::shown;

const VARIABLES: [&str; 6] = [
    "ViTargetDriversAvl",
    "VfPoolTraces",
    "VfPoolTracesIndex",
    "VfPoolTracesLength",
    "VfSuspectDriversList",
    "MmVerifierData",
];

fn beds() -> &'static [Mutex<Bed>] {
    static BEDS: OnceLock<Vec<Mutex<Bed>>> = OnceLock::new();
    BEDS.get_or_init(|| {
        [&era::WIN7, &era::WIN10_2004, &era::WIN11, &era::WIN11_24H2]
            .map(bed)
            .into_iter()
            .collect()
    })
}

fn bed(era: &'static Era) -> Mutex<Bed> {
    let mut machine = Machine::build(&small::of_era(era)).unwrap();
    let laid = verifier::watch_leaker(&mut machine, era);
    let write = |path: &Path| {
        machine.write(path, Container::BitmapKernel).unwrap();
    };
    let groups = |path: &Path| {
        let whole = Whole::open(path);
        let memory = |at: Va, bytes| whole.memory(at, bytes);
        let mut out: Vec<Vec<Place>> = vec![
            whole.variables(&VARIABLES),
            memory(laid.tree, 0x40),
            memory(laid.table, 0x70),
            laid.nodes.iter().flat_map(|n| memory(*n, 0x60)).collect(),
            laid.data.iter().flat_map(|d| memory(*d, 0x120)).collect(),
            laid.pages
                .iter()
                .flatten()
                .flat_map(|page| memory(*page, 0x1000))
                .collect(),
            laid.variables.iter().flat_map(|v| memory(*v, 8)).collect(),
            memory(laid.log, 16 * laid.stride),
        ];
        out.retain(|group| !group.is_empty());
        out
    };
    Mutex::new(Bed::new(write, groups))
}

/// The first byte chooses the machine; the rest damages the Verifier's records.
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
    let read = Verifier::read(&kernel);
    read.notes.iter().for_each(|note| shown::check(note));
    read.damage.iter().for_each(|note| shown::check(note));
    for (driver, entry) in read.entries() {
        assert!(kernel.module_at(driver.base).is_some());
        assert!(entry.address.is_kernel() && entry.bytes > 0);
    }
    let kinds = Kinds::of(&kernel);
    if let Some(log) = &read.log {
        let (newest, _) = log.newest(&kernel, &kinds);
        let mut records = 0;
        let counted = log.each(&kernel, &mut |record| {
            records += 1;
            assert!(record.frames.len() as u64 <= log.frames());
            assert!(log.length == 0 || log.age(newest, record.slot) < log.length);
        });
        assert_eq!(records, counted.used);
    }
    let Ok(engine) = Engine::open(path, &locate::options()) else {
        return;
    };
    let at = read.entries().next().map_or(Va(0), |(_, e)| e.address);
    let found = engine
        .stacks(None, &StacksOf::Address(at), &|| true)
        .unwrap();
    assert!(found.rows.is_sorted_by(|a, b| a.count >= b.count));
    for row in &found.rows {
        assert_eq!(row.symbols.len(), row.frames.len());
    }
}
