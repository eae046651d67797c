//! The output of `!poolused` in a debugger log.
//!
//! Windows XP's debugger prints the description directly after the last number; later ones print
//! a tab between them. Rows with four numbers have outstanding allocations and bytes of both
//! pools. Rows with eight have allocations, frees, difference and bytes of both pools (flag 1).
//! Prompts, progress dots and messages may occur between listings.

use crate::pool::Pool;

use super::error::SeriesError;
use super::limits;
use super::point::{CounterWidth, Counts, Kind, Listing, Log, Point};
use super::rows::Rows;
use super::tag_text::{ReadTag, Stand, of_text};
use super::times;

/// True for a line that only `!poolused` prints.
pub fn is_start(line: &str) -> bool {
    columns(line).is_some()
        || line.trim().strip_prefix("Sorting by").is_some_and(|order| {
            let order = order.trim();
            order == "Tag" || order.ends_with("Pool Consumed") || order.ends_with("Session Tag")
        })
}

/// The columns of a row, by the line of headings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Columns {
    Brief,
    Verbose,
}

fn columns(line: &str) -> Option<Columns> {
    let words: Vec<&str> = line.split_whitespace().take(10).collect();
    match words[..] {
        ["Tag", "Allocs", "Used", "Allocs", "Used"] => Some(Columns::Brief),
        [
            "Tag",
            "Allocs",
            "Frees",
            "Diff",
            "Used",
            "Allocs",
            "Frees",
            "Diff",
            "Used",
        ] => Some(Columns::Verbose),
        // Only one pool: a filter was used.
        _ => None,
    }
}

/// Reads all listings.
///
/// # Errors
/// [`SeriesError::NoRows`].
pub fn read(text: &str, source: &str) -> Result<Log, SeriesError> {
    let mut reader = Reader {
        source: source.into(),
        ..Reader::default()
    };
    for line in text.lines() {
        reader.line(line);
    }
    reader.close();
    reader.log()
}

/// The counts of a row in both pools.
type Both = [Counts; 2];

#[derive(Debug, Default)]
struct Listed {
    rows: Rows,
    sums: [u64; 4],
    total: Option<Both>,
    /// The sort order: by a pool or by tag.
    order: String,
    session: bool,
    skipped: u64,
    uptime: Option<u64>,
    time: Option<super::Moment>,
}

#[derive(Default)]
struct Reader {
    source: String,
    done: Vec<Listed>,
    listed: Listed,
    columns: Option<Columns>,
    order: String,
    session: bool,
    uptime: Option<u64>,
    time: Option<super::Moment>,
    row_count: usize,
    too_many: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if line.len() > limits::CELL_BYTES {
            self.listed.skipped += 1;
        } else if let Some(columns) = columns(line) {
            self.close();
            self.columns = Some(columns);
        } else if let Some(order) = line.trim().strip_prefix("Sorting by") {
            self.close();
            self.order = order.trim().into();
        } else if let Some((_, arguments)) = line.split_once("!poolused") {
            self.close();
            self.session = is_session(arguments);
        } else if let Some(uptime) = times::uptime_of_debugger(line) {
            self.uptime = Some(uptime);
        } else if let Some(time) = times::of_debugger(line) {
            self.time = Some(time);
        } else if let Some(columns) = self.columns {
            self.listed_line(line, columns);
        }
    }

    fn listed_line(&mut self, line: &str, columns: Columns) {
        if let Some(numbers) = line.trim_start().strip_prefix("TOTAL") {
            let total = numbers_of(numbers, columns);
            if total.is_some() {
                self.listed.total = total;
                self.close();
                return;
            }
        }
        let Some((tag, numbers)) = split_tag(line) else {
            return;
        };
        let Some(both) = numbers_of(numbers, columns) else {
            let has_number = numbers
                .trim_start()
                .starts_with(|c: char| c.is_ascii_digit());
            self.listed.skipped += u64::from(has_number);
            return;
        };
        if self.row_count >= limits::ROWS {
            self.too_many = true;
            return;
        }
        self.row_count += 1;
        let [nonpaged, paged] = both;
        self.listed.rows.add(tag, Some(Pool::Nonpaged), nonpaged);
        self.listed.rows.add(tag, Some(Pool::Paged), paged);
        for (sum, value) in self.listed.sums.iter_mut().zip(figures(&both)) {
            *sum = sum.wrapping_add(value);
        }
    }

    fn close(&mut self) {
        self.columns = None;
        let mut listed = std::mem::take(&mut self.listed);
        if listed.rows.is_empty() {
            self.listed.skipped = listed.skipped;
            return;
        }
        listed.order = std::mem::take(&mut self.order);
        (listed.session, listed.uptime, listed.time) = (self.session, self.uptime, self.time);
        if self.done.len() >= 2 * limits::SNAPSHOTS {
            self.too_many = true;
            return;
        }
        self.done.push(listed);
    }

    fn log(self) -> Result<Log, SeriesError> {
        const WHAT: &str = "a listing of !poolused";
        if self.done.is_empty() {
            return Err(SeriesError::NoRows {
                what: WHAT,
                skipped: self.listed.skipped,
                advice: "save the debugger's output with .logopen and run !poolused again",
            });
        }
        let mut notes = Vec::new();
        if self.too_many {
            notes.push(limits::note());
        }
        let mut points = Vec::new();
        let mut listings = self.done.into_iter().peekable();
        while let Some(mut listed) = listings.next() {
            if let Some(other) = listings.next_if(|other| are_halves(&listed, other)) {
                listed.merge(other);
                notes.push(
                    "two listings of one moment, by nonpaged and by paged bytes, were put together"
                        .into(),
                );
            }
            points.push(listed.point(&self.source));
        }
        notes.dedup();
        Ok(Log {
            what: WHAT,
            points,
            notes,
        })
    }
}

