//! Reports for people and programs: text in WinDbg's layouts, JSON, CSV and Markdown.
//!
//! Each answer has a folder. Its `mod.rs` has the record whose `Serialize` implementation is the
//! JSON; text, CSV and Markdown are in files beside it. Nothing here reads the dump, computes, or
//! prints: the caller passes a writer. The JSON has the schema `poolscope/1`; fields may be
//! added, but never change their meaning.

mod allocs;
mod check;
pub(crate) mod contents;
mod diagnose;
mod diff;
mod drivers;
mod identity;
mod info;
mod kept;
mod listing;
mod modules;
mod objects;
mod page;
mod poolused;
mod refs;
mod stacks;
mod symbols;
pub mod table;
pub mod text;
mod vm;

pub use allocs::Allocs;
pub use check::Check;
pub use contents::Contents;
pub use diagnose::Diagnose;
pub use diff::Diff;
pub use drivers::DriversReport;
pub use info::{DumpRecord, Info};
pub use kept::write_kept;
pub use listing::ListingReport;
pub use modules::Modules;
pub use objects::ObjectsReport;
pub use page::Page;
pub use poolused::PoolUsed;
pub use refs::Refs;
pub use stacks::StacksReport;
pub use symbols::Symbols;
pub use vm::Vm;

use std::io::{self, Write};

use serde::Serialize;

use crate::engine::{DumpFacts, Machine};

/// The name of the JSON schema, contained in every answer.
pub const SCHEMA: &str = "poolscope/1";

/// The output format of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Columns for people, in WinDbg's layout if WinDbg has the command.
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// A header line, and one line per row.
    Csv,
    /// For tickets and wikis.
    Markdown,
}

impl Format {
    /// The name of the format on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Markdown => "markdown",
        }
    }
}

/// The answer of a command. Its `Serialize` implementation gives the fields beside `schema`,
/// `dump` and `warnings` in the JSON.
pub trait Answer: Serialize {
    /// Writes the answer as text.
    ///
    /// # Errors
    /// I/O errors of the writer.
    fn text(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Writes the answer as Markdown; by default, the text in a code fence.
    ///
    /// # Errors
    /// I/O errors of the writer.
    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut text = Vec::new();
        self.text(&mut text)?;
        // Fence with tildes: text from dumps contains backticks more often.
        let longest = text.split(|b| *b != b'~').map(<[u8]>::len).max();
        let fence = "~".repeat(longest.unwrap_or(0).max(2) + 1);
        writeln!(out, "{fence}")?;
        out.write_all(&text)?;
        writeln!(out, "{fence}")
    }

    /// Writes the rows as CSV.
    ///
    /// # Errors
    /// I/O errors of the writer.
    fn csv(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// The fields around every JSON answer.
#[derive(Serialize)]
struct Envelope<'a, A> {
    schema: &'static str,
    dump: Option<DumpRecord>,
    warnings: Vec<String>,
    #[serde(flatten)]
    answer: &'a A,
}

/// Writes an answer in a format.
///
/// # Errors
/// I/O errors of the writer.
pub fn write(
    engine: &dyn Machine,
    answer: &impl Answer,
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Json => write_for(
            Some(&engine.facts()),
            &engine.warnings(),
            answer,
            format,
            out,
        ),
        _ => write_for(None, &[], answer, format, out),
    }
}

/// Writes an answer that is not about one dump alone: about logs, or several dumps. `dump` is
/// null in the JSON if there is none.
///
/// # Errors
/// I/O errors of the writer.
pub fn write_for(
    dump: Option<&DumpFacts>,
    warnings: &[String],
    answer: &impl Answer,
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Text => answer.text(out)?,
        Format::Csv => answer.csv(out)?,
        Format::Markdown => answer.markdown(out)?,
        Format::Json => {
            let envelope = Envelope {
                schema: SCHEMA,
                dump: dump.map(DumpRecord::of),
                warnings: warnings.iter().map(|w| text::clean(w).into()).collect(),
                answer,
            };
            serde_json::to_writer(&mut *out, &envelope)?;
            writeln!(out)?;
        }
    }
    out.flush()
}

/// A CSV writer that ends records with a line feed.
fn csv_writer(out: &mut dyn Write) -> csv::Writer<&mut dyn Write> {
    csv::WriterBuilder::new().from_writer(out)
}

/// Makes text from the dump safe in a cell, for terminals and spreadsheets. Spreadsheets evaluate
/// a cell that starts like a formula. With semicolons as separators, a semicolon in the text
/// starts a new cell, so the text after it is treated in the same way.
pub fn cell(value: &str) -> String {
    let clean = text::clean(value);
    let parts: Vec<String> = clean.split(';').map(no_formula).collect();
    parts.join(";")
}

fn no_formula(part: &str) -> String {
    // Spreadsheets also accept the full-width forms.
    const STARTS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
    match part.trim_start().starts_with(STARTS) {
        true => format!("'{part}"),
        false => part.into(),
    }
}

/// An optional number as a cell; empty if unknown.
fn optional(value: Option<u64>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// The tag's dword in the format of JSON and CSV.
fn tag_hex(tag: crate::pool::Tag) -> String {
    format!("{:#010x}", tag.value())
}
