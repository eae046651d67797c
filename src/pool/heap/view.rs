//! A range of pool with every page translated once, for walks with random access.

use crate::dump::{self, PageBytes};
use crate::memory::{AddressSpace, Fault, MappedPage, PAGE_SIZE, Va};

/// The pages between two addresses.
pub struct View<'a> {
    start: Va,
    pages: Vec<Slot<'a>>,
}

/// One page.
#[derive(Clone, Copy, Debug)]
pub enum Slot<'a> {
    /// Nothing is mapped: decommitted.
    Empty,
    /// The page is in the dump.
    Bytes(&'a PageBytes),
    /// Mapped and never written.
    Zero,
    /// Mapped, but unreadable.
    Missing(Fault),
}

/// Stands for pages that were never written.
static ZEROS: PageBytes = [0; PAGE_SIZE as usize];

impl<'a> View<'a> {
    /// Translates the pages; `start` is rounded down to a page.
    pub fn load(space: &'a AddressSpace, start: Va, end: Va) -> View<'a> {
        let start = start.page();
        let count = end.0.saturating_sub(start.0).div_ceil(PAGE_SIZE) as usize;
        let mut view = View {
            start,
            pages: vec![Slot::Empty; count],
        };
        let mapped = space.mapped(start, end);
        for (va, bytes, fault) in mapped.unreadable {
            for at in 0..bytes.div_ceil(PAGE_SIZE).min(count as u64) {
                view.set(va.add(at * PAGE_SIZE), Slot::Missing(fault));
            }
        }
        for chunk in mapped.chunks {
            space.chunk_pages(chunk, |va, page| {
                let slot = match page {
                    MappedPage::Bytes(bytes, _) => Slot::Bytes(bytes),
                    MappedPage::Zero => Slot::Zero,
                    MappedPage::Missing(fault) => Slot::Missing(fault),
                };
                view.set(va, slot);
            });
        }
        view
    }

    fn set(&mut self, va: Va, slot: Slot<'a>) {
        let index = va.0.checked_sub(self.start.0).map(|d| d / PAGE_SIZE);
        if let Some(to) = index.and_then(|i| self.pages.get_mut(i as usize)) {
            *to = slot;
        }
    }

    /// The page that contains an address.
    pub fn slot(&self, va: Va) -> Slot<'a> {
        let index = va.0.checked_sub(self.start.0).map(|d| d / PAGE_SIZE);
        index
            .and_then(|i| self.pages.get(i as usize))
            .copied()
            .unwrap_or(Slot::Empty)
    }

    /// Brings the pages between two addresses into the processor's caches, before a walk with
    /// dependent reads.
    pub fn fetch(&self, start: Va, end: Va) {
        let index = |va: Va| (va.0.saturating_sub(self.start.0) / PAGE_SIZE) as usize;
        let last = index(end).min(self.pages.len());
        let slots = self.pages.get(index(start)..last).unwrap_or_default();
        dump::fetch(slots.iter().filter_map(|slot| match slot {
            Slot::Bytes(bytes) => Some(*bytes),
            _ => None,
        }));
    }

    /// The bytes of the page that contains an address.
    ///
    /// # Errors
    /// [`Fault::Unmapped`] if nothing is mapped, or the reason why the page can't be read.
    pub fn page(&self, va: Va) -> Result<&'a PageBytes, Fault> {
        match self.slot(va) {
            Slot::Bytes(bytes) => Ok(bytes),
            Slot::Zero => Ok(&ZEROS),
            Slot::Empty => Err(Fault::Unmapped),
            Slot::Missing(fault) => Err(fault),
        }
    }

    /// `N` bytes that do not cross a page boundary.
    ///
    /// # Errors
    /// As [`View::page`]; [`Fault::Unmapped`] for bytes that cross a page boundary.
    pub fn array<const N: usize>(&self, va: Va) -> Result<[u8; N], Fault> {
        crate::bytes::array_at(self.page(va)?, va.offset()).ok_or(Fault::Unmapped)
    }

    /// The little-endian u64 at a multiple of 8.
    ///
    /// # Errors
    /// As [`View::array`].
    pub fn u64(&self, va: Va) -> Result<u64, Fault> {
        self.array(va).map(u64::from_le_bytes)
    }

    /// The little-endian u32 at a multiple of 4.
    ///
    /// # Errors
    /// As [`View::array`].
    pub fn u32(&self, va: Va) -> Result<u32, Fault> {
        self.array(va).map(u32::from_le_bytes)
    }

    /// The little-endian u16 at a multiple of 2.
    ///
    /// # Errors
    /// As [`View::array`].
    pub fn u16(&self, va: Va) -> Result<u16, Fault> {
        self.array(va).map(u16::from_le_bytes)
    }

    /// The byte at an address.
    ///
    /// # Errors
    /// As [`View::array`].
    pub fn u8(&self, va: Va) -> Result<u8, Fault> {
        self.array(va).map(u8::from_le_bytes)
    }
}
