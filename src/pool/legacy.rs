//! A page of legacy pool: a chain of blocks with headers, up to Windows 10 1803.
//!
//! PreviousSize and BlockSize in `_POOL_HEADER`, in units of 16 bytes, link the blocks of a
//! page in both directions, from offset 0 to exactly 0x1000. From Vista on, bit 1 of the
//! PoolType byte means "in use" and bit 0 "paged"; a free block may have any other bits left
//! over, and keeps its old tag.

use crate::bytes::{u8_at, u32_at};
use crate::dump::PageBytes;

/// Bytes per unit of a header's sizes.
pub const UNIT: usize = 16;
const UNITS_PER_PAGE: usize = 256;

/// PoolType: the block is in use.
const IN_USE: u8 = 2;
/// PoolType: the block is paged.
const PAGED: u8 = 1;
/// Bits of PoolType with a meaning in an allocated block; 0x80 was never observed.
const KNOWN_BITS: u8 = 0x7f;

/// The tag that marks the rest of a big allocation's last page.
pub const FRAGMENT: u32 = u32::from_le_bytes(*b"Frag");

/// The encoding of the PoolType byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Vista and later: bit 1 is "in use", bit 0 "paged".
    #[default]
    Vista,
    /// NT 5.2 (Server 2003 x64): 0 is free, otherwise the POOL_TYPE plus 1.
    Nt52,
}

impl Encoding {
    /// The encoding of a kernel, by its build number.
    pub fn of_build(build: u32) -> Encoding {
        match build {
            0..6000 => Encoding::Nt52,
            _ => Encoding::Vista,
        }
    }

    /// Converts the byte to Vista's encoding.
    fn normal(self, pool_type: u8) -> u8 {
        match (self, pool_type) {
            (Encoding::Vista, _) | (Encoding::Nt52, 0) => pool_type,
            (Encoding::Nt52, _) => (pool_type - 1) & !IN_USE | IN_USE,
        }
    }
}

/// Rules for parsing a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// True in paged pool, false in nonpaged pool, `None` if the region is unknown.
    pub paged: Option<bool>,
    /// The encoding of its headers.
    pub encoding: Encoding,
}

/// A block as stored in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawBlock {
    /// Offset of the header in the page, in units of 16 bytes.
    pub unit: u8,
    /// BlockSize in units, header included.
    pub units: u8,
    /// PreviousSize in units.
    pub previous: u8,
    /// The PoolType byte, in the encoding of Vista and later.
    pub pool_type: u8,
    /// The tag as stored, with the protected bit.
    pub tag: u32,
}

impl RawBlock {
    fn at(page: &PageBytes, unit: usize, encoding: Encoding) -> Option<RawBlock> {
        let sizes = u32_at(page, unit * UNIT)?;
        let [previous, _pool_index, units, pool_type] = sizes.to_le_bytes();
        Some(RawBlock {
            unit: unit as u8,
            units,
            previous,
            pool_type: encoding.normal(pool_type),
            tag: u32_at(page, unit * UNIT + 4)?,
        })
    }

    /// True when the in-use bit is set.
    pub fn is_allocated(&self) -> bool {
        self.pool_type & IN_USE != 0
    }

    /// The paged bit; valid only for allocated blocks.
    pub fn is_paged(&self) -> bool {
        self.pool_type & PAGED != 0
    }

    /// The session bit.
    pub fn is_session(&self) -> bool {
        self.pool_type & 0x20 != 0
    }

    /// True for the header that marks the rest of a big allocation's last page.
    pub fn is_fragment_marker(&self) -> bool {
        self.units == 1 && self.tag & !super::tag::PROTECTED == FRAGMENT
    }

    /// True when the header is valid by itself, inside a page of `paged` or nonpaged pool.
    fn is_sound(&self, paged: Option<bool>) -> bool {
        let end = usize::from(self.unit) + usize::from(self.units);
        if self.units == 0 || end > UNITS_PER_PAGE {
            return false;
        }
        !self.is_allocated()
            || (self.pool_type & !KNOWN_BITS == 0
                && (self.units >= 2 || self.is_fragment_marker())
                && paged.is_none_or(|paged| paged == self.is_paged()))
    }
}

/// The result of parsing a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A complete chain, from the start to the end of the page.
    Pool,
    /// No chain: not a page of small blocks.
    NotPool,
    /// A chain that breaks at this offset in bytes. The blocks before it were appended, and
    /// later blocks that link up to the end of the page.
    Damaged(u16),
}

