//! `page` as Markdown.

use std::io::{self, Write};

use super::super::table::{Align, table};
use super::super::text::grouped;
use super::{Page, pool_name};

pub(super) fn write(answer: &Page<'_>, out: &mut dyn Write) -> io::Result<()> {
    let region = answer.source.kind.map_or("unknown", pool_name);
    writeln!(out, "Pool page {}, region: {region}\n", answer.page)?;
    let columns = [
        ("", Align::Left),
        ("address", Align::Left),
        ("size", Align::Right),
        ("previous size", Align::Right),
        ("tag", Align::Left),
        ("state", Align::Left),
        ("backend", Align::Left),
    ];
    let rows = answer.blocks.iter().map(|row| {
        vec![
            if row.holds_address { ">" } else { "" }.to_owned(),
            row.address.clone(),
            grouped(row.size),
            grouped(row.previous_size),
            row.tag.clone(),
            format!(
                "{}{}",
                row.state,
                if row.heuristic { " (heuristic)" } else { "" }
            ),
            row.backend.to_owned(),
        ]
    });
    table(out, &columns, rows)?;
    match &answer.damaged_at {
        Some(at) => writeln!(out, "\nThe chain of blocks is damaged at {at}."),
        None => Ok(()),
    }
}
