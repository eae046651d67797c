//! Finds blocks when the structures that lead to them are damaged or missing: the header of a
//! subsegment, the descriptors of a segment, or the list of segments.
//!
//! Subsegments are recognised by their own headers at the start of pages. The rest is searched
//! for chains of chunks and grids of slots. All blocks found this way are marked as heuristic.
//! Remaining bytes count as unparsed.

use crate::memory::{PAGE_SIZE, Va};

use super::view::Slot;
use super::walk::{Range, Walk};
use super::{lfh, resync, slots, vs};

/// Size of the largest subsegment in bytes. Sizes of subsegments are 16-bit numbers in units of
/// 16 bytes; ranges of 255 units of 64 KB are whole allocations.
const LARGEST: u64 = 0x11_0000;
/// At most one in this many slots in use may lack a matching header.
const STRAY: u64 = 10;

/// The structure at the start of a page.
enum Start {
    Vs(Range),
    Lfh(Range),
}

/// Searches a range whose structure is unknown. Unreadable pages are not counted here.
pub fn unknown(walk: &mut Walk<'_, '_>, range: Range) {
    walk.guessing(|walk| {
        let mut at = range.start;
        let mut gap = Gap::default();
        while at < range.end {
            if let Some(end) = behind_big(walk, at, range.end) {
                gap.search(walk);
                at = end;
                continue;
            }
            match walk.view.slot(at) {
                Slot::Bytes(_) => {}
                // A chunk may span decommitted or unreadable pages, so pages on both sides of
                // them are searched together.
                _ => {
                    at = at.add(PAGE_SIZE);
                    continue;
                }
            }
            let start = start_of(walk, at, range.end);
            match start {
                Some(_) => gap.search(walk),
                None => gap.add(at),
            }
            at = match start {
                Some(Start::Vs(own)) => {
                    vs::walk(walk, own);
                    own.end
                }
                Some(Start::Lfh(own)) => {
                    lfh::walk(walk, own);
                    own.end
                }
                None => at.add(PAGE_SIZE),
            };
        }
        gap.search(walk);
    });
}

/// The first page after the large allocation that contains an address.
fn behind_big(walk: &Walk<'_, '_>, at: Va, end: Va) -> Option<Va> {
    let big = walk.big.holding(at)?;
    let behind = Va(big.end().checked_next_multiple_of(PAGE_SIZE)?);
    Some(behind.min(end).max(at.add(PAGE_SIZE)))
}

/// The subsegment that starts at a page.
fn start_of(walk: &Walk<'_, '_>, at: Va, end: Va) -> Option<Start> {
    let limit = Va(end.0.min(at.0.saturating_add(LARGEST)));
    let range = |end: Va| Range {
        start: at,
        end: Va(end.0.next_multiple_of(PAGE_SIZE)).min(limit),
    };
    if let Some(end) = vs::end_of(walk, at, limit) {
        return Some(Start::Vs(range(end)));
    }
    let own = range(lfh::end_of(walk, at, limit)?);
    let slots = lfh::busy_slots(walk, own);
    let fitting = slots.iter().filter(|fits| **fits).count() as u64;
    let all = slots.len() as u64;
    (fitting > 0 && (all - fitting) * STRAY <= all).then_some(Start::Lfh(own))
}

/// Pages that belong to no known subsegment.
#[derive(Default)]
struct Gap {
    pages: Vec<Va>,
}

impl Gap {
    fn add(&mut self, page: Va) {
        self.pages.push(page);
    }

    /// Searches for slots first, because their pages contain nothing else, and then searches
    /// the other pages for chains of chunks.
    fn search(&mut self, walk: &mut Walk<'_, '_>) {
        let mut left: Vec<Va> = Vec::new();
        let pages = std::mem::take(&mut self.pages);
        for run in pages.chunk_by(|a, b| a.add(PAGE_SIZE) == *b) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            let range = Range {
                start: *first,
                end: last.add(PAGE_SIZE),
            };
            let explained = slots::walk(walk, range);
            match explained {
                0 => left.extend(run),
                some => {
                    walk.out.unplaced_bytes += (range.end.0 - range.start.0).saturating_sub(some)
                }
            }
        }
        let (Some(first), Some(last)) = (left.first(), left.last()) else {
            return;
        };
        let before = walk.out.unplaced_bytes;
        resync::walk(walk, *first, last.add(PAGE_SIZE), false);
        // Empty pages in between are not blocks.
        let own = left.len() as u64 * PAGE_SIZE;
        let most = before.saturating_add(own);
        walk.out.unplaced_bytes = walk.out.unplaced_bytes.min(most);
    }
}
