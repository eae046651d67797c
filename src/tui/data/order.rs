//! The pool of a list, and the sort order of the tag list.

use crate::pool::tracker::{TagUsage, Usage};

/// The pool whose numbers are shown and sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoolChoice {
    /// Both, side by side; sorted by the sum.
    #[default]
    Both,
    /// Nonpaged pool.
    Nonpaged,
    /// Paged pool.
    Paged,
}

impl PoolChoice {
    /// The next choice, in PoolMon's order.
    pub fn next(self) -> PoolChoice {
        match self {
            PoolChoice::Both => PoolChoice::Nonpaged,
            PoolChoice::Nonpaged => PoolChoice::Paged,
            PoolChoice::Paged => PoolChoice::Both,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            PoolChoice::Both => "both pools",
            PoolChoice::Nonpaged => "nonpaged pool",
            PoolChoice::Paged => "paged pool",
        }
    }

    /// The numbers of this pool, or the sum of both.
    pub fn of(self, usage: &TagUsage) -> Usage {
        match self {
            PoolChoice::Nonpaged => usage.nonpaged,
            PoolChoice::Paged => usage.paged,
            PoolChoice::Both => {
                let mut sum = usage.nonpaged;
                sum += usage.paged;
                sum
            }
        }
    }
}

/// The sort key of the tag list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SortBy {
    #[default]
    Bytes,
    Allocs,
    Frees,
    Diff,
    PerAlloc,
    Tag,
}

impl SortBy {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            SortBy::Bytes => "bytes",
            SortBy::Allocs => "allocations since boot",
            SortBy::Frees => "frees since boot",
            SortBy::Diff => "outstanding allocations",
            SortBy::PerAlloc => "bytes per allocation",
            SortBy::Tag => "tag",
        }
    }

    /// The number to compare; a tag's name is not a number.
    pub fn value(self, usage: &Usage) -> u64 {
        match self {
            SortBy::Bytes => usage.bytes,
            // Wrapped counters cannot be compared.
            SortBy::Allocs | SortBy::Frees if usage.wrapped => 0,
            SortBy::Allocs => usage.allocs,
            SortBy::Frees => usage.frees,
            SortBy::Diff => usage.outstanding,
            SortBy::PerAlloc => usage.bytes_per_alloc(),
            SortBy::Tag => 0,
        }
    }
}
