//! The diagnosis: the tags that show a leak pattern, their owners, the state of the pools, and
//! the evidence.

use std::sync::Arc;

use crate::analysis::attribution::{Attribution, kinds};
use crate::analysis::vm::Flag;
use crate::memory::Va;
use crate::pool::index::SizeCount;
use crate::pool::{Pool, Tag};

use super::case::{Case, Row, Trend};
use super::chain::Chain;
use super::evidence::{Pointing, pool_word};
use super::guidance::Entry;
use super::lockstep::Group;
use super::pressure::{Pressure, Severity};
use super::verdict::{Cuts, Judged, Score, Verdict, pressures};
use super::words::{percent, size};

/// A tag that shows a leak pattern, or parts of one.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The tag's counts in its pool.
    pub row: Row,
    /// Its share of the pool, 0 to 1.
    pub share: Option<f64>,
    /// Evidence for and against.
    pub score: Score,
    /// The owner and the listed kind.
    pub attribution: Arc<Attribution>,
    /// Growth in bytes per hour: the average since boot, or the trend of a log.
    pub bytes_per_hour: Option<f64>,
    /// The trend in a log.
    pub trend: Option<Trend>,
    /// Block sizes in both pools, by bytes, descending.
    pub sizes: Vec<SizeCount>,
    /// Sample blocks from the beginning, the middle and the end of the list.
    pub exemplars: Vec<Va>,
    /// References in code and data, the most certain first: address, module and offset,
    /// instruction, and the function that takes the tag.
    pub places: Vec<String>,
    /// The coverage of the reference search; empty without images.
    pub searched: String,
    /// Block contents, as sentences.
    pub contents: Vec<String>,
    /// The driver that its blocks point into.
    pub pointing: Option<Pointing>,
    /// For kernel objects: handles and references, as sentences.
    pub objects: Vec<String>,
    /// Tags with equal outstanding counts.
    pub group: Option<Group>,
    /// The pinning chain that starts with this tag; its other tags are not separate findings.
    pub chain: Option<Chain>,
    /// The guidance for this tag.
    pub guidance: Option<&'static Entry>,
    /// Coverage.
    pub coverage: Vec<String>,
}

impl Finding {
    /// A finding from a judged row, with the facts that tables and logs provide.
    pub fn of(judged: &Judged, case: &Case, attribution: Arc<Attribution>) -> Finding {
        let row = judged.row;
        let course = case.course(&row).copied();
        Finding {
            row,
            share: case.share(&row),
            score: judged.score.clone(),
            attribution,
            bytes_per_hour: course
                .and_then(|c| c.per_hour)
                .or_else(|| average_growth(case, &row)),
            trend: course.map(|c| c.trend),
            sizes: Vec::new(),
            exemplars: Vec::new(),
            places: Vec::new(),
            searched: String::new(),
            contents: Vec::new(),
            pointing: None,
            objects: Vec::new(),
            group: None,
            chain: None,
            guidance: super::guidance::of(row.tag),
            coverage: Vec::new(),
        }
    }

    /// The tag.
    pub fn tag(&self) -> Tag {
        self.row.tag
    }

    /// Bytes of the tag, or of all tags of its chain.
    pub fn bytes(&self) -> u64 {
        match &self.chain {
            Some(chain) => chain.bytes(),
            None => self.row.bytes.unwrap_or(0),
        }
    }
}

/// Average growth since boot, in bytes per hour; `None` if the uptime is too short.
pub fn average_growth(case: &Case, row: &Row) -> Option<f64> {
    let uptime = case.uptime.filter(|seconds| *seconds >= 60)?;
    Some(row.bytes? as f64 / (uptime as f64 / 3600.0))
}

/// A tag among the largest of its pool.
#[derive(Clone, Debug)]
pub struct Top {
    /// Its counts.
    pub row: Row,
    /// Its share of the pool, 0 to 1.
    pub share: Option<f64>,
    /// The owner.
    pub attribution: Arc<Attribution>,
    /// The kind of the tag, in a few words.
    pub kind: Option<String>,
}

impl Top {
    /// A row with its share and owner.
    pub fn of(row: Row, case: &Case, attribution: Arc<Attribution>) -> Top {
        let kind = kinds::of(row.tag).map(|h| format!("{}: {}", h.kind.word(), h.what));
        Top {
            share: case.share(&row),
            kind,
            row,
            attribution,
        }
    }
}

/// The tag with the most evidence for a leak that is not a finding.
#[derive(Clone, Debug)]
pub struct Nearest {
    /// Its counts.
    pub row: Row,
    /// Its score.
    pub score: Score,
    /// The evidence for a leak, and the reason why it is not a finding, as a sentence.
    pub sentence: String,
}

