//! The counters of `!vm`: variables of nt up to Windows 8.1, later fields of `MiState` and
//! `MiSystemPartition`.

use crate::addr::{PAGE_SIZE, Va};

use super::kernel::Nt;
use super::paging::Memory;
use super::truth::{PageFileTruth, Pool, VmTruth};

/// Page-table entries of the system's mapping space: 128 GB on Windows 7, 16 TB later.
fn system_pte_space(nt: &Nt) -> u64 {
    match nt.era.build {
        ..9200 => 1 << 25,
        _ => 1 << 32,
    }
}
/// Number of these entries that are cached per processor.
const SYSTEM_PTES_CACHED: u64 = 77;

/// Addresses for the counters.
#[derive(Clone, Debug)]
pub struct Places {
    /// First address of nonpaged pool.
    pub nonpaged_start: Va,
    /// First address after nonpaged pool.
    pub nonpaged_end: Va,
    /// Last byte of paged pool.
    pub paged_last: Va,
    /// The page frame database.
    pub pfn_database: Va,
    /// One POOL_DESCRIPTOR per paged pool.
    pub paged_descriptors: Vec<Va>,
    /// True when the pools use segment heaps.
    pub heaps: bool,
    /// First address of paged pool.
    pub paged_start: Va,
    /// One MM_SESSION_SPACE per session.
    pub sessions: Vec<Va>,
    /// Each MMPAGING_FILE and its name.
    pub page_files: Vec<(Va, Va)>,
    /// Lowest and highest frame.
    pub frames: (u64, u64),
}

/// Writes every counter.
pub fn write(memory: &mut Memory, nt: &Nt, vm: &VmTruth, places: &Places) {
    let paged: u64 = vm.paged_usage.iter().sum();
    let numbers = [
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
        ("MmNonPagedPoolEnd", places.nonpaged_end.0),
        ("MmPagedPoolStart", places.paged_start.0),
        ("MiPagedPoolStart", places.paged_start.0),
        ("MmPagedPoolEnd", places.paged_last.0),
        ("MmPteBase", super::paging::PTE_BASE),
        ("MmPfnDatabase", places.pfn_database.0),
        ("MmHighestUserAddress", 0x7ff_fffe_ffff),
        ("MmSystemRangeStart", 0xffff_0800_0000_0000),
        ("MmUserProbeAddress", 0x7ff_ffff_0000),
    ];
    for (name, value) in numbers {
        if let Some(at) = nt.variable(name) {
            memory.u64(at, value);
        }
    }
    if let Some(at) = nt.variable("MmNumberOfPhysicalPages") {
        match nt.era.is_nt52() {
            true => memory.u32(at, vm.physical_memory as u32),
            false => memory.u64(at, vm.physical_memory),
        }
    }
    if let Some(at) = nt.variable("MmDriverCommit") {
        memory.u32(at, vm.driver_commit);
    }
    if let Some(info) = nt.variable("MmPagedPoolInfo") {
        for (name, pages) in [
            ("PagedPoolCommit", vm.paged_commit),
            ("AllocatedPagedPool", paged),
        ] {
            if let Some(offset) = nt.era.offset("_MM_PAGED_POOL_INFO", name) {
                memory.u64(info.add(offset), pages);
            }
        }
    }
    state(memory, nt, vm, places);
    system_ptes(memory, nt, vm.free_system_ptes);
    if nt.variable("NonPagedPoolDescriptor").is_some() {
        // If the pools use heaps, descriptors exist but count nothing.
        let unused = VmTruth {
            paged_usage: vec![0; vm.paged_usage.len()],
            ..VmTruth::default()
        };
        descriptors(memory, nt, if places.heaps { &unused } else { vm }, places);
    }
    sessions(memory, nt, vm, places);
    page_files(memory, nt, vm, places);
    commitments(memory, nt);
}

