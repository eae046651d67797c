//! One value of a row, and where rows go.

use std::io;

use crate::memory::Va;
use crate::pool::Tag;

use super::schema::Table;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Not known.
    Null,
    /// A count, a size or an address.
    Int(i64),
    /// A share.
    Real(f64),
    /// Yes or no.
    Bool(bool),
    /// Text.
    Text(&'a str),
    /// Microseconds since 1970 UTC.
    Time(i64),
}

/// Takes rows, in the order of the columns behind the keys.
pub trait Sink {
    /// Takes a row.
    ///
    /// # Errors
    /// What the file says.
    fn row(&mut self, table: &'static Table, cells: &[Cell<'_>]) -> io::Result<()>;
}

/// A count; null where it does not fit, which no real count does not.
pub fn count(value: u64) -> Cell<'static> {
    i64::try_from(value).map_or(Cell::Null, Cell::Int)
}

/// A count that may be unknown.
pub fn maybe(value: Option<u64>) -> Cell<'static> {
    value.map_or(Cell::Null, count)
}

/// An address: the same 64 bits, signed.
pub fn address(va: Va) -> Cell<'static> {
    Cell::Int(va.0.cast_signed())
}

/// Text that may be unknown.
pub fn text(value: Option<&str>) -> Cell<'_> {
    value.map_or(Cell::Null, Cell::Text)
}

/// Seconds since 1970 as a time.
pub fn seconds(value: Option<i64>) -> Cell<'static> {
    let micros = value.and_then(|s| s.checked_mul(1_000_000));
    micros.map_or(Cell::Null, Cell::Time)
}

/// An address as text.
pub fn hex(va: Va) -> String {
    format!("{:#x}", va.0)
}

/// A tag's four bytes as a number, as text.
pub fn tag_hex(tag: Tag) -> String {
    format!("{:#010x}", tag.value())
}

/// The tag that such a text names.
pub fn tag_of(hex: &str) -> Option<Tag> {
    let digits = hex.strip_prefix("0x").filter(|d| d.len() == 8)?;
    u32::from_str_radix(digits, 16).ok().map(Tag::new)
}
