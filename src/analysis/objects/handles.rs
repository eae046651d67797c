//! Handle tables: the number of handles of each process to each object.
//!
//! `HANDLE_TABLE.TableCode` is the address of a page of entries. If its low two bits are 1, it is
//! a page of pointers to such pages; if they are 2, there are two levels of pointers (public
//! symbols; Windows Internals). NextHandleNeedingPool limits the table, and so does the number of
//! its pages.

use rustc_hash::FxHashMap;

use crate::kernel::Kernel;
use crate::memory::{PAGE_SIZE, Va};

/// Size of an entry on x64, in bytes.
const ENTRY: u64 = 16;
/// Number of entries per page.
const PER_PAGE: u64 = PAGE_SIZE / ENTRY;
/// Number of pointers per page.
const POINTERS: u64 = PAGE_SIZE / 8;
/// The maximum number of handles of a process is 16,777,216 (Windows Internals).
const MOST_HANDLES: u64 = 1 << 24;

/// The contents of a handle table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Number of handles by address of the object header.
    pub objects: FxHashMap<Va, u32>,
    /// Number of handles in use.
    pub handles: u64,
    /// Number of unreadable pages of the table.
    pub unreadable: u64,
}

/// Reads the table at an address. `budget` limits the entries of all tables.
pub fn read(kernel: &Kernel, table: Va, budget: &mut u64) -> Option<Table> {
    const TYPE: &str = "_HANDLE_TABLE";
    let code = kernel.field(table, TYPE, "TableCode").ok()?;
    let next = kernel.field(table, TYPE, "NextHandleNeedingPool").ok()?;
    // Handle values are multiples of 4.
    let entries = (next / 4).min(MOST_HANDLES);
    let levels = code & 3;
    if levels > 2 {
        return None;
    }
    let mut out = Table::default();
    let root = Va(code & !7);
    let mut reader = Reader {
        kernel,
        left: entries,
        budget,
        object: entry_format(kernel)?,
        out: &mut out,
    };
    reader.level(root, levels);
    Some(out)
}

/// The encoding of an object header's address in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// An address with three flag bits.
    Plain(u64),
    /// A shifted part of an address: offset of the word, first bit and number of bits.
    Packed(u64, u8, u8),
}

fn entry_format(kernel: &Kernel) -> Option<Format> {
    const TYPE: &str = "_HANDLE_TABLE_ENTRY";
    if let Some(field) = kernel.symbols.field(TYPE, "ObjectPointerBits") {
        let (start, bits) = field.bits.unwrap_or((20, 44));
        return Some(Format::Packed(field.offset.into(), start, bits));
    }
    let object = kernel.offset(TYPE, "Object")?;
    Some(Format::Plain(object))
}

impl Format {
    fn header(self, entry: &[u8]) -> Option<Va> {
        let word = |offset: u64| crate::bytes::u64_at(entry, offset as usize);
        let value = match self {
            Format::Plain(offset) => word(offset)? & !7,
            Format::Packed(offset, start, bits) => {
                let kept = word(offset)?.checked_shr(start.into())?;
                let kept = kept & (u64::MAX >> (64 - u32::from(bits.clamp(1, 64))));
                // Addresses are multiples of 16 and in the kernel half.
                kept << 4 | 0xffff << 48
            }
        };
        (value & 0xf == 0 || matches!(self, Format::Plain(_)))
            .then_some(Va(value))
            .filter(|va| va.is_kernel() && value & !(0xffff << 48) != 0)
    }
}

struct Reader<'a> {
    kernel: &'a Kernel,
    /// Number of remaining entries of the table.
    left: u64,
    /// Number of remaining entries of all tables.
    budget: &'a mut u64,
    object: Format,
    out: &'a mut Table,
}

impl Reader<'_> {
    fn level(&mut self, page: Va, levels: u64) {
        if levels == 0 {
            return self.entries(page);
        }
        for i in 0..POINTERS {
            if self.left == 0 || *self.budget == 0 {
                return;
            }
            match self.kernel.space.pointer(page.add(i * 8)) {
                Ok(next) if next.is_kernel() => self.level(next, levels - 1),
                Ok(_) => return,
                Err(_) => {
                    self.out.unreadable += 1;
                    return;
                }
            }
        }
    }

    fn entries(&mut self, page: Va) {
        let count = PER_PAGE.min(self.left).min(*self.budget);
        self.left -= count;
        *self.budget -= count;
        let mut bytes = vec![0; (count * ENTRY) as usize];
        if self.kernel.space.read(page, &mut bytes).is_err() {
            self.out.unreadable += 1;
            return;
        }
        // The first entry of each page is reserved.
        for entry in bytes.chunks_exact(ENTRY as usize).skip(1) {
            if let Some(header) = self.object.header(entry) {
                *self.out.objects.entry(header).or_default() += 1;
                self.out.handles += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_decoded_in_both_formats() {
        let mut entry = [0u8; 16];
        entry[..8].copy_from_slice(&0xffff_fa80_1234_5671u64.to_le_bytes());
        let plain = Format::Plain(0);
        assert_eq!(plain.header(&entry), Some(Va(0xffff_fa80_1234_5670)));
        let packed = (0xffff_8a00_1234_5670u64 >> 4) << 20 | 0x7fff << 1 | 1;
        entry[..8].copy_from_slice(&packed.to_le_bytes());
        let format = Format::Packed(0, 20, 44);
        assert_eq!(format.header(&entry), Some(Va(0xffff_8a00_1234_5670)));
        for free in [[0u8; 16], [0x11; 16]] {
            assert_eq!(plain.header(&free), None);
        }
        assert_eq!(format.header(&[0; 16]), None);
        assert_eq!(format.header(&[0; 3]), None);
    }
}