/// Walks a page from `start` (in units; not 0 for the rest of a big allocation's last page) and
/// appends its blocks to `out` in order.
pub fn walk_page(page: &PageBytes, start: usize, rules: Rules, out: &mut Vec<RawBlock>) -> Verdict {
    let first = out.len();
    let broken = match chain(page, start, rules, out) {
        Ok(()) => return Verdict::Pool,
        Err(broken) => broken,
    };
    let prefix = out.len() - first;
    let blocks = out.get(first..).unwrap_or_default();
    let credible = prefix >= PROOF || (prefix >= 2 && has_readable_tag(blocks));
    if !credible {
        out.truncate(first);
    }
    let from = if credible { broken } else { start };
    let tail = resynchronise(page, from + 1, rules, out);
    if credible || tail {
        return Verdict::Damaged((broken * UNIT).min(0xfff) as u16);
    }
    out.truncate(first);
    Verdict::NotPool
}

/// Follows the chain from `start` to the end of the page. `Err` has the unit of the break; the
/// blocks before it were appended.
fn chain(
    page: &PageBytes,
    start: usize,
    rules: Rules,
    out: &mut Vec<RawBlock>,
) -> Result<(), usize> {
    let mut unit = start;
    let mut previous = None;
    while unit < UNITS_PER_PAGE {
        let block = RawBlock::at(page, unit, rules.encoding).ok_or(unit)?;
        let linked = match previous {
            Some(units) => block.previous == units,
            // The first block of a page has no previous block.
            None => start != 0 || block.previous == 0,
        };
        if !linked || !block.is_sound(rules.paged) {
            return Err(unit);
        }
        previous = Some(block.units);
        unit += usize::from(block.units);
        out.push(block);
    }
    Ok(())
}

/// Searches after a break for a position from which the chain reaches the page's end over at
/// least three blocks. If there is one, appends its blocks and returns true.
fn resynchronise(page: &PageBytes, from: usize, rules: Rules, out: &mut Vec<RawBlock>) -> bool {
    const ENOUGH: usize = 3;
    let kept = out.len();
    for unit in from.max(1)..UNITS_PER_PAGE {
        out.truncate(kept);
        if chain(page, unit, rules, out).is_ok() {
            let found = out.get(kept..).unwrap_or_default();
            if found.len() >= ENOUGH && has_readable_tag(found) {
                return true;
            }
        }
    }
    out.truncate(kept);
    false
}

/// Number of linked blocks from a page's start that prove that it is pool, regardless of their
/// tags: drivers may use unprintable tags, and that many links do not match by coincidence.
const PROOF: usize = 5;

/// True when most tags of the blocks are printable. Coincidental chains in other data rarely
/// have such tags.
fn has_readable_tag(blocks: &[RawBlock]) -> bool {
    let readable = |b: &&RawBlock| {
        let bytes = (b.tag & !super::tag::PROTECTED).to_le_bytes();
        bytes.iter().all(|&c| (0x20..0x7f).contains(&c))
    };
    let allocated: Vec<_> = blocks.iter().filter(|b| b.is_allocated()).collect();
    let named = allocated.iter().copied().filter(readable).count();
    !allocated.is_empty() && named * 2 >= allocated.len()
}

