//! The verdict on machines with a known cause.

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

/// The small machine with more memory, and these blocks in its pools.
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
fn healthy_machines_of_every_windows_version_have_no_findings() {
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

/// A large file cache: the largest tags hold most of paged pool, and have grown together.
#[test]
fn a_file_server_with_a_large_cache_is_healthy() {
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
    // A normal machine gets an answer too: both pools relative to their limits, the largest
    // tags of each pool with descriptions, and the tag that is most like a leak.
    for (state, top) in diagnosis.pressure.iter().zip(&diagnosis.top) {
        assert!(state.unwrap().sentence().contains("of"), "{state:?}");
        assert_eq!(top.len(), 5);
        let ordered = top
            .windows(2)
            .all(|two| two[0].row.bytes >= two[1].row.bytes);
        assert!(ordered && top.iter().all(|t| t.share.is_some()));
    }
    let kinds = |pool: usize, tag: &str| {
        let mut rows = diagnosis.top[pool].iter();
        let row = rows.find(|t| t.row.tag == Tag::of(tag).unwrap()).unwrap();
        (row.kind.clone().unwrap(), row.attribution.owner_words())
    };
    let (kind, owner) = kinds(1, "MmSt");
    assert!(kind.contains("cache"), "{kind}");
    assert!(owner.unwrap().starts_with("nt ("));
    let nearest = diagnosis.nearest.unwrap();
    let against = nearest.sentence.contains("against:") || nearest.sentence.contains("Not a");
    assert!(against, "{}", nearest.sentence);
}

/// A single call site allocates blocks with one layout in several sizes.
#[test]
fn blocks_of_one_layout_in_many_sizes_are_evidence() {
    let sizes = |tag: &'static [u8; 4]| {
        (0..12).map(move |n| (tag, Pool::NonPaged, 2_000, 0x100 + n * 0x30))
    };
    let more: Vec<_> = sizes(b"Qa1l").chain(sizes(b"Qb2m")).collect();
    let mut spec = machine(&WIN7, &more);
    spec.options.unfreed = vec![*b"Qa1l", *b"Qb2m"];
    let mut built = Machine::build(&spec).unwrap();
    let mut counts = [0u64; 2];
    let blocks: Vec<_> = built
        .truth
        .blocks
        .iter()
        .map(|b| (b.tag, b.body()))
        .collect();
    for (tag, body) in blocks {
        let memory = &mut built.memory;
        // A list entry, a pointer into nt, a number: always the same layout, or one of ten.
        let nth = match &tag {
            b"Qa1l" => 0,
            b"Qb2m" => {
                counts[1] += 1;
                counts[1] % 10
            }
            _ => continue,
        };
        counts[0] += 1;
        for n in 0..20 {
            let word = match (n + nth * 3) % 20 {
                0..4 => 0xffff_fa80_0140_0000 + counts[0] * 0x100,
                4..6 => 0xffff_f800_0260_1000,
                6..8 => 0,
                8..10 => u64::from_le_bytes(*b"Somethin"),
                _ => counts[0] * 3,
            };
            memory.u64(body.add(n * 8), word);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    built.write(&path, Container::BitmapFull).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(Arc::new(Progress::default())).unwrap();
    let found = engine.diagnose(&index);
    let layout = |tag: &str| {
        let finding = of(&found, tag).unwrap_or_else(|| panic!("{}", found.summary));
        let own = finding.score.evidence.iter().find(|e| e.name == "layout");
        own.unwrap_or_else(|| panic!("{tag}: {:#?}", finding.score.evidence))
            .clone()
    };
    let one = layout("Qa1l");
    assert_eq!(
        (one.points, one.direction()),
        (1, "for"),
        "{}",
        one.sentence
    );
    assert!(one.sentence.contains("share one layout, in several sizes"));
    let many = layout("Qb2m");
    assert_eq!(many.direction(), "against", "{}", many.sentence);
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
fn two_leaks_under_one_tag_have_two_sizes() {
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
fn without_trackers_nothing_is_invented() {
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
