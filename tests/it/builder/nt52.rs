//! NT 5.2 for x64 (Server 2003, XP): no table knows its kernels by identity, so everything
//! comes from the debugger data block, from structure, and from the layouts of build 3790.

use std::collections::BTreeSet;
use std::sync::Arc;

use poolscope::engine::{Engine, Options};
use poolscope::memory::{Fault as Missing, Va};
use poolscope::pool::Tag;
use poolscope::pool::block::{Block, PoolKind, State as Is};
use poolscope::pool::index::{Progress, Snapshot};
use poolscope::pool::tag::TagPattern;
use poolscope::symbols::Source;
use poolscope::synth::era::SERVER_2003;
use poolscope::synth::paging::Entry;
use poolscope::synth::sessions::{self, Fault};
use poolscope::synth::truth::{Pool, State, Truth};
use poolscope::synth::{Container, Machine, small};

use crate::machines;

/// Complete and kernel dumps: the only ones that Windows wrote then. It is unknown which of
/// the two summary headers a kernel dump has, so both are tested.
const CONTAINERS: [Container; 4] = [
    Container::Full,
    Container::Summary { bitmap_at: 0x28 },
    Container::Summary { bitmap_at: 0x24 },
    Container::SummaryWide,
];

fn with<R>(machine: &Machine, container: Container, f: impl FnOnce(&Engine, &Snapshot) -> R) -> R {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, container).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::new(Progress::default())).unwrap();
    f(&engine, &index)
}

