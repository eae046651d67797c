//! Resumes a broken chain of VS chunks further on.
//!
//! A chunk's header is XORed with its own address and the heap's key, and has the sizes of its
//! chunk and of the previous one. So neighbouring chunks confirm each other: random data
//! matches once in 65,536 times. The start of a chain is still a guess, and stale
//! headers inside a larger free chunk may still be readable. So blocks found this way are
//! marked as heuristic.

use crate::memory::{PAGE_SIZE, Va};
use crate::pool::block::Backend;

use super::chunk::{self, CHUNK_HEADER, Chunk};
use super::walk::{UNIT, Walk};

/// Size of the smallest chunk in bytes.
const SMALLEST: u64 = 2 * UNIT;
/// Required matches for the start of a chain, each worth 16 bits: a neighbour that agrees, a
/// chunk that ends exactly at the subsegment's end, a matching POOL_HEADER.
const ENOUGH: u32 = 2;

/// Lists the blocks between two addresses of a subsegment. `exact` is true if `end` is known to
/// be the end of the last chunk. Counts the bytes that could not be parsed.
pub fn walk(walk: &mut Walk<'_, '_>, from: Va, end: Va, exact: bool) {
    let mut explained = 0;
    walk.guessing(|walk| {
        let mut at = from;
        while let Some(first) = next_chain(walk, at, end, exact) {
            let run = run(walk, first, end);
            // A later chain covers a stale one with a single chunk.
            if !covering(walk, first, run, end, exact) {
                explained += list(walk, first, run);
            }
            at = run.max(first.add(UNIT));
        }
    });
    let whole = end.0.saturating_sub(from.0);
    walk.out.unplaced_bytes += whole.saturating_sub(explained);
}

/// The header at an address; `None` if it can't be read.
fn decoded(walk: &Walk<'_, '_>, at: Va) -> Option<Chunk> {
    let raw = walk.view.u64(at).ok()?;
    Some(Chunk::decode(raw, at, walk.heaps.keys.heap))
}

/// The first address from `from` with enough matches for the start of a chain.
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

/// The number of matches for a chunk at this address.
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

/// True when a chunk contains a block with a known tag that fills it except for padding.
fn fits(walk: &Walk<'_, '_>, at: Va, chunk: Chunk) -> bool {
    chunk::header_in(walk, at, chunk.bytes).is_ok_and(|block| {
        block.is_some_and(|b| at.0 + chunk.bytes - (b.va.0 + b.bytes) <= SMALLEST)
    })
}

/// The address at which the chain from `first` breaks.
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

/// True when a chain starts at `run` whose previous chunk contains `first`.
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

/// Lists the blocks of a chain; returns the total size of its chunks in bytes.
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
