//! The ranges of code that make up a function.

/// Maximum number of bytes per function to disassemble; nt's largest functions are half of it.
pub const MAX_FUNCTION: u32 = 0x2_0000;

/// How the extent of a function is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// From the unwind table.
    Unwind,
    /// From the gap between two entries of the unwind table: a leaf function.
    Gap,
    /// Unknown: a limited number of bytes from an address.
    Local,
}

/// The code of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// RVA of its first instruction.
    pub start: u32,
    /// Its parts, as half-open ranges of RVAs.
    pub pieces: Vec<(u32, u32)>,
    /// How the extent is known.
    pub known: Known,
}
