//! `poolused` as CSV.

use std::io::{self, Write};

use super::super::{cell, csv_writer, optional};
use super::PoolUsed;

pub(super) fn write(answer: &PoolUsed, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv_writer(out);
    csv.write_record([
        "tag",
        "tag_hex",
        "nonpaged_allocs",
        "nonpaged_frees",
        "nonpaged_outstanding",
        "nonpaged_bytes",
        "paged_allocs",
        "paged_frees",
        "paged_outstanding",
        "paged_bytes",
        "description",
        "binary",
        "pattern",
        "owner",
        "allocator",
        "contents_read",
    ])?;
    for row in &answer.tags {
        let numbers = [row.nonpaged, row.paged]
            .map(|s| [s.allocs, s.frees, s.outstanding, s.bytes])
            .concat();
        let mut record = vec![cell(&row.tag), row.tag_hex.clone()];
        record.extend(numbers.iter().copied().map(optional));
        record.push(cell(row.description.as_deref().unwrap_or_default()));
        record.push(cell(row.binary.as_deref().unwrap_or_default()));
        record.push(cell(row.pattern.as_deref().unwrap_or_default()));
        record.push(cell(row.owner.as_deref().unwrap_or_default()));
        record.push(cell(row.allocator.as_deref().unwrap_or_default()));
        record.push(
            row.contents_read
                .map_or(String::new(), |read| read.to_string()),
        );
        csv.write_record(record)?;
    }
    csv.flush()
}
