//! Recognises files by their first bytes. Magic numbers are defined only here.
//!
//! Each supported format has a [`Kind`]. Other files that users try to open are refused by
//! name, with instructions. Sources: the formats' own documents; the memory images of QEMU,
//! VMware and libvirt.

use std::ffi::OsStr;
use std::path::Path;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::addr::PAGE_SIZE;
use crate::bytes::{u32_at, u64_at};

use super::error::DumpError;
use super::header::HEADER_SIZE;
use super::{flattened, hyperv, kdump, vmware};

/// A kind of file that can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// "PAGEDU64".
    Crash,
    /// `.vmss`, `.vmsn`.
    VmwareState,
    /// `.vmem`.
    VmwareMemory,
    /// An ELF file; its reader checks whether it is a core.
    Elf,
    /// kdump-compressed.
    Kdump,
    /// kdump-compressed, flattened.
    KdumpFlattened,
    /// `.vmrs`.
    HyperV,
    /// LiME.
    Lime,
    /// No signature: possibly raw memory.
    Raw,
}

/// Smaller files can't be a machine's memory.
const SMALLEST_RAW: u64 = 16 << 20;
const HIBERNATION_TIME: usize = 0x20;
/// Seconds from 1601 to 1970.
const EPOCH: i64 = 11_644_473_600;
const TICKS: u64 = 10_000_000;

/// Determines the kind of file.
///
/// # Errors
/// A [`DumpError`] that names a format that can't be opened.
pub(super) fn recognise(bytes: &[u8], path: &Path) -> Result<Kind, DumpError> {
    if bytes.is_empty() {
        return Err(DumpError::Empty);
    }
    let openable: [(&[u8], Kind); 6] = [
        (b"PAGEDU64", Kind::Crash),
        (b"\x7fELF", Kind::Elf),
        (kdump::MAGIC, Kind::Kdump),
        (flattened::MAGIC, Kind::KdumpFlattened),
        (hyperv::MAGIC, Kind::HyperV),
        (b"EMiL", Kind::Lime),
    ];
    if let Some((_, kind)) = openable.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Ok(*kind);
    }
    if vmware::is_state(bytes) {
        return Ok(Kind::VmwareState);
    }
    if bytes.starts_with(b"PAGEDUMP") {
        return Err(DumpError::Bits32 {
            build: u32_at(bytes, 0x0c).unwrap_or(0),
        });
    }
    if bytes.starts_with(b"MDMP") {
        return Err(DumpError::UserMinidump);
    }
    let extension = extension(path);
    if extension == "vmem" && bytes.len() as u64 >= PAGE_SIZE {
        return Ok(Kind::VmwareMemory);
    }
    refuse(bytes, &extension, path)?;
    raw(bytes)
}

/// The extension in lower case.
fn extension(path: &Path) -> String {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.unwrap_or_default().to_ascii_lowercase()
}

/// Raw memory without a signature, or an unknown file.
fn raw(bytes: &[u8]) -> Result<Kind, DumpError> {
    let length = bytes.len() as u64;
    if length >= SMALLEST_RAW && length.is_multiple_of(PAGE_SIZE) {
        return Ok(Kind::Raw);
    }
    let zeros = bytes.iter().take(HEADER_SIZE).all(|&b| b == 0);
    if zeros && length >= SMALLEST_RAW {
        return Err(DumpError::refused(
            format!(
                "this may be a raw image of memory, but its {length} bytes are not whole pages"
            ),
            "the copy was cut short, or is not finished: copy it again",
        ));
    }
    if zeros {
        return Err(DumpError::Zeros);
    }
    let start = bytes.iter().take(8).flat_map(|b| b.escape_ascii());
    Err(DumpError::NotADump {
        start: format!("\"{}\"", start.map(char::from).collect::<String>()),
    })
}

fn refuse(bytes: &[u8], extension: &str, path: &Path) -> Result<(), DumpError> {
    if is_html(bytes) {
        return Err(DumpError::refused(
            "this is an HTML page, not a dump: the download returned a page (perhaps a sign-in) instead",
            "download the file again, signed in",
        ));
    }
    if let Some((what, how)) = image_of_others(bytes) {
        return Err(DumpError::refused(what, how));
    }
    if is_wiped_hibernation(bytes, path) {
        return Err(DumpError::refused(
            "this is hiberfil.sys with an empty first page: Windows wiped it when it resumed",
            LIVE_DUMP,
        ));
    }
    if let Some(refusal) = hibernation(bytes) {
        return Err(refusal);
    }
    if bytes.starts_with(b"PK\x03\x04") && is_aff4(bytes, extension) {
        return Err(DumpError::refused(
            "this is an AFF4 image (of an old winpmem)",
            "export the memory stream as raw (aff4imager -e, or winpmem's own extract), and open that",
        ));
    }
    if let Some((what, how)) = compressed(bytes) {
        return Err(DumpError::Compressed {
            what,
            how: how.into(),
        });
    }
    if bytes.ends_with_disk_footer() {
        return Err(disk("a fixed VHD"));
    }
    if extension == "vsv" || (extension == "bin" && path.with_extension("vsv").is_file()) {
        return Err(DumpError::refused(
            "this is the state of Hyper-V before Windows Server 2016 (.bin and .vsv)",
            "convert it on the host with vm2dmp, or update the virtual machine's configuration version and save it again",
        ));
    }
    if matches!(extension, "vmss" | "vmsn") {
        return Err(DumpError::refused(
            format!(
                "this file has the extension .{extension}, but is not a VMware state file: the virtual \
                    machine may be encrypted"
            ),
            "decrypt the virtual machine, take a snapshot with memory, and open that",
        ));
    }
    Ok(())
}

