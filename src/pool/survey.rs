//! Finds pool regions by what their pages hold, on builds that keep no table of regions:
//! a page that is a whole chain of blocks with headers is pool, whatever the address.

use crate::kernel::Kernel;
use crate::memory::{CHUNK_SIZE, Chunk, MappedPage, Va};

use super::block::PoolKind;
use super::legacy::{self, Encoding, RawBlock, Rules, Verdict};

/// Bytes of addresses under one top-level entry: the grain of the kernel's regions.
const SLOT: u64 = 1 << 39;
/// The kernel half's first address and its number of slots.
const KERNEL_HALF: (u64, u64) = (0xffff_8000_0000_0000, 256);
/// Chunks of a slot that are looked into, spread evenly.
const CHUNKS: usize = 48;
/// Pages of a chunk that are looked at.
const PAGES: usize = 16;
/// Pages that must be chains of two blocks and more.
const PROOF: usize = 4;

/// A stretch of addresses with pool in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// First mapped address.
    pub start: Va,
    /// The first address behind the last mapped chunk.
    pub end: Va,
    /// What most of its blocks say of themselves.
    pub kind: PoolKind,
}

/// Looks into every slot of the kernel half. Slots side by side that hold the same kind
/// of pool are one region.
pub fn survey(kernel: &Kernel) -> Vec<Surveyed> {
    let (first, slots) = KERNEL_HALF;
    let mut out: Vec<Surveyed> = Vec::new();
    for slot in 0..slots {
        let start = Va(first + slot * SLOT);
        let last = Va(start.0 + (SLOT - 1));
        let chunks = kernel.space.mapped(start, last).chunks;
        let Some(kind) = kind_of(kernel, &chunks) else {
            continue;
        };
        let (Some(head), Some(tail)) = (chunks.first(), chunks.last()) else {
            continue;
        };
        let found = Surveyed {
            start: head.va,
            end: tail.va.add(CHUNK_SIZE),
            kind,
        };
        match out.last_mut() {
            Some(before) if before.kind == kind && found.start.0 - before.end.0 < SLOT => {
                before.end = found.end;
            }
            _ => out.push(found),
        }
    }
    out
}

/// The kind of pool that a sample of the pages holds; `None` when it is no pool.
fn kind_of(kernel: &Kernel, chunks: &[Chunk]) -> Option<PoolKind> {
    let step = chunks.len().div_ceil(CHUNKS).max(1);
    let (mut paged, mut nonpaged) = (0, 0);
    let rules = Rules {
        paged: None,
        encoding: Encoding::of_build(kernel.build),
    };
    let mut blocks: Vec<RawBlock> = Vec::new();
    for chunk in chunks.iter().step_by(step) {
        let mut seen = 0;
        kernel.space.chunk_pages(*chunk, |_, page| {
            let MappedPage::Bytes(bytes, _) = page else {
                return;
            };
            if seen == PAGES || !legacy::may_start_chain(bytes) {
                return;
            }
            seen += 1;
            blocks.clear();
            let verdict = legacy::walk_page(bytes, 0, rules, &mut blocks);
            let live = || blocks.iter().filter(|b| b.is_allocated());
            if verdict == Verdict::Pool && live().count() >= 2 {
                match live().all(RawBlock::is_paged) {
                    true => paged += 1,
                    false if live().any(RawBlock::is_paged) => {}
                    false => nonpaged += 1,
                }
            }
        });
    }
    match (paged, nonpaged) {
        (p, n) if p.max(n) < PROOF => None,
        (p, n) if p > n => Some(PoolKind::Paged),
        _ => Some(PoolKind::NonPaged),
    }
}
