//! Opens a log and dispatches to the parser for its layout.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::SeriesError;
use super::form::{EVTX, Form};
use super::point::Log;
use super::{decode, events, limits, pdh, poolmon, poolmon_x3, poolused, table};

/// Reads a log of any layout.
///
/// # Errors
/// A [`SeriesError`] that says what the file is and what to do.
pub fn read(path: &Path) -> Result<Log, SeriesError> {
    let io = |source| SeriesError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(limits::FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    let whole = bytes.len() as u64 <= limits::FILE_BYTES;
    bytes.truncate(usize::try_from(limits::FILE_BYTES).unwrap_or(usize::MAX));
    let mut log = read_bytes(&bytes, &path.to_string_lossy())?;
    if !whole {
        log.notes.push(format!(
            "the log has more than {} MB: the rest was not read",
            limits::FILE_BYTES >> 20
        ));
    }
    Ok(log)
}

/// Reads a log from memory; `source` is the file name in its points.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(bytes: &[u8], source: &str) -> Result<Log, SeriesError> {
    if bytes.starts_with(EVTX) {
        return number_snapshots(events::read_evtx(bytes, source)?);
    }
    refuse_other(bytes)?;
    let text = decode::decode(bytes)?;
    let log = match Form::of(&text).ok_or(SeriesError::NotALog)? {
        Form::PoolMon => poolmon::read(&text, source),
        Form::PoolUsed => poolused::read(&text, source),
        Form::PoolMonX3 => poolmon_x3::read(&text, source),
        Form::Performance => pdh::read(&text, source),
        Form::EventXml => events::read_xml(&text, source),
        Form::Table => table::read(&text, source),
    }?;
    number_snapshots(log)
}

/// Rejects binary formats of other programs with similar data.
fn refuse_other(bytes: &[u8]) -> Result<(), SeriesError> {
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(SeriesError::Other {
            what: "a zip archive",
            advice: "unpack it first",
        });
    }
    Ok(())
}

/// Numbers the points if there are several, and adds a note about unusable lines.
fn number_snapshots(mut log: Log) -> Result<Log, SeriesError> {
    if log.points.len() > 1 {
        for (at, point) in log.points.iter_mut().enumerate() {
            point.snapshot = Some(at + 1);
        }
    }
    let skipped: u64 = log.points.iter().map(|p| p.skipped).sum();
    if skipped > 0 {
        log.notes.push(format!(
            "{skipped} lines look like rows and were not used: truncated, damaged or duplicate"
        ));
    }
    let unsure = log
        .points
        .iter()
        .flat_map(|p| &p.rows)
        .filter(|r| r.unsure != 0)
        .count();
    if unsure > 0 {
        log.notes.push(format!(
            "{unsure} tags have placeholder characters for other bytes; they are matched by their \
                other characters"
        ));
    }
    Ok(log)
}
