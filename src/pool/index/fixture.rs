//! Small indexes for tests, built without a dump.

use std::sync::Arc;

use crate::memory::Va;
use crate::pool::big::{BigBlock, BigTable};
use crate::pool::block::{Backend, Block, PoolKind, State};
use crate::pool::tag::Tag;

use super::{Collector, Owner, Snapshot, WINDOW};

/// Size of every large block in bytes.
pub const BIG_BYTES: u64 = 0x10_0010;
const FIRST: Va = Va(0xffff_8a00_0000_0000);

/// Address of the large block of a window.
pub fn big_at(window: u64) -> Va {
    FIRST.add(window * WINDOW + 0x80_0000)
}

/// A small allocated block.
pub fn small(base: Va, offset: u64, bytes: u64, tag: Tag) -> Block {
    Block {
        va: base.add(offset),
        bytes,
        tag,
        protected: false,
        kind: PoolKind::Paged,
        backend: Backend::Vs,
        state: State::Allocated,
        session: None,
        heuristic: false,
    }
}

/// Windows of the system's pool with `count` small blocks each, with seven tags, nine sizes and
/// every state, and a large block with the tag `Big`.
pub fn index(windows: u64, count: u64) -> Snapshot {
    let large = |i| BigBlock {
        va: big_at(i),
        bytes: BIG_BYTES,
        key: Tag::of("Big ").unwrap().value(),
        kind: PoolKind::NonPaged,
    };
    let blocks: Vec<BigBlock> = (0..windows).map(large).collect();
    let owner = Arc::new(Owner {
        session: None,
        big: Arc::new(BigTable {
            blocks: blocks.clone(),
            ..BigTable::default()
        }),
    });
    let segment = |(i, large): (usize, &BigBlock)| {
        let base = FIRST.add(i as u64 * WINDOW);
        let states = [State::Allocated, State::Lookaside, State::Free];
        let mut all: Vec<Block> = (0..count)
            .map(|n| Block {
                state: states[n as usize % 3],
                ..small(
                    base,
                    n * 0x200,
                    0x20 + (n * n + i as u64) % 9 * 0x10,
                    Tag::of(&format!("Aa{}0", n % 7)).unwrap(),
                )
            })
            .collect();
        all.push(large.block());
        Arc::new(Collector::all(base, Arc::clone(&owner), &all).0)
    };
    Snapshot {
        segments: blocks.iter().enumerate().map(segment).collect(),
        ..Snapshot::default()
    }
}
