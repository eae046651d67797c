//! ELF cores of QEMU and VirtualBox.

use std::io;
use std::path::Path;

use crate::addr::PAGE_SIZE;
use crate::synth::header::Bytes;
use crate::synth::physical::{Physical, Run};

use super::{Out, Registers, stretches};

/// Variants of QEMU's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Qemu {
    /// Older versions end the processors' notes before `kernel_gs_base`.
    pub old: bool,
    /// More segments than the header can count.
    pub many: bool,
    /// The section header is after the memory; otherwise before it.
    pub sections_last: bool,
}

/// Writes a note; `counted` is the stored length of the name.
fn note(out: &mut Vec<u8>, name: &[u8], counted: usize, kind: u32, desc: &[u8]) {
    for word in [counted as u32, desc.len() as u32, kind] {
        out.extend(word.to_le_bytes());
    }
    out.extend(name);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(desc);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// QEMU's notes: first all CORE, then all QEMU.
pub(super) fn qemu_notes(cpus: &[Registers], old: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for cpu in cpus {
        let mut status = Bytes(vec![0; 336]);
        status.u64(112 + 16 * 8, cpu.rip);
        note(&mut out, b"CORE\0", 5, 1, &status.0);
    }
    for cpu in cpus {
        let size = if old { 0x1b0 } else { 0x1b8 };
        let mut state = Bytes(vec![0; size]);
        state.u32(0, 1);
        state.u32(4, size as u32);
        state.u64(0x88, cpu.rip);
        state.u64(0x108, cpu.gs);
        state.u64(0x180, cpu.idt);
        state.u64(0x188, cpu.cr0);
        state.u64(0x1a0, cpu.cr3);
        state.u64(0x1a8, cpu.cr4);
        state.u64(0x1b0, cpu.other_gs);
        note(&mut out, b"QEMU\0", 5, 0, &state.0);
    }
    out
}

fn header(segments: usize, sections_at: u64) -> Vec<u8> {
    let mut out = Bytes(vec![0; 64]);
    out.put(0, b"\x7fELF\x02\x01\x01");
    out.u16(0x10, 4);
    out.u16(0x12, 62);
    out.u32(0x14, 1);
    out.u64(0x20, 64);
    out.u16(0x34, 64);
    out.u16(0x36, 56);
    if segments < 0xffff {
        out.u16(0x38, segments as u16);
    } else {
        out.u16(0x38, 0xffff);
        out.u64(0x28, sections_at);
        out.u16(0x3a, 64);
        out.u16(0x3c, 1);
    }
    out.0
}

fn segment(kind: u32, offset: u64, address: u64, bytes: u64, memory: u64) -> Vec<u8> {
    let mut out = Bytes(vec![0; 56]);
    out.u32(0, kind);
    out.u32(4, 4);
    out.u64(8, offset);
    out.u64(0x18, address);
    out.u64(0x20, bytes);
    out.u64(0x28, memory);
    out.0
}

fn section(segments: usize) -> Vec<u8> {
    let mut out = Bytes(vec![0; 64]);
    out.u32(0x2c, segments as u32);
    out.0
}

pub(super) fn qemu(
    path: &Path,
    physical: &Physical,
    cpus: &[Registers],
    how: Qemu,
) -> io::Result<()> {
    // Device memory, which is not stored, adds many segments.
    let devices = if how.many { 70_000 } else { 1 };
    write(
        path,
        physical,
        &qemu_notes(cpus, how.old),
        devices,
        how.sections_last,
    )
}

pub(super) fn virtualbox(path: &Path, physical: &Physical, cpus: &[Registers]) -> io::Result<()> {
    let mut notes = Vec::new();
    let mut core = Bytes(vec![0; 24]);
    core.u32(0, 0xc01a_c0de);
    core.u32(4, 0x0001_0005);
    core.u32(8, 24);
    core.u32(0x14, cpus.len() as u32);
    note(&mut notes, b"VBCORE\0\0", 6, 0xb00, &core.0);
    for cpu in cpus {
        let mut state = Bytes(vec![0; 0x220]);
        state.u64(0x70, cpu.rip);
        state.u64(0xf0, cpu.gs);
        state.u64(0x120, cpu.cr0);
        state.u64(0x130, cpu.cr3);
        state.u64(0x138, cpu.cr4);
        state.u64(0x190, cpu.idt);
        state.u32(0x198, 0xfff);
        state.u64(0x218, cpu.other_gs);
        note(&mut notes, b"VBCPU\0\0\0", 5, 0xb01, &state.0);
    }
    write(path, physical, &notes, 2, false)
}

fn write(
    path: &Path,
    physical: &Physical,
    notes: &[u8],
    devices: usize,
    sections_last: bool,
) -> io::Result<()> {
    let runs: Vec<Run> = stretches(physical);
    let segments = 1 + runs.len() + devices;
    let pages: u64 = runs.iter().map(|r| r.1).sum();
    let headers = 64 + segments as u64 * 56;
    let front = if sections_last { 0 } else { 64 };
    let notes_at = headers + front;
    let data = notes_at + notes.len() as u64;
    let end = data + pages * PAGE_SIZE;
    let sections_at = if sections_last { end } else { headers };
    let mut head = header(segments, sections_at);
    head.extend(segment(4, notes_at, 0, notes.len() as u64, 0));
    let mut at = data;
    for &(first, count) in &runs {
        let bytes = count * PAGE_SIZE;
        head.extend(segment(1, at, first * PAGE_SIZE, bytes, bytes));
        at += bytes;
    }
    for i in 0..devices as u64 {
        head.extend(segment(1, u64::MAX, 0xfd00_0000 + i * 0x1000, 0, 0x1000));
    }
    if !sections_last {
        head.extend(section(segments));
    }
    head.extend(notes);
    let mut out = Out::create(path)?;
    out.put(0, &head)?;
    let mut at = data;
    for &run in &runs {
        out.pages(physical, run, at)?;
        at += run.1 * PAGE_SIZE;
    }
    if sections_last {
        out.put(end, &section(segments))?;
        return out.finish(end + 64);
    }
    out.finish(end)
}
