//! A file that the user asked for.

use std::path::PathBuf;

use crate::tui::data::blocks::BlockView;
use crate::tui::data::cell::Cell;

/// What to save.
#[derive(Clone, Debug)]
pub enum Content {
    /// A list that is held in whole.
    Grid {
        /// Names of the columns.
        columns: Vec<&'static str>,
        /// The rows.
        rows: Vec<Vec<Cell>>,
    },
    /// Allocations, as many as there are.
    Blocks(BlockView),
    /// The report, with what is marked.
    Report(Vec<(String, String)>),
    /// Lines.
    Text(String),
    /// Memory, as the debugger dumps it.
    Memory {
        /// The first byte.
        start: crate::memory::Va,
        /// How many.
        length: u64,
        /// The session to read in.
        session: Option<u32>,
    },
}

/// A file to write.
#[derive(Clone, Debug)]
pub struct Job {
    /// Where.
    pub path: PathBuf,
    /// Write over a file that is there.
    pub replace: bool,
    /// What.
    pub content: Content,
}
