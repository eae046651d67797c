//! Finds the heaps, their contexts and their segments.

use rustc_hash::FxHashSet;

use crate::kernel::Kernel;
use crate::memory::{AddressSpace, CHUNK_SIZE, Chunk, Va};
use crate::pool::block::PoolKind;

use super::heaps::{Area, Context, HEAP_SIGNATURE, Heaps, PageSegment, SMALLEST_SEGMENT};
use super::layout::Layout;
use super::private;

/// The constants that a segment's signature is XORed with: the first up to build 22000, zero
/// from 26100.
const SEGMENT_MIX: [u64; 2] = [0xa2e6_4ead_a2e6_4ead, 0];
/// A context with more segments is damaged (16 TB of 1 MB segments).
const MAX_SEGMENTS: usize = 1 << 24;
/// Bytes of address space per top-level page-table entry.
const SLOT: u64 = 1 << 39;

impl Heaps {
    /// Finds the system's heaps; `None` if this kernel's pool does not use segment heaps.
    /// `areas` are the pool areas known from other sources.
    pub fn find(kernel: &Kernel, areas: &[Area]) -> Option<Heaps> {
        let layout = Layout::of(&kernel.symbols)?;
        let state = kernel.symbol("ExPoolState")?;
        let pools = kernel
            .space
            .u32(state.add(layout.state.number_of_pools))
            .ok()
            .map(u64::from)
            .filter(|n| *n > 0)?;
        let mut out = Heaps::empty(layout, &kernel.space);
        let l = &out.layout.state;
        out.nodes = (0..pools.min(l.node_count))
            .map(|i| state.add(l.nodes + i * l.node_size))
            .collect();
        // Heaps are recognised by their signature, so all candidate locations can be tried.
        if pools > out.layout.state.node_count {
            out.notes.push(format!(
                "nt!ExPoolState says it has {pools} nodes, which is not plausible: all {} places \
                    for them were tried",
                out.layout.state.node_count
            ));
        }
        let private = private::find(kernel, &out, state);
        out.nodes.extend(&private.nodes);
        out.notes.extend(private.notes);
        out.add_heaps(state);
        for heap in private.heaps {
            let kind = out.kind_by_segment(heap, areas).unwrap_or_else(|| {
                out.notes.push(format!(
                    "the private pool's heap at {heap} is in no known region: its blocks are \
                        counted as nonpaged, as those of most drivers are"
                ));
                PoolKind::NonPagedNx
            });
            out.add_heap(heap, kind, false);
        }
        let mut out = out.complete(kernel, state)?;
        out.add_unlisted(areas);
        Some(out)
    }

    /// Finds the heaps of a session with its `_EX_HEAP_SESSION_STATE` at `state`: one heap for
    /// paged pool, one for special pool.
    pub fn find_in_session(kernel: &Kernel, space: &AddressSpace, state: Va) -> Option<Heaps> {
        const STATE: &str = "_EX_HEAP_SESSION_STATE";
        let layout = Layout::of(&kernel.symbols)?;
        let paged = kernel.offset(STATE, "PagedHeap")?;
        let special = kernel.offset(STATE, "SpecialPoolHeap");
        let mut out = Heaps::empty(layout, space);
        let mut pointers = vec![(state.add(paged), PoolKind::Session, false)];
        pointers.extend(special.map(|s| (state.add(s), PoolKind::Session, true)));
        out.add_pointers(pointers);
        let manager = kernel.offset(STATE, "HeapManager").unwrap_or(0);
        out.complete(kernel, state.add(manager))
    }

    /// Reads keys and segments; `manager` starts with the pointer to the globals.
    fn complete(mut self, kernel: &Kernel, manager: Va) -> Option<Heaps> {
        if self.contexts.is_empty() {
            return None;
        }
        self.read_keys(kernel, manager);
        self.add_segments();
        Some(self)
    }

