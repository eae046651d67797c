//! An address space: a page-table root in a dump, and reads through it.

use std::sync::Arc;

use crate::dump::{Dump, PageBytes};

use super::fault::Fault;
use super::pte::{Entry, InvalidMask, PteRules};
use super::table_cache::{Region, TableCache};
use crate::addr::{PAGE_SIZE, Pa, Pfn, Va};

static ZERO_PAGE: PageBytes = [0; PAGE_SIZE as usize];

/// The source of a virtual page's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A frame.
    Frame {
        /// The frame number.
        pfn: Pfn,
        /// The kind of entry that refers to it.
        via: Via,
    },
    /// Never written: reads as zeros, by definition.
    Zero,
}

/// The kind of page-table entry that refers to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A valid entry.
    Valid,
    /// An entry in transition: on the standby or modified list.
    Transition,
    /// Through a prototype entry.
    Prototype,
}

/// One entry in a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The level of its table: 0 is the last level.
    pub level: u8,
    /// Physical address of the entry.
    pub at: Pa,
    /// The entry, or the reason why its table can't be read.
    pub raw: Result<u64, Fault>,
}

/// Virtual memory of a dump. Cloning is cheap; reading takes no lock.
#[derive(Clone, Debug)]
pub struct AddressSpace {
    dump: Arc<Dump>,
    root: Pfn,
    levels: u8,
    rules: PteRules,
    /// Of this root, with these rules.
    cache: Arc<TableCache>,
}

impl AddressSpace {
    /// An address space with four-level tables and the top table at `root` (CR3 without its low
    /// 12 bits).
    pub fn new(dump: Arc<Dump>, root: Pa) -> AddressSpace {
        let highest_frame = dump.highest_frame();
        AddressSpace {
            dump,
            root: root.pfn(),
            levels: 4,
            rules: PteRules {
                mask: InvalidMask::Unknown,
                highest_frame,
            },
            cache: Arc::default(),
        }
    }

    /// The same space with the mask that this kernel XORs into invalid entries.
    pub fn with_invalid_mask(mut self, mask: InvalidMask) -> AddressSpace {
        self.rules.mask = mask;
        self.cache = Arc::default();
        self
    }

    /// The same space with this number of table levels: 5 if CR4 has LA57 set.
    #[must_use]
    pub fn with_levels(mut self, levels: u8) -> AddressSpace {
        self.levels = levels;
        self.cache = Arc::default();
        self
    }

    /// The same space with another root, for session space.
    pub fn with_root(&self, root: Pa) -> AddressSpace {
        AddressSpace {
            root: root.pfn(),
            cache: Arc::default(),
            ..self.clone()
        }
    }

    /// The dump.
    pub fn dump(&self) -> &Dump {
        &self.dump
    }

    /// The frame of the top table.
    pub fn root(&self) -> Pfn {
        self.root
    }

    /// Number of table levels: 4, or 5 with LA57.
    pub fn levels(&self) -> u8 {
        self.levels
    }

    /// The rules for decoding entries.
    pub fn rules(&self) -> &PteRules {
        &self.rules
    }

    /// The entries of a table page, or the reason why they can't be read.
    pub(super) fn table(&self, pfn: Pfn) -> Result<&PageBytes, Fault> {
        self.frame(pfn)
    }

    /// The bytes of a frame, or the reason why there are none.
    pub(super) fn frame(&self, pfn: Pfn) -> Result<&PageBytes, Fault> {
        self.dump
            .page(pfn)
            .ok_or_else(|| match self.dump.is_lost(pfn) {
                true => Fault::FileFailed,
                false => Fault::NotInDump(pfn),
            })
    }

    /// Translates the page that contains `va`.
    ///
    /// # Errors
    /// The same [`Fault`] that a debugger would get.
    pub fn translate(&self, va: Va) -> Result<Target, Fault> {
        if !va.is_canonical() {
            return Err(Fault::NotCanonical);
        }
        let before = self.dump.faults();
        let found = self.walk(va);
        // A zero entry caused by a read failure would look like "not mapped".
        match self.dump.faults() == before {
            true => found,
            false => Err(Fault::FileFailed),
        }
    }

    /// The entries that translate `va`, from the top table to the one that ends the
    /// translation.
    pub fn steps(&self, va: Va) -> Vec<Step> {
        let mut out = Vec::new();
        let mut table = self.root;
        for level in (0..self.levels).rev() {
            let index = va.0 >> (12 + 9 * u32::from(level)) & 511;
            let raw = self.table(table).map(|page| entry(page, va, level));
            out.push(Step {
                level,
                at: Pa(table.base().0 + index * 8),
                raw,
            });
            let Ok(raw) = raw else {
                break;
            };
            match self.rules.decode(raw) {
                Entry::Valid { large: true, .. } if level == 1 || level == 2 => break,
                Entry::Valid { pfn, .. } | Entry::Transition(pfn) => table = pfn,
                _ => break,
            }
        }
        out
    }

