//! ELF cores of a virtual machine: QEMU's `dump-guest-memory`, libvirt's `virsh dump
//! --memory-only`, VirtualBox's `debugvm dumpvmcore`.
//!
//! Layout: the ELF specification (64-bit objects). Contents: QEMU's `dump/dump.c`, VirtualBox's
//! `DBGFCoreWrite.cpp`. Headers, notes and data may be in any order.

use crate::bytes::{u16_at, u32_at, u64_at};

use super::error::DumpError;
use super::notes::Notes;
use super::page_map::{FileRun, PageMap};

const CORE: u16 = 4;
const X86_64: u16 = 62;
const PROGRAM_HEADER: usize = 56;
const SECTION_HEADER: u64 = 64;
/// PN_XNUM: the number of segments is stored in section 0.
const MANY: u16 = 0xffff;
const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// Upper limit for notes in bytes; a note is a few hundred bytes per processor.
const MAX_NOTES: usize = 16 << 20;

/// A core: its pages and the data from its notes.
pub(super) struct Core {
    pub pages: PageMap,
    pub notes: Notes,
}

/// Reads the headers of a core.
///
/// # Errors
/// Fails if the file is not a core, is of another processor, or is damaged.
pub(super) fn read(file: &[u8]) -> Result<Core, DumpError> {
    check_kind(file)?;
    let damaged = |what: String| DumpError::Damaged { what };
    let at = u64_at(file, 0x20).unwrap_or(0);
    let size = usize::from(u16_at(file, 0x36).unwrap_or(0));
    if size < PROGRAM_HEADER {
        return Err(damaged(format!("ELF program headers of {size} bytes")));
    }
    let count = count(file).ok_or_else(|| {
        damaged("the ELF section that counts the segments is not in the file".into())
    })?;
    let start = usize::try_from(at).unwrap_or(usize::MAX);
    let room = file.len().saturating_sub(start) / size;
    if count > room as u64 {
        return Err(damaged(format!(
            "{count} ELF program headers at {at:#x}, but the file has room for {room}"
        )));
    }
    let mut runs = Vec::new();
    let mut notes = Vec::new();
    for i in 0..count as usize {
        let header = start + i * size;
        let q = |offset| u64_at(file, header + offset).unwrap_or(0);
        match u32_at(file, header) {
            // A segment without bytes in the file was not stored; it is not zeros.
            Some(LOAD) => {
                let length = q(0x20).min(q(0x28));
                runs.extend(FileRun::of_bytes(q(0x18), length, q(8)));
            }
            Some(NOTE) => {
                let from = usize::try_from(q(8)).unwrap_or(usize::MAX);
                let room = MAX_NOTES.saturating_sub(notes.len());
                let length = usize::try_from(q(0x20)).unwrap_or(usize::MAX).min(room);
                let to = from.saturating_add(length).min(file.len());
                notes.extend_from_slice(file.get(from..to).unwrap_or_default());
                // Notes are aligned to four bytes, also across segments.
                notes.resize(notes.len().next_multiple_of(4), 0);
            }
            _ => {}
        }
    }
    if runs.is_empty() {
        return Err(DumpError::refused(
            "this is an ELF core without physical memory in it",
            "if it is from Xen, or from a process, take a snapshot of the guest's memory instead: virsh dump --memory-only --format elf DOMAIN FILE",
        ));
    }
    Ok(Core {
        pages: PageMap::of_runs(runs).map_err(|why| damaged(format!("ELF segments: {why}")))?,
        notes: Notes::read(&notes),
    })
}

/// The number of program headers.
fn count(file: &[u8]) -> Option<u64> {
    match u16_at(file, 0x38)? {
        MANY => {
            let sections = u64_at(file, 0x28).filter(|at| *at != 0)?;
            let info = sections.checked_add(0x2c)?;
            // The whole header of section 0 must be in the file.
            sections
                .checked_add(SECTION_HEADER)
                .filter(|end| *end <= file.len() as u64)?;
            u32_at(file, usize::try_from(info).ok()?).map(u64::from)
        }
        n => Some(n.into()),
    }
}

fn check_kind(file: &[u8]) -> Result<(), DumpError> {
    let class = file.get(4).copied().unwrap_or(0);
    let kind = u16_at(file, 0x10).unwrap_or(0);
    let machine = u16_at(file, 0x12).unwrap_or(0);
    if kind != CORE {
        return Err(DumpError::refused(
            "this is an ELF file, but not a core: a program or a library",
            "get the guest's memory with: virsh dump --memory-only --format elf DOMAIN FILE",
        ));
    }
    if class != 2 || file.get(5) != Some(&1) {
        return Err(DumpError::refused(
            "this is a 32-bit ELF core: the guest was not in long mode, or the tool that wrote it is 32-bit",
            "poolscope reads x64 machines only; take the dump again after Windows has started: \
                virsh dump --memory-only --format elf DOMAIN FILE",
        ));
    }
    match machine {
        X86_64 => Ok(()),
        183 => Err(DumpError::refused(
            "this is an ELF core of an ARM64 machine",
            "poolscope reads x64 machines only",
        )),
        other => Err(DumpError::refused(
            format!("this is an ELF core of another processor (e_machine {other})"),
            "poolscope reads x64 machines only",
        )),
    }
}
