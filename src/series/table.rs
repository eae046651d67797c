//! Tables with a tag column: the poolscope tag table, PoolMonX, PowerShell scripts, and any other
//! CSV. Columns are identified by their headings.

use super::columns::{Column, adds_up, pool_of, put};
use super::csv_lines::Splitter;
use super::error::SeriesError;
use super::limits;
use super::number;
use super::point::{CounterWidth, Counts, Kind, Listing, Log, Point};
use super::rows::Rows;
use super::tag_text::{ReadTag, of_cell};
use super::times::{self, Found};
use crate::pool::{Pool, Tag};

/// The headings of a table.
#[derive(Clone, Debug)]
pub struct Heads {
    columns: Vec<Column>,
    delimiter: Delimiter,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delimiter {
    Byte(u8),
    /// Columns separated by blanks; the tag is the first four characters.
    Blanks,
}

impl Heads {
    /// Parses a line of headings: a tag, and at least one count.
    pub fn of(line: &str) -> Option<Heads> {
        // A fast check, because most lines are rows.
        let word = |line: &str| {
            let lower = line.to_ascii_lowercase();
            lower.contains("tag") || lower.contains("value")
        };
        if line.len() > limits::CELL_BYTES || line.starts_with('#') || !word(line) {
            return None;
        }
        let bytes = [b',', b';', b'\t'];
        let by_byte = bytes
            .into_iter()
            .filter(|&b| line.as_bytes().contains(&b))
            .find_map(|delimiter| {
                let cells = Splitter::new(delimiter).cells(line)?;
                Heads::of_cells(cells.iter().map(String::as_str), Delimiter::Byte(delimiter))
            });
        by_byte.or_else(|| {
            let starts = line.trim_start().starts_with("Tag");
            starts
                .then(|| Heads::of_cells(line.split_whitespace(), Delimiter::Blanks))
                .flatten()
        })
    }

    fn of_cells<'a>(cells: impl Iterator<Item = &'a str>, delimiter: Delimiter) -> Option<Heads> {
        let cells: Vec<&str> = cells.collect();
        let columns: Vec<Column> = cells.iter().map(|c| Column::of(c)).collect();
        let has = |wanted: fn(&Column) -> bool| columns.iter().any(wanted);
        let tag = has(|c| matches!(c, Column::Tag | Column::TagValue));
        let figure = has(|c| matches!(c, Column::Figure(..)));
        (tag && figure).then(|| Heads {
            kind: kind(&cells),
            columns,
            delimiter,
        })
    }

    fn has_pool(&self) -> bool {
        self.columns
            .iter()
            .any(|c| matches!(c, Column::Pool | Column::Figure(Some(_), _)))
    }

    /// True if a heading was truncated at the window's width.
    pub fn is_cut(line: &str) -> bool {
        line.contains("...") || line.contains('…')
    }
}

/// The tool that writes these headings.
fn kind(heads: &[&str]) -> Kind {
    let has = |name: &str| heads.iter().any(|h| h.trim().eq_ignore_ascii_case(name));
    if has("PagedUsedBytes") && has("NonPagedUsedBytes") {
        Kind::PoolMonPowerShell
    } else if (has("KBytes") && has("Source")) || (has("Value") && has("NPaged Usage")) {
        Kind::PoolMonX
    } else {
        Kind::TagTable
    }
}

/// Reads a table.
///
/// # Errors
/// [`SeriesError::NoRows`] and [`SeriesError::Unusable`].
pub fn read(text: &str, source: &str) -> Result<Log, SeriesError> {
    let mut reader = Reader::new(source);
    for line in text.lines() {
        reader.line(line)?;
    }
    reader.log()
}

struct Reader {
    source: String,
    about: About,
    heads: Option<(Heads, Option<Splitter>)>,
    points: Vec<Point>,
    point: Point,
    rows: Rows,
    time: Option<Found>,
    contradictions: u64,
    skipped: u64,
    row_count: usize,
    too_many: bool,
}

/// The facts in the comment lines before a table.
#[derive(Clone, Debug, Default)]
struct About {
    windows: Option<String>,
    ram_bytes: Option<u64>,
    uptime_seconds: Option<u64>,
    nonpaged_bytes: Option<u64>,
    paged_bytes: Option<u64>,
    time: Option<Found>,
    listing: Listing,
}

