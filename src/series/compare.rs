//! Compares points: the counts of every tag at each point, and its trend.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::pool::{Pool, Tag};

use super::boot;
use super::limits;
use super::point::{Counts, Kind, Listing, Point, Row};
use super::trend::{self, Sample, Trend};

/// A comparison of points of any kind.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The points, in the given order.
    pub points: Vec<Point>,
    /// True if all points have the same boot, false if not; `None` if a log is included.
    pub same_boot: Option<bool>,
    /// One entry per tag, by growth in bytes, descending.
    pub changes: Vec<Change>,
    /// Warnings for the user, as sentences.
    pub warnings: Vec<String>,
}

/// A tag at all points.
#[derive(Clone, Debug)]
pub struct Change {
    /// The tag.
    pub tag: Tag,
    /// Nonpaged pool, one value per point.
    pub nonpaged: Vec<Counts>,
    /// Paged pool, one value per point.
    pub paged: Vec<Counts>,
    /// The trend of the bytes in both pools; `None` if fewer than two points have them.
    pub trend: Option<Trend>,
    /// Change in bytes between the first and the last point that have them.
    pub growth: Option<i128>,
    /// Change in bytes per hour; `None` if a time is missing.
    pub rate_bytes_per_hour: Option<i128>,
}

impl Change {
    /// The bytes at a point, summed over the pools that are known there.
    pub fn bytes_at(&self, point: usize) -> Option<u64> {
        let of = |side: &[Counts]| side.get(point).and_then(|c| c.bytes);
        match (of(&self.nonpaged), of(&self.paged)) {
            (None, None) => None,
            (n, p) => n.unwrap_or(0).checked_add(p.unwrap_or(0)),
        }
    }
}

/// Two listings have the same selection of tags if at least one in this many of all their tags is
/// in both. Only then is a tag that one of them lacks known to be absent.
const ALIKE: usize = 2;

impl Comparison {
    /// Compares points in the given order.
    pub fn of(points: Vec<Point>) -> Comparison {
        Comparison::within(points, limits::COMPARED)
    }

    /// Compares points with a limit on points times tags.
    pub(super) fn within(mut points: Vec<Point>, cells: usize) -> Comparison {
        let mut warnings = Vec::new();
        let same_boot = boot::assign(&mut points);
        say_boots(&points, same_boot, &mut warnings);
        say_kinds(&points, &mut warnings);
        let names = Names::of(&points, &mut warnings);
        let chains = chains(&points);
        let names = names.bounded(points.len(), cells, &mut warnings);
        let mut changes: Vec<Change> = names
            .rows
            .into_iter()
            .map(|(tag, rows)| change(tag, &rows, &points, &chains))
            .collect();
        changes.sort_by_cached_key(|change| {
            let last = change.bytes_at(points.len().saturating_sub(1));
            (Reverse(change.growth), Reverse(last), change.tag)
        });
        Comparison {
            points,
            same_boot,
            changes,
            warnings,
        }
    }

    /// The change of one tag.
    pub fn get(&self, tag: Tag) -> Option<&Change> {
        self.changes.iter().find(|change| change.tag == tag)
    }
}

/// The rows of every tag, by the index of the point.
struct Names<'a> {
    rows: BTreeMap<Tag, FxHashMap<usize, &'a Row>>,
}

