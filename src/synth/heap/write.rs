//! Writes allocations as heaps: ranges, their contents, the heaps and `ExPoolState`.

use std::collections::BTreeMap;

use crate::addr::{PAGE_SIZE, Va};
use crate::synth::legacy::big::BigEntry;
use crate::synth::legacy::lists::List;
use crate::synth::legacy::write::{Laid, block};
use crate::synth::legacy::{Allocation, Outcome, PROTECTED, Role};
use crate::synth::paging::Memory;
use crate::synth::rng::Rng;
use crate::synth::truth::{Pool, State};

use super::heap_header::{self, HeapHeader, Parked};
use super::missing::{self, Item, Subsegment};
use super::segment::{Context, Cursor, IN_USE, LFH, VS, pages};
use super::setting::{Keys, Setting};
use super::vs::What;
use super::{Damage, LARGEST_PAGES, LARGEST_SLOT, LARGEST_UNITS, LARGEST_VS, UNIT, lfh, vs};

/// Writes all allocations.
pub fn lay(memory: &mut Memory, setting: Setting<'_>, rng: &mut Rng) -> Laid {
    let keys = Keys {
        heap: rng.bits(),
        lfh: rng.bits(),
    };
    let cursors = setting.pools.map(|pool| Cursor(pool.start.add(0x20_0000)));
    let mut writer = Writer {
        memory,
        setting,
        keys,
        rng,
        cursors,
        laid: Laid::default(),
        subsegments: Vec::new(),
        parked: Parked::default(),
        neighbours: Vec::new(),
    };
    let heads = writer.heaps();
    heap_header::write(writer.memory, &writer.setting, keys, &heads, &writer.parked);
    // Remove pages last: they can't be written afterwards.
    writer.settle(&heads);
    writer.laid
}

struct Writer<'a, 'b> {
    memory: &'a mut Memory,
    setting: Setting<'b>,
    keys: Keys,
    rng: &'a mut Rng,
    /// Next free addresses of the nonpaged and the paged pool.
    cursors: [Cursor; 2],
    laid: Laid,
    subsegments: Vec<Subsegment>,
    parked: Parked,
    neighbours: Vec<Va>,
}

/// The heap of a node for an allocation: nonpaged, nonpaged NX, paged, and paged for prototype
/// entries.
fn heap_of(allocation: &Allocation) -> u64 {
    match (allocation.pool, allocation.nx) {
        (Pool::NonPaged, false) => 0,
        (Pool::NonPaged, true) => 1,
        (Pool::Paged, _) if allocation.tag == *b"MmSt" => 3,
        (Pool::Paged, _) => 2,
    }
}

/// A heap while it is filled.
struct Heap {
    head: HeapHeader,
    contexts: [Context; 2],
    pool: Pool,
}

impl Writer<'_, '_> {
    /// Fills all heaps of all nodes.
    fn heaps(&mut self) -> Vec<HeapHeader> {
        let nodes = self.setting.shape.nodes.max(1);
        let mut split: BTreeMap<(u64, u64), Vec<u32>> = BTreeMap::new();
        for node in 0..nodes {
            for heap in 0..4 {
                split.insert((node, heap), Vec::new());
            }
        }
        for (i, allocation) in self.setting.allocations.iter().enumerate() {
            let node = self.rng.below(nodes);
            let own = split.entry((node, heap_of(allocation))).or_default();
            own.push(i as u32);
        }
        let mut heads = Vec::new();
        for ((node, number), allocations) in split {
            let mut heap = self.begin(node, number);
            self.fill(&mut heap, allocations);
            let secret = (self.setting.encoding.mix, self.keys.heap);
            for context in &heap.contexts {
                context.write(self.memory, &self.setting.nt, heap.head.at, secret);
            }
            heap.head.segments = heap
                .contexts
                .map(|c| c.segments.iter().map(|s| s.va).collect());
            heads.push(heap.head);
        }
        heads
    }

    fn cursor(&mut self, pool: Pool) -> &mut Cursor {
        let [nonpaged, paged] = &mut self.cursors;
        match pool {
            Pool::NonPaged => nonpaged,
            Pool::Paged => paged,
        }
    }

