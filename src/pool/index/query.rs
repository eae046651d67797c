//! Queries on the index: a tag's blocks as one list, without copying them.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::memory::Va;
use crate::pool::block::{Block, State};
use crate::pool::tag::{Tag, TagPattern};

use super::Snapshot;
use super::segment::{Segment, Word};
use super::sort::Sizes;

/// The blocks of one tag: the system's in address order, then those of each session. The list
/// is an offset into each segment, so creating it takes time in the number of segments, and a
/// look-up is a binary search.
#[derive(Clone, Debug)]
pub struct BlockList {
    tag: Tag,
    parts: Vec<Part>,
    length: u64,
}

/// The tag's blocks in one segment.
#[derive(Clone, Debug)]
struct Part {
    /// Position of its first block in the list.
    first: u64,
    segment: Arc<Segment>,
    /// Range of its words in the segment.
    words: Range<usize>,
}

impl Part {
    fn words(&self) -> &[Word] {
        let all = self.segment.all_words();
        all.get(self.words.clone()).unwrap_or_default()
    }
}

impl BlockList {
    /// Number of blocks in the list.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The block at a position.
    pub fn get(&self, index: u64) -> Option<Block> {
        let after = self.parts.partition_point(|part| part.first <= index);
        let part = self.parts.get(after.checked_sub(1)?)?;
        let word = part.words().get((index - part.first) as usize)?;
        Some(part.segment.block(self.tag, *word))
    }

    /// All blocks, in list order.
    pub fn iter(&self) -> impl Iterator<Item = Block> + '_ {
        self.parts.iter().flat_map(move |part| {
            let block = move |word: &Word| part.segment.block(self.tag, *word);
            part.words().iter().map(block)
        })
    }

    /// The blocks of each segment, for work in parallel. Joined they are [`BlockList::iter`].
    pub fn parts(&self) -> impl IndexedParallelIterator<Item = impl Iterator<Item = Block> + '_> {
        self.parts.par_iter().map(move |part| {
            let block = move |word: &Word| part.segment.block(self.tag, *word);
            part.words().iter().map(block)
        })
    }

    /// Number of allocated blocks.
    pub fn allocated(&self) -> u64 {
        let allocated = |word: &&Word| word.state() == State::Allocated;
        let of_part = |part: &Part| part.words().iter().filter(allocated).count() as u64;
        self.parts.par_iter().map(of_part).sum()
    }

    /// The position of the first block of the system's pool at or after an address.
    pub fn position(&self, va: Va) -> u64 {
        self.position_in(None, va)
    }

    /// The same in the pool of a session, or in the system's. Blocks are in address order
    /// within each pool: the system's first, then session by session.
    pub fn position_in(&self, session: Option<u32>, va: Va) -> u64 {
        let after = self
            .parts
            .partition_point(|p| (p.segment.session(), p.segment.base) <= (session, va));
        let Some(part) = after.checked_sub(1).and_then(|i| self.parts.get(i)) else {
            return 0;
        };
        let (segment, words) = (&part.segment, part.words());
        if segment.session() != session {
            return part.first + words.len() as u64;
        }
        let inside = words.partition_point(|word| word.va(segment.base) < va);
        part.first + inside as u64
    }
}

impl Sizes for BlockList {
    fn count(&self) -> u64 {
        self.length
    }

    fn scan(&self, rows: Range<u32>, mut each: impl FnMut(u32, u64)) {
        let first = u64::from(rows.start);
        let after = self.parts.partition_point(|part| part.first <= first);
        let from = after.saturating_sub(1);
        let mut row = rows.start;
        for part in self.parts.iter().skip(from) {
            if row >= rows.end {
                return;
            }
            let inside = (u64::from(row) - part.first) as usize;
            let count = (rows.end - row) as usize;
            for &word in part.words().iter().skip(inside).take(count) {
                each(row, self.bytes(&part.segment, word));
                row += 1;
            }
        }
    }

    fn bytes_of(&self, row: u32) -> u64 {
        self.get(row.into()).map_or(0, |block| block.bytes)
    }
}

