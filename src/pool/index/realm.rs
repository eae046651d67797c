//! What a stretch of pool is walked with: the system's own memory and tables, or those of
//! one session. The same addresses hold different blocks in each session.

use std::sync::Arc;

use crate::memory::{AddressSpace, Va};
use crate::pool::big::BigTable;
use crate::pool::heap::{Heaps, Parking};
use crate::pool::lookaside::Parked;
use crate::pool::regions::{Region, SpecialRegion};

/// The segment heaps and the blocks they keep for the next allocation.
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
    /// The memory it is read in.
    pub space: AddressSpace,
    /// Where its blocks are, as far as regions say it.
    pub regions: Vec<Region>,
    /// Where its special pool is.
    pub special: Vec<SpecialRegion>,
    /// Allocations of whole pages.
    pub big: Arc<BigTable>,
    /// Freed blocks that look allocated.
    pub parked: Arc<Parked>,
    /// The segment heaps, where the pool runs on them.
    pub heaps: Option<Arc<HeapPool>>,
    /// Chains of nonpaged pool are in two pools, told apart by whether their pages are
    /// executable (Windows 8 and later): headers don't say it.
    pub tells_nx: bool,
    /// Sentences about what is missing.
    pub notes: Vec<String>,
}

/// Whose blocks a segment holds, and where the sizes of the big ones are.
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

    /// The region of chained blocks that holds an address.
    pub fn region_at(&self, va: Va) -> Option<&Region> {
        self.regions.iter().find(|r| r.contains(va))
    }

    /// What its segments keep of it.
    pub fn owner(&self) -> Arc<Owner> {
        Arc::new(Owner {
            session: self.session,
            big: Arc::clone(&self.big),
        })
    }
}
