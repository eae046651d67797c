//! The stretches of code that make up one function.

/// Bytes of one function that are disassembled; nt's largest are half of it.
pub const MAX_FUNCTION: u32 = 0x2_0000;

/// How a function's extent is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// From the unwind table.
    Unwind,
    /// A function without frame lies between two of the table's.
    Gap,
    /// Not at all: some instructions from an address on.
    Local,
}

/// A function's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// RVA of its first instruction.
    pub start: u32,
    /// Its pieces: RVAs of the first byte and of that after the last.
    pub pieces: Vec<(u32, u32)>,
    /// How it is known.
    pub known: Known,
}
