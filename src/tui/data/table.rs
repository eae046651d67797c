//! A list as data: columns, rows, and the target of each row. Made by a worker or from the
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
    /// Its name and type in queries and saved files.
    pub field: Field,
    /// The pool that `p` selects this column for.
    pub pool: Option<PoolChoice>,
}

impl TableColumn {
    /// A column with its names in queries.
    pub const fn new(column: Column, names: &'static [&'static str], kind: Kind) -> TableColumn {
        TableColumn {
            column,
            field: Field { names, kind },
            pool: None,
        }
    }

    /// The same column, for the numbers of a pool.
    pub const fn of_pool(self, pool: PoolChoice) -> TableColumn {
        TableColumn {
            pool: Some(pool),
            ..self
        }
    }

    /// The column's name in queries.
    pub fn name(&self) -> &'static str {
        self.field.names.first().copied().unwrap_or_default()
    }
}

/// The target of Enter on a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Opens {
    /// Nothing.
    #[default]
    Nothing,
    /// A tag, and a filter for its allocations (empty for all).
    Tag(Tag, String),
    /// Memory: title, a sentence, the address, its length if it has one, the session.
    Memory {
        /// The title on the path.
        title: String,
        /// A description, as a sentence.
        about: String,
        /// The start address.
        va: Va,
        /// The length, if it has an end.
        length: Option<u64>,
        /// The session to read in.
        session: Option<u32>,
    },
    /// Another table.
    Table(TableKind),
    /// The list below this one, with this filter.
    Filter(String),
}

/// The kind of a table, with its arguments. It is requested again when the dump is read again.
#[derive(Clone, Debug, PartialEq)]
pub enum TableKind {
    /// Pool by driver.
    Drivers,
    /// The tags of a driver; `None` for the tags without an owner.
    TagsOf(Option<String>),
    /// The sizes of a tag's allocations.
    Sizes(Tag),
    /// How often each value occurs in a column of a tag's allocations.
    Frequency {
        /// The tag.
        tag: Tag,
        /// The column, by its name in queries.
        column: String,
        /// The filter of the allocations.
        filter: String,
    },
    /// The targets of the qword at an offset of each of a tag's allocations.
    Pointers {
        /// The tag.
        tag: Tag,
        /// Offset from the start of the allocation, after the pool header.
        offset: u64,
    },
    /// The blocks of the page that contains an address.
    Page {
        /// An address in it.
        va: Va,
        /// The session to read in.
        session: Option<u32>,
    },
    /// The contents of a tag's allocations, by offset.
    Contents(Tag),
    /// Groups of a tag's allocations with the same layout.
    Families(Tag),
    /// The kernel objects of a tag, and the processes with handles to them.
    Objects(Tag),
    /// The call stacks recorded for a tag's allocations.
    Stacks(Tag),
    /// Counted values of a column of a list on screen.
    Counted,
    /// The instructions around a reference to a tag.
    Code {
        /// The tag.
        tag: Tag,
        /// Address of the tag's four bytes.
        va: Va,
    },
    /// The marks.
    Marks,
    /// The points of the baseline.
    Points,
    /// Modules loaded or unloaded since the baseline.
    ModuleChanges,
}

impl TableKind {
    /// The tag that the table is about.
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

/// A table row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableRow {
    /// The row's mark; blank for none.
    pub mark: char,
    /// Its cells, one for each column.
    pub cells: Vec<Cell>,
    /// The target of Enter.
    pub opens: Opens,
    /// The row's index in the source list, for keys that change that list.
    pub place: Option<usize>,
}

impl TableRow {
    /// True if the row is about a range that contains the address.
    pub fn holds(&self, va: Va) -> bool {
        match &self.opens {
            Opens::Memory {
                va: first, length, ..
            } => va >= *first && va.0 - first.0 < length.unwrap_or(1).max(1),
            _ => self.cells.contains(&Cell::Address(va)),
        }
    }
}

/// Counts in chronological order, drawn as a row of bars.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chart {
    /// The label before it.
    pub before: String,
    /// The counts.
    pub values: Vec<u64>,
    /// The label after it.
    pub after: String,
}

/// The contents of a table, as a worker answers.
#[derive(Clone, Debug, Default)]
pub struct TableData {
    /// The columns.
    pub columns: &'static [TableColumn],
    /// The rows, in their natural order.
    pub rows: Arc<Vec<TableRow>>,
    /// The title above the list.
    pub title: String,
    /// A row of bars above the list.
    pub chart: Option<Chart>,
    /// Sentences above the list.
    pub notes: Vec<String>,
    /// The column to sort by at first, descending.
    pub sorted: Option<usize>,
    /// The row to select at first.
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
