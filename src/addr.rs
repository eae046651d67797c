//! The address vocabulary: virtual, physical and page-frame numbers as types of
//! their own, so that one can never be passed for another.
//!
//! This is the one file of `memory` that the container layer below may import.

use std::fmt;

/// Bytes in a page on x64 (also the unit of every `!vm` counter).
pub const PAGE_SIZE: u64 = 0x1000;

/// A virtual address in bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Va(pub u64);

/// A physical address in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pa(pub u64);

/// A page frame number: a physical address divided by [`PAGE_SIZE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pfn(pub u64);

impl Va {
    /// The first byte of the page that holds this address.
    pub fn page(self) -> Va {
        Va(self.0 & !(PAGE_SIZE - 1))
    }

    /// The offset in bytes inside the page, 0..4096.
    pub fn offset(self) -> usize {
        (self.0 & (PAGE_SIZE - 1)) as usize
    }

    /// The address `bytes` further on; wraps like the hardware does.
    // Not `Add`: the wrap is a decision, and must not look like ordinary arithmetic.
    #[allow(clippy::should_implement_trait)]
    pub fn add(self, bytes: u64) -> Va {
        Va(self.0.wrapping_add(bytes))
    }

    /// True for a sign-extended 48-bit address in the kernel half.
    pub fn is_kernel(self) -> bool {
        self.0 >> 47 == 0x1_ffff
    }

    /// True for a sign-extended 48-bit address of either half.
    pub fn is_canonical(self) -> bool {
        matches!(self.0 >> 47, 0 | 0x1_ffff)
    }
}

impl Pfn {
    /// The physical address of the frame's first byte.
    pub fn base(self) -> Pa {
        Pa(self.0.wrapping_mul(PAGE_SIZE))
    }
}

impl Pa {
    /// The frame that holds this address.
    pub fn pfn(self) -> Pfn {
        Pfn(self.0 / PAGE_SIZE)
    }
}

impl fmt::Debug for Va {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Va({:#x})", self.0)
    }
}

impl fmt::Debug for Pa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pa({:#x})", self.0)
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pfn({:#x})", self.0)
    }
}

impl fmt::Display for Va {
    /// WinDbg's way of writing a 64-bit address: `fffff880`044b5000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}`{:08x}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}
