//! A table, or lines in the debugger's layout.

use crate::characters::grouped;
use crate::memory::Va;

/// A value in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// An address.
    Address(Va),
    /// A count.
    Number(u64),
    /// A number that is shown in hexadecimal: flags, an offset.
    Hex(u64),
    /// Unknown, or not in the dump.
    Unknown,
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<Va> for Value {
    fn from(va: Va) -> Value {
        Value::Address(va)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Unknown, Into::into)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number)
    }
}

/// A table, or lines in the debugger's layout, with notes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The heading.
    pub title: String,
    /// Column names.
    pub columns: Vec<&'static str>,
    /// Rows, with one value per column.
    pub rows: Vec<Vec<Value>>,
    /// The rows in the debugger's layout, if it has one.
    pub lines: Option<Vec<String>>,
    /// Limitations of the listing, as sentences.
    pub notes: Vec<String>,
}

/// Maximum number of rows; a note counts the omitted ones.
const MOST_ROWS: usize = 1 << 16;

impl Listing {
    pub(super) fn new(title: impl Into<String>, columns: &[&'static str]) -> Listing {
        Listing {
            title: title.into(),
            columns: columns.to_vec(),
            ..Listing::default()
        }
    }

    pub(super) fn push(&mut self, row: Vec<Value>) {
        self.rows.push(row);
    }

    /// Truncates a listing that is too long, and adds a note.
    pub(super) fn bounded(mut self) -> Listing {
        let all = self.rows.len();
        if all > MOST_ROWS {
            self.rows.truncate(MOST_ROWS);
            self.notes.push(format!(
                "only the first {} of {} rows are listed",
                grouped(MOST_ROWS as u64),
                grouped(all as u64)
            ));
        }
        self
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Text(if value { "yes" } else { "no" }.into())
    }
}
