//! PoolBigPageTable and its size: a power of two of entries whose addresses are page
//! aligned, with bit 0 for free ones.

use crate::kernel::Kernel;
use crate::kernel::kdbg::field;
use crate::memory::Va;

use super::{Data, Found};

/// As for the trackers.
const WINDOW: u64 = 0x5000;
/// Entries that are looked at before a candidate's size is known: a page of them, and
/// no known table is smaller.
const SAMPLE: u64 = 128;
/// The smallest and the largest table believed.
const SIZES: std::ops::RangeInclusive<u64> = 128..=1 << 24;
/// The size lies this near to the pointer on nearly all kernels.
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
    let best = near
        .iter()
        .filter_map(|&at| {
            let table = Table {
                kernel,
                at: data.pointer(at)?,
                stride,
                va,
                key,
            };
            table.live(SAMPLE)?;
            let (entries, size) = size(data, &near, at, &table)?;
            let live = table.live(entries).filter(|&live| live > 0)?;
            Some((live, at, size))
        })
        .max_by_key(|(live, ..)| *live);
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
    /// Live entries among the first ones; `None` when one is malformed or unreadable, or
    /// most of their tags are no text.
    fn live(&self, entries: u64) -> Option<u64> {
        let (mut live, mut readable) = (0, 0);
        for i in 0..entries {
            let entry = self.at.add(i * self.stride);
            let word = self.kernel.space.u64(entry.add(self.va)).ok()?;
            let va = Va(word & !1);
            if word > 1 && !(va.is_kernel() && va.offset() == 0) {
                return None;
            }
            if word > 1 && word & 1 == 0 {
                let key = self.kernel.space.u32(entry.add(self.key)).ok()?;
                live += 1;
                readable += u64::from(is_text(key & !PROTECTED));
            }
        }
        (readable * 2 >= live).then_some(live)
    }
}

/// The bit of a key that makes freeing ask for the same tag.
const PROTECTED: u32 = 0x8000_0000;

fn is_text(key: u32) -> bool {
    let letters = key.to_le_bytes();
    letters.iter().filter(|b| (0x20..0x7f).contains(*b)).count() >= 3
}

/// The size and its variable: beside the pointer if one there fits, else the largest of
/// the window that does.
fn size(data: &Data, near: &[Va], pointer: Va, table: &Table<'_>) -> Option<(u64, Va)> {
    let mut fitting: Vec<(u64, Va)> = near
        .iter()
        .filter_map(|&at| {
            let entries = data.word(at)?;
            let sound = entries.is_power_of_two() && SIZES.contains(&entries);
            (sound && table.live(entries).is_some()).then_some((entries, at))
        })
        .collect();
    fitting.sort();
    let beside = |&&(_, at): &&(u64, Va)| at.0.abs_diff(pointer.0) <= BESIDE;
    fitting
        .iter()
        .rev()
        .find(beside)
        .or(fitting.last())
        .copied()
}
