//! Physical memory of the machine that is made: sparse, and written as a stream.
//!
//! A page that was never written takes no memory and becomes a hole in the file. A frame
//! that was handed out is "present": kernel dumps store those, full dumps all of memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::addr::{PAGE_SIZE, Pfn};

use super::rng::Rng;

/// The bytes of a page.
pub type Page = [u8; PAGE_SIZE as usize];

/// A stretch of memory: first frame and number of frames.
pub type Run = (u64, u64);

/// Makes the contents of a page when it is written out; given the place in its stretch.
pub type Generator = Arc<dyn Fn(u64, &mut Page) + Send + Sync>;

/// Frames whose contents are made when they are written out.
#[derive(Clone)]
pub(super) struct Generated {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) make: Generator,
}

impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generated({:#x}+{:#x})", self.first, self.count)
    }
}

/// The machine's memory.
#[derive(Clone, Debug)]
pub struct Physical {
    runs: Vec<Run>,
    pages: HashMap<u64, Box<Page>>,
    present: Vec<u64>,
    pub(super) generated: Vec<Generated>,
    next: u64,
    /// Frames from here on up are taken by aligned allocations.
    top: u64,
    scatter: Option<Rng>,
    /// Single frames come from here, in no order; see [`Physical::shuffle`].
    deck: Option<(Rng, Vec<u64>)>,
    exhausted: bool,
}

impl Physical {
    /// Memory in runs, which are disjoint and in order.
    pub fn new(runs: Vec<Run>) -> Physical {
        let end = runs.last().map_or(0, |r| r.0 + r.1);
        Physical {
            next: runs.first().map_or(0, |r| r.0),
            top: end,
            present: vec![0; (end as usize).div_ceil(64)],
            pages: HashMap::new(),
            generated: Vec::new(),
            scatter: None,
            deck: None,
            exhausted: false,
            runs,
        }
    }

    /// From now on leaves a few frames out now and then, as a machine does that has run
    /// for a while.
    pub fn scatter(&mut self, seed: u64) {
        self.scatter = Some(Rng::new(seed));
    }

    /// From now on single frames are handed out in no order, as on a machine that has run
    /// for a while.
    pub fn shuffle(&mut self, seed: u64) {
        self.deck = Some((Rng::new(seed), Vec::new()));
    }

    /// The next single frame in no order.
    fn draw(&mut self) -> Option<Pfn> {
        /// Frames that are mixed with each other: 1 GB.
        const DECK: u64 = 0x4_0000;
        let (rng, deck) = self.deck.as_mut()?;
        if deck.is_empty() {
            let next = self.next;
            let (first, pages) = *self.runs.iter().find(|(f, n)| next.max(*f) < f + n)?;
            let start = next.max(first);
            // Room is left for stretches that have to be in order.
            let free = (first + pages).min(self.top).saturating_sub(start);
            let end = start + (free / 4).min(DECK);
            deck.extend(start..end);
            rng.shuffle(deck);
            self.next = end;
        }
        deck.pop().map(Pfn)
    }

    /// Hands out no frame below this one.
    pub fn skip_to(&mut self, frame: Pfn) {
        self.next = self.next.max(frame.0);
    }

    /// The memory runs.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Frames of memory.
    pub fn frames(&self) -> u64 {
        self.runs.iter().map(|r| r.1).sum()
    }

    /// The first frame number behind all memory.
    pub fn end(&self) -> u64 {
        self.runs.last().map_or(0, |r| r.0 + r.1)
    }

    /// True when more was asked for than there is; the machine is then of no use.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Takes `count` frames in a row.
    pub fn allocate(&mut self, count: u64) -> Pfn {
        if count == 1
            && let Some(frame) = self.draw()
        {
            self.mark(frame.0, 1);
            return frame;
        }
        if let Some(rng) = &mut self.scatter
            && rng.one_in(8)
        {
            self.next += rng.below(4);
        }
        let next = self.next;
        let run = self
            .runs
            .iter()
            .find(|(first, pages)| next.max(*first) + count <= first + pages);
        let first = run.map_or(next, |(first, _)| next.max(*first));
        self.exhausted |= run.is_none() || first + count > self.top;
        self.next = first + count;
        self.mark(first, count);
        Pfn(first)
    }

    /// Takes `count` frames whose first number is a multiple of `count` (a power of two),
    /// from the upper end of memory.
    pub fn allocate_aligned(&mut self, count: u64) -> Pfn {
        let first = self.top.saturating_sub(count) & !(count - 1);
        let inside = self
            .runs
            .iter()
            .any(|(start, pages)| first >= *start && first + count <= start + pages);
        self.exhausted |= !inside || first < self.next;
        self.top = first;
        self.mark(first, count);
        Pfn(first)
    }

    fn mark(&mut self, first: u64, count: u64) {
        for pfn in first..first + count {
            if let Some(word) = self.present.get_mut(pfn as usize / 64) {
                *word |= 1 << (pfn % 64);
            }
        }
    }

    /// Leaves a frame out of kernel dumps.
    pub fn omit(&mut self, pfn: Pfn) {
        if let Some(word) = self.present.get_mut(pfn.0 as usize / 64) {
            *word &= !(1 << (pfn.0 % 64));
        }
    }

    /// True for a frame that kernel dumps store.
    pub fn is_present(&self, pfn: u64) -> bool {
        let word = self.present.get(pfn as usize / 64).copied().unwrap_or(0);
        word >> (pfn % 64) & 1 == 1
    }

    /// True for a frame inside memory.
    pub fn is_memory(&self, pfn: u64) -> bool {
        self.runs
            .iter()
            .any(|(first, pages)| pfn >= *first && pfn - first < *pages)
    }

    /// A page's bytes, if any were written.
    pub fn page(&self, pfn: Pfn) -> Option<&Page> {
        self.pages.get(&pfn.0).map(|page| &**page)
    }

    /// A page's bytes, to be written.
    pub fn page_mut(&mut self, pfn: Pfn) -> &mut Page {
        self.pages
            .entry(pfn.0)
            .or_insert_with(|| Box::new([0; PAGE_SIZE as usize]))
    }

    /// Has the contents of frames made when they are written out.
    pub fn generate(&mut self, first: Pfn, count: u64, make: Generator) {
        self.generated.push(Generated {
            first: first.0,
            count,
            make,
        });
    }

    /// Bytes of page contents held in memory.
    pub fn footprint(&self) -> u64 {
        self.pages.len() as u64 * PAGE_SIZE
    }
}
