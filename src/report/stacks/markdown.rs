//! `stacks` as Markdown.

use std::io::{self, Write};

use super::super::table::{Align, list, plain, table};
use super::super::text::grouped;
use super::StacksReport;

pub(super) fn write(answer: &StacksReport<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}\n", plain(&answer.headline()))?;
    if !(answer.stacks.is_empty() && answer.traced.is_empty()) {
        let columns = [
            ("count", Align::Right),
            ("bytes", Align::Right),
            ("event", Align::Left),
            ("source", Align::Left),
            ("block", Align::Left),
            ("stack", Align::Left),
        ];
        let rows = answer.stacks.iter().chain(&answer.traced).map(|row| {
            let frames: Vec<String> = (0..row.symbols.len()).map(|n| row.frame(n)).collect();
            vec![
                grouped(row.count),
                grouped(row.bytes),
                row.event.unwrap_or("unknown").to_owned(),
                row.source.to_owned(),
                row.address.clone(),
                frames.join(", "),
            ]
        });
        table(out, &columns, rows)?;
    }
    list(out, &answer.notes)?;
    list(out, &answer.warnings)
}
