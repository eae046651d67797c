//! Address ranges of pool.

use crate::memory::Va;

use super::block::PoolKind;

/// An address range of one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub start: Va,
    /// The first address after it.
    pub end: Va,
    /// The pool.
    pub kind: PoolKind,
    /// The source of the bounds.
    pub source: &'static str,
    /// True when its pages are chains of blocks with headers; false if segment heaps manage it.
    pub chains: bool,
}

/// An address range of special pool: one allocation per page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialRegion {
    /// First address.
    pub start: Va,
    /// The first address after it.
    pub end: Va,
    /// The pool; `None` if each page's header records it.
    pub kind: Option<PoolKind>,
    /// The source of the bounds.
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

/// The pool regions in address order, and remarks on missing ones.
#[derive(Clone, Debug, Default)]
pub struct Regions {
    /// Disjoint, in address order.
    pub regions: Vec<Region>,
    /// Special pool, in address order.
    pub special: Vec<SpecialRegion>,
    /// Remarks for users.
    pub notes: Vec<String>,
}

impl Regions {
    /// The region that contains an address.
    pub fn at(&self, va: Va) -> Option<&Region> {
        self.regions.iter().find(|r| r.contains(va))
    }
}
