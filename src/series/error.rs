//! Why a file can't be used as a log.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A file that is no log of pool usage, or one that can't be read. The message says what is
/// wrong, then what to do.
#[derive(Debug, Error)]
pub enum SeriesError {
    /// The operating system refused to open or read the file.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file asked for.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Length 0, or blanks only.
    #[error("the file is empty: no pool usage in it; save the log again")]
    Empty,
    /// Text, but no line of a known layout.
    #[error(
        "not a log of pool usage: no line has a known layout (PoolMon, !poolused, PoolMonX, a CSV with a tag column, PDH-CSV, event log XML)"
    )]
    NotALog,
    /// Bytes that are no text of a known encoding.
    #[error("not a text file: it has NUL bytes and is not UTF-16; give a log saved as text")]
    NotText,
    /// The layout was recognised, but no line could be used.
    #[error(
        "this looks like {what}, but no row could be used ({skipped} lines did not fit); {advice}"
    )]
    NoRows {
        /// "a PoolMon log"…
        what: &'static str,
        /// Lines that look like rows and fail their own checks.
        skipped: u64,
        /// What to do.
        advice: &'static str,
    },
    /// A format of another program that is not read.
    #[error("this is {what}; {advice}")]
    Other {
        /// "a binary performance log (.blg)"…
        what: &'static str,
        /// The command that converts it.
        advice: &'static str,
    },
    /// A table that contradicts itself.
    #[error("{what}; {advice}")]
    Unusable {
        /// What is wrong, with the line where there is one.
        what: String,
        /// What to do.
        advice: &'static str,
    },
}
