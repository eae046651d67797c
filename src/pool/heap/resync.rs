//! Takes up a lost chain of VS chunks again, further on.
//!
//! A chunk's header is mixed with its own address and the heap's key, and names the sizes of
//! its chunk and of the one before. So chunks behind each other vouch for each other: what is
//! there by chance agrees once in 65,536 times. Where a chain begins is a guess nevertheless,
//! and headers of chunks that have become part of a larger free one may still be readable, so
//! blocks found so are marked as such.

use crate::memory::{PAGE_SIZE, Va};
use crate::pool::block::Backend;

use super::chunk::{self, CHUNK_HEADER, Chunk};
use super::walk::{UNIT, Walk};

/// The smallest chunk.
const SMALLEST: u64 = 2 * UNIT;
/// Signs that a place starts a chain, each worth 16 bits: a neighbour that agrees, the
/// subsegment's end exactly behind a chunk, a POOL_HEADER that fits.
const ENOUGH: u32 = 2;

/// Lists the blocks between two addresses of a subsegment. `end` is where its last chunk
/// ends, if that is known. Counts what stays undivided.
pub fn walk(walk: &mut Walk<'_, '_>, from: Va, end: Va, exact: bool) {
    let mut explained = 0;
    walk.guessing(|walk| {
        let mut at = from;
        while let Some(first) = next_chain(walk, at, end, exact) {
            let run = run(walk, first, end);
            // The chain that goes on behind a stale one covers it with one chunk.
            if !covering(walk, first, run, end, exact) {
                explained += list(walk, first, run);
            }
            at = run.max(first.add(UNIT));
        }
    });
    let whole = end.0.saturating_sub(from.0);
    walk.out.unplaced_bytes += whole.saturating_sub(explained);
}

/// The header at an address; `None` where it can't be read.
fn decoded(walk: &Walk<'_, '_>, at: Va) -> Option<Chunk> {
    let raw = walk.view.u64(at).ok()?;
    Some(Chunk::decode(raw, at, walk.heaps.keys.heap))
}

/// The first place from `from` on that has enough signs of a chain.
fn next_chain(walk: &Walk<'_, '_>, from: Va, end: Va, exact: bool) -> Option<Va> {
    let mut at = Va(from.0.next_multiple_of(UNIT));
    while at < end {
        let Some(found) = decoded(walk, at) else {
            at = at.page().add(PAGE_SIZE);
            continue;
        };
        if is_plausible(&found, at, end) && signs(walk, at, found, end, exact) >= ENOUGH {
            return Some(at);
        }
        at = at.add(UNIT);
    }
    None
}

fn is_plausible(chunk: &Chunk, at: Va, end: Va) -> bool {
    (SMALLEST..=end.0 - at.0).contains(&chunk.bytes) && chunk.state_is_sound
}

/// How many signs there are that a chunk starts here.
fn signs(walk: &Walk<'_, '_>, first: Va, found: Chunk, end: Va, exact: bool) -> u32 {
    let mut signs = u32::from(found.allocated && fits(walk, first, found));
    let (mut at, mut here) = (first, found);
    while signs < ENOUGH {
        let next = at.add(here.bytes);
        if next == end {
            return signs + u32::from(exact);
        }
        let Some(behind) = decoded(walk, next) else {
            break;
        };
        if behind.previous_bytes != here.bytes || !is_plausible(&behind, next, end) {
            break;
        }
        signs += 1;
        (at, here) = (next, behind);
    }
    signs
}

/// True where a chunk holds a block of a known tag that fills it but for a rest.
fn fits(walk: &Walk<'_, '_>, at: Va, chunk: Chunk) -> bool {
    chunk::header_in(walk, at, chunk.bytes).is_ok_and(|block| {
        block.is_some_and(|b| at.0 + chunk.bytes - (b.va.0 + b.bytes) <= SMALLEST)
    })
}

/// Where the chain that starts at `first` breaks.
fn run(walk: &Walk<'_, '_>, first: Va, end: Va) -> Va {
    let mut at = first;
    let mut previous = None;
    while at < end {
        let Some(found) = decoded(walk, at) else {
            break;
        };
        let chained = previous.is_none_or(|bytes| bytes == found.previous_bytes);
        if !chained || !is_plausible(&found, at, end) {
            break;
        }
        previous = Some(found.bytes);
        at = at.add(found.bytes);
    }
    at
}

/// True when a chain starts at `run` whose chunk before is one that `first` lies in.
fn covering(walk: &Walk<'_, '_>, first: Va, run: Va, end: Va, exact: bool) -> bool {
    if run >= end {
        return false;
    }
    let Some(found) = decoded(walk, run) else {
        return false;
    };
    is_plausible(&found, run, end)
        && found.previous_bytes > run.0 - first.0
        && signs(walk, run, found, end, exact) >= ENOUGH
}

/// Lists the blocks of a chain; returns the bytes of its chunks.
fn list(walk: &mut Walk<'_, '_>, first: Va, run: Va) -> u64 {
    let mut at = first;
    let mut left_out = 0;
    while at < run {
        let Some(found) = decoded(walk, at) else {
            break;
        };
        if found.allocated && !chunk::list(walk, at, found.bytes) {
            left_out += found.bytes;
        } else if !found.allocated {
            let body = at.add(CHUNK_HEADER);
            walk.free(body, found.bytes - CHUNK_HEADER, Backend::Vs);
        }
        at = at.add(found.bytes);
    }
    at.0 - first.0 - left_out
}
