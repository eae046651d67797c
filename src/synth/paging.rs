//! Four-level page tables of x64, including the invalid entries that have a meaning for
//! Windows.
//!
//! Bits of valid entries are defined by the processor (Intel SDM, volume 3, 4-level paging).
//! Those of the others are `_MMPTE_SOFTWARE`, `_MMPTE_TRANSITION` and `_MMPTE_PROTOTYPE` of the
//! public symbols of 6.1.7601.

use std::collections::HashMap;

use crate::addr::{PAGE_SIZE, Pa, Pfn, Va};

use super::physical::{Page, Physical};

/// Slot of the top table that maps the tables themselves: FFFFF680`00000000.
pub const SELF_MAP_SLOT: u64 = 0x1ed;

/// Address of the entry for the lowest page in the self-map.
pub const PTE_BASE: u64 = 0xffff_0000_0000_0000 | SELF_MAP_SLOT << 39;

/// Frame of System's root table; lower frames belong to the firmware and loader.
const SYSTEM_ROOT: Pfn = Pfn(0x187);

const VALID: u64 = 1;
/// Written, owner kernel, accessed, dirty, global, writable copy.
const TABLE_BITS: u64 = 0x063;
const DATA_BITS: u64 = 0x963;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const PROTOTYPE: u64 = 1 << 10;
const TRANSITION: u64 = 1 << 11;
const SWIZZLE: u64 = 1 << 4;
/// Protection 4 (read and write) in bits 5..9.
const READ_WRITE: u64 = 4 << 5;

/// The content of a page-table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// In memory, data.
    Data(Pfn),
    /// In memory, code.
    Code(Pfn),
    /// On the standby or modified list: still in memory.
    Transition(Pfn),
    /// The entry at this address applies.
    Prototype(Va),
    /// In a page file: file number, and page in the file.
    PageFile(u8, u32),
    /// Never written: zeros by definition.
    DemandZero,
    /// These raw bits.
    Raw(u64),
}

/// Physical memory and the page tables of the kernel half.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The frames.
    pub physical: Physical,
    root: Pfn,
    /// XORed into entries that are not valid (the L1TF mask of patched kernels).
    pub invalid_mask: u64,
    /// Table pages by level and index, so that mapping does not need to walk from the top.
    tables: HashMap<(u8, u64), Pfn>,
    /// Frames of pages whose entry is not valid, for writing to them.
    indirect: HashMap<u64, Pfn>,
    cached: Option<(u64, Pfn)>,
    unmapped_writes: Vec<Va>,
}

impl Memory {
    /// Creates a root table with its self-map, at the frame of System's on Windows 7, or as
    /// close as memory allows.
    pub fn new(mut physical: Physical) -> Memory {
        physical.skip_to(SYSTEM_ROOT);
        let root = physical.allocate(1);
        let mut memory = Memory {
            physical,
            root,
            invalid_mask: 0,
            tables: HashMap::new(),
            indirect: HashMap::new(),
            cached: None,
            unmapped_writes: Vec::new(),
        };
        memory.set(root, SELF_MAP_SLOT, root.base().0 | TABLE_BITS);
        memory
    }

    /// Address of the root table, for CR3.
    pub fn root(&self) -> Pa {
        self.root.base()
    }

    /// Addresses that were written without being mapped: mistakes of the builder.
    pub fn unmapped_writes(&self) -> &[Va] {
        &self.unmapped_writes
    }

    fn set(&mut self, table: Pfn, index: u64, entry: u64) {
        let at = index as usize * 8;
        if let Some(slot) = self.physical.page_mut(table).get_mut(at..at + 8) {
            slot.copy_from_slice(&entry.to_le_bytes());
        }
    }

    fn get(&self, table: Pfn, index: u64) -> u64 {
        let at = index as usize * 8;
        let bytes = self
            .physical
            .page(table)
            .and_then(|page| page.get(at..at + 8));
        bytes
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    }