    fn begin(&mut self, node: u64, number: u64) -> Heap {
        let pool = if number < 2 {
            Pool::NonPaged
        } else {
            Pool::Paged
        };
        let at = self.cursor(pool).take(0x10_0000, 0x10_0000);
        self.memory.map_new(at, 1);
        let nt = &self.setting.nt;
        let size = nt.era.size("_HEAP_SEG_CONTEXT").unwrap_or(0);
        let contexts = nt.field(at, "_SEGMENT_HEAP", "SegContexts");
        let units = self.setting.shape.units;
        Heap {
            head: HeapHeader::new(at, node, number),
            // Number 0 is the executable nonpaged heap.
            contexts: [0, 1].map(|i| Context::new(contexts.add(i * size), i, units, number == 0)),
            pool,
        }
    }

    /// Sorts a heap's allocations by backend and writes them.
    fn fill(&mut self, heap: &mut Heap, mut allocations: Vec<u32>) {
        self.rng.shuffle(&mut allocations);
        let mut slots: BTreeMap<(u64, bool), Vec<u32>> = BTreeMap::new();
        let mut chunks: BTreeMap<bool, Vec<u32>> = BTreeMap::new();
        for i in allocations {
            let Some(allocation) = self.setting.allocations.get(i as usize).copied() else {
                continue;
            };
            let kept = allocation.role != Role::Filler || allocation.outcome != Outcome::Live;
            // The slots of a size are used after a number of requests.
            let active = !(allocation.bytes / UNIT).is_multiple_of(3)
                && allocation.outcome != Outcome::Delayed;
            match allocation.bytes {
                ..=LARGEST_SLOT if active => {
                    slots.entry((allocation.bytes, kept)).or_default().push(i)
                }
                ..=LARGEST_VS => chunks.entry(kept).or_default().push(i),
                _ => self.whole_pages(heap, &allocation),
            }
        }
        for ((bytes, kept), own) in slots {
            for group in own.chunks(60) {
                self.lfh(heap, bytes, group, kept);
            }
        }
        for (kept, own) in chunks {
            let mut group = Vec::new();
            let mut bytes = 0;
            for i in own {
                let next = self.bytes(i);
                if bytes + next > 0x1_0000 && !group.is_empty() {
                    self.vs(heap, &std::mem::take(&mut group), kept);
                    bytes = 0;
                }
                group.push(i);
                bytes += next;
            }
            if !group.is_empty() {
                self.vs(heap, &group, kept);
            }
        }
        self.unused_lfh(heap);
    }

    fn bytes(&self, i: u32) -> u64 {
        self.setting
            .allocations
            .get(i as usize)
            .map_or(0, |d| d.bytes)
    }

    fn place(&mut self, heap: &mut Heap, context: usize, bytes: u64, flags: u8) -> Va {
        let mut rng = self.rng.clone();
        let mut cursor = *self.cursor(heap.pool);
        let va = match heap.contexts.get_mut(context) {
            Some(context) => context.place(bytes, flags, &mut cursor, &mut rng),
            None => Va(0),
        };
        *self.cursor(heap.pool) = cursor;
        *self.rng = rng;
        va
    }

    /// Writes an allocation of whole pages: a range of the first or second context, or its own
    /// address range.
    fn whole_pages(&mut self, heap: &mut Heap, allocation: &Allocation) {
        let va = match allocation.bytes {
            ..=LARGEST_PAGES => self.place(heap, 0, allocation.bytes, IN_USE),
            bytes if bytes <= LARGEST_UNITS => self.place(heap, 1, bytes, IN_USE),
            _ => {
                let va = self.cursor(heap.pool).take(allocation.bytes, 0x1_0000);
                heap.head.large.push((va, pages(allocation.bytes)));
                va
            }
        };
        let count = pages(allocation.bytes);
        self.memory.map_new(va, count);
        self.laid.pages.entry(allocation.pool).or_default().big += count;
        // Allocations with their own address range are counted separately.
        if allocation.bytes <= LARGEST_UNITS {
            heap.head.committed += count;
        }
        self.big(allocation, va);
    }

