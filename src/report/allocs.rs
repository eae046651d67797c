//! Every allocation with a tag, as `!poolfind` lists them. Rows are written as they are
//! taken from the index, so that a list of all blocks needs no memory of its own.

use std::io::{self, Write};

use serde::ser::{SerializeStruct, Serializer};
use serde::{Serialize, ser::SerializeSeq};

use crate::analysis::Coverage;
use crate::engine::Engine;
use crate::memory::Va;
use crate::pool::block::{Block, State};
use crate::pool::index::{Found, SizeCount, Snapshot};
use crate::pool::{Tag, TagPattern};

use super::page::pool_name;
use super::text::{clean, grouped, json_address, plain_address};
use super::{Answer, cell, csv_writer, tag_hex};

/// The answer of `allocs`.
pub struct Allocs<'a> {
    index: &'a Snapshot,
    pattern: &'a TagPattern,
    coverage: Coverage,
    doubtful: bool,
    big_table: Option<(Va, Va)>,
    regions: Vec<String>,
}

/// What a list adds up to.
#[derive(Debug, Default, Serialize)]
struct Summary {
    allocations: u64,
    bytes: u64,
    nonpaged_allocations: u64,
    nonpaged_bytes: u64,
    paged_allocations: u64,
    paged_bytes: u64,
    /// Left away where no session's pool was walked.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_allocations: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_bytes: Option<u64>,
    /// Of those recognised by their headers alone; in none of the sums above.
    heuristic_allocations: u64,
    heuristic_bytes: u64,
    unreadable_pages: u64,
    tracker: Option<TrackerSide>,
    complete: bool,
    notes: Vec<String>,
    /// Of the allocated blocks listed; those that take the most bytes first.
    sizes: Vec<SizeRecord>,
}

#[derive(Debug, Serialize)]
struct SizeRecord {
    size: u64,
    count: u64,
    bytes: u64,
}

/// Sizes that the text names.
const SIZES_NAMED: usize = 5;

/// `sizes: 1,024,000 x 601`; `None` without blocks. `all` when no block is in no list.
fn sizes_line(sizes: &[SizeRecord], all: bool) -> Option<String> {
    let one = |s: &SizeRecord| format!("{} x {}", grouped(s.size), grouped(s.count));
    let named: Vec<String> = sizes.iter().take(SIZES_NAMED).map(one).collect();
    let rest = match sizes.get(SIZES_NAMED..).unwrap_or_default() {
        [] => String::new(),
        rest => format!(
            ", and {} other sizes, {} bytes",
            grouped(rest.len() as u64),
            grouped(rest.iter().fold(0, |sum, s| sum.saturating_add(s.bytes)))
        ),
    };
    let of = if all {
        "sizes"
    } else {
        "sizes of those listed"
    };
    (!named.is_empty()).then(|| format!("{of}: {}{rest}", named.join(", ")))
}

#[derive(Debug, Serialize)]
struct TrackerSide {
    nonpaged_allocations: u64,
    nonpaged_bytes: u64,
    paged_allocations: u64,
    paged_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_allocations: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_bytes: Option<u64>,
}

