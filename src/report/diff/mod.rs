//! A comparison of points: the answer of `diff`.

mod csv;
mod markdown;
mod text;

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::series::{Change, Comparison, Counts, Listing, Point, Trend};

use super::text::{clean, duration, grouped, signed};
use super::{Answer, tag_hex};

/// The answer of `diff`.
#[derive(Debug, Serialize)]
pub struct Diff {
    points: Vec<PointRecord>,
    same_boot: Option<bool>,
    changes: Vec<ChangeRecord>,
}

#[derive(Debug, Serialize)]
struct PointRecord {
    source: String,
    snapshot: Option<usize>,
    kind: &'static str,
    time: Option<String>,
    local_time: Option<String>,
    uptime_seconds: Option<u64>,
    boot: Option<String>,
    windows: Option<String>,
    event: Option<&'static str>,
    complete: Option<bool>,
    tags: usize,
    nonpaged_pool_bytes: Option<u64>,
    paged_pool_bytes: Option<u64>,
    ram_bytes: Option<u64>,
    skipped_lines: u64,
}

#[derive(Debug, Serialize)]
struct ChangeRecord {
    tag: String,
    tag_hex: String,
    nonpaged: SideRecord,
    paged: SideRecord,
    trend: Option<&'static str>,
    growth_bytes: Option<i64>,
    rate_bytes_per_hour: Option<i64>,
    #[serde(skip)]
    bytes: Vec<Option<u64>>,
    #[serde(skip)]
    outstanding: Vec<Option<u64>>,
    #[serde(skip)]
    course: Option<Trend>,
}

#[derive(Debug, Serialize)]
struct SideRecord {
    allocs: Vec<Option<u64>>,
    frees: Vec<Option<u64>>,
    outstanding: Vec<Option<u64>>,
    bytes: Vec<Option<u64>>,
}

impl SideRecord {
    fn of(side: &[Counts]) -> SideRecord {
        let all = |get: fn(&Counts) -> Option<u64>| side.iter().map(get).collect();
        SideRecord {
            allocs: all(|c| c.allocs),
            frees: all(|c| c.frees),
            outstanding: all(|c| c.outstanding),
            bytes: all(|c| c.bytes),
        }
    }
}

impl PointRecord {
    fn of(point: &Point) -> PointRecord {
        let text = |t: &String| clean(t).into_owned();
        PointRecord {
            source: text(&point.source),
            snapshot: point.snapshot,
            kind: point.kind.word(),
            time: point.time.map(|t| t.to_string()),
            // Without a zone designator, because the zone is unknown.
            local_time: point
                .local_time
                .map(|t| t.to_string().trim_end_matches('Z').to_owned()),
            uptime_seconds: point.uptime_seconds,
            boot: point.boot.as_ref().map(text),
            windows: point.windows.as_ref().map(text),
            event: point.event,
            complete: match point.listing {
                Listing::Complete => Some(true),
                Listing::Truncated(_) => Some(false),
                Listing::Unstated => None,
            },
            tags: point.rows.len(),
            nonpaged_pool_bytes: point.totals.nonpaged_bytes,
            paged_pool_bytes: point.totals.paged_bytes,
            ram_bytes: point.totals.ram_bytes,
            skipped_lines: point.skipped,
        }
    }

    fn name(&self) -> String {
        match self.snapshot {
            Some(snapshot) => format!("{} #{snapshot}", self.source),
            None => self.source.clone(),
        }
    }

    fn when(&self) -> String {
        self.time
            .clone()
            .or_else(|| self.local_time.as_ref().map(|t| format!("{t} local")))
            .unwrap_or_else(|| "-".into())
    }

    fn up(&self) -> String {
        self.uptime_seconds.map_or_else(|| "-".into(), duration)
    }

    fn pools(&self) -> [String; 2] {
        [self.nonpaged_pool_bytes, self.paged_pool_bytes]
            .map(|b| b.map_or_else(|| "-".into(), grouped))
    }
}

impl ChangeRecord {
    fn of(change: &Change, points: usize) -> ChangeRecord {
        let outstanding = |at: usize| {
            let of = |side: &[Counts]| side.get(at).and_then(|c| c.outstanding);
            match (of(&change.nonpaged), of(&change.paged)) {
                (None, None) => None,
                (n, p) => n.unwrap_or(0).checked_add(p.unwrap_or(0)),
            }
        };
        ChangeRecord {
            tag: change.tag.to_string(),
            tag_hex: tag_hex(change.tag),
            nonpaged: SideRecord::of(&change.nonpaged),
            paged: SideRecord::of(&change.paged),
            trend: change.trend.map(Trend::word),
            growth_bytes: change.growth.and_then(|n| i64::try_from(n).ok()),
            rate_bytes_per_hour: change
                .rate_bytes_per_hour
                .and_then(|n| i64::try_from(n).ok()),
            bytes: (0..points).map(|at| change.bytes_at(at)).collect(),
            outstanding: (0..points).map(outstanding).collect(),
            course: change.trend,
        }
    }