    /// Records an allocation of whole pages.
    fn big(&mut self, allocation: &Allocation, va: Va) {
        if let Role::Leak(number) = allocation.role
            && let Some(page) = self.memory.page_mut(va)
        {
            self.setting.contents.leaked(page, number, allocation.bytes);
        }
        self.laid
            .blocks
            .push(block(allocation, va, State::Allocated));
        self.laid.roles.insert(allocation.role, va);
        self.laid.big.push(BigEntry {
            va,
            tag: allocation.tag,
            protected: allocation.protected,
            pool: allocation.pool,
            nx: allocation.nx,
            bytes: allocation.bytes,
        });
    }

    /// Maps the committed pages of a subsegment.
    fn commit(
        &mut self,
        heap: &mut Heap,
        va: Va,
        count: u64,
        hole: impl Fn(u64) -> bool,
    ) -> Vec<Va> {
        let mut mapped = Vec::new();
        for page in (0..count).filter(|page| !hole(*page)) {
            let at = va.add(page * PAGE_SIZE);
            let frame = self.memory.physical.allocate(1);
            self.memory.map(at, heap.contexts[0].entry(frame));
            // Committed pages count as written.
            self.memory.physical.page_mut(frame);
            mapped.push(at);
        }
        heap.head.committed += mapped.len() as u64;
        self.laid.pages.entry(heap.pool).or_default().small += mapped.len() as u64;
        mapped
    }

    fn vs(&mut self, heap: &mut Heap, allocations: &[u32], kept: bool) {
        let blocks: Vec<(u32, u64)> = allocations.iter().map(|&i| (i, self.bytes(i))).collect();
        let nt = self.setting.nt;
        let first = nt.era.size("_HEAP_VS_SUBSEGMENT").unwrap_or(0);
        let first = first.next_multiple_of(UNIT);
        let plan = vs::compose(&blocks, first, self.setting.shape.plain, self.rng);
        let va = self.place(heap, 0, plan.pages * PAGE_SIZE, VS);
        let mapped = self.commit(heap, va, plan.pages, |page| plan.is_decommitted(page));
        let field = |name| nt.field(va, "_HEAP_VS_SUBSEGMENT", name);
        let units = ((plan.end - first) / UNIT) as u16;
        let full = mapped.len() as u64 == plan.pages && !self.setting.shape.plain;
        let signature = (units ^ 0x2bed) & 0x7fff | u16::from(full) << 15;
        self.memory.u16(field("Size"), units);
        self.memory.u16(field("Signature"), signature);
        let bits = mapped.iter().map(|page| (page.0 - va.0) / PAGE_SIZE);
        let committed = bits
            .filter(|bit| *bit < 64)
            .fold(0, |all, bit| all | 1 << bit);
        self.memory.u64(field("CommitBitmap"), committed);
        heap.head.vs.push(va);
        let mut out = Subsegment {
            pool: heap.pool,
            pages: mapped,
            kept,
            chunks: Vec::new(),
            items: Vec::new(),
            free: Vec::new(),
        };
        let mut previous = 0;
        for (number, chunk) in plan.chunks.iter().enumerate() {
            let at = va.add(chunk.at);
            self.chunk_header(va, at, chunk, previous);
            previous = chunk.bytes / UNIT;
            out.chunks.push(at);
            match chunk.what {
                What::Free => out.free.push((number, chunk.bytes - UNIT)),
                What::Block { allocation, header } => {
                    let va = va.add(header);
                    out.items.push(Item {
                        va,
                        allocation,
                        chunk: number,
                    });
                    self.block(heap, allocation, va);
                }
                What::Pages { allocation, data } => {
                    if let Some(allocation) =
                        self.setting.allocations.get(allocation as usize).copied()
                    {
                        self.big(&allocation, va.add(data));
                    }
                }
            }
        }
        self.subsegments.push(out);
    }

    /// Writes `_HEAP_VS_CHUNK_HEADER`: sizes XORed with address and key, then the page in the
    /// subsegment and whether the end is unused.
    fn chunk_header(&mut self, start: Va, at: Va, chunk: &vs::Chunk, previous: u64) {
        let allocated = u64::from(chunk.what != What::Free);
        let cost = self.rng.below(4);
        let bits = cost | (chunk.bytes / UNIT) << 16 | previous << 32 | allocated << 48;
        self.memory.u64(at, bits ^ at.0 ^ self.keys.heap);
        let page = ((at.0 - start.0) / PAGE_SIZE) ^ self.keys.heap ^ at.0;
        let unused = u32::from(chunk.slack > 0) << 8;
        self.memory.u32(at.add(8), page as u32 & 0xff | unused);
    }

