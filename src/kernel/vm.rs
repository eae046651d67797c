//! The counters of `!vm`, and their location on each build.
//!
//! Up to Windows 8.1 they are variables of nt. From Windows 10 1607, they are fields of
//! `MiState` (`_MI_SYSTEM_INFORMATION`) and `MiSystemPartition` (`_MI_PARTITION`). The existing
//! names decide, not the build number. Without symbols, the debugger data block has the
//! addresses of most of them up to 8.1.

use rustc_hash::FxHashSet;

use crate::memory::Va;

use super::Kernel;
pub use super::counter::Counter;
use super::counter::Place::{self, Global, KdbgBytes, Partition, State};
use super::counter::Width::{Count, I32, U64};
use super::counter::counter;
use super::kdbg::field;
use super::sessions::{self, Session};
use super::vm_lines::{self, Extra};
use super::vm_nonpaged::{self, Part};

/// A page file. Sizes in pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PageFile {
    /// Its path; `None` if the text is not in the dump.
    pub path: Option<String>,
    /// True for the store of compressed memory, which has no name.
    pub nameless: bool,
    /// Size.
    pub current: Option<u64>,
    /// FreeSpace.
    pub free: Option<u64>,
    /// MinimumSize.
    pub minimum: Option<u64>,
    /// MaximumSize.
    pub maximum: Option<u64>,
    /// The location that was read, or the reason why it was not.
    pub source: String,
    /// A contradiction between its sizes, if any.
    pub doubt: Option<String>,
}

/// Every counter, in pages.
#[derive(Clone, Debug, Default)]
pub struct VmCounters {
    /// The machine's memory.
    pub physical_memory: Counter,
    /// Page files; `None` if their array can't be found.
    pub page_files: Option<Vec<PageFile>>,
    /// Zeroed, free and standby pages.
    pub available: Counter,
    /// Number of pages that could still be made resident.
    pub resident_available: Counter,
    /// No build since Vista has this counter; debuggers print 0.
    pub locked_io: Counter,
    /// Page-table entries available for mappings (one entry maps a page).
    pub free_system_ptes: Counter,
    /// Entries available for the growth of nonpaged pool: a line of NT 5.2 only.
    pub free_nonpaged_ptes: Option<Counter>,
    /// The modified list.
    pub modified: Counter,
    /// Pages of the modified list for a page file.
    pub modified_pf: Counter,
    /// Modified pages that must not be written yet (shown by Windows 10 and later).
    pub modified_no_write: Counter,
    /// Pages of nonpaged pool.
    pub nonpaged_usage: Counter,
    /// Pages of nonpaged pool according to its descriptor, on builds with a single descriptor.
    pub nonpaged_descriptor: Option<u64>,
    /// The maximum of nonpaged pool.
    pub nonpaged_max: Counter,
    /// Pages of each paged pool, in order; empty if the build has no descriptors.
    pub paged_pools: Vec<Counter>,
    /// Pages of all paged pools.
    pub paged_usage: Counter,
    /// The maximum of paged pool.
    pub paged_max: Counter,
    /// Committed by sessions.
    pub session_commit: Counter,
    /// Committed for shared memory.
    pub shared_commit: Counter,
    /// In use by special pool.
    pub special_pool: Counter,
    /// Committed for structures of processes.
    pub shared_process: Counter,
    /// Committed for paged pool.
    pub paged_commit: Counter,
    /// Committed for drivers.
    pub driver_commit: Counter,
    /// Total committed pages.
    pub committed: Counter,
    /// The commit limit.
    pub commit_limit: Counter,
    /// The parts of nonpaged pool, if known.
    pub nonpaged_parts: Vec<Part>,
    /// The lines added by Windows 10; empty before.
    pub extra: Vec<Extra>,
    /// Number of failed kernel stack growths; `None` if no such field is known, or it can't be
    /// read.
    pub stack_growth_failures: Option<u64>,
    /// True when the build has the lines of Windows 10, in their order.
    pub modern: bool,
}

