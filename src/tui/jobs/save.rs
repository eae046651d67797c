//! Saving as text, CSV, JSON or Markdown; the file name decides.

use std::io::{self, Write};
use std::path::Path;

use crate::engine::Machine;
use crate::pool::index::Snapshot;
use crate::report::text::dump_line;
use crate::report::{self, Diagnose, Format};

use crate::tui::data::blocks::BlockView;
use crate::tui::data::cell::Cell;
use crate::tui::data::columns;
use crate::tui::data::job::{Content, Job};
use crate::tui::jobs::memory;
use crate::tui::storage::write_asked_for;

/// The format of a saved list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Tab-separated columns.
    Text,
    /// A header line and one line per row.
    Csv,
    /// An array of objects.
    Json,
    /// A Markdown table, for example for a ticket.
    Markdown,
}

impl Style {
    /// The format for a file name's extension.
    ///
    /// # Errors
    /// For an unknown extension: the valid ones.
    pub fn of(path: &Path) -> Result<Style, String> {
        const USE: &str = "end the name in .txt, .csv, .json or .md";
        let end = path.extension().and_then(|e| e.to_str());
        Ok(match end.map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => Style::Csv,
            Some("json") => Style::Json,
            Some("md" | "markdown") => Style::Markdown,
            Some("txt" | "log" | "text") => Style::Text,
            Some(end) => {
                return Err(format!(
                    "unknown file format: .{}; {USE}",
                    report::text::clean(end)
                ));
            }
            None => return Err(format!("the file format is missing; {USE}")),
        })
    }
}

/// Writes rows.
///
/// # Errors
/// An error of the writer.
pub fn grid(
    out: &mut dyn Write,
    style: Style,
    columns: &[&'static str],
    rows: impl Iterator<Item = Vec<Cell>>,
) -> io::Result<()> {
    match style {
        Style::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            csv.write_record(columns)?;
            for row in rows {
                csv.write_record(row.iter().map(csv_cell))?;
            }
            csv.flush()
        }
        Style::Json => {
            writeln!(out, "[")?;
            for (i, row) in rows.enumerate() {
                let comma = if i == 0 { "" } else { ",\n" };
                let cells = columns.iter().zip(&row);
                let object: serde_json::Map<String, serde_json::Value> = cells
                    .map(|(name, cell)| ((*name).to_owned(), cell.json()))
                    .collect();
                write!(out, "{comma}{}", serde_json::Value::Object(object))?;
            }
            writeln!(out, "\n]")
        }
        Style::Markdown => {
            writeln!(out, "| {} |", columns.join(" | "))?;
            writeln!(out, "|{}", " --- |".repeat(columns.len()))?;
            for row in rows {
                let cells = row.iter().map(|c| report::text::markdown(&c.plain()));
                let cells: Vec<String> = cells.collect();
                writeln!(out, "| {} |", cells.join(" | "))?;
            }
            Ok(())
        }
        Style::Text => {
            writeln!(out, "{}", columns.join("\t"))?;
            for row in rows {
                let cells: Vec<String> = row.iter().map(Cell::plain).collect();
                writeln!(out, "{}", cells.join("\t"))?;
            }
            Ok(())
        }
    }
}

fn csv_cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => report::cell(text),
        other => other.plain(),
    }
}

/// Writes lines of text in a form that suits the file format. `longest` is the longest run
/// of tildes that a line can have; a Markdown fence must be longer.
///
/// # Errors
/// An error of the writer.
pub fn lines(
    out: &mut dyn Write,
    style: Style,
    longest: usize,
    lines: impl Iterator<Item = String>,
) -> io::Result<()> {
    let rows = |lines: &mut dyn Iterator<Item = String>, out: &mut dyn Write| {
        grid(out, style, &["line"], lines.map(|l| vec![Cell::Text(l)]))
    };
    let mut lines = lines;
    match style {
        Style::Csv | Style::Json => rows(&mut lines, out),
        Style::Text => lines.try_for_each(|line| writeln!(out, "{line}")),
        Style::Markdown => {
            let fence = "~".repeat(longest.max(2) + 1);
            writeln!(out, "{fence}")?;
            lines.try_for_each(|line| writeln!(out, "{line}"))?;
            writeln!(out, "{fence}")
        }
    }
}

/// The column names of an allocation.
pub fn block_columns() -> Vec<&'static str> {
    columns::BLOCK
        .iter()
        .filter_map(|f| f.names.first().copied())
        .collect()
}

/// Rows of allocations, made one at a time.
pub fn block_rows(view: &BlockView) -> impl Iterator<Item = Vec<Cell>> + '_ {
    (0..view.len()).filter_map(|row| {
        let block = view.get(row)?;
        let cells = 0..columns::BLOCK.len();
        Some(cells.map(|f| columns::block_cell(&block, f)).collect())
    })
}

