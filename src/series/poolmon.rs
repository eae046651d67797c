//! PoolMon: snapshot files (`poolmon -n`) and copied screens.
//!
//! The file states neither column widths nor options, so each row is parsed by its content: four
//! characters, the type, then numbers from left to right. Numbers in parentheses are changes
//! since the last refresh of the screen. Tags may contain blanks, and wide numbers may touch. A
//! row is valid if `Diff` equals `Allocs - Frees` modulo 2^32.

use crate::pool::Pool;

use super::error::SeriesError;
use super::limits;
use super::number::digit;
use super::point::{CounterWidth, Counts, Kind, Listing, Log, Point};
use super::rows::Rows;
use super::tag_text::{ReadTag, Stand, of_text};
use super::times;

/// Minimum number of tags of a running machine: a file with fewer was filtered, or is of another
/// kind.
const TAGS_OF_A_MACHINE: usize = 200;

/// Reads all snapshots.
///
/// # Errors
/// [`SeriesError::NoRows`], and [`SeriesError::Unusable`] if the units of rows and header differ.
pub fn read(text: &str, source: &str) -> Result<Log, SeriesError> {
    let mut reader = Reader::new(source);
    for line in text.lines() {
        reader.line(line);
    }
    reader.close();
    reader.log()
}

/// True for a line that only PoolMon prints.
pub fn is_start(line: &str) -> bool {
    is_memory_line(line) || is_column_line(line)
}

fn is_memory_line(line: &str) -> bool {
    line.contains("Memory:") && line.contains("Avail:")
}

fn is_column_line(line: &str) -> bool {
    let mut words = line.split_whitespace();
    ["Tag", "Type", "Allocs"]
        .iter()
        .all(|w| words.next() == Some(w))
}

struct Reader {
    source: String,
    points: Vec<Point>,
    point: Point,
    rows: Rows,
    /// True if lines of the current point have been read.
    begun: bool,
    screen: bool,
    skipped: u64,
    row_count: usize,
    /// True if snapshots or rows exceed the limits.
    too_many: bool,
}

impl Reader {
    fn new(source: &str) -> Reader {
        Reader {
            source: source.into(),
            points: Vec::new(),
            point: new_point(source),
            rows: Rows::default(),
            begun: false,
            screen: false,
            skipped: 0,
            row_count: 0,
            too_many: false,
        }
    }

    fn line(&mut self, line: &str) {
        if line.len() > limits::CELL_BYTES {
            self.skipped += 1;
            return;
        }
        if is_memory_line(line) {
            if self.begun {
                self.close();
            }
            self.begun = true;
            self.memory_line(line);
        } else if is_column_line(line) {
            if !self.rows.is_empty() {
                self.close();
            }
            self.begun = true;
        } else if line.contains("Commit:") && line.contains("Limit:") {
            self.begun = true;
            self.commit_line(line);
        } else if line.trim_end().ends_with("pool information") {
            self.screen = true;
            self.point.session |= line.trim_start().starts_with("All sessions");
        } else if let Some(row) = Row::parse(line) {
            self.row(row);
        } else if let Some(found) = times::in_line(line) {
            // Some wrapper scripts write the time before the snapshot.
            if self.begun {
                self.close();
            }
            found.put(&mut self.point);
        }
    }

    fn row(&mut self, row: Result<Row, Damaged>) {
        let Ok(row) = row else {
            self.skipped += 1;
            self.point.skipped += 1;
            return;
        };
        if self.row_count >= limits::ROWS {
            self.too_many = true;
            return;
        }
        self.begun = true;
        self.row_count += 1;
        self.screen |= row.has_changes;
        self.rows.add(row.tag, Some(row.pool), row.counts);
    }

    fn memory_line(&mut self, line: &str) {
        let totals = &mut self.point.totals;
        totals.ram_bytes = kilobytes(line, "Memory:");
        totals.available_bytes = kilobytes(line, "Avail:");
        totals.paged_resident_bytes = kilobytes(line, "P:");
    }

