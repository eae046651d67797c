//! The driver framework (KMDF): a driver's binding to it.
//!
//! WDF_BIND_INFO (`fxldr.h` in Microsoft's published framework sources): Size at 0, pointer to
//! the library's name at 8, version at 10h (three dwords), number of functions at 1Ch, function
//! table at 20h. Up to 1.13 the loader copies the function pointers into an array of the driver.
//! Later versions store a pointer to the framework's array there.

use crate::bytes::{u32_at, u64_at};
use crate::kernel::Kernel;
use crate::kernel::imports::Imports;
use crate::kernel::modules::Module;
use crate::memory::{AddressSpace, Va};

use super::pages::Pages;

const SIZE: u64 = 0x30;
const LIBRARY: &str = "KmdfLibrary";
/// The plausible number of functions.
const COUNTS: std::ops::Range<u32> = 64..4096;
/// Limit for the minor version of 1.x; the highest so far is 35.
const MINOR: u32 = 128;
/// The last minor version whose loader copies the function pointers.
const LAST_COPIED: u32 = 13;

/// The module that every KMDF driver imports from: file name and module name.
const LOADER: (&str, &str) = ("wdfldr.sys", "wdfldr");
/// Maximum number of import address table slots to read.
const MAX_SLOTS: u32 = 1 << 14;

/// Whether a driver uses the framework: shown by the names of the files it imports from; if those
/// were discarded with the INIT section, by an import address table slot that points into the
/// framework's loader, or by WDF_BIND_INFO. `None` if the dump does not show it.
pub fn is_driver(kernel: &Kernel, space: &AddressSpace, module: &Module) -> Option<bool> {
    let image = module.image.as_ref()?;
    let imports = Imports::read(space, image);
    if !imports.libraries.is_empty() {
        let mut files = imports.libraries.iter();
        return Some(files.any(|file| file.eq_ignore_ascii_case(LOADER.0)));
    }
    let pages = Pages::of(space, module);
    let (rva, size) = image.import_slots.unwrap_or((0, 0));
    let size = size.min(MAX_SLOTS * 8);
    let slots = pages.bytes(rva, size as usize);
    let into_loader = |slot: &[u8]| {
        let va = slot.try_into().map_or(0, u64::from_le_bytes);
        let target = kernel.module_at(Va(va));
        target.is_some_and(|m| m.name().eq_ignore_ascii_case(LOADER.1))
    };
    if slots.chunks_exact(8).any(into_loader) {
        return Some(true);
    }
    if bind_info(module, &pages).is_some_and(|info| info.named) {
        return Some(true);
    }
    // All slots are readable, and none points into the loader.
    (size > 0 && slots.len() == size as usize).then_some(false)
}

/// A driver's binding to the framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindInfo {
    /// The minor version: 1.x.
    pub minor: u32,
    /// Number of functions in the table.
    pub count: u32,
    /// RVA of the table, or of the pointer to it.
    pub table: u32,
    /// True if the library's name confirms the structure.
    pub named: bool,
}

impl BindInfo {
    /// The function index of a slot in the driver's own data.
    pub fn index(&self, rva: u32) -> Option<u64> {
        let offset = rva.checked_sub(self.table)?;
        let inside = offset / 8 < self.count && offset.is_multiple_of(8);
        inside.then_some(u64::from(offset / 8))
    }

    /// True if the version's loader copies the table into the driver's data.
    pub fn is_copied(&self) -> bool {
        self.minor <= LAST_COPIED
    }
}

/// Searches the non-executable sections for WDF_BIND_INFO.
pub fn bind_info(module: &Module, pages: &Pages) -> Option<BindInfo> {
    let image = module.image.as_ref()?;
    let mut unnamed = None;
    for section in image.sections.iter().filter(|s| !s.executable) {
        let (first, last) = (
            section.rva / 0x1000,
            section.rva.saturating_add(section.size) / 0x1000,
        );
        for number in first..=last {
            let Some(page) = pages.page(number as usize) else {
                continue;
            };
            for (at, word) in page.chunks_exact(8).enumerate() {
                if word != SIZE.to_le_bytes() {
                    continue;
                }
                let rva = number * 0x1000 + at as u32 * 8;
                match judge(module, pages, rva) {
                    Some(found) if found.named => return Some(found),
                    found => unnamed = unnamed.or(found),
                }
            }
        }
    }
    unnamed
}

fn judge(module: &Module, pages: &Pages, rva: u32) -> Option<BindInfo> {
    let bytes: [u8; SIZE as usize] = pages.array(rva)?;
    let rva_of = |at: usize| {
        let offset = u64_at(&bytes, at)?.checked_sub(module.base.0)?;
        u32::try_from(offset).ok().filter(|&rva| rva < module.size)
    };
    let (name, table) = (rva_of(8)?, rva_of(0x20)?);
    let (major, minor, count) = (
        u32_at(&bytes, 0x10)?,
        u32_at(&bytes, 0x14)?,
        u32_at(&bytes, 0x1c)?,
    );
    let named = match wide_text(pages, name) {
        Some(text) if text == LIBRARY => true,
        Some(_) => return None,
        None => false,
    };
    (major == 1 && minor < MINOR && COUNTS.contains(&count)).then_some(BindInfo {
        minor,
        count,
        table,
        named,
    })
}

/// The UTF-16 text at an RVA up to its terminating zero, if it is all ASCII.
pub fn wide_text(pages: &Pages, rva: u32) -> Option<String> {
    const MOST: usize = 96;
    let bytes = pages.bytes(rva, MOST * 2);
    let units = bytes.chunks_exact(2).map(|unit| match unit {
        [low, 0] => *low,
        _ => 0xff,
    });
    let text: Vec<u8> = units.take_while(|&unit| unit != 0).collect();
    let ends = bytes.get(text.len() * 2..text.len() * 2 + 2) == Some(&[0, 0]);
    let is_text = !text.is_empty() && text.iter().all(|b| (0x20..0x7f).contains(b));
    (ends && is_text).then(|| String::from_utf8(text).ok())?
}
