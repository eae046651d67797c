//! VMware: groups of tags in a state file, and memory in a file beside it or inside it.

use std::io;
use std::path::Path;

use crate::addr::PAGE_SIZE;
use crate::synth::physical::Physical;

use super::{Out, Registers, stretches};

/// Variants of VMware's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vmware {
    /// Memory is inside the state file.
    pub inside: bool,
    /// The old signature, with 32-bit lengths.
    pub old: bool,
    /// Separate registers, as ESXi writes them; otherwise in blocks.
    pub one_by_one: bool,
    /// Number of padding bytes in blocks, in addition to the alignment of memory.
    pub padding: u16,
}

fn tag(out: &mut Vec<u8>, name: &str, indices: &[u32], kind: u8) {
    out.push(kind | (indices.len() as u8) << 6);
    out.push(name.len() as u8);
    out.extend(name.as_bytes());
    for index in indices {
        out.extend(index.to_le_bytes());
    }
}

fn value(out: &mut Vec<u8>, name: &str, indices: &[u32], value: &[u8]) {
    tag(out, name, indices, value.len() as u8);
    out.extend(value);
}

/// Writes the head of a block: bytes on disk, bytes in memory, padding, data.
fn block_head(
    out: &mut Vec<u8>,
    name: &str,
    indices: &[u32],
    length: u64,
    padding: u16,
    old: bool,
) {
    tag(out, name, indices, 0x3f);
    for _ in 0..2 {
        match old {
            true => out.extend((length as u32).to_le_bytes()),
            false => out.extend(length.to_le_bytes()),
        }
    }
    out.extend(padding.to_le_bytes());
    out.extend(std::iter::repeat_n(0x5au8, padding.into()));
}

fn cpu_group(cpus: &[Registers], how: Vmware) -> Vec<u8> {
    let mut out = Vec::new();
    value(
        &mut out,
        "cpu:numVCPUs",
        &[],
        &(cpus.len() as u32).to_le_bytes(),
    );
    for (number, cpu) in cpus.iter().enumerate() {
        let own = number as u32;
        let control = [cpu.cr0, 0, 0, cpu.cr3, cpu.cr4, 0, 0, 0, 0];
        if how.one_by_one {
            for (n, register) in control.iter().take(5).enumerate() {
                value(&mut out, "CR64", &[own, n as u32], &register.to_le_bytes());
            }
            let (low, high) = (cpu.idt as u32, (cpu.idt >> 32) as u32);
            value(&mut out, "IDTR", &[own, 0], &0xfffu32.to_le_bytes());
            value(&mut out, "IDTR", &[own, 1], &low.to_le_bytes());
            value(&mut out, "IDTR", &[own, 2], &high.to_le_bytes());
        } else {
            let mut data: Vec<u8> = Vec::new();
            control.iter().for_each(|r| data.extend(r.to_le_bytes()));
            block_head(&mut out, "CR64", &[own], 72, how.padding, how.old);
            out.extend(data);
            block_head(&mut out, "gpregs", &[own], 128, how.padding, how.old);
            out.extend([0; 128]);
            block_head(&mut out, "IDTR", &[own], 10, how.padding, how.old);
            out.extend(0xfffu16.to_le_bytes());
            out.extend(cpu.idt.to_le_bytes());
        }
        value(&mut out, "rip", &[own], &cpu.rip.to_le_bytes());
        value(&mut out, "S.base64", &[own, 5], &cpu.gs.to_le_bytes());
    }
    out.extend([0, 0]);
    out
}

/// Alignment of memory inside a state file.
const ALIGN: u64 = 0x1_0000;

pub(super) fn write(
    path: &Path,
    physical: &Physical,
    cpus: &[Registers],
    how: Vmware,
) -> io::Result<()> {
    let regions = stretches(physical);
    let pages: u64 = regions.iter().map(|r| r.1).sum();
    let groups = ["Checkpoint", "cpu", "memory"];
    let start = 12 + 80 * groups.len() as u64;
    let mut checkpoint = Vec::new();
    value(&mut checkpoint, "Platform", &[], &1u32.to_le_bytes());
    value(&mut checkpoint, "productName", &[], b"VMware ESX");
    checkpoint.extend([0, 0]);
    let cpu = cpu_group(cpus, how);
    let memory_at = start + (checkpoint.len() + cpu.len()) as u64;
    let mut memory = Vec::new();
    value(
        &mut memory,
        "align_mask",
        &[0, 0],
        &(ALIGN as u32 - 1).to_le_bytes(),
    );
    value(
        &mut memory,
        "regionsCount",
        &[],
        &(regions.len() as u32).to_le_bytes(),
    );
    let mut stored = 0u32;
    for (i, (first, count)) in regions.iter().enumerate() {
        let i = [i as u32];
        value(&mut memory, "regionPPN", &i, &(*first as u32).to_le_bytes());
        value(&mut memory, "regionPageNum", &i, &stored.to_le_bytes());
        value(
            &mut memory,
            "regionSize",
            &i,
            &(*count as u32).to_le_bytes(),
        );
        stored += *count as u32;
    }
    let mut data_at = 0;
    if how.inside {
        // The padding aligns the memory.
        let head = memory.len() + 2 + 6 + 8 + if how.old { 8 } else { 16 } + 2;
        let here = memory_at + head as u64;
        let padding = here.next_multiple_of(ALIGN) - here;
        block_head(
            &mut memory,
            "Memory",
            &[0, 0],
            pages * PAGE_SIZE,
            padding as u16,
            how.old,
        );
        data_at = memory_at + memory.len() as u64;
    } else {
        memory.extend([0, 0]);
    }
    let magic: u32 = match (how.old, how.inside) {
        (true, _) => 0xbed0_bed0,
        (false, true) => 0xbed2_bed2,
        (false, false) => 0xbed3_bed3,
    };
    let mut head = magic.to_le_bytes().to_vec();
    head.extend(8u32.to_le_bytes());
    head.extend((groups.len() as u32).to_le_bytes());
    let sizes = [checkpoint.len(), cpu.len(), memory.len()];
    let mut at = start;
    for (name, size) in groups.iter().zip(sizes) {
        let mut field = [0u8; 64];
        if let Some(to) = field.get_mut(..name.len()) {
            to.copy_from_slice(name.as_bytes());
        }
        head.extend(field);
        head.extend(at.to_le_bytes());
        head.extend((size as u64).to_le_bytes());
        at += size as u64;
    }
    let mut out = Out::create(path)?;
    for part in [checkpoint, cpu, memory] {
        head.extend(part);
    }
    out.put(0, &head)?;
    if !how.inside {
        out.finish(head.len() as u64)?;
        out = Out::create(&path.with_extension("vmem"))?;
    }
    let mut to = data_at;
    for run in regions {
        out.pages(physical, run, to)?;
        to += run.1 * PAGE_SIZE;
    }
    if how.inside {
        // The end of the group.
        out.put(to, &[0, 0])?;
        to += 2;
    }
    out.finish(to)
}