    fn walk(&self, va: Va) -> Result<Target, Fault> {
        // The cache distinguishes addresses of 48 bits.
        let cache = (self.levels == 4).then_some(&self.cache);
        let region = match cache.and_then(|cache| cache.get(va)) {
            Some(region) => region,
            None => {
                let region = self.region(va)?;
                if let Some(cache) = cache {
                    cache.put(va, region);
                }
                region
            }
        };
        match region {
            Region::Table(table) => self.leaf(entry(self.table(table)?, va, 0)),
            Region::Large(first) => Ok(Target::Frame {
                pfn: large_frame(first, va, 1),
                via: Via::Valid,
            }),
        }
    }

    /// The upper levels: the last-level table of the 2 MB around `va`, or its large page.
    fn region(&self, va: Va) -> Result<Region, Fault> {
        let mut table = self.root;
        for level in (1..self.levels).rev() {
            let raw = entry(self.table(table)?, va, level);
            match self.rules.decode(raw) {
                Entry::Valid { pfn, large: true } if level <= 2 => {
                    return Ok(Region::Large(large_frame(pfn, va, level)));
                }
                Entry::Valid { pfn, .. } | Entry::Transition(pfn) => table = pfn,
                Entry::PagedOut => return Err(Fault::PagedOut),
                _ => return Err(Fault::Unmapped),
            }
        }
        Ok(Region::Table(table))
    }

    /// The target of a last-level entry.
    pub(super) fn leaf(&self, raw: u64) -> Result<Target, Fault> {
        match self.rules.decode(raw) {
            Entry::Prototype(at) => self.prototype(at),
            entry => direct(entry),
        }
    }

    /// Follows a prototype pointer. Its entry is itself in kernel memory. A pointer from there
    /// is a page of a mapped file, so this recurses at most once.
    fn prototype(&self, at: Va) -> Result<Target, Fault> {
        if !at.is_kernel() {
            return Err(Fault::Unmapped);
        }
        let page = match self.translate_direct(at)? {
            Target::Frame { pfn, .. } => self.table(pfn)?,
            Target::Zero => return Err(Fault::Unmapped),
        };
        let raw = crate::bytes::u64_at(page, at.offset() & !7).unwrap_or(0);
        match self.rules.decode_prototype(raw).map(direct) {
            None => Err(Fault::InFile),
            Some(Ok(Target::Frame { pfn, .. })) => Ok(Target::Frame {
                pfn,
                via: Via::Prototype,
            }),
            Some(other) => other,
        }
    }

    /// Translation that refuses prototype entries, so that crafted tables can't make
    /// [`AddressSpace::prototype`] recurse.
    fn translate_direct(&self, va: Va) -> Result<Target, Fault> {
        let mut table = self.root;
        for level in (0..self.levels).rev() {
            let decoded = self.rules.decode(entry(self.table(table)?, va, level));
            match decoded {
                Entry::Valid { pfn, large: true } if level == 1 || level == 2 => {
                    return Ok(Target::Frame {
                        pfn: large_frame(pfn, va, level),
                        via: Via::Valid,
                    });
                }
                Entry::Valid { pfn, .. } | Entry::Transition(pfn) if level > 0 => table = pfn,
                last => return direct(last),
            }
        }
        Err(Fault::Unmapped)
    }

    /// The bytes of the page that contains `va`.
    ///
    /// # Errors
    /// The [`Fault`], if they are not mapped, paged out, or not in the dump.
    pub fn page(&self, va: Va) -> Result<&PageBytes, Fault> {
        match self.translate(va)? {
            Target::Frame { pfn, .. } => self.frame(pfn),
            Target::Zero => Ok(&ZERO_PAGE),
        }
    }

    /// Fills `out` with the bytes from `va`, across pages.
    ///
    /// # Errors
    /// The first [`Fault`]; the content of `out` is then invalid.
    pub fn read(&self, va: Va, out: &mut [u8]) -> Result<(), Fault> {
        let before = self.dump.faults();
        let mut done = 0usize;
        while done < out.len() {
            let at = va.add(done as u64);
            let page = self.page(at)?;
            let n = (PAGE_SIZE as usize - at.offset()).min(out.len() - done);
            let (to, from) = (
                out.get_mut(done..done + n).unwrap_or_default(),
                page.get(at.offset()..at.offset() + n).unwrap_or_default(),
            );
            to.copy_from_slice(from);
            done += n;
        }
        if self.dump.faults() == before {
            Ok(())
        } else {
            Err(Fault::FileFailed)
        }
    }