    /// `Pool N:` is nonpaged pool and the `P:` after it is paged pool; `Peak:` and the `P:` of
    /// the previous line contain the same letter.
    fn commit_line(&mut self, line: &str) {
        let totals = &mut self.point.totals;
        totals.committed_bytes = kilobytes(line, "Commit:");
        totals.commit_limit_bytes = kilobytes(line, "Limit:");
        if let Some((_, pool)) = line.split_once("Pool") {
            totals.nonpaged_bytes = kilobytes(pool, "N:");
            totals.paged_bytes = kilobytes(pool, "P:");
        }
    }

    fn close(&mut self) {
        let mut point = std::mem::replace(&mut self.point, new_point(&self.source));
        let rows = std::mem::take(&mut self.rows);
        let screen = std::mem::take(&mut self.screen);
        self.begun = false;
        if rows.is_empty() {
            // A header without rows: its time may belong to the following rows.
            self.point.time = point.time;
            self.point.local_time = point.local_time;
            return;
        }
        if self.points.len() >= limits::SNAPSHOTS {
            self.too_many = true;
            return;
        }
        let tags = rows.len();
        rows.finish(&mut point);
        point.listing = match (screen, point.has_nonpaged && point.has_paged) {
            (true, _) => {
                Listing::Truncated("a copied screen ends at the window's last line".into())
            }
            (false, true) if tags >= TAGS_OF_A_MACHINE => Listing::Complete,
            (false, _) => Listing::Unstated,
        };
        self.points.push(point);
    }

    fn log(self) -> Result<Log, SeriesError> {
        const WHAT: &str = "a PoolMon log";
        if self.points.is_empty() {
            return Err(SeriesError::NoRows {
                what: WHAT,
                skipped: self.skipped,
                advice: "save a snapshot with `poolmon -n FILE`",
            });
        }
        let mut notes = Vec::new();
        if self.too_many {
            notes.push(limits::note());
        }
        for point in &self.points {
            check_units(point)?;
        }
        Ok(Log {
            what: WHAT,
            points: self.points,
            notes,
        })
    }
}

fn new_point(source: &str) -> Point {
    Point {
        width: CounterWidth::Bits32,
        ..Point::new(source, Kind::PoolMon)
    }
}

/// Reports an error if the rows' bytes exceed the pool's size by a factor of a thousand: the file
/// then has other units, or was combined from two.
fn check_units(point: &Point) -> Result<(), SeriesError> {
    for pool in [Pool::Nonpaged, Pool::Paged] {
        let (Some(rows), Some(all)) = (point.listed_bytes(pool), point.pool_bytes(pool)) else {
            continue;
        };
        if all > 0 && rows / all >= 500 {
            let word = pool.word();
            return Err(SeriesError::Unusable {
                what: format!(
                    "the rows of {word} pool have {rows} bytes together, the header says {all}: the units differ"
                ),
                advice: "save the snapshot again; numbers are not rescaled",
            });
        }
    }
    Ok(())
}

/// The number after a label, converted from KB to bytes.
fn kilobytes(line: &str, label: &str) -> Option<u64> {
    let mut rest = line;
    loop {
        let at = rest.find(label)?;
        let before = rest.get(..at)?;
        let after = rest.get(at + label.len()..)?;
        rest = after;
        // `P:` must not be the end of another label.
        if before.ends_with(|c: char| c.is_alphanumeric()) {
            continue;
        }
        let digits: String = after
            .trim_start()
            .chars()
            .map_while(digit)
            .map(|d| char::from(b'0' + d as u8))
            .collect();
        return digits.parse::<u64>().ok()?.checked_mul(1024);
    }
}

/// A valid row.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    tag: ReadTag,
    pool: Pool,
    counts: Counts,
    has_changes: bool,
}

/// A line that looks like a row but is damaged.
#[derive(Debug, PartialEq, Eq)]
struct Damaged;

impl Row {
    /// Parses a row; `None` if the line is not a row.
    fn parse(line: &str) -> Option<Result<Row, Damaged>> {
        let line: Vec<char> = line
            .chars()
            .map(|c| if c == '\t' { ' ' } else { c })
            .collect();
        let (tag, pool, rest) = split_at_type(&line)?;
        Some(Row::of(tag, pool, rest))
    }

