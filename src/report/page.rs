//! One page of pool, as `!pool` shows it.

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::Descriptions;
use crate::memory::Va;
use crate::pool::PoolKind;
use crate::pool::block::{Backend, State};
use crate::pool::page::{PageBlock, PoolPage};

use super::poolused::describe;
use super::text::{json_address, plain_address};
use super::{Answer, cell, csv_writer, tag_hex};

/// The answer of `pool`.
#[derive(Debug, Serialize)]
pub struct Page<'a> {
    page: String,
    region: Option<&'static str>,
    damaged_at: Option<String>,
    blocks: Vec<Row>,
    #[serde(skip)]
    source: &'a PoolPage,
    #[serde(skip)]
    descriptions: &'a Descriptions,
}

#[derive(Debug, Serialize)]
struct Row {
    address: String,
    size: u64,
    previous_size: u64,
    tag: String,
    tag_hex: String,
    pool: &'static str,
    backend: &'static str,
    state: &'static str,
    holds_address: bool,
    /// Recognised by its header alone; left away where that is not so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    heuristic: bool,
}

impl<'a> Page<'a> {
    /// Of a page.
    pub fn of(page: &'a PoolPage, descriptions: &'a Descriptions) -> Page<'a> {
        Page {
            page: json_address(page.page),
            region: page.kind.map(PoolKind::word),
            damaged_at: page
                .damaged_at
                .map(|at| json_address(page.page.add(at.into()))),
            blocks: page.blocks.iter().map(Row::of).collect(),
            source: page,
            descriptions,
        }
    }
}

impl Row {
    fn of(b: &PageBlock) -> Row {
        Row {
            address: json_address(b.block.va),
            size: b.block.bytes,
            previous_size: b.previous_bytes,
            tag: b.block.tag.to_string(),
            tag_hex: tag_hex(b.block.tag),
            pool: b.block.kind.word(),
            backend: b.block.backend.word(),
            state: b.block.state.word(),
            holds_address: b.holds_address,
            heuristic: b.block.heuristic,
        }
    }
}

/// The name of a pool in the debugger's sentences.
pub fn pool_name(kind: PoolKind) -> &'static str {
    match kind {
        PoolKind::NonPaged => "Nonpaged pool",
        PoolKind::NonPagedNx => "Nonpaged NX pool",
        PoolKind::Paged => "Paged pool",
        PoolKind::Session => "Paged session pool",
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Allocated => "(Allocated)",
        State::Free => "(Free)     ",
        State::Lookaside => "(Lookaside)",
    }
}

impl Answer for Page<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let page = plain_address(self.source.page);
        match self.source.kind {
            Some(kind) => writeln!(out, "Pool page {page} region is {}", pool_name(kind))?,
            None => writeln!(out, "Pool page {page} region is Unknown")?,
        }
        for b in &self.source.blocks {
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
                let remark = describe(self.descriptions, tag);
                writeln!(out, "\t\tPooltag {tag} : {remark}")?;
            }
        }
        if let Some(at) = self.source.damaged_at {
            let at: Va = self.source.page.add(at.into());
            writeln!(
                out,
                "the chain of blocks is damaged at {}",
                plain_address(at)
            )?;
        }
        Ok(())
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv_writer(out);
        csv.write_record([
            "address",
            "size",
            "previous_size",
            "tag",
            "tag_hex",
            "pool",
            "backend",
            "state",
            "holds_address",
        ])?;
        for row in &self.blocks {
            csv.write_record([
                row.address.clone(),
                row.size.to_string(),
                row.previous_size.to_string(),
                cell(&row.tag),
                row.tag_hex.clone(),
                row.pool.into(),
                row.backend.into(),
                row.state.into(),
                row.holds_address.to_string(),
            ])?;
        }
        csv.flush()
    }
}
