//! `stacks` as CSV: one row per stack; frames are separated by blanks, symbols by semicolons.

use std::io::{self, Write};

use super::super::{cell, csv_writer};
use super::StacksReport;

pub(super) fn write(answer: &StacksReport<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv_writer(out);
    csv.write_record([
        "source",
        "event",
        "count",
        "bytes",
        "address",
        "size",
        "thread",
        "frames",
        "symbols",
        "functions",
    ])?;
    for row in answer.stacks.iter().chain(&answer.traced) {
        let functions: Vec<&str> = row
            .functions
            .iter()
            .map(|f| f.as_deref().unwrap_or_default())
            .collect();
        csv.write_record([
            row.source.to_owned(),
            row.event.unwrap_or_default().to_owned(),
            row.count.to_string(),
            row.bytes.to_string(),
            row.address.clone(),
            row.size.to_string(),
            row.thread.clone().unwrap_or_default(),
            row.frames.join(" "),
            cell(&row.symbols.join(";")),
            cell(&functions.join(";")),
        ])?;
    }
    csv.flush()
}
