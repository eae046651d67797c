//! `modules` as Markdown.

use std::io::{self, Write};

use super::super::table::{Align, table};
use super::super::text::grouped;
use super::Modules;

pub(super) fn write(answer: &Modules, out: &mut dyn Write) -> io::Result<()> {
    let columns = [
        ("name", Align::Left),
        ("base", Align::Left),
        ("end", Align::Left),
        ("size", Align::Right),
        ("version", Align::Left),
        ("company", Align::Left),
        ("linked", Align::Left),
        ("image", Align::Left),
        ("PDB", Align::Left),
        ("unloaded", Align::Left),
    ];
    let rows = answer.modules.iter().map(|row| {
        let pdb = row.pdb.as_ref().map(|p| format!("{} {}", p.name, p.id));
        vec![
            row.name.clone(),
            row.base.clone(),
            row.end.clone(),
            grouped(row.size.into()),
            row.file_version.clone().unwrap_or_default(),
            row.company.clone().unwrap_or_default(),
            row.linked.clone().unwrap_or_default(),
            row.image.clone().unwrap_or_default(),
            pdb.unwrap_or_default(),
            if row.unloaded { "yes" } else { "" }.to_owned(),
        ]
    });
    table(out, &columns, rows)
}
