//! `modules` as text.

use std::io::{self, Write};

use super::Modules;

/// Writes it.
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
            true => writeln!(out, "{start} {end}   {}", row.name)?,
        }
    }
    Ok(())
}
