//! Derives the verdict from the evidence.

use crate::analysis::attribution::kinds::{self, Kind};
use crate::pool::{Pool, Tag};

use super::case::{Case, Row};
use super::evidence::{self, Evidence, Facts};

use super::pressure::{self, Pressure, Severity};

/// The verdict on a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// There are no counts to judge.
    Unknown,
    /// No leak pattern.
    Normal,
    /// Parts of a leak pattern; to be watched.
    Suspicious,
    /// A leak pattern.
    Leak,
}

impl Verdict {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Unknown => "unknown",
            Verdict::Normal => "normal",
            Verdict::Suspicious => "suspicious",
            Verdict::Leak => "leak",
        }
    }
}

/// The judgement of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// The evidence, in a fixed order.
    pub evidence: Vec<Evidence>,
    /// The sum of the evidence's points.
    pub points: i32,
    /// The verdict.
    pub verdict: Verdict,
    /// The highest possible verdict, independent of the points.
    pub most: Verdict,
    /// The reason why the verdict is milder than the points, as a sentence.
    pub held_back: Option<&'static str>,
    /// True if only its size is suspicious: a cache or buffers, which also grow under load.
    pub load: bool,
}

impl Score {
    /// The evidence for a leak, the strongest first.
    pub fn strongest(&self) -> Vec<&Evidence> {
        let mut out: Vec<&Evidence> = self.evidence.iter().filter(|e| e.points > 0).collect();
        out.sort_by_key(|e| std::cmp::Reverse(e.points));
        out
    }
}

/// The thresholds of the verdicts. They were checked with known cases; see `docs/judgement.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// Minimum points for a leak.
    pub leak: i32,
    /// Minimum points for suspicious.
    pub suspicious: i32,
    /// Bytes below which a tag is noise: doubling daily, it takes ten days to reach 1 GB.
    pub noise: u64,
}

impl Default for Cuts {
    fn default() -> Cuts {
        Cuts {
            leak: 6,
            suspicious: 4,
            noise: 1 << 20,
        }
    }
}

/// The pressure on both pools.
pub fn pressures(case: &Case) -> [Option<Pressure>; 2] {
    [Pool::Nonpaged, Pool::Paged].map(|pool| {
        let state = &case.pools[pool as usize];
        pressure::judge(pool, state, case.memory, case.commit_limit)
    })
}

/// Judges a row.
pub fn judge(row: &Row, case: &Case, facts: &Facts<'_>, cuts: Cuts) -> Score {
    let pressure = pressures(case);
    let evidence = evidence::gather(row, case, facts, pressure);
    let points: i32 = evidence.iter().map(|e| i32::from(e.points)).sum();
    let at_points = match points {
        p if p >= cuts.leak => Verdict::Leak,
        p if p >= cuts.suspicious => Verdict::Suspicious,
        _ => Verdict::Normal,
    };
    let (most, why) = ceiling(row, case, facts, pressure, cuts);
    let verdict = at_points.min(most);
    let large = evidence::is_large_load(row, case, kinds::of(row.tag));
    let load = large && verdict < Verdict::Suspicious;
    Score {
        evidence,
        points,
        verdict: if load { Verdict::Suspicious } else { verdict },
        most,
        held_back: why.filter(|_| most < at_points),
        load,
    }
}

/// The highest possible verdict, independent of the points, and the reason: small tags are
/// limited.
fn ceiling(
    row: &Row,
    case: &Case,
    facts: &Facts<'_>,
    pressure: [Option<Pressure>; 2],
    cuts: Cuts,
) -> (Verdict, Option<&'static str>) {
    let share = case.share(row);
    let own = row
        .pool
        .and_then(|pool| pressure.get(pool as usize).copied().flatten());
    let in_trouble =
        own.is_some_and(|p| p.severity >= Severity::Elevated) && share.is_some_and(|s| s >= 0.25);
    let kind = kinds::of(row.tag).map(|h| &h.kind);
    let proven = facts.chain.is_some() || facts.pointing.is_some_and(|p| p.unloaded);
    let few = row.outstanding.is_some_and(|n| n < 20_000);
    let population = matches!(kind, Some(Kind::Population(_)));
    if row.bytes.is_some_and(|b| b < cuts.noise) && !in_trouble && !proven {
        return (Verdict::Normal, Some("less than 1 MB: too small to judge"));
    }
    if matches!(kind, Some(Kind::Cache | Kind::Buffers)) && !proven {
        return (
            Verdict::Suspicious,
            Some("caches and buffers grow under load: one moment cannot show whether they leak"),
        );
    }
    let single = row.outstanding.is_some_and(|n| n < 100) && !proven;
    if single {
        let held = in_trouble || case.memory_share(row).is_some_and(|s| s >= 0.25);
        let most = match held {
            true => Verdict::Suspicious,
            false => Verdict::Normal,
        };
        return (most, Some("fewer than 100 blocks: leaks have more"));
    }
    // Without a count, frees or a trend, only a large share of memory distinguishes a leak from a
    // configured buffer.
    let size_alone = row.outstanding.is_none()
        && row.history().is_none()
        && case.course(row).is_none()
        && case.memory_share(row).is_none_or(|s| s < 0.1);
    if size_alone && !proven {
        return (
            Verdict::Suspicious,
            Some("only a size: without a count of blocks it may be a configured buffer"),
        );
    }
    let slight = share.is_some_and(|s| s < 0.01) && !population && !proven;
    if slight && few {
        return (
            Verdict::Normal,
            Some("few blocks and less than 1% of the pool: too small to judge"),
        );
    }
    if slight {
        return (
            Verdict::Suspicious,
            Some("less than 1% of the pool: a driver's tables look the same"),
        );
    }
    let small = share.is_some_and(|s| s < 0.05) && few && !proven && !population;
    if small {
        return (
            Verdict::Suspicious,
            Some("few blocks and less than 5% of the pool: too early to tell"),
        );
    }
    (Verdict::Leak, None)
}

/// A row with its score.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The row.
    pub row: Row,
    /// Its score.
    pub score: Score,
}

/// Judges all rows by the facts given, the worst first. `facts` returns the facts about a tag.
pub fn judge_all<'a>(case: &Case, cuts: Cuts, facts: &dyn Fn(Tag) -> Facts<'a>) -> Vec<Judged> {
    let judged = case.rows.iter().map(|row| Judged {
        row: *row,
        score: judge(row, case, &facts(row.tag), cuts),
    });
    let mut out: Vec<Judged> = judged.collect();
    sort(&mut out);
    out
}

/// Sorts the worst first: by verdict, then by points and bytes combined.
pub fn sort(rows: &mut [Judged]) {
    rows.sort_by(|a, b| {
        let key = |j: &Judged| (j.score.verdict, rank(j));
        let (a, b) = (key(a), key(b));
        b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
    });
}

/// Combines points and size: a factor of four in bytes equals one point.
fn rank(judged: &Judged) -> f64 {
    let bytes = judged.row.bytes.unwrap_or(0).max(1) as f64;
    f64::from(judged.score.points) + bytes.log2() / 2.0
}
