//! `vm` as Markdown.

use std::io::{self, Write};

use super::super::table::{Align, plain, table};
use super::super::text::{grouped, kilobytes};
use super::Vm;

pub(super) fn write(answer: &Vm<'_>, out: &mut dyn Write) -> io::Result<()> {
    let report = answer.report;
    let columns = [
        ("line", Align::Left),
        ("pages", Align::Right),
        ("KB", Align::Right),
        ("source", Align::Left),
        ("doubt", Align::Left),
    ];
    let rows = report.lines().into_iter().map(|(label, line)| {
        vec![
            label,
            line.pages.map_or("unknown".into(), grouped),
            line.pages
                .map_or("unknown".into(), |p| grouped(kilobytes(p))),
            line.source.clone(),
            line.doubt.clone().unwrap_or_default(),
        ]
    });
    table(out, &columns, rows)?;
    for flag in &report.flags {
        writeln!(out, "\n{}", plain(flag.banner().trim()))?;
    }
    let Some(files) = &answer.vm.page_files else {
        return writeln!(out, "\nPage files: unknown");
    };
    writeln!(out)?;
    let columns = [
        ("page file", Align::Left),
        ("current KB", Align::Right),
        ("free KB", Align::Right),
        ("minimum KB", Align::Right),
        ("maximum KB", Align::Right),
        ("doubt", Align::Left),
    ];
    let number = |n: Option<u64>| n.map_or("unknown".into(), grouped);
    let rows = files.iter().map(|file| {
        let nameless = if file.nameless { "no name" } else { "unknown" };
        vec![
            file.path.clone().unwrap_or_else(|| nameless.into()),
            number(file.current_kb),
            number(file.free_kb),
            number(file.minimum_kb),
            number(file.maximum_kb),
            file.doubt.clone().unwrap_or_default(),
        ]
    });
    table(out, &columns, rows)
}