    /// The table with the entry for `va` at a level (0 for pages, 1 for 2 MB, 2 for 1 GB, 3 for
    /// the root), created if missing.
    fn table(&mut self, va: Va, level: u8) -> Pfn {
        if level >= 3 {
            return self.root;
        }
        let key = (level, va.0 >> (21 + 9 * u32::from(level)));
        if let Some(pfn) = self.tables.get(&key) {
            return *pfn;
        }
        let above = self.table(va, level + 1);
        let pfn = self.physical.allocate(1);
        // Table pages are in the dump even if all their entries are 0.
        self.physical.page_mut(pfn);
        self.set(above, index(va, level + 1), pfn.base().0 | TABLE_BITS);
        self.tables.insert(key, pfn);
        pfn
    }

    /// Sets the entry of a page.
    pub fn map(&mut self, va: Va, entry: Entry) {
        let page = va.0 / PAGE_SIZE;
        match entry {
            Entry::Data(_) | Entry::Code(_) => {}
            Entry::Transition(pfn) => {
                self.indirect.insert(page, pfn);
            }
            _ => {
                self.indirect.remove(&page);
            }
        }
        self.cached = None;
        let raw = self.encode(entry);
        let table = self.table(va, 0);
        self.set(table, index(va, 0), raw);
    }

    /// The bits of an entry.
    pub fn encode(&self, entry: Entry) -> u64 {
        let raw = match entry {
            Entry::Data(pfn) => return pfn.base().0 | DATA_BITS | NO_EXECUTE,
            Entry::Code(pfn) => return pfn.base().0 | DATA_BITS,
            Entry::Raw(raw) => return raw,
            Entry::Transition(pfn) => pfn.base().0 | TRANSITION | READ_WRITE,
            Entry::Prototype(at) => at.0 << 16 | PROTOTYPE | READ_WRITE,
            Entry::PageFile(file, page) => {
                u64::from(page) << 32 | u64::from(file & 0xf) << 12 | READ_WRITE
            }
            Entry::DemandZero => READ_WRITE,
        };
        match raw & self.invalid_mask {
            // The mask is applied if it only sets bits; bit 4 marks entries without it.
            0 => raw ^ self.invalid_mask,
            _ => raw | SWIZZLE,
        }
    }

    /// Maps consecutive pages to consecutive frames.
    pub fn map_run(&mut self, va: Va, first: Pfn, pages: u64) {
        for i in 0..pages {
            self.map(va.add(i * PAGE_SIZE), Entry::Data(Pfn(first.0 + i)));
        }
    }

    /// Allocates frames and maps them.
    pub fn map_new(&mut self, va: Va, pages: u64) -> Pfn {
        let first = self.physical.allocate(pages);
        self.map_run(va, first, pages);
        first
    }

    /// Maps 2 MB as one page; both address and frame are aligned.
    pub fn map_2m(&mut self, va: Va, first: Pfn) {
        self.cached = None;
        let table = self.table(va, 1);
        let raw = first.base().0 | DATA_BITS | LARGE | NO_EXECUTE;
        self.set(table, index(va, 1), raw);
    }

    /// Maps 1 GB as one page; both address and frame are aligned.
    pub fn map_1g(&mut self, va: Va, first: Pfn) {
        self.cached = None;
        let table = self.table(va, 2);
        let raw = first.base().0 | DATA_BITS | LARGE | NO_EXECUTE;
        self.set(table, index(va, 2), raw);
    }

    /// Sets the frame of a page whose entry does not contain it (a prototype's).
    pub fn lend(&mut self, va: Va, pfn: Pfn) {
        self.indirect.insert(va.0 / PAGE_SIZE, pfn);
        self.cached = None;
    }

