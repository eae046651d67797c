//! The kernel's counters per tag: `_POOL_TRACKER_TABLE`, one table per processor.
//!
//! A block is counted on the processor that allocates it, and its free on the processor that
//! frees it. So only the sum over all tables, modulo the width of the counters, is meaningful.
//! Tags that did not fit are in the expansion table, which all processors share. Layout: public
//! symbols of 6.1.7601; the hash is that of ReactOS's `expool.c`.

use std::collections::BTreeMap;

use crate::addr::Va;

use super::era::Era;
use super::header::Bytes;
use super::paging::Memory;
use super::rng::Rng;
use super::truth::{Account, Tag, TagAccount};

/// The part of a tag's counts in one table: counts are 32 bits wide up to Windows 10 1803,
/// bytes 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Allocations counted here.
    pub allocs: u64,
    /// Frees counted here.
    pub frees: u64,
    /// Bytes allocated here minus bytes freed here.
    pub bytes: u64,
}

/// The addresses of the tables.
#[derive(Clone, Debug)]
pub struct Tables {
    /// One per processor.
    pub per_cpu: Vec<Va>,
    /// Number of entries of each: a power of two, plus one for the overflow.
    pub entries: u64,
    /// Address of the expansion table, and its number of entries.
    pub expansion: Option<(Va, u64)>,
    /// Tags in the expansion table.
    pub expanded: Vec<Tag>,
    /// Tags that are summed in the last entry.
    pub overflowed: Vec<Tag>,
    /// Tags that were never freed; most blocks of other tags were.
    pub unfreed: Vec<Tag>,
}

/// Splits an account among `cpus` so that most shares are meaningless by themselves.
pub fn split(account: Account, cpus: usize, rng: &mut Rng) -> Vec<Share> {
    if account == Account::default() && !rng.one_in(3) {
        return vec![Share::default(); cpus.max(1)];
    }
    let freed = rng.below(account.blocks * 40 + 50);
    divide(account, freed, cpus, rng)
}

/// The same with this number of freed blocks.
fn divide(account: Account, freed: u64, cpus: usize, rng: &mut Rng) -> Vec<Share> {
    let mut shares = vec![Share::default(); cpus.max(1)];
    let mean = account.bytes.checked_div(account.blocks).unwrap_or(64);
    let last = shares.len() - 1;
    let (mut allocs, mut frees, mut bytes) = (account.blocks + freed, freed, account.bytes);
    for (cpu, share) in shares.iter_mut().enumerate() {
        let (a, f) = match cpu == last {
            true => (allocs, frees),
            false => (rng.below(allocs + 1), rng.below(frees + 1)),
        };
        allocs -= a;
        frees -= f;
        let b = match cpu == last {
            true => bytes,
            // Negative if more was freed than allocated.
            false => a.wrapping_sub(f).wrapping_mul(mean),
        };
        bytes = bytes.wrapping_sub(b);
        *share = Share {
            allocs: a,
            frees: f,
            bytes: b,
        };
    }
    shares
}

/// Makes the counts of a tag overflow: adds the same number to allocations and frees.
pub fn wrap(shares: &mut [Share]) {
    for share in shares {
        share.allocs = share.allocs.wrapping_add(u64::MAX - 15);
        share.frees = share.frees.wrapping_add(u64::MAX - 15);
    }
}

/// The key of the last entry, which sums the tags that did not fit (ReactOS's `expool.c`).
const OVERFLOW: &Tag = b"Ovfl";

