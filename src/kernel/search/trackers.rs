//! Finds the pool trackers: the size of a table by the hash that places its tags, then the
//! array of all processors' tables.

use rustc_hash::FxHashSet;

use crate::bytes::u32_at;
use crate::kernel::Kernel;
use crate::kernel::kdbg::field;
use crate::memory::Va;
use crate::symbols::{LoadOptions, SymbolPath, Symbols};

use super::{Data, Found};

const TYPE: &str = "_POOL_TRACKER_TABLE";
/// Distance in bytes from PoolTrackTable to related variables, on all kernels measured.
const WINDOW: u64 = 0x5000;
/// The multiplier of the tag hash.
const HASH: u64 = 40543;
/// log2 of the possible numbers of slots of a table.
const SIZES: std::ops::RangeInclusive<u32> = 8..=16;
/// Number of tags that a table must have to prove its size.
const ENOUGH: usize = 16;
/// Limit for candidates of the array of tables; intact kernels have one or two.
const CANDIDATES: usize = 8;
/// Number of slots that are compared between two processors' tables.
const COMPARED: u64 = 512;
/// Number of empty entries required after the last one of an overflow table.
const EMPTY_BEHIND: u64 = 4;
/// Limit for entries read in this search, for crafted pointers.
const BUDGET: u64 = 1 << 22;
/// The largest known array of tables.
const MAX_TABLES: u64 = 2048;

/// Finds PoolTrackTableSize and ExPoolTagTables, from PoolTrackTable.
pub fn find(kernel: &Kernel, data: &Data, out: &mut Found) {
    let Some((variable, table)) = first_table(kernel) else {
        return;
    };
    let Some(shape) = Shape::of(&kernel.symbols) else {
        return;
    };
    let keys = shape.keys(kernel, table);
    let near = data.near(variable, WINDOW);
    let sizes = fitting(&keys);
    let said = |slots: &u64| {
        near.iter()
            .copied()
            .find(|at| data.word(*at) == Some(slots + 1))
    };
    match (sizes.iter().rev().find_map(said), sizes.last()) {
        (Some(at), _) => out.put("PoolTrackTableSize", at),
        (None, Some(slots)) => {
            out.numbers.insert("PoolTrackTableSize", slots + 1);
        }
        (None, None) => {}
    }
    if let Some(at) = tables(kernel, data, &near, variable, table, &shape) {
        out.put("ExPoolTagTables", at);
    }
    let slots = sizes.last().copied().unwrap_or(0) as usize;
    let placed = keys.get(..slots).unwrap_or_default();
    if let Some((at, entries)) = expansion(kernel, data, &near, placed, &shape) {
        out.put("PoolTrackTableExpansion", at);
        out.numbers.insert("PoolTrackTableExpansionSize", entries);
    }
}

/// PoolTrackTable, and the table that it points to.
fn first_table(kernel: &Kernel) -> Option<(Va, Va)> {
    let (variable, _) = kernel.variable("PoolTrackTable", Some(field::POOL_TRACK_TABLE))?;
    let table = kernel.space.pointer(variable).ok()?;
    table.is_kernel().then_some((variable, table))
}

/// A build for each of the three known entry layouts: 0x28, 0x38 and 0x50 bytes.
const LAYOUTS: [u32; 3] = [14393, 17763, 20348];

/// The build whose entries fit, if those of the nearest known build do not: for builds between
/// 1607 and 1809, it is not public which of two layouts they have.
pub fn build(kernel: &Kernel, path: &SymbolPath) -> Option<u32> {
    let (_, table) = first_table(kernel)?;
    let fits = |symbols: &Symbols| {
        Shape::of(symbols).is_some_and(|shape| !fitting(&shape.keys(kernel, table)).is_empty())
    };
    if kernel.symbols.is_exact(TYPE) || fits(&kernel.symbols) {
        return None;
    }
    let of = |build| Symbols::load(None, build, path, LoadOptions::default()).symbols;
    LAYOUTS.into_iter().find(|&build| fits(&of(build)))
}

