//! `symbols` as text.

use std::io::{self, Write};

use super::{Row, Symbols};

pub(super) fn write(answer: &Symbols, out: &mut dyn Write) -> io::Result<()> {
    if answer.symbols.is_empty() {
        return writeln!(out, "No PDB is named in this dump.");
    }
    for row in &answer.symbols {
        row.describe(out)?;
        writeln!(out)?;
    }
    writeln!(out, "Symbols of nt come from: {}", answer.answering)?;
    if answer.symbols.iter().all(|r| r.found.is_some()) {
        return Ok(());
    }
    match answer.servers.as_slice() {
        [] => writeln!(
            out,
            "The symbol path names no server; a file can also be in any directory that --symbols \
                names."
        ),
        servers => writeln!(
            out,
            "Servers on the symbol path: {}; --download asks them.",
            servers.join(", ")
        ),
    }
}

impl Row {
    fn describe(&self, out: &mut dyn Write) -> io::Result<()> {
        let none = "none: the name in the dump is not a valid file name";
        writeln!(out, "Module         {}", self.module)?;
        writeln!(out, "File           {}", self.file)?;
        writeln!(out, "Identity       {}, age {}", self.guid, self.age)?;
        writeln!(
            out,
            "Fetch          {}",
            self.url.as_deref().unwrap_or(none)
        )?;
        let anywhere = "any directory that --symbols names";
        let place = self.place.as_deref().unwrap_or(anywhere);
        writeln!(out, "Put it at      {place}")?;
        writeln!(out, "Found          {}", self.state())
    }
}
