//! The pages of an image that are in the dump, each looked up once.

use crate::kernel::modules::Module;
use crate::memory::{AddressSpace, PAGE_SIZE};

const PAGE: usize = PAGE_SIZE as usize;
/// Maximum number of pages of an image (512 MB, the limit for modules).
const MAX_PAGES: u64 = 1 << 17;

/// An image's pages, by page index.
#[derive(Debug)]
pub struct Pages<'a> {
    pages: Vec<Option<&'a [u8; PAGE]>>,
}

impl<'a> Pages<'a> {
    /// The pages of a module in the address space that maps it.
    pub fn of(space: &'a AddressSpace, module: &Module) -> Pages<'a> {
        let count = u64::from(module.size).div_ceil(PAGE_SIZE).min(MAX_PAGES);
        let page = |n: u64| space.page(module.base.add(n * PAGE_SIZE)).ok();
        Pages {
            pages: (0..count).map(page).collect(),
        }
    }

    /// The page with this index.
    pub fn page(&self, number: usize) -> Option<&'a [u8; PAGE]> {
        self.pages.get(number).copied().flatten()
    }

    /// Number of pages.
    pub fn count(&self) -> usize {
        self.pages.len()
    }

    /// The readable bytes from an RVA, at most `limit`; ends at the first unreadable page.
    pub fn bytes(&self, rva: u32, limit: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = rva as usize;
        while out.len() < limit {
            let Some(page) = self.page(at / PAGE) else {
                break;
            };
            let rest = page.get(at % PAGE..).unwrap_or_default();
            let rest = rest.get(..limit - out.len()).unwrap_or(rest);
            out.extend_from_slice(rest);
            at += rest.len();
        }
        out
    }

    /// The `N` bytes at an RVA.
    pub fn array<const N: usize>(&self, rva: u32) -> Option<[u8; N]> {
        let at = rva as usize;
        let page = self.page(at / PAGE)?;
        if let Some(inside) = page.get(at % PAGE..at % PAGE + N) {
            return inside.try_into().ok();
        }
        self.bytes(rva, N).try_into().ok()
    }
}
