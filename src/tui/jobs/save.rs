//! Saving what is shown: as text, CSV, JSON or Markdown, by the file's name.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::report;

use crate::tui::app::{App, Screen};
use crate::tui::data::blocks::BlockView;
use crate::tui::data::cell::Cell;
use crate::tui::data::columns;
use crate::tui::data::message::Question;
use crate::tui::screens::tag::Pane;

/// What to save.
#[derive(Clone, Debug)]
pub enum Content {
    /// A list that is held in whole.
    Grid {
        /// Names of the columns.
        columns: Vec<&'static str>,
        /// The rows.
        rows: Vec<Vec<Cell>>,
    },
    /// Allocations, as many as there are.
    Blocks(BlockView),
    /// The report, with what is marked.
    Report(Vec<(String, String)>),
    /// Lines.
    Text(String),
    /// Memory, as the debugger dumps it.
    Memory {
        /// The first byte.
        start: crate::memory::Va,
        /// How many.
        length: u64,
        /// The session to read in.
        session: Option<u32>,
    },
}

/// A file to write.
#[derive(Clone, Debug)]
pub struct Job {
    /// Where.
    pub path: PathBuf,
    /// Write over a file that is there.
    pub replace: bool,
    /// What.
    pub content: Content,
}

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Columns for people.
    Text,
    /// A header line and a line per row.
    Csv,
    /// An array of objects.
    Json,
    /// A table for a ticket.
    Markdown,
}

impl Style {
    /// By the end of the file's name.
    pub fn of(path: &Path) -> Style {
        let end = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        match end.to_ascii_lowercase().as_str() {
            "csv" => Style::Csv,
            "json" => Style::Json,
            "md" | "markdown" => Style::Markdown,
            _ => Style::Text,
        }
    }
}

/// Writes to a file so that there is all of it or nothing.
///
/// # Errors
/// What the system says; a file that is there and shall not be replaced.
pub fn write_whole(
    path: &Path,
    replace: bool,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<u64> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    let mut out = BufWriter::with_capacity(1 << 16, file.as_file_mut());
    write(&mut out)?;
    out.flush()?;
    drop(out);
    let bytes = file.as_file().metadata()?.len();
    match replace {
        true => file.persist(path).map_err(|e| e.error)?,
        false => file.persist_noclobber(path).map_err(|e| e.error)?,
    };
    Ok(bytes)
}

/// Writes rows.
///
/// # Errors
/// What the writer says.
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

/// Writes lines that are no table, in a form that the file's readers take for that.
/// `longest` is the longest run of tildes that a line can have.
///
/// # Errors
/// What the writer says.
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

/// The cells of an allocation, and their names.
pub fn block_columns() -> Vec<&'static str> {
    columns::BLOCK
        .iter()
        .filter_map(|f| f.names.first().copied())
        .collect()
}

/// Rows of allocations, made one after the other.
pub fn block_rows(view: &BlockView) -> impl Iterator<Item = Vec<Cell>> + '_ {
    (0..view.len()).filter_map(|row| {
        let block = view.get(row)?;
        let cells = 0..columns::BLOCK.len();
        Some(cells.map(|f| columns::block_cell(&block, f)).collect())
    })
}

impl App {
    /// Saves what is shown; the answer says so.
    pub(in crate::tui) fn save(&mut self, name: &str, replace: bool) {
        let name = name.trim();
        if name.is_empty() {
            self.message = Some("name a file: list.csv, list.json, report.md".into());
            return;
        }
        let Some(content) = self.content() else {
            self.message = Some("nothing here to save yet".into());
            return;
        };
        let job = Job {
            path: at_home(name),
            replace,
            content,
        };
        self.message = Some(format!("writing {name}"));
        self.ask(Question::Save(Box::new(job)));
    }

