//! `vm` as CSV.

use std::io::{self, Write};

use super::super::text::kilobytes;
use super::super::{cell, csv_writer, optional};
use super::Vm;

pub(super) fn write(answer: &Vm<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv_writer(out);
    csv.write_record(["line", "pages", "kb", "source", "doubt"])?;
    for (label, line) in answer.report.lines() {
        csv.write_record([
            label,
            optional(line.pages),
            optional(line.pages.map(kilobytes)),
            cell(&line.source),
            cell(line.doubt.as_deref().unwrap_or_default()),
        ])?;
    }
    csv.flush()
}
