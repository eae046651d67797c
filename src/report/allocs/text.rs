//! `allocs` as text.

use std::io::{self, Write};

use crate::pool::Tag;
use crate::pool::block::{Block, State};

use super::super::page::pool_name;
use super::super::text::plain_address;
use super::{Allocs, sizes_line};

/// Writes it.
pub(super) fn write(answer: &Allocs<'_>, out: &mut dyn Write) -> io::Result<()> {
    let heading = heading(answer.0.pattern.exact());
    match answer.0.big_table {
        Some((start, end)) => writeln!(
            out,
            "Scanning large pool allocation table for {heading} ({} : {})\n",
            plain_address(start),
            plain_address(end)
        )?,
        None => writeln!(out, "The large pool allocation table was not found\n")?,
    }
    for r in &answer.0.regions {
        let (start, end) = (plain_address(r.start), plain_address(r.end));
        let pool = pool_name(r.pool);
        writeln!(out, "Searching {pool} ({start} : {end}) for {heading}")?;
    }
    writeln!(out)?;
    for block in answer.0.blocks() {
        writeln!(out, "{}", line(&block))?;
    }
    let s = answer.summary();
    write!(out, "\n{} allocations, {} bytes", s.allocations, s.bytes)?;
    match s.heuristic_allocations {
        0 => writeln!(out)?,
        n => writeln!(out, "; heuristic: {n}, {} bytes", s.heuristic_bytes)?,
    }
    if let Some(sizes) = sizes_line(&s.sizes, answer.0.summary.left_out == 0) {
        writeln!(out, "{sizes}")?;
    }
    s.notes.iter().try_for_each(|note| writeln!(out, "{note}"))
}

/// The tag as the debugger's headings name it.
fn heading(exact: Option<Tag>) -> String {
    match exact {
        Some(tag) => format!("tag {:#x} ({tag})", tag.value()),
        None => "every tag that matches".into(),
    }
}

/// A row of `!poolfind`: the address and size that the owner sees, without the header.
fn line(b: &Block) -> String {
    let state = match b.state {
        State::Allocated => "",
        State::Lookaside => " (freed, on a lookaside list)",
        State::Free => " (free)",
    };
    let session = b.session.map(|s| format!(" of session {s}"));
    let doubt = if b.heuristic { " (heuristic)" } else { "" };
    format!(
        "{} : tag {}, size {:>#9x}, {}{}{state}{doubt}",
        plain_address(b.body()),
        b.tag,
        b.bytes.saturating_sub(b.header_bytes()),
        pool_name(b.kind),
        session.unwrap_or_default()
    )
}