impl<'a> Names<'a> {
    /// Groups rows by tag. A tag with placeholder characters is assigned to the only known tag
    /// that it matches.
    fn of(points: &'a [Point], warnings: &mut Vec<String>) -> Names<'a> {
        let mut rows: BTreeMap<Tag, FxHashMap<usize, &Row>> = BTreeMap::new();
        let mut unsure = Vec::new();
        let mut unplaced = 0usize;
        for (at, point) in points.iter().enumerate() {
            for row in &point.rows {
                unplaced += usize::from(!row.unplaced.is_unknown());
                match row.unsure {
                    0 => {
                        rows.entry(row.tag).or_default().insert(at, row);
                    }
                    _ => unsure.push((at, row)),
                }
            }
        }
        // Only tags with unprintable bytes can have placeholders.
        let candidates: Vec<Tag> = rows.keys().copied().filter(|t| !t.is_printable()).collect();
        let mut matched: FxHashSet<Tag> = FxHashSet::default();
        for (at, row) in unsure {
            let mut fits = candidates.iter().filter(|tag| may_be(row, **tag));
            let tag = match (fits.next(), fits.next()) {
                (Some(tag), None) => {
                    matched.insert(*tag);
                    *tag
                }
                _ => row.tag,
            };
            rows.entry(tag).or_default().entry(at).or_insert(row);
        }
        if !matched.is_empty() {
            let tags: Vec<String> = matched.iter().map(|t| t.typed()).collect();
            warnings.push(format!(
                "tags matched by their printable bytes only: {}",
                tags.join(", ")
            ));
        }
        if unplaced > 0 {
            warnings.push(format!(
                "{unplaced} rows do not state their pool and are not compared"
            ));
        }
        Names { rows }
    }
}

impl<'a> Names<'a> {
    /// Keeps the tags with the largest peak, as many as the limit permits.
    fn bounded(mut self, points: usize, cells: usize, warnings: &mut Vec<String>) -> Names<'a> {
        let most = cells / points.max(1);
        if self.rows.len() <= most {
            return self;
        }
        let all = self.rows.len();
        let peak = |rows: &FxHashMap<usize, &Row>| {
            let bytes = |c: Counts| c.bytes.unwrap_or(0);
            let sums = rows
                .values()
                .map(|r| bytes(r.nonpaged).saturating_add(bytes(r.paged)));
            sums.max().unwrap_or(0)
        };
        let mut peaks: Vec<u64> = self.rows.values().map(peak).collect();
        peaks.sort_unstable_by_key(|p| Reverse(*p));
        let least = peaks.get(most.saturating_sub(1)).copied().unwrap_or(0);
        let above = peaks.iter().filter(|p| **p > least).count();
        let mut ties = most.saturating_sub(above);
        self.rows.retain(|_, rows| match peak(rows) {
            bytes if bytes == least && ties > 0 => {
                ties -= 1;
                true
            }
            bytes => bytes > least,
        });
        warnings.push(format!(
            "{points} points with {all} tags are too many to compare: {} tags of at most {least} bytes are left out; give fewer points",
            all - self.rows.len()
        ));
        self
    }
}

/// True if a row with placeholders may be this tag: all other bytes are equal, and the bytes
/// with placeholders are unprintable in the tag. The last byte may be printable in the tag,
/// because its highest bit, the protected bit, is removed from tags.
fn may_be(row: &Row, tag: Tag) -> bool {
    let pairs = row.tag.bytes().into_iter().zip(tag.bytes()).enumerate();
    pairs.into_iter().all(|(at, (shown, byte))| {
        let printable = (0x20..0x7f).contains(&byte);
        match row.unsure >> at & 1 {
            0 => shown == byte,
            _ => !printable || at == 3 || shown == byte,
        }
    })
}

/// The chain of each point with tags: consecutive listings with at least half of their tags in
/// common have the same selection.
fn chains(points: &[Point]) -> Vec<Option<usize>> {
    let mut chains: Vec<Option<usize>> = vec![None; points.len()];
    let mut previous: Option<(usize, FxHashSet<Tag>)> = None;
    for (at, point) in points.iter().enumerate() {
        if point.rows.is_empty() || matches!(point.listing, Listing::Truncated(_)) {
            continue;
        }
        let tags: FxHashSet<Tag> = point.rows.iter().map(|r| r.tag).collect();
        let chain = previous.as_ref().and_then(|(before, others)| {
            let common = tags.intersection(others).count();
            let all = tags.len() + others.len() - common;
            (common * ALIKE >= all).then(|| chains.get(*before).copied().flatten())?
        });
        if let Some(place) = chains.get_mut(at) {
            *place = chain.or(Some(at));
        }
        previous = Some((at, tags));
    }
    chains
}

