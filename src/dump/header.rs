//! DUMP_HEADER64: the first 0x2000 bytes of a 64-bit dump.
//!
//! Field offsets are those of `mindumpdef.h` of the Windows SDK. The writer fills the header
//! with the dword "PAGE" before it sets fields. A field that still reads "PAGE" was never set
//! and is `None` here.

use crate::addr::{Pfn, Va};
use crate::bytes::{u32_at, u64_at};

use super::error::DumpError;

/// Bytes of the header; page data or the bitmap follow.
pub const HEADER_SIZE: usize = 0x2000;

const FILLER32: u32 = 0x4547_4150;
const FILLER64: u64 = 0x4547_4150_4547_4150;

const MACHINE_AMD64: u32 = 0x8664;
const MACHINE_ARM64: u32 = 0xaa64;
const MACHINE_IA64: u32 = 0x0200;

/// Number of runs that fit the 700 bytes of PhysicalMemoryBlockBuffer.
const MAX_RUNS: u32 = 42;

const ATTRIBUTE_INSUFFICIENT_SIZE: u32 = 1 << 2;
const ATTRIBUTE_LIVE: u32 = 1 << 4;
const ATTRIBUTE_FILTERED: u32 = 1 << 6;
const ATTRIBUTE_ENCRYPTED: u32 = 1 << 8;

/// LIVE_SYSTEM_DUMP, the bug check code of a dump of a running system.
const BUGCHECK_LIVE: u32 = 0x161;

/// A run of physical memory: the first frame and the number of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysicalRun {
    /// First frame.
    pub first: Pfn,
    /// Frames in the run.
    pub pages: u64,
}

/// The bug check, as WinDbg's `.bugcheck` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BugCheck {
    /// Stop code.
    pub code: u32,
    /// The four parameters.
    pub parameters: [u64; 4],
}

/// The header's data about the machine and the dump.
#[derive(Clone, Debug)]
pub struct Header {
    /// DumpType (0xF98): 1 full, 2 summary, 5 and 6 bitmap, 8, 9 and 0xA written by a debugger.
    pub dump_type: u32,
    /// MinorVersion (0x0C): the Windows build number.
    pub build: u32,
    /// MajorVersion (0x08): 15 for a free build, 12 for a checked one.
    pub major: u32,
    /// DirectoryTableBase (0x10) as stored; the low 12 bits are not address bits.
    pub directory_table: u64,
    /// PfnDataBase (0x18).
    pub pfn_database: Va,
    /// PsLoadedModuleList (0x20): the list head.
    pub loaded_modules: Va,
    /// PsActiveProcessHead (0x28): the list head.
    pub processes: Va,
    /// NumberProcessors (0x34).
    pub processors: u32,
    /// Bug check code and parameters (0x38, 0x40).
    pub bugcheck: BugCheck,
    /// KdDebuggerDataBlock (0x80): address of KDDEBUGGER_DATA64.
    pub debugger_data: Va,
    /// The machine's memory, not the memory stored in the dump; empty if unset or implausible.
    pub memory: Vec<PhysicalRun>,
    /// Number of physical pages: the sum of [`Header::memory`]; `None` if that is empty.
    pub physical_pages: Option<u64>,
    /// SystemTime (0xFA8): 100 ns units since 1601-01-01 UTC.
    pub system_time: Option<u64>,
    /// SystemUpTime (0x1030): 100 ns units.
    pub uptime: Option<u64>,
    /// Attributes (0x1050), 0 when unset.
    pub attributes: u32,
}