    fn add_heaps(&mut self, state: Va) {
        let kinds = [
            PoolKind::NonPaged,
            PoolKind::NonPagedNx,
            PoolKind::Paged,
            PoolKind::Paged,
        ];
        let l = &self.layout.state;
        let mut pointers: Vec<(Va, PoolKind, bool)> = Vec::new();
        for node in &self.nodes {
            for i in 0..l.heap_count {
                let kind = kinds.get(i as usize).copied().unwrap_or(PoolKind::Paged);
                pointers.push((node.add(l.heaps + i * 8), kind, false));
            }
        }
        for i in 0..l.special_count {
            let kind = kinds.get(i as usize).copied().unwrap_or(PoolKind::Paged);
            pointers.push((state.add(l.special + i * 8), kind, true));
        }
        self.add_pointers(pointers);
    }

    /// The pool of a heap's segments; `None` if they are not in a known region.
    fn kind_by_segment(&self, heap: Va, areas: &[Area]) -> Option<PoolKind> {
        let l = &self.layout;
        let lists = (0..l.heap.context_count)
            .map(|i| heap.add(l.heap.contexts + i * l.context.size + l.context.list));
        let first = lists.filter_map(|list| self.space.pointer(list).ok());
        let area = |va: Va| areas.iter().find(|a| (a.start..a.end).contains(&va));
        first.filter_map(area).map(|a| a.kind).next()
    }

    fn add_pointers(&mut self, pointers: Vec<(Va, PoolKind, bool)>) {
        let mut seen = FxHashSet::default();
        for (pointer, kind, special) in pointers {
            match self.space.pointer(pointer) {
                Ok(heap) if heap.0 == 0 || !seen.insert(heap) => {}
                Ok(heap) => self.add_heap(heap, kind, special),
                Err(fault) => self.notes.push(format!(
                    "the pointer to a pool heap at {pointer} can't be read: {fault}"
                )),
            }
        }
    }

    fn add_heap(&mut self, heap: Va, kind: PoolKind, special: bool) {
        let signature = self.space.u32(heap.add(self.layout.heap.signature));
        match signature {
            Ok(HEAP_SIGNATURE) if heap.is_kernel() => {}
            Ok(_) => {
                self.notes.push(format!(
                    "the {} heap at {heap} has no heap's signature: its blocks are missing",
                    kind.word()
                ));
                return;
            }
            Err(fault) => {
                self.notes.push(format!(
                    "the {} heap at {heap} can't be read ({fault}): its blocks are missing",
                    kind.word()
                ));
                return;
            }
        }
        for i in 0..self.layout.heap.context_count {
            let at = heap.add(self.layout.heap.contexts + i * self.layout.context.size);
            match self.context(at, heap, kind, special) {
                Some(context) => self.contexts.push(context),
                None => self.notes.push(format!(
                    "a context of the {} heap at {heap} is not plausible: its blocks are missing",
                    kind.word()
                )),
            }
        }
    }

    fn context(&self, at: Va, heap: Va, kind: PoolKind, special: bool) -> Option<Context> {
        let l = &self.layout.context;
        let mask = self.space.u64(at.add(l.mask)).ok()?;
        let unit_shift = self.space.u8(at.add(l.unit_shift)).ok()?;
        let first_descriptor = self.space.u8(at.add(l.first)).ok()?;
        // The stored mask is the two's complement of the size.
        let segment_bytes = mask.wrapping_neg();
        let sound = segment_bytes.is_power_of_two()
            && (SMALLEST_SEGMENT..=0x400_0000).contains(&segment_bytes)
            && (12..=20).contains(&unit_shift)
            && segment_bytes >> unit_shift <= 256;
        sound.then(|| Context {
            at,
            heap,
            kind,
            special,
            unit_shift,
            segment_bytes,
            first_descriptor,
            count: self.space.u64(at.add(l.count)).ok(),
        })
    }

