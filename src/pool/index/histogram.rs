//! How many blocks there are of each exact size: a leak is often one size, again and
//! again.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::pool::block::State;
use crate::pool::tag::TagPattern;

use super::Snapshot;
use super::segment::{Segment, Word};

/// Blocks of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeCount {
    /// Bytes of each, header included.
    pub size: u64,
    /// How many are allocated.
    pub count: u64,
}

impl SizeCount {
    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        self.size.saturating_mul(self.count)
    }
}

/// Small sizes, in units of 16 bytes, that have a place of their own while counting.
const COUNTED: usize = 1 << 13;

/// Allocated for certain.
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
        // A large block may have a size that small ones have too.
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
    /// The sizes of the allocated blocks of all tags that match, those that take the most
    /// bytes first.
    pub fn sizes(&self, pattern: &TagPattern) -> Vec<SizeCount> {
        let counts = self
            .segments
            .par_iter()
            .fold(Counts::default, |counts, s| counts.add_segment(s, pattern))
            .reduce(Counts::default, Counts::add);
        counts.sorted()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::Va;
    use crate::pool::Tag;
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
        let big = index.sizes(&TagPattern::parse("Big ").unwrap());
        assert_eq!(big.len(), 1);
        assert_eq!((big[0].size, big[0].count), (fixture::BIG_BYTES, 3));
    }

    #[test]
    fn a_large_block_of_a_small_ones_size_is_counted_with_them() {
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
