//! VS subsegments: chunks of any size with encoded headers, most with a POOL_HEADER after it.

use crate::memory::Va;
use crate::pool::block::Backend;

use super::chunk::{CHUNK_HEADER, Chunk, list};
use super::resync;
use super::walk::{Range, UNIT, Walk};

/// Size XOR Signature of a valid subsegment, without the FullCommit bit.
const SIGNATURE: u16 = 0x2bed;

/// Walks a subsegment.
pub fn walk(walk: &mut Walk<'_, '_>, range: Range) {
    let Some((first, end)) = bounds(walk, range) else {
        return;
    };
    let mut at = first;
    let mut previous: Option<u64> = None;
    while at < end {
        let raw = match walk.view.u64(at) {
            Ok(raw) => raw,
            // The chain is broken: the rest can only be guessed.
            Err(_) => return resync::walk(walk, at, end, true),
        };
        let chunk = Chunk::decode(raw, at, walk.heaps.keys.heap);
        let chained = previous.is_none_or(|bytes| bytes == chunk.previous_bytes);
        if chunk.bytes < UNIT || chunk.bytes > end.0 - at.0 || !chained {
            walk.out.damaged.push((at.page(), at.offset() as u16));
            return resync::walk(walk, at, end, true);
        }
        if chunk.allocated {
            if !list(walk, at, chunk.bytes) {
                walk.out.unplaced_bytes += chunk.bytes;
            }
        } else {
            walk.free(
                at.add(CHUNK_HEADER),
                chunk.bytes - CHUNK_HEADER,
                Backend::Vs,
            );
        }
        previous = Some(chunk.bytes);
        at = at.add(chunk.bytes);
    }
}

/// The first chunk and the end of the last one.
fn bounds(walk: &mut Walk<'_, '_>, range: Range) -> Option<(Va, Va)> {
    let l = &walk.heaps.layout.vs;
    let size = walk.view.u16(range.start.add(l.size));
    let signature = walk.view.u16(range.start.add(l.signature));
    let whole = range.end.0 - range.start.0;
    match (size, signature) {
        (Ok(size), Ok(signature)) => {
            let bytes = l.header + u64::from(size) * UNIT;
            if (size ^ signature) & 0x7fff != SIGNATURE || bytes > whole {
                walk.out.damaged.push((range.start, 0));
                resync::walk(walk, range.start, range.end, false);
                return None;
            }
            Some((range.start.add(l.header), range.start.add(bytes)))
        }
        _ => {
            resync::walk(walk, range.start, range.end, false);
            None
        }
    }
}

/// The end of a subsegment's chunks, if the page starts with a VS header; `limit` is the first
/// byte after the range that the subsegment can occupy.
pub(super) fn end_of(walk: &Walk<'_, '_>, start: Va, limit: Va) -> Option<Va> {
    let l = &walk.heaps.layout.vs;
    let size = walk.view.u16(start.add(l.size)).ok()?;
    let signature = walk.view.u16(start.add(l.signature)).ok()?;
    let end = start.0 + l.header + u64::from(size) * UNIT;
    let sound = size > 0 && (size ^ signature) & 0x7fff == SIGNATURE && end <= limit.0;
    let first = start.add(l.header);
    let raw = walk.view.u64(first).ok()?;
    let chunk = Chunk::decode(raw, first, walk.heaps.keys.heap);
    let fits = chunk.state_is_sound && (2 * UNIT..=end - first.0).contains(&chunk.bytes);
    (sound && fits).then_some(Va(end))
}