/// `MiState` and `MiSystemPartition`, if the era has them.
fn state(memory: &mut Memory, nt: &Nt, vm: &VmTruth, places: &Places) {
    let paged: u64 = vm.paged_usage.iter().sum();
    let numbers = [
        ("MiState", "Pools.AllocatedNonPagedPool", vm.nonpaged_usage),
        ("MiState", "Vs.PagedPoolInfo.AllocatedPagedPool", paged),
        ("MiState", "Vs.AllocatedPagedPool", paged),
        ("MiState", "Vs.MaximumNonPagedPoolInPages", vm.nonpaged_max),
        ("MiState", "Vs.SizeOfPagedPoolInPages", vm.paged_max),
        ("MiState", "Vs.ProcessCommit", vm.shared_process),
        ("MiState", "Vs.SpecialPagesInUse", vm.special_pool),
        ("MiState", "Vs.NonPagedPoolCommit", vm.nonpaged_usage + 3),
        (
            "MiSystemPartition",
            "Vp.NumberOfPhysicalPages",
            vm.physical_memory,
        ),
        ("MiSystemPartition", "Vp.AvailablePages", vm.available),
        (
            "MiSystemPartition",
            "Vp.ResidentAvailablePages",
            vm.resident_available,
        ),
        ("MiSystemPartition", "Vp.ModifiedPageListHead", vm.modified),
        (
            "MiSystemPartition",
            "Vp.TotalPagesForPagingFile",
            vm.modified_pf,
        ),
        ("MiSystemPartition", "Vp.TotalCommittedPages", vm.committed),
        ("MiSystemPartition", "Vp.TotalCommitLimit", vm.commit_limit),
    ];
    for (symbol, path, value) in numbers {
        if let Some(at) = nt.nested(symbol, path) {
            memory.u64(at, value);
        }
    }
    let shared = [
        ("MiState", "Vs.SharedCommit"),
        ("MiSystemPartition", "Vp.SharedCommit"),
    ];
    for (symbol, path) in shared {
        if let Some(at) = nt.nested(symbol, path) {
            memory.u64(at, vm.shared_commit);
        }
    }
    if let Some(at) = nt.nested("MiState", "Vs.DriverCommit") {
        memory.u32(at, vm.driver_commit);
    }
    regions(memory, nt, places);
}

/// `_MI_SYSTEM_VA_TYPE` of the 512 GB slots of the pools.
const VA_TYPES: (u8, u8) = (5, 6);

/// SystemVaRegions and, if it exists, the type of each 512 GB slot.
fn regions(memory: &mut Memory, nt: &Nt, places: &Places) {
    let Some(table) = nt.nested("MiState", "Vs.SystemVaRegions") else {
        return;
    };
    const SIZE: u64 = 0x10;
    let pools = [
        (
            "NonPagedPool",
            VA_TYPES.0,
            places.nonpaged_start,
            places.nonpaged_end,
        ),
        (
            "PagedPool",
            VA_TYPES.1,
            places.paged_start,
            places.paged_last.add(1),
        ),
    ];
    for (name, va_type, start, end) in pools {
        let Some(index) = nt.era.offset("_MI_ASSIGNED_REGION_TYPES", name) else {
            continue;
        };
        let at = table.add(index * SIZE);
        memory.pointer(at, start);
        memory.u64(at.add(8), end.0 - start.0);
        let Some(types) = nt.nested("MiState", "Vs.SystemVaType") else {
            continue;
        };
        let slot = |va: u64| va >> 39 & 0xff;
        for slot in slot(start.0)..=slot(end.0 - 1) {
            memory.write(types.add(slot), &[va_type]);
        }
    }
}

/// MiSystemPteInfo: allocated entries, and the number of freed ones among them.
fn system_ptes(memory: &mut Memory, nt: &Nt, free: u64) {
    let used = system_pte_space(nt).saturating_sub(free);
    let handed_out = (used + used / 2 + SYSTEM_PTES_CACHED).next_multiple_of(512);
    let back = handed_out.saturating_sub(used + SYSTEM_PTES_CACHED);
    // Without a counter, no entries are cached per processor.
    let cached = nt.era.offset("_MI_SYSTEM_PTE_TYPE", "CachedPteCount");
    let counts = [
        ("TotalSystemPtes", handed_out),
        (
            "TotalFreeSystemPtes",
            back + if cached.is_none() {
                SYSTEM_PTES_CACHED
            } else {
                0
            },
        ),
        ("CachedPteCount", SYSTEM_PTES_CACHED),
    ];
    for (name, count) in counts {
        let variable = nt.variable("MiSystemPteInfo").and_then(|at| {
            let offset = nt.era.offset("_MI_SYSTEM_PTE_TYPE", name)?;
            Some(at.add(offset))
        });
        let nested = nt.nested("MiState", &format!("Vs.SystemPteInfo.{name}"));
        // 32 bits wide up to Windows 7; the value always fits.
        if let Some(at) = variable.or(nested) {
            memory.u32(at, count as u32);
        }
    }
}