    fn read_keys(&mut self, kernel: &Kernel, manager: Va) {
        let offset = |name, or| kernel.offset("_RTLP_HP_HEAP_GLOBALS", name).unwrap_or(or);
        let pointed = self.space.pointer(manager).ok().filter(|g| g.is_kernel());
        let globals = kernel.symbol("RtlpHpHeapGlobals").or(pointed);
        let read = |name, or| {
            let at = globals?.add(offset(name, or));
            self.space.u64(at).ok()
        };
        self.keys.lfh = read("LfhKey", 8);
        match read("HeapKey", 0) {
            Some(key) => self.keys.heap = key,
            None => self.derive_key(),
        }
        if self.keys.lfh.is_none() {
            self.notes.push(
                "the key of the low-fragmentation heaps can't be read: their blocks are missing"
                    .into(),
            );
        }
    }

    /// Derives the key from the first segments of the contexts: the most frequent value, if at
    /// least two segments agree.
    fn derive_key(&mut self) {
        let mut votes: Vec<(u64, usize)> = Vec::new();
        for context in &self.contexts {
            let Ok(va) = self.space.pointer(context.at.add(self.layout.context.list)) else {
                continue;
            };
            let Ok(signature) = self.space.u64(va.add(self.layout.segment.signature)) else {
                continue;
            };
            for mix in SEGMENT_MIX {
                let key = signature ^ va.0 ^ context.at.0 ^ mix;
                match votes.iter_mut().find(|v| v.0 == key) {
                    Some(vote) => vote.1 += 1,
                    None => votes.push((key, 1)),
                }
            }
        }
        match votes.into_iter().max_by_key(|v| v.1).filter(|v| v.1 > 1) {
            Some((key, votes)) => {
                self.keys.heap = key;
                self.notes.push(format!(
                    "the heap key was worked out from {votes} segments that agree"
                ));
            }
            None => self
                .notes
                .push("the heap key can't be read: variable-size blocks are missing".into()),
        }
    }

    fn add_segments(&mut self) {
        let mut seen = FxHashSet::default();
        for index in 0..self.contexts.len() {
            let found = self.list(index, &mut seen);
            let expected = self.contexts.get(index).and_then(|c| c.count);
            if expected.is_some_and(|n| n > found) {
                self.short.push((index, found));
            }
        }
        if !self.short.is_empty() {
            self.scan(&mut seen);
            self.note_short();
        }
        self.segments.sort_unstable_by_key(|s| s.va);
    }

    /// Searches the mapped parts of the pools for segments that are on no list, and records
    /// parts that belong to no segment.
    fn add_unlisted(&mut self, areas: &[Area]) {
        let own = self.own_areas();
        let areas = if areas.is_empty() { &own } else { areas };
        let mut loose: Vec<(Chunk, PoolKind)> = Vec::new();
        for area in areas {
            let mapped = self.space.mapped(area.start, area.end);
            loose.extend(mapped.chunks.into_iter().map(|c| (c, area.kind)));
        }
        loose.sort_unstable_by_key(|(chunk, _)| chunk.va);
        loose.dedup_by_key(|(chunk, _)| chunk.va);
        loose.retain(|(chunk, _)| !self.holds(chunk));
        let mut seen: FxHashSet<Va> = self.segments.iter().map(|s| s.va).collect();
        let before = self.segments.len();
        for (chunk, _) in &loose {
            self.recognise(chunk, &mut seen);
        }
        let found = self.segments.len() - before;
        if found > 0 {
            self.segments.sort_unstable_by_key(|s| s.va);
            loose.retain(|(chunk, _)| !self.holds(chunk));
            self.notes.push(format!(
                "{found} segments of pool heaps are not in a list; they were found by their signatures"
            ));
        }
        self.orphans = loose;
    }

