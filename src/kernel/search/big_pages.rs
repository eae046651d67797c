//! Finds PoolBigPageTable and its size: a power of two of entries whose addresses are page
//! aligned, with bit 0 set for free ones.

use crate::kernel::Kernel;
use crate::kernel::kdbg::field;
use crate::memory::Va;

use super::{Data, Found};

/// Search window in bytes, as for the trackers.
const WINDOW: u64 = 0x5000;
/// Limit for entries read in total, for crafted pointers.
const BUDGET: u64 = 1 << 25;
/// Plausible table sizes in entries.
const SIZES: std::ops::RangeInclusive<u64> = 128..=1 << 24;
/// Largest distance in bytes between pointer and size on nearly all kernels.
const BESIDE: u64 = 0x40;

/// Finds PoolBigPageTable and PoolBigPageTableSize.
pub fn find(kernel: &Kernel, data: &Data, out: &mut Found) {
    const TYPE: &str = "_POOL_TRACKER_BIG_PAGES";
    let anchor = kernel.variable("PoolTrackTable", Some(field::POOL_TRACK_TABLE));
    let (Some((anchor, _)), Some(stride), Some(va)) = (
        anchor,
        kernel.symbols.size_of(TYPE).map(u64::from),
        kernel.offset(TYPE, "Va"),
    ) else {
        return;
    };
    let Some(key) = kernel.offset(TYPE, "Key") else {
        return;
    };
    let near = data.near(anchor, WINDOW);
    let mut budget = BUDGET;
    let mut seen = Vec::new();
    let mut best: Option<(u64, Va, Va)> = None;
    for &at in &near {
        let Some(pointer) = data.pointer(at).filter(|p| !seen.contains(p)) else {
            continue;
        };
        seen.push(pointer);
        let table = Table {
            kernel,
            at: pointer,
            stride,
            va,
            key,
        };
        let sizes = table.sizes(&mut budget);
        let Some((live, size)) = size(data, &near, at, &sizes) else {
            continue;
        };
        if best.is_none_or(|(most, ..)| live > most) {
            best = Some((live, at, size));
        }
    }
    if let Some((_, at, size)) = best {
        out.put("PoolBigPageTable", at);
        out.put("PoolBigPageTableSize", size);
    }
}

struct Table<'k> {
    kernel: &'k Kernel,
    at: Va,
    stride: u64,
    va: u64,
    key: u64,
}

impl Table<'_> {
    /// The numbers of entries, powers of two, up to which the memory can be a table, each with
    /// its number of live entries. Read once, up to the first malformed entry; the tags of most
    /// live entries must be printable.
    fn sizes(&self, budget: &mut u64) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        let (mut live, mut readable) = (0u64, 0u64);
        for i in 0..*SIZES.end() {
            let Some(left) = budget.checked_sub(1) else {
                break;
            };
            *budget = left;
            match self.entry(i) {
                None => break,
                Some(Entry::Free) => {}
                Some(Entry::Live(key)) => {
                    live += 1;
                    readable += u64::from(is_text(key & !PROTECTED));
                }
            }
            let entries = i + 1;
            let whole = entries.is_power_of_two() && SIZES.contains(&entries);
            if whole && live > 0 && readable * 2 >= live {
                out.push((entries, live));
            }
        }
        out
    }

    /// `None` if it is malformed or unreadable.
    fn entry(&self, index: u64) -> Option<Entry> {
        let entry = self.at.add(index * self.stride);
        let word = self.kernel.space.u64(entry.add(self.va)).ok()?;
        let va = Va(word & !1);
        match word {
            0 | 1 => Some(Entry::Free),
            _ if !va.is_kernel() || va.offset() != 0 => None,
            _ if word & 1 != 0 => Some(Entry::Free),
            _ => Some(Entry::Live(
                self.kernel.space.u32(entry.add(self.key)).ok()?,
            )),
        }
    }
}

/// An entry of a table.
enum Entry {
    /// Unused, or freed.
    Free,
    /// In use, with its key.
    Live(u32),
}

/// The bit of a key that requires the same tag when freeing.
const PROTECTED: u32 = 0x8000_0000;

fn is_text(key: u32) -> bool {
    let letters = key.to_le_bytes();
    letters.iter().filter(|b| (0x20..0x7f).contains(*b)).count() >= 3
}

/// The number of live entries and the variable with the size: beside the pointer if one there
/// fits, else the largest in the window that fits.
fn size(data: &Data, near: &[Va], pointer: Va, sizes: &[(u64, u64)]) -> Option<(u64, Va)> {
    let mut fitting: Vec<(u64, u64, Va)> = near
        .iter()
        .filter_map(|&at| {
            let said = data.word(at)?;
            let (entries, live) = sizes.iter().find(|(entries, _)| *entries == said)?;
            Some((*entries, *live, at))
        })
        .collect();
    fitting.sort();
    let beside = |&&(.., at): &&(u64, u64, Va)| at.0.abs_diff(pointer.0) <= BESIDE;
    fitting
        .iter()
        .rev()
        .find(beside)
        .or(fitting.last())
        .map(|&(_, live, at)| (live, at))
}
