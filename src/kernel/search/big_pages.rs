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
    let near = data.near(anchor, WINDOW);
    let best = near
        .iter()
        .filter_map(|&at| {
            let table = Table {
                kernel,
                at: data.pointer(at)?,
                stride,
                va,
            };
            let live = table.live(SAMPLE).filter(|&live| live > 0)?;
            Some((live, at, table))
        })
        .max_by_key(|(live, ..)| *live);
    let Some((_, at, table)) = best else {
        return;
    };
    out.put("PoolBigPageTable", at);
    if let Some(size) = size(data, &near, at, &table) {
        out.put("PoolBigPageTableSize", size);
    }
}

struct Table<'k> {
    kernel: &'k Kernel,
    at: Va,
    stride: u64,
    va: u64,
}

impl Table<'_> {
    /// Live entries among the first ones; `None` when one is malformed or unreadable.
    fn live(&self, entries: u64) -> Option<u64> {
        let mut live = 0;
        for i in 0..entries {
            let word = self
                .kernel
                .space
                .u64(self.at.add(i * self.stride + self.va))
                .ok()?;
            let va = Va(word & !1);
            let sound = word <= 1 || (va.is_kernel() && va.offset() == 0);
            if !sound {
                return None;
            }
            live += u64::from(word > 1 && word & 1 == 0);
        }
        Some(live)
    }
}

/// The variable with the size: beside the pointer if one there fits, else the largest of
/// the window that does.
fn size(data: &Data, near: &[Va], pointer: Va, table: &Table<'_>) -> Option<Va> {
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
        .map(|(_, at)| *at)
}
