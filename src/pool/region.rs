//! Ranges of addresses that hold pool.

use crate::memory::Va;

use super::block::PoolKind;

/// A range of addresses that holds one kind of pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub start: Va,
    /// The first address after it.
    pub end: Va,
    /// What is in it.
    pub kind: PoolKind,
    /// What the bounds were read from.
    pub source: &'static str,
    /// True when its pages are chains of blocks with headers; false where segment heaps
    /// say what is where.
    pub chains: bool,
}

/// A range of addresses that special pool is in: one allocation a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialRegion {
    /// First address.
    pub start: Va,
    /// The first address after it.
    pub end: Va,
    /// What is in it; `None` where each page says it.
    pub kind: Option<PoolKind>,
    /// What the bounds were read from.
    pub source: &'static str,
}

impl Region {
    /// True for an address inside it.
    pub fn contains(&self, va: Va) -> bool {
        va >= self.start && va < self.end
    }
}

impl SpecialRegion {
    /// True for an address inside it.
    pub fn contains(&self, va: Va) -> bool {
        va >= self.start && va < self.end
    }
}

/// The pool regions, in order of address, and what is not known about them.
#[derive(Clone, Debug, Default)]
pub struct Regions {
    /// Disjoint, in order of address.
    pub regions: Vec<Region>,
    /// Special pool, in order of address.
    pub special: Vec<SpecialRegion>,
    /// Sentences.
    pub notes: Vec<String>,
}

impl Regions {
    /// The region that holds an address.
    pub fn at(&self, va: Va) -> Option<&Region> {
        self.regions.iter().find(|r| r.contains(va))
    }
}
