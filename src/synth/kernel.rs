//! nt's own data: the debugger data block, the module list, processes, descriptors.
//!
//! The [`Era`] has the addresses of the variables. The layout of the debugger data block is
//! KDDEBUGGER_DATA64 of `wdbgexts.h` of the Windows SDK.

use crate::addr::{PAGE_SIZE, Pa, Va};

use super::era::Era;
use super::header::Bytes;
pub use super::nt::Nt;
use super::objects;
use super::paging::Memory;
use super::physical::Page;

/// Writes the version block and the debugger data block.
pub fn debugger_data(memory: &mut Memory, nt: &Nt) {
    let block = nt.at("KdDebuggerDataBlock");
    let list = nt.at("KdpDebuggerDataListHead");
    memory.write(block, &kdbg(nt).0);
    memory.ring(list, &[block]);
    let version = nt.at("KdVersionBlock");
    memory.u16(version, 15);
    memory.u16(version.add(2), nt.era.build as u16);
    memory.write(version.add(4), &[6, 2, 0x47, 0]);
    memory.u16(version.add(8), 0x8664);
    memory.write(version.add(10), &[0x0c, 0x03, 0x2d, 0]);
    memory.pointer(version.add(0x10), nt.base);
    memory.pointer(version.add(0x18), nt.at("PsLoadedModuleList"));
    memory.pointer(version.add(0x20), list);
    memory.u32(nt.at("CmNtCSDVersion"), nt.era.service_pack);
}

/// Constants in nt's code section: NtBuildLab and NtBuildNumber.
pub fn constants(era: &Era) -> Vec<(u32, Vec<u8>)> {
    let number = 0xf000_0000 | era.build;
    let named = [
        ("NtBuildLab", era.lab.as_bytes().to_vec()),
        ("NtBuildNumber", number.to_le_bytes().to_vec()),
    ];
    named
        .into_iter()
        .filter_map(|(name, bytes)| Some((era.rva(name)?, bytes)))
        .collect()
}

/// Fields with the address of a variable, a function or a list head.
const ADDRESSES: [(usize, &str); 58] = [
    (0x020, "DbgBreakPointWithStatus"),
    (0x038, "KiCallUserMode"),
    (0x048, "PsLoadedModuleList"),
    (0x050, "PsActiveProcessHead"),
    (0x058, "PspCidTable"),
    (0x060, "ExpSystemResourcesList"),
    (0x068, "ExpPagedPoolDescriptor"),
    (0x070, "ExpNumberOfPagedPools"),
    (0x078, "KeTimeIncrement"),
    (0x080, "KeBugCheckCallbackListHead"),
    (0x090, "IopErrorLogListHead"),
    (0x098, "ObpRootDirectoryObject"),
    (0x0a0, "ObpTypeObjectType"),
    (0x0c0, "MmPfnDatabase"),
    (0x0e0, "MmNumberOfPagingFiles"),
    (0x0e8, "MmLowestPhysicalPage"),
    (0x0f0, "MmHighestPhysicalPage"),
    (0x0f8, "MmNumberOfPhysicalPages"),
    (0x100, "MmMaximumNonPagedPoolInBytes"),
    (0x110, "MmNonPagedPoolStart"),
    (0x118, "MiNonPagedPoolEnd"),
    // The name up to Vista.
    (0x118, "MmNonPagedPoolEnd"),
    (0x120, "MmPagedPoolStart"),
    (0x128, "MmPagedPoolEnd"),
    (0x130, "MmPagedPoolInfo"),
    (0x140, "MmSizeOfPagedPoolInBytes"),
    (0x148, "MmTotalCommitLimit"),
    (0x150, "MmTotalCommittedPages"),
    (0x158, "MmSharedCommit"),
    (0x160, "MmDriverCommit"),
    (0x168, "MmProcessCommit"),
    (0x170, "MmPagedPoolCommit"),
    (0x180, "MmZeroedPageListHead"),
    (0x188, "MmFreePageListHead"),
    (0x190, "MmStandbyPageListHead"),
    (0x198, "MmModifiedPageListHead"),
    (0x1a0, "MmModifiedNoWritePageListHead"),
    (0x1a8, "MmAvailablePages"),
    (0x1b0, "MmResidentAvailablePages"),
    (0x1b8, "PoolTrackTable"),
    (0x1c0, "NonPagedPoolDescriptor"),
    (0x1c8, "MmHighestUserAddress"),
    (0x1d0, "MmSystemRangeStart"),
    (0x1d8, "MmUserProbeAddress"),
    (0x200, "MmLoadedUserImageList"),
    (0x208, "NtBuildLab"),
    (0x218, "KiProcessorBlock"),
    (0x220, "MmUnloadedDrivers"),
    (0x228, "MmLastUnloadedDriver"),
    (0x238, "MmSpecialPoolTag"),
    (0x248, "MmVerifierData"),
    (0x250, "MmAllocatedNonPagedPool"),
    (0x258, "MmPeakCommitment"),
    (0x260, "MmTotalCommitLimitMaximum"),
    (0x268, "CmNtCSDVersion"),
    (0x270, "MmPhysicalMemoryBlock"),
    (0x2d8, "KeLoaderBlock"),
    (0x320, "MmBadPagesDetected"),
];

