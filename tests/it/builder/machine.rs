//! The small machine with all of its special cases, read by the engine.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use poolscope::engine::{Engine, OpenError, Options};
use poolscope::memory::Va;
use poolscope::pool::Tag;
use poolscope::pool::index::{Progress, Snapshot};
use poolscope::pool::tag::TagPattern;
use poolscope::synth::broken::{self, Broken};
use poolscope::synth::truth::{Pool, State, Truth};
use poolscope::synth::{Container, Machine, Spec, large};

use crate::machines;

const CONTAINERS: [Container; 9] = [
    Container::Full,
    Container::WIN7_KERNEL,
    Container::Summary { bitmap_at: 0x24 },
    Container::SummaryWide,
    Container::BitmapFull,
    Container::BitmapKernel,
    Container::RangesKernel,
    Container::RangesKernelAndUser,
    Container::RangesFull,
];

fn tag(bytes: &[u8; 4]) -> Tag {
    Tag::new(u32::from_le_bytes(*bytes))
}

fn open(path: &Path) -> (Engine, Snapshot) {
    let engine = Engine::open(path, &Options::default()).unwrap();
    let index = engine.index(Arc::new(Progress::default())).unwrap();
    (engine, index)
}

fn with<R>(machine: &Machine, container: Container, f: impl FnOnce(&Engine, &Snapshot) -> R) -> R {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, container).unwrap();
    let (engine, index) = open(&path);
    f(&engine, &index)
}

/// A block: start, bytes, tag, protected, nonpaged.
type Plain = (Va, u64, Tag, bool, bool);

fn laid(truth: &Truth, states: &[State]) -> BTreeSet<Plain> {
    let wanted = truth.blocks.iter().filter(|b| states.contains(&b.state));
    wanted
        .map(|b| {
            let nonpaged = b.pool == Pool::NonPaged;
            (b.va, b.bytes, tag(&b.tag), b.protected, nonpaged)
        })
        .collect()
}

fn found(index: &Snapshot) -> BTreeSet<Plain> {
    let all = TagPattern::parse("*").unwrap();
    index
        .allocated(&all)
        .map(|b| (b.va, b.bytes, b.tag, b.protected, b.kind.is_nonpaged()))
        .collect()
}

fn check_blocks(truth: &Truth, index: &Snapshot, container: Container) {
    let mut must = vec![State::Allocated];
    let mut may = vec![State::Damaged];
    if container.stores_all() {
        must.push(State::Omitted);
    }
    let (must, found) = (laid(truth, &must), found(index));
    let missing: Vec<_> = must.difference(&found).collect();
    assert!(missing.is_empty(), "{container:?}: missing {missing:x?}");
    may.push(State::Allocated);
    may.push(State::Omitted);
    let may = laid(truth, &may);
    let invented: Vec<_> = found.difference(&may).collect();
    assert!(invented.is_empty(), "{container:?}: invented {invented:x?}");
}

fn check_trackers(truth: &Truth, engine: &Engine) {
    let got: Vec<_> = engine
        .trackers()
        .rows
        .iter()
        .map(|r| {
            let (np, p) = (r.nonpaged, r.paged);
            (r.tag, np.outstanding, np.bytes, p.outstanding, p.bytes)
        })
        .collect();
    let mut want: Vec<_> = truth
        .tags
        .iter()
        .map(|(t, a)| {
            let (np, p) = (a.nonpaged, a.paged);
            (tag(t), np.blocks, np.bytes, p.blocks, p.bytes)
        })
        .collect();
    want.sort();
    let mut got = got;
    got.sort();
    assert_eq!(got, want);
}

#[test]
fn every_container_shows_the_same_machine() {
    let machine = machines::small();
    for container in CONTAINERS {
        with(machine, container, |engine, index| {
            assert_eq!(engine.kernel().base, machine.truth.kernel_base);
            check_trackers(&machine.truth, engine);
            check_blocks(&machine.truth, index, container);
            let damaged: Vec<_> = index.totals.damaged.iter().collect();
            assert_eq!(damaged, machine.truth.damaged.iter().collect::<Vec<_>>());
        });
    }
}

#[test]
fn reasons_for_missing_pages_are_distinguished() {
    let machine = machines::small();
    let truth = &machine.truth;
    with(machine, Container::BitmapKernel, |_, index| {
        let paged = index.totals.paged_pages;
        assert!(
            paged.paged_out > truth.paged_pages.paged_out,
            "and big ones"
        );
        assert_eq!(index.totals.nonpaged_pages.not_in_dump, 1);
    });
    with(machine, Container::BitmapFull, |_, index| {
        assert_eq!(index.totals.nonpaged_pages.not_in_dump, 0);
    });
}

#[test]
fn found_and_missing_blocks_add_up_to_the_trackers() {
    let mut spec = poolscope::synth::small::spec();
    spec.nonpaged.damaged = 0;
    spec.nonpaged.omitted = 3;
    spec.paged.paged_out = 5;
    let machine = Machine::build(&spec).unwrap();
    let lost = |pool, state| {
        let blocks = machine.truth.blocks.iter();
        let lost = blocks.filter(|b| (b.pool, b.state) == (pool, state));
        lost.fold((0, 0), |(n, bytes), b| (n + 1, bytes + b.bytes))
    };
    with(&machine, Container::BitmapKernel, |engine, index| {
        let coverage = engine.total_coverage(index);
        for (side, pool, state) in [
            (coverage.nonpaged, Pool::NonPaged, State::Omitted),
            (coverage.paged, Pool::Paged, State::PagedOut),
        ] {
            let tracker = side.tracker.unwrap();
            let missing = tracker.bytes - side.found.bytes;
            assert_eq!((side.missing_blocks(), missing), lost(pool, state));
            assert!(side.missing_blocks() > 0);
        }
    });
}

