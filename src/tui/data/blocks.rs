//! The allocations of a tag as a list without copies: rows are made when they are drawn.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::memory::Va;
use crate::pool::Block;
use crate::pool::index::BlockList;
use crate::pool::index::sort::{self, Wanted};

/// Blocks in address order, accessed by position.
pub trait Blocks: Send + Sync {
    /// The number of blocks.
    fn len(&self) -> u64;
    /// The block at a position.
    fn get(&self, index: u64) -> Option<Block>;
    /// The position of the first block at or after an address, in a session's pool or in
    /// the system's.
    fn position(&self, session: Option<u32>, va: Va) -> u64;
    /// The positions (only those in `kept`, if given) in order of size, and equal sizes in
    /// order of address; `None` if cancelled.
    fn by_size(
        &self,
        kept: Option<&[u32]>,
        descending: bool,
        wanted: Wanted<'_>,
    ) -> Option<Vec<u32>>;
    /// True if there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Blocks for BlockList {
    fn len(&self) -> u64 {
        BlockList::len(self)
    }

    fn get(&self, index: u64) -> Option<Block> {
        BlockList::get(self, index)
    }

    fn position(&self, session: Option<u32>, va: Va) -> u64 {
        BlockList::position_in(self, session, va)
    }

    fn by_size(
        &self,
        kept: Option<&[u32]>,
        descending: bool,
        wanted: Wanted<'_>,
    ) -> Option<Vec<u32>> {
        sort::by_size(self, kept, descending, wanted)
    }
}

/// An empty list.
struct NoBlocks;

impl Blocks for NoBlocks {
    fn len(&self) -> u64 {
        0
    }

    fn get(&self, _: u64) -> Option<Block> {
        None
    }

    fn position(&self, _: Option<u32>, _: Va) -> u64 {
        0
    }

    fn by_size(&self, _: Option<&[u32]>, _: bool, _: Wanted<'_>) -> Option<Vec<u32>> {
        Some(Vec::new())
    }
}

/// The order of the allocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockSort {
    /// By size; otherwise by address.
    pub by_size: bool,
    /// Largest or highest first.
    pub descending: bool,
}

impl BlockSort {
    /// In words.
    pub fn words(self) -> &'static str {
        match (self.by_size, self.descending) {
            (false, false) => "by address",
            (false, true) => "by address, highest first",
            (true, false) => "by size, ascending",
            (true, true) => "by size, descending",
        }
    }

    fn compare(self, a: &Block, b: &Block) -> Ordering {
        let sizes = if self.by_size {
            a.bytes.cmp(&b.bytes)
        } else {
            Ordering::Equal
        };
        let order = match (self.by_size, self.descending) {
            (true, true) => return sizes.reverse().then(a.va.cmp(&b.va)),
            _ => sizes.then(a.va.cmp(&b.va)),
        };
        if self.descending {
            order.reverse()
        } else {
            order
        }
    }
}

/// A filter: true for blocks to show.
pub type Keep<'a> = &'a (dyn Fn(&Block) -> bool + Sync);

/// Blocks in an order, without those that the filter rejects.
#[derive(Clone)]
pub struct BlockView {
    blocks: Arc<dyn Blocks>,
    /// Positions in `blocks`; `None` for all blocks in address order.
    order: Option<Arc<Vec<u32>>>,
    /// The order.
    pub sort: BlockSort,
}

impl Default for BlockView {
    fn default() -> BlockView {
        BlockView {
            blocks: Arc::new(NoBlocks),
            order: None,
            sort: BlockSort::default(),
        }
    }
}

impl std::fmt::Debug for BlockView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlockView({} of {} blocks)", self.len(), self.all())
    }
}

impl BlockView {
    /// Sorts and filters blocks. Free for all blocks by address; otherwise a pass over the
    /// blocks, so never call it on the drawing thread. `None` if cancelled.
    pub fn arrange(
        blocks: Arc<dyn Blocks>,
        sort: BlockSort,
        keep: Option<Keep<'_>>,
        wanted: Wanted<'_>,
    ) -> Option<BlockView> {
        let kept = match keep {
            None => None,
            Some(keep) => {
                let keep = |row: u32| blocks.get(row.into()).is_some_and(|block| keep(&block));
                Some(sort::filter(blocks.len(), &keep, wanted)?)
            }
        };
        let order = match sort.by_size {
            true => Some(blocks.by_size(kept.as_deref(), sort.descending, wanted)?),
            false => kept,
        };
        Some(BlockView {
            blocks,
            order: order.map(Arc::new),
            sort,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> u64 {
        match &self.order {
            Some(order) => order.len() as u64,
            None => self.blocks.len(),
        }
    }

    /// True if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of blocks before filtering.
    pub fn all(&self) -> u64 {
        self.blocks.len()
    }

    /// The block at a row.
    pub fn get(&self, row: u64) -> Option<Block> {
        let place = match (self.sort.by_size, self.sort.descending) {
            (false, true) => self.len().checked_sub(row + 1)?,
            _ => row,
        };
        match &self.order {
            Some(order) => self
                .blocks
                .get((*order.get(usize::try_from(place).ok()?)?).into()),
            None => self.blocks.get(place),
        }
    }

    /// The row of a block, or the row where it would be inserted.
    pub fn row_of(&self, block: &Block) -> u64 {
        if self.order.is_none() && !self.sort.descending {
            return self.blocks.position(block.session, block.va);
        }
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let before = self
                .get(middle)
                .is_some_and(|at| self.sort.compare(&at, block) == Ordering::Less);
            if before {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The row of the last block that starts at or before an address, in any order.
    pub fn row_at(&self, va: Va) -> u64 {
        let after = self.blocks.position(None, Va(va.0.saturating_add(1)));
        match self.blocks.get(after.saturating_sub(1)) {
            Some(block) => self.row_of(&block).min(self.len().saturating_sub(1)),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture::{Planted, planted_block};

    fn view(sort: BlockSort, keep: Option<Keep<'_>>) -> BlockView {
        BlockView::arrange(Arc::new(Planted { count: 1000 }), sort, keep, &|| true).unwrap()
    }

    #[test]
    fn every_order_finds_the_row_of_a_block() {
        let even: Keep<'_> = &|b| b.va.0 / 0x1000 % 2 == 0;
        for by_size in [false, true] {
            for descending in [false, true] {
                for keep in [None, Some(even)] {
                    let sort = BlockSort {
                        by_size,
                        descending,
                    };
                    let view = view(sort, keep);
                    assert_eq!(view.len(), if keep.is_some() { 500 } else { 1000 });
                    for row in 0..view.len() {
                        let block = view.get(row).unwrap();
                        assert_eq!(view.row_of(&block), row, "{sort:?}");
                        assert_eq!(view.row_at(block.va.add(8)), row, "{sort:?}");
                    }
                    assert_eq!(view.get(view.len()), None);
                }
            }
        }
    }

    #[test]
    fn blocks_sort_by_size_then_by_address() {
        let view = view(
            BlockSort {
                by_size: true,
                descending: true,
            },
            None,
        );
        let rows: Vec<Block> = (0..view.len()).filter_map(|i| view.get(i)).collect();
        assert!(rows.windows(2).all(|w| w[0].bytes > w[1].bytes
            || (w[0].bytes == w[1].bytes && w[0].va < w[1].va)));
    }

    #[test]
    fn a_missing_block_maps_to_its_insertion_row() {
        let view = view(BlockSort::default(), None);
        let mut gone = planted_block(10);
        gone.va = gone.va.add(0x10);
        assert_eq!(view.row_of(&gone), 11);
    }
}
