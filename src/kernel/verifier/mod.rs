//! Driver Verifier's records: the drivers that it watched, the caller of each of their
//! outstanding blocks, and the log of recent allocations and frees with their call stacks.
//!
//! Types and addresses come from the PDB, or from the built-in tables of the kernel. The use of
//! the structures is not documented, so each assumption is tested: nodes of the tree must be
//! loaded modules, pages of entries must refer to their driver, and entries must refer to pool
//! and to code. Data that fails a test is counted and reported, but not used.

mod blocks;
mod kind;
mod log;
mod search;
mod slist;
mod tree;

use rustc_hash::FxHashSet;

use crate::memory::{Fault, Va};

use super::Kernel;
use super::kdbg::field;

pub use blocks::{Entry, Tracked};
pub use kind::{Event, Kinds};
pub use log::{Log, LogRead, Order, Record};

/// All documented bits of the level.
const KNOWN: u32 = 0x01ff_ffff;
/// Limit for verified drivers; more is damage.
const MAX_DRIVERS: usize = 65_536;
/// Limit for names on the list of drivers to watch.
const MAX_SUSPECTS: usize = 4096;
/// Server 2022: the first build with rule classes as settings.
const FIRST_WITH_CLASSES: u32 = 20348;
/// Limit for the number of blocks of a machine.
const MAX_NODES: u64 = 1 << 32;
/// Longest file name of a driver, in characters.
const MAX_NAME: usize = 260;

/// `MmVerifierData.Level`; `None` if it can't be read or has undocumented bits.
pub fn level(kernel: &Kernel) -> Option<u32> {
    let (at, _) = kernel.variable("MmVerifierData", Some(field::VERIFIER_DATA))?;
    let offset = kernel.offset("_MM_DRIVER_VERIFIER_DATA", "Level");
    let level = kernel.space.u32(at.add(offset.unwrap_or(0))).ok()?;
    (level & !KNOWN == 0).then_some(level)
}

/// A driver with records of Driver Verifier.
#[derive(Clone, Debug)]
pub struct Driver {
    /// The module's name.
    pub name: String,
    /// Its load address.
    pub base: Va,
    /// Its `_VF_TARGET_VERIFIED_DRIVER_DATA`.
    pub data: Va,
    /// Verifier's counters of the driver.
    pub counters: Counters,
    /// Its outstanding blocks.
    pub tracked: Tracked,
}

/// Verifier's counters for a driver; `None` for unreadable ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Outstanding allocations: paged, nonpaged.
    pub allocations: [Option<u64>; 2],
    /// Their bytes: paged, nonpaged.
    pub bytes: [Option<u64>; 2],
    /// Peak of outstanding allocations: paged, nonpaged.
    pub peak_allocations: [Option<u64>; 2],
    /// Peak of outstanding bytes: paged, nonpaged.
    pub peak_bytes: [Option<u64>; 2],
    /// Bytes of locked pages, of pages for MDLs, and of contiguous memory; these are not pool.
    pub not_pool: [Option<u64>; 3],
}

impl Counters {
    /// Outstanding allocations in both pools.
    pub fn outstanding(&self) -> Option<u64> {
        let [paged, nonpaged] = self.allocations;
        paged?.checked_add(nonpaged?)
    }

    /// Their bytes.
    pub fn outstanding_bytes(&self) -> Option<u64> {
        let [paged, nonpaged] = self.bytes;
        paged?.checked_add(nonpaged?)
    }
}

/// A driver on the list to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The file's name.
    pub name: String,
    /// Number of times that it was loaded.
    pub loads: u32,
    /// Number of times that it was unloaded.
    pub unloads: u32,
}

/// All records that were read.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    /// The level; `None` when it can't be read.
    pub level: Option<u32>,
    /// The drivers with records.
    pub drivers: Vec<Driver>,
    /// Number of modules that Verifier lists but does not watch.
    pub others: u64,
    /// The drivers on the list to watch.
    pub suspects: Vec<Suspect>,
    /// The log; `None` if there is none.
    pub log: Option<Log>,
    /// Number of nodes in the databases of Server 2022 and later: blocks, and stacks. The
    /// content of a node is not public.
    pub database: [Option<u64>; 2],
    /// The source of the layouts.
    pub source: &'static str,
    /// The records were found by structure, because there were no symbols.
    pub is_search: bool,
    /// Remarks on parts that could not be examined.
    pub notes: Vec<String>,
    /// Remarks on damage.
    pub damage: Vec<String>,
}

