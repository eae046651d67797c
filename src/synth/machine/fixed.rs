//! Structures at fixed addresses or outside of images and pools.

use crate::addr::{PAGE_SIZE, Pfn};
use crate::synth::processors;

use super::{
    Builder, DESCRIPTORS, FIRST_PROCESSORS, GIGABYTE, MEMORY_BLOCK, PROTOTYPES, SESSIONS,
    SHARED_USER_DATA, STACK_SIZE, STACKS, control_block,
};

/// `BootId` is in KUSER_SHARED_DATA from this build on, at +0x2C4.
const FIRST_WITH_BOOT_NUMBER: u32 = 14393;

impl Builder<'_> {
    /// Writes shared user data, the PFN database, descriptors, sessions, stacks.
    pub(super) fn fixed_mappings(&mut self) {
        let spec = self.spec;
        self.memory.map_new(SHARED_USER_DATA, 1);
        self.shared_user_data();
        self.frame_database();
        let pools = self.paged_pools();
        self.memory.map_new(DESCRIPTORS, pools * 2);
        self.memory
            .map_new(SESSIONS, spec.vm.session_commit.len() as u64 * 2);
        self.memory.map_new(PROTOTYPES, 1);
        self.memory.map_new(MEMORY_BLOCK, 1);
        self.memory_block();
        let prcb = spec.era.size("_KPRCB").unwrap_or(0);
        let inside = spec.era.offset("_KPCR", "Prcb").unwrap_or(0);
        let blocks = (inside + prcb).div_ceil(PAGE_SIZE);
        for cpu in 0..u64::from(spec.processors) {
            if cpu > 0 || self.nt.variable("KiInitialPCR").is_none() {
                let kpcr = control_block(cpu);
                self.memory.map_new(kpcr, blocks);
                if spec.era.is_nt52() {
                    let (behind, pages) = processors::OWN_LISTS;
                    self.memory.map_new(kpcr.add(behind), pages);
                }
            }
            if cpu < FIRST_PROCESSORS {
                self.memory
                    .map_new(STACKS.add(cpu * 2 * STACK_SIZE), STACK_SIZE / PAGE_SIZE);
            }
        }
        if spec.options.gigabyte_page {
            self.memory.map_1g(GIGABYTE, Pfn(0));
        }
        let mask = spec.options.invalid_mask;
        let own = self.nt.variable("MiInvalidPteMask");
        let nested = || self.nt.nested("MiState", "Hardware.InvalidPteMask");
        if let Some(at) = own.or_else(nested) {
            self.memory.u64(at, mask);
        }
    }

    /// Writes the PFN database. A small machine has all of it, in contiguous frames. On one with
    /// memory above 4 GB, gaps in memory have no pages in it, and its frames are scattered.
    fn frame_database(&mut self) {
        let frames = self.memory.physical.end();
        let size = self.spec.era.size("_MMPFN").unwrap_or(0x30);
        let base = self.pfn_database();
        if frames <= 1 << 20 {
            let pages = (frames * size).div_ceil(PAGE_SIZE);
            self.memory.map_new(base, pages);
            return;
        }
        let mut next = 0;
        for (first, count) in self.spec.runs.clone() {
            let start = (first * size / PAGE_SIZE).max(next);
            next = ((first + count) * size).div_ceil(PAGE_SIZE);
            for page in start..next {
                self.memory.map_new(base.add(page * PAGE_SIZE), 1);
            }
        }
    }

    pub(super) fn paged_pools(&self) -> u64 {
        self.spec.vm.paged_usage.len().max(1) as u64
    }

    fn shared_user_data(&mut self) {
        let at = |name| self.nt.field(SHARED_USER_DATA, "_KUSER_SHARED_DATA", name);
        let (root, product) = (at("NtSystemRoot"), at("NtProductType"));
        let (major, minor) = (at("NtMajorVersion"), at("NtMinorVersion"));
        let (pages, active) = (at("NumberOfPhysicalPages"), at("ActiveProcessorCount"));
        let (interrupt, system) = (at("InterruptTime"), at("SystemTime"));
        let path: Vec<u8> = "C:\\Windows"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        self.memory.write(root, &path);
        if let Some(offset) = self.nt.era.offset("_KUSER_SHARED_DATA", "NtBuildNumber") {
            let number = 0xf000_0000 | self.spec.era.build;
            self.memory.u32(SHARED_USER_DATA.add(offset), number);
        }
        self.memory.u32(product, 3);
        self.memory.u32(major, self.spec.era.version.0);
        self.memory.u32(minor, self.spec.era.version.1);
        self.memory.u32(pages, self.memory.physical.frames() as u32);
        if self
            .spec
            .era
            .offset("_KUSER_SHARED_DATA", "ActiveProcessorCount")
            .is_some()
        {
            self.memory.u32(active, self.spec.processors.into());
        }
        if let Some(offset) = self.nt.era.offset("_KUSER_SHARED_DATA", "Reserved1") {
            // The last address of 32-bit programs, by which Volatility 2 recognises the page.
            self.memory.u32(SHARED_USER_DATA.add(offset), 0x7ffe_ffff);
        }
        if self.spec.era.build >= FIRST_WITH_BOOT_NUMBER {
            self.memory
                .u32(SHARED_USER_DATA.add(0x2c4), self.spec.boot_number);
        }
        for (at, time) in [
            (interrupt, self.spec.uptime),
            (system, self.spec.system_time),
        ] {
            self.memory.u64(at, time);
            self.memory.u32(at.add(8), (time >> 32) as u32);
        }
    }

    /// Writes MmPhysicalMemoryBlock: the runs again, in nt's own format.
    fn memory_block(&mut self) {
        self.memory
            .pointer(self.nt.at("MmPhysicalMemoryBlock"), MEMORY_BLOCK);
        let runs = self.memory.physical.runs().to_vec();
        self.memory.u32(MEMORY_BLOCK, runs.len() as u32);
        self.memory
            .u64(MEMORY_BLOCK.add(8), self.memory.physical.frames());
        for (i, (first, pages)) in runs.iter().enumerate() {
            let at = MEMORY_BLOCK.add(0x10 + i as u64 * 16);
            self.memory.u64(at, *first);
            self.memory.u64(at.add(8), *pages);
        }
    }
}
