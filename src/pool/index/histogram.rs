//! The number of blocks of each exact size: a leak often has a single size.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::pool::block::State;
use crate::pool::tag::{Tag, TagPattern};

use super::Snapshot;
use super::segment::{Segment, Word};

/// Blocks of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SizeCount {
    /// Size of each block in bytes, including the header.
    pub size: u64,
    /// Number of allocated blocks.
    pub count: u64,
}

impl SizeCount {
    /// Total bytes.
    pub fn bytes(&self) -> u64 {
        self.size.saturating_mul(self.count)
    }
}

/// Number of small sizes, in units of 16 bytes, with their own counter.
const COUNTED: usize = 1 << 13;

/// True for a block that is certainly allocated.
fn counted(word: Word) -> bool {
    word.state() == State::Allocated && !word.is_heuristic()
}

#[derive(Default)]
struct Counts {
    small: Vec<u64>,
    others: FxHashMap<u64, u64>,
}

impl Counts {
    fn add_segment(mut self, segment: &Segment, pattern: &TagPattern) -> Counts {
        for (tag, words) in segment.by_tag().filter(|(tag, _)| pattern.matches(*tag)) {
            self.small.resize(COUNTED, 0);
            for &word in words.iter().filter(|w| counted(**w)) {
                let units = word.small_units().map(|units| units as usize);
                match units.and_then(|units| self.small.get_mut(units)) {
                    Some(count) => *count += 1,
                    None => {
                        *self
                            .others
                            .entry(segment.block(tag, word).bytes)
                            .or_default() += 1
                    }
                }
            }
        }
        self
    }

    fn add(mut self, other: Counts) -> Counts {
        if self.small.is_empty() {
            self.small = other.small;
        } else {
            for (sum, count) in self.small.iter_mut().zip(other.small) {
                *sum += count;
            }
        }
        for (size, count) in other.others {
            *self.others.entry(size).or_default() += count;
        }
        self
    }

    fn sorted(self) -> Vec<SizeCount> {
        // A large block may have the same size as small ones.
        let mut all = self.others;
        for (units, &count) in self.small.iter().enumerate().filter(|(_, c)| **c > 0) {
            *all.entry(units as u64 * 16).or_default() += count;
        }
        let mut out: Vec<SizeCount> = all
            .into_iter()
            .map(|(size, count)| SizeCount { size, count })
            .collect();
        out.sort_unstable_by_key(|s| std::cmp::Reverse((s.bytes(), s.size)));
        out
    }
}

impl Snapshot {
    /// The sizes of the allocated blocks of all matching tags, by total bytes, descending.
    pub fn sizes(&self, pattern: &TagPattern) -> Vec<SizeCount> {
        if let Some(kept) = &self.kept_sizes {
            let mut all = Counts::default();
            for (_, sizes) in kept.iter().filter(|(tag, _)| pattern.matches(**tag)) {
                for size in sizes {
                    let sum = all.others.entry(size.size).or_default();
                    *sum = sum.saturating_add(size.count);
                }
            }
            return all.sorted();
        }
        let counts = self
            .segments
            .par_iter()
            .fold(Counts::default, |counts, s| counts.add_segment(s, pattern))
            .reduce(Counts::default, Counts::add);
        counts.sorted()
    }

    /// The sizes of the allocated blocks of each tag, in one pass over all blocks.
    pub fn sizes_by_tag(&self) -> FxHashMap<Tag, Vec<SizeCount>> {
        if let Some(kept) = &self.kept_sizes {
            let again = |tag: &Tag| (*tag, self.sizes(&TagPattern::of(*tag)));
            return kept.keys().map(again).collect();
        }
        let counts = self
            .segments
            .par_iter()
            .fold(ByTag::default, |all, segment| add_by_tag(all, segment))
            .reduce(FxHashMap::default, |sum, more| {
                match sum.len() < more.len() {
                    true => join(more, sum),
                    false => join(sum, more),
                }
            });
        let sorted = |(tag, others)| {
            let counts = Counts {
                others,
                ..Counts::default()
            };
            (tag, counts.sorted())
        };
        counts.into_iter().map(sorted).collect()
    }
}

/// Blocks by size, by tag.
type ByTag = FxHashMap<Tag, FxHashMap<u64, u64>>;

fn add_by_tag(mut all: ByTag, segment: &Segment) -> ByTag {
    for (tag, words) in segment.by_tag() {
        let counts = all.entry(tag).or_default();
        // Consecutive blocks often have the same size.
        let (mut size, mut run) = (0, 0u64);
        for &word in words.iter().filter(|w| counted(**w)) {
            let bytes = match word.small_units() {
                Some(units) => u64::from(units) * 16,
                None => segment.block(tag, word).bytes,
            };
            if bytes != size && run > 0 {
                *counts.entry(size).or_default() += run;
                run = 0;
            }
            size = bytes;
            run += 1;
        }
        if run > 0 {
            *counts.entry(size).or_default() += run;
        }
    }
    all
}

fn join(mut sum: ByTag, more: ByTag) -> ByTag {
    for (tag, sizes) in more {
        let of_tag = sum.entry(tag).or_default();
        for (size, count) in sizes {
            *of_tag.entry(size).or_default() += count;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::Va;
    use crate::pool::index::{Collector, Owner, WINDOW, fixture};

    #[test]
    fn every_allocated_block_is_counted_once_under_its_size() {
        let index = fixture::index(3, 500);
        for pattern in ["*", "Big ", "Aa?0", "none"] {
            let pattern = TagPattern::parse(pattern).unwrap();
            let mut want: FxHashMap<u64, u64> = FxHashMap::default();
            for block in index.allocated(&pattern) {
                *want.entry(block.bytes).or_default() += 1;
            }
            let got = index.sizes(&pattern);
            assert!(got.is_sorted_by(|a, b| a.bytes() >= b.bytes()));
            assert_eq!(got.len(), want.len());
            assert!(got.iter().all(|s| want[&s.size] == s.count));
        }
        let by_tag = index.sizes_by_tag();
        assert!(by_tag.len() > 2);
        for (tag, sizes) in by_tag {
            assert_eq!(sizes, index.sizes(&TagPattern::of(tag)), "{tag}");
        }
        let big = index.sizes(&TagPattern::parse("Big ").unwrap());
        assert_eq!(big.len(), 1);
        assert_eq!((big[0].size, big[0].count), (fixture::BIG_BYTES, 3));
    }

    #[test]
    fn large_and_small_blocks_of_one_size_are_counted_together() {
        let mut index = fixture::index(1, 0);
        let base = Va(0xffff_8a00_0000_0000 + 8 * WINDOW);
        let small = fixture::small(base, 0, fixture::BIG_BYTES, Tag::of("Big ").unwrap());
        let (one, _) = Collector::all(base, Arc::new(Owner::default()), &[small]);
        index.segments = [Arc::clone(&index.segments[0]), Arc::new(one)].into();
        let sizes = index.sizes(&TagPattern::any());
        assert_eq!(sizes.len(), 1);
        assert_eq!((sizes[0].size, sizes[0].count), (fixture::BIG_BYTES, 2));
    }
}
