//! The container: opens a dump file, reads its header and finds its pages by PFN.
//!
//! This room only knows physical pages; other rooms interpret them.

mod ahead;
mod container;
mod cpu;
mod crash;
mod elf;
mod error;
mod failure;
mod flattened;
#[cfg(unix)]
mod guard;
mod header;
mod holes;
mod hyperv;
mod identity;
mod kdump;
mod lime;
mod magic;
mod mapping;
mod notes;
mod packed;
mod page_map;
mod tables;
#[cfg(test)]
mod tests;
#[cfg(windows)]
mod view;
mod vmware;
mod xpress;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

pub use ahead::Stretches;
pub use container::{Capture, Format};
pub use cpu::Cpu;
pub use error::DumpError;
pub use header::{BugCheck, HEADER_SIZE, Header, PhysicalRun};

use crate::addr::{PAGE_SIZE, Pfn};
use container::Contents;
use mapping::{Mapping, Positioned};
use packed::Unpacked;
use page_map::PageMap;
pub(crate) use tables::self_map;

/// The bytes of one physical page.
pub type PageBytes = [u8; PAGE_SIZE as usize];

/// Reads a byte of every cache line of some pages, so that they are in the processor's cache.
/// The next header of a chain is known only when the one before has arrived, so a walk waits
/// for memory at every block. These reads are independent of each other, so their waits
/// overlap. The first line of each page comes first, because address translation takes as long
/// as the read itself, and that overlaps too.
pub fn fetch<'a>(pages: impl Iterator<Item = &'a PageBytes> + Clone) {
    const LINE: usize = 64;
    let found = pages.clone().fold(0, |sum, page| sum | page[0]);
    std::hint::black_box(found);
    for page in pages {
        let sum = page.iter().step_by(LINE).fold(0, |sum, &byte| sum | byte);
        std::hint::black_box(sum);
    }
}

/// The open memory of a machine: a crash dump or an image. Cheap to share between threads in an
/// `Arc`; never written to.
#[derive(Debug)]
pub struct Dump {
    path: PathBuf,
    /// The file with the pages.
    pages_path: PathBuf,
    contents: Contents,
    file: Positioned,
    mapping: Mapping,
    stored: u64,
    opened: SystemTime,
    modified: Option<SystemTime>,
    /// See [`Dump::hole_bytes`].
    holes: OnceLock<u64>,
}

/// A mapped file.
struct Opened {
    file: File,
    mapping: Mapping,
    modified: Option<SystemTime>,
}

impl Opened {
    fn new(path: &Path) -> Result<Opened, DumpError> {
        let io = |source| DumpError::Io {
            path: path.to_owned(),
            source,
        };
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
        Ok(Opened {
            file,
            mapping,
            modified: metadata.modified().ok(),
        })
    }
}

impl Dump {
    /// Opens a dump or an image: maps the file, recognises its format by its content, and finds
    /// the pages. The cost is independent of the file's size, except for the bitmap (32 KB per
    /// GB of the machine's memory) and the records of a flattened file.
    ///
    /// # Errors
    /// A [`DumpError`] that says what the file is and which file to get instead.
    pub fn open(path: &Path) -> Result<Dump, DumpError> {
        Dump::open_with(path, None)
    }

    /// Opens with the second file of a VMware snapshot (its memory or its state). Without it,
    /// that file is searched for by name beside the first.
    ///
    /// # Errors
    /// As [`Dump::open`]; also if the opened format has no second file.
    pub fn open_with(path: &Path, partner: Option<&Path>) -> Result<Dump, DumpError> {
        let opened = SystemTime::now();
        let mut on = Opened::new(path)?;
        let contents = container::read(on.mapping.bytes(), path, partner);
        let contents = contents.map_err(|error| error.with_path(path))?;
        let pages_path = contents.elsewhere.clone();
        if let Some(path) = &pages_path {
            on = Opened::new(path)?;
        }
        let stored = contents.pages.stored(on.mapping.bytes());
        // If frames could share file offsets, the map would have no bound.
        let room = on.mapping.bytes().len() as u64 / PAGE_SIZE;
        if contents.header.is_none() && contents.pages.runs().is_some() && stored > room {
            return Err(DumpError::Damaged {
                what: format!("it lists {stored} pages, but has room for {room}"),
            });
        }
        Ok(Dump {
            path: path.to_owned(),
            pages_path: pages_path.unwrap_or_else(|| path.to_owned()),
            contents,
            stored,
            file: Positioned::new(on.file),
            mapping: on.mapping,
            opened,
            modified: on.modified,
            holes: OnceLock::new(),
        })
    }

