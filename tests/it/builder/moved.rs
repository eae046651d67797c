//! Structures that are not at the expected place: tables of another build, whose entries
//! are rejected so that the pool is found without them, and heaps that are not in any node
//! of the pool.

use std::collections::BTreeSet;
use std::sync::Arc;

use poolscope::engine::{Engine, Options};
use poolscope::memory::Va;
use poolscope::pool::block;
use poolscope::synth::era::{Era, WIN10_1607, WIN11, WIN11_22H2, WIN11_24H2};
use poolscope::synth::truth::State;
use poolscope::synth::{Container, Machine, small};

/// A machine with an unknown kernel whose regions are in a different order: the layout's
/// entries for the pools contain the regions after them.
fn reordered(era: &'static Era) -> Machine {
    let mut spec = small::of_era(era);
    spec.options.unknown_kernel = true;
    spec.options.invalid_mask = 0;
    for shape in [&mut spec.nonpaged, &mut spec.paged] {
        shape.prototype = 0;
        shape.paged_out = 0;
        shape.paged_out_big = 0;
        shape.omitted = 0;
        shape.damaged = 0;
    }
    let mut machine = Machine::build(&spec).unwrap();
    let state = machine
        .truth
        .kernel_base
        .add(era.rva("MiState").unwrap().into());
    let table = state.add(era.offset("MiState", "Vs.SystemVaRegions").unwrap());
    let at = |name| era.offset("_MI_ASSIGNED_REGION_TYPES", name).unwrap() * 16;
    let (nonpaged, paged) = (table.add(at("NonPagedPool")), table.add(at("PagedPool")));
    let behind = paged.add(16);
    let read =
        |machine: &Machine, va: Va| (machine.memory.read(va), machine.memory.read(va.add(8)));
    let pools = [read(&machine, nonpaged), read(&machine, paged)];
    for (place, (start, bytes)) in [(paged, pools[0]), (behind, pools[1])] {
        machine.memory.u64(place, start);
        machine.memory.u64(place.add(8), bytes);
    }
    machine.memory.u64(nonpaged, 0xffff_8f00_0000_0000);
    machine.memory.u64(nonpaged.add(8), 1 << 39);
    machine
}

/// The number of blocks that are not found, the number of blocks that are found but not
/// allocated, and the notes about the pool.
fn read(machine: &Machine) -> (usize, usize, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapKernel).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::default()).unwrap();
    let all = poolscope::pool::TagPattern::any();
    let found = index
        .matching(&all)
        .filter(|b| b.state == block::State::Allocated);
    let found: BTreeSet<Va> = found.filter(|b| !b.heuristic).map(|b| b.va).collect();
    let laid = machine.truth.blocks.iter();
    let laid = laid.filter(|b| b.state == State::Allocated);
    let laid: BTreeSet<Va> = laid.map(|b| b.va).collect();
    let lost = laid.difference(&found).count();
    (lost, found.difference(&laid).count(), index.notes.to_vec())
}

/// 24H2 with one of its two nodes moved from the system pool to a private pool: as a node
/// of the private pool, or as a list of its heaps.
fn with_private_pool(by_node: bool) -> (Machine, Va) {
    // From the public types (see the layout table).
    const COUNT: u64 = 0x3910;
    const SECOND_NODE: u64 = 0x3940 + 0x20c0;
    const LIST: u64 = 0x38e8;
    let (link, nodes, node) = (0x20, 0x48, 0x50);
    let era = &WIN11_24H2;
    let mut spec = small::of_era(era);
    for shape in [&mut spec.nonpaged, &mut spec.paged] {
        shape.paged_out = 0;
        shape.paged_out_big = 0;
        shape.omitted = 0;
        shape.damaged = 0;
    }
    spec.heaps.as_mut().unwrap().nodes = 2;
    let mut machine = Machine::build(&spec).unwrap();
    let state = machine
        .truth
        .kernel_base
        .add(era.rva("ExPoolState").unwrap().into());
    let memory = &mut machine.memory;
    memory.u32(state.add(COUNT), 1);
    let context = Va(0xffff_f880_0f00_0000);
    memory.map_new(context, 1);
    memory.ring(state.add(LIST), &[context.add(link)]);
    memory.ring(state.add(LIST + 16), &[]);
    let second = state.add(SECOND_NODE);
    if by_node {
        memory.u32(context.add(nodes), 1);
        memory.pointer(context.add(node), second);
    } else {
        // Four entries, as on a machine with as many nodes.
        let list = context.add(0x800);
        for i in 0..4 {
            let heap = Va(memory.read(second.add(i * 8)));
            memory.pointer(list.add(i * 8), heap);
        }
        memory.u32(context.add(nodes), 4);
        memory.pointer(context.add(node), list);
    }
    (machine, context.add(link))
}

