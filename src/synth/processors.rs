//! The processors: KPCR and KPRCB of each, with the contexts saved by the bug check.

use crate::addr::{Pa, Va};

use super::header::DumpHeader;
use super::kernel::Nt;
use super::legacy::lists::{self, Pairs, Parked};
use super::paging::Memory;

/// One processor.
#[derive(Clone, Copy, Debug)]
pub struct Processor {
    /// Its number.
    pub number: u16,
    /// Its KPCR.
    pub kpcr: Va,
    /// Its current thread.
    pub thread: Va,
    /// CR3.
    pub root: Pa,
}

impl Processor {
    /// Its KPRCB.
    pub fn prcb(&self, nt: &Nt) -> Va {
        nt.field(self.kpcr, "_KPCR", "Prcb")
    }
}

/// Writes control blocks and KiProcessorBlock. The context of processor 0 is the one in the
/// header.
pub fn write(
    memory: &mut Memory,
    nt: &Nt,
    processors: &[Processor],
    header: &DumpHeader,
    (parked, packed): (&Parked, bool),
) {
    memory.u32(nt.at("KeNumberProcessors"), processors.len() as u32);
    for processor in processors {
        let prcb = processor.prcb(nt);
        let slot = nt
            .at("KiProcessorBlock")
            .add(u64::from(processor.number) * 8);
        memory.pointer(slot, prcb);
        let kpcr = |name| nt.field(processor.kpcr, "_KPCR", name);
        memory.pointer(kpcr("Self"), processor.kpcr);
        memory.pointer(kpcr("CurrentPrcb"), prcb);
        if processor.number == 0 {
            memory.pointer(kpcr("KdVersionBlock"), nt.at("KdVersionBlock"));
        }
        let own = |name| nt.field(prcb, "_KPRCB", name);
        memory.pointer(own("CurrentThread"), processor.thread);
        // A byte on NT 5.2; the following bytes are 0 there.
        memory.u32(own("Number"), processor.number.into());
        memory.u32(own("MHz"), 2394);
        memory.write(own("VendorString"), b"GenuineIntel\0");
        state(memory, nt, processor, header);
        lists::lookaside(memory, nt.era, (processor.number, prcb), parked, packed);
    }
    if nt.era.is_nt52()
        && let Some(first) = processors.first()
    {
        let prcbs: Vec<Va> = processors.iter().map(|p| p.prcb(nt)).collect();
        let pairs = Pairs {
            own: (first.kpcr.add(OWN_LISTS.0), CONTROL_BLOCKS),
            shared: [
                nt.at("ExpSmallNPagedPoolLookasideLists"),
                nt.at("ExpSmallPagedPoolLookasideLists"),
            ],
        };
        lists::lookaside_pairs(memory, nt.era, &prcbs, &pairs, (parked, packed));
    }
}

/// Distance in bytes between the control blocks of two adjacent processors.
pub const CONTROL_BLOCKS: u64 = 0x1_0000;
/// NT 5.2: offset of a processor's own lists from its KPCR, and their number of pages.
pub const OWN_LISTS: (u64, u64) = (0x8000, 2);

/// Writes KPROCESSOR_STATE: control registers and the context; KPRCB.Context points to the
/// latter.
fn state(memory: &mut Memory, nt: &Nt, processor: &Processor, header: &DumpHeader) {
    let prcb = processor.prcb(nt);
    let state = nt.field(prcb, "_KPRCB", "ProcessorState");
    let registers = nt.field(state, "_KPROCESSOR_STATE", "SpecialRegisters");
    let control = |name| nt.field(registers, "_KSPECIAL_REGISTERS", name);
    memory.u64(control("Cr0"), 0x8005_0031);
    memory.u64(control("Cr3"), processor.root.0);
    memory.u64(control("Cr4"), 0x6f8);
    let mut own = header.clone();
    if processor.number > 0 {
        // Stopped at another address, on its own stack.
        own.rsp = header.rsp.add(0x6000 * u64::from(processor.number));
        own.rip = nt.at("KeBugCheckEx").add(0x40);
    }
    let frame = nt.field(state, "_KPROCESSOR_STATE", "ContextFrame");
    memory.write(frame, &own.context());
    if nt.era.offset("_KPRCB", "Context").is_some() {
        memory.pointer(nt.field(prcb, "_KPRCB", "Context"), frame);
    }
}
