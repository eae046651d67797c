//! The reasons why a file can't be used as a log.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A file that is not a log of pool use, or that can't be read. The message says what is wrong,
/// then what to do.
#[derive(Debug, Error)]
pub enum SeriesError {
    /// The file can't be opened or read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is empty or contains only white space.
    #[error("the file is empty: no pool usage in it; save the log again")]
    Empty,
    /// Text without a line of a known layout.
    #[error(
        "not a log of pool usage: no line has a known layout (PoolMon, !poolused, PoolMonX, a CSV with a tag column, PDH-CSV, event log XML)"
    )]
    NotALog,
    /// Bytes in no known text encoding.
    #[error("not a text file: it has NUL bytes and is not UTF-16; give a log saved as text")]
    NotText,
    /// The layout is known, but no row could be used.
    #[error(
        "this looks like {what}, but no row could be used ({skipped} lines did not fit); {advice}"
    )]
    NoRows {
        /// The layout, for example "a PoolMon log".
        what: &'static str,
        /// Number of lines that look like rows but failed their checks.
        skipped: u64,
        /// What to do.
        advice: &'static str,
    },
    /// An unsupported format of another program.
    #[error("this is {what}; {advice}")]
    Other {
        /// The format, for example "a binary performance log (.blg)".
        what: &'static str,
        /// The command that converts it.
        advice: &'static str,
    },
    /// A table with contradictory contents.
    #[error("{what}; {advice}")]
    Unusable {
        /// What is wrong, with the line number if there is one.
        what: String,
        /// What to do.
        advice: &'static str,
    },
}
