//! The heaps: `_SEGMENT_HEAP`, the nodes of `ExPoolState`, lists of freed blocks, the keys, and
//! deliberate damage.

use std::collections::BTreeMap;

use crate::addr::{PAGE_SIZE, Va};
use crate::synth::kernel::Nt;
use crate::synth::legacy::lists::slist;
use crate::synth::paging::Memory;
use crate::synth::truth::Pool;

use super::Damage;
use super::setting::{Keys, Setting};

/// `_SEGMENT_HEAP.Signature`.
const SIGNATURE: u32 = 0xddee_ddee;
/// Number of buckets of a dynamic lookaside.
const BUCKETS: u32 = 64;
/// The smallest size in a dynamic lookaside, and the size range of a bucket, in bytes.
const DYNAMIC: (u64, u64) = (0x200, 0x40);

/// The bucket of a size.
pub fn bucket(bytes: u64) -> u64 {
    (bytes.saturating_sub(DYNAMIC.0) / DYNAMIC.1).min(u64::from(BUCKETS) - 1)
}

/// A heap while it is filled.
#[derive(Clone, Debug)]
pub struct HeapHeader {
    /// Address of its `_SEGMENT_HEAP`.
    pub at: Va,
    /// Its node.
    pub node: u64,
    /// Its index in the node.
    pub number: u64,
    /// Allocations with their own address range, and their numbers of pages.
    pub large: Vec<(Va, u64)>,
    /// VS subsegments.
    pub vs: Vec<Va>,
    /// Bodies of blocks whose frees are delayed.
    pub delayed: Vec<Va>,
    /// Pages in use.
    pub committed: u64,
    /// Segments of the two contexts.
    pub segments: [Vec<Va>; 2],
}

impl HeapHeader {
    /// An empty heap.
    pub fn new(at: Va, node: u64, number: u64) -> HeapHeader {
        HeapHeader {
            at,
            node,
            number,
            large: Vec::new(),
            vs: Vec::new(),
            delayed: Vec::new(),
            committed: 0,
            segments: [Vec::new(), Vec::new()],
        }
    }
}

/// Blocks that nodes keep for reuse: by node and pool, then by bucket.
#[derive(Clone, Debug, Default)]
pub struct Parked {
    /// Addresses of the bodies.
    pub dynamic: BTreeMap<(u64, Pool), BTreeMap<u64, Vec<Va>>>,
}

/// Writes the heaps, the nodes and the keys.
pub fn write(
    memory: &mut Memory,
    setting: &Setting<'_>,
    keys: Keys,
    heads: &[HeapHeader],
    parked: &Parked,
) {
    const STATE: &str = "_EX_POOL_HEAP_MANAGER_STATE";
    let nt = &setting.nt;
    let state = nt.at("ExPoolState");
    let field = |name| nt.field(state, STATE, name);
    let globals = nt.at("RtlpHpHeapGlobals");
    memory.pointer(field("HeapManager"), globals);
    memory.u64(
        nt.field(globals, "_RTLP_HP_HEAP_GLOBALS", "HeapKey"),
        keys.heap,
    );
    memory.u64(
        nt.field(globals, "_RTLP_HP_HEAP_GLOBALS", "LfhKey"),
        keys.lfh,
    );
    memory.u32(field("NumberOfPools"), setting.shape.nodes as u32);
    if let Some(enabled) = nt.variable("ExpHeapBackedPoolEnabledState") {
        memory.u32(enabled, 1);
    }
    let node_size = nt.era.size("_EX_HEAP_POOL_NODE").unwrap_or(0);
    let node = |number: u64| field("PoolNode").add(number * node_size);
    for head in heads {
        let slot = nt.field(node(head.node), "_EX_HEAP_POOL_NODE", "Heaps");
        memory.pointer(slot.add(head.number * 8), head.at);
        heap(
            memory,
            nt,
            head,
            lookaside(nt, node(head.node), head.number >= 2),
        );
    }
    for ((number, pool), buckets) in &parked.dynamic {
        let at = lookaside(nt, node(*number), *pool == Pool::Paged);
        dynamic(memory, nt, at, buckets);
    }
    damage(memory, nt, setting.shape.damage, heads);
}

