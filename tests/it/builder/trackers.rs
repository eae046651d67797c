//! Trackers at their limits: the maximum number of processors, tags without a slot, absurd
//! table sizes, lists that loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use poolscope::analysis::objects;
use poolscope::engine::{Engine, Options};
use poolscope::memory::Va;
use poolscope::pool::index::Snapshot;
use poolscope::pool::tracker::Usage;
use poolscope::pool::{Tag, TagPattern};
use poolscope::synth::era::{Era, WIN7, WIN10_1607, WIN10_1803, WIN10_2004, WIN11};
use poolscope::synth::truth::{Account, TagAccount};
use poolscope::synth::{Container, Machine, Spec, small};

use crate::machines;

/// Far more than each of these takes, and far less than an endless loop would.
const SOON: Duration = Duration::from_secs(60);

fn open<R>(machine: &Machine, f: impl FnOnce(&Engine) -> R) -> R {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    machine.write(&path, Container::BitmapKernel).unwrap();
    let start = Instant::now();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let out = f(&engine);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    out
}

/// The number of blocks found.
fn blocks(index: &Snapshot) -> usize {
    index.matching(&TagPattern::any()).count()
}

/// The address of a variable in nt.
fn variable(machine: &Machine, era: &Era, name: &str) -> Va {
    machine.truth.kernel_base.add(era.rva(name).unwrap().into())
}

fn check_rows(engine: &Engine, want: &BTreeMap<Tag, TagAccount>) {
    let account = |usage: &Usage| Account {
        blocks: usage.outstanding,
        bytes: usage.bytes,
    };
    let got: BTreeMap<Tag, TagAccount> = engine
        .trackers()
        .rows
        .iter()
        .map(|r| {
            let (nonpaged, paged) = (account(&r.nonpaged), account(&r.paged));
            (r.tag, TagAccount { nonpaged, paged })
        })
        .collect();
    assert!(got == *want, "{got:?}\n{want:?}");
}

fn rows(machine: &Machine) -> BTreeMap<Tag, TagAccount> {
    let tags = machine.truth.tags.iter();
    tags.map(|(t, a)| (Tag::new(u32::from_le_bytes(*t)), *a))
        .collect()
}

/// A machine with a tracker table for each processor; no table has all tags.
fn of_processors(processors: u16) -> Spec {
    let mut spec = small::of_era(&WIN11);
    spec.processors = processors;
    spec.runs = vec![(1, 0x9e), (0x100, 0x1_8000)];
    spec.vm.physical_memory = 0x9e + 0x1_8000;
    spec.vm.commit_limit = 0x2_0000;
    spec.options.idle_tags = Vec::new();
    spec.options.tracker_entries = 257;
    spec.options.scatter = false;
    spec.allocations = small::allocations(&spec);
    spec
}

#[test]
fn tracker_tables_of_2048_processors_add_up() {
    // The maximum with symbols; fewer without, because the search for the tables compares
    // them all.
    for (processors, unknown) in [(2048, false), (130, true)] {
        let mut spec = of_processors(processors);
        spec.options.unknown_kernel = unknown;
        let machine = Machine::build(&spec).unwrap();
        open(&machine, |engine| {
            assert_eq!(engine.trackers().tables.len(), usize::from(processors));
            assert_eq!(engine.trackers().notes, Vec::<String>::new());
            check_rows(engine, &rows(&machine));
        });
    }
}

#[test]
fn tags_without_a_slot_are_in_the_overflow_row() {
    for era in [&WIN7, &WIN10_1607, &WIN11] {
        let mut spec = small::of_era(era);
        let lost = [*b"netv", *b"Leak"];
        spec.options.overflowed = lost.to_vec();
        let machine = Machine::build(&spec).unwrap();
        let mut want = rows(&machine);
        let mut sum = TagAccount::default();
        for tag in lost.map(|t| Tag::new(u32::from_le_bytes(t))) {
            let account = want.remove(&tag).unwrap();
            sum.nonpaged += account.nonpaged;
            sum.paged += account.paged;
        }
        want.insert(Tag::new(u32::from_le_bytes(*b"Ovfl")), sum);
        open(&machine, |engine| {
            check_rows(engine, &want);
            let index = engine.index(Arc::default()).unwrap();
            let said = |tag: &[u8; 4]| {
                let coverage = engine.coverage(Tag::new(u32::from_le_bytes(*tag)), &index);
                let sentences = coverage.sentences();
                sentences.iter().any(|s| s.contains("the row Ovfl"))
            };
            assert!(said(b"netv") && said(b"Leak") && !said(b"File"));
            // The total includes the overflow row, so nothing is lost.
            let all = engine.total_coverage(&index);
            let outstanding =
                |side: poolscope::analysis::coverage::Side| side.tracker.unwrap().blocks;
            let counted: u64 = machine
                .truth
                .tags
                .values()
                .map(|a| a.nonpaged.blocks + a.paged.blocks)
                .sum();
            assert_eq!(outstanding(all.nonpaged) + outstanding(all.paged), counted);
        });
    }
}

