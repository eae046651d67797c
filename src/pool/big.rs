//! The big page table: allocations of a page and more, which have no header.
//!
//! `_POOL_TRACKER_BIG_PAGES`: Va (bit 0 set: the entry is free), Key, PoolType, NumberOfBytes.
//! A free entry keeps its old values, so only the bit shows whether it is free.

use crate::bytes::{u32_at, u64_at};
use crate::kernel::Kernel;
use crate::memory::{AddressSpace, PAGE_SIZE, Va};
use crate::symbols::Field;

use super::block::{Backend, Block, PoolKind, State};
use super::legacy::Encoding;
use super::region::Regions;
use super::tag::{PROTECTED, Tag};
use super::tracker;

/// One allocation of whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BigBlock {
    /// First byte, page aligned.
    pub va: Va,
    /// NumberOfBytes.
    pub bytes: u64,
    /// Key, with the protected bit.
    pub key: u32,
    /// From PoolType.
    pub kind: PoolKind,
}

impl BigBlock {
    /// The allocation as a block of the index.
    pub fn block(&self) -> Block {
        Block {
            va: self.va,
            bytes: self.bytes,
            tag: Tag::new(self.key),
            protected: self.key & PROTECTED != 0,
            kind: self.kind,
            backend: Backend::Big,
            state: State::Allocated,
            session: None,
            heuristic: false,
        }
    }

    /// The first byte after it.
    pub fn end(&self) -> u64 {
        self.va.0.saturating_add(self.bytes)
    }

    /// Number of pages that it touches.
    pub fn pages(&self) -> u64 {
        self.bytes.div_ceil(PAGE_SIZE)
    }
}

/// The live entries of the table.
#[derive(Clone, Debug, Default)]
pub struct BigTable {
    /// In address order, one per address.
    pub blocks: Vec<BigBlock>,
    /// First byte of the table and the first byte after it; `None` if it was not found.
    pub table: Option<(Va, Va)>,
    /// Remarks on parts that could not be read or were refused.
    pub notes: Vec<String>,
}

/// The tag of the pool's own tables.
const OWN_TABLES: u32 = u32::from_le_bytes(*b"Pool");
/// Session space: the same on all machines up to Windows 7.
const SESSION_SPACE: std::ops::Range<u64> = 0xffff_f900_0000_0000..0xffff_f980_0000_0000;
const NO_LAYOUT: &str =
    "the layout of the big page table is not known for this build: large allocations are missing";
/// Largest plausible number of entries (384 MB of table).
const MAX_ENTRIES: u64 = 1 << 24;
/// Largest plausible number of entries for a session's table; it starts with some thousands.
const MAX_SESSION_ENTRIES: u64 = 1 << 20;
/// Size limit in bytes; no real allocation comes close.
pub const MAX_BYTES: u64 = 1 << 40;

impl BigTable {
    /// The allocation that contains an address.
    pub fn holding(&self, va: Va) -> Option<&BigBlock> {
        let after = self.blocks.partition_point(|b| b.va <= va);
        let block = self.blocks.get(after.checked_sub(1)?)?;
        (va.0 < block.end()).then_some(block)
    }

    /// The allocation that starts at an address.
    pub fn at(&self, va: Va) -> Option<&BigBlock> {
        let at = self.blocks.binary_search_by_key(&va, |b| b.va).ok()?;
        self.blocks.get(at)
    }

    /// The allocations that start between two addresses.
    pub fn between(&self, start: Va, end: Va) -> &[BigBlock] {
        let first = self.blocks.partition_point(|b| b.va < start);
        let last = self.blocks.partition_point(|b| b.va < end);
        self.blocks.get(first..last).unwrap_or_default()
    }

    /// Reads the table. `regions` supply the pool of entries that do not record it.
    pub fn read(kernel: &Kernel, regions: &Regions) -> BigTable {
        let mut out = BigTable::default();
        let table = kernel.pointer_in("PoolBigPageTable", None);
        let size = kernel
            .symbol("PoolBigPageTableSize")
            .and_then(|at| kernel.space.u64(at).ok());
        let (Some(table), Some(size)) = (table, size) else {
            let why = match Layout::of(kernel) {
                Some(_) => "the big page table was not found: large allocations are missing",
                None => NO_LAYOUT,
            };
            out.notes.push(why.into());
            return out;
        };
        let kind = |va| match regions.at(va) {
            Some(region) => region.kind,
            None if SESSION_SPACE.contains(&va.0) => PoolKind::Session,
            None => PoolKind::NonPaged,
        };
        out.read_table(kernel, &kernel.space, (table, size), &kind);
        if Encoding::of_build(kernel.build) == Encoding::Nt52 {
            out.add_own_tables(kernel, regions);
        }
        out
    }

