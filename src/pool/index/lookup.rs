//! Finds the blocks that contain given addresses: many at once, window by window, without a
//! list of all blocks by address.

use rayon::prelude::*;

use crate::memory::{PAGE_SIZE, Va};
use crate::pool::block::Block;
use crate::pool::tag::Tag;

use super::Snapshot;
use super::segment::{Segment, WINDOW, Word};
use super::sort::Wanted;

/// A binary search costs about as much as a scan of this many words.
const SEARCH_COST: usize = 24;

impl Snapshot {
    /// For each of some ascending addresses, the block that contains it, in use or not.
    /// `session` selects the pool of a session, or the system's (`None`). Returns `None` if
    /// cancelled.
    pub fn lookup(
        &self,
        session: Option<u32>,
        addresses: &[Va],
        wanted: Wanted<'_>,
    ) -> Option<Vec<Option<Block>>> {
        let own: Vec<&Segment> = self
            .segments
            .iter()
            .map(AsRef::as_ref)
            .filter(|s| s.session() == session)
            .collect();
        let found: Option<Vec<(usize, Vec<Option<Block>>)>> = own
            .par_iter()
            .map(|segment| wanted().then(|| in_window(segment, addresses)))
            .collect();
        let mut out = vec![None; addresses.len()];
        for (first, blocks) in found? {
            for (to, block) in out.iter_mut().skip(first).zip(blocks) {
                *to = to.or(block);
            }
        }
        if let Some(segment) = own.first() {
            for (to, va) in out.iter_mut().zip(addresses) {
                *to = to.or_else(|| large(segment, *va));
            }
        }
        Some(out)
    }
}

/// The large allocation that contains an address.
fn large(segment: &Segment, va: Va) -> Option<Block> {
    let block = segment.owner().big.holding(va)?.block();
    let session = segment.session();
    Some(Block { session, ..block })
}

/// The small blocks of a window that contain addresses, and the position of the first address
/// inside the window.
fn in_window(segment: &Segment, addresses: &[Va]) -> (usize, Vec<Option<Block>>) {
    let last = Va(segment.base.0 | (WINDOW - 1));
    let first = addresses.partition_point(|va| *va < segment.base);
    let end = addresses.partition_point(|va| *va <= last);
    let own = addresses.get(first..end).unwrap_or_default();
    if own.is_empty() {
        return (first, Vec::new());
    }
    let searches = own.len().saturating_mul(segment.starts().count());
    let before = match searches.saturating_mul(SEARCH_COST) < segment.len() {
        true => by_search(segment, own),
        false => by_scan(segment, own),
    };
    (first, holding(segment, own, before))
}

/// Of the blocks before the addresses, those that extend to them.
fn holding(segment: &Segment, addresses: &[Va], before: Vec<Option<Start>>) -> Vec<Option<Block>> {
    let block = |(va, before): (&Va, Option<Start>)| {
        let (tag, word) = before?;
        let bytes = u64::from(word.small_units()?) * 16;
        let end = word.va(segment.base).0.checked_add(bytes)?;
        (va.0 < end).then(|| segment.block(tag, word))
    };
    addresses.iter().zip(before).map(block).collect()
}

/// A small block's word.
type Start = (Tag, Word);

fn later(a: Option<Start>, b: Option<Start>) -> Option<Start> {
    match (a, b) {
        (Some(x), Some(y)) if y.1.unit() >= x.1.unit() => Some(y),
        (None, y) => y,
        (x, _) => x,
    }
}

/// The small block directly before each address, by a binary search for each tag.
fn by_search(segment: &Segment, addresses: &[Va]) -> Vec<Option<Start>> {
    let mut out = vec![None; addresses.len()];
    for (tag, words) in segment.by_tag() {
        for (va, best) in addresses.iter().zip(&mut out) {
            let after = words.partition_point(|w| w.va(segment.base) <= *va);
            // A small block before a large one does not extend past it.
            let word = after.checked_sub(1).and_then(|i| words.get(i).copied());
            let small = word.filter(|w| w.small_units().is_some());
            *best = later(*best, small.map(|w| (tag, w)));
        }
    }
    out
}

/// The same by a scan of all words: each word is stored at the first address after its start;
/// the last word stored before an address is the result.
fn by_scan(segment: &Segment, addresses: &[Va]) -> Vec<Option<Start>> {
    let base = segment.base.page();
    let page = |va: Va| (va.0.saturating_sub(base.0) / PAGE_SIZE) as usize;
    let pages = (WINDOW / PAGE_SIZE) as usize + 1;
    // The position of the first address of each page; after the last page, the end.
    let mut first = Vec::with_capacity(pages + 1);
    for (i, va) in addresses.iter().enumerate() {
        while first.len() <= page(*va) {
            first.push(i);
        }
    }
    first.resize(first.len().max(pages) + 1, addresses.len());

    let mut out: Vec<Option<Start>> = vec![None; addresses.len()];
    for (tag, words) in segment.by_tag() {
        for word in words.iter().filter(|w| w.small_units().is_some()) {
            let start = word.va(segment.base);
            let at = page(start);
            let (Some(&from), Some(&to)) = (first.get(at), first.get(at + 1)) else {
                continue;
            };
            let in_page = addresses.get(from..to).unwrap_or_default();
            let place = from + in_page.partition_point(|va| *va < start);
            if let Some(best) = out.get_mut(place) {
                *best = later(*best, Some((tag, *word)));
            }
        }
    }
    let mut last = None;
    for best in &mut out {
        last = later(last, *best);
        *best = last;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use proptest::prelude::*;

    /// The block that contains an address, by a scan of all blocks.
    fn slowly(index: &Snapshot, va: Va) -> Option<(Va, Tag)> {
        let any = crate::pool::TagPattern::any();
        index
            .matching(&any)
            .find(|b| b.va <= va && va.0 < b.va.0 + b.bytes)
            .map(|b| (b.va, b.tag))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_address_finds_its_block(offsets in proptest::collection::btree_set(0u64..3 * WINDOW, 1..60)) {
            let index = fixture::index(3, 400);
            let base = index.segments[0].base;
            // Choose most addresses where there are blocks.
            let near = offsets.iter().map(|o| base.add(o / WINDOW * WINDOW + o % 0x3_3000));
            let big = offsets.iter().map(|o| fixture::big_at(o / WINDOW).add(o % 0x20_0000));
            let mut addresses: Vec<Va> = near.chain(big).collect();
            addresses.sort_unstable();
            addresses.dedup();
            let found = index.lookup(None, &addresses, &|| true).unwrap();
            for (va, block) in addresses.iter().zip(found) {
                prop_assert_eq!(block.map(|b| (b.va, b.tag)), slowly(&index, *va));
            }
            let segment = &index.segments[1];
            let end = addresses.partition_point(|va| va.0 < segment.base.0 + WINDOW);
            let first = addresses.partition_point(|va| *va < segment.base);
            let own = &addresses[first..end];
            let scanned = holding(segment, own, by_scan(segment, own));
            prop_assert_eq!(scanned, holding(segment, own, by_search(segment, own)));
        }
    }

    #[test]
    fn sessions_have_separate_pools() {
        let index = fixture::index(1, 10);
        let base = index.segments[0].base;
        let found = index.lookup(Some(1), &[base], &|| true).unwrap();
        assert_eq!(found, [None]);
        assert_eq!(index.lookup(None, &[base], &|| false), None);
    }
}
