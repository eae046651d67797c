//! Tests the judge with tables of tags whose causes are known: `tests/corpus` has one file
//! for each, in the layout that `diagnose` reads, with the confirmed cause. Prints the data
//! of `docs/judgement.md`: `cargo test --test it calibration -- --nocapture`.
#![allow(clippy::unwrap_used)]

mod built;
mod weights;

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
use poolscope::pool::{Pool, Tag};

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

/// The fold of each group, 0 to 4: cases of one group are never on both sides.
fn folds(all: &[Known]) -> BTreeMap<&str, usize> {
    let groups: BTreeSet<&str> = all.iter().map(|k| k.group.as_str()).collect();
    let numbered = groups.into_iter().enumerate();
    numbered.map(|(i, group)| (group, i % 5)).collect()
}

/// Cross-validation in five folds: chooses the cuts on four fifths of the groups, and tests
/// them on the other fifth.
#[test]
fn cuts_chosen_on_other_cases_hold() {
    let all = corpus();
    let fold_of = folds(&all);
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