impl<'a> Allocs<'a> {
    /// Of the tags that match a pattern. Blocks recognised by their headers alone may have
    /// been freed: they are counted, and listed only where `doubtful` ones are asked for.
    pub fn of(
        engine: &Engine,
        index: &'a Snapshot,
        pattern: &'a TagPattern,
        doubtful: bool,
    ) -> Allocs<'a> {
        let regions = engine.regions().regions.iter().map(|r| {
            let (start, end) = (plain_address(r.start), plain_address(r.end));
            format!("Searching {} ({start} : {end})", pool_name(r.kind))
        });
        Allocs {
            index,
            pattern,
            coverage: engine.coverage_of(pattern, index),
            doubtful,
            big_table: engine.big().table,
            regions: regions.collect(),
        }
    }

    fn summary(&self) -> Summary {
        let c = &self.coverage;
        let (n, p, s) = (c.nonpaged.found, c.paged.found, c.session.found);
        let likely = [&c.nonpaged, &c.paged, &c.session].map(|side| side.heuristic);
        let both = c.nonpaged.tracker.zip(c.paged.tracker);
        let walked = self.index.has_sessions();
        Summary {
            allocations: n.blocks + p.blocks + s.blocks,
            bytes: n.bytes + p.bytes + s.bytes,
            session_allocations: walked.then_some(s.blocks),
            session_bytes: walked.then_some(s.bytes),
            nonpaged_allocations: n.blocks,
            nonpaged_bytes: n.bytes,
            paged_allocations: p.blocks,
            paged_bytes: p.bytes,
            heuristic_allocations: likely.iter().map(|f| f.blocks).sum(),
            heuristic_bytes: likely.iter().fold(0, |sum, f| sum.saturating_add(f.bytes)),
            unreadable_pages: c.unreadable_pages(),
            tracker: both.map(|(n, p): (Found, Found)| TrackerSide {
                nonpaged_allocations: n.blocks,
                nonpaged_bytes: n.bytes,
                paged_allocations: p.blocks,
                paged_bytes: p.bytes,
                session_allocations: c.session.tracker.map(|s| s.blocks),
                session_bytes: c.session.tracker.map(|s| s.bytes),
            }),
            complete: c.complete && self.index.left_out == 0,
            notes: self.notes(),
            sizes: self.sizes(),
        }
    }

    fn sizes(&self) -> Vec<SizeRecord> {
        let sizes = self.index.sizes(self.pattern).into_iter();
        let record = |s: SizeCount| SizeRecord {
            size: s.size,
            count: s.count,
            bytes: s.bytes(),
        };
        sizes.map(record).collect()
    }

    /// The rows of the list.
    fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        let all = self.index.matching(self.pattern);
        all.filter(|block| self.doubtful || !block.heuristic)
    }

    /// Blocks recognised by their headers alone that the list leaves out.
    fn withheld(&self) -> u64 {
        let c = &self.coverage;
        let likely = [&c.nonpaged, &c.paged, &c.session].map(|side| side.heuristic.blocks);
        match self.doubtful {
            true => 0,
            false => likely.iter().sum(),
        }
    }

    /// What the list covers and what is missing from it, as sentences.
    pub fn notes(&self) -> Vec<String> {
        let notes = self.index.notes.iter();
        let mut out = self.coverage.sentences();
        match self.withheld() {
            0 => {}
            n => out.push(format!(
                "{} recognised by their headers alone are not in this list, as a few may be freed: --heuristic lists them too",
                grouped(n)
            )),
        }
        out.extend(notes.map(|n| clean(n).into_owned()));
        out
    }
}

#[derive(Serialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag_hex: Option<String>,
    address: String,
    size: u64,
    pool: &'static str,
    backend: &'static str,
    state: &'static str,
    /// For session pool: whose.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<u32>,
    /// Recognised by its header alone; left away where that is not so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    heuristic: bool,
}

/// The rows, serialised one by one.
struct Rows<'a>(&'a Allocs<'a>);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Rows(answer) = self;
        let many = answer.pattern.exact().is_none();
        let mut rows = serializer.serialize_seq(None)?;
        for block in answer.blocks() {
            rows.serialize_element(&Row {
                tag: many.then(|| block.tag.to_string()),
                tag_hex: many.then(|| tag_hex(block.tag)),
                address: json_address(block.va),
                size: block.bytes,
                pool: block.kind.word(),
                backend: block.backend.word(),
                state: block.state.word(),
                session: block.session,
                heuristic: block.heuristic,
            })?;
        }
        rows.end()
    }
}

impl Serialize for Allocs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Allocs", 4)?;
        let exact = self.pattern.exact();
        object.serialize_field("tag", &exact.map(|t| t.to_string()))?;
        object.serialize_field("tag_hex", &exact.map(tag_hex))?;
        object.serialize_field("summary", &self.summary())?;
        object.serialize_field("allocations", &Rows(self))?;
        object.end()
    }
}

