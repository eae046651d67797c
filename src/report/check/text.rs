//! `check` as text.

use std::io::{self, Write};

use super::{Check, shown};

pub(super) fn write(answer: &Check, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}\n", answer.summary())?;
    for input in &answer.unreadable {
        writeln!(out, "not readable  {}: {}", input.source, input.error)?;
    }
    for row in &answer.rules {
        writeln!(
            out,
            "{:<8} {}: {} {} {}, observed {}  [{}]",
            row.outcome,
            row.rule,
            row.subject(),
            row.limit,
            shown(&row.allowed, row.limit),
            shown(&row.observed, row.limit),
            row.source
        )?;
        if let Some(note) = &row.note {
            writeln!(out, "         {note}")?;
        }
    }
    Ok(())
}
