//! Times in the text of a log.

use super::moment::Moment;
use super::point::Point;

/// A time with or without a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// In UTC.
    Utc(Moment),
    /// By the machine's clock, in an unknown zone.
    Local(Moment),
}

impl Found {
    /// Sets the time of a point.
    pub fn put(self, point: &mut Point) {
        match self {
            Found::Utc(time) => (point.time, point.local_time) = (Some(time), None),
            Found::Local(time) => (point.time, point.local_time) = (None, Some(time)),
        }
    }
}

/// Parses a cell that is a time: ISO 8601, or the format of performance logs.
pub fn of_cell(text: &str) -> Option<Found> {
    let text = text.trim();
    if let Some(text) = text
        .strip_suffix("UTC")
        .or_else(|| text.strip_suffix("GMT"))
    {
        return of_cell(text).map(|found| match found {
            Found::Utc(time) | Found::Local(time) => Found::Utc(time),
        });
    }
    if let Some((time, zone)) = Moment::parse_iso(text) {
        return Some(match zone {
            Some(_) => Found::Utc(time),
            None => Found::Local(time),
        });
    }
    Moment::parse_pdh(text, 0).map(Found::Local)
}

/// The first ISO 8601 time in a line.
pub fn in_line(line: &str) -> Option<Found> {
    let bytes = line.as_bytes();
    let start = bytes.windows(11).position(|w| {
        let digits = [0, 1, 2, 3, 5, 6, 8, 9]
            .iter()
            .all(|&i: &usize| w.get(i).is_some_and(u8::is_ascii_digit));
        digits
            && w.get(4) == Some(&b'-')
            && w.get(7) == Some(&b'-')
            && matches!(w.get(10), Some(b'T' | b' '))
    })?;
    let rest = line.get(start..)?;
    let length = rest
        .char_indices()
        .find(|&(i, c)| i > 10 && !(c.is_ascii_digit() || matches!(c, ':' | '.' | '+' | '-' | 'Z')))
        .map_or(rest.len(), |(i, _)| i);
    let (time, after) = rest.split_at_checked(length)?;
    match after.trim_start().starts_with("UTC") {
        true => of_cell(&format!("{time}Z")),
        false => of_cell(time.trim_end_matches(['.', '-', '+', ':'])),
    }
}

/// Parses `Debug session time: Wed May 12 08:00:00.123 2010 (UTC + 2:00)`, which the debugger
/// prints for a dump.
pub fn of_debugger(line: &str) -> Option<Moment> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let rest = line.trim().strip_prefix("Debug session time:")?;
    let (clock, zone) = rest.split_once('(')?;
    let mut words = clock.split_whitespace().skip(1);
    let (month, day, time, year) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS
        .find(month)
        .filter(|at| at % 3 == 0 && month.len() == 3)?
        / 3
        + 1;
    let day: u8 = day.parse().ok()?;
    let zone: String = zone
        .trim_end()
        .strip_suffix(')')?
        .strip_prefix("UTC")?
        .split_whitespace()
        .collect();
    let zone = match zone.get(..1) {
        None => "Z".into(),
        Some(sign) => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            format!("{sign}{:02}:{minutes}", hours.parse::<u8>().ok()?)
        }
    };
    let iso = format!("{year:0>4}-{month:02}-{day:02}T{time:0>8}{zone}");
    Moment::parse_iso(&iso).map(|(time, _)| time)
}

/// Parses `System Uptime: 1 days 2:03:04.567`, in seconds.
pub fn uptime_of_debugger(line: &str) -> Option<u64> {
    let rest = line.trim().strip_prefix("System Uptime:")?;
    let (days, clock) = rest.split_once("day")?;
    let clock = clock.trim_start_matches('s').trim();
    let clock = clock.split_once('.').map_or(clock, |(whole, _)| whole);
    let parts: Option<Vec<u64>> = clock.split(':').map(|p| p.parse().ok()).collect();
    let [hours, minutes, seconds] = parts?[..] else {
        return None;
    };
    let days: u64 = days.trim().parse().ok()?;
    let seconds = hours
        .checked_mul(3600)?
        .checked_add(minutes.checked_mul(60)?)?
        .checked_add(seconds)?;
    days.checked_mul(86400)?.checked_add(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Found {
        Found::Utc(Moment::parse_iso(text).unwrap().0)
    }

    #[test]
    fn times_are_found_in_lines_of_wrapper_scripts() {
        let noon = "2024-05-17T12:00:00Z";
        for line in [
            "=== 2024-05-17T12:00:00Z ===",
            "snapshot 2024-05-17T14:00:00+02:00",
            "[2024-05-17 12:00:00 UTC]",
            noon,
        ] {
            assert_eq!(in_line(line), Some(utc(noon)), "{line}");
        }
        assert!(matches!(
            in_line("at 2024-05-17 12:00:00."),
            Some(Found::Local(_))
        ));
        assert_eq!(
            in_line("no time here, not even 2024-05-17 or 1234-56-78T99:00"),
            None
        );
    }

    #[test]
    fn times_of_the_debugger_are_parsed() {
        let time = of_debugger("Debug session time: Wed May 12 10:00:00.000 2010 (UTC + 2:00)");
        assert_eq!(time.unwrap().to_string(), "2010-05-12T08:00:00Z");
        assert_eq!(
            uptime_of_debugger("System Uptime: 1 days 2:03:04.567"),
            Some(93_784)
        );
        assert_eq!(
            uptime_of_debugger("System Uptime: 0 days 0:20:34"),
            Some(1234)
        );
        for wrong in [
            "Debug session time: ((",
            "Debug session time: Wed Foo 12 10:00:00 2010 (UTC + 2:00)",
            "",
        ] {
            assert_eq!(of_debugger(wrong), None);
        }
        assert_eq!(uptime_of_debugger("System Uptime: not available"), None);
    }
}
