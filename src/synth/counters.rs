//! The counters behind `!vm`: variables of nt up to Windows 8.1.

use crate::memory::addr::{PAGE_SIZE, Va};

use super::kernel::Nt;
use super::paging::Memory;
use super::truth::{PageFileTruth, Pool, VmTruth};

/// Page-table entries of the system's mapping space on Windows 7: 128 GB.
const SYSTEM_PTES: u64 = 1 << 25;
/// Pages of it that the machine handed out, and of those cached per processor.
const SYSTEM_PTES_CACHED: u64 = 77;

/// Addresses that the counters need.
#[derive(Clone, Debug)]
pub struct Places {
    /// First address of nonpaged pool.
    pub nonpaged_start: Va,
    /// First address behind it.
    pub nonpaged_end: Va,
    /// Last byte of paged pool.
    pub paged_last: Va,
    /// The page frame database.
    pub pfn_database: Va,
    /// One POOL_DESCRIPTOR per paged pool.
    pub paged_descriptors: Vec<Va>,
    /// One MM_SESSION_SPACE per session.
    pub sessions: Vec<Va>,
    /// MMPAGING_FILE and its name.
    pub page_file: Option<(Va, Va)>,
    /// Lowest and highest frame.
    pub frames: (u64, u64),
}

/// Writes every counter.
pub fn write(memory: &mut Memory, nt: &Nt, vm: &VmTruth, places: &Places) {
    let paged: u64 = vm.paged_usage.iter().sum();
    let numbers = [
        ("MmNumberOfPhysicalPages", vm.physical_memory),
        ("MmLowestPhysicalPage", places.frames.0),
        ("MmHighestPhysicalPage", places.frames.1),
        ("MmAvailablePages", vm.available),
        ("MmResidentAvailablePages", vm.resident_available),
        ("MmModifiedPageListHead", vm.modified),
        ("MmTotalPagesForPagingFile", vm.modified_pf),
        ("MmAllocatedNonPagedPool", vm.nonpaged_usage),
        ("MmMaximumNonPagedPoolInPages", vm.nonpaged_max),
        ("MmMaximumNonPagedPoolInBytes", vm.nonpaged_max * PAGE_SIZE),
        ("MmSizeOfPagedPoolInPages", vm.paged_max),
        ("MmSizeOfPagedPoolInBytes", vm.paged_max * PAGE_SIZE),
        ("MmSharedCommit", vm.shared_commit),
        ("MmSpecialPagesInUse", vm.special_pool),
        ("MmProcessCommit", vm.shared_process),
        ("MmPagedPoolCommit", vm.paged_commit),
        ("MmTotalCommittedPages", vm.committed),
        ("MmPeakCommitment", vm.committed + vm.committed / 50),
        ("MmTotalCommitLimit", vm.commit_limit),
        ("MmTotalCommitLimitMaximum", vm.commit_limit * 2),
        ("MmNonPagedPoolStart", places.nonpaged_start.0),
        ("MiNonPagedPoolStartAligned", places.nonpaged_start.0),
        ("MiNonPagedPoolEnd", places.nonpaged_end.0),
        ("MmPagedPoolEnd", places.paged_last.0),
        ("MmPfnDatabase", places.pfn_database.0),
        ("MmHighestUserAddress", 0x7ff_fffe_ffff),
        ("MmSystemRangeStart", 0xffff_0800_0000_0000),
        ("MmUserProbeAddress", 0x7ff_ffff_0000),
    ];
    for (name, value) in numbers {
        memory.u64(nt.at(name), value);
    }
    memory.u32(nt.at("MmDriverCommit"), vm.driver_commit);
    let info = nt.at("MmPagedPoolInfo");
    let info = |name| nt.field(info, "_MM_PAGED_POOL_INFO", name);
    memory.u64(info("PagedPoolCommit"), vm.paged_commit);
    memory.u64(info("AllocatedPagedPool"), paged);
    system_ptes(memory, nt, vm.free_system_ptes);
    descriptors(memory, nt, vm, places);
    sessions(memory, nt, vm, places);
    if let (Some((file, name)), Some(truth)) = (places.page_file, vm.page_files.first()) {
        page_file(memory, nt, (file, name), truth);
    }
}

