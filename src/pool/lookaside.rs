//! Blocks that are freed but look allocated: lookaside lists and deferred frees.
//!
//! Every processor has lists of freed blocks per size, linked through the blocks' bodies
//! (`KPRCB.PP*LookasideList`, arrays of `_GENERAL_LOOKASIDE_POOL`; up to NT 5.2, arrays of
//! pairs of pointers to lists). A pool descriptor has a list of pending frees. The trackers
//! count neither.

use rustc_hash::FxHashSet;

use crate::kernel::Kernel;
use crate::kernel::kdbg::field;
use crate::memory::{AddressSpace, Va};

use super::block::{HEADER_SIZE, State};

/// The lists of a KPRCB.
const LISTS: [&str; 3] = [
    "PPNPagedLookasideList",
    "PPPagedLookasideList",
    "PPNxPagedLookasideList",
];
/// A list has at most 256 blocks; this limit is for crafted depths.
const MAX_LIST: usize = 4096;
/// Limit for the deferred frees of a descriptor, also for crafted lists.
const MAX_PENDING: usize = 65_536;

/// Largest number of pool descriptors in an array on any build.
const MAX_DESCRIPTORS: u64 = 65;
/// Limit for the lists of a session, which has 21.
const MAX_SESSION_LISTS: u64 = 64;
/// Number of lists in each array of a KPRCB.
const LISTS_PER_ARRAY: u32 = 32;

/// Freed blocks on lists, by header address.
#[derive(Clone, Debug, Default)]
pub struct Parked {
    /// Header addresses in order, each with the state of the block.
    pub blocks: Vec<(Va, State)>,
    /// Remarks on broken lists.
    pub notes: Vec<String>,
}

impl Parked {
    /// Walks every list of every processor and pool descriptor.
    pub fn read(kernel: &Kernel) -> Parked {
        let mut out = Parked::default();
        lookaside_lists(kernel, &mut out);
        pending_frees(kernel, &mut out);
        out.settle();
        out
    }

    /// Walks a session's lists: `_MM_SESSION_SPACE.Lookaside`, with one list per size, and the
    /// deferred frees of its pool descriptor.
    pub fn read_session(kernel: &Kernel, space: &AddressSpace, session: Va) -> Parked {
        const TYPE: &str = "_MM_SESSION_SPACE";
        let mut out = Parked::default();
        let list = kernel.symbols.size_of("_GENERAL_LOOKASIDE");
        let lists = kernel.symbols.field(TYPE, "Lookaside");
        if let (Some(field), Some(size)) = (lists, list.filter(|&s| s >= 0x10)) {
            let mut broken = 0;
            for i in 0..u64::from(field.size / size).min(MAX_SESSION_LISTS) {
                let head = session.add(u64::from(field.offset) + i * u64::from(size));
                let (bodies, whole) = slist(space, head);
                broken += u64::from(!whole);
                out.add_bodies(&bodies, State::Lookaside);
            }
            out.note_broken(broken);
        }
        let descriptor = kernel.symbols.field(TYPE, "PagedPool");
        let size = kernel.symbols.size_of("_POOL_DESCRIPTOR");
        if let Some(field) = descriptor.filter(|f| Some(f.size) == size) {
            let at = session.add(field.offset.into());
            deferred(kernel, space, at, &mut out);
        }
        out.settle();
        out
    }

    fn settle(&mut self) {
        self.blocks.sort_unstable_by_key(|b| b.0);
        self.blocks.dedup_by_key(|b| b.0);
    }

    fn note_broken(&mut self, broken: u64) {
        if broken > 0 {
            self.notes.push(format!(
                "{broken} lookaside lists break off: some blocks parked on them may count as allocated"
            ));
        }
    }

    /// The listed blocks in a range.
    pub fn between(&self, start: Va, end: Va) -> &[(Va, State)] {
        let first = self.blocks.partition_point(|b| b.0 < start);
        let last = self.blocks.partition_point(|b| b.0 < end);
        self.blocks.get(first..last).unwrap_or_default()
    }

    fn add_bodies(&mut self, bodies: &[Va], state: State) {
        let headers = bodies
            .iter()
            .map(|body| Va(body.0.wrapping_sub(HEADER_SIZE)));
        self.blocks.extend(headers.map(|header| (header, state)));
    }
}

fn lookaside_lists(kernel: &Kernel, out: &mut Parked) {
    // Up to NT 5.2, the pool's lists have the same type as those of drivers.
    let list = ["_GENERAL_LOOKASIDE_POOL", "_GENERAL_LOOKASIDE"]
        .iter()
        .find_map(|ty| kernel.symbols.size_of(ty));
    let Some(size) = list.filter(|&s| s >= 0x10) else {
        out.notes.push(
            "the layout of lookaside lists is not known: blocks parked on them count as allocated"
                .into(),
        );
        return;
    };
    let processors = kernel.processor_blocks();
    if processors.is_empty() {
        out.notes.push("the processors' control blocks were not found: blocks parked on lookaside lists count as allocated".into());
    }
    let mut broken = 0;
    // The second lists of NT 5.2 are shared by all processors.
    let mut walked = FxHashSet::default();
    for prcb in processors {
        for list in LISTS {
            let Some(field) = kernel.symbols.field("_KPRCB", list) else {
                continue;
            };
            for head in heads(kernel, prcb.add(field.offset.into()), field.size, size) {
                if !walked.insert(head) {
                    continue;
                }
                let (bodies, whole) = slist(&kernel.space, head);
                broken += u64::from(!whole);
                out.add_bodies(&bodies, State::Lookaside);
            }
        }
    }
    out.note_broken(broken);
}

