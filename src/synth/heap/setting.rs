//! Parameters for writing heaps.

use crate::synth::era::Heap as Encoding;
use crate::synth::legacy::{Allocation, Contents, PoolShape};
use crate::synth::nt::Nt;

use super::HeapShape;

/// Parameters for writing heaps.
pub struct Setting<'a> {
    /// The kernel.
    pub nt: Nt,
    /// The encodings of the era.
    pub encoding: Encoding,
    /// All allocations.
    pub allocations: &'a [Allocation],
    /// The contents of bodies.
    pub contents: Contents,
    /// The heaps.
    pub shape: &'a HeapShape,
    /// The pools: their start addresses and removed pages.
    pub pools: [&'a PoolShape; 2],
}

/// HeapKey and LfhKey.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    pub(super) heap: u64,
    pub(super) lfh: u64,
}
