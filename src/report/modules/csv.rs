//! `modules` as CSV.

use std::io::{self, Write};

use super::super::{cell, csv_writer};
use super::Modules;

pub(super) fn write(answer: &Modules, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv_writer(out);
    csv.write_record([
        "name",
        "base",
        "end",
        "size",
        "timestamp",
        "image",
        "pdb",
        "pdb_id",
        "unloaded",
        "company",
        "product",
        "file_version",
        "file_description",
        "linked",
    ])?;
    for row in &answer.modules {
        let pdb = row.pdb.as_ref();
        csv.write_record([
            cell(&row.name),
            row.base.clone(),
            row.end.clone(),
            row.size.to_string(),
            row.timestamp.map(|t| t.to_string()).unwrap_or_default(),
            cell(row.image.as_deref().unwrap_or_default()),
            cell(pdb.map_or("", |p| &p.name)),
            pdb.map(|p| p.id.clone()).unwrap_or_default(),
            row.unloaded.to_string(),
            cell(row.company.as_deref().unwrap_or_default()),
            cell(row.product.as_deref().unwrap_or_default()),
            cell(row.file_version.as_deref().unwrap_or_default()),
            cell(row.file_description.as_deref().unwrap_or_default()),
            row.linked.clone().unwrap_or_default(),
        ])?;
    }
    csv.flush()
}
