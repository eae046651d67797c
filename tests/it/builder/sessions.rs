//! Sessions and special pool on small machines, read by the engine without a PDB.

use std::collections::BTreeSet;
use std::sync::Arc;

use poolscope::engine::{Engine, Options};
use poolscope::memory::Va;
use poolscope::pool::Tag;
use poolscope::pool::block::{self, Backend, PoolKind};
use poolscope::pool::index::{Progress, Snapshot};
use poolscope::pool::tag::TagPattern;
use poolscope::synth::era::{Era, WIN7, WIN10_1607, WIN10_2004};
use poolscope::synth::kernel::Nt;
use poolscope::synth::sessions::{self, Fault, SessionBlock};
use poolscope::synth::special::{self, Special};
use poolscope::synth::{Container, Machine, small};

const ERAS: [&Era; 2] = [&WIN7, &WIN10_2004];

fn tag(bytes: &[u8; 4]) -> Tag {
    Tag::new(u32::from_le_bytes(*bytes))
}

fn machine(era: &'static Era) -> Machine {
    let mut spec = small::of_era(era);
    spec.processes = ["System", "a.exe", "b.exe", "c.exe"]
        .map(String::from)
        .to_vec();
    spec.allocations = small::allocations(&spec);
    Machine::build(&spec).unwrap()
}

fn with<R>(machine: &Machine, f: impl FnOnce(&Engine, &Snapshot) -> R) -> R {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapKernel).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::new(Progress::default())).unwrap();
    f(&engine, &index)
}

type Plain = (Option<u32>, Va, u64, Tag, bool);

fn laid(blocks: &[SessionBlock], sessions: &[u32]) -> BTreeSet<Plain> {
    let own = blocks.iter().filter(|b| sessions.contains(&b.session));
    own.map(|b| (Some(b.session), b.va, b.bytes, tag(&b.tag), b.parked))
        .collect()
}

fn found(index: &Snapshot) -> BTreeSet<Plain> {
    let all = TagPattern::any();
    let own = index.matching(&all).filter(|b| b.session.is_some());
    own.map(|b| {
        assert_eq!(b.kind, PoolKind::Session);
        let parked = b.state != block::State::Allocated;
        (b.session, b.va, b.bytes, b.tag, parked)
    })
    .collect()
}

#[test]
fn each_session_has_its_own_blocks_at_the_same_addresses() {
    for era in ERAS {
        let plain = machine(era);
        let mut machine = plain.clone();
        let blocks = sessions::add(&mut machine, era, &[Fault::None, Fault::None]);
        let system = with(&plain, |_, index| {
            index.matching(&TagPattern::any()).collect::<Vec<_>>()
        });
        with(&machine, |engine, index| {
            assert_eq!(
                engine.sessions().sessions.len(),
                2,
                "{:?}",
                engine.sessions().notes
            );
            assert_eq!(found(index), laid(&blocks, &[1, 2]), "{}", era.build);
            // System pool is the same as without sessions.
            let now: Vec<_> = index
                .matching(&TagPattern::any())
                .filter(|b| b.session.is_none())
                .collect();
            assert_eq!(now, system);
            let coverage = engine.total_coverage(index);
            assert!(coverage.session.agrees(), "{:?}", coverage.sentences());
            assert!(coverage.session.found.blocks > 20);
            for name in [b"Ses1", b"Ses2", b"Gbig", b"Ttfd"] {
                let coverage = engine.coverage(tag(name), index);
                assert!(coverage.session.agrees() && coverage.session.found.blocks > 0);
                assert_eq!(coverage.paged.found.blocks, 0);
            }
        });
    }
}

#[test]
fn a_session_with_missing_tables_is_reported() {
    for era in ERAS {
        for fault in [Fault::NoTables, Fault::NoSpace] {
            let mut machine = machine(era);
            let blocks = sessions::add(&mut machine, era, &[Fault::None, fault]);
            with(&machine, |_, index| {
                assert_eq!(found(index), laid(&blocks, &[1]));
                let said = |n: &&String| {
                    n.starts_with("session 2: its pool is missing") || n.contains("the session at")
                };
                assert_eq!(
                    index.notes.iter().filter(said).count(),
                    1,
                    "{:?}",
                    index.notes
                );
            });
        }
    }
}

#[test]
fn blocks_are_in_order_within_each_pool() {
    let mut machine = machine(&WIN7);
    sessions::add(&mut machine, &WIN7, &[Fault::None; 3]);
    with(&machine, |engine, index| {
        for name in [b"Ttfd", b"Gbig", b"Leak"] {
            let list = index.blocks(tag(name));
            let all: Vec<_> = list.iter().collect();
            assert!(all.is_sorted_by_key(|b| (b.session, b.va)));
            for (i, block) in all.iter().enumerate() {
                assert_eq!(list.position_in(block.session, block.va), i as u64);
                assert_eq!(list.get(i as u64).as_ref(), Some(block));
            }
        }
        // For session pool, `pool` shows the page from the first session that has it.
        let block = index.blocks(tag(b"Ses1")).get(0).unwrap();
        let page = engine.pool_page(block.va).unwrap();
        assert!(page.blocks.iter().any(|b| b.block == block));
    });
}

/// A block of special pool: start, bytes, tag, pool.
type OfSpecial = (Va, u64, Tag, PoolKind);

fn specials() -> Vec<Special> {
    let plain = |bytes| Special::new(*b"Spcl", bytes);
    vec![
        plain(0x18),
        plain(0x123),
        Special {
            at_start: true,
            ..plain(0x200)
        },
        Special {
            tracked: true,
            ..plain(0x48)
        },
        Special {
            tracked: true,
            at_start: true,
            ..plain(0x80)
        },
        Special {
            overwritten: true,
            ..plain(0x333)
        },
        plain(0xff0),
        plain(1),
    ]
}