/// A node's dynamic lookaside: the first one is for the nonpaged heaps.
fn lookaside(nt: &Nt, node: Va, paged: bool) -> Va {
    let size = nt.era.size("_RTL_DYNAMIC_LOOKASIDE").unwrap_or(0);
    let first = nt.field(node, "_EX_HEAP_POOL_NODE", "Lookasides");
    first.add(if paged { size } else { 0 })
}

fn dynamic(memory: &mut Memory, nt: &Nt, at: Va, buckets: &BTreeMap<u64, Vec<Va>>) {
    let field = |name| nt.field(at, "_RTL_DYNAMIC_LOOKASIDE", name);
    let size = nt.era.size("_RTL_LOOKASIDE").unwrap_or(0);
    let enabled = buckets.keys().fold(0, |bits, bucket| bits | 1u64 << bucket);
    memory.u64(field("EnabledBucketBitmap"), enabled);
    memory.u32(field("BucketCount"), BUCKETS);
    memory.u32(field("ActiveBucketCount"), buckets.len() as u32);
    for (bucket, bodies) in buckets {
        let own = field("Buckets").add(bucket * size);
        slist(
            memory,
            nt.field(own, "_RTL_LOOKASIDE", "ListHead"),
            bodies,
            false,
        );
        memory.u16(nt.field(own, "_RTL_LOOKASIDE", "Depth"), 32);
    }
}

fn heap(memory: &mut Memory, nt: &Nt, head: &HeapHeader, lookaside: Va) {
    const TYPE: &str = "_SEGMENT_HEAP";
    let field = |name| nt.field(head.at, TYPE, name);
    memory.u32(field("Signature"), SIGNATURE);
    memory.pointer(field("UserContext"), lookaside);
    let large: u64 = head.large.iter().map(|(_, pages)| pages).sum();
    memory.u64(field("LargeReservedPages"), large);
    memory.u64(field("LargeCommittedPages"), large);
    memory.u64(field("MemStats.TotalReservedPages"), head.committed * 2);
    memory.u64(field("MemStats.TotalCommittedPages"), head.committed);
    large_metadata(memory, nt, head);
    let vs = field("VsContext");
    let delayed = nt.era.offset("_HEAP_VS_CONTEXT", "DelayFreeContext");
    match delayed {
        Some(offset) => {
            let list = nt.field(vs, "_HEAP_VS_CONTEXT", "SubsegmentList");
            memory.ring(list, &head.vs);
            slist(memory, vs.add(offset), &head.delayed, false);
        }
        None => affinity_slots(memory, nt, head, vs),
    }
}

/// Offset of the nodes of large allocations in the heap's page.
const LARGE_AT: u64 = 0xf00;

/// LargeAllocMetadata: a tree of `_HEAP_LARGE_ALLOC_DATA`, here a chain to the right. Pointers
/// are XORed with the tree's address, as bit 0 of its second field indicates.
fn large_metadata(memory: &mut Memory, nt: &Nt, head: &HeapHeader) {
    let tree = nt.field(head.at, "_SEGMENT_HEAP", "LargeAllocMetadata");
    let at = |i: usize| head.at.add(LARGE_AT + i as u64 * 0x28);
    let room = ((PAGE_SIZE - LARGE_AT) / 0x28) as usize;
    let own = head.large.get(..room).unwrap_or(&head.large);
    for (i, (va, pages)) in own.iter().enumerate() {
        let next = if i + 1 < own.len() {
            at(i + 1).0 ^ tree.0
        } else {
            0
        };
        memory.u64(at(i).add(8), next);
        memory.pointer(
            nt.field(at(i), "_HEAP_LARGE_ALLOC_DATA", "VirtualAddress"),
            *va,
        );
        memory.u64(at(i).add(0x20), pages << 12);
    }
    if !own.is_empty() {
        memory.u64(tree, at(0).0 ^ tree.0);
    }
    memory.u64(tree.add(8), 1);
}