    /// What is shown, as it is saved.
    fn content(&self) -> Option<Content> {
        Some(match self.stack.last() {
            None if self.summary_focused => self.summary_text(),
            None => {
                let names = columns::TAG.iter().filter_map(|f| f.names.first().copied());
                let rows = (0..self.tags.len()).filter_map(|at| {
                    let row = self.tags.row(&self.model, at)?;
                    let asked = self.tags.asked_of(&self.model, row);
                    Some((0..columns::TAG.len()).map(|f| asked.cell(f)).collect())
                });
                Content::Grid {
                    columns: names.collect(),
                    rows: rows.collect(),
                }
            }
            Some(Screen::Summary(_)) => self.summary_text(),
            Some(Screen::Tag(view)) => match view.pane {
                Pane::Allocations => Content::Blocks(view.view.clone()?),
                Pane::References => {
                    let rows = view.mentions.as_ref()?.rows.iter();
                    Content::Grid {
                        columns: vec![
                            "module", "address", "symbol", "section", "sure", "used_by",
                            "function", "reason",
                        ],
                        rows: rows
                            .map(|row| {
                                let text = |t: &str| Cell::Text(t.to_owned());
                                vec![
                                    text(&row.module),
                                    Cell::Address(row.va),
                                    text(&row.symbol),
                                    text(&row.section),
                                    text(row.confidence),
                                    text(&row.api),
                                    text(&row.function),
                                    text(&row.reason),
                                ]
                            })
                            .collect(),
                    }
                }
            },
            Some(Screen::Modules(view)) => {
                let names = columns::MODULE.iter();
                let rows = (0..view.len()).filter_map(|at| {
                    let row = view.row(&self.model, at)?;
                    let cells = 0..columns::MODULE.len();
                    Some(cells.map(|f| columns::module_cell(row, f)).collect())
                });
                Content::Grid {
                    columns: names.filter_map(|f| f.names.first().copied()).collect(),
                    rows: rows.collect(),
                }
            }
            Some(Screen::Table(sheet)) => {
                let kept: Vec<usize> = (0..sheet.columns().len())
                    .filter(|i| {
                        sheet
                            .columns()
                            .get(*i)
                            .is_some_and(|c| !c.name().is_empty())
                    })
                    .collect();
                let name = |i: &usize| sheet.columns().get(*i).map(|c| c.name());
                let rows = (0..sheet.len()).filter_map(|at| {
                    let row = sheet.row(at)?;
                    let cell = |i: &usize| row.cells.get(*i).cloned().unwrap_or(Cell::Unknown);
                    Some(kept.iter().map(cell).collect())
                });
                Content::Grid {
                    columns: kept.iter().filter_map(name).collect(),
                    rows: rows.collect(),
                }
            }
            Some(Screen::Report(_)) => Content::Report(self.marks_in_words()),
            Some(Screen::Bytes(view)) => Content::Memory {
                start: view.first,
                length: view.length.unwrap_or(0x1000),
                session: view.session,
            },
        })
    }

    fn summary_text(&self) -> Content {
        let lines = crate::tui::screens::summary::full(&self.model, 100, &self.theme);
        let lines: Vec<String> = lines.into_iter().map(|l| l.0).collect();
        Content::Text(lines.join("\n") + "\n")
    }

    /// What is marked, with its notes, for the report.
    pub(in crate::tui) fn marks_in_words(&self) -> Vec<(String, String)> {
        let marks = self.marks.iter();
        marks.map(|m| (m.what.words(), m.note.clone())).collect()
    }
}

/// `~` stands for the home directory, as in a shell.
fn at_home(name: &str) -> PathBuf {
    let home = std::env::home_dir();
    match (name.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(name),
    }
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
    fn each_kind_of_file_is_one_that_its_readers_read() {
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

    #[test]
    fn a_file_that_is_there_is_replaced_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.txt");
        let write = |text: &'static str| move |out: &mut dyn Write| out.write_all(text.as_bytes());
        assert_eq!(write_whole(&path, false, write("one")).unwrap(), 3);
        let again = write_whole(&path, false, write("two")).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        write_whole(&path, true, write("two")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
