//! Lists of blocks that are not in use: lookaside lists, deferred frees, free lists.
//!
//! A lookaside list is an `_SLIST_HEADER`: the depth is in the low 16 bits; the first entry is
//! in bits 4..63 of the second qword, or packed into bits 25..63 of the first on processors
//! without a 16-byte compare-exchange. Entries are block bodies that start with the link. Free
//! lists are `LIST_ENTRY` rings through the bodies, one per size.

use std::collections::BTreeMap;

use crate::addr::Va;
use crate::synth::era::Era;
use crate::synth::paging::Memory;
use crate::synth::truth::{Pool, Tag};

use super::allocation::Allocation;

/// Number of lists per processor and pool: for blocks of 1 to 32 units.
pub const LISTS: u64 = 32;

/// One of a processor's arrays of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// PPNPagedLookasideList.
    NonPaged,
    /// PPNxPagedLookasideList (Windows 8 and later).
    NonPagedNx,
    /// PPPagedLookasideList.
    Paged,
}

impl List {
    /// The list for a freed block.
    pub fn of(allocation: &Allocation) -> List {
        match (allocation.pool, allocation.nx) {
            (Pool::Paged, _) => List::Paged,
            (Pool::NonPaged, true) => List::NonPagedNx,
            (Pool::NonPaged, false) => List::NonPaged,
        }
    }
}

/// Freed blocks on lists, by processor, list and units.
pub type Parked = BTreeMap<(u16, List, u64), Vec<Va>>;

/// Writes a processor's arrays of lookaside lists. `prcb` is its control block.
pub fn lookaside(
    memory: &mut Memory,
    era: &Era,
    (cpu, prcb): (u16, Va),
    parked: &Parked,
    packed: bool,
) {
    let Some(size) = era.size("_GENERAL_LOOKASIDE_POOL") else {
        return;
    };
    let fields = [
        "Depth",
        "MaximumDepth",
        "TotalAllocates",
        "TotalFrees",
        "Type",
        "Tag",
        "Size",
    ];
    let [depth, most, allocates, frees, kind, tag, bytes] =
        fields.map(|name| era.offset("_GENERAL_LOOKASIDE_POOL", name).unwrap_or(0));
    let arrays = [
        (List::NonPaged, "PPNPagedLookasideList"),
        (List::NonPagedNx, "PPNxPagedLookasideList"),
        (List::Paged, "PPPagedLookasideList"),
    ];
    for (list, name) in arrays {
        let Some(array) = era.offset("_KPRCB", name).map(|offset| prcb.add(offset)) else {
            continue;
        };
        for i in 0..LISTS {
            let at = array.add(i * size);
            let empty = Vec::new();
            let bodies = parked.get(&(cpu, list, i + 1)).unwrap_or(&empty);
            slist(memory, at, bodies, packed);
            memory.u16(at.add(depth), 4);
            memory.u16(at.add(most), 256);
            memory.u32(at.add(allocates), 400 + i as u32 * 7);
            memory.u32(at.add(frees), 390 + i as u32 * 7);
            memory.u32(at.add(kind), u32::from(list == List::Paged));
            memory.write(at.add(tag), b"Pool");
            memory.u32(at.add(bytes), (i as u32 + 1) * 16);
        }
    }
}

/// Addresses of lists that a processor's control block only refers to.
#[derive(Clone, Copy, Debug)]
pub struct Pairs {
    /// The two arrays of processor 0, and the distance to those of the next processor.
    pub own: (Va, u64),
    /// The second lists, shared by all processors: nonpaged and paged.
    pub shared: [Va; 2],
}