/// Between 1607 and 1809, public symbols do not tell which of two layouts the entries have.
#[test]
fn entries_are_read_if_only_the_hash_identifies_their_layout() {
    let machine = machines::of_era(&WIN10_1803);
    open(machine, |engine| {
        let notes = engine.warnings();
        let said = "the pool trackers have the layout of build 17763";
        assert!(notes.iter().any(|n| n.contains(said)), "{notes:?}");
        check_rows(engine, &rows(machine));
    });
}

#[test]
fn tables_of_absurd_sizes_are_rejected_and_reported() {
    for era in [&WIN7, &WIN10_2004, &WIN11] {
        let spec = small::of_era(era);
        for (name, said) in [
            ("PoolTrackTableSize", "no counts per tag"),
            ("PoolTrackTableExpansionSize", "which is not plausible"),
            ("PoolBigPageTableSize", "which is not plausible"),
        ] {
            let mut machine = Machine::build(&spec).unwrap();
            let at = variable(&machine, era, name);
            machine.memory.u64(at, 1 << 60);
            open(&machine, |engine| {
                let index = engine.index(Arc::default()).unwrap();
                assert!(blocks(&index) > 100, "{name}");
                let mut notes = engine.warnings();
                notes.extend(index.notes.iter().cloned());
                assert!(notes.iter().any(|n| n.contains(said)), "{name}: {notes:?}");
            });
        }
    }
}

/// The largest plausible size, for as many tables as the array can hold.
#[test]
fn tables_beyond_the_dump_are_not_added_up() {
    let mut machine = machines::of_era(&WIN11).clone();
    let array = variable(&machine, &WIN11, "ExPoolTagTables");
    let first = Va(machine.memory.read(array));
    for i in 1..2048u64 {
        machine.memory.pointer(array.add(i * 8), first.add(i * 8));
    }
    let size = variable(&machine, &WIN11, "PoolTrackTableSize");
    machine.memory.u64(size, 1 << 20);
    open(&machine, |engine| {
        let notes = &engine.trackers().notes;
        let said = "more than the dump holds";
        assert!(notes.iter().any(|n| n.contains(said)), "{notes:?}");
    });
}

/// Lists of modules, processes and sessions whose second entry points to itself.
#[test]
fn walking_a_looping_list_ends() {
    for era in [&WIN7, &WIN10_1607, &WIN10_2004] {
        for name in ["PsLoadedModuleList", "PsActiveProcessHead"] {
            let mut machine = machines::of_era(era).clone();
            let head = variable(&machine, era, name);
            let first = Va(machine.memory.read(head));
            let second = Va(machine.memory.read(first));
            machine.memory.pointer(second, second);
            open(&machine, |engine| {
                let index = engine.index(Arc::default()).unwrap();
                assert!(blocks(&index) > 100);
                if name == "PsActiveProcessHead" {
                    let (running, said) = objects::processes::running(engine.kernel());
                    assert!(running.len() > 1);
                    let said = said.unwrap();
                    assert!(said.contains("the list of processes is damaged"), "{said}");
                    let notes = &engine.sessions().notes;
                    assert!(notes.iter().any(|n| n.contains(&said)), "{notes:?}");
                }
                if name == "PsLoadedModuleList" {
                    let loaded = engine.kernel().modules.iter().filter(|m| !m.unloaded);
                    assert_eq!(loaded.count(), 4, "the rest is found from the end");
                    let notes = engine.warnings();
                    let said = "the list of loaded modules is damaged";
                    assert!(notes.iter().any(|n| n.contains(said)), "{notes:?}");
                }
            });
        }
    }
}

/// A lookaside list whose first freed block points to itself.
#[test]
fn walking_a_looping_lookaside_list_ends() {
    for era in [&WIN7, &WIN10_1607] {
        let mut spec = small::of_era(era);
        spec.heaps = None;
        let mut machine = Machine::build(&spec).unwrap();
        let parked: Vec<Va> = machine
            .truth
            .blocks
            .iter()
            .filter(|b| b.state == poolscope::synth::truth::State::Lookaside)
            .map(|b| b.va.add(0x10))
            .collect();
        assert!(!parked.is_empty());
        for body in parked {
            machine.memory.pointer(body, body);
        }
        open(&machine, |engine| {
            let index = engine.index(Arc::default()).unwrap();
            assert!(blocks(&index) > 100);
            assert!(engine.total_coverage(&index).parked.blocks > 0);
        });
    }
}