/// The tag as the debugger's headings name it.
fn heading(exact: Option<Tag>) -> String {
    match exact {
        Some(tag) => format!("tag {:#x} ({tag})", tag.value()),
        None => "every tag that matches".into(),
    }
}

/// A row of `!poolfind`: the address and size that the owner sees, without the header.
fn line(b: &Block) -> String {
    let state = match b.state {
        State::Allocated => "",
        State::Lookaside => " (freed, on a lookaside list)",
        State::Free => " (free)",
    };
    let session = b.session.map(|s| format!(" of session {s}"));
    let doubt = if b.heuristic { " (heuristic)" } else { "" };
    format!(
        "{} : tag {}, size {:>#9x}, {}{}{state}{doubt}",
        plain_address(b.body()),
        b.tag,
        b.bytes.saturating_sub(b.header_bytes()),
        pool_name(b.kind),
        session.unwrap_or_default()
    )
}

impl Answer for Allocs<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let heading = heading(self.pattern.exact());
        match self.big_table {
            Some((start, end)) => writeln!(
                out,
                "Scanning large pool allocation table for {heading} ({} : {})\n",
                plain_address(start),
                plain_address(end)
            )?,
            None => writeln!(out, "The large pool allocation table was not found\n")?,
        }
        for region in &self.regions {
            writeln!(out, "{region} for {heading}")?;
        }
        writeln!(out)?;
        for block in self.blocks() {
            writeln!(out, "{}", line(&block))?;
        }
        let s = self.summary();
        write!(out, "\n{} allocations, {} bytes", s.allocations, s.bytes)?;
        match s.heuristic_allocations {
            0 => writeln!(out)?,
            n => writeln!(out, "; heuristic: {n}, {} bytes", s.heuristic_bytes)?,
        }
        if let Some(sizes) = sizes_line(&s.sizes, self.index.left_out == 0) {
            writeln!(out, "{sizes}")?;
        }
        s.notes.iter().try_for_each(|note| writeln!(out, "{note}"))
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv_writer(out);
        // A column that is there only where it says something.
        let sessions = self.index.has_sessions();
        let guesses = self.doubtful && self.index.has_heuristic();
        let names = [
            "tag", "tag_hex", "address", "size", "pool", "backend", "state",
        ];
        csv.write_record(
            names
                .into_iter()
                .chain(sessions.then_some("session"))
                .chain(guesses.then_some("heuristic")),
        )?;
        for b in self.blocks() {
            let session = b.session.map_or(String::new(), |s| s.to_string());
            let cells = [
                cell(&b.tag.to_string()).as_str(),
                &tag_hex(b.tag),
                &json_address(b.va),
                &b.bytes.to_string(),
                b.kind.word(),
                b.backend.word(),
                b.state.word(),
            ]
            .map(String::from);
            let guess = guesses.then(|| b.heuristic.to_string());
            csv.write_record(
                cells
                    .into_iter()
                    .chain(sessions.then_some(session))
                    .chain(guess),
            )?;
        }
        csv.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_sums_are_named_and_the_rest_is_added_up() {
        let sizes: Vec<SizeRecord> = (1..=7)
            .map(|i| SizeRecord {
                size: 1000 * i,
                count: 10,
                bytes: 10_000 * i,
            })
            .rev()
            .collect();
        let line = |n: usize, all| sizes_line(&sizes[..n], all);
        assert_eq!(line(0, true), None);
        assert_eq!(line(1, true).as_deref(), Some("sizes: 7,000 x 10"));
        assert_eq!(
            line(7, false).as_deref(),
            Some(
                "sizes of those listed: 7,000 x 10, 6,000 x 10, 5,000 x 10, 4,000 x 10, 3,000 x 10, and 2 other sizes, 30,000 bytes"
            )
        );
    }
}
