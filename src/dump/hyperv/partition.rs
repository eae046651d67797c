//! The processors' state inside `partition_state`: a stream of chunks.

use crate::bytes::{u32_at, u64_at};
use crate::dump::cpu::Cpu;

const CHUNK: usize = 16;
const PROLOG: u32 = 0;
const PROCESSOR: u32 = 0x3000_1000;
const GENERAL: u32 = 0x3000_5000;
const CONTROL: u32 = 0x3000_7000;
const SEGMENTS: u32 = 0x3000_9000;
const TABLES: u32 = 0x3000_a000;
const MSRS: u32 = 0x3000_b000;
const TRUST_LEVEL: u32 = 0x3001_a000;
const END: u32 = 0xf000_0000;
const ARM: u32 = 0x10;
const MAX_CPUS: u32 = 4096;

/// The data in the stream.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// Registers of trust level 0, which is the normal kernel.
    pub cpus: Vec<Cpu>,
    pub arm: bool,
}

/// Reads the stream up to its end or the first invalid chunk.
pub(super) fn read(bytes: &[u8]) -> Partition {
    let mut out = Partition::default();
    let header = u64_at(bytes, 8).and_then(|n| usize::try_from(n).ok());
    let Some(mut at) = header.and_then(|n| n.checked_add(0x10)) else {
        return out;
    };
    let (mut current, mut level) = (None, 0);
    while let (Some(id), Some(length)) = (u32_at(bytes, at), u32_at(bytes, at + 4)) {
        let data_at = at + CHUNK;
        let Some(end) = data_at.checked_add(length as usize) else {
            break;
        };
        let Some(data) = bytes.get(data_at..end) else {
            break;
        };
        match id {
            END => break,
            PROLOG => out.arm = u32_at(bytes, at + 0x18) == Some(ARM),
            PROCESSOR => {
                current = u32_at(data, 0).filter(|n| *n < MAX_CPUS);
                level = 0;
            }
            TRUST_LEVEL => level = data.first().copied().unwrap_or(0),
            _ if level == 0 => {
                if let Some(number) = current {
                    let number = number as usize;
                    if out.cpus.len() <= number {
                        out.cpus.resize(number + 1, Cpu::default());
                    }
                    if let Some(cpu) = out.cpus.get_mut(number) {
                        take(cpu, id, data);
                    }
                }
            }
            _ => {}
        }
        at = end;
    }
    out
}

fn take(cpu: &mut Cpu, id: u32, data: &[u8]) {
    let q = |at| u64_at(data, at);
    match id {
        GENERAL => cpu.rip = q(16 * 8),
        CONTROL => (cpu.cr0, cpu.cr3, cpu.cr4) = (q(0), q(0x10), q(0x18)),
        // Order: es cs ss ds fs gs. The base is the first field of each.
        SEGMENTS => cpu.gs = q(5 * 16),
        TABLES => cpu.idt = q(8),
        MSRS => cpu.other_gs = q(8),
        _ => {}
    }
}
