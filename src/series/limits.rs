//! How much of a log is read. A log that has more is not refused: what was left out is a
//! note of the [`Log`](super::Log).

/// Bytes of a file. A PoolMon snapshot of 3,000 tags has 250 KB.
pub const FILE_BYTES: u64 = 64 << 20;
/// Rows of all snapshots together.
pub const ROWS: usize = 1_000_000;
/// Bytes of one cell, or of one line of a layout without cells.
pub const CELL_BYTES: usize = 4096;
/// Cells of one line: a performance log has a column per counter and process.
pub const CELLS: usize = 32_768;
/// Snapshots in one file.
pub const SNAPSHOTS: usize = 10_000;
/// Points times tags of one comparison; each takes 128 bytes.
pub const COMPARED: usize = 3_000_000;
/// Lines that are searched for the first that says what a log is: a debugger's log begins
/// with what was typed before.
pub const LINES_TO_RECOGNISE: usize = 20_000;

/// The note when rows or snapshots were left out.
pub fn note() -> String {
    format!("the log has more than {ROWS} rows or {SNAPSHOTS} snapshots: the rest was not read")
}
