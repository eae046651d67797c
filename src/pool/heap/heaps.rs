//! The heaps of a pool as they were found: keys, contexts, segments.

use crate::memory::{AddressSpace, Chunk, Va};
use crate::pool::block::PoolKind;

use super::layout::Layout;
use super::tags::KnownTags;

/// `_SEGMENT_HEAP.Signature`.
pub(super) const HEAP_SIGNATURE: u32 = 0xddee_ddee;
/// Bytes of the smallest segments: others begin at multiples of this, too.
pub const SMALLEST_SEGMENT: u64 = 0x10_0000;

/// The keys that pointers and sizes are mixed with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keys {
    /// HeapKey.
    pub heap: u64,
    /// LfhKey; `None` when it can't be read.
    pub lfh: Option<u64>,
}

/// A context of a heap.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where it is.
    pub at: Va,
    /// The heap that it is part of.
    pub heap: Va,
    /// What the heap holds.
    pub kind: PoolKind,
    /// True for a heap of special pool.
    pub special: bool,
    /// log2 of the bytes of a unit.
    pub unit_shift: u8,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// The first descriptor that is not the header itself.
    pub first_descriptor: u8,
    /// SegmentCount, when it can be read.
    pub(super) count: Option<u64>,
}

impl Context {
    /// A context that is not in the dump, for pages whose segment is not known.
    pub fn unknown(kind: PoolKind) -> Context {
        Context {
            at: Va(0),
            heap: Va(0),
            kind,
            special: false,
            unit_shift: 12,
            segment_bytes: SMALLEST_SEGMENT,
            first_descriptor: 0,
            count: None,
        }
    }
}

/// Addresses that heaps of one kind are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// First address.
    pub start: Va,
    /// The first address after it.
    pub end: Va,
    /// What the heaps hold.
    pub kind: PoolKind,
}

/// A page segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSegment {
    /// First byte; a multiple of the segment's size.
    pub va: Va,
    /// Index into [`Heaps::contexts`].
    pub context: usize,
}

/// The segment-heap pool of a kernel.
#[derive(Clone, Debug)]
pub struct Heaps {
    /// Where fields are.
    pub layout: Layout,
    /// The keys.
    pub keys: Keys,
    /// All contexts of all heaps.
    pub contexts: Vec<Context>,
    /// All segments, in order of address.
    pub segments: Vec<PageSegment>,
    /// Mapped pieces of the pools' addresses that are not, or not all, in segments.
    pub orphans: Vec<(Chunk, PoolKind)>,
    /// The pool nodes, for their lookaside lists.
    pub nodes: Vec<Va>,
    /// Contexts that say they have more segments than their lists, with what those gave.
    pub(super) short: Vec<(usize, u64)>,
    /// Sentences about what is missing.
    pub notes: Vec<String>,
    /// The tags that blocks in use can have.
    pub tags: KnownTags,
    /// The memory they are read in.
    pub space: AddressSpace,
}

impl Heaps {
    /// None yet.
    pub(super) fn empty(layout: Layout, space: &AddressSpace) -> Heaps {
        Heaps {
            layout,
            keys: Keys::default(),
            contexts: Vec::new(),
            segments: Vec::new(),
            orphans: Vec::new(),
            nodes: Vec::new(),
            short: Vec::new(),
            notes: Vec::new(),
            tags: KnownTags::default(),
            space: space.clone(),
        }
    }

    /// The segment that holds an address.
    pub fn holding(&self, va: Va) -> Option<PageSegment> {
        let after = self.segments.partition_point(|s| s.va <= va);
        let segment = *self.segments.get(after.checked_sub(1)?)?;
        let bytes = self.contexts.get(segment.context)?.segment_bytes;
        (va.0 - segment.va.0 < bytes).then_some(segment)
    }
}
