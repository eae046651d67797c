//! The chunks of a VS subsegment: the encoded header of each, and the block inside.

use crate::memory::{Fault, PAGE_SIZE, Va};
use crate::pool::block::{Backend, Block, HEADER_SIZE};

use super::walk::{UNIT, Walk};

/// Size of a chunk's header in bytes.
pub const CHUNK_HEADER: u64 = 0x10;
/// User size in bytes from which a block is whole pages without a POOL_HEADER.
const LARGEST_SMALL: u64 = 0xff0;

/// A chunk's header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Size in bytes, including the header.
    pub bytes: u64,
    /// Size of the previous chunk in bytes.
    pub previous_bytes: u64,
    /// True when the chunk is in use.
    pub allocated: bool,
    /// True when the allocated field is 0 or 1, as in a valid header.
    pub state_is_sound: bool,
}

impl Chunk {
    pub fn decode(raw: u64, va: Va, key: u64) -> Chunk {
        let bits = raw ^ va.0 ^ key;
        Chunk {
            bytes: (bits >> 16 & 0xffff) * UNIT,
            previous_bytes: (bits >> 32 & 0xffff) * UNIT,
            allocated: bits >> 48 & 0xff != 0,
            state_is_sound: bits >> 48 & 0xff <= 1,
        }
    }
}

/// Lists a chunk in use: a block with a POOL_HEADER, or pages in the big page table. False for
/// a readable chunk without either, which is an unknown structure; an unreadable page is
/// counted with the pages.
pub fn list(walk: &mut Walk<'_, '_>, chunk: Va, bytes: u64) -> bool {
    let next_page = Va(chunk.add(CHUNK_HEADER).0.next_multiple_of(PAGE_SIZE));
    if bytes >= PAGE_SIZE && next_page < chunk.add(bytes) && walk.big.at(next_page).is_some() {
        return true;
    }
    match header_in(walk, chunk, bytes) {
        Ok(Some(found)) => {
            walk.out.blocks.push(found);
            true
        }
        Ok(None) => false,
        Err(_) => true,
    }
}

/// The block of a chunk, from its POOL_HEADER.
pub fn header_in(walk: &Walk<'_, '_>, chunk: Va, bytes: u64) -> Result<Option<Block>, Fault> {
    let end = chunk.add(bytes);
    let block = chunk.add(CHUNK_HEADER);
    let next_page = Va(block.0.next_multiple_of(PAGE_SIZE));
    for header in candidates(block, bytes - CHUNK_HEADER, next_page) {
        if header.0.saturating_add(HEADER_SIZE) > end.0 {
            continue;
        }
        match walk.pool_header(header, end.0 - header.0, Backend::Vs) {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            // The likelier place is not in the dump. Bytes that look like a header at the other
            // place are not one.
            Err(fault) => return Err(fault),
        }
    }
    Ok(None)
}

/// Possible places of a block's POOL_HEADER, the likeliest first: at the block's start; or at
/// the next page, if the block starts in the last unit of a page or its header would straddle
/// two pages.
fn candidates(block: Va, bytes: u64, next_page: Va) -> impl Iterator<Item = Va> {
    let offset = block.offset() as u64;
    let last_unit = offset == PAGE_SIZE - UNIT;
    let straddles = bytes < LARGEST_SMALL && offset + bytes > PAGE_SIZE + 0x40;
    let moved = (last_unit || straddles) && next_page > block;
    let (first, second) = match moved {
        true => (next_page, Some(block)),
        false => (block, None),
    };
    std::iter::once(first).chain(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_header_is_decoded_with_address_and_key() {
        let va = Va(0xffff_ba0f_1a20_0030);
        let key = 0x1234_5678_9abc_def0;
        let bits: u64 = 0x0001_0007_0012_0003;
        let chunk = Chunk::decode(bits ^ va.0 ^ key, va, key);
        assert_eq!(
            chunk,
            Chunk {
                bytes: 0x120,
                previous_bytes: 0x70,
                allocated: true,
                state_is_sound: true,
            }
        );
    }

    #[test]
    fn a_header_that_would_straddle_pages_moves_to_the_next() {
        let at = |offset: u64, bytes: u64| {
            let block = Va(0xffff_ba0f_1a20_0000 + offset);
            let next = Va(block.0.next_multiple_of(0x1000));
            let all: Vec<u64> = candidates(block, bytes, next)
                .map(|va| va.0 & 0x1fff)
                .collect();
            all
        };
        assert_eq!(at(0x40, 0x100), [0x40]);
        assert_eq!(at(0xff0, 0x100), [0x1000, 0xff0]);
        assert_eq!(at(0x800, 0xa00), [0x1000, 0x800]);
    }
}