    fn of(tag: ReadTag, pool: Pool, rest: &[char]) -> Result<Row, Damaged> {
        const MASK: i128 = u32::MAX as i128;
        let (numbers, has_changes) = numbers(rest).ok_or(Damaged)?;
        let [allocs, frees, diff, bytes, _per_alloc] = numbers;
        if (allocs - frees) & MASK != diff & MASK {
            return Err(Damaged);
        }
        let of = |n: i128| u64::try_from(n).map_err(|_| Damaged);
        Ok(Row {
            tag,
            pool,
            counts: Counts {
                allocs: Some(of(allocs)?),
                frees: Some(of(frees)?),
                // Tools with signed arithmetic print a negative number after an overflow.
                outstanding: Some(of(if diff < 0 { diff & MASK } else { diff })?),
                bytes: Some(of(bytes)?),
            },
            has_changes,
        })
    }
}

/// The tag before the type, the type, and the text after it. The tag itself may look like a type.
fn split_at_type(line: &[char]) -> Option<(ReadTag, Pool, &[char])> {
    const TYPES: [(&str, Pool); 2] = [("Nonp", Pool::Nonpaged), ("Paged", Pool::Paged)];
    for at in 1..line.len().min(16) {
        for (word, pool) in TYPES {
            let end = at + word.len();
            let found = line
                .get(at..end)
                .is_some_and(|w| w.iter().copied().eq(word.chars()));
            let apart = line.get(at - 1) == Some(&' ')
                && line
                    .get(end)
                    .is_some_and(|&c| c == ' ' || digit(c).is_some());
            if let (true, Some(tag)) = (found && apart, line.get(..at).and_then(tag_before_type)) {
                return Some((tag, pool, line.get(end..)?));
            }
        }
    }
    None
}

/// The tag: four characters after an optional blank, followed by one to four blanks. If the
/// leading blanks of the line are lost, the tag may have fewer characters.
fn tag_before_type(before: &[char]) -> Option<ReadTag> {
    if before.iter().all(|c| *c == ' ') {
        return None;
    }
    let blanks = |part: &[char]| (1..=4).contains(&part.len()) && part.iter().all(|c| *c == ' ');
    let lead = usize::from(before.first() == Some(&' '));
    for lead in [lead, 0] {
        if let (Some(tag), Some(rest)) = (before.get(lead..lead + 4), before.get(lead + 4..))
            && blanks(rest)
        {
            return of_text(&tag.iter().collect::<String>(), Stand::CodePage);
        }
    }
    let text: String = before.iter().collect();
    let text = text.trim();
    (before.len() <= 5 && text.chars().count() < 4)
        .then(|| of_text(text, Stand::CodePage))
        .flatten()
}

