//! A file to save on the user's request.

use std::path::PathBuf;

use crate::tui::data::blocks::BlockView;
use crate::tui::data::cell::Cell;

/// What to save.
#[derive(Clone, Debug)]
pub enum Content {
    /// A list that is fully in memory.
    Grid {
        /// Names of the columns.
        columns: Vec<&'static str>,
        /// The rows.
        rows: Vec<Vec<Cell>>,
    },
    /// Allocations, of any number.
    Blocks(BlockView),
    /// The report, with the marks.
    Report(Vec<(String, String)>),
    /// Lines of text.
    Text(String),
    /// Memory, as the debugger dumps it.
    Memory {
        /// The first byte.
        start: crate::memory::Va,
        /// The number of bytes.
        length: u64,
        /// The session to read in.
        session: Option<u32>,
    },
}

/// A file to write.
#[derive(Clone, Debug)]
pub struct Job {
    /// The path.
    pub path: PathBuf,
    /// Overwrite an existing file.
    pub replace: bool,
    /// The contents.
    pub content: Content,
}
