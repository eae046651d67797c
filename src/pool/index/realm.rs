//! The memory and tables for walking a part of the pool: the system's, or those of one session.
//! Each session has different blocks at the same addresses.

use std::sync::Arc;

use crate::memory::{AddressSpace, Va};
use crate::pool::big::BigTable;
use crate::pool::heap::{Heaps, Parking};
use crate::pool::lookaside::Parked;
use crate::pool::regions::{Region, SpecialRegion};

/// The segment heaps, and the freed blocks that they keep for reuse.
#[derive(Debug)]
pub struct HeapPool {
    /// The heaps.
    pub heaps: Heaps,
    /// Freed blocks that look allocated.
    pub parking: Parking,
}

/// The system's pool, or a session's.
#[derive(Debug)]
pub struct Realm {
    /// The session, for session pool.
    pub session: Option<u32>,
    /// The address space.
    pub space: AddressSpace,
    /// Regions with chains of blocks.
    pub regions: Vec<Region>,
    /// Regions with special pool.
    pub special: Vec<SpecialRegion>,
    /// Allocations of whole pages.
    pub big: Arc<BigTable>,
    /// Freed blocks that look allocated.
    pub parked: Arc<Parked>,
    /// The segment heaps, if the pool uses them.
    pub heaps: Option<Arc<HeapPool>>,
    /// True when nonpaged blocks are in two pools that differ in whether their pages are
    /// executable (Windows 8 and later): headers do not record it.
    pub tells_nx: bool,
    /// Remarks on missing data.
    pub notes: Vec<String>,
}

/// The session of a segment's blocks, and the sizes of its big blocks.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// The session, for session pool.
    pub session: Option<u32>,
    /// Allocations of whole pages.
    pub big: Arc<BigTable>,
}

impl Realm {
    /// True for an address in its regions, heap segments or big allocations.
    pub fn holds(&self, va: Va) -> bool {
        self.regions.iter().any(|r| r.contains(va))
            || self.special.iter().any(|r| r.contains(va))
            || self.big.holding(va).is_some()
            || self
                .heaps
                .as_ref()
                .is_some_and(|p| p.heaps.holding(va).is_some())
    }

    /// The region of chained blocks that contains an address.
    pub fn region_at(&self, va: Va) -> Option<&Region> {
        self.regions.iter().find(|r| r.contains(va))
    }

    /// The data that its segments refer to.
    pub fn owner(&self) -> Arc<Owner> {
        Arc::new(Owner {
            session: self.session,
            big: Arc::clone(&self.big),
        })
    }
}
