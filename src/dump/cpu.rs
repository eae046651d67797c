//! The state of a virtual processor as stored in a container.

/// Registers of one processor. `None` if the container does not have the register.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// CR0.
    pub cr0: Option<u64>,
    /// CR3: the root of the page tables, low bits included.
    pub cr3: Option<u64>,
    /// CR4.
    pub cr4: Option<u64>,
    /// Instruction pointer.
    pub rip: Option<u64>,
    /// Base address of the interrupt descriptor table.
    pub idt: Option<u64>,
    /// Base of the GS segment.
    pub gs: Option<u64>,
    /// The other GS base, which SWAPGS exchanges (KERNEL_GS_BASE in user mode).
    pub other_gs: Option<u64>,
}

/// CR0: protected mode and paging.
const PAGING: u64 = 1 << 31 | 1;
/// CR4: physical address extension, required by long mode.
const PAE: u64 = 1 << 5;
/// CR4: five-level page tables.
const LA57: u64 = 1 << 12;

impl Cpu {
    /// The root of the page tables, if the processor has paging on. A processor that was never
    /// started has paging off.
    pub fn root(&self) -> Option<u64> {
        let on = |register: Option<u64>, bits| register.is_none_or(|r| r & bits == bits);
        let root = self.cr3.map(|cr3| cr3 & 0x000f_ffff_ffff_f000)?;
        (root != 0 && on(self.cr0, PAGING) && on(self.cr4, PAE)).then_some(root)
    }

    /// True when the processor uses five-level page tables.
    pub fn has_five_levels(&self) -> bool {
        self.cr4.is_some_and(|cr4| cr4 & LA57 != 0)
    }

    /// True when the processor was running kernel code.
    pub fn is_in_kernel(&self) -> bool {
        self.rip.is_some_and(|rip| rip >> 47 == 0x1_ffff)
    }

    /// True when no register is known.
    pub fn is_empty(&self) -> bool {
        *self == Cpu::default()
    }
}
