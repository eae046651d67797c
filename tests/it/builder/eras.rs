//! A small machine of each Windows version, with all of its special cases, read by the
//! engine without a PDB.

use std::collections::BTreeSet;
use std::sync::Arc;

use poolscope::engine::{Engine, Options};
use poolscope::memory::Va;
use poolscope::pool::block::{Backend, PoolKind};
use poolscope::pool::index::{Progress, Snapshot};
use poolscope::pool::tag::TagPattern;
use poolscope::pool::{Tag, block};
use poolscope::symbols::Source;
use poolscope::synth::counters::{COMMITMENTS, STACK_GROWTH_FAILURES};
use poolscope::synth::era::{
    Era, SERVER_2003, SERVER_2022, WIN7, WIN10_1607, WIN10_1809, WIN10_1903, WIN10_2004,
    WIN10_2004_RTM, WIN11, WIN11_22H2, WIN11_24H2, WIN81,
};
use poolscope::synth::heap::Damage;
use poolscope::synth::truth::{Pool, State, Truth};
use poolscope::synth::{Container, Machine, Spec, small};

use crate::machines;

const HEAP_ERAS: [&Era; 8] = [
    &WIN10_1903,
    &WIN10_2004_RTM,
    &WIN10_2004,
    &SERVER_2022,
    &WIN11,
    &WIN10_1809,
    &WIN11_22H2,
    &WIN11_24H2,
];
const CHAIN_ERAS: [&Era; 5] = [&SERVER_2003, &WIN7, &WIN81, &WIN10_1607, &WIN10_1809];

fn tag(bytes: &[u8; 4]) -> Tag {
    Tag::new(u32::from_le_bytes(*bytes))
}

fn with<R>(machine: &Machine, container: Container, f: impl FnOnce(&Engine, &Snapshot) -> R) -> R {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, container).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::new(Progress::default())).unwrap();
    f(&engine, &index)
}

