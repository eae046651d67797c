//! `!poolused` in the debugger's layout.

use std::cmp::Reverse;
use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::Descriptions;
use crate::pool::tracker::{TagUsage, Trackers, Usage};
use crate::pool::{Tag, TagPattern};

use super::text::clean;
use super::{Answer, cell, csv_writer, tag_hex};

/// The order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By the tag's bytes.
    #[default]
    Tag,
    /// By bytes of nonpaged pool, the most first.
    Nonpaged,
    /// By bytes of paged pool, the most first.
    Paged,
}

/// Which rows, and how: the arguments of `!poolused`.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The order.
    pub sort: Sort,
    /// Allocations and frees beside the difference.
    pub verbose: bool,
    /// Session pool instead of the system's.
    pub session: bool,
    /// At most so many rows (`/tN`); the totals are over all tags whatever this is.
    pub top: Option<usize>,
    /// Which tags.
    pub pattern: TagPattern,
}

/// The answer of `poolused`.
#[derive(Debug, Serialize)]
pub struct PoolUsed<'a> {
    tags: Vec<Row>,
    total: Total,
    #[serde(skip)]
    selection: &'a Selection,
}

#[derive(Debug, Serialize)]
struct Row {
    tag: String,
    tag_hex: String,
    nonpaged: Side,
    paged: Side,
    description: Option<String>,
    binary: Option<String>,
    /// The entry's pattern where the tag itself is not listed.
    pattern: Option<String>,
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

impl<'a> PoolUsed<'a> {
    /// Of the trackers, as selected. Without a pattern the totals are the trackers' own;
    /// with one, those of the tags that match.
    pub fn of(
        trackers: &Trackers,
        descriptions: &Descriptions,
        selection: &'a Selection,
    ) -> PoolUsed<'a> {
        let mut rows: Vec<&TagUsage> = trackers
            .rows
            .iter()
            .filter(|row| selection.pattern.matches(row.tag))
            .collect();
        match selection.sort {
            Sort::Tag => {}
            Sort::Nonpaged => rows.sort_by_key(|r| Reverse(r.nonpaged.bytes)),
            Sort::Paged => rows.sort_by_key(|r| Reverse(r.paged.bytes)),
        }
        let mut total = TagUsage::default();
        for row in &rows {
            total.nonpaged += row.nonpaged;
            total.paged += row.paged;
        }
        let shown = selection.top.unwrap_or(usize::MAX);
        PoolUsed {
            tags: rows
                .into_iter()
                .take(shown)
                .map(|row| Row::of(row, descriptions))
                .collect(),
            total: Total {
                nonpaged: Side::of(&total.nonpaged),
                paged: Side::of(&total.paged),
            },
            selection,
        }
    }

    fn visible(&self) -> impl Iterator<Item = &Row> {
        let verbose = self.selection.verbose;
        self.tags
            .iter()
            .filter(move |r| !(r.nonpaged.is_zero(verbose) && r.paged.is_zero(verbose)))
    }
}

impl Row {
    fn of(row: &TagUsage, descriptions: &Descriptions) -> Row {
        let known = descriptions.get(row.tag);
        Row {
            tag: row.tag.to_string(),
            tag_hex: tag_hex(row.tag),
            nonpaged: Side::of(&row.nonpaged),
            paged: Side::of(&row.paged),
            description: known.map(|d| clean(&d.text).into()),
            binary: known.and_then(|d| d.binary.as_deref().map(|b| clean(b).into())),
            pattern: known.and_then(|d| d.pattern.as_deref().map(|p| clean(p).into())),
        }
    }
}

/// The debugger's words for what a tag is for.
fn remark(row: &Row) -> String {
    match (&row.description, &row.binary) {
        (Some(text), Some(binary)) => match &row.pattern {
            None => format!("{text} , Binary: {binary}"),
            Some(pattern) => format!("{text} , Binary: probably {binary} (as for {pattern})"),
        },
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
        descriptions,
    ))
}

fn brief(n: &Side, p: &Side) -> String {
    format!(
        "{:>9} {:>12} {:>10} {:>12}",
        n.outstanding, n.bytes, p.outstanding, p.bytes
    )
}

fn verbose(n: &Side, p: &Side) -> String {
    format!(
        "{:>11} {:>11} {:>9} {:>12} {:>12} {:>11} {:>9} {:>12}",
        n.allocs, n.frees, n.outstanding, n.bytes, p.allocs, p.frees, p.outstanding, p.bytes
    )
}

impl Answer for PoolUsed<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let order = match self.selection.sort {
            Sort::Tag => "Tag",
            Sort::Nonpaged => "NonPaged Pool Consumed",
            Sort::Paged => "Paged Pool Consumed",
        };
        writeln!(out, " Sorting by {order}\n")?;
        let columns = if self.selection.verbose {
            writeln!(
                out,
                "                            NonPaged                                         Paged"
            )?;
            writeln!(
                out,
                " Tag       Allocs       Frees      Diff         Used       Allocs       Frees      Diff         Used\n"
            )?;
            verbose
        } else {
            writeln!(out, "               NonPaged                  Paged")?;
            writeln!(
                out,
                " Tag     Allocs         Used     Allocs         Used\n"
            )?;
            brief
        };
        for row in self.visible() {
            let numbers = columns(&row.nonpaged, &row.paged);
            writeln!(out, " {} {numbers}\t{}", row.tag, remark(row))?;
        }
        writeln!(
            out,
            "\nTOTAL {}",
            columns(&self.total.nonpaged, &self.total.paged)
        )
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv_writer(out);
        csv.write_record([
            "tag",
            "tag_hex",
            "nonpaged_allocs",
            "nonpaged_frees",
            "nonpaged_outstanding",
            "nonpaged_bytes",
            "paged_allocs",
            "paged_frees",
            "paged_outstanding",
            "paged_bytes",
            "description",
            "binary",
            "pattern",
        ])?;
        for row in &self.tags {
            let numbers = [row.nonpaged, row.paged]
                .map(|s| [s.allocs, s.frees, s.outstanding, s.bytes])
                .concat();
            let mut record = vec![cell(&row.tag), row.tag_hex.clone()];
            record.extend(numbers.iter().map(u64::to_string));
            record.push(cell(row.description.as_deref().unwrap_or_default()));
            record.push(cell(row.binary.as_deref().unwrap_or_default()));
            record.push(cell(row.pattern.as_deref().unwrap_or_default()));
            csv.write_record(record)?;
        }
        csv.flush()
    }
}
