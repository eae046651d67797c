//! An image's functions, from its unwind data: the RUNTIME_FUNCTION table.
//!
//! Twelve bytes an entry, in order of address: where it begins, where it ends, and its
//! unwind data, all RVAs ("x64 exception handling" in Microsoft's documentation). One
//! function may have several entries, of which all but the first are chained to another.

use crate::bytes::{u8_at, u32_at};
use crate::memory::{AddressSpace, Va};

use super::image::Image;

const ENTRY_SIZE: usize = 12;
/// nt has some 40,000; nothing comes near this.
const MAX_ENTRIES: u32 = 1 << 18;
/// UNW_FLAG_CHAININFO, as it stands in the first byte of UNWIND_INFO.
const CHAINED: u8 = 0x4 << 3;
/// Entries chained to one another; compilers make two or three.
const MAX_CHAIN: usize = 32;

/// A stretch of code that unwinds in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// RVA of its first byte.
    pub start: u32,
    /// RVA behind its last byte.
    pub end: u32,
    unwind: u32,
}

/// The table, as far as it is in the dump.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    /// In order of RVA.
    entries: Vec<Function>,
    /// Pages of the table that can't be read: a function of theirs is not found.
    pub pages_missing: u64,
}

impl Functions {
    /// Reads the table of an image.
    pub fn read(space: &AddressSpace, image: &Image) -> Functions {
        let mut out = Functions::default();
        let Some((rva, size)) = image.exception_directory else {
            return out;
        };
        let size = size.min(image.size).min(MAX_ENTRIES * ENTRY_SIZE as u32);
        // Zeros where a page is missing: an entry with a zero in it is none.
        let mut bytes = Vec::with_capacity(size as usize);
        for (_, piece) in space.pieces(image.base.add(rva.into()), size.into()) {
            match piece {
                Ok(piece) => bytes.extend_from_slice(piece),
                Err(_) => {
                    let left = size as usize - bytes.len();
                    let page = (0x1000 - (rva as usize + bytes.len()) % 0x1000).min(left);
                    bytes.resize(bytes.len() + page, 0);
                    out.pages_missing += 1;
                }
            }
        }
        out.entries = bytes
            .chunks_exact(ENTRY_SIZE)
            .filter_map(entry)
            .filter(|f| f.end <= image.size)
            .collect();
        out.entries.sort_unstable_by_key(|f| f.start);
        out
    }

    /// The entry that holds an RVA.
    pub fn at(&self, rva: u32) -> Option<Function> {
        let after = self.entries.partition_point(|f| f.start <= rva);
        let found = self.entries.get(after.checked_sub(1)?)?;
        (rva < found.end).then_some(*found)
    }

    /// Where the function that an entry is part of begins: the entry itself, or the one
    /// that it is chained to.
    pub fn start_of(&self, space: &AddressSpace, image: &Image, entry: Function) -> u32 {
        let mut at = entry;
        for _ in 0..MAX_CHAIN {
            match parent(space, image.base, at) {
                Some(parent) if parent.start != at.start => at = parent,
                _ => break,
            }
        }
        at.start
    }
}

fn entry(bytes: &[u8]) -> Option<Function> {
    let function = Function {
        start: u32_at(bytes, 0)?,
        end: u32_at(bytes, 4)?,
        unwind: u32_at(bytes, 8)?,
    };
    let whole = function.start != 0 && function.unwind != 0;
    (whole && function.start < function.end).then_some(function)
}

/// The entry that this one is chained to: by an odd address of the unwind data, which is
/// then that entry's, or behind the unwind codes.
fn parent(space: &AddressSpace, base: Va, function: Function) -> Option<Function> {
    let read = |rva: u32| {
        let bytes: [u8; ENTRY_SIZE] = space.array(base.add(rva.into())).ok()?;
        entry(&bytes)
    };
    if function.unwind & 1 != 0 {
        return read(function.unwind & !1);
    }
    let info: [u8; 4] = space.array(base.add(function.unwind.into())).ok()?;
    if u8_at(&info, 0)? & CHAINED == 0 {
        return None;
    }
    let codes = u32::from(u8_at(&info, 2)?).next_multiple_of(2) * 2;
    read(function.unwind.checked_add(4 + codes)?)
}
