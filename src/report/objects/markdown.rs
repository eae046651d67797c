//! `objects` as Markdown.

use std::io::{self, Write};

use super::super::table::{Align, list, plain, table};
use super::super::text::grouped;
use super::ObjectsReport;

pub(super) fn write(answer: &ObjectsReport, out: &mut dyn Write) -> io::Result<()> {
    if answer.objects == 0 {
        let (tag, looked) = (plain(&answer.tag), grouped(answer.looked));
        writeln!(
            out,
            "{tag}: none of {looked} blocks looked at is a kernel object"
        )?;
    }
    list(out, &answer.sentences)?;
    if !answer.holders.is_empty() {
        writeln!(out)?;
        let columns = [
            ("process", Align::Left),
            ("id", Align::Right),
            ("handles to these objects", Align::Right),
            ("all handles", Align::Right),
        ];
        let rows = answer.holders.iter().map(|holder| {
            vec![
                holder.image.clone(),
                holder.id.to_string(),
                grouped(holder.handles),
                grouped(holder.all_handles),
            ]
        });
        table(out, &columns, rows)?;
    }
    if !answer.names.is_empty() {
        writeln!(out)?;
        let columns = [
            ("name", Align::Left),
            ("objects", Align::Right),
            ("example", Align::Left),
        ];
        let rows = answer.names.iter().map(|name| {
            vec![
                name.name.clone(),
                grouped(name.count),
                name.exemplar.clone(),
            ]
        });
        table(out, &columns, rows)?;
    }
    if answer.more_names > 0 {
        writeln!(
            out,
            "\nObjects under other names: {}",
            grouped(answer.more_names)
        )?;
    }
    list(out, &answer.notes)
}