fn change(
    tag: Tag,
    rows: &FxHashMap<usize, &Row>,
    points: &[Point],
    chains: &[Option<usize>],
) -> Change {
    let [nonpaged, paged] =
        [Pool::Nonpaged, Pool::Paged].map(|pool| side(pool, rows, points, chains));
    let mut change = Change {
        tag,
        nonpaged,
        paged,
        trend: None,
        growth: None,
        rate_bytes_per_hour: None,
    };
    let samples = samples(&change, points.len());
    let values: Vec<Sample> = samples.iter().map(|(_, sample)| *sample).collect();
    change.trend = trend::of(&values);
    if let ([(first, a), .., (last, b)], true) = (&samples[..], change.trend.is_some()) {
        let growth = i128::from(b.bytes) - i128::from(a.bytes);
        change.growth = Some(growth);
        let hours = points
            .get(*first)
            .zip(points.get(*last))
            .and_then(|(a, b)| a.hours_to(b));
        // Rounded to bytes per hour; the counters are not more precise.
        change.rate_bytes_per_hour = hours.map(|hours| (growth as f64 / hours).round() as i128);
    }
    change
}

/// The counts of a tag in a pool at each point. If a listing lacks the tag, its counts are zero
/// if the listing is complete or another listing of its chain has the tag; otherwise they are
/// unknown.
fn side(
    pool: Pool,
    rows: &FxHashMap<usize, &Row>,
    points: &[Point],
    chains: &[Option<usize>],
) -> Vec<Counts> {
    let listed = |at: usize| {
        rows.get(&at)
            .map(|row| row.counts(pool))
            .filter(|c| !c.is_unknown())
    };
    let chain = |at: usize| chains.get(at).copied().flatten();
    let with_tag: FxHashSet<usize> = (0..points.len())
        .filter(|&at| listed(at).is_some())
        .filter_map(chain)
        .collect();
    let absent = |at: usize, point: &Point| match &point.listing {
        Listing::Truncated(_) => Counts::default(),
        _ if !point.has(pool) => Counts::default(),
        Listing::Unstated if !chain(at).is_some_and(|c| with_tag.contains(&c)) => Counts::default(),
        // !poolused omits tags without outstanding allocations.
        _ if point.kind == Kind::PoolUsed => Counts {
            outstanding: Some(0),
            bytes: Some(0),
            ..Counts::default()
        },
        _ => Counts::ZERO,
    };
    let at_point = |(at, point): (usize, &Point)| {
        listed(at)
            .unwrap_or_else(|| absent(at, point))
            .completed(point.width)
    };
    points.iter().enumerate().map(at_point).collect()
}

/// The comparable points of a tag, all over the same pools: over both pools if at least two
/// points have both, otherwise over the pools that all points have.
fn samples(change: &Change, points: usize) -> Vec<(usize, Sample)> {
    const BOTH: u8 = 3;
    let at = |at: usize| {
        [&change.nonpaged, &change.paged].map(|side| side.get(at).copied().unwrap_or_default())
    };
    let known = |sides: [Counts; 2]| {
        let [n, p] = sides.map(|c| c.bytes.is_some());
        u8::from(n) | u8::from(p) << 1
    };
    let masks: Vec<u8> = (0..points).map(|i| known(at(i))).collect();
    let any = masks.iter().fold(0, |all, mask| all | mask);
    let complete = masks.iter().filter(|mask| **mask == any).count();
    let mask = match complete >= 2 {
        true => any,
        false => masks
            .iter()
            .filter(|m| **m != 0)
            .fold(BOTH, |all, m| all & m),
    };
    let usable =
        (0..points).filter(|&i| mask != 0 && masks.get(i).is_some_and(|m| m & mask == mask));
    usable
        .filter_map(|i| {
            let sides = at(i);
            let used = sides
                .iter()
                .enumerate()
                .filter(|(side, _)| mask >> side & 1 == 1)
                .map(|(_, c)| c);
            let sum = |get: fn(&Counts) -> Option<u64>| {
                used.clone()
                    .try_fold(0u64, |sum, c| sum.checked_add(get(c)?))
            };
            Some((
                i,
                Sample {
                    bytes: sum(|c| c.bytes)?,
                    outstanding: sum(|c| c.outstanding),
                    frees: sum(|c| c.frees),
                },
            ))
        })
        .collect()
}