    /// True if the pages of this container are decompressed into memory.
    pub fn decompresses(&self) -> bool {
        matches!(self.contents.pages, PageMap::Packed(_))
    }

    /// Limits the bytes of decompressed pages in memory; further pages go to a temporary file.
    /// The default is no limit.
    pub fn limit_memory(&self, bytes: u64) {
        if let PageMap::Packed(packed) = &self.contents.pages {
            packed.limit(bytes);
        }
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The header, if this is a crash dump.
    pub fn header(&self) -> Option<&Header> {
        self.contents.header.as_ref()
    }

    /// What kind of container this is.
    pub fn kind(&self) -> Format {
        self.contents.format
    }

    /// The processors, if the container has their state.
    pub fn cpus(&self) -> &[Cpu] {
        &self.contents.cpus
    }

    /// Whether memory could change while the dump was written.
    pub fn capture(&self) -> Capture {
        self.contents.capture
    }

    /// Remarks on the container that a reader should know before trusting an answer.
    pub fn notes(&self) -> Vec<String> {
        let mut out = self.contents.notes.clone();
        if let PageMap::Packed(packed) = &self.contents.pages
            && packed.damaged() > 0
        {
            out.push(format!(
                "{} pages could not be decompressed: the file is damaged there; copy it again",
                packed.damaged()
            ));
        }
        out
    }

    /// The runs of the machine's memory: from the header of a crash dump, or the runs in an
    /// image. Empty if neither is known.
    pub fn memory(&self) -> Vec<PhysicalRun> {
        match (&self.contents.header, self.contents.pages.runs()) {
            (Some(header), _) => header.memory.clone(),
            (None, Some(runs)) => {
                let run = |run: &page_map::FileRun| PhysicalRun {
                    first: Pfn(run.first),
                    pages: run.pages,
                };
                runs.iter().map(run).collect()
            }
            (None, None) => Vec::new(),
        }
    }

    /// The highest frame of the machine, if known.
    pub fn highest_frame(&self) -> Option<Pfn> {
        match &self.contents.header {
            Some(header) => header.highest_frame(),
            None => self.contents.pages.frames().end.checked_sub(1).map(Pfn),
        }
    }

    /// One more than the highest frame that may be stored.
    pub fn frames_end(&self) -> u64 {
        self.contents.pages.frames().end
    }

    /// Frames that were written, in file order, in windows. Excludes holes of the file, which
    /// read as zeros, if the system reports them.
    pub fn written_frames(&self, window: u64) -> Vec<std::ops::Range<u64>> {
        let whole = |frames: std::ops::Range<u64>| {
            let starts = frames.clone().step_by(window.max(1) as usize);
            starts.map(move |at| at..at.saturating_add(window).min(frames.end))
        };
        let Some(runs) = self.contents.pages.runs() else {
            let ranges = self.contents.pages.ranges().into_iter();
            return ranges.flat_map(whole).collect();
        };
        let data = self.data();
        let mut out = Vec::new();
        for run in runs {
            let end = run.offset + run.pages * PAGE_SIZE;
            let first = data.partition_point(|(_, to)| *to <= run.offset);
            for (from, to) in data.iter().skip(first) {
                if *from >= end {
                    break;
                }
                let from = from.saturating_sub(run.offset) / PAGE_SIZE;
                let to = (to.min(&end) - run.offset).div_ceil(PAGE_SIZE);
                out.extend(whole(run.first + from..run.first + to));
            }
        }
        out
    }

    /// The length in bytes of the file with the pages, when it was opened.
    pub fn file_length(&self) -> u64 {
        self.mapping.bytes().len() as u64
    }

    /// The bytes of a frame. `None` if the writer left it out, if it is after the end of a
    /// truncated file, or if it is lost: see [`Dump::is_lost`].
    pub fn page(&self, pfn: Pfn) -> Option<&PageBytes> {
        let bytes = self.mapping.bytes();
        let offset = match &self.contents.pages {
            PageMap::Packed(packed) => match packed.page(bytes, pfn, &|| self.faults()) {
                Unpacked::Bytes(page) => return Some(page),
                Unpacked::Plain(offset) => offset,
                Unpacked::Damaged | Unpacked::Absent => return None,
            },
            pages => pages.offset(bytes, pfn)?,
        };
        let offset = usize::try_from(offset).ok()?;
        if self.mapping.is_lost(offset, PAGE_SIZE as usize) {
            return None;
        }
        bytes
            .get(offset..offset.checked_add(PAGE_SIZE as usize)?)?
            .try_into()
            .ok()
    }

    /// Passes the bytes of a frame to `f`, for searches of all memory: pages that are
    /// decompressed for this are not stored. `None` as for [`Dump::page`].
    pub fn peek<R>(&self, pfn: Pfn, f: impl FnOnce(&PageBytes) -> R) -> Option<R> {
        let PageMap::Packed(packed) = &self.contents.pages else {
            return self.page(pfn).map(f);
        };
        let before = self.faults();
        let found = packed.peek(self.mapping.bytes(), pfn, f);
        found.filter(|_| self.faults() == before)
    }

    /// The file offset of a frame, for visiting pages in file order.
    pub fn file_offset(&self, pfn: Pfn) -> Option<u64> {
        self.contents.pages.offset(self.mapping.bytes(), pfn)
    }

    /// Number of pages that can be read from the file.
    pub fn pages_present(&self) -> u64 {
        self.stored
    }

    /// Number of pages that the container lists but that are after the end of the file.
    pub fn pages_cut_off(&self) -> u64 {
        self.contents.pages.promised().saturating_sub(self.stored)
    }

    /// The container in one word, as in JSON answers.
    pub fn format(&self) -> &'static str {
        let Some(header) = &self.contents.header else {
            return match self.contents.format {
                Format::Vmware => "vmware",
                Format::Elf => "elf",
                Format::VirtualBox => "virtualbox",
                Format::Kdump => "kdump",
                Format::HyperV => "hyper-v",
                Format::Lime => "lime",
                Format::Raw | Format::Crash => "raw",
            };
        };
        match header.dump_type {
            _ if header.is_live() => "live",
            1 => "full",
            5 if header.is_filtered() => "active",
            5 => "bitmap-full",
            8 => "debugger-kernel",
            9 => "debugger-kernel-and-user",
            0xa => "debugger-complete",
            _ => "kernel",
        }
    }