/// The report as text.
///
/// # Errors
/// Why there is no report.
pub fn report_text(
    engine: &dyn Machine,
    index: &Snapshot,
    marks: Vec<(String, String)>,
) -> Result<String, String> {
    let mut out = Vec::new();
    write_report(engine, index, marks, Format::Text, &mut out).map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn write_report(
    engine: &dyn Machine,
    index: &Snapshot,
    marks: Vec<(String, String)>,
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    if let Some(kept) = engine.kept_answer("diagnose", format.word()) {
        return report::write_kept(kept, &marks, format, out);
    }
    let Some(dump) = engine.engine() else {
        return Err(io::Error::other("the evidence file has no report"));
    };
    let found = dump.diagnose(index);
    let answer = Diagnose::of(dump, &found).with_marks(marks);
    report::write(engine, &answer, format, out)
}

/// Writes a file. Returns its size in bytes.
///
/// # Errors
/// Why it failed, as a sentence.
pub fn save(engine: &dyn Machine, index: &Snapshot, job: &Job) -> Result<u64, String> {
    let style = Style::of(&job.path)?;
    let written = write_asked_for(&job.path, job.replace, |out| match &job.content {
        Content::Grid { columns, rows } => grid(out, style, columns, rows.iter().cloned()),
        Content::Blocks(view) => grid(out, style, &block_columns(), block_rows(view)),
        Content::Text(text) => {
            let tildes = text.split(|c| c != '~').map(str::len).max();
            let all = text.lines().map(String::from);
            lines(out, style, tildes.unwrap_or(0), all)
        }
        Content::Report(marks) => {
            let format = match style {
                Style::Text => Format::Text,
                Style::Csv => Format::Csv,
                Style::Json => Format::Json,
                Style::Markdown => Format::Markdown,
            };
            write_report(engine, index, marks.clone(), format, out)
        }
        Content::Memory {
            start,
            length,
            session,
        } => {
            // A line contains sixteen bytes as text.
            lines(
                out,
                style,
                16,
                memory_lines(engine, *start, *length, *session),
            )
        }
    });
    written.map_err(|why| {
        let name = report::text::clean(&job.path.to_string_lossy()).into_owned();
        match why.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{name} exists; append ! to overwrite")
            }
            io::ErrorKind::NotFound => {
                format!("{name} is not written: the directory does not exist")
            }
            _ => format!("{name} is not written: {why}"),
        }
    })
}

/// Bytes to read at once.
const STRETCH: u64 = 1 << 20;
/// Maximum bytes of memory in one file: more than any allocation.
const LARGEST: u64 = 1 << 30;

/// Memory in WinDbg's format, read in pieces.
fn memory_lines(
    engine: &dyn Machine,
    start: crate::memory::Va,
    length: u64,
    session: Option<u32>,
) -> impl Iterator<Item = String> {
    let length = length.min(LARGEST);
    let stretches = (0..length)
        .step_by(STRETCH as usize)
        .map_while(move |done| {
            let at = start.0.checked_add(done).map(crate::memory::Va)?;
            let here = STRETCH.min(length - done);
            let memory = memory::read(engine, at, here, session);
            let lines = memory.bytes.chunks(16).enumerate();
            Some(
                lines
                    .map(|(i, line)| dump_line(at.add(i as u64 * 16), line))
                    .collect::<Vec<_>>(),
            )
        });
    stretches.flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Va;

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec![Cell::Text("=cmd|'x'".into()), Cell::Bytes(1_024_000)],
            vec![Cell::Address(Va(0xffff_fa80_0000_0000)), Cell::Unknown],
        ]
    }

    fn written(style: Style) -> String {
        let mut out = Vec::new();
        grid(&mut out, style, &["a", "b"], rows().into_iter()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn unknown_formats_are_refused() {
        assert_eq!(Style::of(Path::new("a.CSV")), Ok(Style::Csv));
        assert_eq!(Style::of(Path::new("a.b.md")), Ok(Style::Markdown));
        let why = Style::of(Path::new("out.xlsx")).unwrap_err();
        assert!(why.contains(".xlsx") && why.contains(".csv"), "{why}");
        assert!(Style::of(Path::new("out")).is_err());
    }

    #[test]
    fn every_format_can_be_parsed() {
        assert_eq!(
            written(Style::Csv),
            "a,b\n'=cmd|'x',1024000\nfffffa80`00000000,\n"
        );
        assert_eq!(
            written(Style::Text),
            "a\tb\n=cmd|'x'\t1024000\nfffffa80`00000000\t\n"
        );
        let json: serde_json::Value = serde_json::from_str(&written(Style::Json)).unwrap();
        assert_eq!(json[0]["b"], 1_024_000);
        assert_eq!(json[1]["a"], "0xfffffa8000000000");
        assert!(json[1]["b"].is_null());
        assert!(written(Style::Markdown).contains("| =cmd\\|'x' | 1024000 |"));
    }
}
