//! Missing data is not invented: layouts that contradict the kernel, a block whose header
//! is not in the dump, counters of which one is only a part, and a walk that found nothing.

use std::sync::Arc;

use poolscope::analysis::objects::processes;
use poolscope::engine::{Engine, Options};
use poolscope::kernel::vm;
use poolscope::memory::Va;
use poolscope::pool::block::Backend;
use poolscope::pool::index::Snapshot;
use poolscope::pool::{Pool, Tag, TagPattern};
use poolscope::synth::era::{Era, WIN7, WIN10_1809, WIN10_2004, WIN11};
use poolscope::synth::{Container, Machine, small};

use crate::machines;

fn open(machine: &Machine) -> (tempfile::TempDir, Engine, Snapshot) {
    open_as(machine, Container::BitmapFull)
}

fn open_as(machine: &Machine, container: Container) -> (tempfile::TempDir, Engine, Snapshot) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, container).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::default()).unwrap();
    (folder, engine, index)
}

/// A machine with an unknown kernel, so that the layouts of its build are only a guess.
fn unknown(era: &'static Era) -> Machine {
    let mut spec = small::of_era(era);
    spec.options.unknown_kernel = true;
    Machine::build(&spec).unwrap()
}

/// Offsets in the debugger data block (`wdbgexts.h`): SizeEProcess, SizePrcb.
const SIZE_OF_PROCESS: u64 = 0x2a8;
const SIZE_OF_PROCESSOR: u64 = 0x2b0;
/// `_EPROCESS.ImageFileName` of Windows 7 (public symbols).
const IMAGE_NAME: u64 = 0x2e0;

#[test]
fn a_layout_with_a_size_that_the_kernel_contradicts_is_not_used() {
    let mut machine = unknown(&WIN7);
    let (_folder, engine, _) = open(&machine);
    let (fitting, _) = processes::running(engine.kernel());
    assert_eq!(fitting[0].image, "System");
    assert!(!engine.warnings().join("\n").contains("does not fit"));

    let block = machine.header.debugger_data;
    machine.memory.u16(block.add(SIZE_OF_PROCESS), 0x3e8);
    machine.memory.u16(block.add(SIZE_OF_PROCESSOR), 0x2a40);
    let (_folder, engine, _) = open(&machine);
    let said = engine.warnings().join("\n");
    assert!(
        said.contains("gives _EPROCESS 0x3e8 bytes")
            && said.contains("the layout is used, because the name"),
        "{said}"
    );
    assert!(
        said.contains("gives _KPRCB 0x2a40 bytes") && said.contains("lookaside lists"),
        "{said}"
    );
    assert_eq!(processes::running(engine.kernel()).0.len(), fitting.len());

    // The same with the names moved, as in another layout: the expected place contains a
    // part of a path.
    for process in &fitting {
        machine
            .memory
            .write(process.at.add(IMAGE_NAME), b".exe\0\0\0\0");
    }
    let (_folder, engine, index) = open(&machine);
    let said = engine.warnings().join("\n");
    assert!(
        said.contains("names, handles and commit of processes"),
        "{said}"
    );
    let (none, why) = processes::running(engine.kernel());
    assert!(none.is_empty() && why.is_some(), "{none:?}");
    let report = format!("{:?}", engine.diagnose(&index));
    assert!(
        !report.contains("\".exe\""),
        "an extension alone is not a name"
    );
}

#[test]
fn matching_layouts_are_used_without_a_note() {
    for era in [&WIN10_1809, &WIN10_2004, &WIN11] {
        let (_folder, engine, _) = open(&unknown(era));
        let said = engine.warnings().join("\n");
        assert!(
            !said.contains("the layout does not match"),
            "{}: {said}",
            era.build
        );
    }
}

/// The chunk begins in the last unit of a page, and its block on the next page, which is
/// missing from the dump. The data at the usual place of the header must not be read as a
/// header.
#[test]
fn a_block_whose_header_is_on_a_missing_page_gets_no_other_tag() {
    let mut hidden = 0;
    for era in [&WIN10_2004, &WIN11] {
        let mut machine = Machine::build(&machines::whole_spec(era)).unwrap();
        let (_folder, engine, index) = open(&machine);
        drop(engine);
        // The first block of a page whose chunk begins on the previous page.
        let vs: Vec<Va> = index
            .matching(&TagPattern::any())
            .filter(|b| b.backend == Backend::Vs && b.va.0 % 0x1000 == 0)
            .map(|b| b.va)
            .filter(|va| machine.memory.frame(Va(va.0 - 0x1000)).is_some())
            .collect();
        for va in vs.iter().take(2) {
            let fake = [0, 0, 0x10, 2, b'F', b'a', b'k', b'e'];
            machine.memory.write(Va(va.0 - 0x10), &fake);
            let frame = machine.memory.frame(*va).unwrap();
            machine.memory.physical.omit(frame);
            hidden += 1;
        }
        let (_folder, _engine, index) = open_as(&machine, Container::BitmapKernel);
        let fake = index.blocks(Tag::of("Fake").unwrap());
        assert!(fake.is_empty(), "{}: {:?}", era.build, fake.get(0));
        assert!(
            vs.iter()
                .take(2)
                .all(|va| index.matching(&TagPattern::any()).all(|b| b.va != *va))
        );
    }
    assert!(hidden > 0, "the builder has no such block");
}

/// 1809 has both allocators: the descriptors count the pages of the old one, the memory
/// manager counts all.
#[test]
fn paged_pool_of_both_allocators_equals_the_memory_managers_count() {
    let mut spec = machines::whole_spec(&WIN10_1809);
    spec.vm.paged_usage = vec![6_287];
    let mut machine = Machine::build(&spec).unwrap();
    let (_folder, engine, _) = open(&machine);
    let kernel = engine.kernel();
    let array = kernel.symbol("ExpPagedPoolDescriptor").unwrap();
    let first = kernel.space.pointer(array).unwrap();
    let at = |name| first.add(kernel.offset("_POOL_DESCRIPTOR", name).unwrap());
    machine.memory.u64(at("PagesAllocated"), 3_000);
    machine.memory.u64(at("PagesDeallocated"), 300);
    machine.memory.u64(at("BigPagesAllocated"), 100);
    machine.memory.u64(at("BigPagesDeallocated"), 21);
    let (_folder, engine, index) = open(&machine);
    let read = vm::read(engine.kernel());
    let counted: u64 = read.paged_pools.iter().filter_map(|p| p.pages).sum();
    assert_eq!(counted, 2_779, "the descriptors' part");
    assert_eq!(engine.vm().paged_usage.pages, Some(6_287));
    let used = engine.pool_use(Pool::Paged, Some(&index)).used.unwrap();
    assert_eq!(used.bytes, 6_287 << 12);
}

#[test]
fn a_walk_that_finds_no_block_is_not_complete() {
    let (_folder, engine, index) = open(machines::small());
    let machine: &dyn poolscope::engine::Machine = &engine;
    assert!(machine.coverage_of(&TagPattern::any(), &index).complete);
    // Every window was walked, and none had a block.
    let empty = Snapshot {
        windows_done: 3,
        windows_all: 3,
        ..Snapshot::default()
    };
    let coverage = machine.coverage_of(&TagPattern::any(), &empty);
    assert!(!coverage.complete && coverage.is_empty);
    let diagnosis = engine.diagnose(&empty);
    let said = diagnosis.coverage.join("\n");
    assert!(!said.contains("all located"), "{said}");
}
