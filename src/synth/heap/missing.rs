//! Removes pages from written subsegments, breaks chains, and determines the resulting state of
//! the blocks.

use std::collections::HashSet;

use crate::addr::{PAGE_SIZE, Va};
use crate::synth::legacy::PoolShape;
use crate::synth::paging::{Entry, Memory};
use crate::synth::rng::Rng;
use crate::synth::truth::{Pool, State};

/// A written subsegment.
#[derive(Clone, Debug)]
pub struct Subsegment {
    /// The pool.
    pub pool: Pool,
    /// Its committed pages.
    pub pages: Vec<Va>,
    /// True when none of its pages may be removed.
    pub kept: bool,
    /// Addresses of the chunk headers, in order; empty for LFH.
    pub chunks: Vec<Va>,
    /// Blocks in use or on lookaside lists.
    pub items: Vec<Item>,
    /// Free chunks and slots: the chunk's number, and its bytes.
    pub free: Vec<(usize, u64)>,
}

/// A block in a subsegment.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Address of its POOL_HEADER.
    pub va: Va,
    /// Index of the allocation.
    pub allocation: u32,
    /// Number of its chunk; 0 for LFH.
    pub chunk: usize,
}

/// The removed data.
#[derive(Clone, Debug, Default)]
pub struct Absent {
    paged_out: HashSet<u64>,
    omitted: HashSet<u64>,
    /// Broken chunk headers.
    broken: HashSet<Va>,
    /// Segments without descriptors: first byte, and size in bytes.
    hidden: Vec<(Va, u64)>,
}

impl Absent {
    /// Omits a segment's header from kernel dumps.
    pub fn hide(&mut self, memory: &mut Memory, segment: Va, bytes: u64) {
        for page in [segment, segment.add(PAGE_SIZE)] {
            if let Some(frame) = memory.frame(page) {
                memory.physical.omit(frame);
            }
        }
        self.hidden.push((segment, bytes));
    }

    fn state(&self, va: Va) -> Option<State> {
        let page = va.0 / PAGE_SIZE;
        if self.paged_out.contains(&page) {
            return Some(State::PagedOut);
        }
        self.omitted.contains(&page).then_some(State::Omitted)
    }

    /// Number of pages of a pool in the page file, and of omitted pages.
    pub fn counts(&self, subsegments: &[Subsegment], pool: Pool) -> (u64, u64) {
        let own = subsegments.iter().filter(|s| s.pool == pool);
        let pages: Vec<u64> = own
            .flat_map(|s| s.pages.iter().map(|va| va.0 / PAGE_SIZE))
            .collect();
        let count = |set: &HashSet<u64>| pages.iter().filter(|p| set.contains(p)).count() as u64;
        (count(&self.paged_out), count(&self.omitted))
    }

    /// The broken headers as pages and offsets in bytes.
    pub fn damaged(&self) -> Vec<(Va, u16)> {
        let at = |va: &Va| (va.page(), va.offset() as u16);
        let mut all: Vec<_> = self.broken.iter().map(at).collect();
        all.sort();
        all
    }

    /// The first chunk from which blocks can't be located, because of missing or broken
    /// headers.
    fn lost_from(&self, subsegment: &Subsegment) -> Option<usize> {
        let hidden = |va: Va| {
            let inside = |(start, bytes): &(Va, u64)| va >= *start && va.0 - start.0 < *bytes;
            self.hidden.iter().any(inside)
        };
        if let Some(first) = subsegment.pages.first()
            && (self.state(*first).is_some() || hidden(*first))
        {
            return Some(0);
        }
        let lost = |va: &Va| self.broken.contains(va) || self.state(*va).is_some();
        subsegment.chunks.iter().position(lost)
    }

    /// The state of each block of a subsegment; `None` for intact ones.
    pub fn states(&self, subsegment: &Subsegment) -> Vec<Option<State>> {
        let lost = self.lost_from(subsegment);
        let state = |item: &Item| {
            let hidden = lost.is_some_and(|from| item.chunk >= from);
            self.state(item.va).or(hidden.then_some(State::Damaged))
        };
        subsegment.items.iter().map(state).collect()
    }

    /// Sizes in bytes of the readable free chunks and slots.
    pub fn free(&self, subsegment: &Subsegment) -> Vec<u64> {
        let lost = self.lost_from(subsegment).unwrap_or(usize::MAX);
        let readable = subsegment.free.iter().filter(|(chunk, _)| *chunk < lost);
        readable.map(|(_, bytes)| *bytes).collect()
    }
}

/// Removes pages as the shapes of the pools specify.
pub fn apply(
    memory: &mut Memory,
    subsegments: &[Subsegment],
    shapes: &[&PoolShape],
    key: u64,
    rng: &mut Rng,
) -> Absent {
    let mut absent = Absent::default();
    for shape in shapes {
        let mut own: Vec<&Subsegment> = subsegments
            .iter()
            .filter(|s| s.pool == shape.pool && !s.kept)
            .collect();
        rng.shuffle(&mut own);
        for _ in 0..shape.damaged {
            let at = own.iter().position(|s| s.chunks.len() > 6);
            let Some(subsegment) = at.map(|at| own.swap_remove(at)) else {
                break;
            };
            if let Some(va) = subsegment.chunks.get(subsegment.chunks.len() / 2) {
                // A chunk with size zero.
                memory.u64(*va, va.0 ^ key);
                absent.broken.insert(*va);
            }
        }
        let mut pages: Vec<Va> = own.iter().flat_map(|s| s.pages.iter().copied()).collect();
        rng.shuffle(&mut pages);
        take(memory, shape, &mut pages, &mut absent, rng);
    }
    absent
}

fn take(
    memory: &mut Memory,
    shape: &PoolShape,
    pages: &mut Vec<Va>,
    absent: &mut Absent,
    rng: &mut Rng,
) {
    for _ in 0..shape.transition {
        if let Some((va, frame)) = next(memory, pages) {
            memory.map(va, Entry::Transition(frame));
        }
    }
    for _ in 0..shape.paged_out {
        if let Some((va, frame)) = next(memory, pages) {
            memory.physical.omit(frame);
            memory.map(va, Entry::PageFile(0, 0x100 + rng.below(0x3_0000) as u32));
            absent.paged_out.insert(va.0 / PAGE_SIZE);
        }
    }
    for _ in 0..shape.omitted {
        if let Some((va, frame)) = next(memory, pages) {
            memory.physical.omit(frame);
            absent.omitted.insert(va.0 / PAGE_SIZE);
        }
    }
}

fn next(memory: &Memory, pages: &mut Vec<Va>) -> Option<(Va, crate::addr::Pfn)> {
    let va = pages.pop()?;
    Some((va, memory.frame(va)?))
}
