//! `contents` as CSV.

use std::io::{self, Write};

use super::super::{cell, csv_writer};
use super::Contents;

pub(super) fn write(answer: &Contents, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv_writer(out);
    csv.write_record(["offset", "kind", "what", "blocks", "read", "unreadable"])?;
    for row in &answer.offsets {
        for kind in &row.counts {
            csv.write_record([
                row.offset.to_string(),
                kind.kind.to_owned(),
                cell(&kind.what),
                kind.blocks.to_string(),
                row.read.to_string(),
                row.unreadable.to_string(),
            ])?;
        }
    }
    csv.flush()
}
