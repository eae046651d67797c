//! The outstanding blocks of a verified driver: pages of `_VI_POOL_ENTRY`, 32 bytes each.
//!
//! Entry 0 of a page is its header. The others are blocks in use, or free entries on a list.
//! The content of a freed entry is not public, so the free list decides. If that list is
//! damaged, an entry that links to another entry counts as free too.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::bytes::{u32_at, u64_at};
use crate::kernel::Kernel;
use crate::memory::{PAGE_SIZE, Va};

use super::slist;
use super::{Code, Counters};

const DATA: &str = "_VF_TARGET_VERIFIED_DRIVER_DATA";
const HEADER: &str = "_VI_POOL_PAGE_HEADER";
const IN_USE: &str = "_VI_POOL_ENTRY_INUSE";
/// Number of pages allowed beyond those that the counters explain.
const SPARE_PAGES: u64 = 64;
/// Size limit in bytes, above any pool block.
const MAX_BYTES: u64 = 1 << 40;

/// A block in use according to Driver Verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first byte that the owner uses.
    pub address: Va,
    /// The return address in the code that allocated it.
    pub caller: Va,
    /// Requested bytes.
    pub bytes: u64,
    /// The tag as passed by the caller.
    pub tag: u32,
}

/// The blocks of a driver.
#[derive(Clone, Debug, Default)]
pub struct Tracked {
    /// Blocks in use, page by page.
    pub entries: Vec<Entry>,
    /// Number of pages of entries that were read.
    pub pages: u64,
    /// Number of entries on the free list.
    pub free: u64,
    /// Number of entries that are neither free nor a valid block.
    pub damaged: u64,
    /// Damage found, as the ends of sentences.
    pub(super) damage: Vec<String>,
}

/// Field offsets of the structures.
struct Layout {
    entry: u64,
    next: u64,
    owner: u64,
    signature: u64,
    address: usize,
    caller: usize,
    bytes: usize,
    tag: usize,
}

impl Layout {
    fn of(kernel: &Kernel) -> Option<Layout> {
        let at = |ty, name| kernel.offset(ty, name);
        let place = |name| usize::try_from(at(IN_USE, name)?).ok();
        let entry = u64::from(kernel.symbols.size_of("_VI_POOL_ENTRY")?);
        let layout = Layout {
            entry,
            next: at(HEADER, "NextPage")?,
            owner: at(HEADER, "VerifierEntry")?,
            signature: at(HEADER, "Signature")?,
            address: place("VirtualAddress")?,
            caller: place("CallingAddress")?,
            bytes: place("NumberOfBytes")?,
            tag: place("Tag")?,
        };
        (0x20..=PAGE_SIZE / 2).contains(&entry).then_some(layout)
    }
}

/// Reads the blocks of the driver with these records.
pub(super) fn read(kernel: &Kernel, data: Va, counters: &Counters, code: &Code) -> Tracked {
    let mut out = Tracked::default();
    let places = Layout::of(kernel)
        .zip(kernel.offset(DATA, "PoolPageHeaders"))
        .zip(kernel.offset(DATA, "PoolTrackers"));
    let Some(((layout, pages), trackers)) = places else {
        out.damage
            .push("the layout of its blocks is not known".into());
        return out;
    };
    let pages = match slist::head(kernel, data.add(pages)) {
        Ok(head) => pages_of(kernel, &layout, data, head, counters, &mut out),
        Err(why) => {
            out.damage.push(format!("the list of its blocks {why}"));
            return out;
        }
    };
    let (free, whole) = match slist::head(kernel, data.add(trackers)) {
        Ok(head) => free_entries(kernel, &layout, head, &pages),
        Err(_) => (FxHashSet::default(), false),
    };
    if !whole {
        out.damage.push(
            "the list of free entries breaks off; entries that link to others count as free".into(),
        );
    }
    out.pages = pages.len() as u64;
    out.free = free.len() as u64;
    for page in &pages {
        entries_of(kernel, &layout, *page, &pages, &free, code, &mut out);
    }
    if out.damaged > 0 {
        out.damage
            .push(format!("{} entries are damaged and not used", out.damaged));
    }
    compare(counters, &mut out);
    out
}

