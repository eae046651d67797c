//! Freed blocks that a heap keeps for reuse: dynamic lookaside lists per node, and the delayed
//! frees of VS contexts. Their chunks and slots still count as allocated, and their headers
//! keep the tag.
//!
//! Lists differ in whether they link bodies, POOL_HEADERs or chunk headers, and so do builds.
//! So an entry is stored unchanged and compared with the blocks found, the body first:
//! comparing all three at once would also match the neighbour of a block of 0x20 bytes.

use rustc_hash::FxHashSet;

use crate::kernel::Kernel;
use crate::memory::{AddressSpace, Va};
use crate::pool::block::{Block, HEADER_SIZE, State};
use crate::pool::lookaside::slist;

use super::heaps::Heaps;

/// Largest number of slots in a VS context's map.
const MAX_AFFINITY: u64 = 256;
/// Number of buckets of a dynamic lookaside.
const MAX_BUCKETS: u64 = 64;

/// The entries of all lists.
#[derive(Clone, Debug, Default)]
pub struct Parking {
    /// In address order.
    entries: Vec<Va>,
    /// Remarks on broken lists.
    pub notes: Vec<String>,
}

impl Parking {
    /// Walks all lists.
    pub fn read(kernel: &Kernel, heaps: &Heaps) -> Parking {
        let mut out = Parking::default();
        let mut heads = Vec::new();
        for node in &heaps.nodes {
            dynamic(kernel, heaps, *node, &mut heads);
        }
        let contexts: FxHashSet<Va> = heaps.contexts.iter().map(|c| c.heap).collect();
        for heap in contexts {
            let vs = heap.add(heaps.layout.heap.vs_context);
            delayed(kernel, &heaps.space, vs, &mut heads);
        }
        let mut broken = 0;
        for head in heads {
            let (entries, whole) = slist(&heaps.space, head);
            out.entries.extend(entries);
            broken += u64::from(!whole);
        }
        if broken > 0 {
            out.notes.push(format!(
                "{broken} lists of freed blocks break off: some of those may count as allocated"
            ));
        }
        out.entries.sort_unstable();
        out.entries.dedup();
        out
    }

    /// Marks the blocks among `blocks` that are on a list. `blocks` are in address order and
    /// between `start` and `end`.
    pub fn mark(&self, start: Va, end: Va, blocks: &mut [Block]) {
        let first = self.entries.partition_point(|e| *e < start);
        let last = self
            .entries
            .partition_point(|e| e.0 < end.0.saturating_add(HEADER_SIZE));
        for entry in self.entries.get(first..last).unwrap_or_default() {
            let body = entry.0.wrapping_sub(HEADER_SIZE);
            let places = [body, entry.0, entry.0.wrapping_add(HEADER_SIZE)];
            let found = places
                .iter()
                .find_map(|va| blocks.binary_search_by_key(va, |b| b.va.0).ok());
            if let Some(block) = found.and_then(|i| blocks.get_mut(i)) {
                block.state = State::Lookaside;
            }
        }
    }
}

/// The list heads of a node's `_RTL_DYNAMIC_LOOKASIDE`s.
fn dynamic(kernel: &Kernel, heaps: &Heaps, node: Va, heads: &mut Vec<Va>) {
    const TYPE: &str = "_RTL_DYNAMIC_LOOKASIDE";
    let size = kernel.symbols.size_of(TYPE).map(u64::from);
    let bucket = kernel.symbols.size_of("_RTL_LOOKASIDE").map(u64::from);
    let buckets = kernel.symbols.field(TYPE, "Buckets");
    let list = kernel.offset("_RTL_LOOKASIDE", "ListHead");
    let (Some(size), Some(bucket), Some(buckets), Some(list)) = (size, bucket, buckets, list)
    else {
        return;
    };
    if size == 0 || bucket == 0 {
        return;
    }
    let (at, bytes) = heaps.layout.state.lookasides;
    for i in 0..bytes / size {
        let lookaside = node.add(at + i * size);
        for b in 0..(u64::from(buckets.size) / bucket).min(MAX_BUCKETS) {
            heads.push(lookaside.add(u64::from(buckets.offset) + b * bucket + list));
        }
    }
}

/// The list heads of a VS context's delayed frees: in the context itself, or (26100) in the
/// affinity slots of its slot map.
fn delayed(kernel: &Kernel, space: &AddressSpace, context: Va, heads: &mut Vec<Va>) {
    if let Some(offset) = kernel.offset("_HEAP_VS_CONTEXT", "DelayFreeContext") {
        heads.push(context.add(offset));
        return;
    }
    let map = kernel.offset("_HEAP_VS_CONTEXT", "SlotMapRef");
    let mask = kernel.offset("_HEAP_VS_CONTEXT", "AffinityMask");
    let list = kernel.offset("_HEAP_VS_AFFINITY_SLOT", "DelayFreeContext");
    let (Some(map), Some(mask), Some(list)) = (map, mask, list) else {
        return;
    };
    // References are offsets from the context in units of 64 bytes.
    let read = || {
        let map = space.u16(context.add(map)).ok()?;
        let mask = space.u8(context.add(mask)).ok()?;
        Some((context.add(u64::from(map) << 6), u64::from(mask) + 1))
    };
    let Some((map, entries)) = read() else {
        return;
    };
    let mut seen = FxHashSet::default();
    for i in 0..entries.min(MAX_AFFINITY) {
        if let Ok(slot) = space.u16(map.add(i * 4))
            && seen.insert(slot)
        {
            heads.push(context.add((u64::from(slot) << 6) + list));
        }
    }
}
