//! A cache of the translations of 2 MB regions: the last page table of a region, or its
//! large page. Without it every translation reads a table of each level.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{Pfn, Va};

/// Number of regions; 1 GB of adjacent memory has an entry each.
const ENTRIES: usize = 512;
/// Bits of a virtual address that select the region: 47 to 21.
const REGION_BITS: u32 = 27;
/// Frame numbers below 2^35 fit; others are not cached.
const FRAME_BITS: u32 = 35;
const VALID: u64 = 1 << 63;
const LARGE: u64 = 1 << 62;

/// The translation of a region of 2 MB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// The frame of its last-level table.
    Table(Pfn),
    /// The first frame of its large page.
    Large(Pfn),
}

/// Translations of regions. An entry is one atomic number, so threads read and write it
/// without a lock and never see a half of one.
#[derive(Debug)]
pub struct TableCache {
    entries: Box<[AtomicU64; ENTRIES]>,
}

impl Default for TableCache {
    fn default() -> TableCache {
        TableCache {
            entries: Box::new([const { AtomicU64::new(0) }; ENTRIES]),
        }
    }
}

/// The region's number: bits 47 to 21 of the address.
fn region(va: Va) -> u64 {
    va.0 >> 21 & ((1 << REGION_BITS) - 1)
}

impl TableCache {
    fn slot(&self, va: Va) -> Option<&AtomicU64> {
        self.entries.get(region(va) as usize % ENTRIES)
    }

    /// The translation of the region of `va`, if it is cached.
    pub fn get(&self, va: Va) -> Option<Region> {
        let entry = self.slot(va)?.load(Ordering::Relaxed);
        let frames = (1 << FRAME_BITS) - 1;
        let of_region = entry & VALID != 0 && (entry & !VALID & !LARGE) >> FRAME_BITS == region(va);
        let pfn = Pfn(entry & frames);
        of_region.then_some(match entry & LARGE != 0 {
            true => Region::Large(pfn),
            false => Region::Table(pfn),
        })
    }

    /// Caches the translation of the region of `va`.
    pub fn put(&self, va: Va, found: Region) {
        let (Region::Table(pfn) | Region::Large(pfn)) = found;
        let kind = match found {
            Region::Table(_) => VALID,
            Region::Large(_) => VALID | LARGE,
        };
        if let Some(slot) = self.slot(va).filter(|_| pfn.0 >> FRAME_BITS == 0) {
            slot.store(kind | region(va) << FRAME_BITS | pfn.0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_of_its_region_only() {
        let cache = TableCache::default();
        let at = Va(0xffff_8a00_1234_5000);
        assert_eq!(cache.get(at), None);
        for found in [Region::Table(Pfn(7)), Region::Large(Pfn((1 << 35) - 512))] {
            cache.put(at, found);
            assert_eq!(cache.get(Va(at.0 | 0x1f_ffff)), Some(found));
            // The same slot: 1 GB on, and the other half of the address space.
            assert_eq!(cache.get(at.add(1 << 30)), None);
            assert_eq!(cache.get(Va(at.0 & 0x7fff_ffff_ffff)), None);
        }
        cache.put(Va(0), Region::Table(Pfn(1 << 35)));
        assert_eq!(cache.get(Va(0)), None);
    }
}