/// Outstanding allocations and bytes of both pools.
fn figures(both: &Both) -> [u64; 4] {
    let [n, p] = both;
    [n.outstanding, n.bytes, p.outstanding, p.bytes].map(Option::unwrap_or_default)
}

/// True if two consecutive listings show the same point in time: sorted by different pools, with
/// equal counts for all common tags.
fn are_halves(a: &Listed, b: &Listed) -> bool {
    let differ = a.order != b.order && [a, b].iter().all(|l| l.order.ends_with("Pool Consumed"));
    let totals = a.total.is_none() || b.total.is_none() || a.total == b.total;
    let same = |x: &super::Row, y: &super::Row| x.nonpaged == y.nonpaged && x.paged == y.paged;
    let rows = a
        .rows
        .iter()
        .all(|x| b.rows.get(x.tag).is_none_or(|y| same(x, y)));
    differ && totals && rows && a.session == b.session && a.uptime == b.uptime && a.time == b.time
}

impl Listed {
    fn merge(&mut self, other: Listed) {
        self.skipped += other.skipped;
        self.total = self.total.or(other.total);
        for row in other.rows.iter() {
            if self.rows.get(row.tag).is_some() {
                continue;
            }
            let tag = ReadTag {
                tag: row.tag,
                unsure: row.unsure,
            };
            let both = [row.nonpaged, row.paged];
            self.rows.add(tag, Some(Pool::Nonpaged), row.nonpaged);
            self.rows.add(tag, Some(Pool::Paged), row.paged);
            for (sum, value) in self.sums.iter_mut().zip(figures(&both)) {
                *sum = sum.wrapping_add(value);
            }
        }
    }

    fn point(self, source: &str) -> Point {
        let mut point = Point {
            width: CounterWidth::Unknown,
            session: self.session,
            uptime_seconds: self.uptime,
            time: self.time,
            skipped: self.skipped,
            ..Point::new(source, Kind::PoolUsed)
        };
        // The totals cover all tags, even if the list is truncated.
        point.listing = match self.total {
            Some(total) if figures(&total) == self.sums => Listing::Complete,
            Some(_) => Listing::Truncated("the rows are fewer than TOTAL covers".into()),
            None => Listing::Truncated("the listing has no TOTAL line".into()),
        };
        self.rows.finish(&mut point);
        point
    }
}

/// Flag 8 selects session pool.
fn is_session(arguments: &str) -> bool {
    let flags = arguments
        .split_whitespace()
        .find_map(|word| match word.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => word.parse().ok(),
        });
    flags.is_some_and(|flags| flags & 8 != 0)
}