fn kdbg(nt: &Nt) -> Bytes {
    let size = nt.era.debugger_data;
    let mut bytes = Bytes(vec![0; size]);
    bytes.put(0x10, b"KDBG");
    bytes.u32(0x14, size as u32);
    bytes.u64(0x18, nt.base.0);
    bytes.u64(0x138, PAGE_SIZE);
    for (at, name) in ADDRESSES {
        if nt.era.rva(name).is_some() {
            bytes.u64(at, nt.at(name).0);
        }
    }
    let of = |ty, name| nt.offset16(ty, name);
    let fields = [
        (0x29a, of("_KTHREAD", "Teb")),
        (0x29c, of("_KTHREAD", "KernelStack")),
        (0x29e, of("_KTHREAD", "InitialStack")),
        // ApcState.Process
        (0x2a0, of("_KTHREAD", "ApcState") + 0x20),
        (0x2a2, of("_KTHREAD", "State")),
        (0x2a8, nt.era.size("_EPROCESS").unwrap_or(0) as u16),
        (0x2aa, of("_EPROCESS", "Peb")),
        (0x2ac, of("_EPROCESS", "InheritedFromUniqueProcessId")),
        (0x2ae, of("_KPROCESS", "DirectoryTableBase")),
        (0x2b0, nt.era.size("_KPRCB").unwrap_or(0) as u16),
        (0x2b4, of("_KPRCB", "CurrentThread")),
        (0x2b6, of("_KPRCB", "MHz")),
        (0x2ba, of("_KPRCB", "VendorString")),
        (
            0x2bc,
            of("_KPRCB", "ProcessorState") + of("_KPROCESSOR_STATE", "ContextFrame"),
        ),
        (0x2be, of("_KPRCB", "Number")),
        (0x2e2, of("_KPCR", "Self")),
        (0x2e4, of("_KPCR", "CurrentPrcb")),
        (0x2e6, of("_KPCR", "Prcb")),
        (
            0x2f2,
            of("_KPRCB", "ProcessorState") + of("_KPROCESSOR_STATE", "SpecialRegisters"),
        ),
        (0x338, of("_KPRCB", "Context")),
    ];
    for (at, value) in fields {
        bytes.u16(at, value);
    }
    // Before Windows 10 1607, this is after the end of the block and is left out.
    bytes.u64(0x360, super::paging::PTE_BASE);
    bytes
}