/// Rules out most pages that are not pool, from their first bytes: a chain starts with
/// PreviousSize 0 and a nonzero BlockSize.
pub fn may_start_chain(page: &PageBytes) -> bool {
    u8_at(page, 0) == Some(0) && u8_at(page, 2).is_some_and(|units| units != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A page with blocks given as (units, pool type, tag), linked from `start`.
    fn page(start: usize, blocks: &[(u8, u8, &[u8; 4])]) -> PageBytes {
        let mut page = [0u8; 4096];
        let (mut unit, mut previous) = (start, 0u8);
        for &(units, kind, tag) in blocks {
            let at = unit * UNIT;
            page[at..at + 4].copy_from_slice(&[previous, 0, units, kind]);
            page[at + 4..at + 8].copy_from_slice(tag);
            previous = units;
            unit += usize::from(units);
        }
        page
    }

    fn nonpaged() -> Rules {
        Rules {
            paged: Some(false),
            ..Rules::default()
        }
    }

    #[test]
    fn server_2003_adds_one_to_the_type() {
        let rules = Rules {
            encoding: Encoding::Nt52,
            ..nonpaged()
        };
        // Nonpaged, free, cache aligned, raise on failure.
        let blocks = [
            (4, 1, b"Irp "),
            (100, 0, b"Old "),
            (60, 5, b"File"),
            (92, 0x11, b"Leak"),
        ];
        let mut out = Vec::new();
        assert_eq!(
            walk_page(&page(0, &blocks), 0, rules, &mut out),
            Verdict::Pool
        );
        let live: Vec<bool> = out.iter().map(RawBlock::is_allocated).collect();
        assert_eq!(live, [true, false, true, true]);
        assert!(!out.iter().any(RawBlock::is_paged));
        let mixed = [(4, 1, b"Irp "), (252, 2, b"Pgd ")];
        let verdict = walk_page(&page(0, &mixed), 0, rules, &mut out);
        assert_eq!(verdict, Verdict::NotPool);
    }

    fn walk(page: &PageBytes, start: usize) -> (Verdict, Vec<RawBlock>) {
        let mut out = Vec::new();
        let verdict = walk_page(page, start, nonpaged(), &mut out);
        (verdict, out)
    }

    const WHOLE: [(u8, u8, &[u8; 4]); 5] = [
        (4, 2, b"Irp "),
        (100, 0x04, b"Old "),
        (60, 2, b"File"),
        (90, 0x0a, b"Leak"),
        (2, 2, b"Leak"),
    ];

    #[test]
    fn a_complete_chain_is_pool_and_free_blocks_may_keep_bits() {
        let (verdict, blocks) = walk(&page(0, &WHOLE), 0);
        assert_eq!(verdict, Verdict::Pool);
        let allocated: Vec<bool> = blocks.iter().map(RawBlock::is_allocated).collect();
        assert_eq!(allocated, [true, false, true, true, true]);
        assert_eq!(blocks[3].unit, 164);
    }

    #[test]
    fn a_broken_chain_keeps_both_ends() {
        let mut bytes = page(0, &WHOLE);
        bytes[104 * UNIT + 2] = 0;
        let mut with_tail = WHOLE.to_vec();
        with_tail[4] = (1, 0, b"xxxx");
        with_tail.push((1, 0, b"xxxx"));
        let (verdict, blocks) = walk(&bytes, 0);
        assert_eq!(verdict, Verdict::Damaged(104 * 16));
        assert_eq!(
            blocks.iter().map(|b| b.unit).collect::<Vec<_>>(),
            [0, 4],
            "two behind it are not proof"
        );
        let mut bytes = page(0, &with_tail);
        bytes[104 * UNIT + 2] = 0;
        let (_, blocks) = walk(&bytes, 0);
        assert_eq!(
            blocks.iter().map(|b| b.unit).collect::<Vec<_>>(),
            [0, 4, 164, 254, 255]
        );
    }

    #[test]
    fn a_long_chain_is_pool_regardless_of_its_tags() {
        let odd: [(u8, u8, &[u8; 4]); 6] = [
            (4, 2, b"\x01\0\0\0"),
            (10, 2, b"\x02\x03\x04\x05"),
            (6, 2, b"\x1b[2J"),
            (9, 2, b"\x01\0\0\0"),
            (20, 2, b"\xff\xff\0\0"),
            (207, 2, b"Leak"),
        ];
        let mut bytes = page(0, &odd);
        bytes[49 * UNIT + 2] = 0;
        let (verdict, blocks) = walk(&bytes, 0);
        assert_eq!(verdict, Verdict::Damaged(49 * 16));
        assert_eq!(blocks.len(), 5);
        let mut bytes = page(0, &odd[..2]);
        bytes[14 * UNIT + 2] = 0;
        assert_eq!(walk(&bytes, 0).0, Verdict::NotPool, "two are not proof");
    }

    #[test]
    fn blocks_of_the_other_pool_are_not_a_chain() {
        let paged = Rules {
            paged: Some(true),
            ..Rules::default()
        };
        let mut out = Vec::new();
        assert_eq!(
            walk_page(&page(0, &WHOLE), 0, paged, &mut out),
            Verdict::NotPool
        );
        assert!(out.is_empty());
        assert_eq!(walk(&[0; 4096], 0).0, Verdict::NotPool);
    }

    #[test]
    fn the_rest_of_a_big_allocation_starts_with_its_marker() {
        let bytes = page(200, &[(1, 2, b"Frag"), (50, 2, b"IdeP"), (5, 0, b"None")]);
        let (verdict, blocks) = walk(&bytes, 200);
        assert_eq!(verdict, Verdict::Pool);
        assert!(blocks[0].is_fragment_marker() && !blocks[1].is_fragment_marker());
    }

    proptest! {
        #[test]
        fn arbitrary_pages_give_disjoint_blocks_inside_the_page(bytes in proptest::collection::vec(any::<u8>(), 4096), start in 0usize..256, dense in any::<bool>()) {
            let mut page: PageBytes = bytes.try_into().unwrap();
            if dense {
                for unit in 0..256 { page[unit * UNIT] = 3; page[unit * UNIT + 2] = 3; }
                page[start * UNIT] = 0;
            }
            let (_, blocks) = walk(&page, start);
            let mut end = start;
            for block in blocks {
                prop_assert!(usize::from(block.unit) >= end && block.units > 0);
                end = usize::from(block.unit) + usize::from(block.units);
                prop_assert!(end <= 256);
            }
        }
    }
}
