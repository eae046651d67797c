//! Blocks of pool, and the backends that they come from.

use crate::memory::Va;

use super::tag::Tag;

/// The pool of a block.
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
    /// True for both nonpaged pools; the trackers count them together.
    pub fn is_nonpaged(self) -> bool {
        matches!(self, PoolKind::NonPaged | PoolKind::NonPagedNx)
    }

    /// The inverse of `kind as u8`.
    pub fn of_number(number: u8) -> Option<PoolKind> {
        use PoolKind::{NonPaged, NonPagedNx, Paged, Session};
        let all = [NonPaged, NonPagedNx, Paged, Session];
        all.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The word in JSON and CSV answers.
    pub fn word(self) -> &'static str {
        match self {
            PoolKind::NonPaged => "nonpaged",
            PoolKind::NonPagedNx => "nonpaged_nx",
            PoolKind::Paged => "paged",
            PoolKind::Session => "session",
        }
    }
}

/// The part of the allocator that a block comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Backend {
    /// A page of blocks with headers (up to Windows 10 1803).
    Legacy,
    /// A chunk of a variable-size subsegment.
    Vs,
    /// A slot of a low-fragmentation subsegment.
    Lfh,
    /// Whole pages, listed in the big page table.
    Big,
    /// A page of special pool.
    Special,
}

impl Backend {
    /// The word in JSON and CSV answers.
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
    /// Freed and kept on a lookaside list: looks allocated, but the trackers do not count it.
    Lookaside,
    /// Freed, or waiting on a list of deferred frees.
    Free,
}

impl State {
    /// The word in JSON and CSV answers.
    pub fn word(self) -> &'static str {
        match self {
            State::Allocated => "allocated",
            State::Lookaside => "lookaside",
            State::Free => "free",
        }
    }
}

/// A block of pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Block {
    /// Start address: the POOL_HEADER if there is one, as `!pool` prints it.
    pub va: Va,
    /// Size of the block in bytes, including the header, as the pool counts it.
    pub bytes: u64,
    /// The tag.
    pub tag: Tag,
    /// The protected bit of the stored tag.
    pub protected: bool,
    /// The pool.
    pub kind: PoolKind,
    /// The part of the allocator.
    pub backend: Backend,
    /// Whether the block is in use.
    pub state: State,
    /// The session in whose address space the block was found, if any.
    pub session: Option<u32>,
    /// Recognised by its header, because the structures that lead to it are damaged or missing:
    /// very likely a block, but counted separately from certain ones.
    pub heuristic: bool,
}

impl Block {
    /// Size of the POOL_HEADER at the block's start, in bytes. In special pool, the header is
    /// at the start of the page, not at the block.
    pub fn header_bytes(&self) -> u64 {
        match self.backend {
            Backend::Big | Backend::Special => 0,
            _ => HEADER_SIZE,
        }
    }

    /// The first byte that the owner uses.
    pub fn body(&self) -> Va {
        self.va.add(self.header_bytes())
    }
}

/// Size of a POOL_HEADER on x64 in bytes.
pub const HEADER_SIZE: u64 = 0x10;