fn tag(bytes: &[u8; 4]) -> Tag {
    Tag::new(u32::from_le_bytes(*bytes))
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

fn found(index: &Snapshot, wanted: impl Fn(&Block) -> bool) -> BTreeSet<Plain> {
    index
        .matching(&TagPattern::any())
        .filter(wanted)
        .map(|b| (b.va, b.bytes, b.tag, b.protected, b.kind.is_nonpaged()))
        .collect()
}

fn in_use(index: &Snapshot) -> BTreeSet<Plain> {
    found(index, |b| b.state == Is::Allocated)
}

/// A tag and its outstanding allocations: blocks and bytes of each pool.
type Account = (Tag, u64, u64, u64, u64);

fn accounts(truth: &Truth) -> BTreeSet<Account> {
    let row = |(name, a): (&[u8; 4], &poolscope::synth::truth::TagAccount)| {
        let (np, p) = (a.nonpaged, a.paged);
        (tag(name), np.blocks, np.bytes, p.blocks, p.bytes)
    };
    truth.tags.iter().map(row).collect()
}

fn rows(engine: &Engine) -> BTreeSet<Account> {
    let rows = engine.trackers().rows.iter();
    rows.map(|r| {
        let (np, p) = (r.nonpaged, r.paged);
        (r.tag, np.outstanding, np.bytes, p.outstanding, p.bytes)
    })
    .collect()
}

/// Blocks that Windows counts as in use and whose pages exist.
const HELD: [State; 2] = [State::Allocated, State::Unlisted];

#[test]
fn every_tag_reconciles_exactly_if_all_pages_are_present() {
    // Lookaside lists in the format of early processors, and in that of later ones.
    for packed in [true, false] {
        let mut spec = machines::whole_spec(&SERVER_2003);
        spec.options.packed_slists = packed;
        spec.processors = if packed { 2 } else { 4 };
        spec.allocations = small::allocations(&spec);
        let machine = Machine::build(&spec).unwrap();
        let truth = &machine.truth;
        for container in CONTAINERS {
            with(&machine, container, |engine, index| {
                assert_eq!(
                    engine.kernel().symbol_source(),
                    &Source::Layout { build: 3790 }
                );
                assert_eq!(engine.kernel().version, (5, 2));
                assert_eq!(rows(engine), accounts(truth), "{container:?}");
                assert_eq!(in_use(index), laid(truth, &HELD), "{container:?}");
                let parked = laid(truth, &[State::Lookaside, State::Pending]);
                assert!(parked.len() > 20);
                assert_eq!(found(index, |b| b.state != Is::Allocated), parked);
                for row in &engine.trackers().rows {
                    let coverage = engine.coverage(row.tag, index);
                    assert!(
                        coverage.nonpaged.agrees() && coverage.paged.agrees(),
                        "{}: {:?}",
                        row.tag,
                        coverage.sentences()
                    );
                }
                assert_eq!(index.totals.free.bytes, truth.free.bytes);
                assert!(index.notes.is_empty(), "{:?}", index.notes);
            });
        }
    }
}

#[test]
fn unlisted_tables_are_found_as_the_trackers_count_them() {
    let machine = machines::whole(&SERVER_2003);
    let own = laid(&machine.truth, &[State::Unlisted]);
    assert_eq!(
        own.len(),
        4,
        "two trackers, one for the rest, one of large allocations"
    );
    with(machine, Container::Full, |engine, index| {
        let pool = tag(b"Pool");
        assert_eq!(found(index, |b| b.tag == pool), own);
        assert!(engine.coverage(pool, index).nonpaged.agrees());
    });
}

#[test]
fn only_unreadable_or_damaged_blocks_are_missing() {
    for seed in 0..3 {
        let mut spec = small::of_era(&SERVER_2003);
        spec.seed = seed;
        spec.nonpaged.omitted = 2;
        spec.nonpaged.damaged = 2;
        spec.paged.paged_out = 4;
        spec.allocations = small::allocations(&spec);
        let machine = Machine::build(&spec).unwrap();
        let truth = &machine.truth;
        with(&machine, Container::WIN7_KERNEL, |engine, index| {
            let found = in_use(index);
            let must = laid(truth, &HELD);
            let may = laid(truth, &[State::Damaged]);
            assert!(must.is_subset(&found), "{:x?}", must.difference(&found));
            let more: Vec<_> = found.difference(&must).collect();
            assert!(more.iter().all(|b| may.contains(b)), "{more:x?}");
            for broken in &truth.damaged {
                assert!(index.totals.damaged.contains(broken), "{broken:x?}");
            }
            assert_eq!(truth.damaged.len(), 2);
            assert_eq!(
                index.totals.nonpaged_pages.not_in_dump,
                truth.nonpaged_pages.omitted
            );
            assert!(index.totals.paged_pages.paged_out >= 4);
            // Counters do not depend on the pages of the blocks.
            assert_eq!(rows(engine), accounts(truth));
            let total = engine.total_coverage(index);
            let gone = |pool| {
                let lost = |b: &&poolscope::synth::truth::Block| {
                    let plain = (
                        b.va,
                        b.bytes,
                        tag(&b.tag),
                        b.protected,
                        b.pool == Pool::NonPaged,
                    );
                    b.pool == pool && b.state.is_counted() && !found.contains(&plain)
                };
                truth.blocks.iter().filter(lost).count() as u64
            };
            assert_eq!(total.nonpaged.missing_blocks(), gone(Pool::NonPaged));
            assert_eq!(total.paged.missing_blocks(), gone(Pool::Paged));
            assert!(gone(Pool::NonPaged) > 0 && gone(Pool::Paged) > 0);
        });
    }
}

/// Later kernels flip a bit in entries of paged-out pages, and it may be the only bit of
/// the page number. NT 5.2 does not.
#[test]
fn a_paged_out_page_is_recognised_whatever_its_number() {
    let mut spec = machines::whole_spec(&SERVER_2003);
    // No entry from which the mask could be inferred.
    spec.paged.transition = 0;
    let mut machine = Machine::build(&spec).unwrap();
    let page = Va(0xffff_fa9f_0000_0000);
    machine.memory.map(page, Entry::PageFile(0, 1 << 13));
    // Only System's page tables contain the new table.
    machine.header.directory_table = machine.memory.root().0;
    with(&machine, Container::Full, |engine, _| {
        let read = engine.kernel().space.u64(page);
        assert_eq!(read, Err(Missing::PagedOut));
    });
}

#[test]
fn a_single_table_for_all_processors_is_used_with_a_warning() {
    let mut spec = machines::whole_spec(&SERVER_2003);
    spec.options.one_tracker = true;
    spec.allocations = small::allocations(&spec);
    let machine = Machine::build(&spec).unwrap();
    with(&machine, Container::WIN7_KERNEL, |engine, index| {
        assert_eq!(engine.trackers().tables.len(), 1);
        assert_eq!(rows(engine), accounts(&machine.truth));
        assert!(engine.total_coverage(index).nonpaged.agrees());
        let said = engine.warnings().join("\n");
        assert!(
            said.contains("one pool tracker table was found, for 2 processors"),
            "{said}"
        );
    });
}

#[test]
fn missing_tables_are_reported_and_the_rest_is_read() {
    let mut machine = machines::whole(&SERVER_2003).clone();
    let nt = machine.truth.kernel_base;
    let rva = |name| u64::from(SERVER_2003.rva(name).unwrap());
    let table = nt.add(rva("PoolBigPageTable"));
    machine.memory.u64(table, 0);
    with(&machine, Container::WIN7_KERNEL, |engine, index| {
        let said = engine.warnings().join("\n") + &index.notes.join("\n");
        let note = "the big page table was not found";
        assert!(said.contains(note) || engine.big().notes.iter().any(|n| n.contains(note)));
        let mut small = laid(&machine.truth, &[State::Allocated]);
        small.retain(|b| b.1 < 0x1000);
        assert_eq!(in_use(index), small);
    });
    machine.memory.u64(nt.add(rva("PoolTrackTable")), 0);
    with(&machine, Container::WIN7_KERNEL, |engine, index| {
        assert!(engine.trackers().rows.is_empty());
        assert!(!engine.trackers().notes.is_empty());
        assert!(in_use(index).len() > 100);
    });
}

/// Bounds of nonpaged pool that include the address range of the drivers.
#[test]
fn images_within_the_bounds_of_a_pool_are_excluded() {
    let mut spec = machines::whole_spec(&SERVER_2003);
    spec.nonpaged.start = Va(0xffff_fadf_0000_0000);
    spec.vm.nonpaged_max = 0x10_0000;
    spec.allocations = small::allocations(&spec);
    let machine = Machine::build(&spec).unwrap();
    with(&machine, Container::Full, |engine, index| {
        let regions = engine.regions();
        for module in engine.kernel().modules.iter().filter(|m| !m.unloaded) {
            let inside = module.base.0 >> 32 == 0xffff_fadf;
            assert_eq!(regions.at(module.base).is_some(), inside);
        }
        assert_eq!(in_use(index), laid(&machine.truth, &HELD));
    });
}

#[test]
fn without_bounds_the_fixed_addresses_are_walked() {
    let mut machine = machines::whole(&SERVER_2003).clone();
    let kdbg = machine.header.debugger_data;
    for field in [0x110, 0x118, 0x120, 0x128] {
        machine.memory.u64(kdbg.add(field), 0);
    }
    with(&machine, Container::WIN7_KERNEL, |engine, index| {
        let regions = &engine.regions().regions;
        assert!(
            regions
                .iter()
                .all(|r| r.source == "the fixed addresses of NT 5.2")
        );
        assert_eq!(regions.len(), 2);
        assert_eq!(in_use(index), laid(&machine.truth, &HELD));
    });
}

#[test]
fn lookaside_lists_that_break_off_are_reported() {
    let mut machine = machines::whole(&SERVER_2003).clone();
    let lists = SERVER_2003
        .rva("ExpSmallPagedPoolLookasideLists")
        .unwrap()
        .into();
    // A depth, and a first entry at an unmapped address.
    let list = machine.truth.kernel_base.add(lists);
    machine.memory.u64(list.add(0x80), 2);
    machine.memory.u64(list.add(0x88), 0xffff_fa9f_0000_0001);
    with(&machine, Container::Full, |engine, index| {
        let said = engine.warnings().join("\n") + &index.notes.join("\n");
        assert!(said.contains("1 lookaside lists break off"), "{said}");
    });
}

#[test]
fn counters_outside_the_debugger_data_block_are_unknown() {
    let machine = machines::whole(&SERVER_2003);
    let truth = &machine.truth.vm;
    with(machine, Container::WIN7_KERNEL, |engine, _| {
        let vm = engine.vm();
        let paged: u64 = truth.paged_usage.iter().sum();
        for (name, line, want) in [
            ("physical", &vm.physical_memory, truth.physical_memory),
            ("available", &vm.available, truth.available),
            ("nonpaged", &vm.nonpaged_usage, truth.nonpaged_usage),
            ("nonpaged max", &vm.nonpaged_max, truth.nonpaged_max),
            ("paged", &vm.paged_usage, paged),
            ("paged max", &vm.paged_max, truth.paged_max),
            ("committed", &vm.committed, truth.committed),
            ("limit", &vm.commit_limit, truth.commit_limit),
            ("paged commit", &vm.paged_commit, truth.paged_commit),
        ] {
            assert_eq!(line.pages, Some(want), "{name}");
            assert_eq!(line.doubt, None, "{name}");
        }
        let entries = vm.free_nonpaged_ptes.as_ref().unwrap();
        for line in [&vm.locked_io, &vm.free_system_ptes, entries] {
            assert_eq!(line.pages, None);
            assert!(!line.source.is_empty());
        }
        assert_eq!(vm.page_files, None);
        let labels: Vec<String> = vm.lines().into_iter().map(|(label, _)| label).collect();
        let from = labels.iter().position(|l| l == "Free System PTEs").unwrap();
        assert_eq!(
            labels[from..from + 3],
            ["Free System PTEs", "Free NP PTEs", "Modified Pages"]
        );
    });
}

/// Sessions of NT 5.2 have no separate table for allocations of a page and more.
#[test]
fn a_large_allocation_in_session_space_is_session_pool() {
    let mut machine = machines::whole(&SERVER_2003).clone();
    let tables = machine.truth.blocks.iter();
    let table = tables
        .filter(|b| b.state == State::Unlisted)
        .max_by_key(|b| b.bytes)
        .unwrap();
    let slots = (0..4096).map(|i| table.va.add(i * 0x18));
    let free = slots
        .filter(|at| machine.memory.read(*at) == 1)
        .nth(7)
        .unwrap();
    let va = Va(0xffff_f900_c123_4000);
    machine.memory.pointer(free, va);
    machine.memory.write(free.add(8), b"Gbig\x03\0\0\0");
    with(&machine, Container::WIN7_KERNEL, |engine, index| {
        let block = engine.big().at(va).copied().unwrap();
        assert_eq!((block.bytes, block.kind), (0x3000, PoolKind::Session));
        let gbig = tag(b"Gbig");
        // Nothing shows to which session it belongs.
        let listed: Vec<_> = index
            .allocated(&TagPattern::any())
            .filter(|b| b.tag == gbig)
            .map(|b| (b.va, b.kind, b.session))
            .collect();
        assert_eq!(listed, [(va, PoolKind::Session, None)]);
        assert_eq!(index.totals.tag(gbig).nonpaged.bytes, 0);
    });
}

#[test]
fn each_session_has_its_blocks_and_unknown_counters() {
    let mut machine = machines::whole(&SERVER_2003).clone();
    let blocks = sessions::add(&mut machine, &SERVER_2003, &[Fault::None, Fault::None]);
    with(&machine, Container::WIN7_KERNEL, |engine, index| {
        let all = TagPattern::any();
        let found: BTreeSet<_> = index
            .matching(&all)
            .filter(|b| b.session.is_some())
            .map(|b| {
                assert_eq!(b.kind, PoolKind::Session);
                let parked = b.state != Is::Allocated;
                (b.session, b.va, b.bytes, b.tag, parked)
            })
            .collect();
        let laid: BTreeSet<_> = blocks
            .iter()
            .map(|b| (Some(b.session), b.va, b.bytes, tag(&b.tag), b.parked))
            .collect();
        assert_eq!(found, laid);
        assert!(found.iter().any(|b| b.4));
        let said = engine.session_trackers().notes.join("\n");
        assert!(said.contains("not known"), "{said}");
        let committed = sessions::committed(1) + sessions::committed(2);
        assert_eq!(engine.vm().session_commit.pages, Some(committed));
    });
}
