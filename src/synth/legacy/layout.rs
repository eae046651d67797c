//! Assigns every block of a pool to a page, and addresses to the pages.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use crate::addr::{PAGE_SIZE, Va};
use crate::synth::rng::Rng;
use crate::synth::truth::Pool;

use super::UNIT;
use super::allocation::{Allocation, Outcome, Role};

/// Pages of a 2 MB mapping.
pub const LARGE_PAGES: u64 = 512;

/// The requested shape of a pool.
#[derive(Clone, Debug)]
pub struct PoolShape {
    /// The pool.
    pub pool: Pool,
    /// Its first address, 2 MB aligned.
    pub start: Va,
    /// Total number of pages; `None` for as many as the blocks need.
    pub pages: Option<u64>,
    /// Number of 2 MB mappings at its start.
    pub large: u64,
    /// Number of small pages in them, limited by their size; the rest of them stays unused.
    pub early: u64,
    /// Number of small pages mapped by transition entries.
    pub transition: u64,
    /// Number of small pages mapped through a prototype entry.
    pub prototype: u64,
    /// Number of small pages in the page file.
    pub paged_out: u64,
    /// Number of small pages omitted from kernel dumps.
    pub omitted: u64,
    /// Number of big allocations in the page file.
    pub paged_out_big: u64,
    /// Number of small pages with a broken header.
    pub damaged: u64,
}

impl PoolShape {
    /// A pool without special pages.
    pub fn new(pool: Pool, start: Va) -> PoolShape {
        PoolShape {
            pool,
            start,
            pages: None,
            large: 0,
            early: u64::MAX,
            transition: 0,
            prototype: 0,
            paged_out: 0,
            omitted: 0,
            paged_out_big: 0,
            damaged: 0,
        }
    }
}

/// The state of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageOutcome {
    /// Mapped.
    Valid,
    /// Mapped by a transition entry.
    Transition,
    /// Mapped through a prototype entry.
    Prototype,
    /// In the page file.
    PagedOut,
    /// Mapped, but omitted from kernel dumps.
    Omitted,
    /// Mapped, with a broken chain.
    Damaged,
}

/// A page, or the rest of a big allocation's last page, and its blocks.
#[derive(Clone, Debug)]
pub struct Bin {
    /// The page.
    pub va: Va,
    /// Offset of its first block in bytes: 0, or the end of the big allocation.
    pub start: u64,
    /// Indexes of its allocations, in address order.
    pub blocks: Vec<u32>,
    /// Its state.
    pub outcome: PageOutcome,
    fill: u64,
}

impl Bin {
    /// True for a whole page.
    pub fn is_whole(&self) -> bool {
        self.start == 0
    }
}

/// The position of a big allocation.
#[derive(Clone, Copy, Debug)]
pub struct BigPlace {
    /// Index of the allocation.
    pub allocation: u32,
    /// Its first page.
    pub va: Va,
    /// Number of pages.
    pub pages: u64,
    /// True when it is in the page file, except a last page that it shares.
    pub paged_out: bool,
}

/// All positions.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The shape that was requested.
    pub shape: PoolShape,
    /// Pages of small blocks, and remainders of last pages.
    pub bins: Vec<Bin>,
    /// Big allocations.
    pub bigs: Vec<BigPlace>,
    /// The first address after everything.
    pub end: Va,
}

impl Layout {
    /// Number of pages with small blocks.
    pub fn small_pages(&self) -> u64 {
        self.bins.iter().filter(|b| b.is_whole()).count() as u64
    }

    /// Number of pages of big allocations.
    pub fn big_pages(&self) -> u64 {
        self.bigs.iter().map(|b| b.pages).sum()
    }

