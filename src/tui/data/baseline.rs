//! Earlier points in time to compare the open dump with: how each tag and both pools changed.

use rustc_hash::FxHashMap;

use crate::pool::{Pool, Tag};
use crate::report::text::{clean, human};
use crate::series::{Change, Comparison, Counts, Point, Trend};

use crate::tui::data::order::PoolChoice;

/// Maximum points in a sparkline; longer series are folded.
pub const SPARK_POINTS: usize = 16;

/// One earlier point, or the open dump, as displayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PointRow {
    /// The file and the snapshot in it.
    pub source: String,
    /// The kind of the file: `dump`, `poolmon`.
    pub kind: &'static str,
    /// Time, ISO 8601 UTC; empty if unknown.
    pub time: String,
    /// Seconds since boot.
    pub uptime_seconds: Option<u64>,
    /// Bytes of nonpaged and paged pool: the system's counter, or else the sum of the tags.
    pub pools: [Option<u64>; 2],
    /// Tags listed.
    pub tags: u64,
    /// Wall-clock milliseconds; `None` unless all points have a time.
    clock: Option<i64>,
}

/// A module that was loaded or unloaded between the earliest dump of the series and the
/// open one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleChange {
    /// The module's name.
    pub name: String,
    /// True for a module that is missing from the earlier dump.
    pub loaded: bool,
    /// The path it was loaded from; empty if unknown.
    pub path: String,
}

/// The change of each figure of a tag from the first known point to the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Allocations since boot.
    pub allocs: Option<i64>,
    /// Frees since boot.
    pub frees: Option<i64>,
    /// Allocations outstanding.
    pub outstanding: Option<i64>,
    /// Bytes outstanding.
    pub bytes: Option<i64>,
}

/// The series of points that ends with the open dump.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    /// The points in the order given, the open dump last.
    pub points: Vec<PointRow>,
    /// True if all points are from one boot, false if not; `None` if a log is among them.
    pub same_boot: Option<bool>,
    /// Caveats, as sentences.
    pub warnings: Vec<String>,
    /// Modules loaded and unloaded; `None` if no earlier point is a dump.
    pub modules: Option<Vec<ModuleChange>>,
    tags: FxHashMap<Tag, Change>,
}

impl Baseline {
    /// Builds the series from compared points, the open dump last.
    pub fn new(comparison: Comparison, modules: Option<Vec<ModuleChange>>) -> Baseline {
        let points = comparison.points.iter().enumerate();
        Baseline {
            points: points
                .map(|(at, point)| point_row(point, at, &comparison))
                .collect(),
            same_boot: comparison.same_boot,
            warnings: comparison
                .warnings
                .iter()
                .map(|w| clean(w).into_owned())
                .collect(),
            modules,
            tags: comparison.changes.into_iter().map(|c| (c.tag, c)).collect(),
        }
    }

    /// The trend of a tag over both pools.
    pub fn trend(&self, tag: Tag) -> Option<Trend> {
        self.tags.get(&tag)?.trend
    }

    /// The growth of a tag in bytes an hour over both pools; `None` without both times.
    pub fn rate(&self, tag: Tag) -> Option<i64> {
        let rate = self.tags.get(&tag)?.rate_bytes_per_hour?;
        i64::try_from(rate).ok()
    }

    /// The bytes of a tag at each point.
    pub fn bytes(&self, tag: Tag, pool: PoolChoice) -> Vec<Option<u64>> {
        let Some(change) = self.tags.get(&tag) else {
            return vec![None; self.points.len()];
        };
        (0..self.points.len())
            .map(|at| match pool {
                PoolChoice::Both => change.bytes_at(at),
                PoolChoice::Nonpaged => change.nonpaged.get(at)?.bytes,
                PoolChoice::Paged => change.paged.get(at)?.bytes,
            })
            .collect()
    }

