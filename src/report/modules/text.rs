//! `modules` as text.

use std::io::{self, Write};

use super::{Modules, Row};

pub(super) fn write(answer: &Modules, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "start             end                 module name")?;
    let mut unloaded = false;
    for row in &answer.modules {
        if row.unloaded && !unloaded {
            writeln!(out, "\nUnloaded modules:")?;
            unloaded = true;
        }
        let (start, end) = row.range;
        match row.unloaded {
            false => writeln!(out, "{start} {end}   {:<8}   {:<23}", row.name, row.status)?,
            true => {
                let when = row.unloaded_at.as_deref().unwrap_or("time unknown");
                writeln!(out, "{start} {end}   {:<8}   unloaded {when}", row.name)?;
            }
        }
    }
    match answer.modules.as_slice() {
        [only] => details(only, out),
        _ => Ok(()),
    }
}

/// The details that `lmv` prints for a module.
fn details(row: &Row, out: &mut dyn Write) -> io::Result<()> {
    let mut line = |name: &str, value: Option<&str>| match value {
        Some(value) => writeln!(out, "    {name:<17} {value}"),
        None => Ok(()),
    };
    line("Image path:", row.path.as_deref())?;
    line("CompanyName:", row.company.as_deref())?;
    line("ProductName:", row.product.as_deref())?;
    line("FileVersion:", row.file_version.as_deref())?;
    line("FileDescription:", row.file_description.as_deref())?;
    line("Identity:", row.identity_note.as_deref())?;
    match row.unloaded {
        true => line("Unloaded:", row.unloaded_at.as_deref()),
        false => line("Linked:", Some(&row.stamp)),
    }
}