/// The result of a diagnosis.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// Whether a tag shows a leak pattern.
    pub verdict: Verdict,
    /// The reason, as a sentence.
    pub summary: String,
    /// The severity of the state of the pools, independent of leaks.
    pub severity: Severity,
    /// Hours until the nearest limit at the average growth of the findings.
    pub exhausted_in_hours: Option<f64>,
    /// The use of each pool compared with its nearest limit, if both are known.
    pub pressure: [Option<Pressure>; 2],
    /// Warnings of `!vm`.
    pub flags: Vec<Flag>,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
    /// Number of findings that are not listed.
    pub more_findings: usize,
    /// The largest tags of each pool.
    pub top: [Vec<Top>; 2],
    /// The tag closest to a leak pattern, if there is no finding.
    pub nearest: Option<Nearest>,
    /// Correlated tags, none of which is a finding.
    pub groups: Vec<Group>,
    /// Coverage.
    pub coverage: Vec<String>,
    /// Limitations, as sentences.
    pub unknowns: Vec<String>,
}

/// Number of tags to list per pool.
pub const TOP: usize = 5;

/// The largest rows of a pool.
pub fn largest(case: &Case, pool: Pool) -> Vec<Row> {
    let mut rows: Vec<Row> = case
        .rows
        .iter()
        .filter(|row| row.pool == Some(pool) && row.bytes.is_some_and(|b| b > 0))
        .copied()
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    rows.truncate(TOP);
    rows
}

/// The higher severity of the two pools.
pub fn severity(pressure: &[Option<Pressure>; 2]) -> Severity {
    let known = pressure.iter().flatten().map(|p| p.severity);
    known.max().unwrap_or_default()
}

/// Hours until the first pool reaches its limit, at the growth of its findings.
pub fn exhausted_in_hours(case: &Case, findings: &[Finding]) -> Option<f64> {
    let pressure = pressures(case);
    let left = pressure.iter().flatten().filter_map(|pressure| {
        let rate: f64 = findings
            .iter()
            .filter(|f| f.row.pool == Some(pressure.pool))
            .filter_map(|f| f.bytes_per_hour)
            .filter(|rate| *rate > 0.0)
            .sum();
        pressure.hours_left(rate)
    });
    left.min_by(f64::total_cmp)
}

/// The row with the highest score that is not a finding, with the reason.
pub fn nearest(judged: &[Judged], cuts: Cuts) -> Option<Nearest> {
    let found = judged
        .iter()
        .filter(|j| j.score.verdict < Verdict::Suspicious && j.row.bytes != Some(0))
        .max_by_key(|j| (j.score.points, j.row.bytes))?;
    let row = found.row;
    let bytes = row.bytes.map_or("unknown size".into(), size);
    let mut sentence = format!("tag '{}', {} pool, {bytes}", row.tag, pool_word(row.pool));
    let strongest = found.score.strongest();
    match strongest.first() {
        Some(best) => sentence += &format!(". Evidence for a leak: {}", best.sentence),
        None => sentence += ". There is no evidence for a leak",
    }
    let against = found.score.evidence.iter().min_by_key(|e| e.points);
    match (found.score.held_back, against) {
        (Some(why), _) => sentence += &format!(". Not a finding: {why}"),
        (None, Some(against)) if against.points < 0 => {
            sentence += &format!(". Evidence against: {}", against.sentence);
        }
        _ if !strongest.is_empty() => {
            sentence += &format!(
                ". Not a finding: the evidence scores {} of the {} points of a suspicion",
                found.score.points, cuts.suspicious
            );
        }
        _ => {}
    }
    Some(Nearest {
        row,
        score: found.score.clone(),
        sentence,
    })
}

/// The overall verdict and the reason.
pub fn verdict(
    case: &Case,
    findings: &[Finding],
    pressure: &[Option<Pressure>; 2],
) -> (Verdict, String) {
    if let Some(first) = findings.first() {
        let worst = findings.iter().map(|f| f.score.verdict).max();
        return (worst.unwrap_or(Verdict::Suspicious), of_finding(first));
    }
    if case.rows.is_empty() {
        let summary = "The source has no counts by pool tag".to_owned();
        return (Verdict::Unknown, summary);
    }
    let scope = scope(case);
    let bad = pressure
        .iter()
        .flatten()
        .filter(|p| p.severity >= Severity::Critical)
        .max_by(|a, b| a.share().total_cmp(&b.share()));
    match bad {
        Some(bad) => (
            Verdict::Suspicious,
            format!("{scope}, but a pool is near its limit: {}", bad.sentence()),
        ),
        None if !case.complete && !case.rows.iter().any(|row| case.can_judge(row)) => (
            Verdict::Unknown,
            "The table is not sufficient: no tag has a block count beside its size, and neither \
                the size of the pool nor physical memory is given"
                .into(),
        ),
        None => (Verdict::Normal, scope),
    }
}