impl Header {
    /// Reads the header from the first bytes of a file.
    ///
    /// # Errors
    /// A [`DumpError`] that says what the file is, if it is not a 64-bit x64 kernel dump with
    /// pages.
    pub fn parse(bytes: &[u8]) -> Result<Header, DumpError> {
        if bytes.len() < HEADER_SIZE {
            return Err(DumpError::HeaderTruncated {
                length: bytes.len() as u64,
                needed: HEADER_SIZE as u64,
            });
        }
        let d = |offset| u32_at(bytes, offset).unwrap_or(0);
        let q = |offset| u64_at(bytes, offset).unwrap_or(0);
        let set64 = |offset| Some(q(offset)).filter(|&v| v != 0 && v != FILLER64);
        let attributes = Some(d(0x1050)).filter(|&v| v != FILLER32).unwrap_or(0);
        let memory = physical_runs(bytes);
        let header = Header {
            dump_type: d(0xf98),
            build: d(0x0c),
            major: d(0x08),
            directory_table: q(0x10),
            pfn_database: Va(q(0x18)),
            loaded_modules: Va(q(0x20)),
            processes: Va(q(0x28)),
            processors: d(0x34),
            bugcheck: BugCheck {
                code: d(0x38),
                parameters: [q(0x40), q(0x48), q(0x50), q(0x58)],
            },
            debugger_data: Va(q(0x80)),
            physical_pages: (!memory.is_empty()).then(|| memory.iter().map(|r| r.pages).sum()),
            memory,
            system_time: set64(0xfa8),
            uptime: set64(0x1030),
            attributes,
        };
        header.check_kind(d(0x30))?;
        Ok(header)
    }

    fn check_kind(&self, machine: u32) -> Result<(), DumpError> {
        let architecture = match machine {
            MACHINE_AMD64 => "x64",
            MACHINE_ARM64 => "ARM64",
            MACHINE_IA64 => "IA-64",
            _ => "an unknown processor's",
        };
        let build = self.build;
        match self.dump_type {
            4 => Err(DumpError::Triage {
                architecture,
                build,
                bugcheck: self.bugcheck.code,
            }),
            _ if machine != MACHINE_AMD64 => Err(DumpError::Architecture {
                architecture,
                build,
            }),
            3 => Err(DumpError::HeaderOnly),
            _ if self.attributes & ATTRIBUTE_ENCRYPTED != 0 => Err(DumpError::Encrypted),
            _ => Ok(()),
        }
    }

    /// True when the memory was copied from a running system, so that counters and lists may
    /// contradict each other.
    pub fn is_live(&self) -> bool {
        self.attributes & ATTRIBUTE_LIVE != 0 || self.bugcheck.code == BUGCHECK_LIVE
    }

    /// True for an active dump: free, standby and guest pages were left out.
    pub fn is_filtered(&self) -> bool {
        self.attributes & ATTRIBUTE_FILTERED != 0
    }

    /// True when the writer recorded that the dump file was too small.
    pub fn is_insufficient(&self) -> bool {
        self.attributes & ATTRIBUTE_INSUFFICIENT_SIZE != 0
    }

    /// The highest frame of the machine, if the memory runs are known.
    pub fn highest_frame(&self) -> Option<Pfn> {
        self.memory
            .iter()
            .map(|r| Pfn(r.first.0 + r.pages.saturating_sub(1)))
            .max()
    }
}

/// PHYSICAL_MEMORY_DESCRIPTOR64 at 0x88; empty if any part of it is implausible.
fn physical_runs(bytes: &[u8]) -> Vec<PhysicalRun> {
    let count = u32_at(bytes, 0x88).unwrap_or(0);
    if count == 0 || count > MAX_RUNS {
        return Vec::new();
    }
    let mut runs = Vec::with_capacity(count as usize);
    let mut next_free = 0u64;
    for i in 0..count as usize {
        let first = u64_at(bytes, 0x98 + i * 16).unwrap_or(u64::MAX);
        let pages = u64_at(bytes, 0xa0 + i * 16).unwrap_or(u64::MAX);
        let Some(end) = first.checked_add(pages).filter(|&e| e <= 1 << 40) else {
            return Vec::new();
        };
        if first < next_free {
            return Vec::new();
        }
        next_free = end;
        runs.push(PhysicalRun {
            first: Pfn(first),
            pages,
        });
    }
    runs
}
