//! Physical memory of the machine that is built: sparse, and written as a stream.
//!
//! A page that was never written needs no memory and becomes a hole in the file. An allocated
//! frame is "present": kernel dumps store present frames, full dumps all of memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::addr::{PAGE_SIZE, Pfn};

use super::rng::Rng;

/// The bytes of a page.
pub type Page = [u8; PAGE_SIZE as usize];

/// A run of memory: first frame and number of frames.
pub type Run = (u64, u64);

/// Generates the contents of a page while it is written; the argument is the page's index in
/// its run.
pub type Generator = Arc<dyn Fn(u64, &mut Page) + Send + Sync>;

/// Frames whose contents are generated while they are written.
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
    /// Frames from here on are used by aligned allocations.
    top: u64,
    scatter: Option<Rng>,
    /// Single frames come from this shuffled deck; see [`Physical::shuffle`].
    deck: Option<(Rng, Vec<u64>)>,
    exhausted: bool,
}

impl Physical {
    /// Creates memory from runs that are disjoint and in order.
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

    /// From now on, sometimes skips a few frames, as on a machine that has run for a while.
    pub fn scatter(&mut self, seed: u64) {
        self.scatter = Some(Rng::new(seed));
    }

    /// From now on, allocates single frames in random order, as on a machine that has run for a
    /// while.
    pub fn shuffle(&mut self, seed: u64) {
        self.deck = Some((Rng::new(seed), Vec::new()));
    }

    /// The next single frame in random order.
    fn draw(&mut self) -> Option<Pfn> {
        /// Number of frames that are shuffled together: 1 GB.
        const DECK: u64 = 0x4_0000;
        let (rng, deck) = self.deck.as_mut()?;
        if deck.is_empty() {
            let next = self.next;
            let (first, pages) = *self.runs.iter().find(|(f, n)| next.max(*f) < f + n)?;
            let start = next.max(first);
            // Leave space for contiguous allocations.
            let free = (first + pages).min(self.top).saturating_sub(start);
            let end = start + (free / 4).min(DECK);
            deck.extend(start..end);
            rng.shuffle(deck);
            self.next = end;
        }
        deck.pop().map(Pfn)
    }

    /// Allocates no frame below this one.
    pub fn skip_to(&mut self, frame: Pfn) {
        self.next = self.next.max(frame.0);
    }

    /// The memory runs.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Number of frames of memory.
    pub fn frames(&self) -> u64 {
        self.runs.iter().map(|r| r.1).sum()
    }

    /// The first frame number after all memory.
    pub fn end(&self) -> u64 {
        self.runs.last().map_or(0, |r| r.0 + r.1)
    }

    /// True when memory ran out; the machine is then unusable.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Allocates `count` consecutive frames.
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

    /// Allocates `count` frames whose first number is a multiple of `count` (a power of two),
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

    /// Omits a frame from kernel dumps.
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

    /// The pages with contents, in frame order.
    pub fn stored(&self) -> impl Iterator<Item = (u64, &Page)> {
        let mut frames: Vec<u64> = self.pages.keys().copied().collect();
        frames.sort_unstable();
        let page = |pfn: u64| Some((pfn, &**self.pages.get(&pfn)?));
        frames.into_iter().filter_map(page)
    }

    /// A page's bytes, if any were written.
    pub fn page(&self, pfn: Pfn) -> Option<&Page> {
        self.pages.get(&pfn.0).map(|page| &**page)
    }

    /// A page's bytes, for writing.
    pub fn page_mut(&mut self, pfn: Pfn) -> &mut Page {
        self.pages
            .entry(pfn.0)
            .or_insert_with(|| Box::new([0; PAGE_SIZE as usize]))
    }

    /// Generates the contents of frames while they are written.
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