    fn lfh(&mut self, heap: &mut Heap, bytes: u64, allocations: &[u32], kept: bool) {
        let nt = self.setting.nt;
        let bitmap = nt
            .era
            .offset("_HEAP_LFH_SUBSEGMENT", "BlockBitmap")
            .unwrap_or(0);
        let plan = lfh::compose(allocations, bytes, bitmap, self.rng);
        let va = self.place(heap, 0, plan.pages * PAGE_SIZE, LFH);
        let mapped = self.commit(heap, va, plan.pages, |_| false);
        self.lfh_header(va, &plan);
        let mut out = Subsegment {
            pool: heap.pool,
            pages: mapped,
            kept,
            chunks: Vec::new(),
            items: Vec::new(),
            free: Vec::new(),
        };
        let mut bits = vec![0u8; plan.slots.len().div_ceil(4)];
        for (i, slot) in plan.slots.iter().enumerate() {
            let at = va.add(plan.at(i));
            let pair = match slot {
                Some(_) if self.rng.one_in(3) && !self.setting.shape.plain => 3,
                Some(_) => 1,
                None if plan.straddles(i) => self.rng.below(2) as u8,
                None => 0,
            };
            if let Some(byte) = bits.get_mut(i / 4) {
                *byte |= pair << (i % 4 * 2);
            }
            match *slot {
                Some(allocation) => {
                    out.items.push(Item {
                        va: at,
                        allocation,
                        chunk: 0,
                    });
                    self.block(heap, allocation, at);
                }
                None if plan.straddles(i) => {}
                None => {
                    out.free.push((0, bytes));
                    self.used_before(at, bytes, heap.pool);
                }
            }
        }
        self.memory.write(va.add(bitmap), &bits);
        self.subsegments.push(out);
    }

    fn lfh_header(&mut self, va: Va, plan: &lfh::Plan) {
        let nt = self.setting.nt;
        let field = |name| nt.field(va, "_HEAP_LFH_SUBSEGMENT", name);
        let page = match self.setting.encoding.whole_address {
            true => (va.0 >> 12) as u32,
            false => va.0 as u32 >> 12,
        };
        let offsets = (plan.first as u32) << 16 | plan.bytes as u32;
        let free = plan.slots.iter().filter(|s| s.is_none()).count();
        self.memory
            .u32(field("BlockOffsets"), offsets ^ self.keys.lfh as u32 ^ page);
        self.memory.u16(field("FreeCount"), free as u16);
        self.memory
            .u16(field("BlockCount"), plan.slots.len() as u16);
        let pages = plan.pages as u8;
        self.memory.write(field("CommitUnitShift"), &[12, pages]);
        self.memory
            .write(field("CommitStateOffset"), &[plan.commit_state as u8]);
    }

    /// Writes the header that a freed slot keeps.
    fn used_before(&mut self, at: Va, bytes: u64, pool: Pool) {
        if self.rng.one_in(2) {
            let head = [
                0,
                0,
                (bytes / UNIT) as u8,
                2 | u8::from(pool == Pool::Paged),
            ];
            self.memory.write(at, &head);
            self.memory.write(at.add(4), b"Gone");
        }
    }

    /// Adds a subsegment that was not assigned to a size.
    fn unused_lfh(&mut self, heap: &mut Heap) {
        let va = self.place(heap, 0, PAGE_SIZE, LFH);
        self.commit(heap, va, 1, |_| false);
    }

