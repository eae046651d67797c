//! `allocs` as Markdown.

use std::io::{self, Write};

use super::super::table::{Align, head, list, row};
use super::super::text::{grouped, json_address};
use super::Allocs;

pub(super) fn write(answer: &Allocs<'_>, out: &mut dyn Write) -> io::Result<()> {
    let s = answer.summary();
    writeln!(
        out,
        "{} allocations, {} bytes\n",
        grouped(s.allocations),
        grouped(s.bytes)
    )?;
    let columns = [
        ("address", Align::Left),
        ("tag", Align::Left),
        ("size", Align::Right),
        ("pool", Align::Left),
        ("backend", Align::Left),
        ("state", Align::Left),
        ("session", Align::Right),
    ];
    head(out, &columns)?;
    for b in answer.0.blocks() {
        let guess = if b.heuristic { " (heuristic)" } else { "" };
        let cells = [
            json_address(b.va),
            b.tag.to_string(),
            grouped(b.bytes),
            b.kind.word().to_owned(),
            b.backend.word().to_owned(),
            format!("{}{guess}", b.state.word()),
            b.session.map(|s| s.to_string()).unwrap_or_default(),
        ];
        row(out, cells)?;
    }
    list(out, &s.notes)
}
