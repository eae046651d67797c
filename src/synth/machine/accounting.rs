//! The kernel's counters: trackers, big page table, descriptors, `!vm` counters.

use std::collections::BTreeMap;

use crate::addr::PAGE_SIZE;
use crate::synth::counters::{self, Places};
use crate::synth::legacy::write::Laid;
use crate::synth::legacy::{Role, big, lists};
use crate::synth::trackers::{self, Tables};
use crate::synth::truth::{Pool, Tag, TagAccount};

use super::{Builder, DESCRIPTORS, SESSIONS};

impl Builder<'_> {
    /// Writes all counters: first the truth, then the kernel's own.
    pub(super) fn accounting(&mut self, laid: &Laid) {
        self.truth.blocks = laid.blocks.clone();
        self.truth.blocks.sort_by_key(|b| b.va);
        self.truth.damaged = laid.damaged.clone();
        self.truth.free = laid.free;
        self.truth.tags = self.accounts();
        for bulk in &self.spec.bulk {
            self.truth.free += bulk.free();
        }
        let pages = |pool| laid.pages.get(&pool).copied().unwrap_or_default();
        self.truth.nonpaged_pages = pages(Pool::NonPaged);
        self.truth.paged_pages = pages(Pool::Paged);
        if self.truth.vm.nonpaged_usage == 0 {
            self.truth.vm.nonpaged_usage = self.truth.nonpaged_pages.all();
        }
        if self.truth.vm.paged_usage.is_empty() {
            self.truth.vm.paged_usage = vec![self.truth.paged_pages.all()];
        }
        self.trackers(laid);
        self.big_pages(laid);
        let places = self.places(laid);
        counters::write(&mut self.memory, &self.nt, &self.truth.vm, &places);
        self.free_blocks(laid, &places);
    }

    /// The outstanding blocks of each tag.
    fn accounts(&self) -> BTreeMap<Tag, TagAccount> {
        let mut tags: BTreeMap<Tag, TagAccount> = BTreeMap::new();
        for tag in &self.spec.options.idle_tags {
            tags.entry(*tag).or_default();
        }
        for block in self.truth.blocks.iter().filter(|b| b.state.is_counted()) {
            let account = tags.entry(block.tag).or_default();
            match block.pool {
                Pool::NonPaged => account.nonpaged.add(block.bytes),
                Pool::Paged => account.paged.add(block.bytes),
            }
        }
        for bulk in &self.spec.bulk {
            for (tag, account) in bulk.accounts() {
                let to = tags.entry(tag).or_default();
                match bulk.pool {
                    Pool::NonPaged => to.nonpaged += account,
                    Pool::Paged => to.paged += account,
                }
            }
        }
        tags
    }

    fn places(&self, laid: &Laid) -> Places {
        let role = |role| laid.roles.get(&role).copied();
        let (spec, vm) = (self.spec, &self.truth.vm);
        let two_pages = |i: u64| i * 2 * PAGE_SIZE;
        Places {
            nonpaged_start: spec.nonpaged.start,
            nonpaged_end: spec.nonpaged.start.add(vm.nonpaged_max * PAGE_SIZE),
            paged_last: spec
                .paged
                .start
                .add((vm.paged_max * PAGE_SIZE).saturating_sub(1)),
            heaps: spec.heaps.is_some(),
            paged_start: spec.paged.start,
            pfn_database: self.pfn_database(),
            paged_descriptors: (0..self.paged_pools())
                .map(|i| DESCRIPTORS.add(two_pages(i)))
                .collect(),
            sessions: (0..spec.vm.session_commit.len() as u64)
                .map(|i| SESSIONS.add(two_pages(i)))
                .collect(),
            page_files: (0..vm.page_files.len() as u8)
                .filter_map(|i| role(Role::PageFile(i)).zip(role(Role::PageFileName(i))))
                .collect(),
            frames: (
                spec.runs.first().map_or(0, |r| r.0),
                self.memory.physical.end().saturating_sub(1),
            ),
        }
    }

    /// Writes free lists and deferred frees of each descriptor.
    fn free_blocks(&mut self, laid: &Laid, places: &Places) {
        let chains = self.spec.heaps.is_none();
        let own = self.nt.variable("NonPagedPoolDescriptor");
        let Some(nonpaged) = own.filter(|_| chains) else {
            return;
        };
        let mut descriptors = vec![(Pool::NonPaged, 0, nonpaged)];
        for (i, at) in places.paged_descriptors.iter().enumerate() {
            descriptors.push((Pool::Paged, i as u8, *at));
        }
        for (pool, index, at) in descriptors {
            let empty = BTreeMap::new();
            let free = laid.free_bodies.get(&(pool, index)).unwrap_or(&empty);
            lists::free_lists(&mut self.memory, self.spec.era, at, free);
            if index == 0 {
                let none = Vec::new();
                let pending = laid.pending.get(&pool).unwrap_or(&none);
                lists::pending(&mut self.memory, self.spec.era, at, pending);
            }
        }
    }

    /// Writes the processors' tracker tables and the expansion table.
    fn trackers(&mut self, laid: &Laid) {
        let options = &self.spec.options;
        let role = |role| laid.roles.get(&role).copied();
        let tables = Tables {
            per_cpu: (0..self.spec.processors)
                .filter_map(|cpu| role(Role::TrackTable(cpu)))
                .collect(),
            entries: options.tracker_entries,
            expansion: role(Role::TrackExpansion).map(|va| (va, options.expansion_entries)),
            expanded: options.expanded.clone(),
            overflowed: options.overflowed.clone(),
            unfreed: options.unfreed.clone(),
        };
        let (nt, memory) = (&self.nt, &mut self.memory);
        if !trackers::write(memory, nt.era, &tables, &self.truth.tags, &mut self.rng) {
            self.mistakes
                .push("the tags do not fit the tracker tables".into());
        }
        let listed = match options.one_tracker {
            true => &[],
            false => tables.per_cpu.as_slice(),
        };
        for (cpu, table) in listed.iter().enumerate() {
            memory.pointer(nt.at("ExPoolTagTables").add(cpu as u64 * 8), *table);
        }
        if let Some(first) = tables.per_cpu.first() {
            memory.pointer(nt.at("PoolTrackTable"), *first);
        }
        memory.u64(nt.at("PoolTrackTableSize"), tables.entries);
        memory.u64(
            nt.at("PoolTrackTableMask"),
            tables.entries.saturating_sub(2),
        );
        if let Some((va, entries)) = tables.expansion {
            memory.pointer(nt.at("PoolTrackTableExpansion"), va);
            memory.u64(nt.at("PoolTrackTableExpansionSize"), entries);
        }
    }

    /// Writes the big page table.
    fn big_pages(&mut self, laid: &Laid) {
        let options = &self.spec.options;
        let Some(table) = laid.roles.get(&Role::BigPageTable).copied() else {
            return;
        };
        let (nt, memory) = (&self.nt, &mut self.memory);
        let shape = big::Shape {
            table,
            size: options.big_entries,
            tombstones: options.tombstones,
        };
        if !big::write(memory, nt.era, shape, &laid.big, &mut self.rng) {
            self.mistakes
                .push("the big allocations do not fit their table".into());
        }
        memory.pointer(nt.at("PoolBigPageTable"), table);
        memory.u64(nt.at("PoolBigPageTableSize"), options.big_entries);
        memory.u32(nt.at("ExpPoolBigEntriesInUse"), laid.big.len() as u32);
    }
}