/// The list heads of an array in a KPRCB: the lists themselves, or (NT 5.2) two pointers for
/// each size, to the processor's list and to the shared list.
fn heads(kernel: &Kernel, array: Va, bytes: u32, list: u32) -> Vec<Va> {
    const POINTERS: u32 = 16;
    if bytes == LISTS_PER_ARRAY * POINTERS {
        return (0..u64::from(bytes / 8))
            .filter_map(|i| kernel.space.pointer(array.add(i * 8)).ok())
            .filter(|head| head.is_kernel())
            .collect();
    }
    (0..u64::from(bytes / list).min(64))
        .map(|i| array.add(i * u64::from(list)))
        .collect()
}

/// The entries of an `_SLIST_HEADER`: the depth is in bits 0..15 of the first qword, the first
/// entry in bits 4..63 of the second. On processors without a 16-byte compare-exchange (bit 0
/// of the second qword is 0), the entry is in bits 25..63 of the first qword. The second value
/// is false if the list is shorter than its depth or loops.
pub fn slist(space: &AddressSpace, head: Va) -> (Vec<Va>, bool) {
    let Ok([alignment, region]) = space
        .u64(head)
        .and_then(|a| Ok([a, space.u64(head.add(8))?]))
    else {
        return (Vec::new(), false);
    };
    let depth = (alignment & 0xffff) as usize;
    let first = match region & 1 {
        1 => Va(region & !0xf),
        _ if alignment >> 25 != 0 => Va(head.0 & !0x7ff_ffff_ffff | (alignment >> 25) << 4),
        _ => Va(region & !0xf),
    };
    list(space, first, depth.min(MAX_LIST))
}

/// A singly linked list of at most `depth` entries with the link in the first qword.
fn list(space: &AddressSpace, first: Va, depth: usize) -> (Vec<Va>, bool) {
    let mut entries = Vec::new();
    let mut seen = FxHashSet::default();
    let mut at = first;
    while at.0 != 0 && entries.len() < depth {
        if !at.is_kernel() || !seen.insert(at) {
            return (entries, false);
        }
        entries.push(at);
        match space.pointer(at) {
            Ok(next) => at = next,
            // The block with the link is not in the dump: the rest is unknown.
            Err(_) => return (entries, false),
        }
    }
    let whole = entries.len() == depth;
    (entries, whole)
}

/// Reads POOL_DESCRIPTOR.PendingFrees of the nonpaged and all paged descriptors.
fn pending_frees(kernel: &Kernel, out: &mut Parked) {
    let mut descriptors: Vec<Va> = Vec::new();
    let arrays = [
        (
            "ExpPagedPoolDescriptor",
            Some(field::PAGED_POOL_DESCRIPTORS),
        ),
        ("ExpNonPagedPoolDescriptor", None),
    ];
    for (array, by_kdbg) in arrays {
        let Some((array, _)) = kernel.variable(array, by_kdbg) else {
            continue;
        };
        for i in 0..by_kdbg.map_or(MAX_DESCRIPTORS, |_| paged_descriptors(kernel)) {
            match kernel.space.pointer(array.add(i * 8)) {
                Ok(at) if at.is_kernel() => descriptors.push(at),
                _ => break,
            }
        }
    }
    let by_kdbg = Some(field::NONPAGED_DESCRIPTOR);
    let nonpaged = kernel.variable("NonPagedPoolDescriptor", by_kdbg);
    descriptors.extend(nonpaged.map(|(at, _)| at));
    descriptors.sort_unstable();
    descriptors.dedup();
    for descriptor in descriptors {
        deferred(kernel, &kernel.space, descriptor, out);
    }
}

/// Number of pointers in ExpPagedPoolDescriptor: ExpNumberOfPagedPools + 1, limited by the size
/// of its array (it is shorter on NT 5.2, and other variables follow it).
fn paged_descriptors(kernel: &Kernel) -> u64 {
    kernel
        .variable("ExpNumberOfPagedPools", Some(field::NUMBER_OF_PAGED_POOLS))
        .and_then(|(at, _)| kernel.space.u32(at).ok())
        .map_or(MAX_DESCRIPTORS, |n| (u64::from(n) + 1).min(MAX_DESCRIPTORS))
}

/// The deferred frees of one descriptor.
fn deferred(kernel: &Kernel, space: &AddressSpace, descriptor: Va, out: &mut Parked) {
    let Some(offset) = kernel.offset("_POOL_DESCRIPTOR", "PendingFrees") else {
        return;
    };
    let Ok(first) = space.pointer(descriptor.add(offset)) else {
        return;
    };
    let depth = kernel
        .offset("_POOL_DESCRIPTOR", "PendingFreeDepth")
        .and_then(|at| space.u32(descriptor.add(at)).ok())
        .unwrap_or(0);
    let limit = (depth as usize).min(MAX_PENDING);
    let (bodies, whole) = list(space, first, limit);
    if !whole {
        out.notes.push(format!(
            "the list of deferred frees of the pool descriptor at {descriptor} breaks off after {} of {depth}",
            bodies.len()
        ));
    }
    out.add_bodies(&bodies, State::Free);
}