/// A module in the loader's list.
#[derive(Clone, Debug)]
pub struct LoaderEntry {
    /// Address of the entry.
    pub at: Va,
    /// Address of its path.
    pub path_at: Va,
    /// The path.
    pub path: String,
    /// The file's name, stored after the entry.
    pub file: String,
    /// Base of the image.
    pub base: Va,
    /// SizeOfImage.
    pub size: u32,
    /// RVA of its entry point.
    pub entry_point: u32,
}

/// Offset of the file's name from a `_KLDR_DATA_TABLE_ENTRY`.
const NAME_BEHIND_ENTRY: u64 = 0xa0;
/// Size of a loader entry's block in bytes: header, entry, and a name of up to 32 characters.
pub const LOADER_BLOCK: u64 = 0x10 + NAME_BEHIND_ENTRY + 0x40;

/// Writes PsLoadedModuleList and its entries.
pub fn module_list(memory: &mut Memory, nt: &Nt, entries: &[LoaderEntry]) {
    const TYPE: &str = "_LDR_DATA_TABLE_ENTRY";
    let links: Vec<Va> = entries.iter().map(|e| e.at).collect();
    memory.ring(nt.at("PsLoadedModuleList"), &links);
    for entry in entries {
        let at = |name| nt.field(entry.at, TYPE, name);
        memory.pointer(at("DllBase"), entry.base);
        memory.pointer(at("EntryPoint"), entry.base.add(entry.entry_point.into()));
        memory.u32(at("SizeOfImage"), entry.size);
        memory.unicode_string(at("FullDllName"), entry.path_at, &entry.path);
        memory.unicode_string(
            at("BaseDllName"),
            entry.at.add(NAME_BEHIND_ENTRY),
            &entry.file,
        );
        memory.u32(at("Flags"), 0x0910_4000);
        // The public type of 8.1 is that of user mode, which lacks these fields.
        if nt.era.offset(TYPE, "CheckSum").is_some() {
            memory.u16(at("LoadCount"), 1);
            memory.u32(at("CheckSum"), entry.size ^ 0x1_2345);
        }
    }
}

/// Writes MmUnloadedDrivers: 50 entries of name, start, end and time, filled from the start.
pub fn unloaded_drivers(
    memory: &mut Memory,
    nt: &Nt,
    array: Va,
    drivers: &[(String, Va, Va, u32)],
    now: u64,
) {
    memory.pointer(nt.at("MmUnloadedDrivers"), array);
    memory.u32(nt.at("MmLastUnloadedDriver"), drivers.len() as u32);
    for (i, (file, name_at, base, size)) in drivers.iter().enumerate() {
        let at = array.add(i as u64 * UNLOADED_SIZE);
        memory.unicode_string(at, *name_at, file);
        memory.pointer(at.add(0x10), *base);
        memory.pointer(at.add(0x18), base.add((*size).into()));
        // Unloaded some minutes before the dump.
        let ago = (drivers.len() - i) as u64 * 40 * 60 * 10_000_000;
        memory.u64(at.add(0x20), now.saturating_sub(ago));
    }
}

const UNLOADED_SIZE: u64 = 0x28;
/// Size in bytes of the block with the array of unloaded drivers.
pub const UNLOADED_BLOCK: u64 = 0x10 + 50 * UNLOADED_SIZE;

/// A process in the active list.
#[derive(Clone, Debug)]
pub struct Process {
    /// Image name, up to 14 characters.
    pub name: String,
    /// Process identifier.
    pub id: u64,
    /// Process identifier of its creator.
    pub parent: u64,
    /// Body address of the object's block.
    pub body: Va,
    /// The OBJECT_TYPE of processes.
    pub object_type: Va,
    /// Its page-table root.
    pub root: Pa,
    /// FILETIME of its creation.
    pub created: u64,
    /// Its handle table, if it has one.
    pub handles: Option<Va>,
    /// Buffer for the path of its image.
    pub image_path: Option<Va>,
}

/// Address of the environment block in processes.
pub const PEB: Va = Va(0x7ff_dead_0000);
/// STATUS_PENDING: the exit status of a running process.
const PENDING: u32 = 0x103;

