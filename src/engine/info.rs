//! The type and contents of a dump.

use serde::{Deserialize, Serialize};

use crate::dump::Capture;
use crate::kernel::consistency;
use crate::memory::Va;
use crate::pool::PoolKind;
use crate::symbols::{PdbId, Source};

use super::Engine;

/// Number of 100 ns intervals per second, the unit of Windows system times.
const TICKS: u64 = 10_000_000;
/// Seconds from 1601, the Windows epoch, to 1970.
const EPOCH: i64 = 11_644_473_600;

/// The identity of the dump and its machine; part of every answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpFacts {
    /// The file, as the user named it.
    pub path: String,
    /// The container format.
    pub format: String,
    /// The dump type in the header; `None` for a memory image.
    pub dump_type: Option<u32>,
    /// The Windows build number.
    pub build: u32,
    /// The Windows version: major, minor.
    pub version: (u32, u32),
    /// Number of processors.
    pub processors: u32,
    /// The bugcheck code; `None` if there was no bugcheck.
    pub bugcheck: Option<u32>,
    /// The bugcheck parameters.
    pub bugcheck_parameters: Vec<u64>,
    /// The kernel's base address.
    pub kernel_base: Va,
    /// The directory table base (DTB).
    pub directory_table: u64,
    /// Number of pages of physical memory of the machine.
    pub physical_pages: Option<u64>,
    /// Number of pages in the file.
    pub pages_present: u64,
    /// Number of pages that the container lists but that lie beyond the end of the file.
    pub pages_cut_off: u64,
    /// The time of the dump, in seconds since 1970 UTC.
    pub system_time: Option<i64>,
    /// The uptime, in seconds.
    pub uptime_seconds: Option<u64>,
    /// How many times Windows was started on this machine; `None` before Windows 10 1607.
    #[serde(default)]
    pub boot_number: Option<u32>,
    /// Where the names come from.
    pub symbols: SymbolFacts,
}

/// The source of the kernel's symbols and layouts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymbolFacts {
    /// The kind of source.
    pub source: SymbolSource,
    /// The PDB that the kernel's image references.
    pub pdb: Option<PdbId>,
    /// The source as text.
    pub detail: String,
}

/// Kinds of symbol sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SymbolSource {
    /// The kernel's PDB.
    Pdb,
    /// Built-in tables for this kernel.
    BuiltIn,
    /// Built-in layouts of a similar build, without symbol addresses.
    Layout,
    /// No source.
    #[default]
    None,
}

impl SymbolSource {
    /// The word used in JSON.
    pub fn word(self) -> &'static str {
        match self {
            SymbolSource::Pdb => "pdb",
            SymbolSource::BuiltIn | SymbolSource::Layout => "built-in",
            SymbolSource::None => "none",
        }
    }

    fn of(source: &Source) -> SymbolSource {
        match source {
            Source::Pdb { .. } => SymbolSource::Pdb,
            Source::BuiltIn { .. } => SymbolSource::BuiltIn,
            Source::Layout { .. } => SymbolSource::Layout,
            Source::None => SymbolSource::None,
        }
    }
}

/// A range of addresses that contains pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionFacts {
    /// The pool.
    pub pool: PoolKind,
    /// First address.
    pub start: Va,
    /// The end address (exclusive).
    pub end: Va,
    /// The source of the bounds.
    pub source: String,
}

/// The state of a processor in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessorFacts {
    /// CR3.
    pub cr3: Option<u64>,
    /// Instruction pointer.
    pub rip: Option<u64>,
    /// True if it executed kernel code; `None` if the instruction pointer is unknown.
    pub in_kernel: Option<bool>,
}

/// A check of links in the kernel's lists; an inconsistent image has broken links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsistencyFacts {
    /// Number of links that were checked.
    pub links: u64,
    /// Number of links whose two ends disagree.
    pub broken: u64,
    /// Number of links that could not be read.
    pub unreadable: u64,
}

/// Facts about a memory image that a crash dump has in its header or does not need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// The image format.
    pub kind: String,
    /// True if the machine was stopped while the image was written; `None` if unknown.
    pub stopped: Option<bool>,
    /// The processors, if the image has their state.
    pub processors: Vec<ProcessorFacts>,
    /// The source of the page table root.
    pub root_source: String,
    /// The source of the kernel's base address.
    pub kernel_source: String,
    /// The source of the debugger data block.
    pub debugger_data_source: String,
    /// The consistency check.
    pub consistency: ConsistencyFacts,
}

/// The answer of `info`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The identity of the dump.
    pub dump: DumpFacts,
    /// The contents of the container, as text.
    pub contents: String,
    /// The file size, in bytes.
    pub file_bytes: u64,
    /// The kernel's build string.
    pub build_lab: Option<String>,
    /// Number of loaded modules.
    pub modules: u64,
    /// Number of tags in the trackers.
    pub tags: u64,
    /// Number of tracker tables that were summed.
    pub tracker_tables: u64,
    /// The pool regions.
    pub regions: Vec<RegionFacts>,
    /// Facts about a memory image; `None` for a crash dump.
    pub image: Option<ImageFacts>,
    /// The path of the kernel's PDB in a symbol store, if it is not in use.
    pub wanted_pdb: Option<String>,
    /// The contents of the evidence file, if it is one.
    pub evidence: Option<EvidenceFacts>,
}

