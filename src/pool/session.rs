//! Session pool: each terminal session has its own paged pool, in its own address space, at the
//! same addresses as the other sessions.
//!
//! `_MM_SESSION_SPACE` describes it: PagedPoolStart and PagedPoolEnd if pool is chains of
//! blocks, HeapState if it uses segment heaps, its lookaside lists, and its own table of
//! allocations of whole pages. All fields are found by name in the public symbols.

use std::sync::Arc;

use crate::kernel::Kernel;
use crate::kernel::sessions::{Session, Sessions};
use crate::memory::{AddressSpace, Va};

use super::big::BigTable;
use super::block::PoolKind;
use super::heap::{Heaps, Parking};
use super::index::{HeapPool, Realm};
use super::lookaside::Parked;
use super::regions::{self, Region};

const TYPE: &str = "_MM_SESSION_SPACE";

/// The pools of all sessions. An unreadable session has one with only a note.
pub fn pools(kernel: &Kernel, sessions: &Sessions) -> Vec<Arc<Realm>> {
    let mut out: Vec<Arc<Realm>> = Vec::new();
    let mut before: Vec<u32> = Vec::new();
    for session in &sessions.sessions {
        let pool = Reader { kernel, session }.pool(&mut before);
        out.extend(pool.map(Arc::new));
    }
    out
}

struct Reader<'a> {
    kernel: &'a Kernel,
    session: &'a Session,
}

impl Reader<'_> {
    fn space(&self) -> &AddressSpace {
        &self.session.space
    }

    /// The session's pool; `None` if this kernel's sessions have no known pool.
    fn pool(&self, before: &mut Vec<u32>) -> Option<Realm> {
        self.kernel.offset(TYPE, "SessionId")?;
        let known = self.session.id.filter(|id| !before.contains(id));
        // If an identifier is unreadable or a duplicate, the next free one is used.
        let id = known.or_else(|| (u32::MAX / 2..).find(|id| !before.contains(id)))?;
        before.push(id);
        let mut out = Realm {
            session: Some(id),
            space: self.space().clone(),
            regions: Vec::new(),
            special: Vec::new(),
            big: Arc::default(),
            parked: Arc::default(),
            heaps: None,
            tells_nx: false,
            notes: Vec::new(),
        };
        if let Err(fault) = self.readable() {
            out.notes
                .push(format!("{}: its pool is missing: {fault}", self.name()));
            return Some(out);
        }
        out.big = Arc::new(self.big());
        out.parked = Arc::new(Parked::read_session(
            self.kernel,
            self.space(),
            self.session.at,
        ));
        out.heaps = self.heaps();
        out.regions.extend(self.region());
        out.special.extend(self.special());
        if out.heaps.is_none() && out.regions.is_empty() {
            out.notes.push(format!(
                "{}: neither a heap nor the bounds of its pool were found: its small blocks are missing",
                self.name()
            ));
        }
        Some(out)
    }

    fn name(&self) -> String {
        match self.session.id {
            Some(id) => format!("session {id}"),
            None => format!("the session at {}", self.session.at),
        }
    }

    /// The reason why the session is unreadable, as an error.
    fn readable(&self) -> Result<(), String> {
        let space = self.space();
        if !self.session.has_tables() {
            return Err("the page tables of its processes are not in the dump".into());
        }
        match space.u64(self.session.at) {
            Ok(_) => Ok(()),
            Err(fault) => Err(format!(
                "its _MM_SESSION_SPACE at {} can't be read ({fault})",
                self.session.at
            )),
        }
    }

    fn field(&self, name: &str) -> Option<u64> {
        let field = self.kernel.symbols.field(TYPE, name)?;
        self.space()
            .u64(self.session.at.add(field.offset.into()))
            .ok()
    }

    fn pointer(&self, name: &str) -> Option<Va> {
        self.field(name).map(Va).filter(|va| va.is_kernel())
    }

    fn big(&self) -> BigTable {
        let table = self.pointer("PoolTrackBigPages");
        let size = self.field("PoolTrackBigPagesSize").filter(|&n| n > 0);
        let (Some(table), Some(size)) = (table, size) else {
            return BigTable::default();
        };
        BigTable::read_session(self.kernel, self.space(), table, size)
    }

    fn heaps(&self) -> Option<Arc<HeapPool>> {
        let state = self.pointer("HeapState")?;
        let heaps = Heaps::find_in_session(self.kernel, self.space(), state)?;
        let parking = Parking::read(self.kernel, &heaps);
        Some(Arc::new(HeapPool { heaps, parking }))
    }

    /// PagedPoolEnd is the address of the last byte. Without chains of blocks, the bounds are
    /// not needed in addition to the heaps.
    fn region(&self) -> Option<Region> {
        let start = self.pointer("PagedPoolStart")?;
        let end = self.pointer("PagedPoolEnd")?;
        regions::chained(
            self.kernel,
            start,
            Va(end.0.checked_next_multiple_of(0x1000)?),
            PoolKind::Session,
            "nt!_MM_SESSION_SPACE.PagedPoolStart and PagedPoolEnd",
        )
    }

    fn special(&self) -> Option<regions::SpecialRegion> {
        let at = self
            .session
            .at
            .add(self.kernel.offset(TYPE, "SpecialPool")?);
        regions::special_by_entries(self.kernel, self.space(), at, Some(PoolKind::Session))
    }
}
