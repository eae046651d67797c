//! `!poolused` in the debugger's layout.

mod csv;
mod markdown;
mod text;

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::attribution::Attribution;
use crate::analysis::attribution::suspects::listed_module;
use crate::analysis::{Description, Descriptions};
use crate::engine::{self, Sort};
use crate::pool::Tag;
use crate::pool::tracker::{TagUsage, Usage};
use crate::series::{self, Counts};

use super::text::clean;
use super::{Answer, tag_hex};

/// The answer of `poolused`.
#[derive(Debug, Serialize)]
pub struct PoolUsed {
    tags: Vec<Row>,
    total: Total,
    #[serde(skip)]
    verbose: bool,
    #[serde(skip)]
    sort: Sort,
}

#[derive(Debug, Serialize)]
struct Row {
    tag: String,
    tag_hex: String,
    nonpaged: Side,
    paged: Side,
    description: Option<String>,
    /// The module in the tag list, which is not always the owner.
    binary: Option<String>,
    /// The owner with its confidence, as in every other answer; `None` if not yet determined.
    owner: Option<String>,
    /// The module that calls the allocation functions with the tag.
    allocator: Option<String>,
    /// True if block contents were used for the owner; `None` if not yet determined.
    contents_read: Option<bool>,
    /// True if the owner is the module in the tag list.
    #[serde(skip)]
    is_as_listed: bool,
    /// The entry's pattern, if the tag has no exact entry.
    pattern: Option<String>,
}

#[derive(Debug, Serialize)]
struct Total {
    nonpaged: Side,
    paged: Side,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Side {
    allocs: Option<u64>,
    frees: Option<u64>,
    outstanding: Option<u64>,
    bytes: Option<u64>,
    /// True if the counters have overflowed: text has a word in place of allocations and frees;
    /// JSON and CSV have the values modulo the counter's width.
    #[serde(skip)]
    wrapped: bool,
}

impl Side {
    fn of(usage: &Usage) -> Side {
        Side {
            allocs: Some(usage.allocs),
            frees: Some(usage.frees),
            outstanding: Some(usage.outstanding),
            bytes: Some(usage.bytes),
            wrapped: usage.wrapped,
        }
    }

    fn listed(counts: &Counts) -> Side {
        Side {
            allocs: counts.allocs,
            frees: counts.frees,
            outstanding: counts.outstanding,
            bytes: counts.bytes,
            wrapped: false,
        }
    }

    /// Allocations and frees for the columns.
    fn since_boot(&self) -> [String; 2] {
        match self.wrapped {
            true => ["wrapped".into(), "wrapped".into()],
            false => [figure(self.allocs), figure(self.frees)],
        }
    }

    /// True if every shown count is zero or unknown.
    fn is_zero(&self, verbose: bool) -> bool {
        let nothing = |figure: Option<u64>| figure.unwrap_or(0) == 0;
        let counted = nothing(self.outstanding) && nothing(self.bytes);
        counted && (!verbose || nothing(self.allocs) && nothing(self.frees))
    }
}

impl PoolUsed {
    /// A report of the engine's answer.
    pub fn of(answer: &engine::PoolUsed) -> PoolUsed {
        let row = |r: &engine::PoolUsedRow| {
            Row::of(&r.usage, r.about.as_ref()).owned(r.attribution.as_deref())
        };
        PoolUsed {
            tags: answer.rows.iter().map(row).collect(),
            total: Total {
                nonpaged: Side::of(&answer.total.nonpaged),
                paged: Side::of(&answer.total.paged),
            },
            verbose: answer.selection.verbose,
            sort: answer.selection.sort,
        }
    }

    /// A report of a log or a table.
    pub fn listed(answer: &engine::ListedPoolUsed) -> PoolUsed {
        let [nonpaged, paged] = &answer.total;
        let rows = answer.rows.iter();
        PoolUsed {
            tags: rows
                .map(|(row, about)| Row::listed(row, about.as_ref()))
                .collect(),
            total: Total {
                nonpaged: Side::listed(nonpaged),
                paged: Side::listed(paged),
            },
            verbose: answer.selection.verbose,
            sort: answer.selection.sort,
        }
    }

    fn visible(&self) -> impl Iterator<Item = &Row> {
        let verbose = self.verbose;
        self.tags
            .iter()
            .filter(move |r| !(r.nonpaged.is_zero(verbose) && r.paged.is_zero(verbose)))
    }
}

impl Row {
    /// Adds the owner. `binary` stays the module in the tag list.
    fn owned(mut self, made: Option<&Attribution>) -> Row {
        let Some(made) = made else {
            return self;
        };
        self.owner = made.owner_words().map(|words| clean(&words).into());
        self.allocator = made.allocator().map(|module| clean(module).into());
        self.contents_read = Some(made.by_contents);
        let best = made.owners.best().map(|o| o.module.as_str());
        self.is_as_listed = match (&self.binary, best) {
            (Some(binary), Some(best)) => listed_module(binary).eq_ignore_ascii_case(best),
            _ => false,
        };
        self
    }

    fn listed(row: &series::Row, known: Option<&Description>) -> Row {
        let account = TagUsage {
            tag: row.tag,
            ..TagUsage::default()
        };
        Row {
            nonpaged: Side::listed(&row.nonpaged),
            paged: Side::listed(&row.paged),
            ..Row::of(&account, known)
        }
    }

    fn of(row: &TagUsage, known: Option<&Description>) -> Row {
        Row {
            tag: row.tag.to_string(),
            tag_hex: tag_hex(row.tag),
            nonpaged: Side::of(&row.nonpaged),
            paged: Side::of(&row.paged),
            description: known.map(|d| clean(&d.text).into()),
            binary: known.and_then(|d| d.binary.as_deref().map(|b| clean(b).into())),
            owner: None,
            allocator: None,
            contents_read: None,
            is_as_listed: false,
            pattern: known.and_then(|d| d.pattern.as_deref().map(|p| clean(p).into())),
        }
    }
}

/// A count for a column; a dash if it is unknown.
fn figure(value: Option<u64>) -> String {
    value.map_or_else(|| "-".into(), |v| v.to_string())
}

/// The debugger's description of the tag, and the owner if it differs from the tag list.
fn remark(row: &Row) -> String {
    let said = match (&row.description, &row.binary) {
        (Some(text), Some(binary)) => match &row.pattern {
            None => format!("{text} , Binary: {binary}"),
            Some(pattern) => format!("{text} , Binary: probably {binary} (as for {pattern})"),
        },
        (Some(text), None) => format!("{text} "),
        (None, _) => format!("UNKNOWN pooltag '{}', please update pooltag.txt", row.tag),
    };
    let said = match &row.owner {
        Some(owner) if !row.is_as_listed => format!("{said} , Owner: {owner}"),
        _ => said,
    };
    match row.contents_read {
        Some(false) => format!("{said} , Block contents: not read"),
        _ => said,
    }
}

/// The description for the debugger's last column; also used by the screen.
pub fn describe(descriptions: &Descriptions, tag: Tag) -> String {
    remark(&Row::of(
        &TagUsage {
            tag,
            ..TagUsage::default()
        },
        descriptions.get(tag),
    ))
}

impl Answer for PoolUsed {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        text::write(self, out)
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        csv::write(self, out)
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        markdown::write(self, out)
    }
}
