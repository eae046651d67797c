//! A list as data: columns, rows, and what Enter opens. Made by a worker or from the
//! state, drawn by [`crate::tui::screens::data_table`].

use std::sync::Arc;

use crate::memory::Va;
use crate::pool::Tag;

use crate::tui::data::cell::Cell;
use crate::tui::data::order::PoolChoice;
use crate::tui::input::query::{self, Field, Kind, TextFilter, Value};
use crate::tui::widgets::table::Column;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct TableColumn {
    /// How it is drawn.
    pub column: Column,
    /// What it is called in a query and in a saved file, and what it holds.
    pub field: Field,
    /// `p` sorts by it as that pool.
    pub pool: Option<PoolChoice>,
}

impl TableColumn {
    /// A column with its name in queries.
    pub const fn new(column: Column, names: &'static [&'static str], kind: Kind) -> TableColumn {
        TableColumn {
            column,
            field: Field { names, kind },
            pool: None,
        }
    }

    /// The same, as the numbers of a pool.
    pub const fn of_pool(self, pool: PoolChoice) -> TableColumn {
        TableColumn {
            pool: Some(pool),
            ..self
        }
    }

    /// What it is called in a query.
    pub fn name(&self) -> &'static str {
        self.field.names.first().copied().unwrap_or_default()
    }
}

/// What Enter on a row opens.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Opens {
    /// Nothing.
    #[default]
    Nothing,
    /// A tag; its allocations that match a filter, unless it is empty.
    Tag(Tag, String),
    /// Memory: title, a sentence, the address, its length if it has one, the session.
    Memory {
        /// What it is called on the path.
        title: String,
        /// What it is, as a sentence.
        about: String,
        /// Where it starts.
        va: Va,
        /// Its bytes, when it has an end.
        length: Option<u64>,
        /// The session to read in.
        session: Option<u32>,
    },
    /// Another table.
    Table(TableKind),
    /// The list behind, filtered by this.
    Filter(String),
}

/// Which table. A dump that is read again is asked again.
#[derive(Clone, Debug, PartialEq)]
pub enum TableKind {
    /// Pool by driver.
    Drivers,
    /// The tags of a driver, or without a name those that nobody owns.
    TagsOf(Option<String>),
    /// The sizes of a tag's allocations.
    Sizes(Tag),
    /// How often each value is in a column of a tag's allocations, those that match.
    Frequency {
        /// Whose allocations.
        tag: Tag,
        /// Which column, by its name in queries.
        column: String,
        /// Which allocations.
        filter: String,
    },
    /// What the qword at an offset of each of a tag's allocations is.
    Pointers {
        /// Whose allocations.
        tag: Tag,
        /// Bytes from what the owner sees first, after the header.
        offset: u64,
    },
    /// The page of an address, block by block.
    Page {
        /// An address in it.
        va: Va,
        /// The session to read in.
        session: Option<u32>,
    },
    /// What a tag's allocations hold, offset by offset.
    Contents(Tag),
    /// Which of a tag's allocations are alike.
    Families(Tag),
    /// The kernel objects of a tag, and the processes with handles to them.
    Objects(Tag),
    /// The call stacks recorded for a tag's allocations.
    Stacks(Tag),
    /// Values of a column of a list that is on screen, already counted.
    Counted,
    /// The instructions around a place in code that has a tag.
    Code {
        /// The tag.
        tag: Tag,
        /// Address of the tag's four bytes.
        va: Va,
    },
    /// What the user marked.
    Marks,
    /// The points of the baseline.
    Points,
    /// Modules loaded or unloaded since the baseline.
    ModuleChanges,
}

impl TableKind {
    /// The tag that it is about.
    pub fn tag(&self) -> Option<Tag> {
        match self {
            TableKind::Sizes(tag)
            | TableKind::Contents(tag)
            | TableKind::Families(tag)
            | TableKind::Objects(tag)
            | TableKind::Stacks(tag)
            | TableKind::Frequency { tag, .. }
            | TableKind::Code { tag, .. }
            | TableKind::Pointers { tag, .. } => Some(*tag),
            TableKind::Drivers
            | TableKind::TagsOf(_)
            | TableKind::Page { .. }
            | TableKind::Counted
            | TableKind::Marks
            | TableKind::Points
            | TableKind::ModuleChanges => None,
        }
    }
}

/// A row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableRow {
    /// The mark of the row; blank for none.
    pub mark: char,
    /// Its cells, one for each column.
    pub cells: Vec<Cell>,
    /// What Enter opens.
    pub opens: Opens,
    /// The place in what it was made of, for keys that change that.
    pub place: Option<usize>,
}

impl TableRow {
    /// True for a row about the bytes at an address.
    pub fn holds(&self, va: Va) -> bool {
        match &self.opens {
            Opens::Memory {
                va: first, length, ..
            } => va >= *first && va.0 - first.0 < length.unwrap_or(1).max(1),
            _ => self.cells.contains(&Cell::Address(va)),
        }
    }
}

/// Counts in the order of time, drawn as a line of bars.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chart {
    /// What is in front of it.
    pub before: String,
    /// The counts.
    pub values: Vec<u64>,
    /// What is behind it.
    pub after: String,
}

/// What a table shows, as it is answered.
#[derive(Clone, Debug, Default)]
pub struct TableData {
    /// The columns.
    pub columns: &'static [TableColumn],
    /// The rows, in their own order.
    pub rows: Arc<Vec<TableRow>>,
    /// What it is, over the list.
    pub title: String,
    /// A line of bars above it.
    pub chart: Option<Chart>,
    /// Sentences above it.
    pub notes: Vec<String>,
    /// The column it is sorted by at first, largest first.
    pub sorted: Option<usize>,
    /// The row to begin on.
    pub start: u64,
}

impl query::Row for (&'static [TableColumn], &TableRow) {
    fn value(&self, field: usize) -> Value<'_> {
        self.1.cells.get(field).map_or(Value::Unknown, Cell::value)
    }

    fn has(&self, text: &TextFilter) -> bool {
        self.1
            .cells
            .iter()
            .any(|c| !matches!(c, Cell::Bar(_)) && text.in_text(&c.plain()))
    }
}
