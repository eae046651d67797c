//! A build's table: addresses of symbols, sizes of types, offsets of fields, one per line.
//!
//! ```text
//! symbol MmPfnDatabase 0xcfc510        # an RVA
//! type _KPRCB 0xaf00                   # bytes
//! field _KPRCB MHz 0x44                # bytes from the start of the type
//! absent field MiState Vs.SessionWsList
//! ```
//!
//! `absent` means that the build lacks an entry of its base.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;

/// The subject of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry<'a> {
    /// A symbol.
    Symbol(&'a str),
    /// A type.
    Type(&'a str),
    /// A field of a type, or a value of an enumeration.
    Field(&'a str, &'a str),
}

/// Entries and their values; `None` for absent ones.
type Values = FxHashMap<Entry<'static>, Option<u32>>;

/// A table, parsed at its first use.
#[derive(Debug)]
pub struct Table {
    text: &'static str,
    values: OnceLock<Values>,
}

impl Table {
    /// The table with this text.
    pub const fn new(text: &'static str) -> Table {
        Table {
            text,
            values: OnceLock::new(),
        }
    }

    /// The value of an entry; `Some(None)` if it is marked absent.
    pub fn get(&self, entry: &Entry<'_>) -> Option<Option<u32>> {
        self.values().get(entry).copied()
    }

    /// The lines with content.
    pub fn lines(&self) -> impl Iterator<Item = &'static str> {
        let lines = self.text.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
    }

    /// Number of entries.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.values().len()
    }

    fn values(&self) -> &Values {
        self.values
            .get_or_init(|| self.lines().filter_map(parse).collect())
    }
}

/// Parses a line. A test checks that every line of every table is valid.
pub fn parse(line: &str) -> Option<(Entry<'_>, Option<u32>)> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    let (what, absent) = match first {
        "absent" => (words.next()?, true),
        _ => (first, false),
    };
    let entry = match what {
        "symbol" => Entry::Symbol(words.next()?),
        "type" => Entry::Type(words.next()?),
        "field" => Entry::Field(words.next()?, words.next()?),
        _ => return None,
    };
    let value = match absent {
        true => None,
        false => Some(u32::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?),
    };
    words.next().is_none().then_some((entry, value))
}