    /// The frame of a page.
    pub fn frame(&self, va: Va) -> Option<Pfn> {
        if let Some(pfn) = self.indirect.get(&(va.0 / PAGE_SIZE)) {
            return Some(*pfn);
        }
        let mut table = self.root;
        for level in (0..4u8).rev() {
            let raw = self.get(table, index(va, level));
            if raw & VALID == 0 {
                return None;
            }
            let pfn = raw >> 12 & 0xff_ffff_ffff;
            if level > 0 && level < 3 && raw & LARGE != 0 {
                let inside = (1u64 << (9 * u32::from(level))) - 1;
                return Some(Pfn(pfn & !inside | va.0 >> 12 & inside));
            }
            table = Pfn(pfn);
        }
        Some(table)
    }

    /// Puts the page table for the 2 MB around `va` on the standby list: its entry one level up
    /// becomes a transition entry. Its pages can't be written any more.
    pub fn retire_table(&mut self, va: Va) {
        let Some(pfn) = self.tables.get(&(0, va.0 >> 21)).copied() else {
            return;
        };
        let raw = self.encode(Entry::Transition(pfn));
        let above = self.table(va, 1);
        self.set(above, index(va, 1), raw);
        self.cached = None;
    }

    /// Maps a new page at a user-mode address under the given root.
    pub fn map_user(&mut self, root: Pa, va: Va) -> &mut Page {
        const USER: u64 = 4;
        let mut table = root.pfn();
        for level in (1..4u8).rev() {
            let next = self.physical.allocate(1);
            self.set(table, index(va, level), next.base().0 | TABLE_BITS | USER);
            table = next;
        }
        let page = self.physical.allocate(1);
        let entry = page.base().0 | DATA_BITS | NO_EXECUTE | USER;
        self.set(table, index(va, 0), entry);
        self.physical.page_mut(page)
    }

    /// Creates a second root with the same kernel half and its own self-map, for another
    /// process.
    pub fn clone_root(&mut self) -> Pa {
        let root = self.physical.allocate(1);
        for slot in 256..512 {
            let entry = self.get(self.root, slot);
            if entry != 0 {
                self.set(root, slot, entry);
            }
        }
        let own = root.base().0 | TABLE_BITS;
        self.set(root, SELF_MAP_SLOT, own);
        root.base()
    }

    /// Runs `work` in the address space of another root, from [`Memory::clone_root`]. New
    /// mappings must be below entries of that root that are still empty.
    pub fn within<R>(&mut self, root: Pa, work: impl FnOnce(&mut Memory) -> R) -> R {
        let outer = std::mem::replace(&mut self.root, Pfn(root.0 / PAGE_SIZE));
        let tables = std::mem::take(&mut self.tables);
        let indirect = std::mem::take(&mut self.indirect);
        self.cached = None;
        let out = work(self);
        self.root = outer;
        self.tables = tables;
        self.indirect = indirect;
        self.cached = None;
        out
    }

    /// Reads a u64 that does not cross a page; 0 if unmapped.
    pub fn read(&self, va: Va) -> u64 {
        let page = self.frame(va).and_then(|pfn| self.physical.page(pfn));
        let bytes = page.and_then(|page| page.get(va.offset()..va.offset() + 8));
        bytes
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    }

    fn frame_cached(&mut self, va: Va) -> Option<Pfn> {
        let page = va.0 / PAGE_SIZE;
        if let Some((_, pfn)) = self.cached.filter(|(cached, _)| *cached == page) {
            return Some(pfn);
        }
        let pfn = self.frame(va)?;
        self.cached = Some((page, pfn));
        Some(pfn)
    }

    /// The bytes of the page that contains `va`; `None` if unmapped, which is recorded.
    pub fn page_mut(&mut self, va: Va) -> Option<&mut Page> {
        match self.frame_cached(va) {
            Some(pfn) => Some(self.physical.page_mut(pfn)),
            None => {
                self.unmapped_writes.push(va);
                None
            }
        }
    }

    /// Writes bytes, across pages.
    pub fn write(&mut self, va: Va, bytes: &[u8]) {
        let (mut at, mut rest) = (va, bytes);
        while !rest.is_empty() {
            let room = PAGE_SIZE as usize - at.offset();
            let (now, later) = rest.split_at(room.min(rest.len()));
            if let Some(page) = self.page_mut(at)
                && let Some(to) = page.get_mut(at.offset()..at.offset() + now.len())
            {
                to.copy_from_slice(now);
            }
            at = at.add(now.len() as u64);
            rest = later;
        }
    }

