//! Tests the judge with tables of tags whose causes are known: `tests/corpus` has one file
//! for each, in the layout that `diagnose` reads, with the confirmed cause. Prints the data
//! of `docs/judgement.md`: `cargo test --test it calibration -- --nocapture`.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use poolscope::analysis::Descriptions;
use poolscope::analysis::judgement::diagnosis::{self, Finding};
use poolscope::analysis::judgement::evidence::Facts;
use poolscope::analysis::judgement::lockstep;
use poolscope::analysis::judgement::pressure::PoolUse;
use poolscope::analysis::judgement::verdict::{self, Cuts, Judged, judge_all};
use poolscope::analysis::judgement::{Case, Row, Verdict};
use poolscope::engine::{Engine, Options};
use poolscope::pool::{Pool, Tag};
use poolscope::synth::era::{Era, WIN7, WIN10_1607, WIN10_1809, WIN10_2004, WIN11, WIN81};
use poolscope::synth::{self, Container, Machine, Spec};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Truth {
    Leak,
    Healthy,
    Borderline,
}

/// A table and its known cause.
struct Known {
    id: String,
    group: String,
    truth: Truth,
    confirmed: bool,
    culprits: BTreeSet<String>,
    companions: BTreeSet<String>,
    unjudged: BTreeSet<String>,
    case: Case,
}

/// Leaks that are too young or too small for a single table: a miss does not count.
const FLOORS: [&str; 7] = [
    "doc-poolmon-drsd",
    "npfc-terminal-split",
    "proc-churn-0h3",
    "proc-amdkmdag-137-75s",
    "wcifs-start-7min",
    "wcifs-cowork-4min",
    "nvrm-wsl-nvidia-smi",
];

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn tags(list: &str) -> BTreeSet<String> {
    let names = list.replace('"', " ");
    let names = names.replace("(nonpaged)", " ").replace("(paged)", " ");
    names
        .split([',', ' '])
        .filter(|t| !t.is_empty())
        .map(|t| format!("{t:4}"))
        .collect()
}

fn row(line: &str) -> Row {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(line.as_bytes());
    let record = reader.records().next().unwrap().unwrap();
    let pool = match &record[1] {
        "nonpaged" => Some(Pool::Nonpaged),
        "paged" => Some(Pool::Paged),
        _ => None,
    };
    Row {
        tag: Tag::of(&record[0]).unwrap(),
        pool,
        allocs: number(&record[2]),
        frees: number(&record[3]),
        outstanding: number(&record[4]),
        bytes: number(&record[5]),
    }
}

fn read(path: &Path) -> Known {
    let text = fs::read_to_string(path).unwrap();
    let mut head: BTreeMap<String, String> = BTreeMap::new();
    let mut rows = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with("tag,")) {
        match line.strip_prefix("# ") {
            Some(comment) => {
                let (name, value) = comment.split_once(':').unwrap();
                head.insert(name.into(), value.trim().into());
            }
            None => rows.push(row(line)),
        }
    }
    let of = |name: &str| head.get(name).cloned().unwrap_or_default();
    let used = |name: &str, pool: Pool| {
        let rows = rows.iter().filter(|r: &&Row| r.pool == Some(pool));
        let sum = rows.filter_map(|r| r.bytes).sum();
        let counter = number(&of(name));
        let most = number(&of("ram_bytes")).filter(|_| pool == Pool::Nonpaged);
        PoolUse::listed(counter, sum, false, most)
    };
    Known {
        id: of("id"),
        group: of("group"),
        truth: match of("truth").as_str() {
            "leak" => Truth::Leak,
            "healthy" => Truth::Healthy,
            _ => Truth::Borderline,
        },
        confirmed: of("certainty") != "asserted",
        culprits: tags(&of("tag")),
        companions: tags(&of("companion")),
        unjudged: tags(&of("unjudged")),
        case: Case {
            memory: number(&of("ram_bytes")),
            uptime: number(&of("uptime_seconds")),
            pools: [
                used("nonpaged_pool_bytes", Pool::Nonpaged),
                used("paged_pool_bytes", Pool::Paged),
            ],
            rows,
            ..Case::default()
        },
    }
}