/// The overflow table: entries of the same layout, mostly with printable tags that the main
/// table does not have. Entries are filled from the start, so the first empty one ends the
/// table.
fn expansion(
    kernel: &Kernel,
    data: &Data,
    near: &[Va],
    placed: &[u32],
    shape: &Shape,
) -> Option<(Va, u64)> {
    let printable = |key: &u32| {
        let letters = key.to_le_bytes();
        letters.iter().filter(|b| (0x20..0x7f).contains(*b)).count() >= 3
    };
    let main: FxHashSet<u32> = placed.iter().copied().collect();
    let mut budget = BUDGET;
    let mut used = |table: Va| {
        let tags = shape.leading_keys(kernel, table, placed.len() as u64, &mut budget)?;
        let used = tags.len() as u64;
        // Drivers may use unprintable tags, so most tags must be printable, but not all.
        let readable = tags.iter().filter(|key| printable(key)).count();
        let sound = !tags.is_empty()
            && readable * 2 >= tags.len()
            && !tags.iter().any(|key| main.contains(key))
            && (0..used).all(|i| is_account(kernel, table, i));
        sound.then_some(used)
    };
    near.iter()
        .filter_map(|&at| Some((at, used(data.pointer(at)?)?)))
        .max_by_key(|(_, used)| *used)
}

/// True when an entry's numbers are consistent, as in all entries of an overflow table: no more
/// frees than allocations, and bytes exactly if blocks are outstanding.
fn is_account(kernel: &Kernel, table: Va, index: u64) -> bool {
    let Some(size) = kernel.symbols.size_of(TYPE) else {
        return false;
    };
    let at = table.add(index * u64::from(size));
    let sides = [
        ("NonPagedAllocs", "NonPagedFrees", "NonPagedBytes"),
        ("PagedAllocs", "PagedFrees", "PagedBytes"),
    ];
    sides.iter().all(|(allocs, frees, bytes)| {
        let get = |name| kernel.field(at, TYPE, name).ok();
        let (Some(allocs), Some(frees), Some(bytes)) = (get(allocs), get(frees), get(bytes)) else {
            return false;
        };
        let outstanding = allocs.checked_sub(frees);
        // A block has at least 16 bytes, and a pool at most 16 TB.
        outstanding.is_some_and(|blocks| {
            (blocks == 0) == (bytes == 0) && bytes / 16 >= blocks && bytes <= 1 << 44
        })
    })
}

/// The numbers of slots that the hash confirms, ascending. All numbers below the right one pass
/// too, so the last one is used, if a variable confirms it.
fn fitting(keys: &[u32]) -> Vec<u64> {
    SIZES
        .map(|k| 1u64 << k)
        .filter(|&slots| fits(keys, slots))
        .collect()
}

fn slot(key: u32, slots: u64) -> u64 {
    let product = HASH.wrapping_mul(key.into());
    u64::from((product ^ product >> 32) as u32) & (slots - 1)
}

/// True when nine of ten tags are at the slot of their hash, or after a run of full slots from
/// there.
fn fits(keys: &[u32], slots: u64) -> bool {
    let Some(keys) = keys.get(..slots as usize) else {
        return false;
    };
    let full = |at: u64| keys.get((at % slots) as usize).is_some_and(|&k| k != 0);
    let mut used = 0usize;
    let mut placed = 0usize;
    // Counts full slots that end here; two rounds, for runs across the table's end.
    let mut run = 0u64;
    for at in 0..slots * 2 {
        run = if full(at) { (run + 1).min(slots) } else { 0 };
        let key = keys.get((at % slots) as usize).copied().unwrap_or(0);
        if at >= slots && key != 0 {
            let distance = (at - slots + slots - slot(key, slots)) % slots;
            used += 1;
            placed += usize::from(run > distance);
        }
    }
    used >= ENOUGH && placed * 10 >= used * 9
}

/// The required parts of an entry's layout.
struct Shape {
    size: u64,
    key: u64,
}

impl Shape {
    fn of(symbols: &Symbols) -> Option<Shape> {
        Some(Shape {
            size: symbols.size_of(TYPE).map(u64::from)?,
            key: symbols.field(TYPE, "Key")?.offset.into(),
        })
        .filter(|s| (0x20..=0x100).contains(&s.size) && s.key + 4 <= s.size)
    }

