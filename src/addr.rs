//! Addresses: virtual addresses, physical addresses and page frame numbers are separate types, so
//! they can't be confused.
//!
//! This is the only file of `memory` that the container layer below may import.

use std::fmt;

/// Size of a page on x64, in bytes; also the unit of every `!vm` counter.
pub const PAGE_SIZE: u64 = 0x1000;

/// A virtual address in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Va(pub u64);

/// A physical address in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pa(pub u64);

/// A page frame number: a physical address divided by [`PAGE_SIZE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pfn(pub u64);

impl Va {
    /// The first byte of the page that contains this address.
    pub fn page(self) -> Va {
        Va(self.0 & !(PAGE_SIZE - 1))
    }

    /// The offset in the page in bytes, 0..4096.
    pub fn offset(self) -> usize {
        (self.0 & (PAGE_SIZE - 1)) as usize
    }

    /// The address `bytes` after this one; wraps around as in hardware.
    // Not the `Add` trait: wrapping is intended here and must not look like ordinary arithmetic.
    #[allow(clippy::should_implement_trait)]
    pub fn add(self, bytes: u64) -> Va {
        Va(self.0.wrapping_add(bytes))
    }

    /// True for a sign-extended 48-bit address in the kernel half.
    pub fn is_kernel(self) -> bool {
        self.0 >> 47 == 0x1_ffff
    }

    /// True for a sign-extended 48-bit address in either half.
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
    /// The frame that contains this address.
    pub fn pfn(self) -> Pfn {
        Pfn(self.0 / PAGE_SIZE)
    }
}

/// Serialised as hexadecimal text, because most JSON readers lose bits of 64-bit numbers.
impl serde::Serialize for Va {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hexadecimal::serialize(&self.0, serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Va {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Va, D::Error> {
        hexadecimal::deserialize(deserializer).map(Va)
    }
}

/// Serialises 64-bit values as hexadecimal text.
pub mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes `0x…`.
    ///
    /// # Errors
    /// Errors of the serializer.
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:#x}"))
    }

    /// Parses the text that [`serialize`] writes.
    ///
    /// # Errors
    /// For any other text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").unwrap_or(&text);
        u64::from_str_radix(digits, 16).map_err(serde::de::Error::custom)
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
    /// WinDbg's format of a 64-bit address: `fffff880`044b5000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}`{:08x}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}