    /// Places the allocations of one pool.
    ///
    /// # Errors
    /// Fails if they do not fit in the pages that the shape allows.
    pub fn place(
        shape: PoolShape,
        allocations: &[Allocation],
        rng: &mut Rng,
    ) -> io::Result<Layout> {
        let own = |d: &&(usize, &Allocation)| d.1.pool == shape.pool;
        let all: Vec<(usize, &Allocation)> = allocations.iter().enumerate().collect();
        let mut bigs: Vec<u32> = Vec::new();
        let mut smalls: Vec<u32> = Vec::new();
        for (i, allocation) in all.iter().filter(own) {
            match allocation.is_big() {
                true => bigs.push(*i as u32),
                false => smalls.push(*i as u32),
            }
        }
        let bytes = |i: u32| allocations.get(i as usize).map_or(0, |d| d.bytes);
        let big_pages: u64 = bigs.iter().map(|&i| bytes(i).div_ceil(PAGE_SIZE)).sum();
        let small_bytes: u64 = smalls.iter().map(|&i| bytes(i)).sum();
        let small_pages = match shape.pages {
            Some(pages) => pages
                .checked_sub(big_pages)
                .ok_or_else(|| too_small(&shape))?,
            None => (small_bytes + small_bytes / 8).div_ceil(PAGE_SIZE),
        };
        rng.shuffle(&mut bigs);
        let mut layout = lay_addresses(shape, &bigs, &bytes, small_pages, rng);
        layout.fill(&smalls, allocations, rng)?;
        layout.pick_outcomes(allocations, rng);
        Ok(layout)
    }

    /// Repeatedly puts the largest block into the emptiest page, so that all get about equally
    /// full.
    fn fill(
        &mut self,
        smalls: &[u32],
        allocations: &[Allocation],
        rng: &mut Rng,
    ) -> io::Result<()> {
        let bytes = |i: u32| allocations.get(i as usize).map_or(0, |d| d.bytes);
        let mut order = smalls.to_vec();
        rng.shuffle(&mut order);
        order.sort_by_key(|&i| Reverse(bytes(i)));
        // Different initial values make pages differ; half of the remainders of last pages stay
        // unused.
        let mut heap: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
        for (at, bin) in self.bins.iter().enumerate() {
            if bin.is_whole() || rng.one_in(2) {
                heap.push(Reverse((bin.fill + rng.below(16) * UNIT, at)));
            }
        }
        for i in order {
            let size = bytes(i);
            let mut aside = Vec::new();
            loop {
                let Some(Reverse((virtual_fill, at))) = heap.pop() else {
                    return Err(too_small(&self.shape));
                };
                let Some(bin) = self.bins.get_mut(at) else {
                    continue;
                };
                if bin.fill + size > PAGE_SIZE {
                    aside.push(Reverse((virtual_fill, at)));
                    continue;
                }
                bin.fill += size;
                bin.blocks.push(i);
                heap.push(Reverse((virtual_fill + size, at)));
                break;
            }
            heap.extend(aside);
        }
        for bin in &mut self.bins {
            rng.shuffle(&mut bin.blocks);
        }
        if self
            .bins
            .iter()
            .any(|b| b.is_whole() && b.blocks.is_empty())
        {
            return Err(io::Error::other("a pool page was left without a block"));
        }
        Ok(())
    }

    /// Chooses pages for the requested states, among pages without a block that has a role.
    fn pick_outcomes(&mut self, allocations: &[Allocation], rng: &mut Rng) {
        let large_end = self
            .shape
            .start
            .add(self.shape.large * LARGE_PAGES * PAGE_SIZE);
        let plain = |i: &u32| {
            let allocation = allocations.get(*i as usize);
            allocation.is_some_and(|d| d.role == Role::Filler && d.outcome == Outcome::Live)
        };
        let mut free: Vec<usize> = (0..self.bins.len())
            .filter(|&at| {
                self.bins.get(at).is_some_and(|b| {
                    b.is_whole() && b.va >= large_end && b.blocks.iter().all(plain)
                })
            })
            .collect();
        rng.shuffle(&mut free);
        let wanted = [
            (self.shape.transition, PageOutcome::Transition),
            (self.shape.prototype, PageOutcome::Prototype),
            (self.shape.paged_out, PageOutcome::PagedOut),
            (self.shape.omitted, PageOutcome::Omitted),
            (self.shape.damaged, PageOutcome::Damaged),
        ];
        for (count, outcome) in wanted {
            // Damage is only recognisable between valid blocks.
            let blocks = if outcome == PageOutcome::Damaged {
                10
            } else {
                1
            };
            for _ in 0..count {
                let enough = |at: &usize| {
                    let bin = self.bins.get(*at);
                    bin.is_some_and(|b| b.blocks.len() >= blocks)
                };
                let Some(chosen) = free.iter().rposition(enough) else {
                    continue;
                };
                let at = free.swap_remove(chosen);
                if let Some(bin) = self.bins.get_mut(at) {
                    bin.outcome = outcome;
                }
            }
        }
        let mut left = self.shape.paged_out_big;
        for big in &mut self.bigs {
            if left > 0 && plain(&big.allocation) {
                big.paged_out = true;
                left -= 1;
            }
        }
    }
}

