//! Pool pages by the million: a few dozen patterns of blocks, repeated.
//!
//! The pages are generated while a dump is written, so a dump of many gigabytes needs no
//! memory. Their blocks are known in advance, so that the trackers count them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::addr::{PAGE_SIZE, Va};
use crate::synth::paging::Memory;
use crate::synth::physical::Page;
use crate::synth::rng::Rng;
use crate::synth::truth::{Account, Pool, Tag};

use super::UNIT;
use super::page::{self, Piece, Types};

/// Number of different patterns.
const PATTERNS: usize = 64;

/// Pages of one pool with repeated patterns.
#[derive(Clone, Debug)]
pub struct Bulk {
    /// The pool.
    pub pool: Pool,
    /// Number of pages.
    pub pages: u64,
    patterns: Arc<Vec<(Page, Vec<Piece>)>>,
}

impl Bulk {
    /// Patterns of the given tags in random sizes, in full pages, with headers of Vista and
    /// later.
    pub fn new(pool: Pool, pages: u64, tags: &[Tag], seed: u64) -> Bulk {
        let mut rng = Rng::new(seed);
        let patterns = (0..PATTERNS)
            .map(|_| pattern(pool, tags, &mut rng))
            .collect();
        Bulk {
            pool,
            pages,
            patterns: Arc::new(patterns),
        }
    }

    /// Number of pages with the nth pattern.
    fn repeats(&self, nth: usize) -> u64 {
        let count = self.patterns.len() as u64;
        self.pages / count + u64::from((nth as u64) < self.pages % count)
    }

    /// Blocks in use and their bytes, by tag.
    pub fn accounts(&self) -> BTreeMap<Tag, Account> {
        let mut out: BTreeMap<Tag, Account> = BTreeMap::new();
        for (nth, (_, pieces)) in self.patterns.iter().enumerate() {
            let repeats = self.repeats(nth);
            for piece in pieces.iter().filter(|p| p.allocation.is_some()) {
                *out.entry(piece.tag).or_default() += Account {
                    blocks: repeats,
                    bytes: repeats * piece.bytes,
                };
            }
        }
        out
    }

    /// Free blocks and their bytes.
    pub fn free(&self) -> Account {
        let mut out = Account::default();
        for (nth, (_, pieces)) in self.patterns.iter().enumerate() {
            let repeats = self.repeats(nth);
            for piece in pieces.iter().filter(|p| p.is_free()) {
                out += Account {
                    blocks: repeats,
                    bytes: repeats * piece.bytes,
                };
            }
        }
        out
    }

    /// Maps the pages from address `va`.
    pub fn lay(&self, memory: &mut Memory, va: Va) {
        let first = memory.map_new(va, self.pages);
        let patterns = Arc::clone(&self.patterns);
        let make = move |at: u64, page: &mut Page| {
            if let Some((pattern, _)) = patterns.get((at % PATTERNS as u64) as usize) {
                page.copy_from_slice(pattern);
            }
            // Make every page unique, so that a file system does not deduplicate them. The last
            // field of the first header contains leftover data anyway.
            if let Some(to) = page.get_mut(8..16) {
                to.copy_from_slice(&at.to_le_bytes());
            }
        };
        memory.physical.generate(first, self.pages, Arc::new(make));
    }
}

fn pattern(pool: Pool, tags: &[Tag], rng: &mut Rng) -> (Page, Vec<Piece>) {
    let mut used = Vec::new();
    let mut left = PAGE_SIZE - 0x200;
    while left >= 0x20 {
        let largest = if rng.one_in(4) { 0x800 } else { 0x120 };
        let bytes = ((0x20 + rng.below(largest)) & !(UNIT - 1)).min(left & !(UNIT - 1));
        let tag = tags.get(rng.below(tags.len() as u64) as usize);
        let tag = tag.copied().unwrap_or(*b"Bulk");
        used.push(Piece::used(bytes, tag, rng.one_in(10), 0));
        left -= bytes;
    }
    let pieces = page::compose(&used, 0, rng);
    let mut bytes = [0u8; PAGE_SIZE as usize];
    for byte in &mut bytes {
        *byte = rng.bits() as u8;
    }
    page::write(&mut bytes, 0, &pieces, (Types::Vista, pool, 0), rng);
    (bytes, pieces)
}
