//! A pool page, as `!pool` shows it.

mod csv;
mod markdown;
mod text;

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::Descriptions;
use crate::pool::PoolKind;
use crate::pool::page::{PageBlock, PoolPage};

use super::text::json_address;
use super::{Answer, tag_hex};

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
    /// True for a heuristic block; omitted otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    heuristic: bool,
}

impl<'a> Page<'a> {
    /// A report of a page.
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

/// The name of a pool as in the debugger's messages.
pub fn pool_name(kind: PoolKind) -> &'static str {
    match kind {
        PoolKind::NonPaged => "Nonpaged pool",
        PoolKind::NonPagedNx => "Nonpaged NX pool",
        PoolKind::Paged => "Paged pool",
        PoolKind::Session => "Paged session pool",
    }
}

impl Answer for Page<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        text::write(self, out)
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        csv::write(self, out)
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        markdown::write(self, out)
    }
}
