//! Terminal sessions and their address spaces: session pool and the session's drivers (win32k
//! and display drivers) are mapped only in its processes.
//!
//! Sessions are found by walking PsActiveProcessHead and taking one process for each value of
//! `_EPROCESS.Session`: the first whose page tables are in the dump.

use rustc_hash::FxHashMap;

use crate::memory::{AddressSpace, Pa, Va};

use super::modules::Module;
use super::{Kernel, processes};

/// A session, accessed through one of its processes.
#[derive(Clone, Debug)]
pub struct Session {
    /// SessionId, if it can be read.
    pub id: Option<u32>,
    /// `_MM_SESSION_SPACE` (or the target of `_EPROCESS.Session` on this build).
    pub at: Va,
    /// The address space of the process.
    pub space: AddressSpace,
}

impl Session {
    /// True when the top page table of its process is in the dump.
    pub fn has_tables(&self) -> bool {
        self.space.dump().page(self.space.root()).is_some()
    }
}

/// The sessions, and remarks on damage to the process list.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    /// In the order of their first processes.
    pub sessions: Vec<Session>,
    /// Remarks for users.
    pub notes: Vec<String>,
}

impl Sessions {
    /// The address space that maps a module: the system's, or that of the first session that
    /// has it.
    pub fn space_of<'a>(&'a self, kernel: &'a Kernel, module: &Module) -> &'a AddressSpace {
        let mapped = |space: &&AddressSpace| space.page(module.base).is_ok();
        let of_sessions = self.sessions.iter().map(|s| &s.space);
        std::iter::once(&kernel.space)
            .chain(of_sessions)
            .find(mapped)
            .unwrap_or(&kernel.space)
    }
}

/// Limit above the size of the largest terminal servers.
const MAX_SESSIONS: usize = 1024;
/// The address bits 12 to 51 of DirectoryTableBase.
const ROOT_MASK: u64 = 0x000f_ffff_ffff_f000;

/// Finds the sessions.
pub fn find(kernel: &Kernel) -> Sessions {
    let mut out = Sessions::default();
    match walk(kernel, &mut out) {
        Ok(()) => {}
        Err(why) => out.notes.push(format!("sessions are missing: {why}")),
    }
    out
}

fn walk(kernel: &Kernel, out: &mut Sessions) -> Result<(), String> {
    let offset = |ty: &str, name: &str| {
        kernel
            .offset(ty, name)
            .ok_or(format!("the offset of {ty}.{name} is not known"))
    };
    let session = offset("_EPROCESS", "Session")?;
    let root = offset("_EPROCESS", "Pcb")? + offset("_KPROCESS", "DirectoryTableBase")?;
    let list = processes::list(kernel)?;
    let mut seen: FxHashMap<Va, usize> = FxHashMap::default();
    let mut too_many = 0u64;
    for process in list.all {
        let pointers = kernel
            .space
            .pointer(process.add(session))
            .and_then(|s| Ok((s, kernel.space.u64(process.add(root))?)));
        if let Ok((session, root)) = pointers
            && session.is_kernel()
            && root & ROOT_MASK != 0
        {
            let known = out.sessions.len();
            let place = *seen.entry(session).or_insert(known);
            match out.sessions.get_mut(place) {
                None if known >= MAX_SESSIONS => too_many += 1,
                None => out.sessions.push(of(kernel, session, root)),
                Some(known) if !known.has_tables() => *known = of(kernel, session, root),
                Some(_) => {}
            }
        }
    }
    match (list.broken, too_many) {
        (Some(why), _) => Err(why),
        (None, 0) => Ok(()),
        (None, _) => Err(format!("only the first {MAX_SESSIONS} were read")),
    }
}

fn of(kernel: &Kernel, at: Va, root: u64) -> Session {
    let space = kernel.space.with_root(Pa(root & ROOT_MASK));
    let id = kernel
        .offset("_MM_SESSION_SPACE", "SessionId")
        .and_then(|offset| space.u32(at.add(offset)).ok());
    Session { id, at, space }
}