    /// Up to NT 5.2, the pool's own tables are pool pages with neither headers nor entries in
    /// this table, but the trackers count them as `Pool` (ReactOS's `expool.c`).
    fn add_own_tables(&mut self, kernel: &Kernel, regions: &Regions) {
        let own = self.table.map(|(start, end)| {
            let bytes = end.0.saturating_sub(start.0);
            (start, bytes.next_multiple_of(PAGE_SIZE))
        });
        for (va, bytes) in tracker::extents(kernel).into_iter().chain(own) {
            let kind = regions.at(va).map(|r| r.kind);
            let sound = va.offset() == 0 && kind.is_some_and(PoolKind::is_nonpaged);
            if sound && self.holding(va).is_none() {
                self.blocks.push(BigBlock {
                    va,
                    bytes,
                    key: OWN_TABLES,
                    kind: PoolKind::NonPaged,
                });
                self.settle();
            }
        }
    }

    /// Reads a session's table in the session's address space: all entries are session pool.
    pub fn read_session(kernel: &Kernel, space: &AddressSpace, table: Va, size: u64) -> BigTable {
        let mut out = BigTable::default();
        if size > MAX_SESSION_ENTRIES {
            out.notes.push(format!(
                "its big page table says it has {size} entries, which is not \
                plausible: large allocations are missing"
            ));
            return out;
        }
        out.read_table(kernel, space, (table, size), &|_| PoolKind::Session);
        for block in &mut out.blocks {
            block.kind = PoolKind::Session;
        }
        out
    }

    fn read_table(
        &mut self,
        kernel: &Kernel,
        space: &AddressSpace,
        (table, size): (Va, u64),
        kind: &dyn Fn(Va) -> PoolKind,
    ) {
        let Some(layout) = Layout::of(kernel) else {
            self.notes.push(NO_LAYOUT.into());
            return;
        };
        if size > MAX_ENTRIES {
            self.notes.push(format!(
                "the big page table says it has {size} entries, which is not \
                plausible: large allocations are missing"
            ));
            return;
        }
        self.table = Some((table, table.add(size * layout.size as u64)));
        layout.read_entries(space, kind, (table, size), self);
        self.settle();
    }

    /// Sorts, and refuses overlapping entries: two live allocations can't overlap.
    fn settle(&mut self) {
        self.blocks.sort_unstable_by_key(|b| (b.va, b.bytes));
        let before = self.blocks.len();
        let mut end = 0;
        self.blocks.retain(|b| {
            let fits = b.va.0 >= end;
            if fits {
                end = b.end();
            }
            fits
        });
        let refused = before - self.blocks.len();
        if refused > 0 {
            self.notes.push(format!(
                "{refused} entries of the big page table overlap others and were left out"
            ));
        }
    }
}

struct Layout {
    size: usize,
    va: usize,
    key: usize,
    kind: Option<Field>,
    /// The field has POOL_FLAG_* values.
    by_flags: bool,
    bytes: usize,
}

/// Up to NT 5.2, an entry has NumberOfPages, 32 bits after the key, instead of PoolType and
/// NumberOfBytes (public symbols of Server 2003).
const PAGES: usize = 0xc;

impl Layout {
    fn of(kernel: &Kernel) -> Option<Layout> {
        const TYPE: &str = "_POOL_TRACKER_BIG_PAGES";
        let offset = |name| Some(kernel.symbols.field(TYPE, name)?.offset as usize);
        if Encoding::of_build(kernel.build) == Encoding::Nt52 {
            return Some(Layout {
                size: kernel.symbols.size_of(TYPE)? as usize,
                va: offset("Va")?,
                key: offset("Key")?,
                kind: None,
                by_flags: false,
                bytes: PAGES,
            });
        }
        let flags = || {
            let field = kernel.symbols.field(TYPE, "PoolFlags")?;
            // The built-in table has only the container; these are the bits of PoolType.
            let bits = field.bits.or(Some(POOL_TYPE_BITS));
            Some(Field { bits, ..field })
        };
        let kind = kernel.symbols.field(TYPE, "PoolType");
        let by_flags = kind.is_none();
        let kind = kind.or_else(flags)?;
        Some(Layout {
            size: kernel.symbols.size_of(TYPE)? as usize,
            va: offset("Va")?,
            key: offset("Key")?,
            kind: Some(kind),
            by_flags,
            bytes: offset("NumberOfBytes")?,
        })
        .filter(|layout| (0x18..=0x40).contains(&layout.size))
    }