/// MiSystemPteInfo: entries handed out, and how many of them are free again.
fn system_ptes(memory: &mut Memory, nt: &Nt, free: u64) {
    let used = SYSTEM_PTES.saturating_sub(free);
    let handed_out = (used + used / 2 + SYSTEM_PTES_CACHED).next_multiple_of(512);
    let back = handed_out.saturating_sub(used + SYSTEM_PTES_CACHED);
    let at = nt.at("MiSystemPteInfo");
    let field = |name| nt.field(at, "_MI_SYSTEM_PTE_TYPE", name);
    memory.u32(field("TotalSystemPtes"), handed_out as u32);
    memory.u32(field("TotalFreeSystemPtes"), back as u32);
    memory.u32(field("CachedPteCount"), SYSTEM_PTES_CACHED as u32);
}

/// The nonpaged descriptor in nt and the paged ones, with their pages. Pages of small
/// blocks and of big allocations are told apart roughly.
fn descriptors(memory: &mut Memory, nt: &Nt, vm: &VmTruth, places: &Places) {
    let nonpaged = nt.at("NonPagedPoolDescriptor");
    descriptor(memory, nt, nonpaged, (Pool::NonPaged, 0), vm.nonpaged_usage);
    memory.pointer(nt.at("ExpNonPagedPoolDescriptor"), nonpaged);
    memory.u32(nt.at("ExpNumberOfNonPagedPools"), 1);
    memory.u32(
        nt.at("ExpNumberOfPagedPools"),
        places.paged_descriptors.len().saturating_sub(1) as u32,
    );
    memory.pointer(nt.at("PoolVector"), nonpaged);
    if let Some(first) = places.paged_descriptors.first() {
        memory.pointer(nt.at("PoolVector").add(8), *first);
    }
    for (i, at) in places.paged_descriptors.iter().enumerate() {
        let slot = nt.at("ExpPagedPoolDescriptor").add(i as u64 * 8);
        memory.pointer(slot, *at);
        let pages = vm.paged_usage.get(i).copied().unwrap_or(0);
        descriptor(memory, nt, *at, (Pool::Paged, i as u32), pages);
    }
}

fn descriptor(memory: &mut Memory, nt: &Nt, at: Va, (pool, index): (Pool, u32), pages: u64) {
    let field = |name| nt.field(at, "_POOL_DESCRIPTOR", name);
    let big = pages - pages / 8;
    memory.u32(field("PoolType"), u32::from(pool == Pool::Paged));
    memory.u32(field("PoolIndex"), index);
    memory.u32(field("TotalPages"), (pages - big) as u32);
    memory.u32(field("TotalBigPages"), big as u32);
    memory.u64(field("TotalBytes"), pages * PAGE_SIZE - pages * 100);
    memory.u32(field("RunningAllocs"), 1_000_000 + pages as u32);
    memory.u32(field("RunningDeAllocs"), 1_000_000);
}

fn sessions(memory: &mut Memory, nt: &Nt, vm: &VmTruth, places: &Places) {
    const TYPE: &str = "_MM_SESSION_SPACE";
    let links: Vec<Va> = places
        .sessions
        .iter()
        .map(|at| nt.field(*at, TYPE, "WsListEntry"))
        .collect();
    memory.ring(nt.at("MiSessionWsList"), &links);
    for (i, (at, committed)) in places.sessions.iter().zip(&vm.session_commit).enumerate() {
        let field = |name| nt.field(*at, TYPE, name);
        memory.u32(field("ReferenceCount"), 4);
        memory.u32(field("SessionId"), i as u32);
        memory.u64(field("CommittedPages"), *committed);
        memory.u64(field("PagedPoolStart"), 0xffff_f900_c000_0000);
        memory.u64(field("PagedPoolEnd"), 0xffff_f920_bfff_ffff);
    }
}

fn page_file(memory: &mut Memory, nt: &Nt, (at, name): (Va, Va), truth: &PageFileTruth) {
    let field = |name| nt.field(at, "_MMPAGING_FILE", name);
    memory.u32(nt.at("MmNumberOfPagingFiles"), 1);
    memory.pointer(nt.at("MmPagingFile"), at);
    memory.u64(field("Size"), truth.current);
    memory.u64(field("MaximumSize"), truth.maximum);
    memory.u64(field("MinimumSize"), truth.minimum);
    memory.u64(field("FreeSpace"), truth.free);
    memory.u64(field("PeakUsage"), truth.current.saturating_sub(truth.free));
    memory.u64(
        field("HighestPage"),
        truth.current.saturating_sub(truth.free),
    );
    memory.u16(field("PageFileNumber"), 0x10);
    memory.unicode_string(field("PageFileName"), name, &truth.path);
}