const VISIBLE_STATE: &str = "_MI_VISIBLE_STATE";
const VISIBLE_PARTITION: &str = "_MI_VISIBLE_PARTITION";

/// Reads every counter.
pub fn read(kernel: &Kernel) -> VmCounters {
    let get = |places: &[Place]| counter(kernel, places);
    let vs = |name| State("Vs", VISIBLE_STATE, name);
    let vp = |name| Partition("Vp", VISIBLE_PARTITION, name);
    let paged_pools = paged_pools(kernel);
    let nonpaged_usage = get(&[
        Global(
            "MmAllocatedNonPagedPool",
            Some(field::ALLOCATED_NONPAGED),
            U64,
        ),
        State("Pools", "_MI_POOL_STATE", "AllocatedNonPagedPool"),
    ]);
    VmCounters {
        physical_memory: get(&[
            Global(
                "MmNumberOfPhysicalPages",
                Some(field::PHYSICAL_PAGES),
                Count,
            ),
            vp("NumberOfPhysicalPages"),
        ]),
        page_files: page_files(kernel),
        available: get(&[
            Global("MmAvailablePages", Some(field::AVAILABLE), U64),
            vp("AvailablePages"),
        ]),
        resident_available: get(&[
            Global(
                "MmResidentAvailablePages",
                Some(field::RESIDENT_AVAILABLE),
                U64,
            ),
            vp("ResidentAvailablePages"),
        ]),
        locked_io: locked_io(kernel),
        free_system_ptes: free_system_ptes(kernel),
        free_nonpaged_ptes: (kernel.build < VISTA).then(|| free_entries(kernel, 1)),
        modified: get(&[
            Global("MmModifiedPageListHead", Some(field::MODIFIED_LIST), U64),
            vp("ModifiedPageListHead"),
        ]),
        modified_pf: get(&[
            Global("MmTotalPagesForPagingFile", None, U64),
            vp("TotalPagesForPagingFile"),
        ]),
        modified_no_write: get(&[
            Global("MmModifiedNoWritePageListHead", None, U64),
            vp("ModifiedNoWritePageListHead"),
        ]),
        nonpaged_parts: vm_nonpaged::parts(kernel, &nonpaged_usage),
        nonpaged_usage,
        nonpaged_descriptor: nonpaged_descriptor(kernel),
        nonpaged_max: get(&[
            Global("MmMaximumNonPagedPoolInPages", None, U64),
            vs("MaximumNonPagedPoolInPages"),
            KdbgBytes(field::MAX_NONPAGED_BYTES),
        ]),
        paged_usage: paged_usage(kernel, &paged_pools),
        paged_pools,
        paged_max: get(&[
            Global("MmSizeOfPagedPoolInPages", None, U64),
            vs("SizeOfPagedPoolInPages"),
            KdbgBytes(field::PAGED_POOL_BYTES),
        ]),
        session_commit: session_commit(kernel),
        shared_commit: get(&[
            Global("MmSharedCommit", Some(field::SHARED_COMMIT), U64),
            vp("SharedCommit"),
            vs("SharedCommit"),
        ]),
        special_pool: special_pool(kernel),
        shared_process: get(&[
            Global("MmProcessCommit", Some(field::PROCESS_COMMIT), U64),
            vs("ProcessCommit"),
        ]),
        paged_commit: paged_commit(kernel),
        driver_commit: get(&[
            Global("MmDriverCommit", Some(field::DRIVER_COMMIT), I32),
            vs("DriverCommit"),
        ]),
        committed: get(&[
            Global("MmTotalCommittedPages", Some(field::COMMITTED), U64),
            vp("TotalCommittedPages"),
        ]),
        commit_limit: get(&[
            Global("MmTotalCommitLimit", Some(field::COMMIT_LIMIT), U64),
            vp("TotalCommitLimit"),
        ]),
        extra: vm_lines::read(kernel),
        stack_growth_failures: vm_lines::stack_growth_failures(kernel),
        modern: kernel.build >= vm_lines::FIRST,
    }
}

