//! The verdict on machines whose troubles are known because they were made.

use std::sync::Arc;

use poolscope::analysis::judgement::Verdict;
use poolscope::analysis::judgement::diagnosis::{Diagnosis, Finding};
use poolscope::engine::{Engine, Options};
use poolscope::pool::Tag;
use poolscope::pool::index::Progress;
use poolscope::synth::era::{
    Era, SERVER_2022, WIN7, WIN10_1607, WIN10_1809, WIN10_2004, WIN11, WIN81,
};
use poolscope::synth::legacy::Allocation;
use poolscope::synth::truth::Pool;
use poolscope::synth::{Container, Machine, Spec, small};

const HOUR: u64 = 3600 * 10_000_000;

fn diagnose(spec: &Spec) -> Diagnosis {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    let machine = Machine::build(spec).unwrap();
    machine.write(&path, Container::BitmapFull).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::new(Progress::default())).unwrap();
    engine.diagnose(&index)
}

/// The small machine with room for more, and with these blocks in its pools.
fn machine(era: &'static Era, more: &[(&[u8; 4], Pool, u64, u64)]) -> Spec {
    let mut spec = small::of_era(era);
    let pages = 0x1_0000;
    spec.runs = vec![(1, 0x9e), (0x100, pages)];
    spec.vm.physical_memory = 0x9e + pages;
    spec.vm.committed = pages;
    spec.vm.commit_limit = 2 * pages;
    spec.vm.nonpaged_max = pages;
    spec.options.gigabyte_page = false;
    spec.uptime = 100 * HOUR;
    for (tag, pool, count, bytes) in more {
        for _ in 0..*count {
            spec.allocations.push(Allocation::new(**tag, *pool, *bytes));
        }
    }
    spec
}

/// The same with so little room for nonpaged pool that `!vm` warns.
fn in_trouble(mut spec: Spec, nonpaged_pages: u64) -> Spec {
    spec.vm.nonpaged_max = nonpaged_pages;
    spec
}

fn of<'a>(diagnosis: &'a Diagnosis, tag: &str) -> Option<&'a Finding> {
    let tag = Tag::of(tag).unwrap();
    diagnosis.findings.iter().find(|f| f.tag() == tag)
}

#[test]
fn healthy_machines_of_every_windows_are_called_healthy() {
    for era in [
        &WIN7,
        &WIN81,
        &WIN10_1607,
        &WIN10_1809,
        &WIN10_2004,
        &SERVER_2022,
        &WIN11,
    ] {
        let diagnosis = diagnose(&small::of_era(era));
        assert_eq!(
            diagnosis.verdict,
            Verdict::Normal,
            "{} {}",
            era.build,
            diagnosis.summary
        );
        assert!(diagnosis.findings.is_empty());
        assert!(
            diagnosis.summary.contains("No tag shows a leak pattern"),
            "{}",
            diagnosis.summary
        );
    }
}

/// Many files cached: the largest tags hold most of paged pool, and have grown together.
#[test]
fn a_file_server_that_caches_much_is_healthy() {
    let spec = machine(
        &WIN7,
        &[
            (b"MmSt", Pool::Paged, 3_000, 0xe00),
            (b"Ntfx", Pool::Paged, 20_000, 0x160),
            (b"FMfn", Pool::Paged, 20_000, 0x120),
            (b"File", Pool::NonPaged, 20_000, 0x180),
        ],
    );
    let diagnosis = diagnose(&spec);
    assert_eq!(
        diagnosis.verdict,
        Verdict::Normal,
        "{:#?}",
        diagnosis.findings
    );
}

#[test]
fn tags_that_leak_together_are_shown_together() {
    let spec = machine(
        &WIN7,
        &[
            (b"EtwD", Pool::NonPaged, 30_000, 0x240),
            (b"Etwr", Pool::NonPaged, 30_000, 0x60),
        ],
    );
    let diagnosis = diagnose(&in_trouble(spec, 0x1700));
    assert!(!diagnosis.flags.is_empty());
    assert!(
        diagnosis.verdict >= Verdict::Suspicious,
        "{}",
        diagnosis.summary
    );
    let finding = of(&diagnosis, "EtwD").unwrap();
    let group = finding.group.as_ref().unwrap();
    assert!(
        group.holds(Tag::of("Etwr").unwrap()),
        "{}",
        group.sentence()
    );
    assert!(finding.guidance.unwrap().ask.contains("agree"));
}

#[test]
fn two_leaks_of_one_driver_are_two_sizes_under_one_tag() {
    let spec = machine(
        &WIN7,
        &[
            (b"Leak", Pool::NonPaged, 12_000, 0x300),
            (b"Leak", Pool::NonPaged, 6_000, 0x5c0),
        ],
    );
    let diagnosis = diagnose(&in_trouble(spec, 0x1800));
    assert!(!diagnosis.flags.is_empty(), "{}", diagnosis.summary);
    let finding = of(&diagnosis, "Leak").unwrap();
    let sizes: Vec<(u64, bool)> = finding
        .sizes
        .iter()
        .take(2)
        .map(|s| (s.size, s.count >= 6_000))
        .collect();
    assert!(
        sizes.contains(&(0x300, true)) && sizes.contains(&(0x5c0, true)),
        "{sizes:?}"
    );
    assert_eq!(finding.attribution.owners.best().unwrap().module, "leaker");
    assert!(!finding.exemplars.is_empty());
}

#[test]
fn without_accounts_nothing_is_made_up() {
    let mut spec = small::spec();
    spec.options.unknown_kernel = true;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    Machine::build(&spec)
        .unwrap()
        .write(&path, Container::BitmapFull)
        .unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::new(Progress::default())).unwrap();
    let diagnosis = engine.diagnose(&index);
    let has_accounts = !engine.trackers().rows.is_empty();
    assert_eq!(diagnosis.verdict == Verdict::Unknown, !has_accounts);
    assert!(!diagnosis.unknowns.is_empty());
}
