//! Answers from the index: a tag's blocks as one list, without copying them.

use std::ops::Range;
use std::sync::Arc;

use crate::memory::Va;
use crate::pool::block::{Block, State};
use crate::pool::tag::{Tag, TagPattern};

use super::Snapshot;
use super::order::Sizes;
use super::segment::{Segment, Word};

/// The blocks of one tag, the system's in order of address and then those of each
/// session: an offset into each segment, so opening
/// it costs the number of segments and a look-up a binary search.
#[derive(Clone, Debug)]
pub struct BlockList {
    tag: Tag,
    parts: Vec<(u64, Arc<Segment>)>,
    length: u64,
}

impl BlockList {
    /// Blocks in the list.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The block at a place.
    pub fn get(&self, index: u64) -> Option<Block> {
        let after = self.parts.partition_point(|(first, _)| *first <= index);
        let (first, segment) = self.parts.get(after.checked_sub(1)?)?;
        let word = segment.words(self.tag).get((index - first) as usize)?;
        Some(segment.block(self.tag, *word))
    }

    /// All blocks, in the list's order.
    pub fn iter(&self) -> impl Iterator<Item = Block> + '_ {
        self.parts.iter().flat_map(move |(_, segment)| {
            segment
                .words(self.tag)
                .iter()
                .map(move |word| segment.block(self.tag, *word))
        })
    }

    /// The place of the first block of the system's pool at or behind an address.
    pub fn position(&self, va: Va) -> u64 {
        self.position_in(None, va)
    }

    /// The same in the pool of a session, or the system's. Blocks are in order of address
    /// within each: the system's first, then those of one session after the other.
    pub fn position_in(&self, session: Option<u32>, va: Va) -> u64 {
        let after = self
            .parts
            .partition_point(|(_, s)| (s.session(), s.base) <= (session, va));
        let Some((first, segment)) = after.checked_sub(1).and_then(|i| self.parts.get(i)) else {
            return 0;
        };
        let words = segment.words(self.tag);
        if segment.session() != session {
            return first + words.len() as u64;
        }
        let inside = words.partition_point(|word| word.va(segment.base) < va);
        first + inside as u64
    }
}

impl Sizes for BlockList {
    fn count(&self) -> u64 {
        self.length
    }

    fn scan(&self, rows: Range<u32>, mut each: impl FnMut(u32, u64)) {
        let first = u64::from(rows.start);
        let after = self.parts.partition_point(|(at, _)| *at <= first);
        let from = after.saturating_sub(1);
        let mut row = rows.start;
        for (at, segment) in self.parts.iter().skip(from) {
            if row >= rows.end {
                return;
            }
            let words = segment.words(self.tag);
            let inside = (u64::from(row) - at) as usize;
            let count = (rows.end - row) as usize;
            for &word in words.iter().skip(inside).take(count) {
                each(row, self.bytes(segment, word));
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
    /// The blocks of a tag found so far.
    pub fn blocks(&self, tag: Tag) -> BlockList {
        let mut parts = Vec::new();
        let mut length = 0;
        for segment in self.segments.iter() {
            let count = segment.words(tag).len() as u64;
            if count > 0 {
                parts.push((length, Arc::clone(segment)));
                length += count;
            }
        }
        BlockList { tag, parts, length }
    }

    /// The blocks of all tags that match, segment by segment: the system's in order of
    /// address, then each session's.
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

    /// The same, without those that are freed but parked.
    pub fn allocated<'a>(&'a self, pattern: &'a TagPattern) -> impl Iterator<Item = Block> + 'a {
        self.matching(pattern)
            .filter(|b| b.state == State::Allocated)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{fixture, order};
    use super::*;

    #[test]
    fn sizes_are_read_from_any_row_on() {
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
    fn large_blocks_are_in_order_by_the_tables_sizes() {
        let index = fixture::index(5, 0);
        let list = index.blocks(Tag::of("Big ").unwrap());
        let rows = order::by_size(&list, None, true, &|| true);
        assert_eq!(rows, Some(vec![0, 1, 2, 3, 4]));
    }
}
