//! Tables of another build that are not where its layout says: what is read there is
//! refused, and the pool is found without.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use poolscope::engine::{Engine, Options};
use poolscope::memory::Va;
use poolscope::synth::era::{Era, WIN10_1607, WIN11, WIN11_22H2, WIN11_24H2};
use poolscope::synth::truth::State;
use poolscope::synth::{Container, Machine, small};

/// A kernel that nobody knows whose regions are in another order: what stands where the
/// layout has the pools are the regions behind them.
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

#[test]
fn regions_in_another_order_are_refused() {
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
