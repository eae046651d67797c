//! A page of blocks: headers that link forward and backward, and free space in between.
//!
//! PreviousSize, PoolIndex, BlockSize and PoolType in `_POOL_HEADER` are a byte each, followed
//! by the tag, and a process or leftover data. In PoolType, bit 1 means "in use" and bit 0
//! "paged"; a free block keeps its tag and may keep other bits. On NT 5.2, it is 0 for a free
//! block, and otherwise the POOL_TYPE plus 1 (ReactOS's `expool.c`).

use crate::addr::PAGE_SIZE;
use crate::synth::era::Era;
use crate::synth::physical::Page;
use crate::synth::rng::Rng;
use crate::synth::truth::{Pool, Tag};

use super::{FRAGMENT, PROTECTED, UNIT};

const IN_USE: u8 = 2;
const PAGED: u8 = 1;
const CACHE_ALIGNED: u8 = 4;
const QUOTA: u8 = 8;
const RAISE_ON_FAILURE: u8 = 0x10;

/// The encoding of PoolType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Types {
    /// A bit for "in use".
    Vista,
    /// The type plus 1.
    Nt52,
}

impl Types {
    /// The encoding of an era.
    pub fn of(era: &Era) -> Types {
        match era.is_nt52() {
            true => Types::Nt52,
            false => Types::Vista,
        }
    }
}

/// A block to put on a page.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Size in bytes, including the header.
    pub bytes: u64,
    /// The tag; for a free block, that of its last owner.
    pub tag: Tag,
    /// True when the tag is stored with the protected bit.
    pub protected: bool,
    /// Index of the allocation; `None` for a free block or a marker.
    pub allocation: Option<u32>,
    marker: bool,
}

impl Piece {
    /// A block in use.
    pub fn used(bytes: u64, tag: Tag, protected: bool, allocation: u32) -> Piece {
        Piece {
            bytes,
            tag,
            protected,
            allocation: Some(allocation),
            marker: false,
        }
    }

    fn free(bytes: u64, tag: Tag) -> Piece {
        Piece {
            bytes,
            tag,
            protected: false,
            allocation: None,
            marker: false,
        }
    }

    /// True for a free block.
    pub fn is_free(&self) -> bool {
        self.allocation.is_none() && !self.marker
    }
}

/// Adds free blocks between those in use so that the page from `start` is completely filled,
/// and the marker first if a big allocation ends there.
pub fn compose(used: &[Piece], start: u64, rng: &mut Rng) -> Vec<Piece> {
    let taken: u64 = used.iter().map(|p| p.bytes).sum();
    let marker = if start == 0 { 0 } else { UNIT };
    let mut gap = (PAGE_SIZE - start).saturating_sub(taken + marker);
    let mut out = Vec::with_capacity(used.len() + 4);
    if start != 0 {
        out.push(Piece {
            marker: true,
            ..Piece::free(UNIT, FRAGMENT)
        });
    }
    let last_owner = |at: usize| used.get(at % used.len().max(1)).map_or(*b"None", |p| p.tag);
    for (at, piece) in used.iter().enumerate() {
        // Mostly short gaps between blocks; the remainder is one block at the end.
        if gap >= 2 * UNIT && rng.one_in(3) {
            let bytes = UNIT * (1 + rng.below((gap / UNIT / 2).clamp(1, 64)));
            out.push(Piece::free(bytes, last_owner(at + 1)));
            gap -= bytes;
        }
        out.push(*piece);
    }
    while gap > 0 {
        let bytes = gap.min(255 * UNIT);
        out.push(Piece::free(bytes, last_owner(out.len())));
        gap -= bytes;
    }
    out
}