/// Writes the page counts of the nonpaged descriptor in nt and of the paged ones. The split
/// between small blocks and big allocations is approximate.
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
    if pages == 0 {
        return;
    }
    if nt.era.offset("_POOL_DESCRIPTOR", "TotalPages").is_none() {
        // Running counters; their differences are the values.
        for (name, count) in [
            ("PagesAllocated", 70_000 + pages - big),
            ("PagesDeallocated", 70_000),
            ("BigPagesAllocated", 9000 + big),
            ("BigPagesDeallocated", 9000),
        ] {
            memory.u64(field(name), count);
        }
        return;
    }
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
    let head = nt
        .variable("MiSessionWsList")
        .or_else(|| nt.nested("MiState", "Vs.SessionWsList"));
    if let Some(head) = head {
        memory.ring(head, &links);
    }
    for (i, (at, committed)) in places.sessions.iter().zip(&vm.session_commit).enumerate() {
        let field = |name| nt.field(*at, TYPE, name);
        memory.u32(field("ReferenceCount"), 4);
        memory.u32(field("SessionId"), i as u32);
        memory.u64(field("CommittedPages"), *committed);
        memory.u64(field("PagedPoolStart"), 0xffff_f900_c000_0000);
        memory.u64(field("PagedPoolEnd"), 0xffff_f920_bfff_ffff);
    }
}

/// Lines of Windows 10 with the same numbers on every machine that is built.
pub const COMMITMENTS: [(&str, &str, u64); 13] = [
    ("MiState", "Vs.MdlPagesAllocated", 41),
    ("MiState", "Vs.ContiguousPagesAllocated", 64),
    ("MiState", "Vs.BootCommit", 1203),
    ("MiState", "Vs.PfnDatabaseCommit", 771),
    ("MiState", "Vs.SmallNonPagedPtesCommit", 19),
    ("MiState", "Vs.SystemPageTableCommit", 887),
    ("MiState", "Vs.PagefileHashPages", 6),
    ("MiSystemPartition", "Vp.MdlPagesAllocated", 41),
    ("MiSystemPartition", "Vp.ContiguousPagesAllocated", 64),
    ("MiSystemPartition", "Vp.VadPhysicalPages", 13),
    ("MiSystemPartition", "Vp.SlabAllocatorPages", 512),
    ("MiSystemPartition", "Vp.ProcessLockedFilePages", 7),
    (
        "MiSystemPartition",
        "Vp.SecureKernelPagesFromNonChargedSlabs",
        3,
    ),
];

/// Number of failed kernel stack growths.
pub const STACK_GROWTH_FAILURES: u32 = 3;

fn commitments(memory: &mut Memory, nt: &Nt) {
    if let Some(at) = nt.nested("MiState", "SystemPtes.StackGrowthFailures") {
        memory.u32(at, STACK_GROWTH_FAILURES);
    }
    for (symbol, path, value) in COMMITMENTS {
        if let Some(at) = nt.nested(symbol, path) {
            memory.u64(at, value);
        }
    }
}

fn page_files(memory: &mut Memory, nt: &Nt, vm: &VmTruth, places: &Places) {
    let place = |name, path| {
        nt.variable(name)
            .or_else(|| nt.nested("MiSystemPartition", path))
    };
    if let Some(count) = place("MmNumberOfPagingFiles", "Vp.NumberOfPagingFiles") {
        memory.u32(count, places.page_files.len() as u32);
    }
    let array = place("MmPagingFile", "Vp.PagingFile");
    let files = places.page_files.iter().zip(&vm.page_files).enumerate();
    for (i, (&(file, name), truth)) in files {
        if let Some(array) = array {
            memory.pointer(array.add(i as u64 * 8), file);
        }
        page_file(memory, nt, (file, name), truth);
    }
}

fn page_file(memory: &mut Memory, nt: &Nt, (at, name): (Va, Va), truth: &PageFileTruth) {
    let field = |name| nt.field(at, "_MMPAGING_FILE", name);
    let used = truth.current.saturating_sub(truth.free);
    let wide = field("MaximumSize").0 - field("Size").0 == 8;
    for (name, pages) in [
        ("Size", truth.current),
        ("MaximumSize", truth.maximum),
        ("MinimumSize", truth.minimum),
        ("FreeSpace", truth.free),
        ("PeakUsage", used),
    ] {
        // 64 bits wide up to Windows 11 21H2, 32 later.
        match wide {
            true => memory.u64(field(name), pages),
            false => memory.u32(field(name), pages as u32),
        }
    }
    memory.u16(field("PageFileNumber"), 0x10);
    // The store of compressed memory has no name.
    if !truth.path.is_empty() {
        memory.unicode_string(field("PageFileName"), name, &truth.path);
    }
}
