//! Points in time, in UTC.

use std::fmt;

use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// Number of 100 ns intervals, the unit of Windows system times, per millisecond.
const TICKS: u64 = 10_000;
/// Milliseconds from 1601, the Windows epoch, to 1970.
const EPOCH: i64 = 11_644_473_600_000;

/// A point in time: milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// Converts a Windows system time (100 ns since 1601-01-01 UTC).
    pub fn of_ticks(ticks: u64) -> Option<Moment> {
        let milliseconds = i64::try_from(ticks / TICKS).ok()?.checked_sub(EPOCH)?;
        Moment(milliseconds).valid()
    }

    /// Seconds since `earlier`; negative if this moment is earlier.
    pub fn seconds_since(self, earlier: Moment) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1000.0
    }

    /// The moment this number of seconds earlier.
    pub fn before(self, seconds: u64) -> Option<Moment> {
        let milliseconds = i64::try_from(seconds).ok()?.checked_mul(1000)?;
        Moment(self.0.checked_sub(milliseconds)?).valid()
    }

    /// Parses ISO 8601: `2024-05-17T13:05:00Z`, optionally with a blank for the `T`, a fraction,
    /// or an offset. The offset is `None` if the text has no zone.
    pub fn parse_iso(text: &str) -> Option<(Moment, Option<i32>)> {
        let text = text.trim();
        let date = calendar_date(text.get(..10)?, [0..4, 5..7, 8..10], b'-')?;
        let rest = text.get(10..)?;
        let rest = rest.strip_prefix(['T', 't', ' '])?;
        let (clock, zone) = split_zone(rest)?;
        let time = clock_time(clock)?;
        let local = PrimitiveDateTime::new(date, time);
        let offset = UtcOffset::from_whole_seconds(zone.unwrap_or(0).checked_mul(60)?).ok()?;
        Some((Moment::of(local.assume_offset(offset))?, zone))
    }

    /// Parses a time of a performance log: `05/15/2018 02:13:06.123`. The month is first in every
    /// language; `bias` is minutes west of UTC.
    pub fn parse_pdh(text: &str, bias: i32) -> Option<Moment> {
        let text = text.trim();
        let date = calendar_date(text.get(..10)?, [6..10, 0..2, 3..5], b'/')?;
        let time = clock_time(text.get(10..)?.trim_start())?;
        let offset = UtcOffset::from_whole_seconds(bias.checked_mul(-60)?).ok()?;
        Moment::of(PrimitiveDateTime::new(date, time).assume_offset(offset))
    }

    fn of(time: OffsetDateTime) -> Option<Moment> {
        i64::try_from(time.unix_timestamp_nanos() / 1_000_000)
            .ok()
            .map(Moment)
    }

    fn valid(self) -> Option<Moment> {
        self.calendar().map(|_| self)
    }

    fn calendar(self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000).ok()
    }
}

impl fmt::Display for Moment {
    /// RFC 3339 in UTC; a question mark for a year that RFC 3339 can't represent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.calendar().and_then(|t| t.format(&Rfc3339).ok());
        f.pad(text.as_deref().unwrap_or("?"))
    }
}

/// Year, month and day at these positions, separated by `mark`.
fn calendar_date(text: &str, places: [std::ops::Range<usize>; 3], mark: u8) -> Option<Date> {
    let [year, month, day] = places.clone().map(|at| digits(text.get(at)?));
    let between = (0..text.len()).filter(|at| !places.iter().any(|p| p.contains(at)));
    let mut marks = between.filter_map(|at| text.as_bytes().get(at));
    if !marks.all(|&b| b == mark) {
        return None;
    }
    let month = Month::try_from(u8::try_from(month?).ok()?).ok()?;
    Date::from_calendar_date(i32::try_from(year?).ok()?, month, u8::try_from(day?).ok()?).ok()
}

/// Parses `13:05`, `13:05:00` or `13:05:00.123` (comma or point).
fn clock_time(text: &str) -> Option<Time> {
    let (whole, fraction) = match text.split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, fraction),
        None => (text, ""),
    };
    let mut parts = whole
        .split(':')
        .map(|part| digits(part).filter(|_| part.len() <= 2));
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    if parts.next().is_some() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let milliseconds: String = fraction.chars().chain("000".chars()).take(3).collect();
    Time::from_hms_milli(
        u8::try_from(hour).ok()?,
        u8::try_from(minute).ok()?,
        u8::try_from(second).ok()?,
        u16::try_from(digits(&milliseconds)?).ok()?,
    )
    .ok()
}

/// Splits off the zone after a time, in minutes east of UTC.
fn split_zone(text: &str) -> Option<(&str, Option<i32>)> {
    let text = text.trim_end();
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, Some(0)));
    }
    let Some(at) = text.rfind(['+', '-']) else {
        return Some((text, None));
    };
    let (clock, zone) = (text.get(..at)?, text.get(at + 1..)?);
    let (hours, minutes) = match zone.split_once(':') {
        Some(parts) => parts,
        None => (zone.get(..2)?, zone.get(2..)?),
    };
    let minutes = match minutes {
        "" => 0,
        minutes => digits(minutes)?,
    };
    let total = i32::try_from(digits(hours)?.checked_mul(60)?.checked_add(minutes)?).ok()?;
    if total > 18 * 60 {
        return None;
    }
    let east = text.as_bytes().get(at) == Some(&b'+');
    Some((clock.trim_end(), Some(if east { total } else { -total })))
}

fn digits(text: &str) -> Option<u64> {
    let valid = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_logs_are_converted_to_utc() {
        let (time, zone) = Moment::parse_iso("2024-05-17T13:05:00.25+02:00").unwrap();
        assert_eq!(
            (time.to_string().as_str(), zone),
            ("2024-05-17T11:05:00.25Z", Some(120))
        );
        let (time, zone) = Moment::parse_iso("2024-05-17 13:05").unwrap();
        assert_eq!(
            (time.to_string().as_str(), zone),
            ("2024-05-17T13:05:00Z", None)
        );
        assert_eq!(
            Moment::parse_pdh("05/15/2018 02:13:06.123", -60)
                .unwrap()
                .to_string(),
            "2018-05-15T01:13:06.123Z"
        );
        // 2010-05-12T08:00:00Z is 1273651200 seconds after 1970 (by `date -u`).
        let ticks = (1_273_651_200 + 11_644_473_600) * 10_000_000;
        assert_eq!(
            Moment::of_ticks(ticks).unwrap().to_string(),
            "2010-05-12T08:00:00Z"
        );
        assert_eq!(Moment::of_ticks(u64::MAX), None);
    }

    #[test]
    fn text_that_is_not_a_time_is_none() {
        for text in [
            "",
            "2024-13-01T00:00:00Z",
            "2024-02-30T00:00:00Z",
            "2024-05-17",
            "2024-05-17T25:00:00Z",
            "2024-05-17T10:00:00+99:00",
            "x",
            "2024/05/17T10:00:00Z",
            "2024-05-17T10:00:00.1x",
            "２０２４-05-17T10:00",
        ] {
            assert_eq!(Moment::parse_iso(text), None, "{text}");
        }
        for text in [
            "",
            "15/05/2018 02:13:06",
            "05/15/2018",
            "05-15-2018 02:13:06",
        ] {
            assert_eq!(Moment::parse_pdh(text, 0), None, "{text}");
        }
        assert_eq!(Moment::parse_pdh("05/15/2018 02:13:06", i32::MAX), None);
    }
}
