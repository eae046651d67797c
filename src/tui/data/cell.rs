//! The contents of a table cell.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::memory::Va;
use crate::report::text::{grouped, signed};

use crate::tui::input::query::Value;
use crate::tui::terminal::theme::Theme;

/// A table cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Text, safe for the terminal.
    Text(String),
    /// A count.
    Count(u64),
    /// Bytes.
    Bytes(u64),
    /// A change; negative for a decrease.
    Change(i64),
    /// An address.
    Address(Va),
    /// A share; 1 is all.
    Share(f64),
    /// A share, drawn as a bar.
    Bar(f64),
    /// Unknown.
    Unknown,
    /// The row has nothing for this column.
    Nothing,
}

impl Cell {
    /// The text as drawn.
    pub fn shown(&self, width: u16, theme: &Theme) -> Cow<'_, str> {
        match self {
            Cell::Text(text) => text.as_str().into(),
            Cell::Count(n) | Cell::Bytes(n) => grouped(*n).into(),
            Cell::Change(n) => signed((*n).into()).into(),
            Cell::Address(va) => va.to_string().into(),
            Cell::Share(share) => format!("{:.1}%", share * 100.0).into(),
            Cell::Bar(share) => theme.bar(*share, width.into()).into(),
            Cell::Unknown => "?".into(),
            Cell::Nothing => "".into(),
        }
    }

    /// The text as copied, saved and searched: numbers without commas.
    pub fn plain(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Count(n) | Cell::Bytes(n) => n.to_string(),
            Cell::Change(n) => n.to_string(),
            Cell::Address(va) => va.to_string(),
            Cell::Share(share) | Cell::Bar(share) => format!("{:.1}%", share * 100.0),
            Cell::Unknown | Cell::Nothing => String::new(),
        }
    }

    /// As JSON.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Cell::Text(text) => text.as_str().into(),
            Cell::Count(n) | Cell::Bytes(n) => (*n).into(),
            Cell::Change(n) => (*n).into(),
            Cell::Address(va) => format!("{:#x}", va.0).into(),
            Cell::Share(share) | Cell::Bar(share) => (*share).into(),
            Cell::Unknown | Cell::Nothing => serde_json::Value::Null,
        }
    }

    /// The value that queries compare.
    pub fn value(&self) -> Value<'_> {
        match self {
            Cell::Text(text) => Value::Text(text.as_str().into()),
            Cell::Count(n) | Cell::Bytes(n) => Value::Number(*n),
            Cell::Change(n) => Value::Change(*n),
            Cell::Address(va) => Value::Number(va.0),
            Cell::Share(share) | Cell::Bar(share) => Value::Share(*share),
            Cell::Unknown | Cell::Nothing => Value::Unknown,
        }
    }

    /// Sort order, smaller first.
    pub fn compare(&self, other: &Cell) -> Ordering {
        match (self.value(), other.value()) {
            (Value::Number(a), Value::Number(b)) => a.cmp(&b),
            (Value::Change(a), Value::Change(b)) => a.cmp(&b),
            (Value::Share(a), Value::Share(b)) => a.total_cmp(&b),
            (Value::Text(a), Value::Text(b)) => a.cmp(&b),
            // Unknown values sort below all others.
            (a, b) => (a != Value::Unknown).cmp(&(b != Value::Unknown)),
        }
    }
}

/// A query for rows with this cell's value in the named column.
pub fn like(name: &str, cell: &Cell) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    Some(match cell {
        Cell::Text(text) => format!("{name} = \"{}\"", text.replace(['"', '*'], "?")),
        Cell::Count(n) | Cell::Bytes(n) => format!("{name} = {n}"),
        Cell::Change(n) => format!("{name} = {n}"),
        Cell::Address(va) => format!("{name} = {va}"),
        Cell::Share(_) | Cell::Bar(_) | Cell::Unknown | Cell::Nothing => return None,
    })
}
