//! `refs` as text.

use std::io::{self, Write};

use super::super::text::dump_line;
use super::{Refs, verdict_line};

pub(super) fn write(answer: &Refs<'_>, out: &mut dyn Write) -> io::Result<()> {
    answer.places(out)?;
    if answer.references.is_empty() {
        writeln!(out, "no loaded image references {}", answer.tag)?;
    } else {
        answer.ranked(out)?;
    }
    if let Some(owner) = answer.owner_line() {
        writeln!(out, "{owner}")?;
    }
    if let Some(allocator) = &answer.allocator {
        writeln!(out, "allocator: {allocator}")?;
    }
    for candidate in &answer.default_tag_of {
        writeln!(out, "{}", candidate.reason)?;
    }
    for note in &answer.notes {
        writeln!(out, "{note}")?;
    }
    writeln!(out, "\n{}", answer.coverage())
}

impl Refs<'_> {
    fn places(&self, out: &mut dyn Write) -> io::Result<()> {
        for (row, r) in self.references.iter().zip(&self.found.found) {
            let bytes: Vec<Option<u8>> = (0..16).map(|i| r.bytes.get(i).copied()).collect();
            let section = row.section.as_deref().unwrap_or("section unknown");
            write!(
                out,
                "{}  {}+{} ({section})",
                dump_line(r.va, &bytes),
                row.module,
                row.offset
            )?;
            match &row.symbol {
                Some(symbol) => writeln!(out, " {symbol}")?,
                None => writeln!(out)?,
            }
            writeln!(out, "    {}", verdict_line(r))?;
            writeln!(out, "    {}", row.reason)?;
            if let Some(source) = &row.source {
                writeln!(out, "    source: {}:{}", source.file, source.line)?;
            }
            for line in row.disassembly.iter().flatten() {
                if line.gap {
                    writeln!(out, "        ...")?;
                }
                writeln!(out, "    {}", line.line())?;
            }
        }
        Ok(())
    }

    fn ranked(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\nstart             end                 module name")?;
        for module in &self.modules {
            writeln!(out, "{}", module.line())?;
            if let Some(identity) = &module.identity.phrase {
                writeln!(out, "    {identity}")?;
            }
            if let Some(note) = &module.note {
                writeln!(out, "    {note}")?;
            }
        }
        writeln!(out, "\nin the debugger:")?;
        writeln!(out, "    {}", self.search)?;
        let best = self.found.modules.first();
        let places = self.found.found.iter();
        let best_place = places
            .filter(|r| best.is_some_and(|m| m.module == r.module))
            .min_by_key(|r| (r.verdict.confidence.is_none(), r.verdict.confidence));
        match best_place {
            Some(place) if place.in_code => {
                writeln!(out, "    lm a {}; ub {}", place.va, place.va.add(4))
            }
            Some(place) => writeln!(out, "    lm a {}", place.va),
            None => Ok(()),
        }
    }
}