fn corpus() -> Vec<Known> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|f| read(f)).collect()
}

/// The rows that the judge names, the worst first; and the others.
fn judge(known: &Known, cuts: Cuts) -> (Vec<Judged>, Vec<Judged>) {
    let descriptions = Descriptions::built_in();
    let groups = lockstep::find(&known.case.rows);
    let judged = judge_all(&known.case, cuts, &|tag| Facts {
        description: descriptions.get(tag),
        group: groups.iter().find(|g| g.holds(tag)),
        ..Facts::default()
    });
    judged
        .into_iter()
        .partition(|j| j.score.verdict >= Verdict::Suspicious)
}

/// The result for one case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The rank of the culprit among the findings, from 1; `None` for healthy cases.
    rank: Option<usize>,
    /// Number of findings that are neither culprit nor companion.
    wrong: usize,
    /// True if the overall verdict is a leak.
    leak: bool,
}

fn outcome(known: &Known, cuts: Cuts) -> Outcome {
    let (found, _) = judge(known, cuts);
    // A large cache is a finding of load. It is not a false alarm, and does not count as
    // finding the leak.
    let found = found.iter().filter(|j| !j.score.load);
    outcome_of(known, found.map(|j| (j.score.verdict, j.row.tag)))
}

fn outcome_of(known: &Known, found: impl Iterator<Item = (Verdict, Tag)>) -> Outcome {
    let mut out = Outcome::default();
    for (at, (verdict, tag)) in found.enumerate() {
        let tag = tag.to_string();
        out.leak |= verdict == Verdict::Leak;
        if known.culprits.contains(&tag) || known.companions.contains(&tag) {
            out.rank = out.rank.or(Some(at + 1));
        } else if !known.unjudged.contains(&tag) {
            out.wrong += 1;
        }
    }
    out
}

/// Sums over groups: the cases of one machine count as one, weighted by the share that is right.
#[derive(Debug, Default)]
struct Figures {
    leaks: f64,
    found: f64,
    first: f64,
    called_leak: f64,
    healthy: f64,
    healthy_named: f64,
    healthy_leak: f64,
    borderline_leak: f64,
    named: f64,
    wrong: f64,
}

fn figures<'a>(all: impl Iterator<Item = &'a Known> + Clone, cuts: Cuts) -> Figures {
    let known: Vec<(&Known, Outcome)> = all.map(|k| (k, outcome(k, cuts))).collect();
    figures_of(&known)
}

fn figures_of(all: &[(&Known, Outcome)]) -> Figures {
    let mut sizes: BTreeMap<(&str, Truth), f64> = BTreeMap::new();
    let counted = || {
        all.iter()
            .filter(|(known, _)| !FLOORS.contains(&known.id.as_str()))
    };
    for (known, _) in counted() {
        *sizes.entry((&known.group, known.truth)).or_default() += 1.0;
    }
    let mut out = Figures::default();
    for (known, result) in counted() {
        let weight = 1.0 / sizes[&(known.group.as_str(), known.truth)];
        let leak = if result.leak { weight } else { 0.0 };
        match known.truth {
            Truth::Leak => {
                out.leaks += weight;
                out.called_leak += leak;
                if result.rank.is_some() {
                    out.found += weight;
                    out.named += weight;
                }
                if result.rank == Some(1) {
                    out.first += weight;
                }
            }
            Truth::Healthy => {
                out.healthy += weight;
                out.healthy_leak += leak;
                out.healthy_named += if result.wrong > 0 { weight } else { 0.0 };
            }
            Truth::Borderline => out.borderline_leak += leak,
        }
        if result.wrong > 0 && known.truth != Truth::Borderline {
            out.named += weight;
            out.wrong += weight;
        }
    }
    out
}

