//! Shared parts of the walks of subsegments: input pages, output blocks, and the POOL_HEADER at
//! the start of blocks of both kinds.

use crate::memory::{Fault, Va};
use crate::pool::big::BigTable;
use crate::pool::block::{Backend, Block, State};
use crate::pool::tag::{PROTECTED, Tag};

use super::Content;
use super::heaps::{Context, Heaps};
use super::view::View;

/// The unit of block sizes in bytes.
pub const UNIT: u64 = 0x10;
/// `_POOL_HEADER.PoolTag`.
const TAG: u64 = 4;

/// Shared state of the walks of subsegments.
pub struct Walk<'a, 'b> {
    /// The heaps.
    pub heaps: &'a Heaps,
    /// The context of the segment.
    pub context: &'a Context,
    /// The pages.
    pub view: &'a View<'a>,
    /// Allocations of whole pages.
    pub big: &'a BigTable,
    /// Receives the blocks.
    pub out: &'b mut Content,
    /// Blocks are recognised by their headers, because the structures that lead to them are
    /// damaged.
    pub guessing: bool,
}

/// A range of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// First byte.
    pub start: Va,
    /// The first byte after it.
    pub end: Va,
}

impl Walk<'_, '_> {
    /// Runs a heuristic search: its blocks are marked, and their tags must be known.
    pub fn guessing(&mut self, find: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.guessing, true);
        find(self);
        self.guessing = before;
    }

    /// Records a free chunk or slot.
    pub fn free(&mut self, va: Va, bytes: u64, backend: Backend) {
        if self.guessing && !self.out.keep_free {
            return;
        }
        let block = Block {
            va,
            bytes,
            tag: Tag::default(),
            protected: false,
            kind: self.context.kind,
            backend,
            state: State::Free,
            session: None,
            heuristic: self.guessing,
        };
        let view = self.view;
        self.out.free(block, || view.u32(va.add(TAG)).ok());
    }

    /// Reads and checks the POOL_HEADER at an address with `room` bytes to the end of its chunk
    /// or slot; `None` if it is not a valid header.
    pub fn pool_header(&self, va: Va, room: u64, backend: Backend) -> Result<Option<Block>, Fault> {
        let header: [u8; 8] = self.view.array(va)?;
        let [_, _, units, kind, tag @ ..] = header;
        let bytes = u64::from(units) * UNIT;
        let paged = !self.context.kind.is_nonpaged();
        let sound = kind & 2 != 0 && (kind & 1 != 0) == paged && bytes >= 2 * UNIT && bytes <= room;
        let raw = u32::from_le_bytes(tag);
        let tag = Tag::new(raw);
        let known = match self.guessing {
            true => self.heaps.tags.holds(tag, paged),
            false => tag.value() != 0,
        };
        Ok((sound && known).then_some(Block {
            va,
            bytes,
            tag,
            protected: raw & PROTECTED != 0,
            kind: self.context.kind,
            backend,
            state: State::Allocated,
            session: None,
            heuristic: self.guessing,
        }))
    }
}
