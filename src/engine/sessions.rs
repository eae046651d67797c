//! The terminal sessions, their trackers, and their address spaces.

use std::sync::OnceLock;

use crate::kernel::sessions::{self, Sessions};
use crate::memory::{AddressSpace, Va};
use crate::pool::session_tracker;
use crate::pool::tracker::Trackers;

use super::Engine;

/// Facts about sessions, each read on first use.
#[derive(Debug, Default)]
pub(super) struct Parts {
    found: OnceLock<Sessions>,
    trackers: OnceLock<Trackers>,
}

impl Engine {
    /// The terminal sessions; located on first use.
    pub fn sessions(&self) -> &Sessions {
        self.sessions
            .found
            .get_or_init(|| sessions::find(&self.kernel))
    }

    /// The address space for reading an address: the system's, or that of the first session that
    /// maps it (win32k and session pool are mapped in sessions only).
    pub fn space_of(&self, va: Va) -> &AddressSpace {
        let mapped = |space: &&AddressSpace| space.page(va.page()).is_ok();
        if mapped(&&self.kernel.space) || !va.is_kernel() {
            return &self.kernel.space;
        }
        let mut spaces = self.sessions().sessions.iter().map(|s| &s.space);
        spaces.find(mapped).unwrap_or(&self.kernel.space)
    }

    /// The address space for reading an address in a session's pool: that session's.
    pub fn space_in(&self, session: Option<u32>, va: Va) -> &AddressSpace {
        if session.is_none() {
            return self.space_of(va);
        }
        let own = self.session_pools().iter().find(|r| r.session == session);
        own.map_or_else(|| self.space_of(va), |realm| &realm.space)
    }

    /// The trackers of session pool, summed over all sessions; read on first use.
    pub fn session_trackers(&self) -> &Trackers {
        self.sessions
            .trackers
            .get_or_init(|| session_tracker::read(&self.kernel, self.sessions()))
    }
}
