//! The use of the pages of small blocks: blocks and bytes of each 4 KB page. This shows pages
//! that a single remaining block keeps allocated.

use rayon::prelude::*;

use crate::memory::{PAGE_SIZE, Va};
use crate::pool::block::{Backend, Block, PoolKind, State};

use super::Snapshot;
use super::segment::{Segment, WINDOW};
use super::sort::Wanted;

/// A page with small blocks in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageUse {
    /// Address of its first byte.
    pub va: Va,
    /// The session, for session pool.
    pub session: Option<u32>,
    /// The pool.
    pub kind: PoolKind,
    /// Number of allocated blocks that start in it.
    pub blocks: u32,
    /// Bytes in it of allocated blocks, including large ones.
    pub used: u32,
    /// Bytes in it of freed blocks that are kept for reuse.
    pub parked: u32,
}

impl PageUse {
    /// Bytes in it that belong to no listed block: free, or used by the allocator itself.
    pub fn free(&self) -> u32 {
        (PAGE_SIZE as u32).saturating_sub(self.used + self.parked)
    }
}

impl Snapshot {
    /// The pages with small blocks or parts of them: the system's in address order, then each
    /// session's. Excludes pages of large allocations only. `None` if cancelled.
    pub fn page_use(&self, wanted: Wanted<'_>) -> Option<Vec<PageUse>> {
        let pages: Option<Vec<Vec<PageUse>>> = self
            .segments
            .par_iter()
            .map(|segment| wanted().then(|| pages(segment)))
            .collect();
        Some(pages?.concat())
    }
}

/// The pages of a window.
fn pages(segment: &Segment) -> Vec<PageUse> {
    // Blocks are grouped by tag, so the same pages come up repeatedly: index them by position.
    let mut pages: Vec<PageUse> = Vec::new();
    let first = segment.base.page();
    let last = Va(segment.base.0 | (WINDOW - 1));
    for (tag, words) in segment.by_tag() {
        for &word in words {
            let block = segment.block(tag, word);
            if block.backend != Backend::Big {
                add(&mut pages, (first, last), &block);
            }
        }
    }
    pages.retain(|p| p.used + p.parked > 0);
    for page in &mut pages {
        page.session = segment.session();
        let large = large_bytes(segment, page.va);
        page.used = (page.used + large).min(PAGE_SIZE as u32);
    }
    pages
}

/// Adds the part of a block between two addresses.
fn add(pages: &mut Vec<PageUse>, (first, last): (Va, Va), block: &Block) {
    let start = block.va.0.saturating_sub(first.0);
    // Only a damaged block extends into another window.
    let window = (last.0 - first.0).saturating_add(1);
    let end = start.saturating_add(block.bytes).min(window);
    let mut at = start;
    while at < end {
        let index = (at / PAGE_SIZE) as usize;
        let stop = end.min((at / PAGE_SIZE + 1) * PAGE_SIZE);
        while pages.len() <= index {
            pages.push(PageUse {
                va: first.add(pages.len() as u64 * PAGE_SIZE),
                session: None,
                kind: block.kind,
                blocks: 0,
                used: 0,
                parked: 0,
            });
        }
        if let Some(page) = pages.get_mut(index) {
            // A page between two others was added with the pool of the first block.
            page.kind = block.kind;
            // Overlapping blocks in a damaged dump are limited to a page.
            let room = PAGE_SIZE as u32 - page.used - page.parked;
            let bytes = room.min((stop - at) as u32);
            match block.state {
                State::Allocated => {
                    page.used += bytes;
                    page.blocks += u32::from(at == start);
                }
                _ => page.parked += bytes,
            }
        }
        at = stop;
    }
}

/// Bytes at the start of a page that belong to the end of a large allocation.
fn large_bytes(segment: &Segment, page: Va) -> u32 {
    let holding = segment.owner().big.holding(page);
    holding.map_or(0, |b| (b.end() - page.0).min(PAGE_SIZE) as u32)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pool::Tag;
    use crate::pool::index::{Collector, Owner, fixture};

    const BASE: Va = Va(0xffff_8a00_0000_0000);

    fn snapshot(windows: &[(Va, &[Block])]) -> Snapshot {
        let segment = |(base, blocks): &(Va, &[Block])| {
            Arc::new(Collector::all(*base, Arc::new(Owner::default()), blocks).0)
        };
        Snapshot {
            segments: windows.iter().map(segment).collect(),
            ..Snapshot::default()
        }
    }

    fn block(offset: u64, bytes: u64, state: State) -> Block {
        Block {
            state,
            ..fixture::small(BASE, offset, bytes, Tag::of("Test").unwrap())
        }
    }

    #[test]
    fn blocks_count_in_every_page_they_touch() {
        let blocks = [
            block(0x000, 0x100, State::Allocated),
            block(0x100, 0x40, State::Lookaside),
            block(0xf00, 0x1200, State::Allocated),
            block(0x5000, 0x20, State::Allocated),
        ];
        let index = snapshot(&[(BASE, &blocks)]);
        let pages = index.page_use(&|| true).unwrap();
        let got: Vec<_> = pages
            .iter()
            .map(|p| (p.va.0 - BASE.0, p.blocks, p.used, p.parked, p.free()))
            .collect();
        assert_eq!(
            got,
            [
                (0, 2, 0x200, 0x40, 0xdc0),
                (0x1000, 0, 0x1000, 0, 0),
                (0x2000, 0, 0x100, 0, 0xf00),
                (0x5000, 1, 0x20, 0, 0xfe0),
            ]
        );
        assert_eq!(index.page_use(&|| false), None);
    }

    #[test]
    fn windows_are_in_order_and_a_block_ends_with_its_window() {
        let last = [block(WINDOW - 0x10, 0x110, State::Allocated)];
        let next = Va(BASE.0 + WINDOW);
        let behind = [block(WINDOW + 0x200, 0x30, State::Allocated)];
        let index = snapshot(&[(BASE, &last), (next, &behind)]);
        let pages = index.page_use(&|| true).unwrap();
        assert_eq!(pages.len(), 2);
        assert_eq!((pages[0].used, pages[0].blocks), (0x10, 1));
        assert_eq!((pages[1].va, pages[1].used), (next, 0x30));
    }

    #[test]
    fn the_end_of_a_large_block_is_not_free() {
        // One large block of a page and a half, and a small one in the rest.
        let index = fixture::index(1, 2);
        let rest = Va(fixture::big_at(0).0 + 0x10_0000);
        let small = fixture::small(rest, 0x800, 0x40, Tag::of("Test").unwrap());
        let base = index.segments[0].base;
        let owner = Arc::clone(index.segments[0].owner());
        let (one, _) = Collector::all(base, owner, &[small]);
        let index = Snapshot {
            segments: [Arc::new(one)].into(),
            ..Snapshot::default()
        };
        let pages = index.page_use(&|| true).unwrap();
        assert_eq!(pages.len(), 1);
        let tail = (fixture::BIG_BYTES - 0x10_0000) as u32;
        assert_eq!((pages[0].used, pages[0].blocks), (tail + 0x40, 1));
    }
}