trait Footer {
    fn ends_with_disk_footer(&self) -> bool;
}

impl Footer for [u8] {
    /// A fixed VHD is a raw disk with a footer of 512 bytes.
    fn ends_with_disk_footer(&self) -> bool {
        let footer = self.len().checked_sub(512).and_then(|at| self.get(at..));
        footer.is_some_and(|footer| footer.starts_with(b"conectix"))
    }
}

fn disk(what: &str) -> DumpError {
    DumpError::refused(
        format!("this is {what}: a disk, not memory"),
        "get %SystemRoot%\\MEMORY.DMP from the disk, or take a snapshot with memory",
    )
}

/// Formats that are not supported, and what to do.
fn image_of_others(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    const SAVE: &str = "run: virsh dump --memory-only --format elf DOMAIN FILE (or dump-guest-memory FILE in the monitor of QEMU)";
    const DISK: &str = "get %SystemRoot%\\MEMORY.DMP from the disk, or take a snapshot with memory";
    const NO_MEMORY: &str = "get %SystemRoot%\\MEMORY.DMP, or an image of the machine's memory";
    const KINDS: [(&[u8], &str, &str); 31] = [
        (
            b"\x7fVirtualBox SavedState",
            "this is a saved state of VirtualBox",
            "resume the machine and run: VBoxManage debugvm VM dumpvmcore --filename FILE",
        ),
        (
            b"LibvirtQemudSave",
            "this is a libvirt save file (a QEMU migration stream), not a memory dump",
            SAVE,
        ),
        (
            b"LibvirtQemudPart",
            "this is an incomplete libvirt save file (a QEMU migration stream), not a memory dump",
            SAVE,
        ),
        (
            b"QEVM",
            "this is a QEMU migration stream, not a memory dump",
            SAVE,
        ),
        (
            b"DISKDUMP",
            "this is a diskdump file of Linux",
            "poolscope reads the memory of Windows machines only",
        ),
        (
            b"sadump\0",
            "this is an sadump file of Linux",
            "poolscope reads the memory of Windows machines only",
        ),
        (
            b"AVML",
            "this is an AVML image of a Linux machine",
            "poolscope reads the memory of Windows machines only",
        ),
        (
            b"ZDMP",
            "this is a dump compressed by DumpIt",
            "unpack it with z2dmp, and open the result",
        ),
        (
            b"\xff\x06\x00\x00sNaPpY",
            "this is an image compressed by winpmem (snappy)",
            "unpack it with: go-winpmem extract",
        ),
        (
            b"\xff\x06\x00\x00S2sTwO",
            "this is an image compressed by winpmem (s2)",
            "unpack it with: go-winpmem extract",
        ),
        (
            b"EVF\x09",
            "this is an EnCase image (E01): a disk, not memory",
            DISK,
        ),
        (
            b"QFI\xfb",
            "this is a QCOW2 image: a disk, not memory",
            DISK,
        ),
        (
            b"KDMV",
            "this is a VMware disk (VMDK): a disk, not memory",
            DISK,
        ),
        (
            b"# Disk DescriptorFile",
            "this is the description of a VMware disk (VMDK)",
            DISK,
        ),
        (b"vhdxfile", "this is a VHDX: a disk, not memory", DISK),
        (b"conectix", "this is a VHD: a disk, not memory", DISK),
        (
            b"<<< ",
            "this is a VirtualBox disk (VDI): a disk, not memory",
            DISK,
        ),
        (
            b".encoding = ",
            "this is a description of a VMware machine (.vmx, .vmsd): text, not memory",
            "open the .vmem, .vmsn or .vmss of a snapshot that was taken with memory",
        ),
        (
            b"VMA\0",
            "this is a backup of Proxmox: disks, not memory",
            "in the monitor of the running machine (qm monitor ID), run: dump-guest-memory FILE",
        ),
        (b"regf", "this is a registry hive", NO_MEMORY),
        (b"MZ", "this is a Windows program", NO_MEMORY),
        (b"BM", "this is a bitmap picture", NO_MEMORY),
        (b"ElfFile\0", "this is an event log (EVTX)", NO_MEMORY),
        (
            b"Microsoft C/C++ MSF 7.00",
            "this is a PDB: symbols, not a dump",
            "give the directory it is in to --symbols, and open the dump itself",
        ),
        (
            b"Microsoft C/C++ program database 2.00",
            "this is a PDB of an old compiler: symbols, not a dump",
            NO_MEMORY,
        ),
        (
            b"BSJB",
            "this is a portable PDB of .NET, not a dump",
            NO_MEMORY,
        ),
        (b"QED\0", "this is a QED image: a disk, not memory", DISK),
        (
            b"WithoutFreeSpace",
            "this is a disk of Parallels, not memory",
            DISK,
        ),
        (
            b"version https://git-lfs",
            "this is a Git LFS pointer: a placeholder for the file",
            "fetch the file with: git lfs pull",
        ),
        (b"<?xml", "this is an XML file, not a dump", NO_MEMORY),
        (b"%PDF", "this is a PDF, not a dump", NO_MEMORY),
    ];
    let found = KINDS.iter().find(|(magic, ..)| bytes.starts_with(magic));
    found.map(|(_, what, how)| (*what, *how))
}