impl Figures {
    fn add(&mut self, other: &Figures) {
        for (sum, more) in [
            (&mut self.leaks, other.leaks),
            (&mut self.found, other.found),
            (&mut self.first, other.first),
            (&mut self.called_leak, other.called_leak),
            (&mut self.healthy, other.healthy),
            (&mut self.healthy_named, other.healthy_named),
            (&mut self.healthy_leak, other.healthy_leak),
            (&mut self.borderline_leak, other.borderline_leak),
            (&mut self.named, other.named),
            (&mut self.wrong, other.wrong),
        ] {
            *sum += more;
        }
    }

    fn recall(&self) -> f64 {
        self.found / self.leaks.max(1e-9)
    }
    fn first(&self) -> f64 {
        self.first / self.leaks.max(1e-9)
    }
    fn precision(&self) -> f64 {
        1.0 - self.wrong / self.named.max(1e-9)
    }
    fn line(&self) -> String {
        format!(
            "recall {:.3}, culprit first {:.3}, precision {:.3}; called a leak: {:.1} of {:.1} leaks, {:.1} of {:.1} healthy, {:.1} borderline",
            self.recall(),
            self.first(),
            self.precision(),
            self.called_leak,
            self.leaks,
            self.healthy_leak,
            self.healthy,
            self.borderline_leak
        )
    }
    /// The value that the cuts maximise: a false alarm costs more than a miss.
    fn worth(&self) -> f64 {
        self.first() + self.called_leak / self.leaks.max(1e-9)
            - 2.0 * self.healthy_named / self.healthy.max(1e-9)
            - 4.0 * self.healthy_leak
            - 2.0 * self.borderline_leak
            - self.wrong / self.named.max(1e-9)
    }
}

/// The rows of a case with their evidence, judged once.
struct Table<'a> {
    known: &'a Known,
    judged: Vec<Judged>,
}

fn tables(all: &[Known]) -> Vec<Table<'_>> {
    let judged = |known| {
        let (mut found, rest) = judge(known, Cuts::default());
        found.extend(rest);
        found
    };
    all.iter()
        .map(|known| Table {
            known,
            judged: judged(known),
        })
        .collect()
}

/// Factors for the points of each piece of evidence; 1 leaves it unchanged.
#[derive(Clone, Debug)]
struct Weights {
    factors: BTreeMap<&'static str, f64>,
    /// Every piece of evidence counts two points.
    alike: bool,
    leak: f64,
    suspicious: f64,
}

impl Weights {
    fn own() -> Weights {
        let cuts = Cuts::default();
        Weights {
            factors: BTreeMap::new(),
            alike: false,
            leak: f64::from(cuts.leak),
            suspicious: f64::from(cuts.suspicious),
        }
    }

    fn points(&self, judged: &Judged) -> f64 {
        let points = |e: &poolscope::analysis::judgement::evidence::Evidence| {
            let own = match self.alike {
                true => f64::from(e.points.signum()) * 2.0,
                false => f64::from(e.points),
            };
            own * self.factors.get(e.name).copied().unwrap_or(1.0)
        };
        judged.score.evidence.iter().map(points).sum()
    }

    /// Repeats the judge's computation from points to findings, with other weights.
    fn outcome(&self, table: &Table<'_>) -> Outcome {
        let mut found: Vec<(Verdict, f64, &Judged)> = Vec::new();
        for judged in &table.judged {
            let points = self.points(judged);
            let verdict = match points {
                p if p >= self.leak => Verdict::Leak,
                p if p >= self.suspicious => Verdict::Suspicious,
                _ => Verdict::Normal,
            };
            let verdict = verdict.min(judged.score.most);
            if verdict >= Verdict::Suspicious {
                let bytes = judged.row.bytes.unwrap_or(0).max(1) as f64;
                found.push((verdict, points + bytes.log2() / 2.0, judged));
            }
        }
        found.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
        let tags = found
            .iter()
            .map(|(verdict, _, judged)| (*verdict, judged.row.tag));
        outcome_of(table.known, tags)
    }
}