    /// The keys of a table up to its first unreadable page.
    fn keys(&self, kernel: &Kernel, table: Va) -> Vec<u32> {
        let most = (1u64 << SIZES.end()) * self.size;
        let mut bytes = Vec::new();
        for (_, piece) in kernel.space.pieces(table, most) {
            match piece {
                Ok(piece) => bytes.extend_from_slice(piece),
                Err(_) => break,
            }
        }
        bytes
            .chunks_exact(self.size as usize)
            .filter_map(|entry| u32_at(entry, self.key as usize))
            .collect()
    }

    /// The keys up to the first empty entry. `None` if there are too many for an overflow
    /// table, if no empty entries follow, or if the read budget is used up.
    fn leading_keys(
        &self,
        kernel: &Kernel,
        table: Va,
        most: u64,
        budget: &mut u64,
    ) -> Option<Vec<u32>> {
        let key = |i: u64| kernel.space.u32(table.add(i * self.size + self.key)).ok();
        let mut out = Vec::new();
        for i in 0..most {
            *budget = budget.checked_sub(1)?;
            match key(i)? {
                0 => {
                    let empty = |i| key(i).is_none_or(|key| key == 0);
                    return (i..i + EMPTY_BEHIND).all(empty).then_some(out);
                }
                found => out.push(found),
            }
        }
        None
    }

    /// True when another table agrees: each slot has the first table's tag, or none.
    fn agree(&self, kernel: &Kernel, first: Va, other: Va) -> bool {
        let key = |table: Va, i: u64| kernel.space.u32(table.add(i * self.size + self.key));
        let (mut same, mut differ) = (0, 0);
        for i in 0..COMPARED {
            match (key(first, i), key(other, i)) {
                (Ok(a), Ok(b)) if a == b && a != 0 => same += 1,
                (Ok(a), Ok(b)) if b != 0 && a != b => differ += 1,
                (_, Err(_)) => return false,
                _ => {}
            }
        }
        differ == 0 && same > 0 || differ * 20 < same
    }
}

/// An array that starts with the first table and continues with tables that agree.
fn tables(
    kernel: &Kernel,
    data: &Data,
    near: &[Va],
    variable: Va,
    first: Va,
    shape: &Shape,
) -> Option<Va> {
    let processors = u64::from(kernel.machine.processors);
    let length = |at: Va| {
        let more = (1..MAX_TABLES).take_while(|i| {
            data.pointer(at.add(i * 8))
                .is_some_and(|other| other != first && shape.agree(kernel, first, other))
        });
        1 + more.count() as u64
    };
    near.iter()
        .copied()
        .filter(|&at| at != variable && data.pointer(at) == Some(first))
        .take(CANDIDATES)
        .max_by_key(|&at| length(at).min(processors))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &[u8; 4]) -> u32 {
        u32::from_le_bytes(*text)
    }

    #[test]
    fn the_hash_places_known_tags() {
        for (text, small, large) in [
            (b"Leak", 1369, 3417),
            (b"Proc", 1587, 1587),
            (b"Thre", 494, 494),
            (b"Irp ", 774, 774),
            (b"File", 580, 2628),
        ] {
            assert_eq!(slot(tag(text), 2048), small);
            assert_eq!(slot(tag(text), 4096), large);
        }
    }

    fn table(slots: u64, tags: u32) -> Vec<u32> {
        let mut keys = vec![0; slots as usize];
        for i in 0..tags {
            let key = i.wrapping_mul(0x0103_0507) | 0x2020_2020;
            let mut at = slot(key, slots);
            while keys[at as usize] != 0 && keys[at as usize] != key {
                at = (at + 1) % slots;
            }
            keys[at as usize] = key;
        }
        keys
    }

    #[test]
    fn the_largest_size_that_fits_is_the_right_one() {
        let mut keys = table(1024, 600);
        // The memory after a table: another table, then zeros.
        keys.extend(table(1024, 200));
        keys.resize(1 << 16, 0);
        assert_eq!(fitting(&keys).last(), Some(&1024));
    }

    #[test]
    fn other_memory_does_not_fit() {
        let noise: Vec<u32> = (0..70_000u32)
            .map(|i| i.wrapping_mul(2_654_435_761))
            .collect();
        assert_eq!(fitting(&noise).last(), None);
        assert_eq!(fitting(&[0; 4096]).last(), None);
    }
}
