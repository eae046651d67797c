//! Special pool: one allocation per page, placed so that an overrun hits an unmapped page, with
//! a pattern around it.
//!
//! The page starts with a `_POOL_HEADER` with other fields: bits 0 to 12 of its first word are
//! the requested bytes; bit 13 means paged (up to Windows 10 1809); bit 14 means that Driver
//! Verifier keeps 8 bytes after the header; byte 2 is the pattern; the tag is at its usual
//! offset. The block ends at the page's end, rounded up to 16 bytes, or starts after the header
//! if underruns are to be detected. (Published research: glslang/win-kexp for Server 2025, the
//! ReactOS memory manager for the older form.)

use crate::bytes::{u8_at, u16_at, u32_at};
use crate::dump::PageBytes;
use crate::memory::{PAGE_SIZE, Va};

use super::block::{Backend, Block, PoolKind, State};
use super::tag::{PROTECTED, Tag};

const SIZE_BITS: u16 = 0x1fff;
const PAGED: u16 = 0x2000;
const TRACKED: u16 = 0x4000;
const HEADER: usize = 0x10;
const TRACKING: usize = 8;
const UNIT: usize = 16;
const PAGE: usize = PAGE_SIZE as usize;

/// A page of special pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special {
    /// Offset of the owner's first byte in the page.
    pub offset: u16,
    /// Requested bytes, rounded up to 16.
    pub bytes: u16,
    /// The tag as stored.
    pub tag: u32,
    /// The header's paged bit.
    pub paged: bool,
    /// True when every byte around the block is the pattern. Otherwise it was overwritten, or
    /// the size is wrong.
    pub intact: bool,
}

/// Reads a page; `None` if it can't be special pool.
pub fn decode(page: &PageBytes) -> Option<Special> {
    let word = u16_at(page, 0)?;
    let tag = u32_at(page, 4)?;
    let pattern = u8_at(page, 2)?;
    let requested = usize::from(word & SIZE_BITS);
    let rounded = requested.next_multiple_of(UNIT);
    let tracking = if word & TRACKED != 0 { TRACKING } else { 0 };
    let room = PAGE - (HEADER + tracking).next_multiple_of(UNIT);
    if requested == 0 || rounded > room || tag & !PROTECTED == 0 {
        return None;
    }
    let front = (HEADER + tracking).next_multiple_of(UNIT);
    let is_pattern = |from: usize, to: usize| {
        page.get(from..to)
            .is_some_and(|bytes| bytes.iter().all(|&b| b == pattern))
    };
    let at_end = PAGE - rounded;
    let behind = HEADER + tracking;
    let found = [
        (
            at_end,
            is_pattern(behind, at_end) && is_pattern(at_end + requested, PAGE),
        ),
        (
            front,
            is_pattern(behind, front) && is_pattern(front + requested, PAGE),
        ),
    ];
    let intact = found.iter().find(|f| f.1);
    // Damaged: use the usual position if at least some of the pattern remains.
    let traces = || is_pattern(behind, behind + UNIT) || is_pattern(at_end - UNIT, at_end);
    let (offset, intact) = match intact {
        Some(&(offset, _)) => (offset, true),
        None if traces() => (at_end, false),
        None => return None,
    };
    Some(Special {
        offset: offset as u16,
        bytes: rounded as u16,
        tag,
        paged: word & PAGED != 0,
        intact,
    })
}

impl Special {
    /// The block of the page at `page`, in a range of `kind`.
    pub fn block(&self, page: Va, kind: Option<PoolKind>) -> Block {
        let by_header = match self.paged {
            true => PoolKind::Paged,
            false => PoolKind::NonPaged,
        };
        Block {
            va: page.add(self.offset.into()),
            bytes: self.bytes.into(),
            tag: Tag::new(self.tag),
            protected: self.tag & PROTECTED != 0,
            kind: kind.unwrap_or(by_header),
            backend: Backend::Special,
            state: State::Allocated,
            session: None,
            heuristic: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(requested: u16, flags: u16, offset: usize) -> PageBytes {
        let mut page = [0xb3; PAGE];
        page[..2].copy_from_slice(&(requested | flags).to_le_bytes());
        page[3] = 0;
        page[4..8].copy_from_slice(b"Leak");
        page[8..16].fill(0);
        if flags & TRACKED != 0 {
            page[16..24].fill(0x44);
        }
        page[offset..offset + usize::from(requested)].fill(1);
        page
    }

    #[test]
    fn blocks_are_at_the_page_end_or_directly_after_the_header() {
        let at_end = decode(&page(0x123, 0, 0xed0)).unwrap();
        assert_eq!(
            (at_end.offset, at_end.bytes, at_end.intact),
            (0xed0, 0x130, true)
        );
        let front = decode(&page(0x123, PAGED, 0x10)).unwrap();
        assert_eq!(
            (front.offset, front.paged, front.intact),
            (0x10, true, true)
        );
        let tracked = decode(&page(0x20, TRACKED, 0x20)).unwrap();
        assert_eq!((tracked.offset, tracked.intact), (0x20, true));
        let whole = decode(&page(0xff0, 0, 0x10)).unwrap();
        assert_eq!((whole.offset, whole.bytes), (0x10, 0xff0));
    }

    #[test]
    fn an_overrun_is_reported_and_other_pages_are_refused() {
        let mut overrun = page(0x123, 0, 0xed0);
        overrun[0xff8] = 0;
        assert!(!decode(&overrun).unwrap().intact);
        assert_eq!(decode(&[0; PAGE]), None);
        assert_eq!(decode(&page(0xfe8, TRACKED, 0x10)), None, "no room for it");
        let mut nothing = page(0x40, 0, 0xfc0);
        nothing[16..0xfc0]
            .iter_mut()
            .enumerate()
            .for_each(|(i, b)| *b = i as u8);
        assert_eq!(decode(&nothing), None, "no pattern at all");
    }

    proptest! {
        #[test]
        fn a_block_is_inside_its_page(bytes in proptest::collection::vec(any::<u8>(), 32), fill in any::<u8>()) {
            let mut page = [fill; PAGE];
            page[..32].copy_from_slice(&bytes);
            if let Some(found) = decode(&page) {
                prop_assert!(found.offset >= 16 && found.offset % 16 == 0 && found.bytes > 0);
                prop_assert!(found.offset + found.bytes <= 4096);
            }
        }
    }
}
