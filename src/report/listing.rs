//! Answers to debugger commands: a table, or lines in the debugger's layout.

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::engine::inspect::{Listing, Value};

use super::text::{clean, json_address, markdown};
use super::{Answer, cell, csv_writer};

/// The answer of a request that [`crate::engine::Engine::inspect`] answers.
#[derive(Debug)]
pub struct ListingReport<'a> {
    listing: &'a Listing,
}

impl<'a> ListingReport<'a> {
    /// A report of a listing.
    pub fn of(listing: &'a Listing) -> ListingReport<'a> {
        ListingReport { listing }
    }

    /// The lines of the text output.
    pub fn lines(&self) -> Vec<String> {
        let mut out = Vec::new();
        match &self.listing.lines {
            Some(lines) => out.extend(lines.iter().map(|line| clean(line).into_owned())),
            None => out.extend(self.table()),
        }
        if !self.listing.notes.is_empty() {
            out.push(String::new());
            let notes = self.listing.notes.iter();
            out.extend(notes.map(|note| format!("note: {}", clean(note))));
        }
        out
    }

    fn table(&self) -> Vec<String> {
        let rows: Vec<Vec<String>> = self
            .listing
            .rows
            .iter()
            .map(|r| r.iter().map(text).collect())
            .collect();
        let count = self.listing.columns.len();
        let width = |at: usize| {
            let cells = rows
                .iter()
                .filter_map(|r| r.get(at))
                .map(|c| c.chars().count());
            let head = self.listing.columns.get(at).map_or(0, |c| c.len());
            cells.max().unwrap_or(0).max(head)
        };
        let widths: Vec<usize> = (0..count).map(width).collect();
        let is_number = |at: usize| {
            let mut values = self.listing.rows.iter().filter_map(|r| r.get(at));
            values.all(|v| matches!(v, Value::Number(_) | Value::Hex(_) | Value::Unknown))
        };
        let right: Vec<bool> = (0..count).map(is_number).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded = cells
                .zip(widths.iter().zip(&right))
                .map(|(cell, (width, right))| {
                    let fill = " ".repeat(width.saturating_sub(cell.chars().count()));
                    match right {
                        true => format!("{fill}{cell}"),
                        false => format!("{cell}{fill}"),
                    }
                });
            let joined = padded.collect::<Vec<_>>().join("  ");
            joined.trim_end().to_owned()
        };
        let mut out = vec![self.listing.title.clone(), String::new()];
        if !rows.is_empty() {
            out.push(line(&mut self.listing.columns.iter().copied()));
        }
        out.extend(
            rows.iter()
                .map(|row| line(&mut row.iter().map(String::as_str))),
        );
        out.into_iter()
            .map(|line| clean(&line).into_owned())
            .collect()
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => clean(text).into_owned(),
        Value::Address(va) => va.to_string(),
        Value::Number(number) => super::text::grouped(*number),
        Value::Hex(number) => format!("{number:#x}"),
        Value::Unknown => "?".into(),
    }
}

struct Row<'a>(&'a [&'static str], &'a [Value]);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0.iter().zip(self.1) {
            let name = name.replace(' ', "_");
            match value {
                Value::Text(text) => map.serialize_entry(&name, &*clean(text))?,
                Value::Address(va) => map.serialize_entry(&name, &json_address(*va))?,
                Value::Number(number) => map.serialize_entry(&name, number)?,
                Value::Hex(number) => map.serialize_entry(&name, &format!("{number:#x}"))?,
                Value::Unknown => map.serialize_entry(&name, &None::<u64>)?,
            }
        }
        map.end()
    }
}

impl Serialize for ListingReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows: Vec<Row<'_>> = self
            .listing
            .rows
            .iter()
            .map(|row| Row(&self.listing.columns, row))
            .collect();
        let notes: Vec<_> = self.listing.notes.iter().map(|note| clean(note)).collect();
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("title", &*clean(&self.listing.title))?;
        map.serialize_entry("rows", &rows)?;
        map.serialize_entry("notes", &notes)?;
        map.end()
    }
}

impl Answer for ListingReport<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.lines()
            .iter()
            .try_for_each(|line| writeln!(out, "{line}"))
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
        let columns = &self.listing.columns;
        writeln!(out, "{}\n", markdown(&clean(&self.listing.title)))?;
        writeln!(
            out,
            "{}",
            row(columns.iter().map(|c| (*c).to_owned()).collect())
        )?;
        writeln!(
            out,
            "{}",
            row(columns.iter().map(|_| "---".to_owned()).collect())
        )?;
        for values in &self.listing.rows {
            writeln!(
                out,
                "{}",
                row(values.iter().map(|v| markdown(&text(v))).collect())
            )?;
        }
        for note in &self.listing.notes {
            writeln!(out, "\n{}", markdown(&clean(note)))?;
        }
        Ok(())
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv_writer(out);
        csv.write_record(self.listing.columns.iter().map(|c| c.replace(' ', "_")))?;
        for row in &self.listing.rows {
            let cells = row.iter().map(|value| match value {
                Value::Unknown => String::new(),
                Value::Number(number) => number.to_string(),
                Value::Address(va) => json_address(*va),
                value => cell(&text(value)),
            });
            csv.write_record(cells)?;
        }
        csv.flush()
    }
}
