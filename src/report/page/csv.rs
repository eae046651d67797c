//! `page` as CSV.

use std::io::{self, Write};

use super::super::{cell, csv_writer};
use super::Page;

pub(super) fn write(answer: &Page<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv_writer(out);
    csv.write_record([
        "address",
        "size",
        "previous_size",
        "tag",
        "tag_hex",
        "pool",
        "backend",
        "state",
        "holds_address",
    ])?;
    for row in &answer.blocks {
        csv.write_record([
            row.address.clone(),
            row.size.to_string(),
            row.previous_size.to_string(),
            cell(&row.tag),
            row.tag_hex.clone(),
            row.pool.into(),
            row.backend.into(),
            row.state.into(),
            row.holds_address.to_string(),
        ])?;
    }
    csv.flush()
}