impl BlockList {
    fn bytes(&self, segment: &Segment, word: Word) -> u64 {
        match word.small_units() {
            Some(units) => u64::from(units) * 16,
            None => segment.block(self.tag, word).bytes,
        }
    }
}

impl Snapshot {
    /// Number of blocks with matching tags that are in the sums but not in the segments.
    pub fn left_out_of(&self, pattern: &TagPattern) -> u64 {
        if self.left_out == 0 {
            return 0;
        }
        let tags = self.totals.tags.iter();
        let matching = tags.filter(|(tag, _)| pattern.matches(**tag));
        matching
            .map(|(tag, found)| found.listed().saturating_sub(self.blocks(*tag).len()))
            .fold(0, u64::saturating_add)
    }

    /// The blocks of a tag found so far.
    pub fn blocks(&self, tag: Tag) -> BlockList {
        let mut parts = Vec::new();
        let mut length = 0;
        for segment in self.segments.iter() {
            let words = segment.range_of(tag);
            if !words.is_empty() {
                let first = length;
                length += words.len() as u64;
                parts.push(Part {
                    first,
                    segment: Arc::clone(segment),
                    words,
                });
            }
        }
        BlockList { tag, parts, length }
    }

    /// The blocks of all matching tags, segment by segment: the system's in address order, then
    /// each session's.
    pub fn matching<'a>(&'a self, pattern: &'a TagPattern) -> impl Iterator<Item = Block> + 'a {
        self.segments.iter().flat_map(move |segment| {
            let mut blocks: Vec<Block> = segment
                .by_tag()
                .filter(|(tag, _)| pattern.matches(*tag))
                .flat_map(|(tag, words)| words.iter().map(move |w| segment.block(tag, *w)))
                .collect();
            blocks.sort_unstable_by_key(|b| b.va);
            blocks.into_iter()
        })
    }

    /// A selection of the blocks, in the same order. `choose` is called for each tag of each
    /// segment, with the number of its blocks there, and returns the positions of the selected
    /// ones.
    pub fn chosen<'a, C, P>(&'a self, mut choose: C) -> impl Iterator<Item = Block> + 'a
    where
        C: FnMut(Tag, u64) -> P + 'a,
        P: Iterator<Item = u64>,
    {
        self.segments.iter().flat_map(move |segment| {
            let mut blocks: Vec<Block> = Vec::new();
            for (tag, words) in segment.by_tag() {
                let places = choose(tag, words.len() as u64);
                let words = places.filter_map(|at| words.get(usize::try_from(at).ok()?));
                blocks.extend(words.map(|word| segment.block(tag, *word)));
            }
            blocks.sort_unstable_by_key(|b| b.va);
            blocks.into_iter()
        })
    }

    /// The blocks of all matching tags, without freed blocks on lookaside lists.
    pub fn allocated<'a>(&'a self, pattern: &'a TagPattern) -> impl Iterator<Item = Block> + 'a {
        self.matching(pattern)
            .filter(|b| b.state == State::Allocated)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{fixture, sort};
    use super::*;

    #[test]
    fn sizes_are_read_from_any_row() {
        let index = fixture::index(4, 300);
        let list = index.blocks(Tag::of("Aa30").unwrap());
        let all: Vec<u64> = list.iter().map(|b| b.bytes).collect();
        let count = all.len() as u32;
        for start in 0..=count {
            for end in [start, (start + 50).min(count), count] {
                let mut got = Vec::new();
                list.scan(start..end, |row, bytes| got.push((row, bytes)));
                let want = (start..end).map(|row| (row, all[row as usize]));
                assert!(got.into_iter().eq(want), "{start}..{end}");
            }
        }
        assert_eq!(list.bytes_of(count), 0);
    }

    #[test]
    fn large_blocks_sort_by_the_sizes_in_the_table() {
        let index = fixture::index(5, 0);
        let list = index.blocks(Tag::of("Big ").unwrap());
        let rows = sort::by_size(&list, None, true, &|| true);
        assert_eq!(rows, Some(vec![0, 1, 2, 3, 4]));
    }
}