/// Offsets of the slot map and of two slots from the heap (24H2); the map refers to each twice.
const SLOT_MAP: u64 = 0xc00;
const SLOTS: [u64; 2] = [0xc40, 0xcc0];

/// `_HEAP_VS_AFFINITY_SLOT`s: each group of processors has its own subsegments and delayed
/// frees. References are in units of 64 bytes from the context.
fn affinity_slots(memory: &mut Memory, nt: &Nt, head: &HeapHeader, vs: Va) {
    const SLOT: &str = "_HEAP_VS_AFFINITY_SLOT";
    let reference = |offset: u64| (head.at.0 + offset - vs.0) / 64;
    memory.u16(
        nt.field(vs, "_HEAP_VS_CONTEXT", "SlotMapRef"),
        reference(SLOT_MAP) as u16,
    );
    memory.write(nt.field(vs, "_HEAP_VS_CONTEXT", "AffinityMask"), &[3]);
    for i in 0..4u64 {
        let slot = SLOTS.get(i as usize % 2).copied().unwrap_or(0);
        let at = head.at.add(SLOT_MAP + i * 4);
        memory.u16(at, reference(slot) as u16);
    }
    let half = head.delayed.len() / 2;
    let (some, others) = head.delayed.split_at(half);
    let half = head.vs.len() / 2;
    let (some_vs, others_vs) = head.vs.split_at(half);
    for (offset, delayed, subsegments) in [(SLOTS[0], some, some_vs), (SLOTS[1], others, others_vs)]
    {
        let at = head.at.add(offset);
        memory.pointer(nt.field(at, SLOT, "VsContext"), vs);
        memory.ring(nt.field(at, SLOT, "SubsegmentList"), subsegments);
        slist(
            memory,
            nt.field(at, SLOT, "DelayFreeContext"),
            delayed,
            false,
        );
    }
}

fn damage(memory: &mut Memory, nt: &Nt, damage: Option<Damage>, heads: &[HeapHeader]) {
    let context = |head: &HeapHeader, number: u64| {
        let size = nt.era.size("_HEAP_SEG_CONTEXT").unwrap_or(0);
        let first = nt.field(head.at, "_SEGMENT_HEAP", "SegContexts");
        nt.field(
            first.add(number * size),
            "_HEAP_SEG_CONTEXT",
            "SegmentListHead",
        )
    };
    match damage {
        // Pages are removed elsewhere, after everything is written.
        None | Some(Damage::LostHeader) => {}
        Some(Damage::CutList) => {
            let [first, _] = heads
                .iter()
                .map(|h| &h.segments)
                .find(|[first, _]| first.len() >= 4)
                .cloned()
                .unwrap_or_default();
            if let (Some(start), Some(end)) = (first.first(), first.last()) {
                memory.u64(*start, 0);
                memory.u64(end.add(8), 0);
            }
        }
        Some(Damage::LoopingList) => {
            for head in heads {
                let [first, _] = &head.segments;
                if let (Some(start), Some(end)) = (first.first(), first.last()) {
                    memory.pointer(*end, *start);
                }
            }
        }
        Some(Damage::HeapAtItself) => {
            for head in heads {
                memory.pointer(context(head, 1), head.at);
                memory.pointer(head.at, head.at);
            }
        }
        Some(Damage::ManyPools) => {
            let state = nt.at("ExPoolState");
            let count = nt.field(state, "_EX_POOL_HEAP_MANAGER_STATE", "NumberOfPools");
            memory.u32(count, 1 << 31);
        }
    }
}
