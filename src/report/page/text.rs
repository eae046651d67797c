//! `page` as text.

use std::io::{self, Write};

use crate::memory::Va;
use crate::pool::block::{Backend, State};

use super::super::poolused::describe;
use super::super::text::plain_address;
use super::{Page, pool_name};

pub(super) fn write(answer: &Page<'_>, out: &mut dyn Write) -> io::Result<()> {
    let page = plain_address(answer.source.page);
    match answer.source.kind {
        Some(kind) => writeln!(out, "Pool page {page} region is {}", pool_name(kind))?,
        None => writeln!(out, "Pool page {page} region is Unknown")?,
    }
    for b in &answer.source.blocks {
        let (mark, star) = if b.holds_address {
            ('*', "*")
        } else {
            (' ', " ")
        };
        let address = plain_address(b.block.va);
        let tag = b.block.tag;
        match b.block.backend {
            Backend::Big => writeln!(
                out,
                "{mark}{address} : large page allocation, tag is {tag}, size is {:#x} bytes",
                b.block.bytes
            )?,
            _ => writeln!(
                out,
                "{mark}{address} size: {:>4x} previous size: {:>4x}  {} {star}{tag}{}",
                b.block.bytes,
                b.previous_bytes,
                state_name(b.block.state),
                if b.block.heuristic {
                    " (heuristic)"
                } else {
                    ""
                }
            )?,
        }
        if b.holds_address {
            // The format of newer debuggers; !poolused still has the older one.
            let remark =
                describe(answer.descriptions, tag).replacen(" , Binary: ", ", Binary : ", 1);
            writeln!(out, "\t\tPooltag {tag} : {remark}")?;
        }
    }
    if let Some(at) = answer.source.damaged_at {
        let at: Va = answer.source.page.add(at.into());
        writeln!(
            out,
            "the chain of blocks is damaged at {}",
            plain_address(at)
        )?;
    }
    Ok(())
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Allocated => "(Allocated)",
        State::Free => "(Free)     ",
        State::Lookaside => "(Lookaside)",
    }
}
