//! What the pool is made of: blocks, and where each one comes from.

use crate::memory::Va;

use super::tag::Tag;

/// Which pool a block is in.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum PoolKind {
    /// Nonpaged, executable.
    NonPaged,
    /// Nonpaged, not executable (Windows 8 and later).
    NonPagedNx,
    /// Paged.
    Paged,
    /// Session pool: paged, one per session.
    Session,
}

impl PoolKind {
    /// True for both nonpaged pools, which the trackers count together.
    pub fn is_nonpaged(self) -> bool {
        matches!(self, PoolKind::NonPaged | PoolKind::NonPagedNx)
    }

    /// The pool that is `number as PoolKind`.
    pub fn of_number(number: u8) -> Option<PoolKind> {
        use PoolKind::{NonPaged, NonPagedNx, Paged, Session};
        let all = [NonPaged, NonPagedNx, Paged, Session];
        all.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The word that the JSON and CSV answers use.
    pub fn word(self) -> &'static str {
        match self {
            PoolKind::NonPaged => "nonpaged",
            PoolKind::NonPagedNx => "nonpaged_nx",
            PoolKind::Paged => "paged",
            PoolKind::Session => "session",
        }
    }
}

/// Which part of the allocator holds a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Backend {
    /// A page of blocks with headers (up to Windows 10 1803).
    Legacy,
    /// A chunk of a variable-size subsegment.
    Vs,
    /// A slot of a low-fragmentation subsegment.
    Lfh,
    /// Whole pages, known by the big page table.
    Big,
    /// A page of special pool.
    Special,
}

impl Backend {
    /// The word that the JSON and CSV answers use.
    pub fn word(self) -> &'static str {
        match self {
            Backend::Legacy => "legacy",
            Backend::Vs => "vs",
            Backend::Lfh => "lfh",
            Backend::Big => "big",
            Backend::Special => "special",
        }
    }
}

/// Whether a block is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum State {
    /// In use.
    Allocated,
    /// Freed and kept on a lookaside list: looks allocated, is not counted by the trackers.
    Lookaside,
    /// Freed, or waiting on a list of deferred frees.
    Free,
}

impl State {
    /// The word that the JSON and CSV answers use.
    pub fn word(self) -> &'static str {
        match self {
            State::Allocated => "allocated",
            State::Lookaside => "lookaside",
            State::Free => "free",
        }
    }
}

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Block {
    /// Its start: the POOL_HEADER where it has one, as `!pool` prints it.
    pub va: Va,
    /// The whole block in bytes, header included, as the pool counts it.
    pub bytes: u64,
    /// The owner.
    pub tag: Tag,
    /// The protected bit of the stored tag.
    pub protected: bool,
    /// Which pool.
    pub kind: PoolKind,
    /// Which part of the allocator.
    pub backend: Backend,
    /// In use or not.
    pub state: State,
    /// The session whose address space it is in, for what was found in one.
    pub session: Option<u32>,
    /// Recognised by its header where the structures that lead to it are damaged or
    /// missing: very likely a block, and counted apart from those that are certain.
    pub heuristic: bool,
}

impl Block {
    /// Bytes of POOL_HEADER at its start. Special pool has its header at the start of the
    /// page, away from the block.
    pub fn header_bytes(&self) -> u64 {
        match self.backend {
            Backend::Big | Backend::Special => 0,
            _ => HEADER_SIZE,
        }
    }

    /// The first byte that the owner sees.
    pub fn body(&self) -> Va {
        self.va.add(self.header_bytes())
    }
}

/// Bytes of a POOL_HEADER on x64.
pub const HEADER_SIZE: u64 = 0x10;