/// A machine whose pool consists of block chains.
fn chains(era: &'static Era) -> Spec {
    let mut spec = small::of_era(era);
    spec.heaps = None;
    spec.allocations = small::allocations(&spec);
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

fn listed(index: &Snapshot, wanted: impl Fn(&block::Block) -> bool) -> BTreeSet<Plain> {
    let all = TagPattern::parse("*").unwrap();
    index
        .matching(&all)
        .filter(wanted)
        .map(|b| {
            let big = b.backend == Backend::Big;
            (b.va, b.bytes, b.tag, b.protected, b.kind, big)
        })
        .collect()
}

/// Blocks that are certain.
fn found(index: &Snapshot, parked: bool) -> BTreeSet<Plain> {
    listed(index, |b| {
        !b.heuristic && (b.state != block::State::Allocated) == parked
    })
}

/// Blocks recognised by their headers only.
fn guessed(index: &Snapshot) -> BTreeSet<Plain> {
    listed(index, |b| b.heuristic && b.state == block::State::Allocated)
}

fn check_blocks(truth: &Truth, index: &Snapshot, must: &[State], may: &[State]) {
    check_sets(laid(truth, must), laid(truth, may), index);
}

fn check_sets(must: BTreeSet<Plain>, may: BTreeSet<Plain>, index: &Snapshot) {
    let found_now = found(index, false);
    let missing: Vec<_> = must.difference(&found_now).collect();
    assert!(
        missing.is_empty(),
        "missing {}: {missing:x?}",
        missing.len()
    );
    let invented: Vec<_> = found_now
        .difference(&must)
        .filter(|b| !may.contains(b))
        .collect();
    assert!(
        invented.is_empty(),
        "invented {}: {invented:x?}",
        invented.len()
    );
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
    let differ: Vec<_> = got.symmetric_difference(&want).collect();
    assert!(differ.is_empty(), "{differ:?}");
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
        .map(|m| (m.base, m.size, m.unloaded))
        .collect();
    assert_eq!(got, want);
}

#[test]
fn heaps_are_read_block_by_block() {
    for era in HEAP_ERAS {
        let machine = machines::whole(era);
        for container in [Container::BitmapKernel, Container::Full] {
            with(machine, container, |engine, index| {
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

#[test]
fn missing_pages_cost_only_their_own_blocks() {
    for era in HEAP_ERAS {
        for seed in 0..3 {
            let mut spec = small::of_era(era);
            spec.seed = seed;
            spec.nonpaged.omitted = 3;
            spec.paged.paged_out = 5;
            spec.allocations = small::allocations(&spec);
            let machine = Machine::build(&spec).unwrap();
            let truth = &machine.truth;
            with(&machine, Container::BitmapKernel, |engine, index| {
                check_trackers(truth, engine);
                check_blocks(truth, index, &[State::Allocated], &[State::Damaged]);
                assert_eq!(found(index, true), laid(truth, &[State::Lookaside]));
                assert_eq!(
                    index.totals.nonpaged_pages.not_in_dump,
                    truth.nonpaged_pages.omitted
                );
                assert!(index.totals.paged_pages.paged_out >= 5);
                for broken in &truth.damaged {
                    assert!(index.totals.damaged.contains(broken), "{broken:x?}");
                }
                assert!(index.totals.unplaced_bytes > 0);
                let said = index
                    .notes
                    .iter()
                    .any(|n| n.contains("could not be parsed"));
                assert!(said, "{:?}", index.notes);
            });
            with(&machine, Container::Full, |_, index| {
                let may = [State::Damaged, State::Omitted];
                check_blocks(truth, index, &[State::Allocated], &may);
            });
        }
    }
}

#[test]
fn missing_blocks_of_each_tag_add_up() {
    for era in HEAP_ERAS {
        let mut spec = machines::whole_spec(era);
        spec.nonpaged.omitted = 3;
        spec.paged.paged_out = 5;
        let machine = Machine::build(&spec).unwrap();
        with(&machine, Container::BitmapKernel, |engine, index| {
            let coverage = engine.total_coverage(index);
            for (side, pool) in [
                (coverage.nonpaged, Pool::NonPaged),
                (coverage.paged, Pool::Paged),
            ] {
                let gone = |b: &&poolscope::synth::truth::Block| {
                    b.pool == pool && !matches!(b.state, State::Allocated | State::Lookaside)
                };
                let lost = machine.truth.blocks.iter().filter(gone).count() as u64;
                assert_eq!(side.missing_blocks(), lost, "{} {pool:?}", era.build);
                assert!(lost > 0);
            }
        });
    }
}

#[test]
fn walking_damaged_lists_ends_and_loses_no_block() {
    for era in HEAP_ERAS {
        for damage in [
            Damage::CutList,
            Damage::LoopingList,
            Damage::HeapAtItself,
            Damage::ManyPools,
        ] {
            // Without a symbol for ExPoolState, the count is what identifies it.
            if era.build >= WIN11_22H2.build && damage == Damage::ManyPools {
                continue;
            }
            for nodes in [1, 2] {
                let mut spec = machines::whole_spec(era);
                let heaps = spec.heaps.as_mut().unwrap();
                heaps.damage = Some(damage);
                heaps.nodes = nodes;
                heaps.units = 24;
                let machine = Machine::build(&spec).unwrap();
                with(&machine, Container::BitmapKernel, |_, index| {
                    let truth = &machine.truth;
                    check_blocks(truth, index, &[State::Allocated], &[]);
                    assert_eq!(found(index, true), laid(truth, &[State::Lookaside]));
                    // Damage that loses no blocks needs no note.
                    let said = match damage {
                        Damage::CutList => "its list gave",
                        Damage::ManyPools => "which is not plausible",
                        _ => return,
                    };
                    let said = index.notes.iter().any(|n| n.contains(said));
                    assert!(said, "{damage:?}: {:?}", index.notes);
                });
            }
        }
    }
}

#[test]
fn a_segment_without_its_header_is_reported() {
    for era in HEAP_ERAS {
        let mut spec = machines::whole_spec(era);
        spec.heaps.as_mut().unwrap().damage = Some(Damage::LostHeader);
        spec.heaps.as_mut().unwrap().units = 24;
        let machine = Machine::build(&spec).unwrap();
        let truth = &machine.truth;
        assert!(!laid(truth, &[State::Damaged]).is_empty());
        with(&machine, Container::BitmapKernel, |_, index| {
            check_blocks(truth, index, &[State::Allocated], &[]);
            let said = index
                .notes
                .iter()
                .any(|n| n.contains("of the others are missing"));
            assert!(said, "{:?}", index.notes);
            // Most of the hidden blocks are recognised by their headers, and marked as
            // heuristic. A few freed slots, whose bitmap is lost with the segment header,
            // look the same.
            let (guessed, hidden) = (guessed(index), laid(truth, &[State::Damaged]));
            let right = guessed.intersection(&hidden).count();
            assert!(
                right * 10 >= hidden.len() * 8,
                "{right} of {}",
                hidden.len()
            );
            assert!(
                right * 10 >= guessed.len() * 9,
                "{right} of {}",
                guessed.len()
            );
        });
        with(&machine, Container::Full, |_, index| {
            check_blocks(
                truth,
                index,
                &[State::Allocated, State::Damaged],
                &[State::Damaged],
            );
        });
    }
}

#[test]
fn without_heaps_large_blocks_are_found_and_the_gap_is_reported() {
    let mut machine = machines::whole(&WIN10_2004).clone();
    let state = machine.truth.kernel_base.add(0xc5_4780);
    machine.memory.u32(state.add(0x38d0), 0);
    with(&machine, Container::BitmapKernel, |engine, index| {
        check_trackers(&machine.truth, engine);
        let mut want = laid(&machine.truth, &[State::Allocated]);
        want.retain(|b| b.5);
        assert_eq!(found(index, false), want);
        let said = index.notes.iter().any(|n| n.contains("were not found"));
        assert!(said, "{:?}", index.notes);
    });
}

/// 1809 has both allocators: pages of block chains that belong to no heap are read too.
#[test]
fn block_chains_beside_heaps_are_read() {
    let spec = machines::whole_spec(&WIN10_1809);
    let mut machine = Machine::build(&spec).unwrap();
    let page = spec.nonpaged.start.add(0x40_0000_0000);
    machine.memory.map_new(page, 1);
    let mut want = laid(&machine.truth, &[State::Allocated]);
    for (at, before, units) in [(0, 0, 0x40u8), (0x400, 0x40, 0xc0)] {
        let header = [before, 0, units, 2, b'M', b'i', b'x', b'd'];
        machine.memory.write(page.add(at), &header);
        let (bytes, kind) = (u64::from(units) * 16, PoolKind::NonPagedNx);
        want.insert((page.add(at), bytes, tag(b"Mixd"), false, kind, false));
    }
    with(&machine, Container::BitmapKernel, |_, index| {
        check_sets(want, BTreeSet::new(), index);
    });
}

#[test]
fn counters_equal_those_of_the_builder() {
    for era in HEAP_ERAS {
        let mut spec = small::of_era(era);
        spec.heaps.as_mut().unwrap().nodes = 2;
        let machine = Machine::build(&spec).unwrap();
        with(&machine, Container::BitmapKernel, |engine, _| {
            check_counters(&machine, engine);
            check_nodes(&machine, engine);
        });
    }
}

/// Two nodes, each with two nonpaged pools; their sum is the total counter.
fn check_nodes(machine: &Machine, engine: &Engine) {
    let lines = engine.vm().lines();
    let pages = |label: &str| {
        let line = lines.iter().find(|l| l.0 == label);
        line.unwrap_or_else(|| panic!("{label}: {lines:?}")).1.pages
    };
    let nodes = [0, 1].map(|node| {
        let pool = |name| pages(&format!("{name} {node}")).unwrap();
        (pool("NonPagedPool"), pool("NonPagedPoolNx"))
    });
    let nx: u64 = nodes.iter().map(|n| n.1).sum();
    assert_eq!(pages("NonPagedPoolNx Usage"), Some(nx));
    let all: u64 = nodes.iter().map(|n| n.0 + n.1).sum();
    assert_eq!(all, machine.truth.vm.nonpaged_usage);
    assert!(nodes.iter().all(|n| n.0 > 0 && n.1 > 0), "{nodes:?}");
    // Pools with a count of zero are not listed.
    assert!(!lines.iter().any(|l| l.0.starts_with("PagedPool 0")));
}

fn check_counters(machine: &Machine, engine: &Engine) {
    let want = &machine.truth.vm;
    let got = poolscope::kernel::vm::read(engine.kernel());
    let paged: u64 = want.paged_usage.iter().sum();
    let sessions: u64 = want.session_commit.iter().sum();
    let pairs = [
        ("physical", &got.physical_memory, want.physical_memory),
        ("available", &got.available, want.available),
        (
            "resident available",
            &got.resident_available,
            want.resident_available,
        ),
        ("free ptes", &got.free_system_ptes, want.free_system_ptes),
        ("modified", &got.modified, want.modified),
        ("modified pf", &got.modified_pf, want.modified_pf),
        ("nonpaged", &got.nonpaged_usage, want.nonpaged_usage),
        ("nonpaged max", &got.nonpaged_max, want.nonpaged_max),
        ("paged", &got.paged_usage, paged),
        ("paged max", &got.paged_max, want.paged_max),
        ("sessions", &got.session_commit, sessions),
        ("shared", &got.shared_commit, want.shared_commit),
        ("processes", &got.shared_process, want.shared_process),
        ("drivers", &got.driver_commit, want.driver_commit.into()),
        ("committed", &got.committed, want.committed),
        ("limit", &got.commit_limit, want.commit_limit),
    ];
    // Without symbols, the debugger data block does not lead to all counters.
    let blind = matches!(engine.kernel().symbol_source(), Source::Layout { .. });
    let build = machine.truth.build;
    let known = build != SERVER_2003.build && (!blind || build >= WIN10_1607.build);
    for (name, counter, want) in pairs {
        // On NT 5.2, the debugger data block does not contain the addresses of all
        // counters. Windows 11 24H2 has no list of sessions, and the builder's sessions
        // have no processes.
        let listed = name != "sessions" || machine.truth.build != WIN11_24H2.build;
        if (known && listed) || counter.pages.is_some() {
            assert_eq!(
                counter.pages,
                Some(want),
                "{name} of {}",
                machine.truth.build
            );
        }
    }
    let Some(files) = got.page_files.filter(|_| known) else {
        return assert!(!known, "page files of {build}");
    };
    assert_eq!(files.len(), want.page_files.len());
    for (file, want) in files.iter().zip(&want.page_files) {
        let path = (!want.path.is_empty()).then_some(want.path.as_str());
        assert_eq!(
            (file.path.as_deref(), file.nameless),
            (path, path.is_none())
        );
        assert_eq!(
            [file.current, file.free, file.minimum, file.maximum],
            [want.current, want.free, want.minimum, want.maximum].map(Some)
        );
        assert_eq!(file.doubt, None);
    }
    check_commitments(machine, engine);
}

/// The lines that Windows 10 added, each with its own number.
fn check_commitments(machine: &Machine, engine: &Engine) {
    let report = engine.vm();
    assert_eq!(report.is_modern(), machine.truth.build >= 10240);
    // One machine has failures. The other machines have none, if their layout has the field.
    let counted = engine.kernel().visible_state().is_ok_and(|s| s.exact)
        && engine
            .kernel()
            .offset("_MI_SYSTEM_PTE_STATE", "StackGrowthFailures")
            .is_some();
    let failures = match machine.truth.build == WIN10_2004.build {
        true => STACK_GROWTH_FAILURES.into(),
        false => 0,
    };
    assert_eq!(report.stack_growth_failures, counted.then_some(failures));
    let labels = [
        ("MdlPagesAllocated", "Pages For MDLs"),
        ("ContiguousPagesAllocated", "ContigMem Pages"),
        ("BootCommit", "Boot Commit"),
        ("PfnDatabaseCommit", "PFN Array Commit"),
        ("SmallNonPagedPtesCommit", "SmallNonPagedPtesCommit"),
        ("SystemPageTableCommit", "System PageTables"),
        ("PagefileHashPages", "Pagefile Hash Pages"),
        ("VadPhysicalPages", "Pages For AWE"),
        ("SlabAllocatorPages", "SlabAllocatorPages"),
        ("ProcessLockedFilePages", "ProcessLockedFilePages"),
    ];
    let mut seen = 0;
    for (field, label) in labels {
        let ends = |path: &str| path.ends_with(field);
        let (_, _, pages) = COMMITMENTS.iter().find(|c| ends(c.1)).unwrap();
        let line = report.extra.iter().find(|(l, _)| *l == label);
        if let Some((_, line)) = line {
            assert_eq!(
                line.pages,
                Some(*pages),
                "{label} of {}",
                machine.truth.build
            );
            seen += 1;
        }
    }
    assert!(seen >= if report.is_modern() { 5 } else { 0 });
    let unknown = |label: &str| {
        report
            .extra
            .iter()
            .any(|(l, line)| *l == label && line.pages.is_none())
    };
    for label in [
        "Kernel Stacks",
        "Sum System Commit",
        "Misc/Transient Commit",
    ] {
        assert_eq!(unknown(label), report.is_modern(), "{label}");
    }
}

#[test]
fn chains_are_read_block_by_block() {
    for era in CHAIN_ERAS {
        for container in [Container::BitmapKernel, Container::Full] {
            let machine = Machine::build(&chains(era)).unwrap();
            with(&machine, container, |engine, index| {
                let truth = &machine.truth;
                eprintln!("{} {container:?}: {:?}", era.build, index.notes);
                assert_eq!(engine.kernel().build, era.build);
                check_modules(truth, engine);
                check_trackers(truth, engine);
                check_counters(&machine, engine);
                let mut must = laid(truth, &[State::Allocated, State::Unlisted]);
                let all = laid(truth, &[State::Omitted]);
                if container.stores_all() {
                    must.extend(all);
                }
                let may = laid(truth, &[State::Damaged]);
                check_sets(must, may, index);
                let parked = laid(truth, &[State::Lookaside, State::Pending]);
                assert_eq!(found(index, true), parked);
            });
        }
    }
}

#[test]
fn unknown_kernels_are_read_by_structure() {
    for era in HEAP_ERAS {
        let mut spec = machines::whole_spec(era);
        spec.options.unknown_kernel = true;
        let machine = Machine::build(&spec).unwrap();
        with(&machine, Container::BitmapKernel, |engine, index| {
            eprintln!("{}: {:?}", era.build, engine.kernel().notes);
            check_trackers(&machine.truth, engine);
            check_counters(&machine, engine);
            check_blocks(&machine.truth, index, &[State::Allocated], &[]);
        });
    }
    for era in [&WIN81, &WIN10_1607, &WIN10_1809] {
        let mut spec = chains(era);
        spec.options.unknown_kernel = true;
        // The mask of invalid entries is unknown too, so no bit of a prototype entry's
        // address can be inferred.
        spec.paged.prototype = 0;
        let machine = Machine::build(&spec).unwrap();
        with(&machine, Container::BitmapKernel, |engine, index| {
            eprintln!("{}: {:?}", era.build, engine.kernel().notes);
            let truth = &machine.truth;
            check_trackers(truth, engine);
            check_counters(&machine, engine);
            let must = laid(truth, &[State::Allocated]);
            let may = laid(truth, &[State::Damaged, State::Pending, State::Lookaside]);
            check_sets(must, may, index);
        });
    }
}

#[test]
fn every_container_of_windows_10_shows_the_same_heaps() {
    let machine = machines::whole(&WIN10_2004);
    for container in [
        Container::BitmapFull,
        Container::RangesKernel,
        Container::RangesKernelAndUser,
        Container::RangesFull,
    ] {
        with(machine, container, |engine, index| {
            check_trackers(&machine.truth, engine);
            check_blocks(&machine.truth, index, &[State::Allocated], &[]);
        });
    }
}

/// Sparse files: the gaps take no disk space.
#[test]
fn memory_beyond_4_gb_in_several_runs_is_found() {
    let mut spec = machines::whole_spec(&WIN11);
    // 1 MB, 16 MB, then ranges at 3 GB, 5 GB and 20 GB.
    spec.runs = vec![
        (1, 0x9e),
        (0x100, 0x1000),
        (0xc_0000, 0x400),
        (0x14_0000, 0x8_0000),
        (0x50_0000, 0xc_0000),
    ];
    let frames: u64 = spec.runs.iter().map(|r| r.1).sum();
    spec.vm.physical_memory = frames;
    spec.vm.commit_limit = frames * 2;
    let machine = Machine::build(&spec).unwrap();
    let mut frames = 0xc_0000..0x14_8000;
    assert!(frames.any(|pfn| pfn >= 0x14_0000 && machine.memory.physical.is_present(pfn)));
    for container in [
        Container::Full,
        Container::BitmapKernel,
        Container::RangesFull,
    ] {
        with(&machine, container, |engine, index| {
            check_trackers(&machine.truth, engine);
            check_counters(&machine, engine);
            check_blocks(&machine.truth, index, &[State::Allocated], &[]);
        });
    }
}

/// 65 GB of memory in six runs, with kernel memory on both sides of the 64 GB mark, in the
/// bitmap containers of Windows 8 and later; the full dump is a sparse file of that size.
#[test]
fn memory_beyond_64_gb_in_several_runs_is_found() {
    for (era, container, live) in [
        (&WIN10_1607, Container::BitmapFull, false),
        (&SERVER_2022, Container::BitmapKernel, true),
    ] {
        let mut spec = machines::whole_spec(era);
        spec.options.live = live;
        spec.options.scatter = false;
        spec.runs = vec![
            (1, 0x9e),
            (0x100, 0x1000),
            (0xc_0000, 0x400),
            (0x10_0000, 0x300),
            (0x20_0000, 0x2_f800),
            (0x100_0000, 0x100_0000),
        ];
        let frames: u64 = spec.runs.iter().map(|r| r.1).sum();
        assert!(frames * 0x1000 > 64 << 30);
        spec.vm.physical_memory = frames;
        spec.vm.commit_limit = frames * 2;
        let machine = Machine::build(&spec).unwrap();
        let physical = &machine.memory.physical;
        let in_use = |mut frames: std::ops::Range<u64>| frames.any(|f| physical.is_present(f));
        assert!(in_use(0x20_0000..0x30_0000) && in_use(0x100_0000..0x200_0000));
        with(&machine, container, |engine, index| {
            let header = engine.dump().header().unwrap();
            assert_eq!(header.dump_type, container.dump_type());
            assert_eq!(header.physical_pages, Some(frames));
            assert_eq!(header.is_live(), live);
            check_trackers(&machine.truth, engine);
            check_counters(&machine, engine);
            check_blocks(&machine.truth, index, &[State::Allocated], &[]);
        });
    }
}

#[test]
fn a_live_dump_is_reported_as_live() {
    let mut spec = machines::whole_spec(&WIN11);
    spec.options.live = true;
    let machine = Machine::build(&spec).unwrap();
    with(&machine, Container::BitmapKernel, |engine, index| {
        let header = engine.dump().header().unwrap();
        assert_eq!(header.bugcheck.code, 0x161);
        assert!(header.is_live());
        check_blocks(&machine.truth, index, &[State::Allocated], &[]);
    });
}