    /// Writes the POOL_HEADER and contents of a block, and adds it to its list.
    fn block(&mut self, heap: &mut Heap, index: u32, va: Va) {
        let Some(allocation) = self.setting.allocations.get(index as usize).copied() else {
            return;
        };
        let plain = allocation.role == Role::Filler && allocation.outcome == Outcome::Live;
        let kind = 2 | u8::from(allocation.pool == Pool::Paged);
        let aligned = va.add(2 * UNIT).0.next_multiple_of(0x40);
        let distance = aligned - UNIT - va.0;
        if plain && distance > UNIT && allocation.bytes > distance + 2 * UNIT && self.rng.one_in(8)
        {
            // Aligned to a cache line: a second header is directly before the owner's bytes.
            self.pool_header(va, 0, allocation.bytes, kind | 4, &allocation);
            let second = va.add(distance);
            self.pool_header(
                second,
                distance,
                allocation.bytes - distance,
                kind | 4,
                &allocation,
            );
            return;
        }
        let quota = if plain && self.rng.one_in(9) { 8 } else { 0 };
        self.pool_header(va, 0, allocation.bytes, kind | quota, &allocation);
        let body = va.add(UNIT);
        let mut bytes = vec![0; (allocation.bytes - UNIT) as usize];
        let contents = &mut self.setting.contents;
        contents.neighbours.clone_from(&self.neighbours);
        contents.fill(&mut bytes, body, &allocation.tag, self.rng);
        self.memory.write(body, &bytes);
        if self.neighbours.len() < 16 {
            self.neighbours.push(body);
        }
        self.park(heap, &allocation, body);
    }

    fn pool_header(&mut self, va: Va, before: u64, bytes: u64, kind: u8, allocation: &Allocation) {
        let head = [(before / UNIT) as u8, 0, (bytes / UNIT) as u8, kind];
        self.memory.write(va, &head);
        let bit = if allocation.protected { PROTECTED } else { 0 };
        self.memory
            .u32(va.add(4), u32::from_le_bytes(allocation.tag) | bit);
        if self.rng.one_in(5) {
            self.memory.u64(va.add(8), self.rng.bits());
        }
    }

    fn park(&mut self, heap: &mut Heap, allocation: &Allocation, body: Va) {
        match allocation.outcome {
            Outcome::Live => {}
            Outcome::Lookaside(cpu) => {
                let key = (cpu, List::of(allocation), allocation.bytes / UNIT);
                self.laid.parked.entry(key).or_default().push(body);
            }
            Outcome::Dynamic | Outcome::Pending => {
                let lookaside = (heap.head.node, allocation.pool);
                let buckets = self.parked.dynamic.entry(lookaside).or_default();
                buckets
                    .entry(heap_header::bucket(allocation.bytes))
                    .or_default()
                    .push(body);
            }
            Outcome::Delayed => heap.head.delayed.push(body),
        }
        if allocation.role != Role::Filler {
            self.laid.roles.insert(allocation.role, body);
        }
    }

    /// Removes pages and records the resulting states of the blocks.
    fn settle(&mut self, heads: &[HeapHeader]) {
        let mut absent = missing::apply(
            self.memory,
            &self.subsegments,
            &self.setting.pools,
            self.keys.heap,
            self.rng,
        );
        if self.setting.shape.damage == Some(Damage::LostHeader) {
            let lists = heads.iter().map(|h| &h.segments);
            let segment = lists.filter_map(|[pages, _]| pages.get(1)).next();
            if let Some(segment) = segment {
                absent.hide(self.memory, *segment, 0x10_0000);
            }
        }
        for subsegment in &self.subsegments {
            for bytes in absent.free(subsegment) {
                self.laid.free.add(bytes);
            }
            let states = absent.states(subsegment);
            for (item, gone) in subsegment.items.iter().zip(states) {
                let Some(allocation) = self.setting.allocations.get(item.allocation as usize)
                else {
                    continue;
                };
                let state = match allocation.outcome {
                    Outcome::Live => gone.unwrap_or(State::Allocated),
                    // Freed, regardless of the state of its page.
                    _ => State::Lookaside,
                };
                self.laid.blocks.push(block(allocation, item.va, state));
            }
        }
        for pool in [Pool::NonPaged, Pool::Paged] {
            let (paged_out, omitted) = absent.counts(&self.subsegments, pool);
            let pages = self.laid.pages.entry(pool).or_default();
            pages.paged_out += paged_out;
            pages.omitted += omitted;
        }
        self.laid.damaged = absent.damaged();
    }
}