    /// The change of a tag's figures from the first known point to the last.
    pub fn delta(&self, tag: Tag, pool: PoolChoice) -> Delta {
        let Some(change) = self.tags.get(&tag) else {
            return Delta::default();
        };
        let of = |get: fn(&Counts) -> Option<u64>| {
            let at = |at: usize| {
                let n = change.nonpaged.get(at).and_then(get);
                let p = change.paged.get(at).and_then(get);
                match pool {
                    PoolChoice::Nonpaged => n,
                    PoolChoice::Paged => p,
                    // A value for one pool at one point and for both pools at another
                    // cannot be compared.
                    PoolChoice::Both => n?.checked_add(p?),
                }
            };
            let mut known = (0..self.points.len()).filter_map(at);
            let first = known.next()?;
            let last = known.next_back()?;
            i64::try_from(i128::from(last) - i128::from(first)).ok()
        };
        Delta {
            allocs: of(|c| c.allocs),
            frees: of(|c| c.frees),
            outstanding: of(|c| c.outstanding),
            bytes: match pool {
                // The comparison knows which pools it can add.
                PoolChoice::Both => change.growth.and_then(|n| i64::try_from(n).ok()),
                _ => of(|c| c.bytes),
            },
        }
    }

    /// The bytes of a pool at each point.
    pub fn pool(&self, pool: Pool) -> Vec<Option<u64>> {
        self.points.iter().map(|p| p.pools[pool as usize]).collect()
    }

    /// True when every point has a time: charts are then drawn over hours.
    pub fn has_times(&self) -> bool {
        let by_clock = self.points.iter().all(|p| p.clock.is_some());
        by_clock || (self.same_boot != Some(false) && self.has_uptimes())
    }

    fn has_uptimes(&self) -> bool {
        self.points.iter().all(|p| p.uptime_seconds.is_some())
    }

    /// The position of each point on the time axis: hours since the first point, or the
    /// point's number if times are missing.
    pub fn places(&self) -> Vec<f64> {
        let by_clock = self.points.iter().all(|p| p.clock.is_some());
        let seconds = |point: &PointRow| match by_clock {
            true => point.clock.map(|ms| ms as f64 / 1000.0),
            false => point.uptime_seconds.map(|s| s as f64),
        };
        let first = self.points.first().and_then(seconds);
        let place =
            |(at, point): (usize, &PointRow)| match (self.has_times(), first, seconds(point)) {
                (true, Some(first), Some(now)) => (now - first) / 3600.0,
                _ => at as f64,
            };
        self.points.iter().enumerate().map(place).collect()
    }

    /// The series in a few words: `3 points, same boot`.
    pub fn words(&self) -> String {
        let boot = match self.same_boot {
            Some(true) => "same boot",
            Some(false) => "different boots",
            None => "boot unknown",
        };
        format!("{} points, {boot}", self.points.len())
    }

    /// The trend of a tag, as a sentence.
    pub fn sentence(&self, tag: Tag) -> Option<String> {
        let trend = self.trend(tag)?;
        let change = match self.delta(tag, PoolChoice::Both).bytes {
            Some(n) if n < 0 => format!(", -{}", human(n.unsigned_abs())),
            Some(n) => format!(", +{}", human(n.unsigned_abs())),
            None => String::new(),
        };
        let rate = match self.rate(tag) {
            Some(n) if n < 0 => format!(" (-{} an hour)", human(n.unsigned_abs())),
            Some(n) => format!(" (+{} an hour)", human(n.unsigned_abs())),
            None => String::new(),
        };
        Some(format!(
            "Trend: {}{change}{rate}, {}",
            trend.word(),
            self.words()
        ))
    }
}

