//! `allocs` as text.

use std::io::{self, Write};

use crate::engine::RegionFacts as Region;
use crate::pool::Tag;
use crate::pool::block::{Backend, Block, State};

use super::super::page::pool_name;
use super::super::text::{grouped, plain_address};
use super::{Allocs, sizes_line};

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
    match answer.0.pattern.exact() {
        Some(_) => under_headings(answer, &heading, out)?,
        None => {
            for region in &answer.0.regions {
                writeln!(out, "{}", searching(region, &heading))?;
            }
            writeln!(out)?;
            for block in answer.0.blocks() {
                writeln!(out, "{}", line(&block))?;
            }
        }
    }
    let s = answer.summary();
    write!(
        out,
        "\n{} allocations, {} bytes",
        grouped(s.allocations),
        grouped(s.bytes)
    )?;
    match s.heuristic_allocations {
        0 => writeln!(out)?,
        n => writeln!(
            out,
            "; heuristic: {} allocations, {} bytes",
            grouped(n),
            grouped(s.heuristic_bytes)
        )?,
    }
    if let Some(sizes) = sizes_line(&s.sizes, answer.0.summary.left_out == 0) {
        writeln!(out, "{sizes}")?;
    }
    s.notes.iter().try_for_each(|note| writeln!(out, "{note}"))
}

fn searching(region: &Region, heading: &str) -> String {
    let (start, end) = (plain_address(region.start), plain_address(region.end));
    let pool = pool_name(region.pool);
    format!("Searching {pool} ({start} : {end}) for {heading}")
}

/// Lists the blocks of one tag as the debugger does: large ones below the heading of the big page
/// table, the others below the heading of their region.
fn under_headings(answer: &Allocs<'_>, heading: &str, out: &mut dyn Write) -> io::Result<()> {
    let regions = &answer.0.regions;
    let place = |block: &Block| match block.backend {
        Backend::Big => None,
        _ => {
            let holds = |r: &&Region| block.va >= r.start && block.va < r.end;
            // Regions of different pools may overlap.
            let same = regions
                .iter()
                .position(|r| holds(&r) && r.pool == block.kind);
            Some(same.or_else(|| regions.iter().position(|r| holds(&r))))
        }
    };
    let mut write = |wanted: Option<Option<usize>>, before: &str| -> io::Result<()> {
        let mut before = Some(before).filter(|b| !b.is_empty());
        for block in answer.0.blocks().filter(|b| place(b) == wanted) {
            if let Some(before) = before.take() {
                writeln!(out, "{before}")?;
            }
            writeln!(out, "{}", line(&block))?;
        }
        match before {
            // Headings without blocks are also printed, because they show what was searched.
            Some(before) if before.starts_with('S') => writeln!(out, "{before}"),
            _ => Ok(()),
        }
    };
    write(None, "")?;
    for (at, region) in regions.iter().enumerate() {
        write(Some(Some(at)), &format!("{}\n", searching(region, heading)))?;
    }
    write(Some(None), "Outside the known regions:\n")
}

/// The tag in the form of the debugger's headings.
fn heading(exact: Option<Tag>) -> String {
    match exact {
        Some(tag) => format!("tag {:#x} ({tag})", tag.value()),
        None => "every tag that matches".into(),
    }
}

/// A row of `!poolfind`: the address and size of the block's body, without the header.
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