#[test]
fn freed_blocks_that_look_allocated_are_excluded() {
    for packed in [false, true] {
        let mut spec = poolscope::synth::small::spec();
        spec.options.packed_slists = packed;
        let machine = Machine::build(&spec).unwrap();
        let parked = machine.truth.blocks.iter();
        let parked = parked.filter(|b| !b.state.is_counted()).count() as u64;
        assert_eq!(parked, 30);
        with(&machine, Container::BitmapKernel, |_, index| {
            let got: u64 = index.totals.tags.values().map(|t| t.parked.blocks).sum();
            assert_eq!(got, parked, "packed: {packed}");
        });
    }
}

#[test]
fn references_equal_those_in_the_images() {
    let machine = machines::small();
    with(machine, Container::WIN7_KERNEL, |engine, _| {
        for bytes in machine.truth.tags.keys() {
            let found = engine.references(tag(bytes)).found;
            let mut got: Vec<_> = found.iter().map(|r| r.va).collect();
            got.sort();
            assert_eq!(got, machine.truth.references_to(bytes), "{}", tag(bytes));
        }
        assert_eq!(machine.truth.references_to(b"Leak").len(), 2);
        assert!(!machine.truth.references_to(b"Thre").is_empty());
    });
}

#[test]
fn any_mask_of_invalid_entries_is_read() {
    for mask in [0, 1 << 45, 0x3 << 44] {
        let mut spec = poolscope::synth::small::spec();
        spec.options.invalid_mask = mask;
        let machine = Machine::build(&spec).unwrap();
        with(&machine, Container::BitmapKernel, |_, index| {
            check_blocks(&machine.truth, index, Container::BitmapKernel);
        });
    }
}

#[test]
fn a_table_page_in_transition_is_followed() {
    let mut spec = poolscope::synth::small::spec();
    spec.options.retired_table = true;
    let machine = Machine::build(&spec).unwrap();
    with(&machine, Container::BitmapKernel, |_, index| {
        check_blocks(&machine.truth, index, Container::BitmapKernel);
    });
}

#[test]
fn a_gigabyte_page_maps_the_right_frames() {
    let machine = machines::small();
    with(machine, Container::BitmapKernel, |engine, _| {
        let root = machine.memory.root().0;
        let alias = Va(0xffff_f8c0_0000_0000 + root);
        let entry = engine.kernel().space.u64(alias.add(0x1ed * 8)).unwrap();
        assert_eq!(entry & 0xf_ffff_f000, root, "the self-map entry");
    });
}

#[test]
fn many_machines_are_read_back_block_by_block() {
    for seed in 0..20 {
        let mut spec: Spec = poolscope::synth::small::spec();
        spec.seed = seed;
        spec.processors = 1 + (seed % 4) as u16;
        spec.allocations = poolscope::synth::small::allocations(&spec);
        let machine = Machine::build(&spec).unwrap();
        with(&machine, Container::BitmapKernel, |engine, index| {
            check_trackers(&machine.truth, engine);
            check_blocks(&machine.truth, index, Container::BitmapKernel);
        });
    }
}

#[test]
fn files_that_are_not_dumps_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for broken in Broken::ALL {
        let path = folder.path().join(format!("{broken:?}"));
        broken.write(&path).unwrap();
        let why = Engine::open(&path, &Options::default());
        assert!(
            matches!(why, Err(OpenError::Dump(_))),
            "{broken:?}: {why:?}"
        );
    }
    let path = folder.path().join("cut");
    broken::cut_in_header(&path, machines::small()).unwrap();
    assert!(Engine::open(&path, &Options::default()).is_err());
}

#[test]
fn a_truncated_dump_opens_or_the_error_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let machine = machines::small();
    for container in CONTAINERS {
        for keep in [3, 20, 50, 80, 99] {
            let path = folder.path().join("cut");
            broken::cut_in_data(&path, machine, container, keep).unwrap();
            if let Ok(engine) = Engine::open(&path, &Options::default()) {
                let cut = engine.dump().pages_cut_off();
                assert!(cut > 0, "{container:?} at {keep} %");
                engine.index(Arc::new(Progress::default())).unwrap();
            }
        }
    }
}

#[test]
fn a_large_dump_reconciles() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    let truth = large(&path, 24 << 20).unwrap();
    let (engine, index) = open(&path);
    check_trackers(&truth, &engine);
    for (bytes, account) in truth
        .tags
        .iter()
        .filter(|(t, _)| t[0] == b'B' && t[3] == b'k')
    {
        let found = index.totals.tag(tag(bytes));
        let (np, p) = (found.nonpaged, found.paged);
        assert_eq!(
            (np.blocks, np.bytes),
            (account.nonpaged.blocks, account.nonpaged.bytes)
        );
        assert_eq!(
            (p.blocks, p.bytes),
            (account.paged.blocks, account.paged.bytes)
        );
    }
}