/// Number of descriptors in `ExpPagedPoolDescriptor`: 64 and the prototype pool.
const MAX_PAGED_POOLS: u64 = 65;

/// Reads ExpPagedPoolDescriptor[0..=ExpNumberOfPagedPools]: TotalPages + TotalBigPages, or the
/// differences of the four running counters on later builds.
fn paged_pools(kernel: &Kernel) -> Vec<Counter> {
    let found = || {
        let (array, _) = kernel.variable(
            "ExpPagedPoolDescriptor",
            Some(field::PAGED_POOL_DESCRIPTORS),
        )?;
        let (count, _) =
            kernel.variable("ExpNumberOfPagedPools", Some(field::NUMBER_OF_PAGED_POOLS))?;
        let count = u64::from(kernel.space.u32(count).ok()?);
        (count < MAX_PAGED_POOLS).then_some((array, count))
    };
    let Some((array, count)) = found() else {
        return Vec::new();
    };
    let pools: Vec<Counter> = (0..=count)
        .map(|i| {
            let source = format!("nt!ExpPagedPoolDescriptor[{i}]");
            match kernel.space.pointer(array.add(i * 8)) {
                Ok(at) if at.is_kernel() => descriptor_pages(kernel, at, source),
                Ok(at) => Counter {
                    pages: None,
                    source: format!("{source} holds {at}"),
                    ..Counter::default()
                },
                Err(fault) => Counter {
                    pages: None,
                    source: format!("{source}: {fault}"),
                    ..Counter::default()
                },
            }
        })
        .collect();
    // If the pools use segment heaps (1809, 1903), the descriptors exist but count nothing:
    // zero would not be the usage of any pool.
    match pools.iter().all(|pool| pool.pages == Some(0)) {
        true => Vec::new(),
        false => pools,
    }
}

/// Windows 8, which introduced the second nonpaged pool.
const FIRST_WITH_NX: u32 = 9200;

/// NonPagedPoolDescriptor: a single descriptor for nonpaged pool before Windows 8.
fn nonpaged_descriptor(kernel: &Kernel) -> Option<u64> {
    if kernel.build >= FIRST_WITH_NX {
        return None;
    }
    let (at, _) = kernel.variable("NonPagedPoolDescriptor", Some(field::NONPAGED_DESCRIPTOR))?;
    let pages = descriptor_pages(kernel, at, String::new()).pages?;
    Some(pages).filter(|pages| *pages > 0)
}

fn descriptor_pages(kernel: &Kernel, at: Va, source: String) -> Counter {
    let get = |name| kernel.field(at, "_POOL_DESCRIPTOR", name).ok();
    let difference = |plus, minus| Some(get(plus)?.wrapping_sub(get(minus)?));
    let totals = || Some(get("TotalPages")? + get("TotalBigPages")?);
    let running = || {
        let small = difference("PagesAllocated", "PagesDeallocated")?;
        Some(small.wrapping_add(difference("BigPagesAllocated", "BigPagesDeallocated")?))
    };
    Counter {
        pages: totals().or_else(running),
        source,
        ..Counter::default()
    }
}

/// Windows 10 1809: the first build whose pool may use segment heaps.
const FIRST_WITH_HEAPS: u32 = 17763;
/// Limit for page counts (4 PB).
const MOST_PAGES: u64 = 1 << 40;