/// The scope of the examination if there is no finding, with the limits of a partial table.
fn scope(case: &Case) -> String {
    if case.complete {
        return "No tag shows a leak pattern".into();
    }
    let mut out = match case.rows.len() {
        1 => "The only listed tag shows no leak pattern".to_owned(),
        _ => "None of the listed tags shows a leak pattern".to_owned(),
    };
    let noise = Cuts::default().noise;
    let small = |row: &&Row| row.bytes.is_some_and(|bytes| bytes < noise);
    if case.rows.iter().all(|row| small(&row)) {
        out += &format!(
            "; every tag has less than {}: only a comparison of two tables can show a leak that \
                small",
            size(noise)
        );
        return out;
    }
    let grows = |row: &Row| {
        let kind = kinds::of(row.tag).map(|holder| &holder.kind);
        matches!(kind, Some(kinds::Kind::Cache | kinds::Kind::Buffers))
    };
    if case.rows.iter().filter(|row| !small(row)).all(grows) {
        out += "; caches and buffers grow under load: one table cannot show whether they leak";
    }
    out
}

fn of_finding(finding: &Finding) -> String {
    let row = &finding.row;
    let mut out = format!("Tag '{}', {} pool", row.tag, pool_word(row.pool));
    out += &match &finding.chain {
        Some(chain) => format!(
            ", pinning chain of {} tags headed by {}",
            chain.links.len(),
            chain.module
        ),
        None => String::new(),
    };
    out += &match finding.attribution.owner_words() {
        Some(owner) => format!(", owner {owner}"),
        None => ", owner unknown".into(),
    };
    match (finding.bytes(), row.outstanding) {
        (0, Some(blocks)) => out += &format!(", {} blocks", super::words::count(blocks)),
        (0, None) => {}
        (bytes, _) => out += &format!(", {}", size(bytes)),
    }
    if let Some(share) = finding.share {
        out += &format!(" ({} of {} pool)", percent(share), pool_word(row.pool));
    }
    if finding.score.load {
        out += ", could be load: large for its kind, without a leak pattern";
        return out;
    }
    if let Some(rate) = finding.bytes_per_hour.filter(|rate| *rate >= 1.0) {
        let how = match finding.trend {
            Some(_) => "growing by",
            None => "average growth since boot",
        };
        out += &format!(", {how} {} an hour", size(rate as u64));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::judgement::pressure::Measure;
    use crate::analysis::judgement::pressure::PoolUse;
    use crate::analysis::judgement::verdict::{judge_all, pressures};

    const MB: u64 = 1 << 20;

    fn row(tag: &str, pool: Pool, blocks: u64, bytes: u64) -> Row {
        Row {
            tag: Tag::of(tag).unwrap(),
            pool: Some(pool),
            allocs: Some(blocks),
            frees: Some(0),
            outstanding: Some(blocks),
            bytes: Some(bytes),
        }
    }

    fn case(used: u64, rows: Vec<Row>) -> Case {
        let pool = |bytes| PoolUse {
            used: Some(Measure::counter(bytes)),
            maximum: Some(1024 * MB),
        };
        Case {
            rows,
            complete: true,
            memory: Some(4096 * MB),
            uptime: Some(36_000),
            pools: [pool(used), pool(100 * MB)],
            ..Case::default()
        }
    }

    fn findings(case: &Case) -> Vec<Finding> {
        judge_all(case, Cuts::default(), &|_| Default::default())
            .iter()
            .filter(|j| j.score.verdict >= Verdict::Suspicious)
            .map(|j| Finding::of(j, case, Arc::default()))
            .collect()
    }

    /// A leak that has not yet filled a pool, and a full pool without a leak.
    #[test]
    fn leak_and_severity_are_independent() {
        let early = case(60 * MB, vec![row("Qx7z", Pool::Nonpaged, 30_000, 20 * MB)]);
        let found = findings(&early);
        let pressure = pressures(&early);
        let (verdict, summary) = verdict(&early, &found, &pressure);
        assert_eq!(verdict, Verdict::Leak, "{summary}");
        assert_eq!(severity(&pressure), Severity::None);
        // 964 MB are left; growth is 2 MB per hour.
        assert_eq!(exhausted_in_hours(&early, &found), Some(482.0));

        let full = case(900 * MB, vec![row("MmCa", Pool::Nonpaged, 900, 2 * MB)]);
        let found = findings(&full);
        let pressure = pressures(&full);
        assert!(found.is_empty());
        assert_eq!(severity(&pressure), Severity::Critical);
        let (verdict, summary) = super::verdict(&full, &found, &pressure);
        assert_eq!(verdict, Verdict::Suspicious);
        assert!(summary.contains("near its limit"), "{summary}");
    }

    /// A partial table without values to compare with is not an all-clear.
    #[test]
    fn a_size_alone_is_no_verdict() {
        let mut thin = Case {
            rows: vec![Row {
                allocs: None,
                frees: None,
                outstanding: None,
                ..row("Qx7z", Pool::Nonpaged, 0, 36 * MB)
            }],
            ..Case::default()
        };
        let (found, why) = verdict(&thin, &[], &[None; 2]);
        assert_eq!(found, Verdict::Unknown, "{why}");
        thin.memory = Some(4096 * MB);
        let (found, _) = verdict(&thin, &[], &[None; 2]);
        assert_eq!(found, Verdict::Normal);
        thin.rows = vec![row("Qx7z", Pool::Paged, 27, 22_000)];
        let (found, why) = verdict(&thin, &[], &[None; 2]);
        assert_eq!(found, Verdict::Normal);
        assert!(why.contains("two tables"), "{why}");
    }

    /// On some kernels the counter is never updated; the sum of the tags replaces it.
    #[test]
    fn a_leak_is_found_with_any_counter_value() {
        let mut case = case(0, vec![row("Lk1z", Pool::Nonpaged, 73_000, 73 * MB)]);
        case.rows.push(row("MmCa", Pool::Nonpaged, 9_000, 3 * MB));
        let used = PoolUse::best(Ok(0), None, Some(76 * MB), None);
        case.pools[0] = PoolUse {
            used,
            maximum: Some(199 * MB),
        };
        case.memory = Some(512 * MB);
        let found = findings(&case);
        assert_eq!(found[0].tag(), Tag::of("Lk1z").unwrap());
        let (verdict, summary) = verdict(&case, &found, &pressures(&case));
        assert_eq!(verdict, Verdict::Leak);
        assert!(summary.contains("96.1% of nonpaged pool"), "{summary}");
    }

    /// The pool is near its own maximum, although memory is not full: 4,604 of 8,192 pages.
    #[test]
    fn a_leak_in_a_small_paged_pool_is_found() {
        let pages = |n: u64| n << 12;
        let mut small = case(0, vec![row("Lk2z", Pool::Paged, 40_000, pages(3_680))]);
        small.memory = Some(512 * MB);
        small.pools = [
            PoolUse::default(),
            PoolUse {
                used: Some(Measure::counter(pages(4_604))),
                maximum: Some(pages(8_192)),
            },
        ];
        let found = findings(&small);
        let pressure = pressures(&small);
        let (verdict, _) = verdict(&small, &found, &pressure);
        assert_eq!(verdict, Verdict::Leak);
        assert_eq!(severity(&pressure), Severity::Elevated);
    }

    /// At one point in time a cache under load and a leaking cache look the same; the cache is
    /// reported, but not as a leak.
    #[test]
    fn a_large_cache_is_suspicious_and_not_a_leak() {
        let mut large = case(200 * MB, vec![row("FMfn", Pool::Paged, 600_000, 300 * MB)]);
        large.pools[1].used = Some(Measure::counter(900 * MB));
        let found = findings(&large);
        let (verdict, summary) = verdict(&large, &found, &pressures(&large));
        assert_eq!(verdict, Verdict::Suspicious, "{summary}");
        assert!(summary.contains("could be load"), "{summary}");
        large.rows[0].bytes = Some(90 * MB);
        assert!(findings(&large).is_empty());
    }

    #[test]
    fn a_normal_machine_names_the_tag_nearest_to_a_leak() {
        let calm = case(
            200 * MB,
            vec![
                row("Qx7z", Pool::Nonpaged, 900, 3 * MB),
                row("MmSt", Pool::Paged, 9_000, 60 * MB),
            ],
        );
        let judged = judge_all(&calm, Cuts::default(), &|_| Default::default());
        let nearest = nearest(&judged, Cuts::default()).unwrap();
        assert_eq!(nearest.row.tag, Tag::of("Qx7z").unwrap());
        assert!(
            nearest.sentence.contains("no frees"),
            "{}",
            nearest.sentence
        );
        assert!(nearest.sentence.contains("Not a finding"));
        let top = largest(&calm, Pool::Paged);
        assert_eq!(top.len(), 1);
    }
}
