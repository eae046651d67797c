//! The pools of the system and of its sessions, prepared for a walk.

use std::sync::{Arc, OnceLock};

use crate::pool::big::BigTable;
use crate::pool::heap::{Area, Heaps, KnownTags, Parking};
use crate::pool::index::{HeapPool, Realm};
use crate::pool::lookaside::Parked;
use crate::pool::regions::has_chains;
use crate::pool::session;

use super::Engine;

/// Windows 8, the first with non-executable nonpaged pool.
const FIRST_WITH_NX: u32 = 9200;

/// Facts about the pools, each read on first use.
#[derive(Debug, Default)]
pub(super) struct Parts {
    big: OnceLock<Arc<BigTable>>,
    parked: OnceLock<Arc<Parked>>,
    system: OnceLock<Arc<Realm>>,
    of_sessions: OnceLock<Vec<Arc<Realm>>>,
    heaps: OnceLock<Option<Arc<HeapPool>>>,
}

impl Engine {
    /// The big page table; read on first use.
    pub fn big(&self) -> &Arc<BigTable> {
        self.pools
            .big
            .get_or_init(|| Arc::new(BigTable::read(&self.kernel, &self.regions)))
    }

    /// The areas that can contain heaps.
    fn heap_areas(&self) -> Vec<Area> {
        let regions = self.regions.regions.iter();
        regions
            .map(|r| Area {
                start: r.start,
                end: r.end,
                kind: r.kind,
            })
            .collect()
    }

    /// The segment heaps of the pool, if it uses them; located on first use.
    pub fn heaps(&self) -> Option<Arc<HeapPool>> {
        let find = || {
            let mut heaps = Heaps::find(&self.kernel, &self.heap_areas())?;
            heaps.tags = KnownTags::of(&self.trackers);
            let parking = Parking::read(&self.kernel, &heaps);
            Some(Arc::new(HeapPool { heaps, parking }))
        };
        self.pools.heaps.get_or_init(find).clone()
    }

    pub(super) fn parked(&self) -> &Arc<Parked> {
        self.pools
            .parked
            .get_or_init(|| Arc::new(Parked::read(&self.kernel)))
    }

    /// The pools of the sessions; located on first use.
    pub fn session_pools(&self) -> &[Arc<Realm>] {
        self.pools
            .of_sessions
            .get_or_init(|| session::pools(&self.kernel, self.sessions()))
    }

    /// The pool of the system.
    pub fn system_pool(&self) -> &Arc<Realm> {
        self.pools
            .system
            .get_or_init(|| Arc::new(self.find_system_pool()))
    }

    fn find_system_pool(&self) -> Realm {
        let mut notes = self.regions.notes.clone();
        let heaps = self.heaps();
        if heaps.is_none() && !has_chains(&self.kernel) {
            notes.push(
                "the segment heaps of the pool were not found: its small blocks are missing".into(),
            );
        }
        Realm {
            session: None,
            space: self.kernel.space.clone(),
            regions: self.regions.regions.clone(),
            special: self.regions.special.clone(),
            big: Arc::clone(self.big()),
            parked: Arc::clone(self.parked()),
            heaps,
            tells_nx: self.kernel.build >= FIRST_WITH_NX,
            notes,
        }
    }
}