fn paged_usage(kernel: &Kernel, pools: &[Counter]) -> Counter {
    // Saturating: damaged counters may have any value, and a later check rejects too large a
    // sum.
    let sum = pools
        .iter()
        .try_fold(0u64, |sum, pool| Some(sum.saturating_add(pool.pages?)));
    // From 1809, the descriptors count only pages of the legacy allocator. If segment heaps are
    // in use too, the memory manager's counter is larger and complete.
    if kernel.build >= FIRST_WITH_HEAPS {
        let whole = allocated_paged(kernel);
        if whole.pages > sum && whole.pages < Some(MOST_PAGES) {
            return whole;
        }
    }
    if let Some(sum) = sum.filter(|&sum| sum > 0) {
        return Counter {
            pages: Some(sum),
            source: "sum of the paged pool descriptors".into(),
            ..Counter::default()
        };
    }
    allocated_paged(kernel)
}

fn allocated_paged(kernel: &Kernel) -> Counter {
    let global = || {
        let at = kernel.symbol("MmPagedPoolInfo")?;
        let value = kernel
            .field(at, "_MM_PAGED_POOL_INFO", "AllocatedPagedPool")
            .ok()?;
        Some((value, "nt!MmPagedPoolInfo.AllocatedPagedPool"))
    };
    let state = || {
        let vs = kernel.visible_state().ok()?.at;
        let info = kernel.offset(VISIBLE_STATE, "PagedPoolInfo")?;
        let value = kernel
            .field(vs.add(info), "_MM_PAGED_POOL_INFO", "AllocatedPagedPool")
            .ok()?;
        Some((value, "nt!MiState.Vs.PagedPoolInfo.AllocatedPagedPool"))
    };
    // Windows 11 24H2 has the counter next to the nonpaged one.
    let direct = || {
        let vs = kernel.visible_state().ok()?.at;
        let value = kernel.field(vs, VISIBLE_STATE, "AllocatedPagedPool").ok()?;
        Some((value, "nt!MiState.Vs.AllocatedPagedPool"))
    };
    match global().or_else(state).or_else(direct) {
        Some((pages, source)) => Counter {
            pages: Some(pages),
            source: source.into(),
            ..Counter::default()
        },
        None => Counter {
            pages: None,
            source: "neither the pool descriptors nor the paged pool's own counter can be read"
                .into(),
            ..Counter::default()
        },
    }
}

/// MmPagedPoolCommit on Windows 7; later builds only have the allocated count, which debuggers
/// print on both lines.
fn paged_commit(kernel: &Kernel) -> Counter {
    let own = counter(
        kernel,
        &[Global(
            "MmPagedPoolCommit",
            Some(field::PAGED_POOL_COMMIT),
            U64,
        )],
    );
    match own.pages {
        Some(_) => own,
        None => allocated_paged(kernel),
    }
}

/// Since 1903, special pool is a heap and has no counter; debuggers print 0.
fn special_pool(kernel: &Kernel) -> Counter {
    const FIRST_WITH_HEAP: u32 = 18362;
    if kernel.build >= FIRST_WITH_HEAP {
        return Counter {
            pages: Some(0),
            source: "no counter since special pool is a heap; debuggers print 0".into(),
            ..Counter::default()
        };
    }
    let places = [
        Global("MmSpecialPagesInUse", None, U64),
        State("Vs", VISIBLE_STATE, "SpecialPagesInUse"),
    ];
    counter(kernel, &places)
}

/// The first build without the counters of NT 5.2.
const VISTA: u32 = 6000;

fn locked_io(kernel: &Kernel) -> Counter {
    match kernel.build < VISTA {
        true => Counter {
            pages: None,
            source: "no public source names the counter of this build".into(),
            ..Counter::default()
        },
        false => Counter {
            pages: Some(0),
            source: "no build keeps this counter; debuggers print 0".into(),
            ..Counter::default()
        },
    }
}