/// Writes the tables. Returns false if there are more tags than slots.
pub fn write(
    memory: &mut Memory,
    era: &Era,
    tables: &Tables,
    tags: &BTreeMap<Tag, TagAccount>,
    rng: &mut Rng,
) -> bool {
    let encoder = Encoder::new(era);
    let size = tables.entries as usize * encoder.size;
    let mut images = vec![Bytes(vec![0; size]); tables.per_cpu.len()];
    let mask = tables.entries.saturating_sub(2);
    let mut taken = vec![false; mask as usize + 1];
    let (expanded, own): (Vec<_>, Vec<_>) = tags
        .iter()
        .partition(|(tag, _)| tables.expanded.contains(tag));
    let (lost, own): (Vec<_>, Vec<_>) = own
        .into_iter()
        .partition(|(tag, _)| tables.overflowed.contains(tag));
    let fits = own.len() < taken.len();
    let mut rest = TagAccount::default();
    for (_, account) in &lost {
        rest.nonpaged += account.nonpaged;
        rest.paged += account.paged;
    }
    let mut placed: Vec<(usize, &Tag, &TagAccount)> = own
        .into_iter()
        .map(|(tag, account)| (slot(tag, mask, &mut taken), tag, account))
        .collect();
    if !lost.is_empty() {
        placed.push((tables.entries as usize - 1, OVERFLOW, &rest));
    }
    for (slot, tag, account) in placed {
        let unfreed = tables.unfreed.contains(tag);
        let mut share = |account| match unfreed {
            true => divide(account, 0, images.len(), rng),
            false => split(account, images.len(), rng),
        };
        let mut nonpaged = share(account.nonpaged);
        let paged = share(account.paged);
        if !unfreed && rng.one_in(16) {
            wrap(&mut nonpaged);
        }
        for ((image, np), p) in images.iter_mut().zip(nonpaged).zip(paged) {
            encoder.entry(image, slot, tag, np, p);
        }
    }
    for (va, image) in tables.per_cpu.iter().zip(&images) {
        memory.write(*va, &image.0);
    }
    let Some((va, entries)) = tables.expansion else {
        return fits && expanded.is_empty();
    };
    let mut image = Bytes(vec![0; entries as usize * encoder.size]);
    for (slot, (tag, account)) in expanded.iter().enumerate() {
        let np = split(account.nonpaged, 1, rng);
        let p = split(account.paged, 1, rng);
        if let (Some(np), Some(p)) = (np.first(), p.first()) {
            encoder.entry(&mut image, slot, tag, *np, *p);
        }
    }
    memory.write(va, &image.0);
    fits && expanded.len() as u64 <= entries
}

/// The slot of a tag: its hash, or the next free slot.
fn slot(tag: &Tag, mask: u64, taken: &mut [bool]) -> usize {
    let hash = 40543u64.wrapping_mul(u32::from_le_bytes(*tag).into());
    let mut at = ((hash ^ hash >> 32) as u32 as u64 & mask) as usize;
    for _ in 0..taken.len() {
        match taken.get_mut(at) {
            Some(place) if !*place => {
                *place = true;
                return at;
            }
            _ => at = (at + 1) & mask as usize,
        }
    }
    taken.len()
}

struct Encoder {
    size: usize,
    /// True for 64-bit counts.
    wide: bool,
    key: usize,
    nonpaged: [usize; 3],
    paged: [usize; 3],
}

impl Encoder {
    fn new(era: &Era) -> Encoder {
        let at = |name| era.offset("_POOL_TRACKER_TABLE", name).unwrap_or(0) as usize;
        Encoder {
            size: era.size("_POOL_TRACKER_TABLE").unwrap_or(0x28) as usize,
            wide: at("NonPagedFrees") - at("NonPagedAllocs") == 8,
            key: at("Key"),
            nonpaged: [
                at("NonPagedAllocs"),
                at("NonPagedFrees"),
                at("NonPagedBytes"),
            ],
            paged: [at("PagedAllocs"), at("PagedFrees"), at("PagedBytes")],
        }
    }

    fn entry(&self, table: &mut Bytes, slot: usize, tag: &Tag, nonpaged: Share, paged: Share) {
        let start = slot * self.size;
        table.put(start + self.key, tag);
        for ([allocs, frees, bytes], share) in [(self.nonpaged, nonpaged), (self.paged, paged)] {
            for (at, count) in [(start + allocs, share.allocs), (start + frees, share.frees)] {
                match self.wide {
                    true => table.u64(at, count),
                    false => table.u32(at, count as u32),
                }
            }
            table.u64(start + bytes, share.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_only_with_wrapping() {
        let account = Account {
            blocks: 607,
            bytes: 774_048,
        };
        let mut below_zero = 0;
        for seed in 0..50 {
            let mut shares = split(account, 4, &mut Rng::new(seed));
            wrap(&mut shares);
            for mask in [u64::MAX, u32::MAX.into()] {
                let sum = |f: fn(&Share) -> u64| shares.iter().map(f).fold(0, u64::wrapping_add);
                let outstanding = sum(|s| s.allocs).wrapping_sub(sum(|s| s.frees));
                assert_eq!(outstanding & mask, 607);
            }
            let bytes = shares.iter().map(|s| s.bytes).fold(0, u64::wrapping_add);
            assert_eq!(bytes, 774_048);
            below_zero += shares.iter().filter(|s| (s.bytes as i64) < 0).count();
        }
        assert!(below_zero > 0);
    }
}
