//! An event tracing session with pool events in its buffers.
//!
//! Offsets are those of the public symbols of Windows 7, 10 1607 and 10 2004; the payload of
//! pool events is that of System Informer's headers.

use crate::addr::Va;

use super::era::Era;
use super::kernel::Nt;
use super::machine::Machine;
use super::paging::Memory;
use super::truth::Tag;

/// Address of the structures, in an otherwise unused range.
const START: Va = Va(0xffff_f880_01c0_0000);
/// The number of the session, which is its index.
const LOGGER: u64 = 3;
const BUFFER_BYTES: u64 = 0x1000;
const HEADER: u64 = 0x48;

/// A pool event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Time of the event.
    pub time: u64,
    /// True for a free, false for an allocation.
    pub is_free: bool,
    /// Its tag.
    pub tag: Tag,
    /// Size in bytes.
    pub bytes: u64,
    /// Address of the block.
    pub address: Va,
    /// Its call stack, stored as a separate event; empty for none.
    pub frames: Vec<Va>,
}

/// Offsets of GlobalList, LoggerName and NumberOfBuffers; LoggerId is at 0.
fn numbers(build: u32) -> [u64; 3] {
    match build {
        ..9600 => [0x60, 0x78, 0xe0],
        9600..14393 => [0x70, 0x98, 0xf8],
        14393..17763 => [0x60, 0x88, 0xe8],
        17763..22000 => [0x60, 0x98, 0xf8],
        _ => [0x50, 0x88, 0xe8],
    }
}

/// Adds a session: its events in two buffers, and a third buffer that is compressed.
pub fn add(machine: &mut Machine, era: &'static Era, events: &[Event]) {
    let nt = Nt {
        era,
        base: machine.truth.kernel_base,
    };
    let memory = &mut machine.memory;
    let variable = |memory: &mut Memory, name| {
        let at = nt.at(name);
        for page in [at.page(), at.add(0x1ff).page()] {
            if memory.frame(page).is_none() {
                memory.map_new(page, 1);
            }
        }
        at
    };
    let masks = variable(memory, "PerfGlobalGroupMask");
    memory.u32(masks.add(4), 0x40);
    memory.map_new(START, 8);
    let logger = START;
    let [list, name, count] = numbers(era.build);
    memory.u32(logger, LOGGER as u32);
    memory.u32(logger.add(4), BUFFER_BYTES as u32);
    memory.unicode_string(logger.add(name), START.add(0xf00), "NT Kernel Logger");
    memory.u32(logger.add(count), 3);
    let buffers = [1, 2, 3].map(|n| START.add(n * BUFFER_BYTES));
    let links = buffers.map(|b| b.add(0x38));
    memory.ring(logger.add(list), &links);
    let half = events.len().div_ceil(2);
    let parts = [
        events.get(..half).unwrap_or_default(),
        events.get(half..).unwrap_or_default(),
        events,
    ];
    for (nth, (buffer, part)) in buffers.iter().zip(parts).enumerate() {
        let end = fill(memory, *buffer, part);
        memory.u32(*buffer, BUFFER_BYTES as u32);
        // One buffer was saved, the other is still being filled.
        memory.u32(buffer.add(if nth == 0 { 4 } else { 8 }), end as u32);
        memory.u32(buffer.add(0x2c), if nth == 2 { 5 } else { 1 });
    }
    match era.build {
        ..14393 => {
            let array = variable(memory, "WmipLoggerContext");
            for slot in 0..64 {
                memory.u64(array.add(slot * 8), 1);
            }
            memory.pointer(array.add(LOGGER * 8), logger);
        }
        build => {
            let state = START.add(4 * BUFFER_BYTES);
            let root = variable(memory, "EtwpHostSiloState");
            memory.pointer(root, state);
            let array = match build {
                14393..17763 => state.add(0x390),
                _ => {
                    let array = START.add(6 * BUFFER_BYTES);
                    memory.u32(state.add(0x10), 64);
                    memory.pointer(state.add(0x1c8), array);
                    array
                }
            };
            for slot in 0..64 {
                memory.u64(array.add(slot * 8), 1);
            }
            memory.pointer(array.add(LOGGER * 8), logger);
        }
    }
}

/// Writes events into a buffer; returns the offset after the last.
fn fill(memory: &mut Memory, buffer: Va, events: &[Event]) -> u64 {
    let mut at = HEADER;
    let mut put = |memory: &mut Memory, hook: u16, time: u64, words: &[u64]| {
        let event = buffer.add(at);
        let size = 0x10 + words.len() as u64 * 8;
        memory.write(event, &[2, 0, 0x11, 0xc0]);
        memory.u16(event.add(4), size as u16);
        memory.u16(event.add(6), hook);
        memory.u64(event.add(8), time);
        for (nth, word) in (0..).zip(words) {
            memory.u64(event.add(0x10 + nth * 8), *word);
        }
        at += size;
    };
    for event in events {
        let tag = u64::from(u32::from_le_bytes(event.tag));
        let hook = if event.is_free { 0x0e22 } else { 0x0e20 };
        let words = [tag << 32, event.bytes, event.address.0];
        put(memory, hook, event.time, &words);
        if !event.frames.is_empty() {
            let mut words = vec![event.time, 4 | 8 << 32];
            words.extend(event.frames.iter().map(|frame| frame.0));
            put(memory, 0x1820, event.time + 1, &words);
        }
    }
    at
}
