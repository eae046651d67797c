//! The diagnosis of a log or a table of tags, with the facts that such a source has.

use std::sync::Arc;

use crate::analysis::attribution::{Attribution, Description, Descriptions, Owners};
use crate::analysis::judgement::case::{Case, Course, Row, Trend};
use crate::analysis::judgement::diagnosis::{self, Diagnosis, Finding, Top};
use crate::analysis::judgement::evidence::Facts;
use crate::analysis::judgement::lockstep::{self, Group};
use crate::analysis::judgement::pressure::{PoolUse, Source};
use crate::analysis::judgement::verdict::{self, Cuts, Verdict};
use crate::analysis::judgement::words::percent;
use crate::pool::{Pool, Tag};
use crate::series::{self, Comparison, Counts, Listing, Point, Totals};

use super::MOST_FINDINGS;

/// Judges the last point; earlier points provide the trend of each tag.
pub fn diagnose_points(points: &[Point], descriptions: &Descriptions) -> Diagnosis {
    let case = case_of(points);
    let cuts = Cuts::default();
    let groups = lockstep::find(&case.rows);
    let judged = verdict::judge_all(&case, cuts, &|tag| Facts {
        description: descriptions.get(tag),
        group: groups.iter().find(|g| g.holds(tag)),
        ..Facts::default()
    });
    let attribution = |tag: Tag| Arc::new(listed(tag, descriptions.get(tag)));
    let found: Vec<_> = judged
        .iter()
        .filter(|j| j.score.verdict >= Verdict::Suspicious)
        .collect();
    let findings: Vec<Finding> = found
        .iter()
        .take(MOST_FINDINGS)
        .map(|j| Finding {
            group: groups.iter().find(|g| g.holds(j.row.tag)).cloned(),
            ..Finding::of(j, &case, attribution(j.row.tag))
        })
        .collect();
    let pressure = verdict::pressures(&case);
    let (verdict, summary) = diagnosis::verdict(&case, &findings, &pressure);
    let top = [Pool::Nonpaged, Pool::Paged].map(|pool| {
        let rows = diagnosis::largest(&case, pool).into_iter();
        rows.map(|row| Top::of(row, &case, attribution(row.tag)))
            .collect()
    });
    let nearest = match findings.is_empty() {
        true => diagnosis::nearest(&judged, cuts),
        false => None,
    };
    let named = |g: &&Group| findings.iter().any(|f| g.holds(f.tag()));
    Diagnosis {
        verdict,
        summary,
        severity: diagnosis::severity(&pressure),
        exhausted_in_hours: diagnosis::exhausted_in_hours(&case, &findings),
        pressure,
        flags: Vec::new(),
        more_findings: found.len().saturating_sub(MOST_FINDINGS),
        top,
        nearest,
        groups: groups.iter().filter(|g| !named(g)).cloned().collect(),
        coverage: coverage(points, &case),
        unknowns: unknowns(points, &case),
        findings,
    }
}

/// The last point, and the course of every tag over all points.
fn case_of(points: &[Point]) -> Case {
    let Some(last) = points.last() else {
        return Case::default();
    };
    let complete = matches!(last.listing, Listing::Complete);
    let rows: Vec<Row> = last.rows.iter().flat_map(rows_of).collect();
    let totals = &last.totals;
    let pool = |pool: Pool, counter: Option<u64>| {
        let of_pool = rows.iter().filter(|row| row.pool == Some(pool));
        let sum = of_pool
            .filter_map(|row| row.bytes)
            .fold(0u64, |sum, bytes| sum.saturating_add(bytes));
        PoolUse::listed(counter, sum, complete && last.has(pool), most(pool, totals))
    };
    Case {
        complete,
        memory: totals.ram_bytes,
        commit_limit: totals.commit_limit_bytes,
        uptime: last.uptime_seconds,
        pools: [
            pool(Pool::Nonpaged, totals.nonpaged_bytes),
            pool(Pool::Paged, totals.paged_bytes),
        ],
        courses: courses(points),
        rows,
    }
}

/// The upper limit of a pool: nonpaged pool can't exceed physical memory, paged pool the commit
/// limit.
fn most(pool: Pool, totals: &Totals) -> Option<u64> {
    match pool {
        Pool::Nonpaged => totals.ram_bytes,
        Pool::Paged => totals.commit_limit_bytes,
    }
}

fn rows_of(row: &series::Row) -> Vec<Row> {
    let sides = [
        (Some(Pool::Nonpaged), row.nonpaged),
        (Some(Pool::Paged), row.paged),
        (None, row.unplaced),
    ];
    let known = sides
        .into_iter()
        .filter(|(_, counts)| !counts.is_unknown() && *counts != Counts::ZERO);
    known
        .map(|(pool, counts)| Row {
            tag: row.tag,
            pool,
            allocs: counts.allocs,
            frees: counts.frees,
            outstanding: counts.outstanding,
            bytes: counts.bytes,
        })
        .collect()
}