fn point_row(point: &Point, at: usize, comparison: &Comparison) -> PointRow {
    let source = match point.snapshot {
        Some(snapshot) => format!("{} #{snapshot}", point.source),
        None => point.source.clone(),
    };
    let sum = |pool: Pool| {
        let sides = comparison.changes.iter().map(|change| match pool {
            Pool::Nonpaged => &change.nonpaged,
            Pool::Paged => &change.paged,
        });
        let known: Vec<u64> = sides.filter_map(|side| side.get(at)?.bytes).collect();
        let sum = known.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
        (!known.is_empty()).then_some(sum)
    };
    let local = point.local_time.map(|t| {
        let text = t.to_string();
        format!("{} local", text.trim_end_matches('Z'))
    });
    PointRow {
        source: clean(&source).into_owned(),
        kind: point.kind.word(),
        time: point
            .time
            .map(|t| t.to_string())
            .or(local)
            .unwrap_or_default(),
        uptime_seconds: point.uptime_seconds,
        pools: [
            point.totals.nonpaged_bytes.or_else(|| sum(Pool::Nonpaged)),
            point.totals.paged_bytes.or_else(|| sum(Pool::Paged)),
        ],
        tags: point.rows.len() as u64,
        clock: point.time.map(|t| t.0),
    }
}

/// Folds values to the number of cells in a sparkline; each cell is the largest of its
/// neighbours.
pub fn folded(values: &[Option<u64>]) -> Vec<Option<u64>> {
    let each = values.len().div_ceil(SPARK_POINTS).max(1);
    let chunks = values.chunks(each);
    chunks
        .map(|chunk| chunk.iter().flatten().copied().max())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::read_bytes;

    fn baseline(tables: &[&str]) -> Baseline {
        let points = tables
            .iter()
            .flat_map(|t| read_bytes(t.as_bytes(), "a.csv").unwrap().points);
        Baseline::new(Comparison::of(points.collect()), None)
    }

    fn table(uptime: u64, rows: &str) -> String {
        format!(
            "# uptime_seconds: {uptime}\n# complete: yes\ntag,pool,allocs,frees,outstanding,bytes\n{rows}"
        )
    }

    #[test]
    fn a_tag_has_change_rate_trend_and_series() {
        let first = table(3600, "Leak,nonpaged,10,0,10,10240\nOld,paged,5,1,4,64\n");
        let last = table(10800, "Leak,nonpaged,20,1,19,20480\n");
        let baseline = baseline(&[&first, &last]);
        let leak = Tag::of("Leak").unwrap();
        assert_eq!(
            baseline.delta(leak, PoolChoice::Nonpaged),
            Delta {
                allocs: Some(10),
                frees: Some(1),
                outstanding: Some(9),
                bytes: Some(10240),
            }
        );
        assert_eq!(baseline.trend(leak), Some(Trend::Growing));
        assert_eq!(baseline.rate(leak), Some(5120));
        assert_eq!(
            baseline.bytes(leak, PoolChoice::Both),
            [Some(10240), Some(20480)]
        );
        assert_eq!(baseline.pool(Pool::Nonpaged), [Some(10240), Some(20480)]);
        let sentence = baseline.sentence(leak).unwrap();
        assert!(
            sentence.contains("growing, +10.0 KB (+5.0 KB an hour)"),
            "{sentence}"
        );
        let old = Tag::of("Old ").unwrap();
        assert_eq!(baseline.delta(old, PoolChoice::Paged).bytes, Some(-64));
        let unknown = Tag::of("Nope").unwrap();
        assert_eq!(baseline.delta(unknown, PoolChoice::Both), Delta::default());
        assert_eq!(baseline.bytes(unknown, PoolChoice::Both), [None, None]);
    }

    #[test]
    fn long_series_are_folded_and_unknown_values_stay_unknown() {
        let values: Vec<Option<u64>> = (0..100).map(|n| (n % 7 != 0).then_some(n)).collect();
        let cells = folded(&values);
        assert!(cells.len() <= SPARK_POINTS);
        assert_eq!(cells.last(), Some(&Some(99)));
        assert_eq!(folded(&[None, Some(3)]), [None, Some(3)]);
        assert!(folded(&[]).is_empty());
    }
}