/// NT 5.2: MmTotalFreeSystemPtes, 32 bits each for mappings (0) and for nonpaged pool (1), as
/// in ReactOS.
fn free_entries(kernel: &Kernel, pool: u64) -> Counter {
    const NAME: &str = "MmTotalFreeSystemPtes";
    let source = format!("nt!{NAME}[{pool}]");
    let Some(at) = kernel.symbol(NAME) else {
        return Counter {
            pages: None,
            source: format!("no symbol leads to {NAME}"),
            ..Counter::default()
        };
    };
    match kernel.space.u32(at.add(pool * 4)) {
        Ok(entries) => Counter {
            pages: Some(entries.into()),
            source,
            ..Counter::default()
        },
        Err(fault) => Counter {
            pages: None,
            source: format!("{source}: {fault}"),
            ..Counter::default()
        },
    }
}

/// TotalFreeSystemPtes, cached entries, and the unused part of the region.
fn free_system_ptes(kernel: &Kernel) -> Counter {
    const TYPE: &str = "_MI_SYSTEM_PTE_TYPE";
    if kernel.build < VISTA {
        return free_entries(kernel, 0);
    }
    let state = || {
        let info = kernel.offset(VISIBLE_STATE, "SystemPteInfo")?;
        Some(kernel.visible_state().ok()?.at.add(info))
    };
    let Some(at) = kernel.symbol("MiSystemPteInfo").or_else(state) else {
        return Counter {
            pages: None,
            source: "no symbol leads to MiSystemPteInfo".into(),
            ..Counter::default()
        };
    };
    let get = |name| kernel.field(at, TYPE, name).ok();
    let Some(free) = get("TotalFreeSystemPtes") else {
        return Counter {
            pages: None,
            source: "MiSystemPteInfo can't be read".into(),
            ..Counter::default()
        };
    };
    // 128 GB of system PTE space up to Windows 7, 16 TB later.
    let region: u64 = if kernel.build < 9200 {
        1 << 25
    } else {
        1 << 32
    };
    let cached = get("CachedPteCount").unwrap_or(0);
    let handed_out = get("TotalSystemPtes").unwrap_or(0);
    let expandable = free <= handed_out && handed_out <= region;
    let rest = if expandable { region - handed_out } else { 0 };
    Counter {
        pages: Some(free.saturating_add(cached).saturating_add(rest)),
        source: match expandable {
            true => "MiSystemPteInfo: free, cached and not yet handed out".into(),
            false => "MiSystemPteInfo.TotalFreeSystemPtes".into(),
        },
        ..Counter::default()
    }
}

/// Limit for sessions on the list; terminal servers have hundreds.
const MAX_SESSIONS: usize = 65_536;

/// The same sum over the sessions of the processes, if the session list can't be found.
fn session_commit_by_processes(kernel: &Kernel) -> Counter {
    let found = sessions::find(kernel);
    let pages = |s: &Session| {
        let offset = kernel.offset("_MM_SESSION_SPACE", "CommittedPages")?;
        s.space.u64(s.at.add(offset)).ok()
    };
    let all: Option<Vec<u64>> = found.sessions.iter().map(pages).collect();
    match all.filter(|all| !all.is_empty() && found.notes.is_empty()) {
        Some(all) => Counter {
            pages: Some(all.iter().fold(0, |sum, n| sum.saturating_add(*n))),
            source: format!("sum over the {} sessions of the processes", all.len()),
            ..Counter::default()
        },
        None => Counter {
            pages: None,
            source:
                "no symbol leads to the session list, and the processes do not lead to all sessions"
                    .into(),
            ..Counter::default()
        },
    }
}

