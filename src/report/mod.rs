//! Answers as people and programs read them: text in WinDbg's layouts, JSON and CSV.
//!
//! One folder per answer: `mod.rs` has the record of the engine's value, whose `Serialize`
//! is the JSON, and beside it are text, CSV and Markdown. Nothing here reads the dump or
//! computes, and nothing prints: a writer is passed in. The JSON is the `poolscope/1`
//! schema; fields may be added, none changes its meaning.

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

/// The name of the JSON schema, in every answer.
pub const SCHEMA: &str = "poolscope/1";

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Columns for people, WinDbg's where WinDbg has the command.
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// A header line and a line per row.
    Csv,
    /// For a ticket.
    Markdown,
}

impl Format {
    /// The word that is typed for it.
    pub fn word(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Markdown => "markdown",
        }
    }
}

/// One command's answer. Its `Serialize` gives the fields that stand beside `schema`,
/// `dump` and `warnings` in the JSON.
pub trait Answer: Serialize {
    /// Writes it for people.
    ///
    /// # Errors
    /// What the writer says.
    fn text(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Writes it for a ticket: the text between fences, unless an answer knows better.
    ///
    /// # Errors
    /// What the writer says.
    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut text = Vec::new();
        self.text(&mut text)?;
        // Tildes: what dumps are named by has more grave accents.
        let longest = text.split(|b| *b != b'~').map(<[u8]>::len).max();
        let fence = "~".repeat(longest.unwrap_or(0).max(2) + 1);
        writeln!(out, "{fence}")?;
        out.write_all(&text)?;
        writeln!(out, "{fence}")
    }

    /// Writes its rows as CSV.
    ///
    /// # Errors
    /// What the writer says.
    fn csv(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// What every JSON answer has around it.
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
/// What the writer says.
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

/// The same for an answer that is not of one dump alone: of logs, or of several dumps.
/// `dump` is null in the JSON where there is none.
///
/// # Errors
/// What the writer says.
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

/// A CSV writer whose records end in a plain newline.
fn csv_writer(out: &mut dyn Write) -> csv::Writer<&mut dyn Write> {
    csv::WriterBuilder::new().from_writer(out)
}

/// A cell of text from the dump: safe for a terminal, and for a spreadsheet, which would
/// take a cell that starts like a formula for one. Where semicolons separate, one that is
/// in a cell starts another.
pub fn cell(value: &str) -> String {
    let clean = text::clean(value);
    let parts: Vec<String> = clean.split(';').map(no_formula).collect();
    parts.join(";")
}

fn no_formula(part: &str) -> String {
    // Those of wide writing are taken for the same.
    const STARTS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
    match part.trim_start().starts_with(STARTS) {
        true => format!("'{part}"),
        false => part.into(),
    }
}

/// An optional number as a cell; empty when the dump does not give it.
fn optional(value: Option<u64>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// The tag's dword as JSON and CSV write it.
fn tag_hex(tag: crate::pool::Tag) -> String {
    format!("{:#010x}", tag.value())
}
