//! Derives the mask of invalid page-table entries, if the kernel's variable was not found. An
//! entry in transition contains a frame number; bits above the machine's highest frame are the
//! mask.

use rustc_hash::FxHashMap;

use crate::bytes::u64_at;

use super::pte::Transition;
use super::space::AddressSpace;
use super::walk::ChunkMapping;
use crate::addr::Va;

/// Largest number of tables that are examined.
const TABLES: usize = 1 << 14;
/// Required number of entries that agree.
const ENOUGH: u64 = 2;
/// The kernel half of the address space.
const KERNEL_HALF: (Va, Va) = (Va(0xffff_8000_0000_0000), Va(u64::MAX));

impl AddressSpace {
    /// The mask that at least nine in ten entries in transition share; `None` if there are too
    /// few of them.
    pub fn infer_invalid_mask(&self) -> Option<u64> {
        let highest = self.rules().highest_frame?;
        let mut votes: FxHashMap<u64, u64> = FxHashMap::default();
        let (start, end) = KERNEL_HALF;
        let tables = self
            .mapped(start, end)
            .chunks
            .into_iter()
            .filter_map(|chunk| match chunk.mapped {
                ChunkMapping::Table(pfn) => self.table(pfn).ok(),
                ChunkMapping::Large(_) => None,
            });
        for table in tables.take(TABLES) {
            for i in 0..512 {
                let raw = u64_at(table, i * 8).unwrap_or(0);
                if let Transition::Mixed(excess) = self.rules().transition_bits(raw, highest) {
                    *votes.entry(excess).or_default() += 1;
                }
            }
        }
        let all: u64 = votes.values().sum();
        let (mask, agree) = votes.into_iter().max_by_key(|(_, votes)| *votes)?;
        (agree >= ENOUGH && agree * 10 >= all * 9).then_some(mask)
    }
}
