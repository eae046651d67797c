//! Converts rows of an evidence file to answers, blocks and bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::engine::OpenError;
use crate::evidence::archive::Stored;
use crate::evidence::cell::tag_of;
use crate::evidence::read::{self, Row, place};
use crate::evidence::rows::va_of;
use crate::evidence::schema::{ANSWERS, BLOCKS};
use crate::memory::Va;
use crate::pool::big::{BigBlock, BigTable};
use crate::pool::block::{Backend, Block, PoolKind, State};
use crate::pool::index::{Collector, Owner, Segment, WINDOW};

use super::{LARGEST_COUNT, MOST_ANSWERS, damaged, refused};

/// Parses hexadecimal text into bytes; `??` and invalid digits become `None`.
pub(super) fn unhex(text: &str) -> Vec<Option<u8>> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| {
            let digits = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(digits, 16).ok()
        })
        .collect()
}

pub(super) fn answers(file: &mut Stored) -> Result<FxHashMap<(String, String), String>, OpenError> {
    let mut out = FxHashMap::default();
    let bytes = file.table(&ANSWERS).map_err(refused)?;
    let bytes = bytes.ok_or_else(|| damaged("it has no answers"))?;
    let at = |name| place(&ANSWERS, name);
    let (answer, key, json) = (at("answer"), at("key"), at("json"));
    let read = read::read(&ANSWERS, bytes, MOST_ANSWERS, |batch| {
        for row in batch.rows() {
            let parts = (row.text(answer), row.text(key), row.text(json));
            if let (Some(answer), Some(key), Some(json)) = parts {
                let json = match answer {
                    // Reports are stored verbatim.
                    "diagnose" | "drivers" => serde_json::from_str(json).unwrap_or_default(),
                    _ => json.to_owned(),
                };
                out.insert((answer.to_owned(), key.to_owned()), json);
            }
        }
        Ok(())
    });
    read.map_err(damaged)?;
    Ok(out)
}

/// The indexes of the columns of the blocks table.
pub(super) struct BlockColumns {
    tag: usize,
    address: usize,
    size: usize,
    pool: usize,
    backend: usize,
    state: usize,
    session: usize,
    heuristic: usize,
    protected: usize,
}

impl BlockColumns {
    pub(super) fn new() -> BlockColumns {
        let at = |name| place(&BLOCKS, name);
        BlockColumns {
            tag: at("tag_hex"),
            address: at("address"),
            size: at("size"),
            pool: at("pool"),
            backend: at("backend"),
            state: at("state"),
            session: at("session"),
            heuristic: at("heuristic"),
            protected: at("protected"),
        }
    }

    pub(super) fn block(&self, row: Row<'_>) -> Option<Block> {
        let pools = [
            PoolKind::NonPaged,
            PoolKind::NonPagedNx,
            PoolKind::Paged,
            PoolKind::Session,
        ];
        let backends = [
            Backend::Legacy,
            Backend::Vs,
            Backend::Lfh,
            Backend::Big,
            Backend::Special,
        ];
        let states = [State::Allocated, State::Lookaside, State::Free];
        let (pool, backend, state) = (
            row.text(self.pool)?,
            row.text(self.backend)?,
            row.text(self.state)?,
        );
        Some(Block {
            va: va_of(row.int(self.address)?),
            bytes: row.count(self.size).filter(|n| *n < LARGEST_COUNT)?,
            tag: row.text(self.tag).and_then(tag_of)?,
            protected: row.bool(self.protected).unwrap_or(false),
            kind: pools.into_iter().find(|k| k.word() == pool)?,
            backend: backends.into_iter().find(|b| b.word() == backend)?,
            state: states.into_iter().find(|s| s.word() == state)?,
            session: row.count(self.session).and_then(|s| u32::try_from(s).ok()),
            heuristic: row.bool(self.heuristic).unwrap_or(false),
        })
    }
}

/// Groups blocks by session and address window.
#[derive(Default)]
pub(super) struct Windows {
    gathered: BTreeMap<(Option<u32>, u64), Collector>,
    large: BTreeMap<Option<u32>, BTreeMap<Va, BigBlock>>,
}

impl Windows {
    pub(super) fn take(&mut self, block: Block) {
        let base = block.va.0 / WINDOW * WINDOW;
        let window = self.gathered.entry((block.session, base)).or_default();
        window.push(Va(base), &block);
        if block.backend == Backend::Big {
            let large = BigBlock {
                va: block.va,
                bytes: block.bytes,
                key: block.tag.value(),
                kind: block.kind,
            };
            let of_session = self.large.entry(block.session).or_default();
            of_session.insert(block.va, large);
        }
    }

    pub(super) fn finish(mut self) -> Vec<Arc<Segment>> {
        let mut owners: BTreeMap<Option<u32>, Arc<Owner>> = BTreeMap::new();
        let mut out = Vec::with_capacity(self.gathered.len());
        for ((session, base), mut window) in self.gathered {
            let large = &mut self.large;
            let owner = owners.entry(session).or_insert_with(|| {
                let blocks = large.remove(&session).unwrap_or_default();
                let big = BigTable {
                    blocks: blocks.into_values().collect(),
                    ..BigTable::default()
                };
                Arc::new(Owner {
                    session,
                    big: Arc::new(big),
                })
            });
            window.sort(Va(base));
            out.push(Arc::new(window.segment(Va(base), Arc::clone(owner))));
        }
        out
    }
}