    /// Areas with known segments, in units of top-level page-table entries.
    fn own_areas(&self) -> Vec<Area> {
        let mut out: Vec<Area> = Vec::new();
        for segment in &self.segments {
            let start = Va(segment.va.0 & !(SLOT - 1));
            let kind = self.contexts.get(segment.context).map(|c| c.kind);
            if let Some(kind) = kind
                && out.last().is_none_or(|a| a.start != start)
            {
                let end = Va(start.0.saturating_add(SLOT));
                out.push(Area { start, end, kind });
            }
        }
        out
    }

    /// True for a piece that is entirely inside segments.
    fn holds(&self, chunk: &Chunk) -> bool {
        let halves = [0, CHUNK_SIZE / 2].map(|half| chunk.va.add(half));
        halves.into_iter().all(|va| self.holding(va).is_some())
    }

    /// Follows a context's list forward, and backward if it is broken. Returns the number of
    /// segments found.
    fn list(&mut self, index: usize, seen: &mut FxHashSet<Va>) -> u64 {
        let Some(context) = self.contexts.get(index).cloned() else {
            return 0;
        };
        let head = context.at.add(self.layout.context.list);
        let mut found = 0;
        for link in [0, 8] {
            let mut at = head;
            while self.segments.len() < MAX_SEGMENTS {
                let Ok(next) = self.space.pointer(at.add(link)) else {
                    break;
                };
                if next == head {
                    // The list is complete; the backward direction is not needed.
                    return found;
                }
                if !self.is_segment(next, &context) || !seen.insert(next) {
                    break;
                }
                self.segments.push(PageSegment {
                    va: next,
                    context: index,
                });
                found += 1;
                at = next;
            }
        }
        found
    }

    fn is_segment(&self, va: Va, context: &Context) -> bool {
        va.is_kernel()
            && va.0 & (context.segment_bytes - 1) == 0
            && self.owner(va) == Some(context.at)
    }

    /// The context that a segment's signature refers to.
    fn owner(&self, va: Va) -> Option<Va> {
        let signature = self.space.u64(va.add(self.layout.segment.signature)).ok()?;
        SEGMENT_MIX
            .iter()
            .map(|mix| Va(signature ^ va.0 ^ self.keys.heap ^ mix))
            .find(|owner| self.contexts.iter().any(|c| c.at == *owner))
    }

    /// Checks every mapped megabyte under the top-level entries that contain known heaps or
    /// segments.
    fn scan(&mut self, seen: &mut FxHashSet<Va>) {
        let known = self.segments.iter().map(|s| s.va);
        let heaps = self.contexts.iter().map(|c| c.heap);
        let slots: FxHashSet<u64> = known.chain(heaps).map(|va| va.0 / SLOT).collect();
        for slot in slots {
            let start = Va(slot * SLOT);
            let end = Va(start.0.saturating_add(SLOT));
            for chunk in self.space.mapped(start, end).chunks {
                self.recognise(&chunk, seen);
            }
        }
    }

    /// Adds the segments that start in a piece, recognised by their signatures.
    fn recognise(&mut self, chunk: &Chunk, seen: &mut FxHashSet<Va>) {
        for half in [0, CHUNK_SIZE / 2] {
            let va = chunk.va.add(half);
            let Some(owner) = self.owner(va) else {
                continue;
            };
            let context = self
                .contexts
                .iter()
                .position(|c| c.at == owner && va.0 & (c.segment_bytes - 1) == 0);
            if let Some(context) = context.filter(|_| seen.insert(va)) {
                self.segments.push(PageSegment { va, context });
            }
        }
    }

    fn note_short(&mut self) {
        for &(index, listed) in &self.short {
            let Some(context) = self.contexts.get(index) else {
                continue;
            };
            let found = self.segments.iter().filter(|s| s.context == index).count() as u64;
            let says = context.count.unwrap_or(0);
            self.notes.push(format!(
                "a {} heap says it has {says} segments; its list gave {listed}, a search for their signatures {} more{}",
                context.kind.word(),
                found.saturating_sub(listed),
                if found < says { "; the blocks of the others are missing" } else { "" }
            ));
        }
    }
}
