//! Recognises the layout of a log by its first characteristic line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::SeriesError;
use super::limits;
use super::table::Heads;
use super::{events, pdh, poolmon, poolmon_x3, poolused};

/// The layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A PoolMon screen or snapshot file.
    PoolMon,
    /// The text of `!poolused`.
    PoolUsed,
    /// PoolMonXv3 without headings.
    PoolMonX3,
    /// A performance log as text.
    Performance,
    /// A Windows event log as XML.
    EventXml,
    /// A table with headings.
    Table,
}

impl Form {
    /// The layout of a text; `None` if no line is characteristic.
    pub fn of(text: &str) -> Option<Form> {
        text.lines()
            .take(limits::LINES_TO_RECOGNISE)
            .find_map(Form::of_line)
    }

    fn of_line(line: &str) -> Option<Form> {
        if line.trim_start().starts_with('#') {
            // A comment of a table may quote a line of another tool.
            None
        } else if poolmon::is_start(line) {
            Some(Form::PoolMon)
        } else if poolused::is_start(line) {
            Some(Form::PoolUsed)
        } else if pdh::is_start(line) {
            Some(Form::Performance)
        } else if events::is_start(line) {
            Some(Form::EventXml)
        } else if poolmon_x3::is_start(line) {
            Some(Form::PoolMonX3)
        } else {
            Heads::of(line).map(|_| Form::Table)
        }
    }
}

/// The signature of a Windows event log.
pub const EVTX: &[u8] = b"ElfFile\0";

/// True if a file that starts with these bytes should be read as a log and not as a memory dump:
/// text in any encoding, or an event log. Whether it is a log of pool use is known only after
/// reading it.
pub fn is_log(start: &[u8]) -> bool {
    start.starts_with(EVTX) || is_text(start)
}

/// As [`is_log`], for a file. False if it can't be read; opening it as a dump then reports the
/// error.
pub fn is_log_file(path: &Path) -> bool {
    // Reading from a pipe would consume its data.
    if !std::fs::metadata(path).is_ok_and(|m| m.is_file()) {
        return false;
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut start));
    read.is_ok() && is_log(&start)
}

fn is_text(start: &[u8]) -> bool {
    const MEMORY: [&[u8]; 5] = [b"PAGEDU64", b"PAGEDUMP", b"MDMP", b"EMiL", b"MZ"];
    if start.is_empty() || MEMORY.iter().any(|magic| start.starts_with(magic)) {
        return false;
    }
    // The last character may be truncated.
    let whole = start
        .get(..start.len() & !3)
        .filter(|s| !s.is_empty())
        .unwrap_or(start);
    let control = |c: char| {
        c.is_control()
            && !matches!(
                c,
                '\t' | '\n' | '\r' | '\u{c}' | '\u{1b}' | '\u{80}'..='\u{9f}'
            )
    };
    match super::decode::decode(whole) {
        Ok(text) => {
            let all = text.chars().count();
            text.chars().filter(|&c| control(c)).count() * 50 <= all
        }
        Err(SeriesError::Empty) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_log_and_a_memory_dump_is_not() {
        for text in [
            &b"Tag,Type\r\n"[..],
            b"prose",
            b"\xff\xfeT\0a\0g\0",
            b"T\0a\0g\0,\0",
            b"ElfFile\0",
            b"caf\xe9 au lait",
            b"\n",
        ] {
            assert!(is_log(text), "{text:?}");
        }
        for bytes in [
            &b""[..],
            b"PAGEDU64",
            b"MZ\x90\0",
            &[0; 512],
            b"\x7fELF\x02\x01\x01\0\0\0",
            b"PK\x03\x04\x14\0\0\0",
            &[0x53, 0xff, 0, 0xf0, 1, 2, 3, 4],
        ] {
            assert!(!is_log(bytes), "{bytes:?}");
        }
    }
}