/// The five numbers that are not changes, and whether there are changes in parentheses.
fn numbers(rest: &[char]) -> Option<([i128; 5], bool)> {
    let mut found = Vec::with_capacity(5);
    let mut changes = false;
    let mut chars = rest.iter().copied().peekable();
    while found.len() < 5 {
        while chars.next_if_eq(&' ').is_some() {}
        if chars.next_if_eq(&'(').is_some() {
            changes = true;
            while chars
                .next_if(|&c| c == ' ' || c == '-' || digit(c).is_some())
                .is_some()
            {}
            chars.next_if_eq(&')')?;
            continue;
        }
        let negative = chars.next_if_eq(&'-').is_some();
        let mut value: Option<i128> = None;
        while let Some(d) = chars.peek().copied().and_then(digit) {
            chars.next();
            let next = value.unwrap_or(0).checked_mul(10)?.checked_add(d.into())?;
            value = Some(next).filter(|&v| v <= u64::MAX.into());
            value?;
        }
        let value = value?;
        found.push(if negative { -value } else { value });
    }
    Some((found.try_into().ok()?, changes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Tag;

    fn row(line: &str) -> Row {
        Row::parse(&line.replace('·', " ")).unwrap().unwrap()
    }

    fn figures(row: &Row) -> [u64; 4] {
        let c = row.counts;
        [c.allocs, c.frees, c.outstanding, c.bytes].map(Option::unwrap)
    }

    #[test]
    fn rows_of_every_layout_are_parsed() {
        let cases = [
            (
                "·Io···Nonp····1021112·(···1)···1020985·(···1)······127···91912·(·····0)····723",
                "Io  ",
                [1021112, 1020985, 127, 91912],
            ),
            (
                "EtwB·Nonp·······6394······4056······2338·163418368······69896",
                "EtwB",
                [6394, 4056, 2338, 163418368],
            ),
            (
                "MmSt·Paged···2269405···2095404····174001·156097152········897",
                "MmSt",
                [2269405, 2095404, 174001, 156097152],
            ),
            (
                "·Wrap·Nonp··········6·4294967290········12······1536········128",
                "Wrap",
                [6, 4294967290, 12, 1536],
            ),
            (
                "·Leak·Nonp·12345678(··12)12345077(···3)·······601·615424000(·9216000)1024000",
                "Leak",
                [12345678, 12345077, 601, 615424000],
            ),
            (
                "·Nonp·Nonp··········5··········1·········4·······256·········64",
                "Nonp",
                [5, 1, 4, 256],
            ),
            (
                "Key··Paged····954821·(···0)····953979·(···0)······842···87528·(·····0)····103",
                "Key ",
                [954821, 953979, 842, 87528],
            ),
            (
                "·HidC···Nonp····17375·(··0)···17256·(··0)···119····19808·(·····0)···166·[hidclass.sys·-·HID·Class·d",
                "HidC",
                [17375, 17256, 119, 19808],
            ),
            (
                "1MEM·Nonp·······1·(···0)·········0·(···0)·····1····3344·(·····0)···3344···Unknown·Driver",
                "1MEM",
                [1, 0, 1, 3344],
            ),
            ("··rx··Nonp 5 1 4 256 64", " rx ", [5, 1, 4, 256]),
            ("Io·Nonp 5 1 4 256 64", "Io  ", [5, 1, 4, 256]),
            (
                "Neg1·Paged 4294967290 5 -11 256 64",
                "Neg1",
                [4294967290, 5, 4294967285, 256],
            ),
            ("Pct1 Paged 8 4 4 228 (  -4) 57%", "Pct1", [8, 4, 4, 228]),
        ];
        for (line, tag, expected) in cases {
            let row = row(line);
            assert_eq!(
                (row.tag.tag, figures(&row)),
                (Tag::of(tag).unwrap(), expected),
                "{line}"
            );
        }
        assert!(row(cases[0].0).has_changes && !row(cases[1].0).has_changes);
        assert_eq!(row(cases[2].0).pool, Pool::Paged);
    }

    #[test]
    fn inconsistent_or_truncated_rows_are_dropped() {
        for line in [
            "·MZ···Nonp·4294967290·········10········16······4096········256",
            "·Cut1·Nonp·········10·········5·········5······4096",
            "·Cut2·Nonp·········10·(···0)·········5·(··",
            "·Big1·Nonp·99999999999999999999999 5 5 5 5",
            "·Neg2·Nonp·5 1 4 -256 64",
        ] {
            assert_eq!(
                Row::parse(&line.replace('·', " ")),
                Some(Err(Damaged)),
                "{line}"
            );
        }
        for line in [
            "",
            "Total Nonp",
            "The Paged pool is large",
            " Nonp",
            "Memory: 5K",
        ] {
            assert!(Row::parse(line).is_none_or(|r| r.is_err()), "{line}");
        }
    }

    #[test]
    fn header_sizes_are_kilobytes_and_n_is_nonpaged() {
        let text = " Memory:16468560K Avail:12072536K  PageFlts:468600648   InRam Krnl:56708K P:950888K\n \
            Commit:4100436K Limit:17517136K Peak:11685564K            Pool N:710920K P:983564K\n\
            \n Tag  Type     Allocs            Frees            Diff\n EtwB Nonp 6394 4056 2338 163418368 69896\n";
        let log = read(text, "a.log").unwrap();
        let totals = log.points[0].totals;
        assert_eq!(totals.nonpaged_bytes, Some(727_982_080));
        assert_eq!(totals.paged_bytes, Some(1_007_169_536));
        assert_eq!(totals.paged_resident_bytes, Some(950_888 << 10));
        assert_eq!(totals.ram_bytes, Some(16_468_560 << 10));
    }
}
