//! The terminal sessions, their accounts, and whose address space an address is read in.

use std::sync::OnceLock;

use crate::kernel::sessions::{self, Sessions};
use crate::memory::{AddressSpace, Va};
use crate::pool::session_tracker;
use crate::pool::tracker::Trackers;

use super::Engine;

/// What is read of sessions, each on first use.
#[derive(Debug, Default)]
pub(super) struct Parts {
    found: OnceLock<Sessions>,
    trackers: OnceLock<Trackers>,
}

impl Engine {
    /// The terminal sessions; found on first use.
    pub fn sessions(&self) -> &Sessions {
        self.sessions
            .found
            .get_or_init(|| sessions::find(&self.kernel))
    }

    /// The address space to read an address in: the system's, or that of the first
    /// session that has it mapped (win32k and session pool are in no other).
    pub fn space_of(&self, va: Va) -> &AddressSpace {
        let mapped = |space: &&AddressSpace| space.page(va.page()).is_ok();
        if mapped(&&self.kernel.space) || !va.is_kernel() {
            return &self.kernel.space;
        }
        let mut spaces = self.sessions().sessions.iter().map(|s| &s.space);
        spaces.find(mapped).unwrap_or(&self.kernel.space)
    }

    /// The address space to read an address in, for a block of a session's pool: that
    /// session's.
    pub fn space_in(&self, session: Option<u32>, va: Va) -> &AddressSpace {
        if session.is_none() {
            return self.space_of(va);
        }
        let own = self.session_pools().iter().find(|r| r.session == session);
        own.map_or_else(|| self.space_of(va), |realm| &realm.space)
    }

    /// The accounts per tag of session pool, all sessions together; read on first use.
    pub fn session_trackers(&self) -> &Trackers {
        self.sessions
            .trackers
            .get_or_init(|| session_tracker::read(&self.kernel, self.sessions()))
    }
}