/// The pages of entries: those that refer to the driver, with one signature.
fn pages_of(
    kernel: &Kernel,
    layout: &Layout,
    data: Va,
    head: slist::Head,
    counters: &Counters,
    out: &mut Tracked,
) -> Vec<Va> {
    let per_page = PAGE_SIZE / layout.entry - 1;
    let sum = |counts: [Option<u64>; 2]| {
        counts
            .iter()
            .flatten()
            .fold(0u64, |a, n| a.saturating_add(*n))
    };
    let most = sum(counters.allocations).max(sum(counters.peak_allocations));
    let most = (most / per_page + SPARE_PAGES).max(head.depth.into());
    // Each page of entries is a page of the dump.
    let most = most.min(kernel.space.dump().pages_present());

    let mut found: Vec<(Va, u64)> = Vec::new();
    let mut seen = FxHashSet::default();
    let mut next = head.first;
    let mut broken = None;
    while let Some(at) = next {
        if found.len() as u64 >= most {
            broken = Some("has more pages than the counters explain".to_owned());
            break;
        }
        if !seen.insert(at) {
            broken = Some(format!("comes back to {at}"));
            break;
        }
        let owner = kernel.space.pointer(at.add(layout.owner));
        let signature = kernel.space.u64(at.add(layout.signature));
        let link = kernel.space.u64(at.add(layout.next));
        let (Ok(owner), Ok(signature), Ok(link)) = (owner, signature, link) else {
            broken = Some(format!("leads to {at}, which can't be read"));
            break;
        };
        if owner != data {
            broken = Some(format!("leads to {at}, which is not a page of this driver"));
            break;
        }
        found.push((at, signature));
        let link = Va(link & !0xf);
        next = (link.0 != 0).then_some(link);
        if let Some(at) = next.filter(|at| !at.is_kernel()) {
            broken = Some(format!("leads to {at}, which is not a kernel address"));
            break;
        }
    }
    if let Some(why) = broken {
        out.damage.push(format!(
            "the list of its blocks {why}; blocks may be missing"
        ));
    }
    let mut counts: FxHashMap<u64, usize> = FxHashMap::default();
    for (_, signature) in &found {
        *counts.entry(*signature).or_default() += 1;
    }
    let usual = counts
        .into_iter()
        .max_by_key(|(s, n)| (*n, *s))
        .map(|c| c.0);
    let all = found.len();
    found.retain(|(_, signature)| Some(*signature) == usual);
    if found.len() < all {
        out.damage.push(format!(
            "{} pages of entries have another signature and are not used",
            all - found.len()
        ));
    }
    let mut pages: Vec<Va> = found.into_iter().map(|f| f.0).collect();
    pages.sort_unstable();
    pages
}

/// True when an entry can start at this address in one of the pages.
fn is_entry(layout: &Layout, pages: &[Va], at: Va) -> bool {
    let after = pages.partition_point(|page| *page <= at);
    let Some(page) = after.checked_sub(1).and_then(|i| pages.get(i)) else {
        return false;
    };
    let inside = at.0 - page.0;
    inside != 0 && inside < room(*page) && inside.is_multiple_of(layout.entry)
}

/// Bytes from the start of the entries to the end of their page.
fn room(start: Va) -> u64 {
    PAGE_SIZE - start.offset() as u64
}

/// The entries on the free list, and whether it is complete.
fn free_entries(
    kernel: &Kernel,
    layout: &Layout,
    head: slist::Head,
    pages: &[Va],
) -> (FxHashSet<Va>, bool) {
    let mut free = FxHashSet::default();
    let mut next = head.first;
    while let Some(at) = next {
        if !is_entry(layout, pages, at) || !free.insert(at) {
            return (free, false);
        }
        match kernel.space.u64(at) {
            Ok(link) => {
                let link = Va(link & !0xf);
                next = (link.0 != 0).then_some(link);
            }
            Err(_) => return (free, false),
        }
    }
    (free, true)
}

/// Reads the blocks of a page.
fn entries_of(
    kernel: &Kernel,
    layout: &Layout,
    page: Va,
    pages: &[Va],
    free: &FxHashSet<Va>,
    code: &Code,
    out: &mut Tracked,
) {
    let count = room(page) / layout.entry;
    let mut bytes = vec![0; (count * layout.entry) as usize];
    if kernel.space.read(page, &mut bytes).is_err() {
        out.damage
            .push(format!("the page of entries at {page} can't be read"));
        return;
    }
    let chunks = bytes.chunks_exact(layout.entry as usize).enumerate();
    for (number, raw) in chunks.skip(1) {
        let at = page.add(number as u64 * layout.entry);
        if free.contains(&at) || raw.iter().all(|b| *b == 0) {
            continue;
        }
        let word = |at| u64_at(raw, at).map(Va);
        let (Some(address), Some(caller)) = (word(layout.address), word(layout.caller)) else {
            continue;
        };
        // Such an entry belongs to a part of the free list that was not reached.
        if is_entry(layout, pages, Va(address.0 & !0xf)) {
            out.free += 1;
            continue;
        }
        let bytes = u64_at(raw, layout.bytes).unwrap_or(0);
        let sound = address.is_kernel()
            && address.0.is_multiple_of(8)
            && (1..=MAX_BYTES).contains(&bytes)
            && code.holds(caller);
        match sound {
            true => out.entries.push(Entry {
                address,
                caller,
                bytes,
                tag: u32_at(raw, layout.tag).unwrap_or(0),
            }),
            false => out.damaged += 1,
        }
    }
}

/// Compares the blocks with Verifier's own counters.
fn compare(counters: &Counters, out: &mut Tracked) {
    let found = out.entries.len() as u64;
    let bytes = out.entries.iter().map(|e| e.bytes);
    let bytes = bytes.fold(0u64, u64::saturating_add);
    match (counters.outstanding(), counters.outstanding_bytes()) {
        (Some(count), Some(sum)) if count != found || sum != bytes => out.damage.push(format!(
            "{found} blocks of {bytes} bytes are listed, its counters say {count} of {sum} bytes"
        )),
        (Some(_), Some(_)) => {}
        _ => out.damage.push("its counters can't be read".into()),
    }
}
