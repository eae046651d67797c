//! What the verdicts on known tables depend on: tables judged without a piece of evidence, and
//! with weights that were fitted on other tables.

use std::collections::{BTreeMap, BTreeSet};

use poolscope::analysis::judgement::Verdict;
use poolscope::analysis::judgement::verdict::{Cuts, Judged};

use super::{Figures, Known, Outcome, Truth, corpus, figures_of, folds, judge, outcome_of};

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
    let fold_of = folds(&all);
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
