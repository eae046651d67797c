//! A small machine of each era, with everything odd about it, read by the engine without
//! a PDB.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use poolscope::engine::{Engine, Options};
use poolscope::memory::Va;
use poolscope::pool::block::{Backend, PoolKind};
use poolscope::pool::index::{Progress, Snapshot};
use poolscope::pool::tag::TagPattern;
use poolscope::pool::{Tag, block};
use poolscope::synth::era::{Era, WIN10_1809, WIN10_2004, WIN11};
use poolscope::synth::heap::Damage;
use poolscope::synth::truth::{Pool, State, Truth};
use poolscope::synth::{Container, Machine, Spec, small};

const HEAP_ERAS: [&Era; 3] = [&WIN10_2004, &WIN11, &WIN10_1809];

fn tag(bytes: &[u8; 4]) -> Tag {
    Tag::new(u32::from_le_bytes(*bytes))
}

fn with<R>(
    machine: &Machine,
    container: Container,
    f: impl FnOnce(&Engine, &Snapshot) -> R,
) -> R {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, container).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::new(Progress::default())).unwrap();
    f(&engine, &index)
}

/// Nothing taken away and nothing broken.
fn whole(era: &'static Era) -> Spec {
    let mut spec = small::of_era(era);
    for shape in [&mut spec.nonpaged, &mut spec.paged] {
        shape.paged_out = 0;
        shape.paged_out_big = 0;
        shape.omitted = 0;
        shape.damaged = 0;
    }
    spec
}

/// A block: start, bytes, tag, protected, pool, whether it has no header.
type Plain = (Va, u64, Tag, bool, PoolKind, bool);

fn laid(truth: &Truth, states: &[State]) -> BTreeSet<Plain> {
    let wanted = truth.blocks.iter().filter(|b| states.contains(&b.state));
    wanted
        .map(|b| {
            let kind = match (b.pool, b.nx) {
                (Pool::Paged, _) => PoolKind::Paged,
                (Pool::NonPaged, true) => PoolKind::NonPagedNx,
                (Pool::NonPaged, false) => PoolKind::NonPaged,
            };
            (b.va, b.bytes, tag(&b.tag), b.protected, kind, b.big)
        })
        .collect()
}

fn found(index: &Snapshot, parked: bool) -> BTreeSet<Plain> {
    let all = TagPattern::parse("*").unwrap();
    index
        .matching(&all)
        .filter(|b| (b.state != block::State::Allocated) == parked)
        .map(|b| {
            let big = b.backend == Backend::Big;
            (b.va, b.bytes, b.tag, b.protected, b.kind, big)
        })
        .collect()
}

fn check_blocks(truth: &Truth, index: &Snapshot, must: &[State], may: &[State]) {
    let (must, found_now) = (laid(truth, must), found(index, false));
    let missing: Vec<_> = must.difference(&found_now).collect();
    assert!(missing.is_empty(), "missing {}: {missing:x?}", missing.len());
    let may = laid(truth, may);
    let invented: Vec<_> = found_now.difference(&must).filter(|b| !may.contains(b)).collect();
    assert!(invented.is_empty(), "invented {}: {invented:x?}", invented.len());
}

fn check_trackers(truth: &Truth, engine: &Engine) {
    let got: BTreeSet<_> = engine
        .trackers()
        .rows
        .iter()
        .map(|r| {
            let (np, p) = (r.nonpaged, r.paged);
            (r.tag, np.outstanding, np.bytes, p.outstanding, p.bytes)
        })
        .collect();
    let want: BTreeSet<_> = truth
        .tags
        .iter()
        .map(|(t, a)| {
            let (np, p) = (a.nonpaged, a.paged);
            (tag(t), np.blocks, np.bytes, p.blocks, p.bytes)
        })
        .collect();
    assert_eq!(got, want);
}

fn check_modules(truth: &Truth, engine: &Engine) {
    let got: Vec<_> = engine
        .kernel()
        .modules
        .iter()
        .map(|m| (m.base, m.size, m.unloaded))
        .collect();
    let want: Vec<_> = truth
        .modules
        .iter()
        .map(|m| (m.base, u64::from(m.size), m.unloaded))
        .collect();
    assert_eq!(got, want);
}

#[test]
fn heaps_are_read_block_by_block() {
    for era in HEAP_ERAS {
        let machine = Machine::build(&whole(era)).unwrap();
        for container in [Container::BitmapKernel, Container::Full] {
            with(&machine, container, |engine, index| {
                let truth = &machine.truth;
                eprintln!("{} {container:?}: {:?}", era.build, index.notes);
                assert_eq!(engine.kernel().build, era.build);
                check_modules(truth, engine);
                check_trackers(truth, engine);
                check_blocks(truth, index, &[State::Allocated], &[]);
                assert_eq!(found(index, true), laid(truth, &[State::Lookaside]));
                assert!(!laid(truth, &[State::Lookaside]).is_empty());
                assert_eq!(index.totals.free.bytes, truth.free.bytes);
                assert_eq!(index.totals.unplaced_bytes, 0);
                assert!(index.totals.damaged.is_empty());
            });
        }
    }
}
