//! Finds LFH slots of subsegments with damaged or missing headers by their POOL_HEADERs.
//!
//! All slots of a subsegment have one size and are contiguous. So all headers of a page have
//! the same size field, and their addresses have the same remainder modulo that size. Only the
//! subsegment's bitmap records which slots are in use. If it can't be read, a freed slot that
//! was not reused looks like one in use.

use rustc_hash::FxHashMap;

use crate::memory::{PAGE_SIZE, Va};
use crate::pool::block::{Backend, Block};

use super::slot::{self, LARGEST_SLOT};
use super::walk::{Range, UNIT, Walk};

/// Required number of matching headers within a page, or in consecutive pages of a subsegment.
const ENOUGH: usize = 4;

/// Size and alignment of slots: addresses modulo `bytes` are `rest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Grid {
    bytes: u64,
    rest: u64,
}

impl Grid {
    fn of(block: &Block) -> Grid {
        Grid {
            bytes: block.bytes,
            rest: block.va.0 % block.bytes,
        }
    }
}

/// Lists the blocks of contiguous readable pages. Returns the total size of the recognised
/// slots in bytes, including free ones if a bitmap marks them.
pub fn walk(walk: &mut Walk<'_, '_>, range: Range) -> u64 {
    let mut explained = 0;
    walk.guessing(|walk| {
        let pages = (range.start.0..range.end.0).step_by(PAGE_SIZE as usize);
        let found: Vec<(Va, Option<Grid>)> = pages.map(|va| (Va(va), grid(walk, Va(va)))).collect();
        for same in found.chunk_by(|a, b| a.1 == b.1) {
            if let (Some((first, Some(grid))), Some((last, _))) = (same.first(), same.last()) {
                let pages = Range {
                    start: *first,
                    end: last.add(PAGE_SIZE),
                };
                explained += list(walk, *grid, pages);
            }
        }
    });
    explained
}

/// The block of a possible POOL_HEADER of a slot.
fn header(walk: &Walk<'_, '_>, at: Va) -> Option<Block> {
    let room = PAGE_SIZE - at.offset() as u64;
    // PreviousSize is set only in the second header of aligned blocks.
    let first = walk.view.u8(at).ok()?;
    let found = walk.pool_header(at, room, Backend::Lfh).ok()??;
    (first == 0 && found.bytes < LARGEST_SLOT).then_some(found)
}

/// Whether bytes can be the POOL_HEADER of a slot: a part of what [`header`] requires, which
/// rules out most places at little cost.
fn can_be_header(bytes: &[u8]) -> bool {
    matches!(bytes, [0, _, units, kind, ..] if *units >= 2 && kind & 2 != 0)
}

/// The grid that most headers of a page match.
fn grid(walk: &Walk<'_, '_>, page: Va) -> Option<Grid> {
    let mut votes: FxHashMap<Grid, usize> = FxHashMap::default();
    let bytes = walk.view.page(page).ok()?;
    let places = (0..PAGE_SIZE)
        .step_by(UNIT as usize)
        .zip(bytes.chunks_exact(UNIT as usize))
        .filter(|(_, bytes)| can_be_header(bytes));
    for block in places.filter_map(|(at, _)| header(walk, page.add(at))) {
        *votes.entry(Grid::of(&block)).or_default() += 1;
    }
    let (grid, votes) = votes.into_iter().max_by_key(|(g, n)| (*n, g.bytes))?;
    // Pages of large slots have few of them.
    let slots = (PAGE_SIZE / grid.bytes) as usize;
    (votes >= ENOUGH.min(slots) && votes >= 2 && votes * 2 >= slots).then_some(grid)
}

/// Lists the slots of pages with one grid.
fn list(walk: &mut Walk<'_, '_>, grid: Grid, pages: Range) -> u64 {
    let bits = Bitmap::find(walk, grid, pages);
    let before = pages.start.0 % grid.bytes;
    let skip = (grid.rest + grid.bytes - before) % grid.bytes;
    let mut at = pages.start.add(skip);
    let mut explained = 0;
    while at < pages.end {
        let inside = at.offset() as u64 + grid.bytes <= PAGE_SIZE;
        let busy = bits.as_ref().is_none_or(|bits| bits.is_busy(walk, at));
        if inside && !busy {
            explained += grid.bytes;
        } else if inside && let Some(block) = header(walk, at).filter(|b| b.bytes == grid.bytes) {
            walk.out.blocks.push(block);
            explained += grid.bytes;
        }
        at = at.add(grid.bytes);
    }
    explained
}

/// The bitmap of a subsegment whose encoded offsets are lost.
struct Bitmap {
    at: Va,
    first: Va,
    bytes: u64,
}

/// Number of candidate positions for the first slot.
const PLACES: u64 = 4;

impl Bitmap {
    /// The bitmap at the start of the pages, if their subsegment starts there: no slot that it
    /// marks as in use may look free.
    fn find(walk: &Walk<'_, '_>, grid: Grid, pages: Range) -> Option<Bitmap> {
        let layout = &walk.heaps.layout.lfh;
        let count = u64::from(walk.view.u16(pages.start.add(layout.block_count)).ok()?);
        let at = pages.start.add(layout.bitmap);
        let room = (pages.end.0 - at.0) / grid.bytes;
        if count == 0 || count > room {
            return None;
        }
        let least = at.add(count.div_ceil(4)).0;
        let rest = (grid.rest + grid.bytes - least % grid.bytes) % grid.bytes;
        let places = (0..PLACES).map(|i| Va(least + rest + i * grid.bytes));
        places
            .map(|first| Bitmap {
                at,
                first,
                bytes: grid.bytes,
            })
            .find(|bits| bits.agrees(walk, count))
    }

    fn agrees(&self, walk: &Walk<'_, '_>, count: u64) -> bool {
        let mut busy = 0;
        for i in 0..count {
            let at = self.first.add(i * self.bytes);
            let straddles = at.offset() as u64 + self.bytes > PAGE_SIZE;
            if straddles || !self.is_busy(walk, at) || walk.view.page(at).is_err() {
                continue;
            }
            busy += 1;
            if header(walk, at).is_none_or(|b| b.bytes != self.bytes) {
                return false;
            }
        }
        busy >= 2
    }

    fn is_busy(&self, walk: &Walk<'_, '_>, slot: Va) -> bool {
        let Some(inside) = slot.0.checked_sub(self.first.0) else {
            return false;
        };
        let i = inside / self.bytes;
        let bits = walk.view.u8(self.at.add(i / 4));
        bits.is_ok_and(|bits| slot::is_busy(bits, i))
    }
}