fn laid_special(
    all: &[Special],
    at: &[Va],
    kind: impl Fn(&Special) -> PoolKind,
) -> BTreeSet<OfSpecial> {
    let bytes = |s: &Special| s.bytes.next_multiple_of(16);
    all.iter()
        .zip(at)
        .map(|(s, va)| (*va, bytes(s), tag(&s.tag), kind(s)))
        .collect()
}

fn found_special(index: &Snapshot) -> BTreeSet<OfSpecial> {
    let all = TagPattern::any();
    let own = index
        .matching(&all)
        .filter(|b| b.backend == Backend::Special);
    own.map(|b| (b.va, b.bytes, b.tag, b.kind)).collect()
}

fn check_special(machine: &Machine, want: &BTreeSet<OfSpecial>) {
    with(machine, |engine, index| {
        assert_eq!(&found_special(index), want);
        let doubts = index
            .notes
            .iter()
            .filter(|n| n.contains("damaged fill pattern"))
            .count();
        assert_eq!((index.totals.doubted, doubts), (1, 1));
        for (va, _, name, _) in want {
            let page = engine.pool_page(*va).unwrap();
            assert_eq!(page.blocks.len(), 1);
            assert!(page.blocks[0].holds_address && page.blocks[0].block.tag == *name);
            assert_eq!(page.blocks[0].block.body(), *va, "no header before it");
        }
    });
}

fn paged_by_bit(special: &Special) -> PoolKind {
    match special.paged {
        true => PoolKind::Paged,
        false => PoolKind::NonPaged,
    }
}

#[test]
fn special_pool_of_windows_7_is_read() {
    let mut machine = machine(&WIN7);
    let nt = Nt {
        era: &WIN7,
        base: machine.truth.kernel_base,
    };
    let start = Va(0xffff_f980_4000_0000);
    let mut all = specials();
    for special in all.iter_mut().step_by(3) {
        special.paged = true;
    }
    let at = sessions::within_dump(&mut machine, |memory| special::lay(memory, start, &all));
    special::windows_7(&mut machine.memory, &nt, start, 4);
    check_special(&machine, &laid_special(&all, &at, paged_by_bit));
}

#[test]
fn special_pool_has_a_region_in_windows_10_1607() {
    let mut machine = machine(&WIN10_1607);
    let nt = Nt {
        era: &WIN10_1607,
        base: machine.truth.kernel_base,
    };
    let start = Va(0xffff_dc00_0000_0000);
    // AssignedRegionSpecialPool is 9.
    let entry = nt
        .nested("MiState", "Vs.SystemVaRegions")
        .unwrap()
        .add(9 * 16);
    machine.memory.pointer(entry, start);
    machine.memory.u64(entry.add(8), 0x1_0000_0000);
    let all = specials();
    let at = sessions::within_dump(&mut machine, |memory| special::lay(memory, start, &all));
    check_special(&machine, &laid_special(&all, &at, paged_by_bit));
}

#[test]
fn special_pool_consists_of_heaps_in_windows_10_2004() {
    for (number, kind) in [
        (0, PoolKind::NonPaged),
        (1, PoolKind::NonPagedNx),
        (2, PoolKind::Paged),
    ] {
        let mut machine = machine(&WIN10_2004);
        let all = specials();
        let at = sessions::add_special_heap(&mut machine, &WIN10_2004, number, &all);
        check_special(&machine, &laid_special(&all, &at, |_| kind));
    }
}

#[test]
fn active_driver_verifier_is_reported() {
    let mut machine = machine(&WIN7);
    let verifier = |engine: &Engine| {
        let warnings = engine.warnings();
        let said = warnings.iter().find(|w| w.contains("Driver Verifier"));
        said.cloned()
    };
    with(&machine, |engine, _| assert_eq!(verifier(engine), None));
    let nt = Nt {
        era: &WIN7,
        base: machine.truth.kernel_base,
    };
    machine.memory.u32(nt.at("MmVerifierData"), 0x9);
    with(&machine, |engine, _| {
        let said = verifier(engine).unwrap();
        assert!(said.contains("0x9: special pool, pool tracking"), "{said}");
    });
}

#[test]
fn a_session_with_absurd_sizes_costs_only_its_pool() {
    let mut machine = machine(&WIN7);
    let blocks = sessions::add(&mut machine, &WIN7, &[Fault::None; 2]);
    // PoolTrackBigPagesSize, PoolTrackTableExpansionSize, PagedPoolEnd, and a lookaside
    // list with a large depth that points to itself.
    let space = Va(0xffff_f880_0400_0000);
    let absurd = [
        (0x1f48, 1 << 60),
        (0x1f38, 1 << 60),
        (0x48, u64::MAX),
        (0xc0, 0xffff),
        (0xc8, space.0 + 0x101),
        (0x100, space.0 + 0x100),
    ];
    for (offset, value) in absurd {
        machine.memory.u64(space.add(offset), value);
    }
    with(&machine, |_, index| {
        let others = found(index).into_iter().filter(|b| b.0 == Some(2));
        assert_eq!(others.collect::<BTreeSet<_>>(), laid(&blocks, &[2]));
        let said = |what: &str| {
            index
                .notes
                .iter()
                .any(|n| n.starts_with("session 1") && n.contains(what))
        };
        assert!(said("not plausible") && said("bounds"), "{:?}", index.notes);
    });
}
