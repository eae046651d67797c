//! What is known of the machine as a whole, from whichever container it comes.

use crate::dump::{BugCheck, Header, PhysicalRun};
use crate::memory::{Pfn, Va};

/// The machine: what the header of a crash dump says, or what memory itself shows.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Windows build number.
    pub build: u32,
    /// CR3 as stored; the low 12 bits are not address bits.
    pub directory_table: u64,
    /// Address of the frame database; 0 when not known.
    pub pfn_database: Va,
    /// PsLoadedModuleList: the list head.
    pub loaded_modules: Va,
    /// PsActiveProcessHead: the list head.
    pub processes: Va,
    /// Processors.
    pub processors: u32,
    /// The bug check; `None` where none happened.
    pub bugcheck: Option<BugCheck>,
    /// Address of KDDEBUGGER_DATA64; 0 when not known.
    pub debugger_data: Va,
    /// The machine's memory, not what the container holds; empty when not known.
    pub memory: Vec<PhysicalRun>,
    /// Physical pages of the machine.
    pub physical_pages: Option<u64>,
    /// 100 ns units since 1601-01-01 UTC.
    pub system_time: Option<u64>,
    /// 100 ns units since boot.
    pub uptime: Option<u64>,
}

impl Machine {
    /// What the header of a crash dump says.
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

    /// The highest frame the machine has, when its memory runs are known.
    pub fn highest_frame(&self) -> Option<Pfn> {
        let last = |run: &PhysicalRun| Pfn(run.first.0 + run.pages.saturating_sub(1));
        self.memory.iter().map(last).max()
    }
}