    /// Writes a u16.
    pub fn u16(&mut self, va: Va, value: u16) {
        self.write(va, &value.to_le_bytes());
    }

    /// Writes a u32.
    pub fn u32(&mut self, va: Va, value: u32) {
        self.write(va, &value.to_le_bytes());
    }

    /// Writes a u64.
    pub fn u64(&mut self, va: Va, value: u64) {
        self.write(va, &value.to_le_bytes());
    }

    /// Writes a pointer.
    pub fn pointer(&mut self, va: Va, value: Va) {
        self.u64(va, value.0);
    }

    /// Writes a `UNICODE_STRING` whose text is at `buffer`, and the text.
    pub fn unicode_string(&mut self, va: Va, buffer: Va, text: &str) {
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.u16(va, bytes.len() as u16);
        self.u16(va.add(2), bytes.len() as u16 + 2);
        self.pointer(va.add(8), buffer);
        self.write(buffer, &bytes);
    }

    /// Links `LIST_ENTRY`s in a ring with a head.
    pub fn ring(&mut self, head: Va, links: &[Va]) {
        let mut before = head;
        for &link in links {
            self.pointer(before, link);
            self.pointer(link.add(8), before);
            before = link;
        }
        self.pointer(before, head);
        self.pointer(head.add(8), before);
    }
}

fn index(va: Va, level: u8) -> u64 {
    va.0 >> (12 + 9 * u32::from(level)) & 511
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory::new(Physical::new(vec![(1, 0x9e), (0x100, 0x700)]))
    }

    #[test]
    fn the_self_map_shows_an_entry_at_its_own_address() {
        let mut memory = memory();
        let va = Va(0xffff_f880_1234_5000);
        let frame = memory.map_new(va, 1);
        let entry_at = Va(0xffff_f680_0000_0000 + (va.0 >> 9 & 0x7f_ffff_fff8));
        let table = memory.frame(entry_at);
        let raw = table.map(|table| memory.get(table, entry_at.0 >> 3 & 511));
        assert_eq!(raw.map(|raw| raw >> 12 & 0xff_ffff_ffff), Some(frame.0));
    }

    #[test]
    fn pages_of_all_sizes_lead_to_their_frames() {
        let mut memory = memory();
        let large = memory.physical.allocate_aligned(512);
        memory.map_2m(Va(0xffff_fa80_0140_0000), large);
        memory.map_1g(Va(0xffff_f8c0_0000_0000), Pfn(0));
        let at = |va| memory.frame(Va(va));
        assert_eq!(at(0xffff_fa80_0140_5000), Some(Pfn(large.0 + 5)));
        assert_eq!(at(0xffff_f8c0_0018_7000), Some(Pfn(0x187)));
        assert_eq!(at(0xffff_fa80_0160_0000), None);
    }

    #[test]
    fn the_mask_applies_only_to_invalid_entries() {
        let mut memory = memory();
        memory.invalid_mask = 1 << 45;
        let frame = Pfn(0x123);
        assert_eq!(memory.encode(Entry::Data(frame)) & 1 << 45, 0);
        let transition = memory.encode(Entry::Transition(frame));
        assert_eq!(transition & (1 << 45 | SWIZZLE), 1 << 45);
        // A page-file entry that already has the bit is marked by bit 4.
        let paged = memory.encode(Entry::PageFile(0, 1 << 13));
        assert_eq!(paged & (1 << 45 | SWIZZLE), 1 << 45 | SWIZZLE);
    }

    #[test]
    fn writes_to_unmapped_addresses_are_recorded() {
        let mut memory = memory();
        memory.u64(Va(0xffff_f880_0000_0000), 1);
        assert_eq!(memory.unmapped_writes(), [Va(0xffff_f880_0000_0000)]);
    }
}
