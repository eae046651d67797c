//! Memory images of a running machine, as hypervisors and imaging tools write them.
//!
//! Each format is written by hand following its owner's description; no code is shared with the
//! readers. [`run`] creates the differences between a running kernel and one that stopped at a
//! bug check: the debugger data block is encoded, and processors have their interrupt table.

mod elf;
mod hyperv;
mod kdump;
mod vmware;

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use crate::addr::{PAGE_SIZE, Pa, Pfn, Va};

use super::era::Era;
use super::kernel::Nt;
use super::machine::Machine;
use super::paging::{Entry, Memory};
use super::physical::{Page, Physical, Run};

pub use elf::Qemu;
pub use kdump::Method;
pub use vmware::Vmware;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// Raw physical memory.
    Raw,
    /// LiME.
    Lime,
    /// VMware; the path is that of the state file.
    Vmware(Vmware),
    /// An ELF core of QEMU.
    Qemu(Qemu),
    /// An ELF core of VirtualBox.
    VirtualBox,
    /// kdump with a compression method; the second value is true for the flattened form.
    Kdump(Method, bool),
    /// `.vmrs`; true for compressed blocks.
    HyperV(bool),
}

/// The activity of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Never started.
    Off,
    /// Running kernel code.
    Kernel,
    /// Running user code, with the tables of the user half (KVA shadow).
    Shadow,
}

/// The registers of a processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// Instruction pointer.
    pub rip: u64,
    /// Interrupt table.
    pub idt: u64,
    /// GS base.
    pub gs: u64,
    /// KERNEL_GS_BASE.
    pub other_gs: u64,
}

/// Address of the interrupt table.
const INTERRUPTS: Va = Va(0xffff_f880_00b2_0000);
/// Keys of a running kernel: KiWaitNever and KiWaitAlways.
const NEVER: u64 = 0x93a1_77e0_51c8_2b6d;
const ALWAYS: u64 = 0x1f5e_0cd3_a942_8877;

/// A running machine.
#[derive(Clone, Debug)]
pub struct Running {
    /// The machine, with its debugger data block encoded.
    pub machine: Machine,
    /// Its processors.
    pub cpus: Vec<Registers>,
}

/// Makes a machine run again. `modes` has the activity of each processor and may be empty.
///
/// # Errors
/// Fails if memory is exhausted.
pub fn run(machine: &Machine, era: &'static Era, modes: &[Mode]) -> io::Result<Running> {
    let mut machine = machine.clone();
    let nt = Nt {
        era,
        base: machine.truth.kernel_base,
    };
    let block = machine.header.debugger_data;
    encode(&mut machine.memory, &nt, block);
    interrupts(&mut machine.memory, &nt);
    let root = machine.header.directory_table & !0xfff;
    let mut cpus = Vec::new();
    for (number, mode) in modes.iter().enumerate() {
        let slot = nt.at("KiProcessorBlock").add(number as u64 * 8);
        let prcb = machine.memory.read(slot);
        let kpcr = Va(prcb - era.offset("_KPCR", "Prcb").unwrap_or(0));
        let on = Registers {
            cr0: 0x8005_0031,
            cr3: root,
            cr4: 0x6f8,
            rip: nt.at("KeBugCheckEx").add(0x40).0,
            idt: INTERRUPTS.0,
            gs: kpcr.0,
            other_gs: 0x7ff6_1234_5000,
        };
        cpus.push(match mode {
            Mode::Off => Registers {
                cr0: 0x6000_0010,
                rip: 0xfff0,
                ..Registers::default()
            },
            Mode::Kernel => on,
            Mode::Shadow => Registers {
                cr3: shadow(&mut machine.memory, era, kpcr, root).0,
                rip: 0x7ff6_0000_1000,
                gs: 0x7ff6_1234_5000,
                other_gs: kpcr.0,
                ..on
            },
        });
    }
    match machine.memory.physical.is_exhausted() {
        true => Err(io::Error::other("no frames left")),
        false => Ok(Running { machine, cpus }),
    }
}

/// Encodes the debugger data block like a running kernel.
fn encode(memory: &mut Memory, nt: &Nt, block: Va) {
    let address = nt
        .variable("KdpDataBlockEncoded")
        .unwrap_or(nt.base.add(0x1239));
    for (name, key) in [("KiWaitNever", NEVER), ("KiWaitAlways", ALWAYS)] {
        if let Some(at) = nt.variable(name) {
            memory.u64(at, key);
        }
    }
    for at in (0..nt.era.debugger_data as u64).step_by(8) {
        let plain = memory.read(block.add(at));
        let turned = (plain ^ ALWAYS).swap_bytes() ^ address.0;
        let word = turned.rotate_right((NEVER & 0xff) as u32 % 64) ^ NEVER;
        memory.u64(block.add(at), word);
    }
}

/// Writes a gate for interrupt 0 with a handler in nt.
fn interrupts(memory: &mut Memory, nt: &Nt) {
    memory.map_new(INTERRUPTS, 1);
    let handler = nt.at("KeBugCheckEx").0;
    memory.u16(INTERRUPTS, handler as u16);
    memory.u16(INTERRUPTS.add(2), 0x10);
    memory.u16(INTERRUPTS.add(4), 0x8e00);
    memory.u16(INTERRUPTS.add(6), (handler >> 16) as u16);
    memory.u32(INTERRUPTS.add(8), (handler >> 32) as u32);
}