#[test]
fn heaps_of_private_pools_are_walked() {
    let (machine, _) = with_private_pool(true);
    let (lost, invented, notes) = read(&machine);
    assert_eq!((lost, invented), (0, 0), "{notes:?}");
    // A list of heaps lacks the node's lookaside lists, so their blocks look allocated;
    // `invented` is not checked.
    let (machine, _) = with_private_pool(false);
    let (lost, _, notes) = read(&machine);
    assert_eq!(lost, 0, "{notes:?}");
}

#[test]
fn a_damaged_list_of_private_pools_is_reported() {
    let (mut machine, link) = with_private_pool(true);
    machine.memory.pointer(link, link);
    let (lost, _, notes) = read(&machine);
    assert_eq!(lost, 0, "{notes:?}");
    let said = |what: &str| notes.iter().any(|n| n.contains(what));
    assert!(
        said("the list of private pools is damaged after 1"),
        "{notes:?}"
    );

    let (mut machine, link) = with_private_pool(true);
    machine.memory.u64(link.add(0x30), 0);
    let (lost, _, notes) = read(&machine);
    assert!(lost > 0);
    let said = |what: &str| notes.iter().any(|n| n.contains(what));
    assert!(said("leads to no heap"), "{notes:?}");
}

#[test]
fn regions_in_another_order_are_rejected() {
    for era in [&WIN10_1607, &WIN11, &WIN11_22H2, &WIN11_24H2] {
        let machine = reordered(era);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("MEMORY.DMP");
        machine.write(&path, Container::BitmapKernel).unwrap();
        let engine = Engine::open(&path, &Options::default()).unwrap();
        let notes = &engine.regions().notes;
        let said = "outside of its region, which is not used";
        let refused = notes.iter().filter(|n| n.contains(said)).count();
        assert_eq!(refused, 2, "{}: {notes:?}", era.build);
        let wrong = engine.regions().regions.iter();
        assert!(
            wrong
                .clone()
                .all(|r| r.start.0 >> 39 != 0xffff_8f00_0000_0000 >> 39)
        );
        let index = engine.index(Arc::default()).unwrap();
        let all = poolscope::pool::TagPattern::any();
        let found: Vec<Va> = index.matching(&all).map(|b| b.va).collect();
        let lost = machine
            .truth
            .blocks
            .iter()
            .filter(|b| b.state == State::Allocated && !found.contains(&b.va));
        assert_eq!(lost.count(), 0, "{}: {notes:?}", era.build);
    }
}

/// From 1607 on, the debugger data block's pointers to counters may refer to removed
/// variables. Such a pointer is used only if it is inside nt's image and its value is plausible.
#[test]
fn moved_counters_of_the_debugger_block_are_rejected() {
    const PHYSICAL_PAGES: u64 = 0xf8;
    const AVAILABLE: u64 = 0x1a8;
    let era = &WIN11;
    let mut spec = small::of_era(era);
    spec.options.unknown_kernel = true;
    let mut machine = Machine::build(&spec).unwrap();
    let base = machine.truth.kernel_base;
    let at = |symbol: &str, field: &str| {
        let place = base.add(era.rva(symbol).unwrap().into());
        place.add(era.offset(symbol, field).unwrap())
    };
    // Make the real MiSystemPartition unrecognisable.
    let lost = at("MiSystemPartition", "Vp.NumberOfPhysicalPages");
    machine.memory.u64(lost, 1);
    let block = base.add(era.rva("KdDebuggerDataBlock").unwrap().into());
    let memory = &mut machine.memory;
    // Outside nt, with a plausible value.
    let outside = Va(0xffff_f880_0f00_0000);
    memory.map_new(outside, 1);
    memory.u64(outside, spec.vm.physical_memory);
    memory.pointer(block.add(PHYSICAL_PAGES), outside);
    // Inside nt, with more pages than the machine has.
    memory.u64(lost, spec.vm.physical_memory * 2);
    memory.pointer(block.add(AVAILABLE), lost);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapKernel).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let vm = engine.vm();
    assert_eq!(vm.physical_memory.pages, None, "{:?}", vm.physical_memory);
    assert_eq!(vm.available.pages, None, "{:?}", vm.available);
    let doubt = vm.available.doubt.as_deref().unwrap();
    assert!(doubt.contains("only inferred"), "{doubt}");
}
