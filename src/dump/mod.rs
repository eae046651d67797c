//! The container: a dump file opened, its header read, its pages found by PFN.
//!
//! Knows physical pages only; what they mean is for the layers below in the import order.

mod ahead;
mod container;
mod error;
mod failure;
#[cfg(unix)]
mod guard;
mod header;
mod holes;
mod identity;
mod mapping;
mod page_map;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

pub use ahead::Stretches;
pub use error::DumpError;
pub use header::{BugCheck, HEADER_SIZE, Header, PhysicalRun};

use crate::addr::{PAGE_SIZE, Pfn};
use mapping::{Mapping, Positioned};
use page_map::PageMap;

/// The bytes of one physical page.
pub type PageBytes = [u8; PAGE_SIZE as usize];

/// Reads a byte of every cache line of some pages, so that they are at hand. The next
/// header of a chain is known only when the one before has arrived, so a walk waits for
/// memory at every block; these reads don't depend on each other and wait about once for
/// all. The first line of each page comes first: to find where pages lie takes as long as
/// to read from them, and that overlaps too.
pub fn fetch<'a>(pages: impl Iterator<Item = &'a PageBytes> + Clone) {
    const LINE: usize = 64;
    let found = pages.clone().fold(0, |sum, page| sum | page[0]);
    std::hint::black_box(found);
    for page in pages {
        let sum = page.iter().step_by(LINE).fold(0, |sum, &byte| sum | byte);
        std::hint::black_box(sum);
    }
}

/// An open dump. Cheap to share between threads behind an `Arc`; never written to.
#[derive(Debug)]
pub struct Dump {
    path: PathBuf,
    header: Header,
    file: Positioned,
    mapping: Mapping,
    pages: PageMap,
    stored: u64,
    opened: SystemTime,
    modified: Option<SystemTime>,
    /// See [`Dump::hole_bytes`].
    holes: OnceLock<u64>,
}

impl Dump {
    /// Opens a dump: maps the file, reads the header and finds the pages. The cost does
    /// not grow with the file but for the bitmap (32 KB per GB of the machine's memory).
    ///
    /// # Errors
    /// A [`DumpError`] that says what the file is and what to get instead.
    pub fn open(path: &Path) -> Result<Dump, DumpError> {
        let io = |source| DumpError::Io {
            path: path.to_owned(),
            source,
        };
        let opened = SystemTime::now();
        let metadata = std::fs::metadata(path).map_err(io)?;
        if metadata.is_dir() {
            return Err(DumpError::NotAFile {
                what: "a directory",
            });
        }
        if !metadata.is_file() {
            return Err(DumpError::NotAFile {
                what: "a pipe or a device",
            });
        }
        let file = File::open(path).map_err(io)?;
        if metadata.len() == 0 {
            return Err(DumpError::Empty);
        }
        let mapping = Mapping::new(&file).map_err(io)?;
        mapping.expect(true);
        let bytes = mapping.bytes();
        let header = Header::parse(bytes.get(..HEADER_SIZE).unwrap_or(bytes))
            .map_err(|error| error.with_path(path))?;
        let pages = container::page_map(bytes, &header)?;
        let stored = pages.stored(bytes.len() as u64);
        Ok(Dump {
            path: path.to_owned(),
            header,
            stored,
            pages,
            file: Positioned::new(file),
            mapping,
            opened,
            modified: metadata.modified().ok(),
            holes: OnceLock::new(),
        })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The length of the file in bytes, when it was opened.
    pub fn file_length(&self) -> u64 {
        self.mapping.bytes().len() as u64
    }

    /// The bytes of a frame, or `None` when the dump does not hold it (left out by the
    /// writer, behind the end of a truncated file, or lost: see [`Dump::is_lost`]).
    pub fn page(&self, pfn: Pfn) -> Option<&PageBytes> {
        let bytes = self.mapping.bytes();
        let offset = usize::try_from(self.pages.offset(bytes, pfn)?).ok()?;
        if self.mapping.is_lost(offset, PAGE_SIZE as usize) {
            return None;
        }
        bytes
            .get(offset..offset.checked_add(PAGE_SIZE as usize)?)?
            .try_into()
            .ok()
    }

    /// The place of a frame in the file, for visiting pages in file order.
    pub fn file_offset(&self, pfn: Pfn) -> Option<u64> {
        self.pages.offset(self.mapping.bytes(), pfn)
    }

    /// Pages that can be read from the file.
    pub fn pages_present(&self) -> u64 {
        self.stored
    }

    /// Pages that the container names but the file is too short for.
    pub fn pages_cut_off(&self) -> u64 {
        self.pages.promised().saturating_sub(self.stored)
    }

    /// The container in one word, as the JSON answers have it.
    pub fn format(&self) -> &'static str {
        match self.header.dump_type {
            _ if self.header.is_live() => "live",
            1 => "full",
            5 if self.header.is_filtered() => "active",
            5 => "bitmap-full",
            8 => "debugger-kernel",
            9 => "debugger-kernel-and-user",
            0xa => "debugger-complete",
            _ => "kernel",
        }
    }

    /// What such a dump holds and leaves out, in a sentence.
    pub fn contents(&self) -> String {
        let holds = match self.header.dump_type {
            1 | 0xa => "all physical memory; pool that was paged out is in the page file, not here",
            5 if self.header.is_filtered() => {
                "memory in use; free, standby and guest pages are left out, and so is pool that was paged out"
            }
            5 => "all physical memory; pool that was paged out is in the page file, not here",
            9 => {
                "kernel and user memory that was resident; free pages are left out, and so is pool that was paged out"
            }
            _ => {
                "kernel memory that was resident; user pages are left out, and so is pool that was paged out"
            }
        };
        match self.header.is_live() {
            true => format!(
                "{holds}; mirrored while the system ran, so counters and lists may contradict each other"
            ),
            false => holds.into(),
        }
    }
}
