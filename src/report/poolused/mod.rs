//! `!poolused` in the debugger's layout.

mod csv;
mod markdown;
mod text;

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::{Description, Descriptions};
use crate::engine::{self, Sort};
use crate::pool::Tag;
use crate::pool::tracker::{TagUsage, Usage};

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
    binary: Option<String>,
}

#[derive(Debug, Serialize)]
struct Total {
    nonpaged: Side,
    paged: Side,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Side {
    allocs: u64,
    frees: u64,
    outstanding: u64,
    bytes: u64,
}

impl Side {
    fn of(usage: &Usage) -> Side {
        Side {
            allocs: usage.allocs,
            frees: usage.frees,
            outstanding: usage.outstanding,
            bytes: usage.bytes,
        }
    }

    fn is_zero(&self, verbose: bool) -> bool {
        let counted = self.outstanding | self.bytes;
        counted == 0 && (!verbose || self.allocs | self.frees == 0)
    }
}

impl PoolUsed {
    /// Of the engine's answer.
    pub fn of(answer: &engine::PoolUsed) -> PoolUsed {
        let row = |r: &engine::PoolUsedRow| Row::of(&r.usage, r.about.as_ref());
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

    fn visible(&self) -> impl Iterator<Item = &Row> {
        let verbose = self.verbose;
        self.tags
            .iter()
            .filter(move |r| !(r.nonpaged.is_zero(verbose) && r.paged.is_zero(verbose)))
    }
}

impl Row {
    fn of(row: &TagUsage, known: Option<&Description>) -> Row {
        Row {
            tag: row.tag.to_string(),
            tag_hex: tag_hex(row.tag),
            nonpaged: Side::of(&row.nonpaged),
            paged: Side::of(&row.paged),
            description: known.map(|d| clean(&d.text).into()),
            binary: known.and_then(|d| d.binary.as_deref().map(|b| clean(b).into())),
        }
    }
}

/// The debugger's words for what a tag is for.
fn remark(row: &Row) -> String {
    match (&row.description, &row.binary) {
        (Some(text), Some(binary)) => format!("{text} , Binary: {binary}"),
        (Some(text), None) => format!("{text} "),
        (None, _) => format!("UNKNOWN pooltag '{}', please update pooltag.txt", row.tag),
    }
}

/// The remark of a tag for the debugger's last column; used by the screen too.
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
