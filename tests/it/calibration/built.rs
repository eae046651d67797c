//! The judge on machines of the builder, whose blocks give evidence that tables do not have.

use poolscope::analysis::judgement::Verdict;
use poolscope::analysis::judgement::diagnosis::Finding;
use poolscope::analysis::judgement::verdict::Cuts;
use poolscope::engine::{Engine, Options};
use poolscope::synth::era::{Era, WIN7, WIN10_1607, WIN10_1809, WIN10_2004, WIN11, WIN81};
use poolscope::synth::{self, Container, Machine, Spec};

/// A machine of the builder with additional blocks. With `unfreed`, these tags have no
/// frees; otherwise the builder has freed most of their blocks.
fn built(
    era: &'static Era,
    more: &[(&[u8; 4], synth::truth::Pool, u64, u64)],
    unfreed: bool,
) -> Spec {
    let mut spec = synth::small::of_era(era);
    let pages = 0x1_0000;
    spec.runs = vec![(1, 0x9e), (0x100, pages)];
    spec.vm.physical_memory = 0x9e + pages;
    spec.vm.committed = pages;
    spec.vm.commit_limit = 2 * pages;
    spec.options.gigabyte_page = false;
    spec.uptime = 100 * 3600 * 10_000_000;
    for (tag, pool, count, bytes) in more {
        for _ in 0..*count {
            let block = synth::legacy::Allocation::new(**tag, *pool, *bytes);
            spec.allocations.push(block);
        }
        if unfreed {
            spec.options.unfreed.push(**tag);
        }
    }
    spec
}

/// Evidence that only a dump provides, so the tables cannot calibrate it.
const OF_BLOCKS: [&str; 5] = ["sizes", "layout", "objects", "contents", "ages"];

/// The verdict, the tags of the findings, and the verdict without each kind of block evidence.
fn diagnosed(spec: &Spec) -> (Verdict, Vec<String>, Vec<Verdict>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    let machine = Machine::build(spec).unwrap();
    machine.write(&path, Container::BitmapFull).unwrap();
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let index = engine.index(std::sync::Arc::default()).unwrap();
    let found = engine.diagnose(&index);
    let tags = found.findings.iter().map(|f| f.tag().to_string());
    let cuts = Cuts::default();
    let without = OF_BLOCKS.map(|name| {
        let of = |f: &Finding| {
            let own = f.score.evidence.iter().filter(|e| e.name == name);
            let points = f.score.points - own.map(|e| i32::from(e.points)).sum::<i32>();
            let verdict = match points {
                p if p >= cuts.leak => Verdict::Leak,
                p if p >= cuts.suspicious => Verdict::Suspicious,
                _ => Verdict::Normal,
            };
            verdict.min(f.score.most)
        };
        let all = found.findings.iter().map(of);
        all.max().unwrap_or(Verdict::Normal)
    });
    (found.verdict, tags.collect(), without.to_vec())
}

/// Gives all blocks of these tags the same layout: a pointer into nt between zeros.
fn alike(spec: &mut Spec, tags: &[&[u8; 4]]) {
    let at = spec.modules[0].base.0 + 0x1230;
    let holds = tags.iter().map(|tag| synth::legacy::Holds {
        tag: **tag,
        bytes: 0,
        words: vec![(0x18, at)],
    });
    spec.options.holds.extend(holds);
}

#[test]
fn the_judge_is_right_about_built_machines() {
    use synth::truth::Pool::{NonPaged, Paged};
    let eras = [&WIN7, &WIN81, &WIN10_1607, &WIN10_1809, &WIN10_2004, &WIN11];
    let mut normal = 0;
    for era in eras {
        let (verdict, found, _) = diagnosed(&synth::small::of_era(era));
        println!("healthy {:6} {} {found:?}", era.build, verdict.word());
        assert!(found.is_empty(), "{}: {found:?}", era.build);
        normal += usize::from(verdict == Verdict::Normal);
    }
    // Caches and object counts as on a busy machine that freed most of them; file names in
    // many sizes with the same layout.
    let mut busy = built(
        &WIN7,
        &[
            (b"MmSt", Paged, 3_000, 0xe00),
            (b"FMfn", Paged, 5_000, 0xd0),
            (b"FMfn", Paged, 5_000, 0x100),
            (b"FMfn", Paged, 5_000, 0x130),
            (b"FMfn", Paged, 5_000, 0x190),
            (b"File", NonPaged, 20_000, 0x180),
            (b"Toke", Paged, 3_000, 0x480),
            (b"Even", NonPaged, 12_000, 0x60),
        ],
        false,
    );
    alike(&mut busy, &[b"MmSt", b"FMfn", b"File", b"Even"]);
    let (verdict, found, _) = diagnosed(&busy);
    println!("busy    {:6} {} {found:?}", WIN7.build, verdict.word());
    assert_eq!(verdict, Verdict::Normal, "{found:?}");
    // Era, added blocks, and whether the tags were never freed.
    type Leak<'a> = (
        &'static Era,
        &'a [(&'a [u8; 4], synth::truth::Pool, u64, u64)],
        bool,
    );
    let leaks: [Leak<'_>; 7] = [
        (&WIN7, &[(b"Qx7z", NonPaged, 30_000, 0x120)], true),
        (&WIN10_1809, &[(b"Qx7z", Paged, 30_000, 0x120)], true),
        (&WIN81, &[(b"Drv7", NonPaged, 5_000, 0x400)], true),
        (&WIN11, &[(b"Drv7", NonPaged, 60_000, 0xa0)], false),
        (&WIN7, &[(b"Even", NonPaged, 150_000, 0x60)], true),
        (
            &WIN10_2004,
            &[
                (b"Ab1a", NonPaged, 20_000, 0x90),
                (b"Ab1b", Paged, 20_000, 0x50),
            ],
            true,
        ),
        (&WIN10_1607, &[(b"Mdl ", NonPaged, 60_000, 0x80)], true),
    ];
    let (mut first, mut leak) = (0, 0);
    for (era, more, unfreed) in leaks {
        let culprits: Vec<String> = more
            .iter()
            .map(|m| String::from_utf8_lossy(m.0).into_owned())
            .collect();
        let mut spec = built(era, more, unfreed);
        let tags: Vec<&[u8; 4]> = more.iter().map(|m| m.0).collect();
        alike(&mut spec, &tags);
        let (verdict, found, without) = diagnosed(&spec);
        let words: Vec<String> = OF_BLOCKS
            .iter()
            .zip(&without)
            .filter(|(_, other)| **other != verdict)
            .map(|(name, other)| format!("without {name} {}", other.word()))
            .collect();
        println!(
            "leak    {:6} {culprits:?} {} {found:?} {}",
            era.build,
            verdict.word(),
            words.join(", ")
        );
        // No finding depends on a single kind of block evidence.
        assert!(
            without.iter().all(|v| *v >= Verdict::Suspicious),
            "{words:?}"
        );
        assert!(!found.is_empty(), "{culprits:?}");
        first += usize::from(found.first().is_some_and(|f| culprits.contains(f)));
        leak += usize::from(verdict == Verdict::Leak);
        let wrong = found.iter().filter(|f| !culprits.contains(f)).count();
        assert_eq!(wrong, 0, "{culprits:?}: {found:?}");
    }
    println!(
        "built: {normal} of 6 healthy normal; {first} of 7 leaks named first, {leak} called a leak"
    );
    assert_eq!((normal, first), (6, 7));
    // One of the leaks has freed most of its blocks, so it need not be called a leak.
    assert!(leak >= 6);
}