/// NT 5.2: `_PP_LOOKASIDE_LIST` has two pointers for each size, to the processor's own list and
/// to a shared list. `prcbs` are the control blocks in order.
pub fn lookaside_pairs(
    memory: &mut Memory,
    era: &Era,
    prcbs: &[Va],
    pairs: &Pairs,
    (parked, packed): (&Parked, bool),
) {
    const TYPE: &str = "_GENERAL_LOOKASIDE";
    let size = era.size(TYPE).unwrap_or(0x80);
    let arrays = [
        (List::NonPaged, "PPNPagedLookasideList"),
        (List::Paged, "PPPagedLookasideList"),
    ];
    for ((kind, (list, name)), shared) in arrays.into_iter().enumerate().zip(pairs.shared) {
        for i in 0..LISTS {
            let mut second = Vec::new();
            let shared = shared.add(i * size);
            for (cpu, prcb) in prcbs.iter().enumerate() {
                let own = pairs.own.0.add(cpu as u64 * pairs.own.1);
                let own = own.add((kind as u64 * LISTS + i) * size);
                let array = prcb.add(era.offset("_KPRCB", name).unwrap_or(0));
                memory.pointer(array.add(i * 16), own);
                memory.pointer(array.add(i * 16 + 8), shared);
                let bodies = parked.get(&(cpu as u16, list, i + 1));
                let mut bodies = bodies.cloned().unwrap_or_default();
                // Blocks that do not fit in the processor's own list go to the shared list.
                second.extend(bodies.split_off(bodies.len().div_ceil(2)));
                slist(memory, own, &bodies, packed);
                describe(memory, era, own, (list, i));
            }
            slist(memory, shared, &second, packed);
            describe(memory, era, shared, (list, i));
        }
    }
}

fn describe(memory: &mut Memory, era: &Era, at: Va, (list, i): (List, u64)) {
    let field = |name| at.add(era.offset("_GENERAL_LOOKASIDE", name).unwrap_or(0));
    memory.u16(field("Depth"), 4);
    memory.u16(field("MaximumDepth"), 256);
    memory.u32(field("Type"), u32::from(list == List::Paged));
    memory.write(field("Tag"), b"Pool");
    memory.u32(field("Size"), (i as u32 + 1) * 16);
}

/// Writes an `_SLIST_HEADER` and the links of its entries.
pub fn slist(memory: &mut Memory, head: Va, bodies: &[Va], packed: bool) {
    for pair in bodies.windows(2) {
        if let [body, next] = pair {
            memory.pointer(*body, *next);
        }
    }
    if let Some(last) = bodies.last() {
        memory.u64(*last, 0);
    }
    let depth = bodies.len() as u64;
    let first = bodies.first().map_or(0, |va| va.0);
    if packed {
        // 39 bits of the entry's address, without its low 4; the other bits are those of the
        // head.
        let entry = first >> 4 & 0x7f_ffff_ffff;
        memory.u64(head, entry << 25 | depth);
        memory.u64(head.add(8), 2);
    } else {
        memory.u64(head, depth | depth << 16);
        memory.u64(head.add(8), first | 3);
    }
}

/// Writes POOL_DESCRIPTOR.PendingFrees: a chain of bodies and its length.
pub fn pending(memory: &mut Memory, era: &Era, descriptor: Va, bodies: &[Va]) {
    let field = |name| era.offset("_POOL_DESCRIPTOR", name).unwrap_or(0);
    let mut link = descriptor.add(field("PendingFrees"));
    for body in bodies {
        memory.pointer(link, *body);
        link = *body;
    }
    memory.u64(link, 0);
    memory.u32(
        descriptor.add(field("PendingFreeDepth")),
        bodies.len() as u32,
    );
}

/// Writes POOL_DESCRIPTOR.ListHeads: a ring per size; `free` has bodies by units.
pub fn free_lists(memory: &mut Memory, era: &Era, descriptor: Va, free: &BTreeMap<u64, Vec<Va>>) {
    let heads = descriptor.add(era.offset("_POOL_DESCRIPTOR", "ListHeads").unwrap_or(0));
    for units in 0..256u64 {
        let empty = Vec::new();
        let bodies = free.get(&units).unwrap_or(&empty);
        memory.ring(heads.add(units * 16), bodies);
    }
}

/// A tag as a key of a table.
pub fn key(tag: &Tag) -> u32 {
    u32::from_le_bytes(*tag)
}
