//! `info` as CSV.

use std::io::{self, Write};

use super::super::{cell, csv_writer, optional};
use super::Info;

pub(super) fn write(answer: &Info, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv_writer(out);
    csv.write_record([
        "path",
        "format",
        "build",
        "version",
        "processors",
        "bugcheck",
        "kernel_base",
        "directory_table",
        "physical_pages",
        "pages_present",
        "system_time",
        "uptime_seconds",
        "symbols",
        "pdb",
        "id",
    ])?;
    let d = &answer.dump;
    csv.write_record([
        cell(&d.path),
        d.format.clone(),
        d.build.to_string(),
        d.version.clone(),
        d.processors.to_string(),
        d.bugcheck
            .as_ref()
            .map(|b| format!("{:#x}", b.code))
            .unwrap_or_default(),
        d.kernel_base.clone(),
        d.directory_table.clone(),
        optional(d.physical_pages),
        d.pages_present.to_string(),
        d.system_time.clone().unwrap_or_default(),
        optional(d.uptime_seconds),
        d.symbols.source.into(),
        cell(d.symbols.pdb.as_deref().unwrap_or_default()),
        d.symbols.id.clone().unwrap_or_default(),
    ])?;
    csv.flush()
}