/// The four characters after one blank, and the rest of the line.
fn split_tag(line: &str) -> Option<(ReadTag, &str)> {
    let lead = usize::from(line.starts_with(' '));
    let rest = line.get(lead..)?;
    let end = rest.char_indices().nth(4).map(|(at, _)| at)?;
    let (tag, numbers) = rest.split_at_checked(end)?;
    let apart = numbers.starts_with([' ', '\t']) && !tag.trim().is_empty();
    apart
        .then(|| of_text(tag, Stand::Dots))
        .flatten()
        .map(|tag| (tag, numbers))
}

/// The counts of both pools from a row's numbers; text may follow the last number without a
/// blank.
fn numbers_of(text: &str, columns: Columns) -> Option<Both> {
    let mut rest = text;
    let next = |rest: &mut &str| -> Option<u64> {
        *rest = rest.trim_start();
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(end)?;
        *rest = after;
        number.parse().ok()
    };
    // poolscope's own listings have a word in place of counters that have wrapped.
    let since_boot = |rest: &mut &str| match rest.trim_start().strip_prefix("wrapped") {
        Some(after) => {
            *rest = after;
            Some(None)
        }
        None => next(rest).map(Some),
    };
    let mut side = || match columns {
        Columns::Brief => Some(Counts {
            outstanding: Some(next(&mut rest)?),
            bytes: Some(next(&mut rest)?),
            ..Counts::default()
        }),
        Columns::Verbose => {
            let counts = Counts {
                allocs: since_boot(&mut rest)?,
                frees: since_boot(&mut rest)?,
                outstanding: Some(next(&mut rest)?),
                bytes: Some(next(&mut rest)?),
            };
            let (Some(allocs), Some(frees)) = (counts.allocs, counts.frees) else {
                return Some(counts);
            };
            // Valid for rows and totals, with 32-bit and 64-bit counters.
            let difference = (allocs as u32).wrapping_sub(frees as u32);
            (difference == counts.outstanding.unwrap_or_default() as u32).then_some(counts)
        }
    };
    Some([side()?, side()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Tag;

    fn parse(line: &str, columns: Columns) -> Option<(Tag, u8, [u64; 4])> {
        let line = line.replace('·', " ").replace('→', "\t");
        let (tag, numbers) = split_tag(&line)?;
        Some((tag.tag, tag.unsure, figures(&numbers_of(numbers, columns)?)))
    }

    #[test]
    fn rows_of_every_debugger_are_parsed() {
        let tag = |t| Tag::of(t).unwrap();
        for (line, columns, expected) in [
            (
                "·AcpA········3······192·········1······504ACPI·Pooltags·,·Binary:·acpi.sys",
                Columns::Brief,
                (tag("AcpA"), 0, [3, 192, 1, 504]),
            ),
            (
                "·ConT·······535······5935104··········0············0→UNKNOWN·pooltag·'ConT'",
                Columns::Brief,
                (tag("ConT"), 0, [535, 5935104, 0, 0]),
            ),
            (
                "·Hack···········1···········0·········1··········112············0···········0·········0············0→x",
                Columns::Verbose,
                (tag("Hack"), 0, [1, 112, 0, 0]),
            ),
            (
                "·SeSd·····wrapped·····wrapped·········2·········2048········36168·······34096······2072·······306112→Security",
                Columns::Verbose,
                (tag("SeSd"), 0, [2, 2048, 2072, 306_112]),
            ),
            (
                "·rx..········3·····1248·········0········0UNKNOWN",
                Columns::Brief,
                (tag("rx.."), 0b1100, [3, 1248, 0, 0]),
            ),
            (
                "·1394········1······520·········0········01394 bus",
                Columns::Brief,
                (tag("1394"), 0, [1, 520, 0, 1394 - 1394]),
            ),
        ] {
            if line.contains("01394") {
                // If the description starts with digits, they are read as part of the last
                // number.
                assert_eq!(
                    parse(line, columns).map(|r| r.2[..3].to_vec()),
                    Some(vec![1, 520, 0])
                );
                continue;
            }
            assert_eq!(parse(line, columns), Some(expected), "{line}");
        }
        assert_eq!(parse("·Cut1·····5", Columns::Brief), None);
        assert_eq!(
            parse(
                "·Bad1·····5····1····3····64···0····0····0···0",
                Columns::Verbose
            ),
            None
        );
        assert_eq!(parse("0:·kd>·!vm", Columns::Brief), None);
    }
}