impl About {
    fn line(&mut self, line: &str) {
        let Some((key, value)) = line.trim_start_matches('#').split_once(':') else {
            return;
        };
        let value = value.trim();
        let number = || number::unsigned(value);
        match key.trim() {
            "windows" => self.windows = (!value.is_empty()).then(|| value.into()),
            "ram_bytes" => self.ram_bytes = number(),
            "uptime_seconds" => self.uptime_seconds = number(),
            "nonpaged_pool_bytes" => self.nonpaged_bytes = number(),
            "paged_pool_bytes" => self.paged_bytes = number(),
            "time" => self.time = times::of_cell(value),
            "complete" => self.listing = listing(value),
            _ => {}
        }
    }

    fn put(&self, point: &mut Point) {
        point.windows.clone_from(&self.windows);
        point.uptime_seconds = self.uptime_seconds;
        point.totals.ram_bytes = self.ram_bytes;
        point.totals.nonpaged_bytes = self.nonpaged_bytes;
        point.totals.paged_bytes = self.paged_bytes;
        point.listing = self.listing.clone();
        if let Some(time) = self.time {
            time.put(point);
        }
    }
}

/// `yes` and similar words mean all tags; any other text describes the part.
fn listing(value: &str) -> Listing {
    let word = value.to_ascii_lowercase();
    let first = word
        .split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default();
    match first {
        "" => Listing::Unstated,
        "yes" | "true" | "all" | "whole" | "complete" | "full" | "1" if !word.contains("only") => {
            Listing::Complete
        }
        "no" | "false" | "0" => Listing::Truncated("the table says that it is not complete".into()),
        _ => Listing::Truncated(format!("the table says: {value}")),
    }
}

impl Reader {
    fn new(source: &str) -> Reader {
        Reader {
            source: source.into(),
            about: About::default(),
            heads: None,
            points: Vec::new(),
            point: Point::new(source, Kind::TagTable),
            rows: Rows::default(),
            time: None,
            contradictions: 0,
            skipped: 0,
            row_count: 0,
            too_many: false,
        }
    }

    fn line(&mut self, line: &str) -> Result<(), SeriesError> {
        if line.trim_start().starts_with('#') {
            if !self.rows.is_empty() {
                // Comments after rows belong to the next table.
                self.close();
                self.about = About::default();
            }
            self.about.line(line.trim());
            return Ok(());
        }
        // Another line of headings: a table was appended to the file.
        if let Some(heads) = Heads::of(line) {
            self.close();
            if Heads::is_cut(line) {
                return Err(SeriesError::Unusable {
                    what: "the table was cut at the width of a window".into(),
                    advice: "save it as CSV: ConvertTo-Csv or Export-Csv instead of a table",
                });
            }
            if !heads.has_pool() {
                return Err(SeriesError::Unusable {
                    what: "the table does not say which pool its figures are of".into(),
                    advice: "add a column pool with the words nonpaged and paged",
                });
            }
            let splitter = match heads.delimiter {
                Delimiter::Byte(delimiter) => Some(Splitter::new(delimiter)),
                Delimiter::Blanks => None,
            };
            self.heads = Some((heads, splitter));
            return Ok(());
        }
        let blank = line.trim().is_empty() || line.chars().all(|c| matches!(c, '-' | ' ' | '='));
        if blank {
            return Ok(());
        }
        let Some((heads, mut splitter)) = self.heads.take() else {
            return Ok(());
        };
        match record(line, splitter.as_mut(), &heads) {
            Some(cells) => self.record(&heads, &cells),
            None => self.skipped += 1,
        }
        self.heads = Some((heads, splitter));
        Ok(())
    }

    fn record(&mut self, heads: &Heads, cells: &[String]) {
        if self.row_count >= limits::ROWS {
            self.too_many = true;
            return;
        }
        let Some(record) = Record::of(heads, cells) else {
            self.skipped += 1;
            self.point.skipped += 1;
            return;
        };
        if record.time.is_some() && record.time != self.time && !self.rows.is_empty() {
            self.close();
        }
        if record.time.is_some() {
            self.time = record.time;
        }
        self.row_count += 1;
        self.point.kind = heads.kind;
        self.point.uptime_seconds = record.uptime.or(self.point.uptime_seconds);
        // Rows of a tag table are accepted as they are; rows of other tools must be consistent.
        let contradicts = !record.counts.iter().all(|(_, counts)| adds_up(counts));
        if contradicts && heads.kind != Kind::TagTable {
            self.skipped += 1;
            self.point.skipped += 1;
            return;
        }
        self.contradictions += u64::from(contradicts);
        let width = width(heads.kind);
        for (pool, counts) in record.counts {
            self.rows.add(record.tag, pool, counts.completed(width));
        }
    }

