//! What heaps are written with.

use crate::synth::era::Heap as Encoding;
use crate::synth::legacy::{Allocation, Contents, PoolShape};
use crate::synth::nt::Nt;

use super::HeapShape;

/// What the heaps are written with.
pub struct Setting<'a> {
    /// The kernel.
    pub nt: Nt,
    /// How the era encodes.
    pub encoding: Encoding,
    /// All allocations.
    pub allocations: &'a [Allocation],
    /// What bodies hold.
    pub contents: Contents,
    /// The heaps.
    pub shape: &'a HeapShape,
    /// The pools: where they start and what is taken away.
    pub pools: [&'a PoolShape; 2],
}

/// HeapKey and LfhKey.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    pub(super) heap: u64,
    pub(super) lfh: u64,
}