/// All kinds of evidence in these tables.
fn evidence_names(tables: &[Table<'_>]) -> BTreeSet<&'static str> {
    tables
        .iter()
        .flat_map(|t| &t.judged)
        .flat_map(|j| &j.score.evidence)
        .map(|e| e.name)
        .collect()
}

fn weighed<'a>(tables: impl Iterator<Item = &'a Table<'a>> + Clone, weights: &Weights) -> Figures {
    let known: Vec<(&Known, Outcome)> = tables.map(|t| (t.known, weights.outcome(t))).collect();
    figures_of(&known)
}

/// Leaves out one kind of evidence at a time, and weighs all evidence equally. The loss
/// shows what the verdicts depend on: mostly the count of blocks.
#[test]
fn removing_evidence_loses_leaks_but_invents_none() {
    let all = corpus();
    let tables = tables(&all);
    let names = evidence_names(&tables);
    println!(
        "{:20} {}",
        "all evidence",
        weighed(tables.iter(), &Weights::own()).line()
    );
    for name in names {
        let mut weights = Weights::own();
        weights.factors.insert(name, 0.0);
        let without = weighed(tables.iter(), &weights);
        println!("without {name:20} {}", without.line());
        let least = if name == "count" { 0.5 } else { 0.75 };
        assert!(without.recall() >= least, "{name}: {}", without.line());
        assert_eq!(without.healthy_leak, 0.0, "{name}: {}", without.line());
    }
    let alike = Weights {
        alike: true,
        ..Weights::own()
    };
    let alike = weighed(tables.iter(), &alike);
    println!("all alike: {}", alike.line());
    // The different points of the evidence are needed for a third of the leaks.
    assert!(alike.recall() >= 0.6, "{}", alike.line());
    assert_eq!(alike.healthy_leak, 0.0, "{}", alike.line());
}

/// Cross-validation in five folds: starting from equal weights, fits weights and cuts on
/// four fifths of the groups, and tests them on the other fifth.
#[test]
fn weights_fitted_on_other_cases_hold() {
    let all = corpus();
    let tables = tables(&all);
    let names = evidence_names(&tables);
    let groups: BTreeSet<&str> = all.iter().map(|k| k.group.as_str()).collect();
    let fold_of: BTreeMap<&str, usize> = groups
        .into_iter()
        .enumerate()
        .map(|(i, g)| (g, i % 5))
        .collect();
    let mut sum = Figures::default();
    for fold in 0..5 {
        let is_held = |t: &&Table<'_>| fold_of[t.known.group.as_str()] == fold;
        let seen = tables.iter().filter(|t| !is_held(t));
        let held = tables.iter().filter(is_held);
        let mut best = Weights {
            alike: true,
            ..Weights::own()
        };
        let mut worth = weighed(seen.clone(), &best).worth();
        for _ in 0..2 {
            let mut trials: Vec<Weights> = Vec::new();
            for leak in 3..=9 {
                for suspicious in 2..leak {
                    let (leak, suspicious) = (f64::from(leak), f64::from(suspicious));
                    trials.push(Weights {
                        leak,
                        suspicious,
                        ..best.clone()
                    });
                }
            }
            for trial in trials {
                let found = weighed(seen.clone(), &trial).worth();
                if found > worth {
                    (worth, best) = (found, trial);
                }
            }
            for name in &names {
                for factor in [0.0, 0.5, 1.0, 1.5, 2.0, 3.0] {
                    let mut trial = best.clone();
                    trial.factors.insert(name, factor);
                    let found = weighed(seen.clone(), &trial).worth();
                    if found > worth {
                        (worth, best) = (found, trial);
                    }
                }
            }
        }
        let (on_seen, on_held) = (weighed(seen, &best), weighed(held, &best));
        println!(
            "fold {fold}: leak {} suspicious {} {:?}\n  seen: {}\n  held: {}",
            best.leak,
            best.suspicious,
            best.factors,
            on_seen.line(),
            on_held.line()
        );
        for table in tables.iter().filter(is_held) {
            let found = best.outcome(table);
            if found.leak && table.known.truth != Truth::Leak {
                println!("  reported as a leak, but is not: {}", table.known.id);
            }
        }
        sum.add(&on_held);
    }
    println!("weights fitted, held out: {}", sum.line());
    assert!(sum.recall() >= 0.75, "{}", sum.line());
    assert!(sum.healthy_leak <= 1.0, "{}", sum.line());
}

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

/// The overall verdict of a table, and its reason.
fn verdict_of(known: &Known) -> (Verdict, String) {
    let (found, _) = judge(known, Cuts::default());
    let findings: Vec<Finding> = found
        .iter()
        .map(|j| Finding::of(j, &known.case, Default::default()))
        .collect();
    diagnosis::verdict(&known.case, &findings, &verdict::pressures(&known.case))
}

#[test]
fn the_judge_is_right_about_known_tables() {
    let all = corpus();
    assert_eq!(all.len(), 63);
    let cuts = Cuts::default();
    for known in &all {
        let (found, _) = judge(known, cuts);
        let named: Vec<String> = found
            .iter()
            .map(|j| {
                format!(
                    "{} {} ({})",
                    j.row.tag,
                    j.score.verdict.word(),
                    j.score.points
                )
            })
            .collect();
        let result = outcome(known, cuts);
        println!(
            "{:24} {:10} rank {:4} wrong {} | {}",
            known.id,
            format!("{:?}", known.truth),
            result.rank.map_or("-".into(), |r| r.to_string()),
            result.wrong,
            named.join(", ")
        );
        if known.truth == Truth::Healthy {
            assert!(!result.leak, "{} is healthy", known.id);
        }
        if known.truth == Truth::Borderline {
            assert!(!result.leak, "{} is load", known.id);
        }
        let (verdict, summary) = verdict_of(known);
        println!("{:24} {:10} {} {summary}", "", "", verdict.word());
    }
    let whole = figures(all.iter(), cuts);
    let confirmed = figures(all.iter().filter(|k| k.confirmed), cuts);
    println!("all:       {}", whole.line());
    println!("confirmed: {}", confirmed.line());
    assert!(whole.recall() >= 0.95, "{}", whole.line());
    assert!(whole.first() >= 0.85, "{}", whole.line());
    assert!(whole.healthy_named == 0.0, "{}", whole.line());
    assert!(confirmed.recall() >= 0.95, "{}", confirmed.line());
    assert!(confirmed.first() >= 0.85, "{}", confirmed.line());
}

/// Cross-validation in five folds: chooses the cuts on four fifths of the groups, and tests
/// them on the other fifth.
#[test]
fn cuts_chosen_on_other_cases_hold() {
    let all = corpus();
    let groups: BTreeSet<&str> = all.iter().map(|k| k.group.as_str()).collect();
    let fold_of: BTreeMap<&str, usize> = groups
        .into_iter()
        .enumerate()
        .map(|(i, g)| (g, i % 5))
        .collect();
    let mut grid = Vec::new();
    for suspicious in 2..=6 {
        for leak in (suspicious + 1)..=9 {
            for shift in [18, 20, 22] {
                grid.push(Cuts {
                    leak,
                    suspicious,
                    noise: 1 << shift,
                });
            }
        }
    }
    let (mut leaks, mut found, mut first, mut false_leaks) = (0.0, 0.0, 0.0, 0.0);
    for fold in 0..5 {
        let seen = all.iter().filter(|k| fold_of[k.group.as_str()] != fold);
        let held = all.iter().filter(|k| fold_of[k.group.as_str()] == fold);
        let best = grid
            .iter()
            .copied()
            .map(|cuts| (figures(seen.clone(), cuts).worth(), cuts))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap()
            .1;
        let (on_seen, on_held) = (figures(seen, best), figures(held, best));
        println!(
            "fold {fold}: {best:?}\n  seen: {}\n  held: {}",
            on_seen.line(),
            on_held.line()
        );
        leaks += on_held.leaks;
        found += on_held.found;
        first += on_held.first;
        false_leaks += on_held.healthy_leak + on_held.borderline_leak;
    }
    println!(
        "held out: recall {:.3}, culprit first {:.3}, {false_leaks} false leaks",
        found / leaks,
        first / leaks
    );
    assert!(found / leaks >= 0.9);
    assert!(first / leaks >= 0.8);
    assert_eq!(false_leaks, 0.0);
}
