//! The blocks of one window of 64 MB of addresses, eight bytes each, grouped by tag.
//!
//! Within a tag, the words are in address order. Segments are in address order too, so the
//! words of a tag over all segments are its blocks in address order, without a global sort. A
//! finished segment is immutable: the UI shares it by pointer.

use std::sync::Arc;

use crate::memory::Va;
use crate::pool::block::{Backend, Block, PoolKind, State};
use crate::pool::tag::Tag;

use super::realm::Owner;

/// Size of a window in bytes.
pub const WINDOW: u64 = 64 << 20;
const UNIT: u64 = 16;
/// Largest number of blocks in a window.
pub const MAX_BLOCKS: u32 = (WINDOW / UNIT) as u32;

/// One block in 51 bits of a u64: address in units (22) | size in units (20) | pool (2) |
/// backend (3) | state (2) | protected (1) | heuristic (1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(u64);

const SIZE_SHIFT: u32 = 22;
const KIND_SHIFT: u32 = 42;
const BACKEND_SHIFT: u32 = 44;
const STATE_SHIFT: u32 = 47;
const PROTECTED_SHIFT: u32 = 49;
const HEURISTIC_SHIFT: u32 = 50;
const ADDRESS_MASK: u64 = (1 << SIZE_SHIFT) - 1;
const SIZE_MASK: u64 = (1 << 20) - 1;

impl Word {
    /// Packs a block of the window that starts at `base`. The size of a big block does not fit;
    /// it is looked up in the big page table.
    pub fn pack(base: Va, block: &Block) -> Word {
        let units = match block.backend {
            Backend::Big => 0,
            _ => (block.bytes / UNIT) & SIZE_MASK,
        };
        Word(
            (block.va.0.wrapping_sub(base.0) / UNIT) & ADDRESS_MASK
                | units << SIZE_SHIFT
                | (block.kind as u64) << KIND_SHIFT
                | (block.backend as u64) << BACKEND_SHIFT
                | (block.state as u64) << STATE_SHIFT
                | u64::from(block.protected) << PROTECTED_SHIFT
                | u64::from(block.heuristic) << HEURISTIC_SHIFT,
        )
    }

    /// Unpacks the block.
    pub fn unpack(self, base: Va, tag: Tag, owner: &Owner) -> Block {
        let va = self.va(base);
        let backend = self.backend();
        let bytes = match backend {
            Backend::Big => owner.big.at(va).map_or(0, |b| b.bytes),
            _ => (self.0 >> SIZE_SHIFT & SIZE_MASK) * UNIT,
        };
        Block {
            va,
            bytes,
            tag,
            protected: self.0 >> PROTECTED_SHIFT & 1 == 1,
            kind: self.kind(),
            backend,
            state: self.state(),
            session: owner.session,
            heuristic: self.is_heuristic(),
        }
    }

    /// The packed value, for files.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// A word from a file; every value is a valid word.
    pub fn of_bits(bits: u64) -> Word {
        Word(bits)
    }

    /// The block's address.
    pub fn va(self, base: Va) -> Va {
        base.add((self.0 & ADDRESS_MASK) * UNIT)
    }

    /// Offset of the block from the start of the window, in units of 16 bytes.
    pub fn unit(self) -> u32 {
        (self.0 & ADDRESS_MASK) as u32
    }

    /// The block's size in units of 16 bytes; `None` for a big block, because its size is in
    /// the big page table.
    pub fn small_units(self) -> Option<u32> {
        let units = (self.0 >> SIZE_SHIFT & SIZE_MASK) as u32;
        (self.backend() != Backend::Big).then_some(units)
    }

    /// The pool.
    pub fn kind(self) -> PoolKind {
        match self.0 >> KIND_SHIFT & 3 {
            0 => PoolKind::NonPaged,
            1 => PoolKind::NonPagedNx,
            2 => PoolKind::Paged,
            _ => PoolKind::Session,
        }
    }

    /// True for a block that was recognised only by its header.
    pub fn is_heuristic(self) -> bool {
        self.0 >> HEURISTIC_SHIFT & 1 == 1
    }

    /// Whether the block is in use.
    pub fn state(self) -> State {
        match self.0 >> STATE_SHIFT & 3 {
            0 => State::Allocated,
            1 => State::Lookaside,
            _ => State::Free,
        }
    }

    fn backend(self) -> Backend {
        match self.0 >> BACKEND_SHIFT & 7 {
            0 => Backend::Legacy,
            1 => Backend::Vs,
            2 => Backend::Lfh,
            3 => Backend::Big,
            _ => Backend::Special,
        }
    }
}

/// The finished blocks of a window.
#[derive(Debug)]
pub struct Segment {
    /// The window's first address.
    pub base: Va,
    /// The owner of the blocks.
    owner: Arc<Owner>,
    /// Tags in ascending order of value, each with the index of its first word.
    tags: Box<[(Tag, u32)]>,
    words: Box<[Word]>,
}

