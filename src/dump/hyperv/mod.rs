//! Hyper-V: the saved state of a virtual machine, `.vmrs`.
//!
//! The container is Microsoft's HyperVStorage, described in `hvs_file/FORMAT.md` of openvmm.
//! The blocks of memory and the state of the processors follow the public emulator of
//! VmSavedStateDumpProvider and pull request 1969 of Volatility 3.

mod partition;
mod ram;
mod storage;

use super::cpu::Cpu;
use super::error::DumpError;
use super::page_map::PageMap;

use storage::Storage;

/// The signature.
pub(super) const MAGIC: &[u8] = &[0x14, 0x20, 0x28, 0x01];
/// VM versions up to this one use other keys.
const OLD_VERSION: i64 = 0x0500;

/// A saved machine.
pub(super) struct Saved {
    pub pages: PageMap,
    pub cpus: Vec<Cpu>,
    /// Remarks for users.
    pub notes: Vec<String>,
}

/// Reads a saved state.
///
/// # Errors
/// [`DumpError::Damaged`] and refusals.
pub(super) fn read(file: &[u8]) -> Result<Saved, DumpError> {
    let storage = Storage::read(file)?;
    let mut notes = Vec::new();
    if storage.pending > 0 {
        notes.push(format!(
            "the .vmrs was not closed cleanly ({} changes are still in its log and are not applied): parts of it may be old; copy it again when the machine is saved",
            storage.pending
        ));
    }
    if storage.cut_off > 0 || storage.is_log_missing {
        notes.push(
            "the .vmrs was cut short: its tables or its log lie behind its end; copy it again, and compare the sizes"
                .into(),
        );
    }
    let version = storage.number(file, "savedstate/VmVersion");
    if storage.has("RamMemoryBlock") || version.is_some_and(|v| v <= OLD_VERSION) {
        return Err(DumpError::refused(
            format!(
                "this is a saved state of an old version of Hyper-V ({})",
                version.map_or("no VmVersion".into(), |v| format!("VmVersion {v:#x}"))
            ),
            "update the configuration version of the virtual machine and save it again, or take a live dump in the guest",
        ));
    }
    let pages = ram::read(file, &storage)?;
    let state = storage.bytes(file, "savedstate/savedVM/partition_state");
    let partition = state.map(partition::read).unwrap_or_default();
    if partition.arm {
        return Err(DumpError::refused(
            "this is a saved state of an ARM64 machine",
            "poolscope reads x64 machines only",
        ));
    }
    Ok(Saved {
        pages,
        cpus: partition.cpus,
        notes,
    })
}
