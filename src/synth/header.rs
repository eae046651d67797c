//! The header of a 64-bit dump: `DUMP_HEADER64`, 0x2000 bytes.
//!
//! Field offsets are those of `mindumpdef.h` of the Windows SDK. Windows first fills the header
//! with the dword "PAGE", so unset fields contain it.

use crate::addr::{Pa, Va};

use super::physical::Run;

/// Bytes of the header.
pub const HEADER_SIZE: usize = 0x2000;
/// Number of runs that fit in PhysicalMemoryBlockBuffer.
const MAX_RUNS: usize = 42;

/// The content of the header.
#[derive(Clone, Debug)]
pub struct DumpHeader {
    /// MinorVersion: the build number.
    pub build: u32,
    /// DirectoryTableBase as stored, low bits included.
    pub directory_table: u64,
    /// PfnDataBase.
    pub pfn_database: Va,
    /// PsLoadedModuleList.
    pub loaded_modules: Va,
    /// PsActiveProcessHead.
    pub processes: Va,
    /// KdDebuggerDataBlock.
    pub debugger_data: Va,
    /// NumberProcessors.
    pub processors: u32,
    /// BugCheckCode and its parameters.
    pub bugcheck: (u32, [u64; 4]),
    /// Memory runs.
    pub runs: Vec<Run>,
    /// SystemTime: 100 ns units since 1601-01-01 UTC.
    pub system_time: u64,
    /// SystemUpTime: 100 ns units.
    pub uptime: u64,
    /// Rip of the context record.
    pub rip: Va,
    /// Rsp of the context record.
    pub rsp: Va,
    /// ProductType: 1 workstation, 2 domain controller, 3 server.
    pub product_type: u32,
    /// SuiteMask.
    pub suite_mask: u32,
    /// Attributes; `None` leaves the filler, as on Windows 7.
    pub attributes: Option<u32>,
    /// MachineImageType; 0x8664 for x64.
    pub machine: u32,
}

impl Default for DumpHeader {
    fn default() -> DumpHeader {
        DumpHeader {
            build: 7601,
            directory_table: Pa(0).0,
            pfn_database: Va(0),
            loaded_modules: Va(0),
            processes: Va(0),
            debugger_data: Va(0),
            processors: 1,
            bugcheck: (0xe2, [0; 4]),
            runs: Vec::new(),
            system_time: 0,
            uptime: 0,
            rip: Va(0),
            rsp: Va(0),
            product_type: 3,
            suite_mask: 0x110,
            attributes: None,
            machine: 0x8664,
        }
    }
}

impl DumpHeader {
    /// Encodes the header for a dump type and a required space in bytes.
    pub fn encode(&self, dump_type: u32, required_space: u64) -> Vec<u8> {
        let mut bytes = Bytes(b"PAGE".repeat(HEADER_SIZE / 4));
        bytes.put(0x04, b"DU64");
        bytes.u32(0x08, 15);
        bytes.u32(0x0c, self.build);
        bytes.u64(0x10, self.directory_table);
        bytes.u64(0x18, self.pfn_database.0);
        bytes.u64(0x20, self.loaded_modules.0);
        bytes.u64(0x28, self.processes.0);
        bytes.u32(0x30, self.machine);
        bytes.u32(0x34, self.processors);
        bytes.u32(0x38, self.bugcheck.0);
        for (i, parameter) in self.bugcheck.1.iter().enumerate() {
            bytes.u64(0x40 + i * 8, *parameter);
        }
        bytes.put(0x60, &[0]);
        bytes.u64(0x80, self.debugger_data.0);
        self.memory_block(&mut bytes);
        bytes.put(0x348, &self.context());
        self.exception(&mut bytes);
        bytes.u32(0xf98, dump_type);
        bytes.u64(0xfa0, required_space);
        bytes.u64(0xfa8, self.system_time);
        bytes.u64(0x1030, self.uptime);
        bytes.u32(0x1040, self.product_type);
        bytes.u32(0x1044, self.suite_mask);
        if let Some(attributes) = self.attributes {
            bytes.u32(0x1050, attributes);
        }
        bytes.0
    }

    fn memory_block(&self, bytes: &mut Bytes) {
        let runs = self.runs.get(..MAX_RUNS).unwrap_or(&self.runs);
        bytes.u32(0x88, runs.len() as u32);
        bytes.u64(0x90, runs.iter().map(|r| r.1).sum());
        for (i, (first, pages)) in runs.iter().enumerate() {
            bytes.u64(0x98 + i * 16, *first);
            bytes.u64(0xa0 + i * 16, *pages);
        }
    }

    /// EXCEPTION_RECORD64: a breakpoint at Rip.
    fn exception(&self, bytes: &mut Bytes) {
        bytes.put(0xf00, &[0; 0x98]);
        bytes.u32(0xf00, 0x8000_0003);
        bytes.u32(0xf04, 1);
        bytes.u64(0xf10, self.rip.0);
    }

    /// The processor's context (CONTEXT of the public symbols, 0x4D0 bytes), as stored in the
    /// header and in the crashing processor's control block.
    pub fn context(&self) -> Vec<u8> {
        let mut context = Bytes(vec![0; 0x4d0]);
        context.u32(0x30, 0x10_000f);
        context.u32(0x34, 0x1f80);
        context.put(
            0x38,
            &[0x10, 0, 0x2b, 0, 0x2b, 0, 0x53, 0, 0x2b, 0, 0x18, 0],
        );
        context.u32(0x44, 0x286);
        context.u64(0x80, u64::from(self.bugcheck.0));
        context.u64(0x98, self.rsp.0);
        context.u64(0xf8, self.rip.0);
        context.0
    }
}

/// A buffer for fields; writes outside of it are ignored.
#[derive(Clone, Debug, Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(to) = self.0.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }

    pub(super) fn u16(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
}