/// Writes tables of the user half: they map themselves and the pages of the control block,
/// which contains the kernel's root.
fn shadow(memory: &mut Memory, era: &Era, kpcr: Va, root: u64) -> Pa {
    let offset = match era.build {
        ..9000 => 0x6000,
        9000..19000 => 0x7000,
        19000..20000 => 0x9000,
        _ => 0xa000,
    };
    let place = kpcr.add(offset);
    if memory.frame(place).is_none() {
        memory.map_new(place, 1);
    }
    memory.u64(place, root | 2);
    let pages: Vec<(Va, Pfn)> = (0..=offset / PAGE_SIZE)
        .filter_map(|i| {
            let at = kpcr.add(i * PAGE_SIZE);
            Some((at, memory.frame(at)?))
        })
        .collect();
    let user = memory.physical.allocate(1);
    let own = user.base().0 | 0x63;
    let slot = super::paging::SELF_MAP_SLOT as usize * 8;
    if let Some(entry) = memory.physical.page_mut(user).get_mut(slot..slot + 8) {
        entry.copy_from_slice(&own.to_le_bytes());
    }
    memory.within(user.base(), |memory| {
        for (at, frame) in pages {
            memory.map(at, Entry::Data(frame));
        }
    });
    user.base()
}

impl Running {
    /// Writes an image, and a related file (a `.vmem`) beside it.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn write(&self, path: &Path, image: Image) -> io::Result<()> {
        write(path, &self.machine.memory.physical, &self.cpus, image)
    }
}

/// Writes an image of a few pages without a machine, for tests of the container only. A
/// separate memory file is not written.
///
/// # Errors
/// The error of the file system.
pub fn of_pages(path: &Path, cpus: &[Registers], image: Image) -> io::Result<()> {
    let mut physical = Physical::new(vec![(1, 30), (40, 20), (0x280, 8)]);
    for frame in [2, 5, 44, 0x283] {
        physical.skip_to(Pfn(frame));
        let first = physical.allocate(1);
        let page = physical.page_mut(first);
        for (i, byte) in page.iter_mut().take(0x600).enumerate() {
            *byte = ((i as u64 * frame) >> 3) as u8;
        }
    }
    write(path, &physical, cpus, image)
}

fn write(path: &Path, physical: &Physical, cpus: &[Registers], image: Image) -> io::Result<()> {
    match image {
        Image::Raw => {
            let mut out = Out::create(path)?;
            out.pages(physical, (0, physical.end()), 0)?;
            out.finish(physical.end() * PAGE_SIZE)
        }
        Image::Lime => lime(path, physical),
        Image::Vmware(how) => vmware::write(path, physical, cpus, how),
        Image::Qemu(how) => elf::qemu(path, physical, cpus, how),
        Image::VirtualBox => elf::virtualbox(path, physical, cpus),
        Image::Kdump(method, flattened) => kdump::write(path, physical, cpus, method, flattened),
        Image::HyperV(packed) => hyperv::write(path, physical, cpus, packed),
    }
}

/// Each range has a header, followed by its bytes; the last address is inclusive.
fn lime(path: &Path, physical: &Physical) -> io::Result<()> {
    let mut out = Out::create(path)?;
    let mut at = 0;
    for (first, pages) in stretches(physical) {
        let mut header = b"EMiL".to_vec();
        header.extend(1u32.to_le_bytes());
        header.extend((first * PAGE_SIZE).to_le_bytes());
        header.extend(((first + pages) * PAGE_SIZE - 1).to_le_bytes());
        header.extend([0; 8]);
        out.put(at, &header)?;
        out.pages(physical, (first, pages), at + 32)?;
        at += 32 + pages * PAGE_SIZE;
    }
    out.finish(at)
}

/// Memory as a hypervisor stores it: from frame 0, with a hole only if it is large.
fn stretches(physical: &Physical) -> Vec<Run> {
    let mut out: Vec<Run> = Vec::new();
    for &(first, pages) in physical.runs() {
        match out.last_mut() {
            Some((start, count)) if first - (*start + *count) <= 0x100 => {
                *count = first + pages - *start;
            }
            None if first <= 0x100 => out.push((0, first + pages)),
            _ => out.push((first, pages)),
        }
    }
    out
}

/// The bytes of a frame; `None` for zeros.
fn bytes(physical: &Physical, pfn: u64) -> Option<Page> {
    if let Some(page) = physical.page(Pfn(pfn)) {
        return Some(*page);
    }
    let made = physical
        .generated
        .iter()
        .find(|g| pfn >= g.first && pfn - g.first < g.count)?;
    let mut page = [0; PAGE_SIZE as usize];
    (made.make)(pfn - made.first, &mut page);
    Some(page)
}

/// A file with holes.
struct Out {
    file: File,
}

impl Out {
    fn create(path: &Path) -> io::Result<Out> {
        Ok(Out {
            file: File::create(path)?,
        })
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(bytes)
    }

    /// Writes consecutive frames, the first at `at`.
    fn pages(&mut self, physical: &Physical, (first, count): Run, at: u64) -> io::Result<()> {
        for i in 0..count {
            if let Some(page) = bytes(physical, first + i) {
                self.put(at + i * PAGE_SIZE, &page)?;
            }
        }
        Ok(())
    }

    fn finish(self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}
