//! An image's functions, from its unwind data: the RUNTIME_FUNCTION table.
//!
//! Each entry has twelve bytes, and entries are in address order: start, end, and unwind data,
//! all RVAs ("x64 exception handling" in Microsoft's documentation). A function may have
//! several entries; all but the first are chained to another.

use rustc_hash::FxHashMap;

use crate::bytes::{u8_at, u32_at};
use crate::memory::AddressSpace;

use super::image::Image;

const ENTRY_SIZE: usize = 12;
/// Entry limit; nt has some 40,000.
const MAX_ENTRIES: u32 = 1 << 18;
/// UNW_FLAG_CHAININFO, in the first byte of UNWIND_INFO.
const CHAINED: u8 = 0x4 << 3;
/// Longest chain of entries; compilers create two or three.
const MAX_CHAIN: usize = 32;

/// A range of code with one set of unwind data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// RVA of its first byte.
    pub start: u32,
    /// RVA after its last byte.
    pub end: u32,
    unwind: u32,
}

/// The table, as far as it is in the dump.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    /// In RVA order.
    entries: Vec<Function>,
    /// RVA ranges whose functions were in a missing page of the table.
    lost: Vec<(u32, u32)>,
    /// Number of unreadable pages of the table; the functions in them are unknown.
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
        // Missing pages are filled with zeros; entries with a zero are not valid.
        let mut bytes = Vec::with_capacity(size as usize);
        let mut holes = Vec::new();
        for (_, piece) in space.pieces(image.base.add(rva.into()), size.into()) {
            match piece {
                Ok(piece) => bytes.extend_from_slice(piece),
                Err(_) => {
                    let left = size as usize - bytes.len();
                    let page = (0x1000 - (rva as usize + bytes.len()) % 0x1000).min(left);
                    holes.push((bytes.len(), bytes.len() + page));
                    bytes.resize(bytes.len() + page, 0);
                    out.pages_missing += 1;
                }
            }
        }
        // The table is in address order: entries of a missing page are between its neighbours.
        for (from, to) in holes {
            let before = bytes
                .get(..from / ENTRY_SIZE * ENTRY_SIZE)
                .unwrap_or_default();
            let after = to.next_multiple_of(ENTRY_SIZE);
            let after = bytes.get(after..).unwrap_or_default();
            let end = before.rchunks_exact(ENTRY_SIZE).find_map(entry);
            let start = after.chunks_exact(ENTRY_SIZE).find_map(entry);
            out.lost.push((
                end.map_or(0, |f| f.end),
                start.map_or(image.size, |f| f.start),
            ));
        }
        out.entries = bytes
            .chunks_exact(ENTRY_SIZE)
            .filter_map(entry)
            .filter(|f| f.end <= image.size)
            .collect();
        out.entries.sort_unstable_by_key(|f| f.start);
        out
    }

    /// The entry that contains an RVA.
    pub fn at(&self, rva: u32) -> Option<Function> {
        let after = self.entries.partition_point(|f| f.start <= rva);
        let found = self.entries.get(after.checked_sub(1)?)?;
        (rva < found.end).then_some(*found)
    }

    /// The gap around an RVA without an entry: the end of the previous entry and the start of
    /// the next one. `None` if an entry may be missing there.
    pub fn gap(&self, rva: u32) -> Option<(u32, u32)> {
        if self.lost.iter().any(|l| (l.0..l.1).contains(&rva)) {
            return None;
        }
        let after = self.entries.partition_point(|f| f.start <= rva);
        let end = match after.checked_sub(1).and_then(|i| self.entries.get(i)) {
            Some(before) => before.end,
            None => 0,
        };
        let start = self.entries.get(after)?.start;
        (end <= rva).then_some((end, start))
    }

    /// True if there is no table, or none of it is readable.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The start of an entry's function: the entry itself, or the one that it is chained to.
    pub fn start_of(&self, space: &AddressSpace, image: &Image, entry: Function) -> u32 {
        let read = |rva: u32, out: &mut [u8]| space.read(image.base.add(rva.into()), out).is_ok();
        root(&read, entry)
    }

    /// Groups the entries by function. `read` fills its argument from an RVA, or returns false.
    pub fn families(&self, read: Read) -> Families {
        let mut out = Families::default();
        for entry in &self.entries {
            let root = root(read, *entry);
            if root != entry.start {
                out.roots.insert(entry.start, root);
                let pieces = out.pieces.entry(root).or_default();
                pieces.push((entry.start, entry.end));
            }
        }
        out
    }
}

/// Fills bytes from an RVA, or returns false if they can't be read.
pub type Read<'a> = &'a dyn Fn(u32, &mut [u8]) -> bool;

/// The functions with more than one entry.
#[derive(Clone, Debug, Default)]
pub struct Families {
    /// The start of the function that an entry is chained to, by the entry's start.
    roots: FxHashMap<u32, u32>,
    /// The entries that are chained to a function, by the function's start.
    pieces: FxHashMap<u32, Vec<(u32, u32)>>,
}

impl Families {
    /// The start of an entry's function.
    pub fn root(&self, entry: Function) -> u32 {
        self.roots.get(&entry.start).copied().unwrap_or(entry.start)
    }

    /// The additional pieces of the function with this start.
    pub fn pieces(&self, root: u32) -> &[(u32, u32)] {
        self.pieces.get(&root).map_or(&[], Vec::as_slice)
    }
}

fn root(read: Read, entry: Function) -> u32 {
    let mut at = entry;
    for _ in 0..MAX_CHAIN {
        match parent(read, at) {
            Some(parent) if parent.start != at.start => at = parent,
            _ => break,
        }
    }
    at.start
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

/// The entry that this one is chained to. The reference is an odd unwind data address, which
/// then is that entry's address, or it comes after the unwind codes.
fn parent(read: Read, function: Function) -> Option<Function> {
    let at = |rva: u32| {
        let mut bytes = [0; ENTRY_SIZE];
        read(rva, &mut bytes).then_some(())?;
        entry(&bytes)
    };
    if function.unwind & 1 != 0 {
        return at(function.unwind & !1);
    }
    let mut info = [0; 4];
    read(function.unwind, &mut info).then_some(())?;
    if u8_at(&info, 0)? & CHAINED == 0 {
        return None;
    }
    let codes = u32::from(u8_at(&info, 2)?).next_multiple_of(2) * 2;
    at(function.unwind.checked_add(4 + codes)?)
}
