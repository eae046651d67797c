//! `symbols` as Markdown.

use std::io::{self, Write};

use super::super::table::{Align, plain, table};
use super::Symbols;

pub(super) fn write(answer: &Symbols, out: &mut dyn Write) -> io::Result<()> {
    let columns = [
        ("module", Align::Left),
        ("file", Align::Left),
        ("key", Align::Left),
        ("fetch from", Align::Left),
        ("place", Align::Left),
        ("found", Align::Left),
    ];
    let rows = answer.symbols.iter().map(|row| {
        vec![
            row.module.clone(),
            row.file.clone(),
            row.key.clone(),
            row.url.clone().unwrap_or_default(),
            row.place.clone().unwrap_or_default(),
            row.state(),
        ]
    });
    table(out, &columns, rows)?;
    writeln!(
        out,
        "\nSymbols of nt come from: {}",
        plain(&answer.answering)
    )
}