/// An HTML page: in upper or lower case, possibly after a byte order mark or blanks.
fn is_html(bytes: &[u8]) -> bool {
    let start = bytes.get(..bytes.len().min(256)).unwrap_or_default();
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let start = start.trim_ascii_start().to_ascii_lowercase();
    let starts: [&[u8]; 3] = [b"<!doctype html", b"<html", b"<head"];
    starts.iter().any(|tag| start.starts_with(tag))
}

/// What to do about a hibernation image.
const LIVE_DUMP: &str =
    "take a live dump instead (Task Manager, or Get-StorageDiagnosticInfo -IncludeLiveDump)";

/// Recognised by the file's name only: Windows erases the header.
fn is_wiped_hibernation(bytes: &[u8], path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let first = bytes.get(..PAGE_SIZE as usize);
    name.eq_ignore_ascii_case("hiberfil.sys")
        && first.is_some_and(|page| page.iter().all(|&byte| byte == 0))
}

/// hiberfil.sys, in any state.
fn hibernation(bytes: &[u8]) -> Option<DumpError> {
    const STATES: [(&[u8], &str); 5] = [
        (b"HIBR", "a hibernation image"),
        (b"WAKE", "a hibernation image that was already resumed"),
        (b"RSTR", "a hibernation image that is being restored"),
        (b"HORM", "a hibernation image (resume many)"),
        (b"BRKP", "a hibernation image (breakpoint)"),
    ];
    let start = bytes.get(..4)?.to_ascii_uppercase();
    let (_, what) = STATES.iter().find(|(magic, _)| start == *magic)?;
    // A text may begin with the same four letters.
    let length = u32_at(bytes, 0x0c)?;
    if !(0x80..=0x1000).contains(&length) && bytes.len() < HEADER_SIZE {
        return None;
    }
    let time = u64_at(bytes, HIBERNATION_TIME).and_then(|ticks| {
        let seconds = i64::try_from(ticks / TICKS).ok()? - EPOCH;
        let time = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
        let known = (2000..2200).contains(&time.year());
        known.then(|| time.format(&Rfc3339).ok()).flatten()
    });
    Some(DumpError::refused(
        match time {
            Some(time) => format!("this is hiberfil.sys: {what} of {time}"),
            None => format!("this is hiberfil.sys: {what}"),
        },
        LIVE_DUMP,
    ))
}

/// AFF4 is a zip archive that contains a description.
fn is_aff4(bytes: &[u8], extension: &str) -> bool {
    let start = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
    extension == "aff4"
        || memchr::memmem::find(start, b"information.turtle").is_some()
        || memchr::memmem::find(start, b"aff4%3A").is_some()
        || memchr::memmem::find(start, b"aff4:").is_some()
}

fn compressed(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    const KINDS: [(&[u8], &str, &str); 11] = [
        (
            b"MSCF",
            "a cabinet (CAB)",
            "cabextract FILE, or expand FILE -F:* . on Windows",
        ),
        (b"PK\x03\x04", "a zip archive", "unzip FILE"),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "7z x FILE"),
        (b"\x1f\x8b", "gzip data", "gunzip FILE"),
        (b"\x28\xb5\x2f\xfd", "zstd data", "unzstd FILE"),
        (b"\xfd7zXZ\0", "xz data", "unxz FILE"),
        (b"BZh", "bzip2 data", "bunzip2 FILE"),
        (b"Rar!\x1a\x07", "a RAR archive", "unrar x FILE"),
        (b"\x04\x22\x4d\x18", "lz4 data", "unlz4 FILE"),
        (b"\x5d\0\0", "lzma data", "unlzma FILE"),
        (
            b"MSWIM\0\0\0",
            "a Windows image (WIM)",
            "wimapply FILE 1 DIRECTORY",
        ),
    ];
    let found = KINDS.iter().find(|(magic, ..)| bytes.starts_with(magic));
    // A tar archive starts with the name of a file; the signature is further on.
    let is_tar = || bytes.get(257..).is_some_and(|b| b.starts_with(b"ustar"));
    match found {
        Some((_, what, how)) => Some((what, how)),
        None => is_tar().then_some(("a tar archive (OVA, XVA)", "tar xf FILE")),
    }
}
