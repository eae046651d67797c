//! The distribution of a tag's blocks over addresses: bytes in equal parts of the address
//! range.

use rayon::prelude::*;

use crate::memory::Va;
use crate::pool::block::{Block, State};
use crate::pool::tag::Tag;

use super::Snapshot;
use super::segment::Segment;

/// Bytes of a tag's allocated blocks, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressHistogram {
    /// The first byte of the first block.
    pub first: Va,
    /// The first byte after the last one.
    pub end: Va,
    /// Bytes of blocks that start in each equal part of the range.
    pub parts: Vec<u64>,
}

impl AddressHistogram {
    /// Bytes of all blocks.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Length of the range in bytes.
    pub fn length(&self) -> u64 {
        self.end.0.saturating_sub(self.first.0)
    }
}

impl Snapshot {
    /// The distribution of a tag's allocated blocks over the system's addresses, in `parts`
    /// equal parts; `None` if it has none there. Excludes blocks of sessions, because each
    /// session has its own address space.
    pub fn address_histogram(&self, tag: Tag, parts: usize) -> Option<AddressHistogram> {
        let (first, end) = self
            .segments
            .par_iter()
            .filter_map(|segment| ends(segment, tag))
            .reduce_with(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        let parts = parts.clamp(1, 4096);
        let length = (end.0 - first.0).max(1);
        let add = |mut sums: Vec<u64>, segment: &std::sync::Arc<Segment>| {
            for block in allocated(segment, tag) {
                let offset = u128::from(block.va.0.saturating_sub(first.0));
                let part = (offset * parts as u128 / u128::from(length)) as usize;
                if let Some(sum) = sums.get_mut(part.min(parts - 1)) {
                    *sum = sum.saturating_add(block.bytes);
                }
            }
            sums
        };
        let sums = self.segments.par_iter().fold(|| vec![0; parts], add);
        let sums = sums.reduce(
            || vec![0; parts],
            |a, b| a.iter().zip(b).map(|(a, b)| a.saturating_add(b)).collect(),
        );
        Some(AddressHistogram {
            first,
            end,
            parts: sums,
        })
    }
}

fn allocated(segment: &Segment, tag: Tag) -> impl Iterator<Item = Block> + '_ {
    let of_system = segment.session().is_none();
    let words = if of_system { segment.words(tag) } else { &[] };
    words
        .iter()
        .filter(|w| w.state() == State::Allocated)
        .map(move |&word| segment.block(tag, word))
}

fn ends(segment: &Segment, tag: Tag) -> Option<(Va, Va)> {
    let of = |b: Block| (b.va, Va(b.va.0.saturating_add(b.bytes)));
    allocated(segment, tag)
        .map(of)
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::TagPattern;
    use crate::pool::index::fixture;

    #[test]
    fn every_allocated_byte_is_in_one_part() {
        let index = fixture::index(3, 500);
        for tag in index.totals.tags.keys().copied() {
            let blocks: Vec<Block> = index.allocated(&TagPattern::of(tag)).collect();
            let want: u64 = blocks.iter().map(|b| b.bytes).sum();
            for parts in [0, 1, 7, 64] {
                let Some(spread) = index.address_histogram(tag, parts) else {
                    assert_eq!(want, 0);
                    continue;
                };
                assert_eq!(spread.parts.len(), parts.max(1));
                assert_eq!(spread.bytes(), want);
                assert_eq!(Some(spread.first), blocks.iter().map(|b| b.va).min());
                assert!(spread.length() >= blocks.iter().map(|b| b.bytes).max().unwrap());
            }
        }
        assert_eq!(index.address_histogram(Tag::of("none").unwrap(), 8), None);
    }
}