/// Writes headers from offset `start`. `index` is the pool's number. Returns each piece's
/// offset in bytes.
pub fn write(
    page: &mut Page,
    start: u64,
    pieces: &[Piece],
    (types, pool, index): (Types, Pool, u8),
    rng: &mut Rng,
) -> Vec<u64> {
    let (mut at, mut previous) = (start, 0u8);
    let mut offsets = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let units = (piece.bytes / UNIT) as u8;
        // Both fields may contain leftover data of earlier owners.
        let index = match pool {
            Pool::NonPaged if rng.one_in(6) => rng.below(4) as u8,
            _ => index,
        };
        let left_over = if rng.one_in(5) { rng.bits() } else { 0 };
        let kind = match types {
            Types::Vista => pool_type(piece, pool, rng),
            Types::Nt52 => old_type(piece, pool, rng),
        };
        let head = [previous, index, units, kind];
        header(page, at, head, stored_tag(piece), left_over);
        offsets.push(at);
        previous = units;
        at += piece.bytes;
    }
    offsets
}

fn pool_type(piece: &Piece, pool: Pool, rng: &mut Rng) -> u8 {
    let paged = match pool {
        Pool::Paged => PAGED,
        Pool::NonPaged => 0,
    };
    match piece.is_free() {
        true if rng.one_in(4) => CACHE_ALIGNED,
        true => 0,
        false if rng.one_in(9) && !piece.marker => IN_USE | paged | QUOTA,
        false => IN_USE | paged,
    }
}

fn old_type(piece: &Piece, pool: Pool, rng: &mut Rng) -> u8 {
    if piece.is_free() {
        return 0;
    }
    let base = u8::from(pool == Pool::Paged);
    let flags = [0, 0, 0, CACHE_ALIGNED, QUOTA, RAISE_ON_FAILURE];
    let flag = flags.get(rng.below(flags.len() as u64) as usize);
    (base | flag.copied().unwrap_or(0)) + 1
}

fn stored_tag(piece: &Piece) -> u32 {
    let tag = u32::from_le_bytes(piece.tag);
    if piece.protected {
        tag | PROTECTED
    } else {
        tag
    }
}

fn header(page: &mut Page, at: u64, head: [u8; 4], tag: u32, left_over: u64) {
    let at = at as usize;
    let fields = [head, tag.to_le_bytes()].concat();
    if let Some(to) = page.get_mut(at..at + 8) {
        to.copy_from_slice(&fields);
    }
    if let Some(to) = page.get_mut(at + 8..at + 16) {
        to.copy_from_slice(&left_over.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_assume, proptest};

    proptest! {
        #[test]
        fn pieces_fill_the_page_and_chain_both_ways(sizes in proptest::collection::vec(2u64..40, 1..12), start in 0u64..100, seed in any::<u64>()) {
            let mut left = PAGE_SIZE / UNIT - start - 1;
            let mut used = Vec::new();
            for units in sizes {
                if units <= left {
                    left -= units;
                    used.push(Piece::used(units * UNIT, *b"Test", false, 0));
                }
            }
            prop_assume!(!used.is_empty());
            let mut rng = Rng::new(seed);
            let pieces = compose(&used, start * UNIT, &mut rng);
            prop_assert_eq!(pieces.iter().filter(|p| p.allocation.is_some()).count(), used.len());
            let mut page = [0u8; PAGE_SIZE as usize];
            let pool = (Types::Vista, Pool::NonPaged, 0);
            let offsets = write(&mut page, start * UNIT, &pieces, pool, &mut rng);
            let (mut at, mut previous) = (start as usize * UNIT as usize, 0u8);
            for offset in &offsets {
                prop_assert_eq!(*offset as usize, at);
                prop_assert_eq!(page[at], previous);
                previous = page[at + 2];
                prop_assert!(previous > 0);
                at += usize::from(previous) * UNIT as usize;
            }
            prop_assert_eq!(at, PAGE_SIZE as usize);
            if start > 0 {
                prop_assert_eq!(&page[start as usize * 16 + 4..start as usize * 16 + 8], &FRAGMENT);
            }
        }
    }
}