impl Verifier {
    /// Reads all records.
    pub fn read(kernel: &Kernel) -> Verifier {
        let mut out = Verifier {
            level: level(kernel),
            source: kernel
                .symbols
                .type_origin("_VF_TARGET_VERIFIED_DRIVER_DATA"),
            ..Verifier::default()
        };
        let names = ["ViTargetDriversAvl", "VfPoolTraces"];
        match names.map(|name| kernel.symbol(name)) {
            [None, None] => out.search(kernel),
            [tree, _] => {
                match tree {
                    Some(at) => out.read_drivers(kernel, at),
                    None => out
                        .notes
                        .push("the list of verified drivers is not known for this kernel".into()),
                }
                match Log::find(kernel) {
                    Ok(log) => out.log = log,
                    Err(why) => out.notes.push(why),
                }
            }
        }
        out.read_suspects(kernel);
        if let Some(log) = &mut out.log {
            out.damage.append(&mut log.damage);
        }
        out.database = ["ViPoolInfoAvl", "ViPoolStackInfoAvl"]
            .map(|name| tree::nodes(kernel, kernel.symbol(name)?));
        out.notes.extend(out.database_note());
        if out.is_off() {
            out.notes.push("Driver Verifier was off".into());
        }
        out
    }

    /// True when the level is 0 and there are no records.
    pub fn is_off(&self) -> bool {
        let nothing = self.drivers.is_empty() && self.log.is_none() && self.database == [None; 2];
        self.level == Some(0) && !self.is_search && nothing
    }

    /// A remark that there is a database of stacks, with its size.
    fn database_note(&self) -> Option<String> {
        let count = |nodes: Option<u64>, what| match nodes {
            None => format!("no {what}"),
            Some(n) if n > MAX_NODES => format!("a damaged count of {what}"),
            Some(n) => format!("{n} {what}"),
        };
        let [blocks, stacks] = self.database;
        (self.database != [None; 2]).then(|| {
            format!(
                "this Windows also keeps a database of stacks ({}, {}), whose layout is not public: WinDbg's !verifier may show more",
                count(blocks, "blocks"),
                count(stacks, "stacks")
            )
        })
    }

    /// The outstanding blocks of all drivers.
    pub fn entries(&self) -> impl Iterator<Item = (&Driver, &Entry)> {
        let drivers = self.drivers.iter();
        drivers.flat_map(|driver| driver.tracked.entries.iter().map(move |e| (driver, e)))
    }

    /// Searches for the records by their structure. An unsuccessful search is not conclusive:
    /// the records may exist.
    fn search(&mut self, kernel: &Kernel) {
        // From Server 2022, the level may not include all enabled features.
        if self.level == Some(0) && kernel.build < FIRST_WITH_CLASSES {
            return;
        }
        let found = search::search(kernel);
        self.is_search = true;
        let mut what = Vec::new();
        if let Some(at) = found.tree {
            what.push("the list of verified drivers");
            self.read_drivers(kernel, at);
        }
        if found.log.is_some() {
            what.push("the log of allocations and frees");
        }
        self.log = found.log;
        self.notes.push(match what.as_slice() {
            [] => "Driver Verifier's records were searched for by structure, as this kernel's PDB is not at hand, and none were found".to_owned(),
            some => format!(
                "found by structure, without the PDB of this kernel: {}",
                some.join(", ")
            ),
        });
    }

