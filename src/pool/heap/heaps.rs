//! The heaps of a pool as found in memory: keys, contexts, segments.

use crate::memory::{AddressSpace, Chunk, Va};
use crate::pool::block::PoolKind;

use super::layout::Layout;
use super::tags::KnownTags;

/// `_SEGMENT_HEAP.Signature`.
pub(super) const HEAP_SIGNATURE: u32 = 0xddee_ddee;
/// Size of the smallest segments in bytes; larger ones start at multiples of it too.
pub const SMALLEST_SEGMENT: u64 = 0x10_0000;

/// The keys that encode pointers and sizes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keys {
    /// HeapKey.
    pub heap: u64,
    /// LfhKey; `None` when it can't be read.
    pub lfh: Option<u64>,
}

/// A context of a heap (`_HEAP_SEG_CONTEXT`).
#[derive(Clone, Debug)]
pub struct Context {
    /// Its address.
    pub at: Va,
    /// The heap that it belongs to.
    pub heap: Va,
    /// The pool of the heap's blocks.
    pub kind: PoolKind,
    /// True for a special pool heap.
    pub special: bool,
    /// log2 of the size of a unit in bytes.
    pub unit_shift: u8,
    /// Size of a segment in bytes.
    pub segment_bytes: u64,
    /// The first descriptor after those of the segment header.
    pub first_descriptor: u8,
    /// SegmentCount, if it can be read.
    pub(super) count: Option<u64>,
}

impl Context {
    /// A placeholder context, for pages with an unknown segment.
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

/// A range of addresses with heaps of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// First address.
    pub start: Va,
    /// The first address after it.
    pub end: Va,
    /// The pool.
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
    /// Field offsets.
    pub layout: Layout,
    /// The keys.
    pub keys: Keys,
    /// All contexts of all heaps.
    pub contexts: Vec<Context>,
    /// All segments, in address order.
    pub segments: Vec<PageSegment>,
    /// Mapped pieces of the pools' address ranges that are not entirely in segments.
    pub orphans: Vec<(Chunk, PoolKind)>,
    /// The pool nodes, used to find their lookaside lists.
    pub nodes: Vec<Va>,
    /// Contexts with more segments by count than on their lists, and the number on the list.
    pub(super) short: Vec<(usize, u64)>,
    /// Remarks on missing data.
    pub notes: Vec<String>,
    /// The possible tags of blocks in use.
    pub tags: KnownTags,
    /// The address space of the heaps.
    pub space: AddressSpace,
}

impl Heaps {
    /// An empty set of heaps.
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

    /// The segment that contains an address.
    pub fn holding(&self, va: Va) -> Option<PageSegment> {
        let after = self.segments.partition_point(|s| s.va <= va);
        let segment = *self.segments.get(after.checked_sub(1)?)?;
        let bytes = self.contexts.get(segment.context)?.segment_bytes;
        (va.0 - segment.va.0 < bytes).then_some(segment)
    }
}