/// Writes fields that tools check in a process: handles, image path, address space.
fn environment(memory: &mut Memory, nt: &Nt, process: &Process) {
    let field = |name| nt.field(process.object(), "_EPROCESS", name);
    let (Some(handles), Some(path)) = (process.handles, process.image_path) else {
        return;
    };
    memory.pointer(field("ObjectTable"), handles);
    memory.u32(field("ExitStatus"), PENDING);
    memory.pointer(field("VadRoot"), handles.add(0x40));
    memory.pointer(field("SeAuditProcessCreationInfo"), path);
    let text = format!("\\Device\\HarddiskVolume2\\{}", process.name);
    memory.unicode_string(path, path.add(0x10), &text);
    if process.id != SYSTEM_ID {
        memory.pointer(field("Peb"), PEB);
    }
}

/// Writes the version numbers of a PEB: OSMajorVersion, OSMinorVersion, OSBuildNumber (public
/// symbols; the same offsets on all x64 versions).
pub fn environment_block(page: &mut Page, era: &Era) {
    let numbers = [
        (0x118, era.version.0),
        (0x11c, era.version.1),
        (0x120, era.build),
    ];
    for (at, number) in numbers {
        if let Some(to) = page.get_mut(at..at + 4) {
            to.copy_from_slice(&number.to_le_bytes());
        }
    }
}

/// Process identifier of System.
const SYSTEM_ID: u64 = 4;

/// Quota information and OBJECT_HEADER precede the process.
const OBJECT_AT: u64 = 0x20;
/// Size of a process's block in bytes.
pub fn process_block(era: &Era) -> u64 {
    let object = era.size("_EPROCESS").unwrap_or(0);
    (0x10 + OBJECT_AT + 0x30 + object).next_multiple_of(16)
}

impl Process {
    /// Address of its EPROCESS.
    pub fn object(&self) -> Va {
        self.body.add(OBJECT_AT + 0x30)
    }
}

/// Writes PsActiveProcessHead and the processes; the first is System.
pub fn processes(memory: &mut Memory, nt: &Nt, processes: &[Process]) {
    const TYPE: &str = "_EPROCESS";
    let link = |p: &Process| nt.field(p.object(), TYPE, "ActiveProcessLinks");
    let links: Vec<Va> = processes.iter().map(link).collect();
    memory.ring(nt.at("PsActiveProcessHead"), &links);
    if let Some(system) = processes.first() {
        memory.pointer(nt.at("PsInitialSystemProcess"), system.object());
    }
    for process in processes {
        let header = process.body.add(OBJECT_AT);
        let body = process.object();
        let at = |name| nt.field(body, TYPE, name);
        memory.u64(nt.field(header, "_OBJECT_HEADER", "PointerCount"), 120);
        memory.u64(nt.field(header, "_OBJECT_HEADER", "HandleCount"), 3);
        let ty = (objects::PROCESS, process.object_type);
        objects::mark(memory, nt, header, ty, [0, 0x08, 0]);
        // The dispatcher header of a running process.
        memory.write(body, &[3, 0, 0x58, 0, 0, 0, 0, 0]);
        memory.u64(
            nt.field(body, "_KPROCESS", "DirectoryTableBase"),
            process.root.0,
        );
        memory.u64(at("UniqueProcessId"), process.id);
        if nt
            .era
            .offset(TYPE, "InheritedFromUniqueProcessId")
            .is_some()
        {
            memory.u64(at("InheritedFromUniqueProcessId"), process.parent);
        }
        memory.u64(at("CreateTime"), process.created);
        memory.u64(at("CommitCharge"), 200 + process.id);
        let mut name = process.name.clone().into_bytes();
        name.resize(15, 0);
        memory.write(at("ImageFileName"), &name);
        if nt.era.offset(TYPE, "ThreadListHead").is_some() {
            memory.ring(at("ThreadListHead"), &[]);
        }
        environment(memory, nt, process);
    }
}
