//! Formats text and numbers for people: addresses, sizes, hex lines, and text from a dump in a
//! form that is safe for a terminal. Used by the command line and the screen.

use std::borrow::Cow;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::characters::is_hidden;

pub use crate::characters::grouped;
use crate::memory::{PAGE_SIZE, Va};

/// Replaces every character that a terminal might interpret by `.`: C0 and C1 control characters,
/// bidirectional overrides, line and paragraph separators, and other invisible format characters.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_hidden) {
        Cow::Owned(
            text.chars()
                .map(|c| if is_hidden(c) { '.' } else { c })
                .collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}

/// Escapes every character that Markdown or HTML could interpret.
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // So that an address does not become a link, nor a name a user mention.
            '@' => out.push_str("&#64;"),
            ':' if out.ends_with("http") || out.ends_with("https") => out.push_str("&#58;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '|' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Sixteen hexadecimal digits without a separator, as `!pool` prints an address.
pub fn plain_address(va: Va) -> String {
    format!("{:016x}", va.0)
}

/// An address in the format of JSON and CSV.
pub fn json_address(va: Va) -> String {
    format!("{:#x}", va.0)
}

/// Parses an address as users type it: hexadecimal, with or without `0x`, and with or without
/// WinDbg's separator. `None` for anything else.
pub fn parse_address(text: &str) -> Option<Va> {
    let text = text.trim();
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text)
        .replace('`', "");
    let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    valid
        .then(|| u64::from_str_radix(&digits, 16).ok())
        .flatten()
        .map(Va)
}

/// A line of a hex dump in the format of the debugger's `s` and `db`: address, sixteen bytes with
/// a dash after the eighth, and the bytes as text. Unreadable bytes are `??`.
pub fn dump_line(va: Va, bytes: &[Option<u8>]) -> String {
    let mut hex = String::new();
    let mut text = String::new();
    for at in 0..16 {
        if at > 0 {
            let dash = at == 8 && bytes.len() > 8;
            hex.push(if dash { '-' } else { ' ' });
        }
        match bytes.get(at) {
            Some(Some(byte)) => hex += &format!("{byte:02x}"),
            Some(None) => hex += "??",
            None => hex += "  ",
        }
        match bytes.get(at) {
            Some(Some(byte)) => text.push(printable(*byte)),
            Some(None) => text.push('?'),
            None => {}
        }
    }
    format!("{va}  {hex}  {text}")
}

/// The byte as a character; `.` if it is not printable ASCII.
pub fn printable(byte: u8) -> char {
    if (0x20..0x7f).contains(&byte) {
        byte.into()
    } else {
        '.'
    }
}

/// A change with its sign: `+1,024`, `-7`, `0`.
pub fn signed(number: i128) -> String {
    let digits = grouped(u64::try_from(number.unsigned_abs()).unwrap_or(u64::MAX));
    match number {
        0 => digits,
        n if n < 0 => format!("-{digits}"),
        _ => format!("+{digits}"),
    }
}

/// Pages in kilobytes; `u64::MAX` on overflow.
pub fn kilobytes(pages: u64) -> u64 {
    pages.saturating_mul(PAGE_SIZE / 1024)
}

/// Bytes in the largest unit with a value of at least one: `586.9 MB`.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A time in seconds since 1970 as RFC 3339; `None` for a year that RFC 3339 can't represent.
pub fn rfc3339(seconds: i64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    time.format(&Rfc3339).ok()
}

/// A FILETIME (100 ns since 1601) as RFC 3339, in seconds; `None` for a year that RFC 3339 can't
/// represent.
pub fn filetime(time: u64) -> Option<String> {
    rfc3339(i64::try_from(time / 10_000_000).ok()? - 11_644_473_600)
}

/// A time to the minute, in UTC; a question mark if it is out of range.
pub fn moment(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).ok();
    let seconds = seconds.and_then(|d| i64::try_from(d.as_secs()).ok());
    let time = seconds.and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    time.map_or_else(
        || "?".into(),
        |t| {
            let (date, hour, minute) = (t.date(), t.hour(), t.minute());
            format!("{date} {hour:02}:{minute:02} UTC")
        },
    )
}

/// A duration in days, hours and minutes: `1 d 02:00`.
pub fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    format!("{days} d {:02}:{:02}", rest / 3600, rest % 3600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_a_terminal_interprets_are_replaced() {
        assert_eq!(
            clean("a\x1b[31m\u{9b}b\r\n\u{202e}c\u{2028}"),
            "a.[31m.b...c."
        );
        assert!(matches!(clean("C:\\Ünïcode.sys"), Cow::Borrowed(_)));
    }

    #[test]
    fn addresses_are_parsed_in_all_common_forms() {
        for text in [
            "fffff880044b63aa",
            "0xfffff880044b63aa",
            "fffff880`044b63aa",
            " FFFFF880044B63AA ",
        ] {
            assert_eq!(parse_address(text), Some(Va(0xffff_f880_044b_63aa)));
        }
        for text in ["", "0x", "xyz", "+1", "11112222333344445"] {
            assert_eq!(parse_address(text), None);
        }
    }

    #[test]
    fn the_dump_line_has_the_debuggers_format() {
        let bytes: Vec<Option<u8>> = b"Leak;\xc1\x0fB\xc1A\x8dI\xfd\x8b\xd0\xff"
            .iter()
            .map(|b| Some(*b))
            .collect();
        assert_eq!(
            dump_line(Va(0xffff_f880_044b_63aa), &bytes),
            "fffff880`044b63aa  4c 65 61 6b 3b c1 0f 42-c1 41 8d 49 fd 8b d0 ff  Leak;..B.A.I...."
        );
        assert_eq!(
            dump_line(Va(0), &[Some(0x41), None]),
            format!("00000000`00000000  41 ??{}  A?", " ".repeat(42))
        );
    }

    #[test]
    fn times_are_shown_to_the_minute_unless_out_of_range() {
        let after = |s| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(s);
        assert_eq!(moment(after(1_273_651_200)), "2010-05-12 08:00 UTC");
        // The year 14645, which the clock of every system can represent.
        assert_eq!(moment(after(400_000_000_000)), "?");
    }

    #[test]
    fn numbers_are_grouped_and_shortened() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(615_424_000), "615,424,000");
        assert_eq!(human(1023), "1023 B");
        assert_eq!(human(615_424_000), "586.9 MB");
        assert_eq!(human(u64::MAX), "16384.0 PB");
    }
}
