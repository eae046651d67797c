//! The notes of an ELF core, also used in kdump files: the state of the processors.
//!
//! QEMU's `CORE` and `QEMU` notes are those of `target/i386/arch_dump.c`, VirtualBox's
//! `VBCORE` and `VBCPU` those of its `DBGFCoreDump`.

use crate::bytes::{u32_at, u64_at};

use super::cpu::Cpu;

/// The data in the notes.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// One per processor, in order.
    pub cpus: Vec<Cpu>,
    /// VirtualBox wrote them.
    pub virtualbox: bool,
    /// The version of VirtualBox's processor state, if it is unknown.
    pub unknown_version: Option<u32>,
    /// The guest is a Linux that described itself.
    pub linux: bool,
}

/// Limit above the number of processors of any hypervisor.
const MAX_CPUS: usize = 4096;
/// Version of DBGFCORECPU since VirtualBox 5.0.
const VIRTUALBOX_VERSION: u32 = 0x0001_0005;
const VIRTUALBOX_MAGIC: u32 = 0xc01a_c0de;

impl Notes {
    /// Reads notes, up to the first that is truncated or contradicts itself.
    pub fn read(bytes: &[u8]) -> Notes {
        let mut out = Notes::default();
        let mut thin = Vec::new();
        let mut version = None;
        let mut at = 0usize;
        while let Some(note) = Note::at(bytes, at) {
            match (note.name, note.kind) {
                (b"QEMU", 0) if out.cpus.len() < MAX_CPUS => out.cpus.extend(qemu(note.data)),
                (b"CORE", 1) if thin.len() < MAX_CPUS => thin.push(prstatus(note.data)),
                (b"VBCORE", 0xb00) => {
                    out.virtualbox = true;
                    version = (u32_at(note.data, 0) == Some(VIRTUALBOX_MAGIC))
                        .then(|| u32_at(note.data, 4))
                        .flatten();
                }
                (b"VBCPU", 0xb01)
                    if version == Some(VIRTUALBOX_VERSION) && out.cpus.len() < MAX_CPUS =>
                {
                    out.cpus.push(virtualbox(note.data));
                }
                (b"VBCPU", 0xb01) if version == Some(VIRTUALBOX_VERSION) => {}
                (b"VBCPU", 0xb01) => out.unknown_version = Some(version.unwrap_or(0)),
                (b"VMCOREINFO", _) => out.linux = true,
                _ => {}
            }
            at = note.end;
        }
        // These notes have no control registers, but they have each processor's instruction
        // pointer.
        if out.cpus.is_empty() {
            out.cpus = thin;
        }
        out
    }
}

/// One note.
struct Note<'a> {
    name: &'a [u8],
    kind: u32,
    data: &'a [u8],
    end: usize,
}

impl<'a> Note<'a> {
    fn at(bytes: &'a [u8], at: usize) -> Option<Note<'a>> {
        let length = |offset| u32_at(bytes, at.checked_add(offset)?).map(|n| n as usize);
        let (name_size, data_size) = (length(0)?, length(4)?);
        let kind = u32_at(bytes, at + 8)?;
        let name_at = at + 12;
        let name_end = name_at.checked_add(name_size)?;
        let data_at = name_end.checked_next_multiple_of(4)?;
        let data_end = data_at.checked_add(data_size)?;
        let name = bytes.get(name_at..name_end)?;
        Some(Note {
            // VirtualBox does not count the terminating 0 in the length; others do.
            name: name.strip_suffix(b"\0").unwrap_or(name),
            kind,
            data: bytes.get(data_at..data_end)?,
            end: data_end.checked_next_multiple_of(4)?,
        })
    }
}

/// QEMUCPUState; versions without `kernel_gs_base` end at 0x1B0.
fn qemu(data: &[u8]) -> Option<Cpu> {
    let size = u32_at(data, 4)? as usize;
    if u32_at(data, 0)? != 1 || size < 0x1b0 || data.len() < 0x1b0 {
        return None;
    }
    let q = |at| u64_at(data, at);
    Some(Cpu {
        cr0: q(0x188),
        cr3: q(0x1a0),
        cr4: q(0x1a8),
        rip: q(0x88),
        idt: q(0x170 + 0x10),
        gs: q(0xf8 + 0x10),
        other_gs: q(0x1b0).filter(|_| size >= 0x1b8),
    })
}

/// `struct elf_prstatus` of x86-64: registers start at offset 112.
fn prstatus(data: &[u8]) -> Cpu {
    let register = |index: usize| u64_at(data, 112 + index * 8);
    Cpu {
        rip: register(16),
        gs: register(22),
        ..Cpu::default()
    }
}

fn virtualbox(data: &[u8]) -> Cpu {
    let q = |at| u64_at(data, at);
    Cpu {
        cr0: q(0x120),
        cr3: q(0x130),
        cr4: q(0x138),
        rip: q(0x70),
        idt: q(0x190),
        gs: q(0xf0),
        other_gs: q(0x218),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_notes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Notes::read(&bytes);
        }
    }

    #[test]
    fn lengths_beyond_the_bytes_end_the_notes() {
        for size in [u32::MAX, 0x8000_0000, 5] {
            let mut bytes = Vec::new();
            for word in [size, size, 0] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(b"QEMU");
            assert!(Notes::read(&bytes).cpus.is_empty());
        }
    }
}
