//! Allocations of tags, as `!poolfind` lists them. Rows are written directly from the index, so a
//! list of all blocks needs no additional memory.

mod csv;
mod markdown;
mod text;

use std::io::{self, Write};

use serde::ser::{SerializeStruct, Serializer};
use serde::{Serialize, ser::SerializeSeq};

use crate::engine;
use crate::pool::index::{Found, SizeCount};

use super::text::{clean, grouped, json_address};
use super::{Answer, tag_hex};

/// The answer of `allocs`.
pub struct Allocs<'a>(&'a engine::Allocs<'a>, Part);

/// The range of rows to write.
#[derive(Clone, Copy)]
struct Part {
    skip: u64,
    take: u64,
}

/// The sums of a list.
#[derive(Debug, Default, Serialize)]
struct Summary {
    allocations: u64,
    bytes: u64,
    nonpaged_allocations: u64,
    nonpaged_bytes: u64,
    paged_allocations: u64,
    paged_bytes: u64,
    /// Omitted if no session's pool was walked.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_allocations: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_bytes: Option<u64>,
    /// Heuristic blocks; not included in the sums above.
    heuristic_allocations: u64,
    heuristic_bytes: u64,
    unreadable_pages: u64,
    tracker: Option<TrackerSide>,
    complete: bool,
    notes: Vec<String>,
    /// Sizes of the listed allocated blocks, by total bytes, descending.
    sizes: Vec<SizeRecord>,
}

#[derive(Debug, Serialize)]
struct SizeRecord {
    size: u64,
    count: u64,
    bytes: u64,
}

/// Number of sizes in the text output.
const SIZES_NAMED: usize = 5;

/// `sizes: 1,024,000 x 601`; `None` without blocks. `all` is true if no block is omitted from the
/// list.
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
    /// A report of the engine's answer.
    pub fn of(answer: &'a engine::Allocs<'a>) -> Allocs<'a> {
        let all = Part {
            skip: 0,
            take: u64::MAX,
        };
        Allocs(answer, all)
    }

    /// Restricts the JSON to `take` rows, starting with row `skip`; the summary still covers all
    /// rows.
    #[must_use]
    pub fn part(self, skip: u64, take: u64) -> Allocs<'a> {
        Allocs(self.0, Part { skip, take })
    }

    fn summary(&self) -> Summary {
        let s = &self.0.summary;
        let session = |found: Option<Found>| (found.map(|f| f.blocks), found.map(|f| f.bytes));
        let (session_allocations, session_bytes) = session(s.session);
        Summary {
            allocations: s.all.blocks,
            bytes: s.all.bytes,
            session_allocations,
            session_bytes,
            nonpaged_allocations: s.nonpaged.blocks,
            nonpaged_bytes: s.nonpaged.bytes,
            paged_allocations: s.paged.blocks,
            paged_bytes: s.paged.bytes,
            heuristic_allocations: s.heuristic.blocks,
            heuristic_bytes: s.heuristic.bytes,
            unreadable_pages: s.unreadable_pages,
            tracker: s.tracker.map(|tracker| {
                let (session_allocations, session_bytes) = session(tracker.session);
                TrackerSide {
                    nonpaged_allocations: tracker.nonpaged.blocks,
                    nonpaged_bytes: tracker.nonpaged.bytes,
                    paged_allocations: tracker.paged.blocks,
                    paged_bytes: tracker.paged.bytes,
                    session_allocations,
                    session_bytes,
                }
            }),
            complete: s.complete,
            notes: self.notes(),
            sizes: s.sizes.iter().map(SizeRecord::of).collect(),
        }
    }

    /// The coverage and the omissions, as sentences.
    pub fn notes(&self) -> Vec<String> {
        let s = &self.0.summary;
        let mut out = self.0.coverage.sentences();
        match s.withheld {
            0 => {}
            n => out.push(format!(
                "{} recognised by their headers only are not in this list, because a few may be \
                    free: --heuristic lists them too",
                grouped(n)
            )),
        }
        out.extend(s.notes.iter().map(|n| clean(n).into_owned()));
        out
    }
}

impl SizeRecord {
    fn of(s: &SizeCount) -> SizeRecord {
        SizeRecord {
            size: s.size,
            count: s.count,
            bytes: s.bytes(),
        }
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
    /// The session id, for session pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<u32>,
    /// True for a heuristic block; omitted otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    heuristic: bool,
}

/// The rows, serialised one at a time.
struct Rows<'a>(&'a Allocs<'a>);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Allocs(answer, part) = self.0;
        let length = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        let many = answer.pattern.exact().is_none();
        let mut rows = serializer.serialize_seq(None)?;
        let shown = answer.blocks().skip(length(part.skip));
        for block in shown.take(length(part.take)) {
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
        let exact = self.0.pattern.exact();
        object.serialize_field("tag", &exact.map(|t| t.to_string()))?;
        object.serialize_field("tag_hex", &exact.map(tag_hex))?;
        object.serialize_field("summary", &self.summary())?;
        object.serialize_field("allocations", &Rows(self))?;
        object.end()
    }
}

impl Answer for Allocs<'_> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_sizes_are_listed_and_the_others_are_summed() {
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
