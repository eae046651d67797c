//! `refs` as CSV.

use std::io::{self, Write};

use super::super::{cell, csv_writer};
use super::Refs;

pub(super) fn write(answer: &Refs<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv_writer(out);
    csv.write_record([
        "module",
        "address",
        "offset",
        "section",
        "symbol",
        "kind",
        "bytes",
        "instruction",
        "api",
        "confidence",
        "role",
        "function",
        "reason",
    ])?;
    for row in &answer.references {
        csv.write_record([
            cell(&row.module),
            row.address.clone(),
            row.offset.clone(),
            cell(row.section.as_deref().unwrap_or_default()),
            cell(row.symbol.as_deref().unwrap_or_default()),
            row.kind.into(),
            row.bytes.clone(),
            cell(row.instruction.as_deref().unwrap_or_default()),
            cell(row.api.as_deref().unwrap_or_default()),
            row.confidence.unwrap_or_default().into(),
            row.role.into(),
            cell(row.function.as_deref().unwrap_or_default()),
            cell(&row.reason),
        ])?;
    }
    csv.flush()
}
