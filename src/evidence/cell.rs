//! The values of a row, and the destination of rows.

use std::io;

use crate::memory::Va;
use crate::pool::Tag;

use super::schema::Table;

/// A value in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Unknown.
    Null,
    /// A count, a size or an address.
    Int(i64),
    /// A share, from 0 to 1.
    Real(f64),
    /// A Boolean.
    Bool(bool),
    /// Text.
    Text(&'a str),
    /// Microseconds since 1970 UTC.
    Time(i64),
}

/// A destination for rows.
pub trait Sink {
    /// Takes a row. `cells` are in the order of the table's columns, without the keys.
    ///
    /// # Errors
    /// I/O errors of the writer.
    fn row(&mut self, table: &'static Table, cells: &[Cell<'_>]) -> io::Result<()>;
}

/// A count; null if it exceeds `i64::MAX`, which no genuine count does.
pub fn count(value: u64) -> Cell<'static> {
    i64::try_from(value).map_or(Cell::Null, Cell::Int)
}

/// A count; null if it is unknown.
pub fn maybe(value: Option<u64>) -> Cell<'static> {
    value.map_or(Cell::Null, count)
}

/// An address as a signed number with the same 64 bits.
pub fn address(va: Va) -> Cell<'static> {
    Cell::Int(va.0.cast_signed())
}

/// Text; null if it is unknown.
pub fn text(value: Option<&str>) -> Cell<'_> {
    value.map_or(Cell::Null, Cell::Text)
}

/// A time from seconds since 1970.
pub fn seconds(value: Option<i64>) -> Cell<'static> {
    let micros = value.and_then(|s| s.checked_mul(1_000_000));
    micros.map_or(Cell::Null, Cell::Time)
}

/// An address as hexadecimal text.
pub fn hex(va: Va) -> String {
    format!("{:#x}", va.0)
}

/// A tag as hexadecimal text: its four bytes as a number.
pub fn tag_hex(tag: Tag) -> String {
    format!("{:#010x}", tag.value())
}

/// Parses the text of [`tag_hex`].
pub fn tag_of(hex: &str) -> Option<Tag> {
    let digits = hex.strip_prefix("0x").filter(|d| d.len() == 8)?;
    u32::from_str_radix(digits, 16).ok().map(Tag::new)
}
