//! What kind of dump this is, and what it holds.

use serde::{Deserialize, Serialize};

use crate::dump::Capture;
use crate::kernel::consistency;
use crate::memory::Va;
use crate::pool::PoolKind;
use crate::symbols::{PdbId, Source};

use super::Engine;

/// Intervals of 100 ns in a second: the unit of Windows system times.
const TICKS: u64 = 10_000_000;
/// Seconds from 1601, where Windows counts from, to 1970.
const EPOCH: i64 = 11_644_473_600;

/// The dump and its machine: part of every answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpFacts {
    /// The file, as it was named.
    pub path: String,
    /// The kind of container in a word.
    pub format: String,
    /// The header's number for it; `None` for an image of memory.
    pub dump_type: Option<u32>,
    /// The kernel's build.
    pub build: u32,
    /// Major and minor version of Windows.
    pub version: (u32, u32),
    /// Processors.
    pub processors: u32,
    /// The bugcheck's code; `None` where none happened.
    pub bugcheck: Option<u32>,
    /// Its parameters.
    pub bugcheck_parameters: Vec<u64>,
    /// Where the kernel is.
    pub kernel_base: Va,
    /// Where the page tables are.
    pub directory_table: u64,
    /// Pages of memory that the machine had.
    pub physical_pages: Option<u64>,
    /// Pages that the file has.
    pub pages_present: u64,
    /// Pages that the container names and the file is too short for.
    pub pages_cut_off: u64,
    /// When the dump was written, in seconds since 1970 UTC.
    pub system_time: Option<i64>,
    /// Seconds since boot.
    pub uptime_seconds: Option<u64>,
    /// How many times Windows was started on this machine; `None` before Windows 10 1607.
    #[serde(default)]
    pub boot_number: Option<u32>,
    /// Where the names come from.
    pub symbols: SymbolFacts,
}

/// Where the kernel's names and layouts come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymbolFacts {
    /// The kind of source.
    pub source: SymbolSource,
    /// The PDB that the kernel names.
    pub pdb: Option<PdbId>,
    /// The source in words.
    pub detail: String,
}

/// Kinds of sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SymbolSource {
    /// The kernel's PDB.
    Pdb,
    /// Built-in tables of this kernel.
    BuiltIn,
    /// Built-in layouts of a build nearby, without addresses of symbols.
    Layout,
    /// Nothing.
    #[default]
    None,
}

impl SymbolSource {
    /// The contract's word for it.
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

/// A stretch of addresses that pool is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionFacts {
    /// Which pool.
    pub pool: PoolKind,
    /// First address.
    pub start: Va,
    /// The first address after it.
    pub end: Va,
    /// What the bounds were read from.
    pub source: String,
}

/// A processor as the container has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessorFacts {
    /// CR3.
    pub cr3: Option<u64>,
    /// Instruction pointer.
    pub rip: Option<u64>,
    /// It ran kernel code; `None` where the instruction pointer is not known.
    pub in_kernel: Option<bool>,
}

/// Links of the kernel's lists, which an image that is torn breaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsistencyFacts {
    /// Links that were compared.
    pub links: u64,
    /// Links whose two sides do not agree.
    pub broken: u64,
    /// Links that could not be read.
    pub unreadable: u64,
}

/// Facts about a memory image that a dump header would give, or that a dump
/// has no need of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// The kind of image in words.
    pub kind: String,
    /// The machine was stopped while it was written; `None` where the format does not say.
    pub stopped: Option<bool>,
    /// The processors, where their state is there.
    pub processors: Vec<ProcessorFacts>,
    /// What gave the page-table root.
    pub root_source: String,
    /// What gave the kernel's base.
    pub kernel_source: String,
    /// What gave the debugger data block.
    pub debugger_data_source: String,
    /// The check of how torn it is.
    pub consistency: ConsistencyFacts,
}

/// The answer of `info`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Which dump.
    pub dump: DumpFacts,
    /// What the container holds, in words.
    pub contents: String,
    /// The file's length.
    pub file_bytes: u64,
    /// The kernel's build string.
    pub build_lab: Option<String>,
    /// Loaded modules.
    pub modules: u64,
    /// Tags in the trackers.
    pub tags: u64,
    /// Tracker tables that were added up.
    pub tracker_tables: u64,
    /// Where the pools are.
    pub regions: Vec<RegionFacts>,
    /// Facts about a memory image; `None` for a crash dump.
    pub image: Option<ImageFacts>,
    /// Where the kernel's PDB lies in a symbol store, when it is not in use.
    pub wanted_pdb: Option<String>,
    /// What is inside, where an evidence file answers.
    pub evidence: Option<EvidenceFacts>,
}

/// What is inside an evidence file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceFacts {
    /// The file.
    pub path: String,
    /// The program that wrote it.
    pub tool: String,
    /// The version of its schema.
    pub schema: (u32, u32),
    /// Names are replaced by keyed hashes.
    pub redacted: bool,
    /// Bytes of sample blocks are inside.
    pub contents: bool,
    /// Blocks listed.
    pub blocks_listed: u64,
    /// Blocks that the walk found and that are not listed.
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
    /// Its name.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Bytes, unpacked.
    pub bytes: u64,
}

/// A Windows system time as seconds since 1970.
/// Seconds since 1970 of a FILETIME (100 ns since 1601).
pub(super) fn seconds_of(ticks: u64) -> Option<i64> {
    i64::try_from(ticks / TICKS).ok()?.checked_sub(EPOCH)
}

impl Engine {
    /// Which dump, of which machine.
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

    /// What kind of dump, and what it holds.
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
    fn windows_times_become_seconds_since_1970() {
        // 2010-05-12T08:00:00Z is 1273651200 seconds after 1970 (date -u).
        let ticks = (1_273_651_200 + 11_644_473_600) * TICKS;
        assert_eq!(seconds_of(ticks), Some(1_273_651_200));
        assert_eq!(seconds_of(u64::MAX), Some(1_833_029_933_770));
    }
}