    fn read_entries(
        &self,
        space: &AddressSpace,
        kind: &dyn Fn(Va) -> PoolKind,
        (table, size): (Va, u64),
        out: &mut BigTable,
    ) {
        let (mut missing, mut odd) = (0u64, 0u64);
        let step = PAGE_SIZE / self.size as u64;
        let mut bytes = Vec::new();
        for first in (0..size).step_by(step as usize) {
            let count = step.min(size - first);
            missing += self.read_some(space, table, (first, count), &mut bytes);
            // Stop early if a table with up to 2^24 claimed entries is not mapped.
            if missing > 1 << 20 {
                missing += size - first - count;
                break;
            }
            for entry in bytes.chunks_exact(self.size) {
                match self.entry(entry, kind) {
                    Some(Ok(block)) => out.blocks.push(block),
                    Some(Err(())) => odd += 1,
                    None => {}
                }
            }
        }
        if missing > 0 {
            out.notes.push(format!("{missing} of {size} entries of the big page table can't be read: large allocations are missing"));
        }
        if odd > 0 {
            out.notes.push(format!(
                "{odd} entries of the big page table are not plausible and were left out"
            ));
        }
    }

    /// Reads entries of at most one page in total, which are in at most two pages. Returns the
    /// number of entries that can't be read.
    fn read_some(
        &self,
        space: &AddressSpace,
        table: Va,
        (first, count): (u64, u64),
        out: &mut Vec<u8>,
    ) -> u64 {
        let entry = self.size as u64;
        let start = table.add(first * entry);
        out.clear();
        out.resize((count * entry) as usize, 0);
        if space.read(start, out).is_ok() {
            return 0;
        }
        out.clear();
        let last = start.add(count * entry - 1);
        if space.page(start).is_err() && space.page(last).is_err() {
            return count;
        }
        let mut one = vec![0; self.size];
        let mut missing = 0;
        for i in 0..count {
            match space.read(start.add(i * entry), &mut one) {
                Ok(()) => out.extend_from_slice(&one),
                Err(_) => missing += 1,
            }
        }
        missing
    }

    /// `None` for a free entry, `Err` for an entry that can't be an allocation.
    fn entry(
        &self,
        entry: &[u8],
        by_place: &dyn Fn(Va) -> PoolKind,
    ) -> Option<Result<BigBlock, ()>> {
        let va = Va(u64_at(entry, self.va)?);
        if va.0 == 0 || va.0 & 1 != 0 {
            return None;
        }
        let (bytes, kind) = match self.kind {
            Some(field) => {
                let value = field.extract(u32_at(entry, field.offset as usize)?.into());
                let kind = match self.by_flags {
                    true => kind_by_flags(value),
                    false => kind(value),
                };
                (u64_at(entry, self.bytes)?, kind)
            }
            None => (
                u64::from(u32_at(entry, self.bytes)?) * PAGE_SIZE,
                by_place(va),
            ),
        };
        if !va.is_kernel() || va.offset() != 0 || bytes == 0 || bytes > MAX_BYTES {
            return Some(Err(()));
        }
        Some(Ok(BigBlock {
            va,
            bytes,
            key: u32_at(entry, self.key)?,
            kind,
        }))
    }
}

/// First bit and number of bits of PoolType since Windows 10 1607.
const POOL_TYPE_BITS: (u8, u8) = (8, 12);

/// `POOL_FLAG_NON_PAGED`, `_NON_PAGED_EXECUTE` and `_PAGED` of `wdm.h`.
const POOL_FLAGS: [(u64, PoolKind); 3] = [
    (0x40, PoolKind::NonPagedNx),
    (0x80, PoolKind::NonPaged),
    (0x100, PoolKind::Paged),
];

/// Decodes PoolFlags of Windows 11 24H2: POOL_FLAG_* if one of the pool flags is set, otherwise
/// a POOL_TYPE.
fn kind_by_flags(flags: u64) -> PoolKind {
    let named = POOL_FLAGS.iter().find(|(flag, _)| flags & flag != 0);
    named.map_or_else(|| kind(flags), |(_, kind)| *kind)
}

/// Decodes POOL_TYPE: bit 0 paged, 0x20 session, 0x200 not executable.
fn kind(pool_type: u64) -> PoolKind {
    match (pool_type & 1, pool_type & 0x20, pool_type & 0x200) {
        (1, 0, _) => PoolKind::Paged,
        (1, ..) => PoolKind::Session,
        (_, _, 0) => PoolKind::NonPaged,
        _ => PoolKind::NonPagedNx,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_kind_comes_from_the_type_or_the_flags() {
        let kinds = |values: &[u64]| values.iter().map(|v| kind(*v)).collect::<Vec<_>>();
        let both = [PoolKind::NonPaged, PoolKind::NonPagedNx, PoolKind::Paged];
        assert_eq!(kinds(&[0, 0x200, 1]), both);
        let flags = |values: &[u64]| values.iter().map(|v| kind_by_flags(*v)).collect::<Vec<_>>();
        assert_eq!(flags(&[0x82, 0x42, 0x102]), both);
        assert_eq!(flags(&[0, 0x200, 1]), both);
        assert_eq!(kinds(&[0x21]), [PoolKind::Session]);
    }
}