    fn close(&mut self) {
        let fresh = Point::new(&self.source, Kind::TagTable);
        let read = std::mem::replace(&mut self.point, fresh);
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return;
        }
        if self.points.len() >= limits::SNAPSHOTS {
            self.too_many = true;
            return;
        }
        let mut point = Point::new(&self.source, read.kind);
        self.about.put(&mut point);
        point.uptime_seconds = read.uptime_seconds.or(point.uptime_seconds);
        point.skipped = read.skipped;
        point.width = width(read.kind);
        if let Some(time) = self.time {
            time.put(&mut point);
        }
        rows.finish(&mut point);
        if point.listing == Listing::Complete {
            (point.has_nonpaged, point.has_paged) = (true, true);
        }
        self.points.push(point);
    }

    fn log(mut self) -> Result<Log, SeriesError> {
        self.close();
        let what = match self.points.first().map(|p| p.kind) {
            Some(Kind::PoolMonPowerShell) => "a table of a PowerShell script",
            Some(Kind::PoolMonX) => "a table of PoolMonX",
            _ => "a table of tags",
        };
        if self.points.is_empty() {
            return Err(SeriesError::NoRows {
                what,
                skipped: self.skipped,
                advice: "each row needs a tag of four characters and whole numbers",
            });
        }
        let mut notes = Vec::new();
        if self.too_many {
            notes.push(limits::note());
        }
        if self.contradictions > 0 {
            notes.push(format!(
                "in {} rows outstanding is not allocs - frees; they are used as they are",
                self.contradictions
            ));
        }
        Ok(Log {
            what,
            points: self.points,
            notes,
        })
    }
}

/// Tools on a live machine use 32-bit counters; a tag table can have any source.
fn width(kind: Kind) -> CounterWidth {
    match kind {
        Kind::TagTable => CounterWidth::Unknown,
        _ => CounterWidth::Bits32,
    }
}

/// Assigns the cells of a line to the headings.
fn record(line: &str, splitter: Option<&mut Splitter>, heads: &Heads) -> Option<Vec<String>> {
    match splitter {
        Some(splitter) => splitter.cells(line),
        None if line.len() > limits::CELL_BYTES => None,
        None => {
            let end = line.char_indices().nth(4).map_or(line.len(), |(at, _)| at);
            let (tag, rest) = line.split_at_checked(end)?;
            let cells = std::iter::once(tag).chain(rest.split_whitespace());
            Some(cells.take(heads.columns.len()).map(str::to_owned).collect())
        }
    }
}

/// A parsed line.
struct Record {
    tag: ReadTag,
    counts: Vec<(Option<Pool>, Counts)>,
    time: Option<Found>,
    uptime: Option<u64>,
}

impl Record {
    fn of(heads: &Heads, cells: &[String]) -> Option<Record> {
        let mut tag = None;
        let mut value = None;
        let mut pool = None;
        let mut time = None;
        let mut uptime = None;
        // In the pool that the row names, in nonpaged pool, and in paged pool.
        let mut counts = [Counts::default(); 3];
        for (column, cell) in heads.columns.iter().zip(cells) {
            match column {
                Column::Tag => tag = tag.or_else(|| of_cell(cell)),
                Column::TagValue => value = hexadecimal(cell),
                Column::Pool => pool = pool_of(cell).ok()?,
                Column::Time => time = time.or_else(|| times::of_cell(cell)),
                Column::Uptime => uptime = number::unsigned(cell),
                Column::Figure(of, figure) => {
                    let place = match of {
                        None => 0,
                        Some(Pool::Nonpaged) => 1,
                        Some(Pool::Paged) => 2,
                    };
                    put(counts.get_mut(place)?, *figure, cell).ok()?;
                }
                Column::Other => {}
            }
        }
        let exact = value.map(|v| ReadTag {
            tag: Tag::new(v),
            unsure: 0,
        });
        let [named, nonpaged, paged] = counts;
        let sides = [
            (pool, named),
            (Some(Pool::Nonpaged), nonpaged),
            (Some(Pool::Paged), paged),
        ];
        let counts: Vec<_> = sides.into_iter().filter(|(_, c)| !c.is_unknown()).collect();
        (!counts.is_empty()).then_some(())?;
        Some(Record {
            tag: exact.or(tag)?,
            counts,
            time,
            uptime,
        })
    }
}

/// A tag as `0x6b61654c`.
fn hexadecimal(cell: &str) -> Option<u32> {
    let value = number::unsigned(Some(cell.trim()).filter(|c| c.starts_with("0x"))?)?;
    u32::try_from(value).ok()
}
