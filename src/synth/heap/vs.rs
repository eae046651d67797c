//! VS subsegments: contiguous chunks of any size, each with an encoded header.
//!
//! A block's POOL_HEADER is at the start of its chunk's body. If it would be in the last unit
//! of a page, or if the block would extend well across a page boundary, it is at the start of
//! the next page. Allocations of a page and more have no POOL_HEADER; they start at the first
//! page boundary in their chunk.

use crate::addr::PAGE_SIZE;
use crate::synth::rng::Rng;

use super::UNIT;

/// Bytes that a block may extend across a page boundary without moving its header.
const OVERHANG: u64 = 0x40;
/// Size of the smallest free chunk in bytes: header and tree links.
const SMALLEST_FREE: u64 = 0x20;
/// Size in bytes below which a body's header may move to the next page.
const MOVES_BELOW: u64 = 0xff0;

/// The content of a chunk; offsets are relative to the subsegment's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing.
    Free,
    /// A block with its POOL_HEADER at an offset.
    Block {
        /// Index of the allocation.
        allocation: u32,
        /// Offset of the header.
        header: u64,
    },
    /// Whole pages that start at an offset.
    Pages {
        /// Index of the allocation.
        allocation: u32,
        /// Offset of the first page.
        data: u64,
    },
}

/// A chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Offset of its header.
    pub at: u64,
    /// Size in bytes, including the header.
    pub bytes: u64,
    /// The content.
    pub what: What,
    /// Unused bytes at the end.
    pub slack: u64,
}

/// A subsegment.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All chunks, in order.
    pub chunks: Vec<Chunk>,
    /// Offset after the last chunk.
    pub end: u64,
    /// Number of pages of the range: sometimes one more than needed, which is empty.
    pub pages: u64,
}

impl Plan {
    /// True for a page that is not committed: inside a free chunk, after its links.
    pub fn is_decommitted(&self, page: u64) -> bool {
        let (start, end) = (page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
        let empty = |c: &Chunk| {
            c.what == What::Free && c.at + SMALLEST_FREE <= start && end <= c.at + c.bytes
        };
        self.chunks.iter().any(empty)
    }
}

/// Places blocks (index of the allocation, bytes) in chunks after a header of `first` bytes.
/// See [`HeapShape::plain`](super::HeapShape::plain).
pub fn compose(blocks: &[(u32, u64)], first: u64, plain: bool, rng: &mut Rng) -> Plan {
    let mut composer = Composer {
        chunks: Vec::new(),
        plain,
        at: first,
    };
    for &(allocation, bytes) in blocks {
        if rng.one_in(10) {
            composer.free(SMALLEST_FREE + rng.below(40) * UNIT);
        } else if rng.one_in(40) {
            composer.free((3 + rng.below(3)) * PAGE_SIZE);
        }
        match bytes > super::super::legacy::LARGEST_SMALL {
            true => composer.pages(allocation, bytes, rng),
            false => composer.block(allocation, bytes, rng),
        }
    }
    composer.finish(rng)
}

struct Composer {
    chunks: Vec<Chunk>,
    plain: bool,
    at: u64,
}

impl Composer {
    fn push(&mut self, bytes: u64, what: What, slack: u64) {
        let at = self.at;
        self.chunks.push(Chunk {
            at,
            bytes,
            what,
            slack,
        });
        self.at += bytes;
    }

    /// Adds a free chunk, merged with a preceding free chunk.
    fn free(&mut self, bytes: u64) {
        match self.chunks.last_mut() {
            Some(last) if last.what == What::Free => {
                last.bytes += bytes;
                self.at += bytes;
            }
            _ => self.push(bytes, What::Free, 0),
        }
    }

    /// Adds free space so that the next chunk starts at an offset in a page.
    fn skip_to(&mut self, offset: u64) {
        let gap = offset.wrapping_sub(self.at) % PAGE_SIZE;
        match gap {
            0 => {}
            1..SMALLEST_FREE => self.free(gap + PAGE_SIZE),
            _ => self.free(gap),
        }
    }