/// The contents of an evidence file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceFacts {
    /// The path.
    pub path: String,
    /// The program that wrote it, with its version.
    pub tool: String,
    /// The version of its schema: major, minor.
    pub schema: (u32, u32),
    /// True if names are replaced by keyed hashes.
    pub redacted: bool,
    /// True if it contains bytes of sample blocks.
    pub contents: bool,
    /// Number of blocks listed.
    pub blocks_listed: u64,
    /// Number of located blocks that are not listed.
    pub blocks_left_out: u64,
    /// Tables that are empty although the dump has their data, as sentences with the reason.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The tables.
    pub tables: Vec<InsideTable>,
}

/// A table of an evidence file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsideTable {
    /// The name.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    /// Unpacked size, in bytes.
    pub bytes: u64,
}

/// Converts a Windows system time (FILETIME, 100 ns since 1601) to seconds since 1970.
pub(super) fn seconds_of(ticks: u64) -> Option<i64> {
    i64::try_from(ticks / TICKS).ok()?.checked_sub(EPOCH)
}

impl Engine {
    /// The identity of the dump and its machine.
    pub fn facts(&self) -> DumpFacts {
        let (dump, kernel) = (self.dump(), self.kernel());
        let machine = &kernel.machine;
        let bugcheck = machine.bugcheck;
        let source = kernel.symbol_source();
        DumpFacts {
            path: dump.path().to_string_lossy().into_owned(),
            format: dump.format().to_owned(),
            dump_type: dump.header().map(|header| header.dump_type),
            build: kernel.build,
            version: kernel.version,
            processors: machine.processors,
            bugcheck: bugcheck.map(|b| b.code),
            bugcheck_parameters: bugcheck.map_or(Vec::new(), |b| b.parameters.to_vec()),
            kernel_base: kernel.base,
            directory_table: machine.directory_table,
            physical_pages: machine.physical_pages,
            pages_present: dump.pages_present(),
            pages_cut_off: dump.pages_cut_off(),
            system_time: machine.system_time.and_then(seconds_of),
            uptime_seconds: machine.uptime.map(|t| t / TICKS),
            boot_number: kernel.boot_number(),
            symbols: SymbolFacts {
                source: SymbolSource::of(source),
                pdb: kernel.pdb.clone(),
                detail: source.to_string(),
            },
        }
    }

    fn image_facts(&self) -> Option<ImageFacts> {
        let (dump, kernel) = (self.dump(), self.kernel());
        let how = kernel.how.as_ref()?;
        let consistency = consistency::check(kernel);
        let processors = dump.cpus().iter().map(|cpu| ProcessorFacts {
            cr3: cpu.cr3,
            rip: cpu.rip,
            in_kernel: cpu.rip.map(|_| cpu.is_in_kernel()),
        });
        Some(ImageFacts {
            kind: dump.image().to_owned(),
            stopped: match dump.capture() {
                Capture::Stopped => Some(true),
                Capture::Running => Some(false),
                Capture::Unknown => None,
            },
            processors: processors.collect(),
            root_source: how.root.to_owned(),
            kernel_source: how.base.to_owned(),
            debugger_data_source: how.block.to_owned(),
            consistency: ConsistencyFacts {
                links: consistency.links,
                broken: consistency.broken,
                unreadable: consistency.unreadable,
            },
        })
    }

    /// The type and contents of the dump.
    pub fn info(&self) -> Info {
        let kernel = self.kernel();
        let dump = self.facts();
        let has_pdb = dump.symbols.source == SymbolSource::Pdb;
        let regions = self.regions().regions.iter().map(|r| RegionFacts {
            pool: r.kind,
            start: r.start,
            end: r.end,
            source: r.source.to_owned(),
        });
        let wanted = kernel.pdb.as_ref().filter(|_| !has_pdb);
        Info {
            contents: self.dump().contents(),
            file_bytes: self.dump().file_length(),
            build_lab: kernel.build_lab.clone(),
            modules: kernel.modules.iter().filter(|m| !m.unloaded).count() as u64,
            tags: self.trackers().rows.len() as u64,
            tracker_tables: self.trackers().tables.len() as u64,
            regions: regions.collect(),
            evidence: None,
            image: self.image_facts(),
            wanted_pdb: wanted.and_then(|id| id.needed()).map(|n| n.store_path),
            dump,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_times_are_converted_to_seconds_since_1970() {
        // 2010-05-12T08:00:00Z is 1273651200 seconds after 1970 (by `date -u`).
        let ticks = (1_273_651_200 + 11_644_473_600) * TICKS;
        assert_eq!(seconds_of(ticks), Some(1_273_651_200));
        assert_eq!(seconds_of(u64::MAX), Some(1_833_029_933_770));
    }
}
