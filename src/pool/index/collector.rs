//! Collects the blocks of a window during the walk: grouped and summed by tag.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::memory::Va;
use crate::pool::block::Block;
use crate::pool::tag::Tag;

use super::realm::Owner;
use super::segment::{Segment, Word};
use super::totals::{TagFound, WindowTotals};

/// A worker's buffer, reused for each window. A window has a few hundred tags and hundreds of
/// thousands of blocks, so a tag is looked up once per block and is a small number afterwards.
#[derive(Default)]
pub struct Collector {
    numbers: FxHashMap<Tag, u32>,
    tags: Vec<(Tag, TagFound)>,
    /// Tag number and word, in the order of arrival.
    words: Vec<(u32, Word)>,
}

impl Collector {
    /// Number of blocks collected.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Clears the data of the last window.
    pub fn clear(&mut self) {
        self.numbers.clear();
        self.tags.clear();
        self.words.clear();
    }

    /// Adds a block of the window that starts at `base`.
    pub fn push(&mut self, base: Va, block: &Block) {
        let next = self.tags.len() as u32;
        let number = *self.numbers.entry(block.tag).or_insert(next);
        if number == next {
            self.tags.push((block.tag, TagFound::default()));
        }
        if let Some((_, found)) = self.tags.get_mut(number as usize) {
            found.add(block);
        }
        self.words.push((number, Word::pack(base, block)));
    }

    /// Sorts the blocks by address, for walks that find them in another order.
    pub fn sort(&mut self, base: Va) {
        if !self.words.is_sorted_by_key(|(_, word)| word.va(base)) {
            self.words.sort_unstable_by_key(|(_, word)| word.va(base));
        }
    }

    /// A segment of these blocks, which are in address order, and its sums.
    pub fn all(base: Va, owner: Arc<Owner>, blocks: &[Block]) -> (Segment, WindowTotals) {
        let mut collector = Collector::default();
        blocks.iter().for_each(|block| collector.push(base, block));
        let totals = WindowTotals {
            tags: collector.tags.clone(),
            ..WindowTotals::default()
        };
        (collector.segment(base, owner), totals)
    }

    /// The totals of each tag, unordered.
    pub fn tags(&self) -> &[(Tag, TagFound)] {
        &self.tags
    }

    /// The finished segment. The blocks must be in address order.
    pub fn segment(&self, base: Va, owner: Arc<Owner>) -> Segment {
        let mut order: Vec<u32> = (0..self.tags.len() as u32).collect();
        let tag = |number: u32| self.tags.get(number as usize);
        order.sort_unstable_by_key(|n| tag(*n).map_or(0, |(tag, _)| tag.value()));
        // Position of each tag's next word.
        let mut next = vec![0u32; self.tags.len()];
        let mut starts = Vec::with_capacity(self.tags.len());
        let mut start = 0u32;
        for number in order {
            if let (Some((tag, found)), Some(slot)) = (tag(number), next.get_mut(number as usize)) {
                *slot = start;
                starts.push((*tag, start));
                start += found.listed() as u32;
            }
        }
        let mut words = vec![Word::default(); self.words.len()];
        for (number, word) in &self.words {
            if let Some(at) = next.get_mut(*number as usize) {
                if let Some(slot) = words.get_mut(*at as usize) {
                    *slot = *word;
                }
                *at += 1;
            }
        }
        Segment::new(base, owner, starts, words)
    }
}
