//! Performance logs as text: `relog -f CSV`, `typeperf`, PerfMon.
//!
//! The first cell of the first line has the time zone's bias in minutes, if the tool knows it.
//! The month is first in every language. Counter names are in the language of the machine; only
//! English names are supported.

use super::csv_lines::Splitter;
use super::error::SeriesError;
use super::limits;
use super::moment::Moment;
use super::number;
use super::point::{Kind, Listing, Log, Point, Totals};

/// True for the first line of such a log.
pub fn is_start(line: &str) -> bool {
    let line = line.trim_start().trim_start_matches('"');
    line.starts_with("(PDH-CSV") || line.starts_with("(PDH-TSV")
}

type Place = fn(&mut Totals) -> &mut Option<u64>;

/// The counter in a column.
#[derive(Clone, Copy)]
enum Counter {
    Total(Place),
    Uptime,
    Other,
}

/// The counter at the end of a path, without the machine's name.
fn counter(head: &str) -> Counter {
    let mut parts = head.rsplit('\\');
    let (name, object) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let place: Place = match (object, name) {
        ("Memory", "Pool Nonpaged Bytes") => |t| &mut t.nonpaged_bytes,
        ("Memory", "Pool Paged Bytes") => |t| &mut t.paged_bytes,
        ("Memory", "Pool Paged Resident Bytes") => |t| &mut t.paged_resident_bytes,
        ("Memory", "Available Bytes") => |t| &mut t.available_bytes,
        ("Memory", "Committed Bytes") => |t| &mut t.committed_bytes,
        ("Memory", "Commit Limit") => |t| &mut t.commit_limit_bytes,
        ("Memory", "Free System Page Table Entries") => |t| &mut t.free_system_ptes,
        ("Process(_Total)", "Handle Count") => |t| &mut t.handles,
        ("System", "System Up Time") => return Counter::Uptime,
        _ => return Counter::Other,
    };
    Counter::Total(place)
}

/// Reads a log: one point per sample.
///
/// # Errors
/// [`SeriesError::NoRows`], and [`SeriesError::Unusable`] if no pool counter has a known name.
pub fn read(text: &str, source: &str) -> Result<Log, SeriesError> {
    const WHAT: &str = "a performance log";
    let mut lines = text.lines().skip_while(|line| !is_start(line));
    let head = lines.next().unwrap_or_default();
    let delimiter = if head.contains("(PDH-TSV") {
        b'\t'
    } else {
        b','
    };
    let mut splitter = Splitter::new(delimiter);
    let heads = splitter.cells(head).unwrap_or_default();
    let counters: Vec<Counter> = heads.iter().map(|head| counter(head)).collect();
    let of_pool = |head: &String| {
        head.ends_with("\\Memory\\Pool Nonpaged Bytes")
            || head.ends_with("\\Memory\\Pool Paged Bytes")
    };
    if !heads.iter().any(of_pool) {
        return Err(SeriesError::Unusable {
            what: "the performance log has no counter \\Memory\\Pool Nonpaged Bytes or \\Memory\\Pool Paged Bytes under its English name".into(),
            advice: "collect these counters on an English system, or rename the columns",
        });
    }
    let bias = heads.first().and_then(|head| bias(head));
    let mut reader = Samples {
        counters,
        bias,
        source,
        points: Vec::new(),
        skipped: 0,
    };
    let mut notes = Vec::new();
    for line in lines {
        // typeperf prints a message at the end.
        if !line.starts_with('"') {
            continue;
        }
        if reader.points.len() >= limits::SNAPSHOTS {
            notes.push(limits::note());
            break;
        }
        match splitter.cells(line).and_then(|cells| reader.sample(&cells)) {
            Some(point) => reader.points.push(point),
            None => reader.skipped += 1,
        }
    }
    if reader.points.is_empty() {
        return Err(SeriesError::NoRows {
            what: WHAT,
            skipped: reader.skipped,
            advice: "export it again with relog in.blg -f CSV -o out.csv",
        });
    }
    if bias.is_none() {
        notes.push(
            "the performance log does not say its time zone: its times are not converted to UTC"
                .into(),
        );
    }
    if let Some(first) = reader.points.first_mut() {
        first.skipped = reader.skipped;
    }
    Ok(Log {
        what: WHAT,
        points: reader.points,
        notes,
    })
}

struct Samples<'a> {
    counters: Vec<Counter>,
    bias: Option<i32>,
    source: &'a str,
    points: Vec<Point>,
    skipped: u64,
}

impl Samples<'_> {
    fn sample(&self, cells: &[String]) -> Option<Point> {
        let mut point = Point {
            listing: Listing::Truncated("a performance log has no tags".into()),
            ..Point::new(self.source, Kind::PerfCounters)
        };
        let time = Moment::parse_pdh(cells.first()?, self.bias.unwrap_or(0))?;
        match self.bias {
            Some(_) => point.time = Some(time),
            None => point.local_time = Some(time),
        }
        for (counter, cell) in self.counters.iter().zip(cells).skip(1) {
            let value = number::decimal(cell.trim()).filter(|_| !cell.trim().is_empty());
            match counter {
                Counter::Total(place) => *place(&mut point.totals) = value,
                Counter::Uptime => point.uptime_seconds = value,
                Counter::Other => {}
            }
        }
        Some(point)
    }
}

/// The bias in minutes west of UTC: the last number in parentheses after the zone's name.
fn bias(head: &str) -> Option<i32> {
    let inside = head.trim().strip_suffix(')')?;
    let (before, number) = inside.rsplit_once('(')?;
    let minutes: i32 = number.parse().ok()?;
    (before.ends_with(')') && minutes.abs() <= 18 * 60).then_some(minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_utc_times_and_missing_values_are_none() {
        let text = "\"(PDH-CSV 4.0) (Romance Standard Time)(-60)\",\"\\\\HOST\\Memory\\Pool Nonpaged Bytes\",\"\\\\HOST\\Memory\\Pool Paged Bytes\"\n\
            \"05/15/2018 02:13:06.123\",\"734003200\",\" \"\nExiting, please wait...\n";
        let log = read(text, "a.csv").unwrap();
        let [point] = &log.points[..] else { panic!() };
        assert_eq!(point.time.unwrap().to_string(), "2018-05-15T01:13:06.123Z");
        assert_eq!(point.totals.nonpaged_bytes, Some(734_003_200));
        assert_eq!(point.totals.paged_bytes, None);
    }

    #[test]
    fn times_without_a_zone_are_local_and_unknown_counter_names_are_rejected() {
        let text =
            "\"(PDH-CSV 4.0)\",\"\\Memory\\Pool Paged Bytes\"\n\"05/15/2018 02:13:06.123\",\"5\"\n";
        let log = read(text, "a.csv").unwrap();
        assert!(log.points[0].time.is_none() && log.points[0].local_time.is_some());
        let foreign = "\"(PDH-CSV 4.0)\",\"\\Speicher\\Nicht-Auslagerungsseiten (Bytes)\"\n";
        assert!(matches!(
            read(foreign, "a"),
            Err(SeriesError::Unusable { .. })
        ));
    }
}
