//! Limits on the size of a log. A log that exceeds a limit is not rejected; a note of the
//! [`Log`](super::Log) reports the omission.

/// Maximum file size, in bytes. A PoolMon snapshot of 3,000 tags has 250 KB.
pub const FILE_BYTES: u64 = 64 << 20;
/// Maximum number of rows in all snapshots.
pub const ROWS: usize = 1_000_000;
/// Maximum length in bytes of a cell, or of a line of a layout without cells.
pub const CELL_BYTES: usize = 4096;
/// Maximum number of cells per line: a performance log has one column per counter and process.
pub const CELLS: usize = 32_768;
/// Maximum number of snapshots per file.
pub const SNAPSHOTS: usize = 10_000;
/// Maximum number of points times tags in a comparison; each takes 128 bytes.
pub const COMPARED: usize = 3_000_000;
/// Maximum number of lines to search for a characteristic line; a debugger's log starts with the
/// commands typed before.
pub const LINES_TO_RECOGNISE: usize = 20_000;

/// The note about omitted rows or snapshots.
pub fn note() -> String {
    format!("the log has more than {ROWS} rows or {SNAPSHOTS} snapshots: the rest was not read")
}