    /// Adds whole pages, often directly after the chunk's header.
    fn pages(&mut self, allocation: u32, bytes: u64, rng: &mut Rng) {
        match rng.below(3) {
            _ if self.plain => self.skip_to(PAGE_SIZE - 2 * UNIT),
            0 => self.skip_to(PAGE_SIZE - 2 * UNIT),
            1 => self.skip_to(PAGE_SIZE - UNIT),
            _ => {}
        }
        let data = (self.at + UNIT).next_multiple_of(PAGE_SIZE);
        let chunk = data - self.at + bytes.next_multiple_of(UNIT);
        self.push(chunk, What::Pages { allocation, data }, 0);
    }

    fn block(&mut self, allocation: u32, bytes: u64, rng: &mut Rng) {
        if rng.one_in(12) {
            self.skip_to(PAGE_SIZE - 2 * UNIT);
        }
        loop {
            let body = self.at + UNIT;
            let offset = body % PAGE_SIZE;
            let next_page = body.next_multiple_of(PAGE_SIZE);
            let over = offset + bytes > PAGE_SIZE;
            let odd = offset == PAGE_SIZE - UNIT
                && !(OVERHANG < bytes && bytes < MOVES_BELOW - UNIT)
                || over && offset + bytes <= PAGE_SIZE + OVERHANG;
            let (header, slack) = if self.plain && odd {
                self.skip_to(0);
                continue;
            } else if offset == PAGE_SIZE - UNIT {
                (next_page, 0)
            } else if !over {
                let room = offset + bytes + UNIT <= PAGE_SIZE;
                (body, if room && rng.one_in(6) { UNIT } else { 0 })
            } else if offset + bytes <= PAGE_SIZE + OVERHANG {
                (body, 0)
            } else if PAGE_SIZE - offset + bytes < MOVES_BELOW && rng.one_in(2) {
                (next_page, 0)
            } else {
                self.skip_to(0);
                continue;
            };
            let chunk = header - self.at + bytes + slack;
            self.push(chunk, What::Block { allocation, header }, slack);
            return;
        }
    }

    /// Fills the last page, and sometimes adds another one.
    fn finish(mut self, rng: &mut Rng) -> Plan {
        self.skip_to(0);
        let spare = u64::from(rng.one_in(2));
        Plan {
            pages: self.at / PAGE_SIZE + spare,
            end: self.at,
            chunks: self.chunks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn chunks_are_contiguous_and_contain_their_blocks(sizes in proptest::collection::vec(2u64..700, 1..60), seed in any::<u64>()) {
            let blocks: Vec<(u32, u64)> = sizes.iter().enumerate().map(|(i, s)| (i as u32, s * UNIT)).collect();
            let plan = compose(&blocks, 0x30, seed % 2 == 0, &mut Rng::new(seed));
            let (mut at, mut held) = (0x30, 0);
            for chunk in &plan.chunks {
                prop_assert_eq!(chunk.at, at);
                at += chunk.bytes;
                let (allocation, start) = match chunk.what {
                    What::Free => continue,
                    What::Block { allocation, header } => (allocation, header),
                    What::Pages { allocation, data } => (allocation, data),
                };
                prop_assert_eq!(allocation, held);
                prop_assert!(start % PAGE_SIZE != PAGE_SIZE - UNIT, "no header in the last unit");
                prop_assert!(start >= chunk.at + UNIT && start + sizes[held as usize] * UNIT + chunk.slack == at);
                held += 1;
            }
            prop_assert_eq!(held as usize, sizes.len());
            prop_assert_eq!(plan.end, at);
            prop_assert!(plan.end.is_multiple_of(PAGE_SIZE) && plan.pages * PAGE_SIZE >= plan.end);
        }
    }
}
