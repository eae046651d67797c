//! Page tables in raw memory, as far as a container needs them: if a file does not describe its
//! layout, its page tables reveal it.

use crate::addr::PAGE_SIZE;
use crate::bytes::u64_at;

/// Page-table roots of System are below 64 MB on every version.
const LOW: u64 = 64 << 20;
/// The address bits of an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Largest number of tables that are read to find frames.
const MAX_TABLES: usize = 4096;

/// The slot in the upper half whose entry maps the page itself. `None` unless there is exactly
/// one, and the page has other entries and many empty ones.
pub(crate) fn self_map(page: &[u8], address: u64) -> Option<usize> {
    const PRESENT: u64 = 1;
    const LARGE: u64 = 0x80;
    let entry = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    let is_own =
        |bytes: &[u8]| entry(bytes) & (ADDRESS | LARGE | PRESENT) == address & ADDRESS | PRESENT;
    let (lower, upper) = page
        .get(..PAGE_SIZE as usize)?
        .split_at(PAGE_SIZE as usize / 2);
    // A search of all memory asks this of every page: nearly all end here.
    if upper.chunks_exact(8).filter(|bytes| is_own(bytes)).count() != 1 {
        return None;
    }
    let zeros = |half: &[u8]| half.chunks_exact(8).filter(|b| entry(b) == 0).count();
    let present = upper.chunks_exact(8).filter(|b| entry(b) & PRESENT != 0);
    let is_table = present.count() > 1 && zeros(lower) > 64 && zeros(upper) > 64;
    let slot = upper.chunks_exact(8).position(is_own)?;
    is_table.then_some(256 + slot)
}

/// Addresses of low pages with a self-map entry, in memory that starts at `base`.
fn roots(file: &[u8], base: u64) -> impl Iterator<Item = u64> {
    let end = LOW.min((file.len() as u64).saturating_sub(base));
    let pages = (0..end / PAGE_SIZE).map(|n| n * PAGE_SIZE);
    pages.filter(move |&address| {
        let page = page(file, base + address);
        page.is_some_and(|page| self_map(page, address).is_some())
    })
}

fn page(file: &[u8], at: u64) -> Option<&[u8]> {
    let at = usize::try_from(at).ok()?;
    file.get(at..at.checked_add(PAGE_SIZE as usize)?)
}

/// True when memory that starts at `base` of the file has a page-table root.
pub(super) fn has_root(file: &[u8], base: u64) -> bool {
    roots(file, base).next().is_some()
}

/// Frames that the page tables below `limit` refer to, if memory below `limit` is stored
/// unchanged from the start of the file.
pub(super) fn frames_named(file: &[u8], limit: u64) -> Vec<u64> {
    let Some(root) = roots(file, 0).next() else {
        return Vec::new();
    };
    let mut out = Vec::new();
    // Breadth first: upper tables cover more memory than a single branch.
    let mut level = vec![root];
    let mut read = 0;
    for depth in 0..4 {
        let mut next = Vec::new();
        for table in level {
            if read >= MAX_TABLES {
                return out;
            }
            read += 1;
            let Some(page) = page(file, table) else {
                continue;
            };
            for slot in 0..512 {
                let entry = u64_at(page, slot * 8).unwrap_or(0);
                let address = entry & ADDRESS;
                let lower = depth == 0 && slot < 256;
                if entry & 1 == 0 || lower || address == root {
                    continue;
                }
                out.push(address / PAGE_SIZE);
                let large = entry & 0x80 != 0 && depth > 0;
                if depth < 3 && !large && address < limit {
                    next.push(address);
                }
            }
        }
        level = next;
    }
    out
}