fn too_small(shape: &PoolShape) -> io::Error {
    io::Error::other(format!(
        "the blocks of the {:?} pool do not fit its {:?} pages",
        shape.pool, shape.pages
    ))
}

/// Assigns addresses to pages: first to small pages, as many as the large mappings hold, then
/// to big allocations with small pages between them.
fn lay_addresses(
    shape: PoolShape,
    bigs: &[u32],
    bytes: &dyn Fn(u32) -> u64,
    small_pages: u64,
    rng: &mut Rng,
) -> Layout {
    let early = (shape.large * LARGE_PAGES)
        .min(shape.early)
        .min(small_pages);
    let mut out = Layout {
        bins: Vec::with_capacity(small_pages as usize),
        bigs: Vec::with_capacity(bigs.len()),
        end: shape.start,
        shape,
    };
    let mut next = out.shape.start;
    for _ in 0..early {
        next = out.small(next);
    }
    next = next.max(
        out.shape
            .start
            .add(out.shape.large * LARGE_PAGES * PAGE_SIZE),
    );
    let mut left = small_pages - early;
    for (n, &allocation) in bigs.iter().enumerate() {
        let here = left / (bigs.len() - n + 1) as u64;
        for _ in 0..here {
            next = out.small(next);
        }
        left -= here;
        next = out.big(next, allocation, bytes(allocation));
        // Some address space between allocations stays unused.
        if rng.one_in(16) {
            next = next.add((1 + rng.below(3)) * PAGE_SIZE);
        }
    }
    for _ in 0..left {
        next = out.small(next);
    }
    out.end = next;
    out
}

impl Layout {
    fn small(&mut self, va: Va) -> Va {
        self.bin(va, 0);
        va.add(PAGE_SIZE)
    }

    fn big(&mut self, va: Va, allocation: u32, bytes: u64) -> Va {
        let pages = bytes.div_ceil(PAGE_SIZE);
        self.bigs.push(BigPlace {
            allocation,
            va,
            pages,
            paged_out: false,
        });
        let inside = bytes % PAGE_SIZE;
        if inside != 0 {
            self.bin(va.add((pages - 1) * PAGE_SIZE), inside);
        }
        va.add(pages * PAGE_SIZE)
    }

    fn bin(&mut self, va: Va, start: u64) {
        let marker = if start == 0 { 0 } else { UNIT };
        self.bins.push(Bin {
            va,
            start,
            blocks: Vec::new(),
            outcome: PageOutcome::Valid,
            fill: start + marker,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::spec::NONPAGED_START;

    fn allocations() -> Vec<Allocation> {
        let small = (0..500).map(|i| 0x20 + i % 40 * 0x20);
        let big = [0x3000, 0x5010, 0x1ff0];
        small
            .chain(big)
            .map(|bytes| Allocation::new(*b"Test", Pool::NonPaged, bytes))
            .collect()
    }

    #[test]
    fn a_pool_uses_exactly_the_given_pages() -> io::Result<()> {
        let mut shape = PoolShape::new(Pool::NonPaged, NONPAGED_START);
        shape.pages = Some(100);
        let layout = Layout::place(shape, &allocations(), &mut Rng::new(5))?;
        assert_eq!((layout.big_pages(), layout.small_pages()), (3 + 6 + 2, 89));
        let placed: usize = layout.bins.iter().map(|b| b.blocks.len()).sum();
        assert_eq!((placed, layout.bigs.len()), (500, 3));
        let mut pages: Vec<Va> = layout.bins.iter().map(|b| b.va).collect();
        pages.sort();
        pages.dedup();
        assert_eq!(pages.len(), layout.bins.len(), "no page twice");
        Ok(())
    }

    #[test]
    fn too_few_pages_are_an_error() {
        let mut shape = PoolShape::new(Pool::NonPaged, NONPAGED_START);
        for pages in [5, 60] {
            shape.pages = Some(pages);
            assert!(Layout::place(shape.clone(), &allocations(), &mut Rng::new(5)).is_err());
        }
    }
}
