//! `refs` as Markdown.

use std::io::{self, Write};

use super::super::table::{Align, list, plain, table};
use super::super::text::grouped;
use super::Refs;

pub(super) fn write(answer: &Refs<'_>, out: &mut dyn Write) -> io::Result<()> {
    if answer.references.is_empty() {
        writeln!(out, "No loaded image references {}.", plain(&answer.tag))?;
    } else {
        let columns = [
            ("module", Align::Left),
            ("role", Align::Left),
            ("confidence", Align::Left),
            ("references", Align::Right),
            ("pages searched", Align::Right),
            ("pages", Align::Right),
            ("note", Align::Left),
        ];
        let rows = answer.modules.iter().map(|m| {
            vec![
                m.module.clone(),
                m.role.replace('_', " "),
                m.confidence.unwrap_or("unknown").to_owned(),
                grouped(m.sites),
                grouped(m.pages_readable),
                grouped(m.pages),
                m.note.clone().unwrap_or_default(),
            ]
        });
        table(out, &columns, rows)?;
        writeln!(out)?;
        let columns = [
            ("module", Align::Left),
            ("offset", Align::Left),
            ("section", Align::Left),
            ("symbol", Align::Left),
            ("instruction", Align::Left),
            ("API", Align::Left),
            ("confidence", Align::Left),
            ("reason", Align::Left),
        ];
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let rows = answer.references.iter().map(|r| {
            vec![
                r.module.clone(),
                r.offset.clone(),
                text(&r.section),
                text(&r.symbol),
                text(&r.instruction),
                text(&r.api),
                r.confidence.unwrap_or("unknown").to_owned(),
                r.reason.clone(),
            ]
        });
        table(out, &columns, rows)?;
    }
    if let Some(owner) = answer.owner_line() {
        writeln!(out, "\n{}", plain(&owner))?;
    }
    let defaults: Vec<&str> = answer
        .default_tag_of
        .iter()
        .map(|d| d.reason.as_str())
        .collect();
    list(out, &defaults)?;
    list(out, &answer.notes)?;
    writeln!(out, "\n{}", plain(&answer.coverage()))
}
