//! The big page table: an open hash of `_POOL_TRACKER_BIG_PAGES`.
//!
//! Free entries have bit 0 of Va set: Va is 1 if they were never used; otherwise it is the old
//! address with that bit, and the other fields keep their values. On NT 5.2, an entry has a
//! number of pages and the charged process instead of PoolType and NumberOfBytes.

use crate::addr::Va;
use crate::synth::era::Era;
use crate::synth::paging::Memory;
use crate::synth::rng::Rng;
use crate::synth::truth::{Pool, Tag};

/// A live entry.
#[derive(Clone, Copy, Debug)]
pub struct BigEntry {
    /// First byte.
    pub va: Va,
    /// The tag.
    pub tag: Tag,
    /// True when the key has the protected bit.
    pub protected: bool,
    /// The pool.
    pub pool: Pool,
    /// True for non-executable pool.
    pub nx: bool,
    /// NumberOfBytes.
    pub bytes: u64,
}

/// The home slot of an entry; collisions go to the next free slot.
fn home(va: Va, size: u64) -> u64 {
    let hash = (va.0 >> 12 & 0xffff_ffff).wrapping_mul(0x9e5f);
    (hash ^ hash >> 32) & (size - 1)
}

/// The shape of the table.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Its address.
    pub table: Va,
    /// Number of entries, a power of two.
    pub size: u64,
    /// Number of freed entries that keep their old fields.
    pub tombstones: u64,
}

/// Writes the table. Returns false if the entries do not fit.
pub fn write(
    memory: &mut Memory,
    era: &Era,
    shape: Shape,
    entries: &[BigEntry],
    rng: &mut Rng,
) -> bool {
    let Shape {
        table,
        size,
        tombstones,
    } = shape;
    if entries.len() as u64 + tombstones >= size || !size.is_power_of_two() {
        return false;
    }
    let mut slots: Vec<Option<(BigEntry, bool)>> = vec![None; size as usize];
    let mut insert = |entry: BigEntry, freed: bool| {
        let mut at = home(entry.va, size);
        while slots.get(at as usize).is_some_and(Option::is_some) {
            at = (at + 1) & (size - 1);
        }
        if let Some(slot) = slots.get_mut(at as usize) {
            *slot = Some((entry, freed));
        }
    };
    for i in 0..tombstones {
        let Some(old) = entries.get(rng.below(entries.len() as u64) as usize) else {
            break;
        };
        let va = old.va.add(0x4000_0000 + i * 0x1000);
        insert(BigEntry { va, ..*old }, true);
    }
    for entry in entries {
        insert(*entry, false);
    }
    let bytes = encode(era, &slots);
    memory.write(table, &bytes);
    true
}

/// POOL_TYPE, or POOL_FLAG_* of `wdm.h` if the field is named after them. From Windows 10 1607,
/// in bits 8..19, with a pattern below and the slack after the allocation above.
fn pool_type(era: &Era, entry: &BigEntry) -> u32 {
    let flags = era.offset("_POOL_TRACKER_BIG_PAGES", "PoolFlags").is_some();
    let kind = match (flags, entry.pool, entry.nx) {
        (true, Pool::Paged, _) => 0x100,
        (true, Pool::NonPaged, true) => 0x40,
        (true, Pool::NonPaged, false) => 0x80,
        (false, Pool::Paged, _) => 1,
        (false, Pool::NonPaged, true) => 0x200,
        (false, Pool::NonPaged, false) => 0,
    };
    let slack = entry.bytes.next_multiple_of(0x1000) - entry.bytes;
    match era.build {
        ..14393 => kind,
        _ => entry.va.0 as u32 >> 12 & 0xff | kind << 8 | (slack as u32) << 20,
    }
}

fn encode(era: &Era, slots: &[Option<(BigEntry, bool)>]) -> Vec<u8> {
    let field = |name| era.offset("_POOL_TRACKER_BIG_PAGES", name).unwrap_or(0) as usize;
    let (va, key, kind, number) = (
        field("Va"),
        field("Key"),
        field("PoolType").max(field("PoolFlags")),
        field("NumberOfBytes"),
    );
    let pages = era.offset("_POOL_TRACKER_BIG_PAGES", "NumberOfPages");
    let size = era.size("_POOL_TRACKER_BIG_PAGES").unwrap_or(24) as usize;
    let mut out = crate::synth::header::Bytes(vec![0; slots.len() * size]);
    for (i, slot) in slots.iter().enumerate() {
        let at = i * size;
        let Some((entry, freed)) = slot else {
            out.u64(at + va, 1);
            continue;
        };
        out.u64(at + va, entry.va.0 | u64::from(*freed));
        let tag = u32::from_le_bytes(entry.tag);
        let bit = if entry.protected { super::PROTECTED } else { 0 };
        out.u32(at + key, tag | bit);
        if let Some(pages) = pages {
            out.u32(at + pages as usize, entry.bytes.div_ceil(0x1000) as u32);
            continue;
        }
        out.u32(at + kind, pool_type(era, entry));
        out.u64(at + number, entry.bytes);
    }
    out.0
}