/// The name of a point in sentences.
fn label(points: &[Point], at: usize) -> String {
    let Some(point) = points.get(at) else {
        return String::new();
    };
    match point.snapshot {
        Some(snapshot) => format!("point {} ({}, snapshot {snapshot})", at + 1, point.source),
        None => format!("point {} ({})", at + 1, point.source),
    }
}

fn say_boots(points: &[Point], same_boot: Option<bool>, warnings: &mut Vec<String>) {
    if same_boot == Some(false) {
        warnings.push(
            "the dumps are not of the same boot: counters restart at each boot, so a difference \
                between them is not growth"
                .into(),
        );
    }
    let with_rows: Vec<usize> = (0..points.len())
        .filter(|&at| points.get(at).is_some_and(|p| !p.rows.is_empty()))
        .collect();
    for pair in with_rows.windows(2) {
        let [a, b] = pair else { continue };
        let (Some(x), Some(y)) = (points.get(*a), points.get(*b)) else {
            continue;
        };
        let both_memory = x.kind.is_memory() && y.kind.is_memory();
        if !both_memory && boot::counters_fall(x, y) {
            warnings.push(format!(
                "most allocation counters fall from {} to {}: there was a boot in between, or these are different machines",
                label(points, *a),
                label(points, *b)
            ));
        }
    }
    for at in 1..points.len() {
        let (Some(x), Some(y)) = (points.get(at - 1), points.get(at)) else {
            continue;
        };
        if x.time.zip(y.time).is_some_and(|(x, y)| y < x) {
            warnings.push(format!(
                "{} is older than {}: give the points in order of time",
                label(points, at),
                label(points, at - 1)
            ));
        }
    }
}

fn say_kinds(points: &[Point], warnings: &mut Vec<String>) {
    let count = |fits: &dyn Fn(&Point) -> bool| points.iter().filter(|p| fits(p)).count();
    let performance = count(&|p| p.kind == Kind::PerfCounters);
    if performance > 0 {
        warnings.push(format!(
            "{performance} points are of performance counters: they have times and totals, and no tags"
        ));
    }
    let mut why: BTreeMap<&str, usize> = BTreeMap::new();
    for point in points.iter().filter(|p| p.kind != Kind::PerfCounters) {
        if let Listing::Truncated(reason) = &point.listing {
            *why.entry(reason).or_default() += 1;
        }
    }
    for (reason, points) in why {
        let listings = if points == 1 {
            "listing is"
        } else {
            "listings are"
        };
        warnings.push(format!(
            "{points} {listings} not complete ({reason}): tags that it lacks are unknown, not gone"
        ));
    }
    let unstated = count(&|p| p.listing == Listing::Unstated && !p.rows.is_empty());
    if unstated > 0 {
        let listings = match unstated {
            1 => "listing does not say whether it is complete",
            _ => "listings do not say whether they are complete",
        };
        warnings.push(format!(
            "{unstated} {listings}: a tag missing from one counts as zero only if another listing \
                has mostly the same tags"
        ));
    }
    let sessions = count(&|p| p.session);
    if sessions > 0 && sessions < points.len() {
        warnings.push("some listings are of session pool and others of the system's pool: they are not comparable".into());
    }
    if count(&|p| p.rounded) > 0 {
        warnings
            .push("some listings have rounded bytes: small differences are not significant".into());
    }
    for pool in [Pool::Nonpaged, Pool::Paged] {
        let word = pool.word();
        let lacking = count(&|p| {
            !p.rows.is_empty() && !p.has(pool) && !matches!(p.listing, Listing::Truncated(_))
        });
        if lacking > 0 {
            warnings.push(format!(
                "{lacking} listings have no rows of {word} pool: that pool is unknown there"
            ));
        }
    }
}