    /// The first and the last known value.
    fn ends(values: &[Option<u64>]) -> Option<(u64, u64)> {
        let mut known = values.iter().flatten();
        let first = *known.next()?;
        Some((first, *known.next_back()?))
    }

    /// The cells of a row in text and Markdown: trend, first and last bytes, their change, the
    /// rate, and the change of outstanding allocations.
    fn cells(&self) -> [String; 6] {
        let unknown = || "-".to_owned();
        let ends = ChangeRecord::ends(&self.bytes);
        let blocks = ChangeRecord::ends(&self.outstanding);
        [
            self.trend.unwrap_or("-").to_owned(),
            ends.map_or_else(unknown, |e| grouped(e.0)),
            ends.map_or_else(unknown, |e| grouped(e.1)),
            self.growth_bytes.map_or_else(unknown, |n| signed(n.into())),
            self.rate_bytes_per_hour
                .map_or_else(unknown, |n| signed(n.into())),
            blocks.map_or_else(unknown, |(a, b)| signed(i128::from(b) - i128::from(a))),
        ]
    }
}

impl Diff {
    /// A report of a comparison.
    pub fn of(comparison: &Comparison) -> Diff {
        let count = comparison.points.len();
        Diff {
            points: comparison.points.iter().map(PointRecord::of).collect(),
            same_boot: comparison.same_boot,
            changes: comparison
                .changes
                .iter()
                .map(|c| ChangeRecord::of(c, count))
                .collect(),
        }
    }

    /// The tags to show in text: those that changed, and those that are pinned.
    fn shown(&self) -> impl Iterator<Item = &ChangeRecord> {
        self.changes
            .iter()
            .filter(|c| c.course.is_some_and(|t| t != Trend::Unchanged))
    }

    fn boot_line(&self) -> &'static str {
        match self.same_boot {
            Some(true) => "Same boot: yes",
            Some(false) => "Same boot: no",
            None => "Same boot: unknown",
        }
    }

    /// A line about the rows that text output omits.
    fn rest_line(&self) -> String {
        let mut counts: BTreeMap<Option<Trend>, usize> = BTreeMap::new();
        for change in &self.changes {
            *counts.entry(change.course).or_default() += 1;
        }
        let of = |trend| counts.get(&trend).copied().unwrap_or(0);
        format!(
            "{} tags; not listed: {} unchanged, {} with fewer than two known values (JSON and CSV have all)",
            grouped(self.changes.len() as u64),
            grouped(of(Some(Trend::Unchanged)) as u64),
            grouped(of(None) as u64)
        )
    }
}

/// The column headings in text and Markdown, after the tag.
const HEADS: [&str; 6] = [
    "trend",
    "first bytes",
    "last bytes",
    "change",
    "bytes/hour",
    "outstanding",
];

impl Answer for Diff {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        text::write(self, out)
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        csv::write(self, out)
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        markdown::write(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::read_bytes;

    fn diff(texts: &[&str]) -> Diff {
        let points = texts
            .iter()
            .flat_map(|t| read_bytes(t.as_bytes(), "a.csv").unwrap().points);
        Diff::of(&Comparison::of(points.collect()))
    }

    fn table(uptime: u64, rows: &str) -> String {
        format!(
            "# uptime_seconds: {uptime}\n# complete: yes\ntag,pool,allocs,frees,outstanding,bytes\n{rows}"
        )
    }

    #[test]
    fn text_and_json_have_the_same_changes() {
        let first = table(
            3600,
            "Leak,nonpaged,10,0,10,10240\n-UMD,paged,5,1,4,64\nSame,paged,1,0,1,32\n",
        );
        let last = table(10800, "Leak,nonpaged,20,0,20,20480\nSame,paged,1,0,1,32\n");
        let diff = diff(&[&first, &last]);
        let json = serde_json::to_value(&diff).unwrap();
        let leak = &json["changes"][0];
        assert_eq!(leak["tag"], "Leak");
        assert_eq!(leak["trend"], "growing");
        assert_eq!(leak["rate_bytes_per_hour"], 5120);
        assert_eq!(leak["nonpaged"]["bytes"], serde_json::json!([10240, 20480]));
        assert_eq!(json["same_boot"], serde_json::Value::Null);
        assert_eq!(json["points"][0]["kind"], "tag-table");
        assert_eq!(json["points"][0]["time"], serde_json::Value::Null);
        let gone = json["changes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["tag"] == "-UMD")
            .unwrap();
        assert_eq!(gone["trend"], "gone");
        assert_eq!(gone["growth_bytes"], -64);
        let written = |write: fn(&Diff, &mut dyn Write) -> io::Result<()>| {
            let mut out = Vec::new();
            write(&diff, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let text = written(|d, out| d.text(out));
        assert!(
            text.contains("+10,240") && text.contains("1 unchanged"),
            "{text}"
        );
        let csv = written(|d, out| d.csv(out));
        assert!(
            csv.contains("'-UMD") && csv.starts_with("tag,tag_hex,trend"),
            "{csv}"
        );
        let markdown = written(|d, out| d.markdown(out));
        assert!(markdown.contains("| Leak |"), "{markdown}");
    }
}