    fn read_drivers(&mut self, kernel: &Kernel, at: Va) {
        let walked = match tree::walk(kernel, at) {
            Ok(walked) => walked,
            Err(tree::Unread::NoLayout) => {
                self.notes.push(
                    "the layout of Driver Verifier's records is not known for this kernel".into(),
                );
                return;
            }
            Err(tree::Unread::Fault(fault)) => {
                self.notes.push(paged_out(fault));
                return;
            }
        };
        self.damage.extend(walked.damage);
        let code = Code::of(kernel);
        let mut seen = FxHashSet::default();
        let (mut strangers, mut twice) = (0u64, 0u64);
        for node in &walked.nodes {
            let module = kernel.modules.iter().find(|m| {
                let pages = u64::from(m.size).next_multiple_of(0x1000);
                let same = node.size.checked_next_multiple_of(0x1000) == Some(pages);
                !m.unloaded && m.base == node.base && same
            });
            let Some(module) = module else {
                strangers += 1;
                continue;
            };
            if node.data.0 == 0 {
                self.others += 1;
                continue;
            }
            if !node.data.is_kernel() || !seen.insert(node.data) {
                twice += 1;
                continue;
            }
            let counters = counters(kernel, node.data);
            let name = module.name();
            let mut tracked = blocks::read(kernel, node.data, &counters, &code);
            let told = tracked.damage.drain(..);
            self.damage
                .extend(told.map(|d| format!("Driver Verifier's records of {name}: {d}")));
            self.drivers.push(Driver {
                name,
                base: node.base,
                data: node.data,
                counters,
                tracked,
            });
        }
        if strangers > 0 {
            self.damage.push(format!(
                "{strangers} of {} entries in Driver Verifier's tree of drivers are not loaded \
                    modules; they were not used",
                walked.nodes.len()
            ));
        }
        if twice > 0 {
            self.damage.push(format!(
                "{twice} entries in Driver Verifier's tree of drivers lead nowhere, or to the records of another driver"
            ));
        }
    }

    /// Reads `VfSuspectDriversList`: the drivers to watch.
    fn read_suspects(&mut self, kernel: &Kernel) {
        const TYPE: &str = "_VF_SUSPECT_DRIVER_ENTRY";
        let Some(head) = kernel.symbol("VfSuspectDriversList") else {
            return;
        };
        let Some(name) = kernel.offset(TYPE, "BaseName") else {
            return;
        };
        let mut seen = FxHashSet::default();
        let mut at = match kernel.space.pointer(head) {
            Ok(first) => first,
            Err(_) => return,
        };
        while at != head && at.0 != 0 {
            let next = kernel.space.pointer(at);
            if !at.is_kernel() || !seen.insert(at) || seen.len() > MAX_SUSPECTS || next.is_err() {
                self.damage
                    .push("Driver Verifier's list of drivers to verify breaks off".into());
                return;
            }
            let number = |field| {
                let read = kernel.field(at, TYPE, field).ok();
                read.and_then(|n| u32::try_from(n).ok())
            };
            let text = kernel.space.unicode_string(at.add(name), MAX_NAME);
            if let (Ok(name), Some(loads), Some(unloads)) =
                (text, number("Loads"), number("Unloads"))
            {
                self.suspects.push(Suspect {
                    name,
                    loads,
                    unloads,
                });
            }
            at = next.unwrap_or(head);
        }
    }
}

/// Explains unreadable variables of Verifier: on some builds they are pageable.
fn paged_out(fault: Fault) -> String {
    format!(
        "Driver Verifier's variables can't be read ({fault}): they are pageable, and are paged out where Driver Verifier is off"
    )
}

fn counters(kernel: &Kernel, data: Va) -> Counters {
    let read = |name| {
        kernel
            .field(data, "_VF_TARGET_VERIFIED_DRIVER_DATA", name)
            .ok()
    };
    Counters {
        allocations: [
            read("CurrentPagedPoolAllocations"),
            read("CurrentNonPagedPoolAllocations"),
        ],
        bytes: [read("PagedBytes"), read("NonPagedBytes")],
        peak_allocations: [
            read("PeakPagedPoolAllocations"),
            read("PeakNonPagedPoolAllocations"),
        ],
        peak_bytes: [read("PeakPagedBytes"), read("PeakNonPagedBytes")],
        not_pool: [
            read("LockedBytes"),
            read("PagesForMdlBytes"),
            read("ContiguousMemoryBytes"),
        ],
    }
}

/// The address ranges of all modules, including unloaded ones.
struct Code(Vec<(u64, u64)>);

impl Code {
    fn of(kernel: &Kernel) -> Code {
        let ranges = kernel.modules.iter().map(|m| (m.base.0, m.end().0));
        let mut ranges: Vec<_> = ranges.filter(|(start, end)| start < end).collect();
        ranges.sort_unstable();
        Code(ranges)
    }

    /// True for an address in a module. Unloaded modules may overlap loaded ones.
    fn holds(&self, va: Va) -> bool {
        self.0
            .iter()
            .any(|(start, end)| va.0 >= *start && va.0 < *end)
    }
}