/// The sum of MM_SESSION_SPACE.CommittedPages over the session list.
fn session_commit(kernel: &Kernel) -> Counter {
    let failed = |source: String| Counter {
        pages: None,
        source,
        ..Counter::default()
    };
    let state = || {
        let list = kernel.offset(VISIBLE_STATE, "SessionWsList")?;
        Some(kernel.visible_state().ok()?.at.add(list))
    };
    let Some(head) = kernel.symbol("MiSessionWsList").or_else(state) else {
        return session_commit_by_processes(kernel);
    };
    let Some(link) = kernel.offset("_MM_SESSION_SPACE", "WsListEntry") else {
        return failed("the layout of _MM_SESSION_SPACE is not known".into());
    };
    let (mut total, mut at, mut sessions) = (0u64, head, 0usize);
    let mut seen = FxHashSet::default();
    loop {
        let next = match kernel.space.pointer(at) {
            Ok(next) => next,
            Err(fault) => {
                return failed(format!("the session list breaks after {sessions}: {fault}"));
            }
        };
        if next == head {
            break;
        }
        if !next.is_kernel() || sessions == MAX_SESSIONS || !seen.insert(next) {
            return failed(format!(
                "the session list is damaged after {sessions} sessions"
            ));
        }
        let session = Va(next.0.wrapping_sub(link));
        match kernel.field(session, "_MM_SESSION_SPACE", "CommittedPages") {
            Ok(pages) => total = total.saturating_add(pages),
            Err(_) => return failed(format!("a session's counters at {session} can't be read")),
        }
        sessions += 1;
        at = next;
    }
    Counter {
        pages: Some(total),
        source: format!("sum over {sessions} sessions of nt!MiSessionWsList"),
        ..Counter::default()
    }
}

/// Entries of MmPagingFile.
const MAX_PAGE_FILES: u64 = 16;

/// Reads the page files; `None` if the array can't be found. Unreadable entries keep their
/// position.
fn page_files(kernel: &Kernel) -> Option<Vec<PageFile>> {
    let (array, count) = match (
        kernel.symbol("MmPagingFile"),
        kernel.symbol("MmNumberOfPagingFiles"),
    ) {
        (Some(array), Some(count)) => (array, count),
        _ => {
            let partition = kernel.symbol("MiSystemPartition")?;
            let vp = partition.add(kernel.offset("_MI_PARTITION", "Vp")?);
            (
                vp.add(kernel.offset(VISIBLE_PARTITION, "PagingFile")?),
                vp.add(kernel.offset(VISIBLE_PARTITION, "NumberOfPagingFiles")?),
            )
        }
    };
    let count = u64::from(kernel.space.u32(count).ok()?);
    if count > MAX_PAGE_FILES {
        return None;
    }
    let unread = |why: String| PageFile {
        source: why,
        ..PageFile::default()
    };
    let file = |i: u64| match kernel.space.pointer(array.add(i * 8)) {
        Ok(at) if at.is_kernel() => page_file(kernel, at),
        Ok(at) => unread(format!("entry {i} of the page files holds {at}")),
        Err(fault) => unread(format!("entry {i} of the page files: {fault}")),
    };
    Some((0..count).map(file).collect())
}

fn page_file(kernel: &Kernel, at: Va) -> PageFile {
    const TYPE: &str = "_MMPAGING_FILE";
    let get = |name| kernel.field(at, TYPE, name).ok();
    let name = kernel
        .offset(TYPE, "PageFileName")
        .map(|offset| at.add(offset));
    let length = name.and_then(|name| kernel.space.u16(name).ok());
    let mut file = PageFile {
        path: name
            .and_then(|name| kernel.space.unicode_string(name, 260).ok())
            .filter(|p| !p.is_empty()),
        nameless: length == Some(0),
        current: get("Size"),
        free: get("FreeSpace"),
        minimum: get("MinimumSize"),
        maximum: get("MaximumSize"),
        source: format!("_MMPAGING_FILE at {at}"),
        doubt: None,
    };
    file.doubt = impossible_sizes(&file);
    file
}

/// Finds contradictions: the free size must not exceed the size, nor the size the maximum.
fn impossible_sizes(file: &PageFile) -> Option<String> {
    let above = |a: Option<u64>, b: Option<u64>| a.zip(b).is_some_and(|(a, b)| a > b);
    if above(file.free, file.current) {
        return Some("its free space is larger than its size".into());
    }
    // A maximum of 0 means no limit.
    let maximum = file.maximum.filter(|m| *m > 0);
    above(file.current, maximum).then(|| "it is larger than its maximum".into())
}
