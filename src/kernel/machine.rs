//! Facts about the machine as a whole, from any container.

use crate::dump::{BugCheck, Header, PhysicalRun};
use crate::memory::{Pfn, Va};

/// The machine: from the header of a crash dump, or found in memory.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Windows build number.
    pub build: u32,
    /// CR3 as stored; the low 12 bits are not address bits.
    pub directory_table: u64,
    /// Address of the PFN database; 0 if unknown.
    pub pfn_database: Va,
    /// PsLoadedModuleList: the list head.
    pub loaded_modules: Va,
    /// PsActiveProcessHead: the list head.
    pub processes: Va,
    /// Number of processors.
    pub processors: u32,
    /// The bug check; `None` if none happened.
    pub bugcheck: Option<BugCheck>,
    /// Address of KDDEBUGGER_DATA64; 0 if unknown.
    pub debugger_data: Va,
    /// The machine's memory, not the memory stored in the container; empty if unknown.
    pub memory: Vec<PhysicalRun>,
    /// Number of physical pages of the machine.
    pub physical_pages: Option<u64>,
    /// 100 ns units since 1601-01-01 UTC.
    pub system_time: Option<u64>,
    /// 100 ns units since boot.
    pub uptime: Option<u64>,
}

impl Machine {
    /// Takes the facts from the header of a crash dump.
    pub fn of_header(header: &Header) -> Machine {
        Machine {
            build: header.build,
            directory_table: header.directory_table,
            pfn_database: header.pfn_database,
            loaded_modules: header.loaded_modules,
            processes: header.processes,
            processors: header.processors,
            bugcheck: Some(header.bugcheck),
            debugger_data: header.debugger_data,
            memory: header.memory.clone(),
            physical_pages: header.physical_pages,
            system_time: header.system_time,
            uptime: header.uptime,
        }
    }

    /// The highest frame of the machine, if its memory runs are known.
    pub fn highest_frame(&self) -> Option<Pfn> {
        let last = |run: &PhysicalRun| Pfn(run.first.0 + run.pages.saturating_sub(1));
        self.memory.iter().map(last).max()
    }
}