    /// One sentence on what such a dump contains and omits.
    pub fn contents(&self) -> String {
        const ALL: &str =
            "all physical memory; pool that was paged out is in the page file, not here";
        let Some(header) = &self.contents.header else {
            let written = match self.contents.capture {
                Capture::Stopped => "the machine was stopped while it was written",
                Capture::Running => {
                    "written while the system ran, so counters and lists may contradict each other"
                }
                Capture::Unknown => "the format does not say whether the machine was running",
            };
            return format!("{}: {ALL}; {written}", self.image());
        };
        let holds = match header.dump_type {
            1 | 0xa => ALL,
            5 if header.is_filtered() => {
                "memory in use; free, standby and guest pages are left out, and so is pool that was paged out"
            }
            5 => ALL,
            9 => {
                "kernel and user memory that was resident; free pages are left out, and so is pool that was paged out"
            }
            _ => {
                "kernel memory that was resident; user pages are left out, and so is pool that was paged out"
            }
        };
        match header.is_live() {
            true => format!(
                "{holds}; mirrored while the system ran, so counters and lists may contradict each other"
            ),
            false => holds.into(),
        }
    }

    /// The kind of image in words.
    pub fn image(&self) -> &'static str {
        match self.contents.format {
            Format::Crash => "crash dump",
            Format::Vmware => "memory of a VMware machine",
            Format::Elf => "ELF core of a QEMU/KVM machine",
            Format::VirtualBox => "ELF core of a VirtualBox machine",
            Format::Kdump => "compressed kdump core of a QEMU/KVM machine",
            Format::HyperV => "saved state of a Hyper-V machine",
            Format::Lime => "LiME image",
            Format::Raw => "raw image of memory",
        }
    }
}
