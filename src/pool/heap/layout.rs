//! Field offsets of the segment heap, by name. The existing fields determine the variant, not
//! the build number.

use crate::symbols::Symbols;

/// Offsets in bytes, sizes in bytes.
#[derive(Clone, Debug)]
pub struct Layout {
    /// `_EX_POOL_HEAP_MANAGER_STATE`.
    pub state: State,
    /// `_SEGMENT_HEAP`.
    pub heap: Heap,
    /// `_HEAP_SEG_CONTEXT`.
    pub context: Context,
    /// `_HEAP_PAGE_SEGMENT` and `_HEAP_PAGE_RANGE_DESCRIPTOR`.
    pub segment: Segment,
    /// `_HEAP_VS_SUBSEGMENT`.
    pub vs: Vs,
    /// `_HEAP_LFH_SUBSEGMENT`.
    pub lfh: Lfh,
}

/// `_EX_POOL_HEAP_MANAGER_STATE` and `_EX_HEAP_POOL_NODE`.
#[derive(Clone, Debug)]
pub struct State {
    /// NumberOfPools.
    pub number_of_pools: u64,
    /// PoolNode.
    pub nodes: u64,
    /// Size of a node in bytes.
    pub node_size: u64,
    /// Number of nodes in the array.
    pub node_count: u64,
    /// Offset of the heaps in a node.
    pub heaps: u64,
    /// Number of pointers in the array of heaps.
    pub heap_count: u64,
    /// Lookasides in a node: offset and total size in bytes.
    pub lookasides: (u64, u64),
    /// SpecialHeaps.
    pub special: u64,
    /// Number of pointers in SpecialHeaps.
    pub special_count: u64,
}

/// `_SEGMENT_HEAP`.
#[derive(Clone, Debug)]
pub struct Heap {
    /// Signature.
    pub signature: u64,
    /// SegContexts.
    pub contexts: u64,
    /// Number of contexts in SegContexts.
    pub context_count: u64,
    /// VsContext.
    pub vs_context: u64,
}

/// `_HEAP_SEG_CONTEXT`.
#[derive(Clone, Debug)]
pub struct Context {
    /// Size of a context in bytes.
    pub size: u64,
    /// SegmentMask.
    pub mask: u64,
    /// UnitShift.
    pub unit_shift: u64,
    /// FirstDescriptorIndex.
    pub first: u64,
    /// SegmentListHead.
    pub list: u64,
    /// SegmentCount.
    pub count: u64,
}

/// `_HEAP_PAGE_SEGMENT` and its descriptors.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Signature.
    pub signature: u64,
    /// Size of a descriptor in bytes.
    pub descriptor_size: u64,
    /// RangeFlags.
    pub flags: u64,
    /// UnitSize.
    pub unit_size: u64,
}

/// `_HEAP_VS_SUBSEGMENT`.
#[derive(Clone, Debug)]
pub struct Vs {
    /// Size of the header in bytes, rounded up to a unit: the offset of the first chunk.
    pub header: u64,
    /// Size.
    pub size: u64,
    /// Signature.
    pub signature: u64,
}

/// `_HEAP_LFH_SUBSEGMENT`.
#[derive(Clone, Debug)]
pub struct Lfh {
    /// BlockCount.
    pub block_count: u64,
    /// BlockOffsets.
    pub block_offsets: u64,
    /// BlockBitmap.
    pub bitmap: u64,
}

impl Layout {
    /// Resolves all names; `None` if this kernel has no segment heap, or its layout is unknown.
    pub fn of(symbols: &Symbols) -> Option<Layout> {
        let at = |ty: &str, name: &str| symbols.field(ty, name).map(|f| u64::from(f.offset));
        let bytes = |ty: &str, name: &str| symbols.field(ty, name).map(|f| u64::from(f.size));
        let size = |ty: &str| symbols.size_of(ty).map(u64::from).filter(|&s| s > 0);
        const STATE: &str = "_EX_POOL_HEAP_MANAGER_STATE";
        const NODE: &str = "_EX_HEAP_POOL_NODE";
        const HEAP: &str = "_SEGMENT_HEAP";
        const CONTEXT: &str = "_HEAP_SEG_CONTEXT";
        const DESCRIPTOR: &str = "_HEAP_PAGE_RANGE_DESCRIPTOR";
        const VS: &str = "_HEAP_VS_SUBSEGMENT";
        const LFH: &str = "_HEAP_LFH_SUBSEGMENT";
        Some(Layout {
            state: State {
                number_of_pools: at(STATE, "NumberOfPools")?,
                nodes: at(STATE, "PoolNode")?,
                node_size: size(NODE)?,
                node_count: bytes(STATE, "PoolNode")? / size(NODE)?,
                heaps: at(NODE, "Heaps")?,
                heap_count: (bytes(NODE, "Heaps")? / 8).min(8),
                lookasides: (at(NODE, "Lookasides")?, bytes(NODE, "Lookasides")?),
                special: at(STATE, "SpecialHeaps")?,
                special_count: (bytes(STATE, "SpecialHeaps")? / 8).min(8),
            },
            heap: Heap {
                signature: at(HEAP, "Signature")?,
                contexts: at(HEAP, "SegContexts")?,
                context_count: (bytes(HEAP, "SegContexts")? / size(CONTEXT)?).min(4),
                vs_context: at(HEAP, "VsContext")?,
            },
            context: Context {
                size: size(CONTEXT)?,
                mask: at(CONTEXT, "SegmentMask")?,
                unit_shift: at(CONTEXT, "UnitShift")?,
                first: at(CONTEXT, "FirstDescriptorIndex")?,
                list: at(CONTEXT, "SegmentListHead")?,
                count: at(CONTEXT, "SegmentCount")?,
            },
            segment: Segment {
                signature: at("_HEAP_PAGE_SEGMENT", "Signature")?,
                descriptor_size: size(DESCRIPTOR).filter(|&s| s == 0x20)?,
                flags: at(DESCRIPTOR, "RangeFlags")?,
                unit_size: at(DESCRIPTOR, "UnitSize")?,
            },
            vs: Vs {
                header: size(VS)?.next_multiple_of(0x10),
                size: at(VS, "Size")?,
                signature: at(VS, "Signature")?,
            },
            lfh: Lfh {
                block_count: at(LFH, "BlockCount")?,
                block_offsets: at(LFH, "BlockOffsets")?,
                bitmap: at(LFH, "BlockBitmap")?,
            },
        })
    }
}