    /// `N` bytes at `va`.
    ///
    /// # Errors
    /// As [`AddressSpace::read`].
    pub fn array<const N: usize>(&self, va: Va) -> Result<[u8; N], Fault> {
        let mut out = [0; N];
        self.read(va, &mut out)?;
        Ok(out)
    }

    /// The u8 at `va`.
    ///
    /// # Errors
    /// As [`AddressSpace::read`].
    pub fn u8(&self, va: Va) -> Result<u8, Fault> {
        self.array(va).map(u8::from_le_bytes)
    }

    /// The u16 at `va`.
    ///
    /// # Errors
    /// As [`AddressSpace::read`].
    pub fn u16(&self, va: Va) -> Result<u16, Fault> {
        self.array(va).map(u16::from_le_bytes)
    }

    /// The u32 at `va`.
    ///
    /// # Errors
    /// As [`AddressSpace::read`].
    pub fn u32(&self, va: Va) -> Result<u32, Fault> {
        self.array(va).map(u32::from_le_bytes)
    }

    /// The u64 at `va`.
    ///
    /// # Errors
    /// As [`AddressSpace::read`].
    pub fn u64(&self, va: Va) -> Result<u64, Fault> {
        self.array(va).map(u64::from_le_bytes)
    }

    /// The pointer at `va`.
    ///
    /// # Errors
    /// As [`AddressSpace::read`].
    pub fn pointer(&self, va: Va) -> Result<Va, Fault> {
        self.u64(va).map(Va)
    }

    /// A range of memory page by page, including unreadable pages, for hex views and searches.
    /// Each item has the address, and the bytes from there to the end of the page (or of the
    /// range), or the reason why there are none.
    pub fn pieces(&self, va: Va, length: u64) -> impl Iterator<Item = (Va, Result<&[u8], Fault>)> {
        let mut done = 0u64;
        std::iter::from_fn(move || {
            if done >= length {
                return None;
            }
            let at = va.add(done);
            let n = (PAGE_SIZE - at.offset() as u64).min(length - done);
            done += n;
            let range = at.offset()..at.offset() + n as usize;
            Some((
                at,
                self.page(at)
                    .map(|page| page.get(range).unwrap_or_default()),
            ))
        })
    }

    /// A `UNICODE_STRING` at `va` (u16 length in bytes, u16 capacity, 4 bytes of padding,
    /// pointer), truncated to `limit` characters. Invalid surrogates become U+FFFD.
    ///
    /// # Errors
    /// As [`AddressSpace::read`]: the text is often in pool that is not in the dump.
    pub fn unicode_string(&self, va: Va, limit: usize) -> Result<String, Fault> {
        let length = usize::from(self.u16(va)?) / 2;
        let buffer = self.pointer(va.add(8))?;
        let mut bytes = vec![0; length.min(limit) * 2];
        self.read(buffer, &mut bytes)?;
        let units = bytes
            .chunks_exact(2)
            .map(|c| u16::from_le_bytes([c[0], c[1]]));
        Ok(char::decode_utf16(units)
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect())
    }

    /// The same for the name of an object; `None` if it can't be read, is empty, or is not a
    /// name. Control characters, unpaired surrogates, and a length that is odd or above the
    /// capacity show that the memory contains other data.
    pub fn name(&self, va: Va, limit: usize) -> Option<String> {
        let (length, capacity) = (self.u16(va).ok()?, self.u16(va.add(2)).ok()?);
        let fits = length > 0 && length.is_multiple_of(2) && length <= capacity;
        let name = fits.then(|| self.unicode_string(va, limit).ok())??;
        let odd = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER || c >= '\u{fffe}';
        (!name.contains(odd)).then_some(name)
    }
}

/// The entry for `va` in a table of this level; level 0 has the entries of pages.
pub(super) fn entry(table: &PageBytes, va: Va, level: u8) -> u64 {
    let index = (va.0 >> (12 + 9 * u32::from(level)) & 511) as usize;
    crate::bytes::u64_at(table, index * 8).unwrap_or(0)
}

/// The 4 KB frame of `va` inside a large page (level 1: 2 MB, level 2: 1 GB).
pub(super) fn large_frame(pfn: Pfn, va: Va, level: u8) -> Pfn {
    let frames = 1u64 << (9 * u32::from(level));
    Pfn((pfn.0 & !(frames - 1)) | (va.0 >> 12 & (frames - 1)))
}

fn direct(entry: Entry) -> Result<Target, Fault> {
    match entry {
        Entry::Valid { pfn, .. } => Ok(Target::Frame {
            pfn,
            via: Via::Valid,
        }),
        Entry::Transition(pfn) => Ok(Target::Frame {
            pfn,
            via: Via::Transition,
        }),
        Entry::DemandZero => Ok(Target::Zero),
        Entry::PagedOut => Err(Fault::PagedOut),
        Entry::Prototype(_) | Entry::Empty => Err(Fault::Unmapped),
    }
}