/// The course of each tag in each pool.
fn courses(points: &[Point]) -> Vec<(Tag, Option<Pool>, Course)> {
    match points.len() {
        0 | 1 => Vec::new(),
        _ => courses_of(&Comparison::of(points.to_vec())),
    }
}

/// The courses from a comparison.
pub(in crate::engine) fn courses_of(compared: &Comparison) -> Vec<(Tag, Option<Pool>, Course)> {
    let mut out = Vec::new();
    for change in &compared.changes {
        let Some(trend) = change.trend.map(trend_of) else {
            continue;
        };
        for (pool, side) in [
            (Pool::Nonpaged, &change.nonpaged),
            (Pool::Paged, &change.paged),
        ] {
            let bytes: Vec<u64> = side.iter().filter_map(|c| c.bytes).collect();
            let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
                continue;
            };
            if *last == 0 {
                continue;
            }
            let gained = i64::try_from(i128::from(*last) - i128::from(*first));
            let course = Course {
                trend,
                points: bytes.len(),
                gained: gained.unwrap_or(i64::MAX),
                per_hour: change.rate_bytes_per_hour.map(|rate| rate as f64),
            };
            out.push((change.tag, Some(pool), course));
        }
    }
    out
}

fn trend_of(trend: series::Trend) -> Trend {
    match trend {
        series::Trend::Growing | series::Trend::New => Trend::Growing,
        series::Trend::Pinned => Trend::Pinned,
        series::Trend::Plateau => Trend::Plateau,
        series::Trend::Freed | series::Trend::Gone => Trend::Freed,
        series::Trend::Fluctuating | series::Trend::Unchanged => Trend::Steady,
    }
}

/// The owner by the tag list only, because a table has no module list.
fn listed(tag: Tag, description: Option<&Description>) -> Attribution {
    Attribution {
        tag,
        description: description.cloned(),
        owners: description.map_or_else(Owners::default, Owners::listed),
        ..Attribution::default()
    }
}

fn coverage(points: &[Point], case: &Case) -> Vec<String> {
    let Some(last) = points.last() else {
        return Vec::new();
    };
    let mut out = vec![match &last.listing {
        Listing::Complete => format!("all {} tags are listed", last.rows.len()),
        Listing::Unstated => format!(
            "{} tags are listed; the source does not say whether the list is complete",
            last.rows.len()
        ),
        Listing::Truncated(why) => match last.rows.len() {
            1 => format!("1 tag is listed: {why}"),
            many => format!("{many} tags are listed: {why}"),
        },
    }];
    if points.len() > 1 {
        out.push(format!(
            "{} points: the last is judged, the others show the trend",
            points.len()
        ));
    }
    for pool in [Pool::Nonpaged, Pool::Paged] {
        let measure = case.pools[pool as usize].used.as_ref();
        if measure.is_some_and(|m| m.source != Source::Counter) {
            out.extend(measure.and_then(|m| m.sentence(pool)));
        }
        out.extend(measure.and_then(|m| accounted(case, pool, m.bytes)));
    }
    out
}

/// The part of a pool that a complete list accounts for, if that is not nearly all.
fn accounted(case: &Case, pool: Pool, used: u64) -> Option<String> {
    let of_pool = case.rows.iter().filter(|row| row.pool == Some(pool));
    let sum = of_pool
        .filter_map(|row| row.bytes)
        .fold(0u64, |sum, bytes| sum.saturating_add(bytes));
    let share = sum as f64 / used.max(1) as f64;
    (case.complete && share < 0.9).then(|| {
        format!(
            "the tags account for {} of {} pool: the rest is not judged",
            percent(share),
            pool.word()
        )
    })
}

fn unknowns(points: &[Point], case: &Case) -> Vec<String> {
    let mut out = vec![
        "a table has no images and no blocks: owners come from the tag list; contents, pointers \
            and handles cannot be examined"
            .to_owned(),
    ];
    if points.len() < 2 {
        out.push(
            "a single table cannot show a trend: growth is an average since boot, not an observation"
                .into(),
        );
    }
    if !case.rows.iter().any(|row| row.history().is_some()) {
        out.push(
            "allocations and frees are not listed: whether blocks are freed is unknown".into(),
        );
    }
    for (what, is_known) in [
        ("physical memory", case.memory.is_some()),
        ("uptime", case.uptime.is_some()),
    ] {
        if !is_known {
            out.push(format!("{what} is not stated"));
        }
    }
    if points.last().is_some_and(|last| last.session) {
        out.push("the listing is of session pool".into());
    }
    out
}
