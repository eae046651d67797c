//! KDDEBUGGER_DATA64: the block of addresses and offsets that Windows keeps for debuggers.
//!
//! Field offsets are those of `wdbgexts.h` of the Windows SDK. A field exists only if the
//! block's own size includes it; 0 means "not set".

use crate::bytes::{u16_at, u32_at, u64_at};
use crate::memory::{AddressSpace, Fault, Va};

/// Field offsets in bytes. "Variable" fields contain the address of a kernel variable, "value"
/// fields the value itself.
pub mod field {
    /// KernBase, a value: base of nt.
    pub const KERN_BASE: usize = 0x18;
    /// PsLoadedModuleList, the address of the list head.
    pub const LOADED_MODULES: usize = 0x48;
    /// PsActiveProcessHead, the address of the list head.
    pub const ACTIVE_PROCESSES: usize = 0x50;
    /// ExpPagedPoolDescriptor, address of an array of descriptor pointers.
    pub const PAGED_POOL_DESCRIPTORS: usize = 0x68;
    /// ExpNumberOfPagedPools, a variable (u32).
    pub const NUMBER_OF_PAGED_POOLS: usize = 0x70;
    /// KiBugcheckData, a variable: code and four parameters, 8 bytes each.
    pub const BUGCHECK_DATA: usize = 0x88;
    /// MmPfnDatabase, a variable (pointer).
    pub const PFN_DATABASE: usize = 0xc0;
    /// MmPhysicalMemoryBlock, a variable (pointer).
    pub const PHYSICAL_MEMORY_BLOCK: usize = 0x270;
    /// MmNumberOfPhysicalPages, a variable.
    pub const PHYSICAL_PAGES: usize = 0xf8;
    /// MmMaximumNonPagedPoolInBytes, a variable in bytes.
    pub const MAX_NONPAGED_BYTES: usize = 0x100;
    /// MmNonPagedPoolStart, a variable.
    pub const NONPAGED_START: usize = 0x110;
    /// MmNonPagedPoolEnd, a variable.
    pub const NONPAGED_END: usize = 0x118;
    /// MmPagedPoolStart, a variable.
    pub const PAGED_START: usize = 0x120;
    /// MmPagedPoolEnd, a variable.
    pub const PAGED_END: usize = 0x128;
    /// MmSizeOfPagedPoolInBytes, a variable in bytes.
    pub const PAGED_POOL_BYTES: usize = 0x140;
    /// MmTotalCommitLimit, a variable.
    pub const COMMIT_LIMIT: usize = 0x148;
    /// MmTotalCommittedPages, a variable.
    pub const COMMITTED: usize = 0x150;
    /// MmSharedCommit, a variable.
    pub const SHARED_COMMIT: usize = 0x158;
    /// MmDriverCommit, a variable (i32).
    pub const DRIVER_COMMIT: usize = 0x160;
    /// MmProcessCommit, a variable.
    pub const PROCESS_COMMIT: usize = 0x168;
    /// MmPagedPoolCommit, a variable.
    pub const PAGED_POOL_COMMIT: usize = 0x170;
    /// MmModifiedPageListHead, a variable (`_MMPFNLIST`, Total first).
    pub const MODIFIED_LIST: usize = 0x198;
    /// MmAvailablePages, a variable.
    pub const AVAILABLE: usize = 0x1a8;
    /// MmResidentAvailablePages, a variable.
    pub const RESIDENT_AVAILABLE: usize = 0x1b0;
    /// PoolTrackTable: the address of the variable that points to the table.
    pub const POOL_TRACK_TABLE: usize = 0x1b8;
    /// NonPagedPoolDescriptor.
    pub const NONPAGED_DESCRIPTOR: usize = 0x1c0;
    /// NtBuildLab: the address of a zero-terminated text.
    pub const NT_BUILD_LAB: usize = 0x208;
    /// KiProcessorBlock: the address of an array of KPRCB pointers.
    pub const PROCESSOR_BLOCK: usize = 0x218;
    /// MmUnloadedDrivers, a variable (pointer to an array).
    pub const UNLOADED_DRIVERS: usize = 0x220;
    /// MmSpecialPoolTag, a variable (u32).
    pub const SPECIAL_POOL_TAG: usize = 0x238;
    /// MmVerifierData.
    pub const VERIFIER_DATA: usize = 0x248;
    /// MmAllocatedNonPagedPool, a variable.
    pub const ALLOCATED_NONPAGED: usize = 0x250;
    /// SizeEProcess, a value (u16): size of `_EPROCESS` in bytes.
    pub const SIZE_OF_PROCESS: usize = 0x2a8;
    /// SizePrcb, a value (u16): size of `_KPRCB` in bytes.
    pub const SIZE_OF_PROCESSOR: usize = 0x2b0;
    /// SizeEThread, a value (u16): size of `_ETHREAD` in bytes.
    pub const SIZE_OF_THREAD: usize = 0x2c0;
    /// PteBase, a value: base of the page-table self-map (Windows 10 1607 and later).
    pub const PTE_BASE: usize = 0x360;
}

