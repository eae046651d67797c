//! Pool regions found from page contents, on builds without a table of regions: Windows 8.1
//! with symbols (nonpaged pool), and without (both pools).

use std::collections::BTreeSet;
use std::sync::Arc;

use poolscope::engine::{Engine, Options};
use poolscope::memory::{Pfn, Va};
use poolscope::pool::TagPattern;
use poolscope::pool::index::{Progress, Snapshot};
use poolscope::synth::era::WIN81;
use poolscope::synth::paging::Entry;
use poolscope::synth::truth::Pool;
use poolscope::synth::{Container, Machine, Spec, small};

/// An address between drivers and system mappings that the machine does not use.
const ELSEWHERE: Va = Va(0xffff_f880_8000_0000);

type Blocks = BTreeSet<(Va, u64)>;

fn spec(unknown: bool) -> Spec {
    let mut spec = small::of_era(&WIN81);
    spec.options.unknown_kernel = unknown;
    // For an unknown kernel, no bit of a prototype entry's address can be inferred.
    spec.paged.prototype = 0;
    spec.allocations = small::allocations(&spec);
    spec
}

fn read<R>(machine: &Machine, f: impl FnOnce(&Engine, &Snapshot) -> R) -> R {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapKernel).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::new(Progress::default())).unwrap();
    f(&engine, &index)
}

fn found(machine: &Machine) -> (Blocks, Vec<String>) {
    read(machine, |_, index| {
        let any = TagPattern::any();
        let blocks = index.matching(&any);
        let blocks: Blocks = blocks.map(|b| (b.va, b.bytes)).collect();
        (blocks, index.notes.to_vec())
    })
}

fn says(notes: &[String], what: &str) -> bool {
    notes.iter().any(|note| note.contains(what))
}

/// Resident pages of small blocks of a pool, and their frames.
fn pages(machine: &Machine, pool: Pool) -> Vec<(Va, Pfn)> {
    let blocks = machine.truth.blocks.iter();
    let small = blocks.filter(|b| b.pool == pool && !b.big);
    let pages: BTreeSet<Va> = small.map(|b| b.va.page()).collect();
    let frames = pages
        .iter()
        .filter_map(|va| Some((*va, machine.memory.frame(*va)?)));
    frames.collect()
}

#[test]
fn pool_that_drivers_map_again_is_counted_once() {
    for unknown in [false, true] {
        let machine = Machine::build(&spec(unknown)).unwrap();
        let (want, notes) = found(&machine);
        assert!(
            want.len() > 300 && !says(&notes, "second time"),
            "{notes:?}"
        );
        let mut mapped = machine.clone();
        let all = pages(&machine, Pool::NonPaged);
        for (i, (_, frame)) in all.iter().step_by(3).enumerate() {
            // Locked buffers between other pages of drivers.
            let at = ELSEWHERE.add(i as u64 * 0x3000);
            mapped.memory.map(at, Entry::Data(*frame));
            mapped.memory.map_new(at.add(0x1000), 2);
        }
        let (got, notes) = found(&mapped);
        assert!(got == want, "{} and {}", got.len(), want.len());
        assert!(says(&notes, "pool is mapped a second time"), "{notes:?}");
    }
}

#[test]
fn a_mapping_of_all_memory_is_not_pool() {
    let mut spec = spec(false);
    let (want, _) = found(&Machine::build(&spec).unwrap());
    spec.options.gigabyte_page = true;
    let (got, notes) = found(&Machine::build(&spec).unwrap());
    assert!(got == want, "{} and {}", got.len(), want.len());
    assert!(
        says(&notes, "a second mapping") || says(&notes, "a second time"),
        "{notes:?}"
    );
}

/// Copies some pages of pool to a chunk in the middle of `filler` chunks without pool.
fn moved(machine: &Machine, count: usize, filler: u64) -> Machine {
    let mut out = machine.clone();
    let whole = pages(machine, Pool::NonPaged)
        .into_iter()
        .filter(|(va, _)| {
            let page = machine
                .memory
                .physical
                .page(machine.memory.frame(*va).unwrap());
            page.is_some_and(|bytes| bytes[0] == 0 && bytes[1] == 0)
        });
    let filler_page = out.memory.physical.allocate(1);
    out.memory.physical.page_mut(filler_page).fill(0x11);
    for chunk in 0..filler {
        let at = ELSEWHERE.add(chunk * 0x20_0000);
        out.memory.map(at, Entry::Data(filler_page));
    }
    let chunk = ELSEWHERE.add(filler / 2 * 0x20_0000);
    for (i, (va, _)) in whole.skip(10).take(count).enumerate() {
        let frame = out.memory.physical.allocate(1);
        let bytes = *machine
            .memory
            .physical
            .page(machine.memory.frame(va).unwrap())
            .unwrap();
        *out.memory.physical.page_mut(frame) = bytes;
        out.memory
            .map(chunk.add((i as u64 + 1) * 0x1000), Entry::Data(frame));
    }
    out
}

#[test]
fn a_small_pool_region_is_found() {
    let machine = Machine::build(&spec(false)).unwrap();
    let (before, _) = found(&machine);
    // A chunk among 151 that a sample of every fourth chunk misses.
    let (after, notes) = found(&moved(&machine, 8, 151));
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.len() >= 16, "{new:x?} {notes:?}");
    assert!(new.iter().all(|(va, _)| *va > ELSEWHERE));
    assert!(before.is_subset(&after));
}

#[test]
fn regions_too_small_to_be_pool_are_reported() {
    let machine = Machine::build(&spec(false)).unwrap();
    let (before, _) = found(&machine);
    let (after, notes) = found(&moved(&machine, 2, 3));
    assert!(after == before);
    assert!(says(&notes, "too few to be a pool"), "{notes:?}");
    assert!(says(&notes, "fffff880`802"), "{notes:?}");
}

#[test]
fn unsearched_memory_is_reported() {
    let machine = Machine::build(&spec(false)).unwrap();
    let (before, _) = found(&machine);
    let mut filled = machine.clone();
    let zeros = filled.memory.physical.allocate_aligned(512);
    // More than the 2 GB that are searched.
    for chunk in 0..1100 {
        filled
            .memory
            .map_2m(ELSEWHERE.add(chunk * 0x20_0000), zeros);
    }
    let (after, notes) = found(&filled);
    assert!(after == before);
    assert!(says(&notes, "were not searched for pool"), "{notes:?}");
}