impl Segment {
    /// A segment from words grouped by tag. `tags` are in ascending order of value, each with
    /// the index of its first word.
    pub fn new(base: Va, owner: Arc<Owner>, tags: Vec<(Tag, u32)>, words: Vec<Word>) -> Segment {
        Segment {
            base,
            owner,
            tags: tags.into(),
            words: words.into(),
        }
    }

    /// Rebuilds a segment from its parts. `None` unless tags are ascending, each has words, and
    /// its words are in address order.
    pub fn again(
        base: Va,
        owner: Arc<Owner>,
        tags: Vec<(Tag, u32)>,
        words: Vec<Word>,
    ) -> Option<Segment> {
        let length = u32::try_from(words.len()).ok()?;
        let first = tags.first().map_or(length, |t| t.1);
        let last = tags.last().map_or(0, |t| t.1);
        let ascending = tags.is_sorted_by(|a, b| a.0.value() < b.0.value() && a.1 < b.1);
        if !ascending || (first, length == 0) != (0, false) || last >= length {
            return None;
        }
        let segment = Segment {
            base,
            owner,
            tags: tags.into(),
            words: words.into(),
        };
        let in_order = |words: &[Word]| words.is_sorted_by(|a, b| a.unit() < b.unit());
        let whole = segment.by_tag().all(|(_, words)| in_order(words));
        whole.then_some(segment)
    }

    /// The owner of the blocks.
    pub fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    /// Every tag with the index of its first word.
    pub fn starts(&self) -> impl Iterator<Item = (Tag, u32)> {
        self.tags.iter().copied()
    }

    /// All words, tag after tag.
    pub fn all_words(&self) -> &[Word] {
        &self.words
    }

    /// The session of the pool; `None` for the system's.
    pub fn session(&self) -> Option<u32> {
        self.owner.session
    }

    /// Unpacks one of its words.
    pub fn block(&self, tag: Tag, word: Word) -> Block {
        word.unpack(self.base, tag, &self.owner)
    }

    /// A tag's words, in address order.
    pub fn words(&self, tag: Tag) -> &[Word] {
        self.words.get(self.range_of(tag)).unwrap_or_default()
    }

    /// The range of a tag's words; empty if it has none.
    pub fn range_of(&self, tag: Tag) -> std::ops::Range<usize> {
        let value = |t: &(Tag, u32)| t.0.value();
        match self.tags.binary_search_by_key(&tag.value(), value) {
            Ok(i) => self.range(i),
            Err(_) => 0..0,
        }
    }

    /// Every tag with its words.
    pub fn by_tag(&self) -> impl Iterator<Item = (Tag, &[Word])> {
        self.tags
            .iter()
            .enumerate()
            .map(|(i, (tag, _))| (*tag, self.words.get(self.range(i)).unwrap_or_default()))
    }

    fn range(&self, i: usize) -> std::ops::Range<usize> {
        let start = self.tags.get(i).map_or(0, |t| t.1 as usize);
        let end = self
            .tags
            .get(i + 1)
            .map_or(self.words.len(), |t| t.1 as usize);
        start..end
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// True when it has no blocks.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Memory in bytes.
    pub fn footprint(&self) -> usize {
        self.words.len() * size_of::<Word>() + self.tags.len() * size_of::<(Tag, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::collector::Collector;
    use super::*;
    use proptest::prelude::*;

    fn block(
        unit: u64,
        tag: u32,
        units: u64,
        kind: PoolKind,
        state: State,
        protected: bool,
    ) -> Block {
        Block {
            va: Va(0xffff_f8a0_0400_0000 + unit * 16),
            bytes: units * 16,
            tag: Tag::new(tag),
            protected,
            kind,
            backend: Backend::Vs,
            state,
            session: None,
            heuristic: false,
        }
    }

    proptest! {
        #[test]
        fn blocks_are_unpacked_unchanged_and_grouped(plan in proptest::collection::btree_map(0u64..1 << 22, (0u32..20, 1u64..1 << 20, 0usize..4, 0usize..3, any::<bool>()), 0..200)) {
            let base = Va(0xffff_f8a0_0400_0000);
            let kinds = [PoolKind::NonPaged, PoolKind::NonPagedNx, PoolKind::Paged, PoolKind::Session];
            let states = [State::Allocated, State::Lookaside, State::Free];
            let blocks: Vec<Block> = plan.iter()
                .map(|(&unit, &(tag, units, kind, state, protected))| block(unit, tag, units, kinds[kind], states[state], protected))
                .collect();
            let mut collector = Collector::default();
            for block in &blocks {
                collector.push(base, block);
            }
            let segment = collector.segment(base, Arc::default());
            prop_assert_eq!(segment.len(), blocks.len());
            for tag in 0..20 {
                let want: Vec<_> = blocks.iter().filter(|b| b.tag == Tag::new(tag)).copied().collect();
                let got: Vec<_> = segment.words(Tag::new(tag)).iter().map(|w| segment.block(Tag::new(tag), *w)).collect();
                prop_assert_eq!(got, want);
            }
        }
    }
}
