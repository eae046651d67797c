//! `symbols` as CSV.

use std::io::{self, Write};

use super::super::{cell, csv_writer};
use super::Symbols;

pub(super) fn write(answer: &Symbols, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv_writer(out);
    csv.write_record([
        "module",
        "file",
        "guid",
        "age",
        "key",
        "url",
        "store_path",
        "place",
        "found",
        "built_in",
    ])?;
    let text = |value: &Option<String>| cell(value.as_deref().unwrap_or_default());
    for row in &answer.symbols {
        csv.write_record([
            cell(&row.module),
            cell(&row.file),
            row.guid.clone(),
            row.age.to_string(),
            row.key.clone(),
            text(&row.url),
            text(&row.store_path),
            text(&row.place),
            text(&row.found),
            row.built_in.to_string(),
        ])?;
    }
    csv.flush()
}