const TAG: u32 = u32::from_le_bytes(*b"KDBG");
const MIN_SIZE: usize = 0x220;
/// Size limit in bytes: twice the largest known block.
const MAX_SIZE: usize = 0x800;

/// The complete block.
#[derive(Clone, Debug)]
pub struct Kdbg {
    bytes: Vec<u8>,
}

/// The reason why there is no usable block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KdbgError {
    /// Its page can't be read.
    Unreadable(Fault),
    /// The owner tag is not "KDBG": the block is still encoded (Windows 8 and later, in dumps
    /// that Windows did not write itself), or it is another page.
    NotKdbg,
    /// Its size field is implausible.
    Size(u32),
}

impl Kdbg {
    /// Reads the block at the address in the dump header.
    ///
    /// # Errors
    /// A [`KdbgError`].
    pub fn read(space: &AddressSpace, at: Va) -> Result<Kdbg, KdbgError> {
        let head: [u8; 0x18] = space.array(at).map_err(KdbgError::Unreadable)?;
        if u32_at(&head, 0x10) != Some(TAG) {
            return Err(KdbgError::NotKdbg);
        }
        let size = u32_at(&head, 0x14).unwrap_or(0);
        if !(MIN_SIZE..=MAX_SIZE).contains(&(size as usize)) {
            return Err(KdbgError::Size(size));
        }
        let mut bytes = vec![0; size as usize];
        space.read(at, &mut bytes).map_err(KdbgError::Unreadable)?;
        Ok(Kdbg { bytes })
    }

    /// Uses a block that was found and decoded elsewhere.
    ///
    /// # Errors
    /// A [`KdbgError`].
    pub fn of_bytes(bytes: Vec<u8>) -> Result<Kdbg, KdbgError> {
        if u32_at(&bytes, 0x10) != Some(TAG) {
            return Err(KdbgError::NotKdbg);
        }
        let size = u32_at(&bytes, 0x14).unwrap_or(0);
        if bytes.len() != size as usize || !(MIN_SIZE..=MAX_SIZE).contains(&bytes.len()) {
            return Err(KdbgError::Size(size));
        }
        Ok(Kdbg { bytes })
    }

    /// A field's u64; `None` if the block does not contain or set it.
    pub fn value(&self, field: usize) -> Option<u64> {
        u64_at(&self.bytes, field).filter(|&v| v != 0)
    }

    /// A field with a kernel address.
    pub fn address(&self, field: usize) -> Option<Va> {
        self.value(field).map(Va).filter(|va| va.is_kernel())
    }

    /// A field's u16; `None` if the block does not contain or set it.
    pub fn u16(&self, field: usize) -> Option<u16> {
        u16_at(&self.bytes, field).filter(|&v| v != 0)
    }

    /// L1tfHighPhysicalBitIndex and L1tfSwizzleBitIndex (0x2C2, 0x2C3); both 0 means that they
    /// are not set.
    pub fn l1tf_bits(&self) -> Option<(u8, u8)> {
        let bits = (*self.bytes.get(0x2c2)?, *self.bytes.get(0x2c3)?);
        (bits != (0, 0)).then_some(bits)
    }
}
