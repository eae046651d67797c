//! Removes overlapping blocks, as a damaged dump may have them, so that no byte of pool is
//! listed twice.

use crate::memory::Va;
use crate::pool::big::BigBlock;
use crate::pool::block::Block;

/// Removes blocks that overlap others: the large allocations in `big`, which are in address
/// order, earlier blocks that end at `from`, or each other. Of two blocks, the certain one
/// stays, otherwise the first. Sorts the blocks by address; returns the number of removed
/// blocks.
pub fn resolve(blocks: &mut Vec<Block>, from: Va, big: &[BigBlock]) -> u64 {
    let before = blocks.len();
    if !blocks.is_sorted_by_key(|b| b.va) {
        blocks.sort_by_key(|b| b.va);
    }
    let mut big = big;
    let mut kept = 0;
    for i in 0..blocks.len() {
        let Some(block) = blocks.get(i).copied() else {
            break;
        };
        while let Some((first, rest)) = big.split_first() {
            if first.end() > block.va.0 {
                break;
            }
            big = rest;
        }
        let end = end(&block);
        if block.va < from || big.first().is_some_and(|b| b.va < end) {
            continue;
        }
        // A certain block removes heuristic ones that overlap it.
        while let Some(last) = kept_last(blocks, kept)
            && last.heuristic
            && !block.heuristic
            && self::end(&last) > block.va
        {
            kept -= 1;
        }
        if kept_last(blocks, kept).is_some_and(|last| self::end(&last) > block.va) {
            continue;
        }
        if let Some(slot) = blocks.get_mut(kept) {
            *slot = block;
        }
        kept += 1;
    }
    blocks.truncate(kept);
    (before - kept) as u64
}

fn kept_last(blocks: &[Block], kept: usize) -> Option<Block> {
    blocks.get(kept.checked_sub(1)?).copied()
}

/// The first byte after a block.
pub fn end(block: &Block) -> Va {
    Va(block.va.0.saturating_add(block.bytes.max(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture;
    use super::*;
    use crate::pool::block::PoolKind;
    use crate::pool::tag::Tag;

    const BASE: Va = Va(0xffff_b180_0000_0000);

    fn block(offset: u64, bytes: u64, heuristic: bool) -> Block {
        Block {
            heuristic,
            ..fixture::small(BASE, offset, bytes, Tag::default())
        }
    }

    fn big(offset: u64, bytes: u64) -> BigBlock {
        BigBlock {
            va: BASE.add(offset),
            bytes,
            key: 0,
            kind: PoolKind::Paged,
        }
    }

    #[test]
    fn of_overlapping_blocks_the_certain_or_first_stays() {
        let mut blocks = vec![
            block(0x100, 0x200, true),
            block(0x200, 0x40, false),
            block(0x220, 0x40, false),
            block(0x240, 0x40, true),
        ];
        assert_eq!(resolve(&mut blocks, BASE, &[]), 2);
        let left: Vec<u64> = blocks.iter().map(|b| b.va.0 - BASE.0).collect();
        assert_eq!(left, [0x200, 0x240]);
    }

    #[test]
    fn large_and_earlier_allocations_stay() {
        let mut blocks = vec![
            block(0x80, 0x40, false),
            block(0x100, 0xf00, false),
            block(0x1000, 0x40, false),
            block(0x2ff0, 0x20, false),
            block(0x4000, 0x20, false),
        ];
        let table = [big(0x1000, 0x1800), big(0x3000, 0x1000)];
        assert_eq!(resolve(&mut blocks, BASE.add(0x100), &table), 3);
        let left: Vec<u64> = blocks.iter().map(|b| b.va.0 - BASE.0).collect();
        assert_eq!(left, [0x100, 0x4000]);
    }

    proptest! {
        #[test]
        fn only_overlapping_blocks_are_removed(plan in proptest::collection::vec((0u64..400, 1u64..12, any::<bool>()), 0..80)) {
            let mut blocks: Vec<Block> = plan.iter().map(|&(at, units, h)| block(at * 16, units * 16, h)).collect();
            let all = blocks.clone();
            let gone = resolve(&mut blocks, Va(0), &[]);
            prop_assert_eq!(blocks.len() as u64 + gone, all.len() as u64);
            for pair in blocks.windows(2) {
                prop_assert!(end(&pair[0]) <= pair[1].va);
            }
            let overlaps = |a: &Block, b: &Block| a.va < end(b) && b.va < end(a);
            for one in &all {
                let others = all.iter().filter(|b| overlaps(one, b)).count();
                prop_assert!(others > 1 || blocks.contains(one));
            }
        }
    }
}
