//! Special pool: one allocation per page, at the page's end (or its start), with a pattern
//! around it and an unmapped page after it.
//!
//! The header is a `_POOL_HEADER` with other fields: 13 bits of requested size, bit 13 for
//! paged pool, bit 14 if Verifier has 8 bytes after it, then the pattern, then the tag.

use crate::addr::{PAGE_SIZE, Va};

use super::kernel::Nt;
use super::paging::Memory;
use super::truth::Tag;

/// An allocation.
#[derive(Clone, Copy, Debug)]
pub struct Special {
    /// The tag.
    pub tag: Tag,
    /// Requested bytes.
    pub bytes: u64,
    /// True for paged pool.
    pub paged: bool,
    /// True when Verifier tracks it.
    pub tracked: bool,
    /// Directly after the header, to detect underruns.
    pub at_start: bool,
    /// True when the pattern was overwritten.
    pub overwritten: bool,
}

impl Special {
    /// An allocation without special properties.
    pub fn new(tag: Tag, bytes: u64) -> Special {
        Special {
            tag,
            bytes,
            paged: false,
            tracked: false,
            at_start: false,
            overwritten: false,
        }
    }

    /// Writes it to the page at `page`. Returns the address of the owner's bytes.
    pub fn write(&self, memory: &mut Memory, page: Va) -> Va {
        const PATTERN: u8 = 0xa7;
        let header = if self.tracked { 0x20 } else { 0x10 };
        let start = match self.at_start {
            true => header,
            false => PAGE_SIZE - self.bytes.next_multiple_of(16),
        };
        memory.write(page, &[PATTERN; PAGE_SIZE as usize]);
        let flags = u16::from(self.paged) << 13 | u16::from(self.tracked) << 14;
        memory.u16(page, self.bytes as u16 | flags);
        memory.write(page.add(2), &[PATTERN, 0]);
        memory.write(page.add(4), &self.tag);
        memory.u64(page.add(8), 0);
        if self.tracked {
            memory.u64(page.add(0x10), 0xffff_8000_1234_5678);
        }
        memory.write(page.add(start), &vec![0x11; self.bytes as usize]);
        if self.overwritten {
            memory.write(page.add(header + 0x20), &[0]);
        }
        page.add(start)
    }
}

/// Writes allocations to every second page from `start`. Returns their addresses.
pub fn lay(memory: &mut Memory, start: Va, all: &[Special]) -> Vec<Va> {
    let mut out = Vec::new();
    for (i, special) in all.iter().enumerate() {
        let page = start.add(i as u64 * 2 * PAGE_SIZE);
        memory.map_new(page, 1);
        out.push(special.write(memory, page));
    }
    out
}

/// Writes a `_MI_SPECIAL_POOL` of Windows 7: the entry that maps its first page, and its size
/// in units of 2 MB.
pub fn windows_7(memory: &mut Memory, nt: &Nt, start: Va, directories: u32) {
    /// Offsets of MiSpecialPool, and of SpecialPoolPdes in it: public symbols of
    /// 6.1.7601.24540.
    const MI_SPECIAL_POOL: (u64, u64) = (0x22_3880, 0x38);
    let at = nt.base.add(MI_SPECIAL_POOL.0);
    let entry = 0xffff_f680_0000_0000 | start.0 >> 9 & 0x7f_ffff_fff8;
    memory.u64(at, entry);
    memory.u32(at.add(MI_SPECIAL_POOL.1), directories);
}
