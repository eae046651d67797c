//! The requested allocations.

use crate::synth::rng::Rng;
use crate::synth::truth::{Account, Pool, Tag};

use super::{LARGEST_SMALL, UNIT};

/// The purpose of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// None: contents typical of its tag.
    Filler,
    /// One of the leaked blocks, by number.
    Leak(u32),
    /// The loader entry of a module.
    LoaderEntry(u16),
    /// The path of a module.
    LoaderName(u16),
    /// The array of unloaded drivers.
    UnloadedDrivers,
    /// The name of an unloaded driver.
    UnloadedName(u16),
    /// An object type, by its place in the list of types.
    ObjectType(u16),
    /// A process object.
    Process(u16),
    /// The handle table of a process.
    HandleTable(u16),
    /// The path of a process's image.
    ImagePath(u16),
    /// The page file's structure.
    PageFile(u8),
    /// The page file's name.
    PageFileName(u8),
    /// A processor's tracker table.
    TrackTable(u16),
    /// The trackers' expansion table.
    TrackExpansion,
    /// The big page table.
    BigPageTable,
}

impl Role {
    /// True for the pool's own tables.
    pub fn is_table(self) -> bool {
        matches!(
            self,
            Role::TrackTable(_) | Role::TrackExpansion | Role::BigPageTable
        )
    }
}

/// The state of a block after its allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In use.
    Live,
    /// Freed to a processor's lookaside list.
    Lookaside(u16),
    /// On the list of deferred frees (chains of blocks).
    Pending,
    /// In its node's dynamic lookaside (segment heaps).
    Dynamic,
    /// On its heap's list of delayed frees (segment heaps).
    Delayed,
}

/// One block.
#[derive(Clone, Copy, Debug)]
pub struct Allocation {
    /// The tag.
    pub tag: Tag,
    /// True when the tag is stored with the protected bit.
    pub protected: bool,
    /// The pool.
    pub pool: Pool,
    /// True for the non-executable nonpaged pool (Windows 8 and later).
    pub nx: bool,
    /// Size in bytes, including the header; a multiple of 16.
    pub bytes: u64,
    /// Its final state.
    pub outcome: Outcome,
    /// Its purpose.
    pub role: Role,
}

impl Allocation {
    /// A block in use, without a special purpose.
    pub fn new(tag: Tag, pool: Pool, bytes: u64) -> Allocation {
        Allocation {
            tag,
            protected: false,
            pool,
            nx: false,
            bytes,
            outcome: Outcome::Live,
            role: Role::Filler,
        }
    }

    /// The same with a purpose.
    pub fn role(mut self, role: Role) -> Allocation {
        self.role = role;
        self
    }

    /// The same in the non-executable pool; no effect for paged pool.
    pub fn nx(mut self, nx: bool) -> Allocation {
        self.nx = nx && self.pool == Pool::NonPaged;
        self
    }

    /// The same with the protected bit.
    pub fn protected(mut self, protected: bool) -> Allocation {
        self.protected = protected;
        self
    }

    /// The same with another outcome.
    pub fn outcome(mut self, outcome: Outcome) -> Allocation {
        self.outcome = outcome;
        self
    }

    /// True when it occupies whole pages.
    pub fn is_big(&self) -> bool {
        self.bytes > LARGEST_SMALL
    }
}

/// The variation of sizes around their average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// One size, or two if the sum is not divisible.
    Even,
    /// Between these two, in bytes.
    Between(u64, u64),
}

/// Splits an account into sizes that are multiples of 16 and have exactly its sum. `None` if
/// that is impossible.
pub fn partition(account: Account, share: Share, rng: &mut Rng) -> Option<Vec<u64>> {
    if account.blocks == 0 {
        return (account.bytes == 0).then(Vec::new);
    }
    let units = account.bytes / UNIT;
    let (each, more) = (units / account.blocks, units % account.blocks);
    if !account.bytes.is_multiple_of(UNIT) || each < 2 {
        return None;
    }
    let mut sizes: Vec<u64> = (0..account.blocks)
        .map(|i| each + u64::from(i < more))
        .collect();
    if let Share::Between(least, most) = share {
        vary(&mut sizes, (least / UNIT).max(2), most / UNIT, rng);
    }
    rng.shuffle(&mut sizes);
    Some(sizes.into_iter().map(|units| units * UNIT).collect())
}

/// Moves units between neighbours within the bounds.
fn vary(sizes: &mut [u64], least: u64, most: u64, rng: &mut Rng) {
    for pair in sizes.chunks_exact_mut(2) {
        if let [a, b] = pair {
            let room = a.saturating_sub(least).min(most.saturating_sub(*b));
            let moved = rng.below(room + 1);
            *a -= moved;
            *b += moved;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn parts_add_up_and_stay_in_bounds(blocks in 1u64..500, mean in 2u64..200, more in 0u64..500, seed in any::<u64>()) {
            let account = Account { blocks, bytes: (blocks * mean + more % blocks) * UNIT };
            let share = Share::Between(0x20, LARGEST_SMALL);
            let sizes = partition(account, share, &mut Rng::new(seed)).unwrap_or_default();
            prop_assert_eq!(sizes.len() as u64, blocks);
            prop_assert_eq!(sizes.iter().sum::<u64>(), account.bytes);
            prop_assert!(sizes.iter().all(|s| s % UNIT == 0 && (0x20..=LARGEST_SMALL).contains(s)));
        }
    }

    #[test]
    fn impossible_partitions_are_refused() {
        let odd = Account {
            blocks: 2,
            bytes: 100,
        };
        assert_eq!(partition(odd, Share::Even, &mut Rng::new(1)), None);
        let tiny = Account {
            blocks: 4,
            bytes: 64,
        };
        assert_eq!(partition(tiny, Share::Even, &mut Rng::new(1)), None);
    }
}
