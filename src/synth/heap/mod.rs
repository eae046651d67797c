//! The pool of Windows 10 1809 and later: segment heaps.
//!
//! `ExPoolState` names four heaps per node. A heap has two contexts of page segments (1 MB
//! in pages, 16 MB in units of 64 KB); a segment's descriptors cut it into ranges: VS
//! subsegments (`vs`), LFH subsegments (`lfh`), and whole pages that the big page
//! table knows. What is wanted ([`Allocation`](super::legacy::Allocation)s) is given ranges, the
//! ranges are composed and written (`write`), and then some of their pages are taken
//! away.
//!
//! Layouts are those of the public symbols; what is encoded and where headers go is from
//! published research (C. Bayet and P. Fariello, "Scoop the Windows 10 pool!", SSTIC 2020;
//! Y. Shafir, PoolViewer; U. Frisk, MemProcFS; glslang/win-kexp).

#[cfg(any(test, feature = "synth"))]
mod heap_header;
#[cfg(any(test, feature = "synth"))]
pub mod lfh;
#[cfg(any(test, feature = "synth"))]
mod missing;
#[cfg(any(test, feature = "synth"))]
pub(super) mod segment;
#[cfg(any(test, feature = "synth"))]
pub mod setting;
#[cfg(any(test, feature = "synth"))]
mod vs;
#[cfg(any(test, feature = "synth"))]
mod write;

#[cfg(any(test, feature = "synth"))]
pub use setting::Setting;
#[cfg(any(test, feature = "synth"))]
pub use write::lay;

/// What goes wrong with the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The list of the first context with four segments loses the ones in its middle.
    CutList,
    /// The last segment's link leads back to the first, not to the context.
    LoopingList,
    /// The second context's list of every heap starts at the heap itself.
    HeapAtItself,
    /// The header page of a segment in the middle of a list is not in kernel dumps.
    LostHeader,
    /// NumberOfPools is 2^31.
    ManyPools,
}

/// The wanted shape of the heaps.
#[derive(Clone, Debug)]
pub struct HeapShape {
    /// Nodes, each with its four heaps.
    pub nodes: u64,
    /// Units of a segment that are used before the next one is begun; at most 254.
    pub units: u64,
    /// Only what all public readers expect: no subsegment says that all of it is committed,
    /// whole pages follow their chunk's header at once, no block goes over a page's end,
    /// and no slot has unused bytes.
    pub plain: bool,
    /// Damage to the lists.
    pub damage: Option<Damage>,
}

impl Default for HeapShape {
    fn default() -> HeapShape {
        HeapShape {
            nodes: 1,
            units: 254,
            plain: false,
            damage: None,
        }
    }
}

/// Bytes per unit of a chunk's sizes; also the size of a chunk's header and of a
/// POOL_HEADER.
pub const UNIT: u64 = 16;
/// Bytes from which on whole pages are a range of their own, in the first context.
#[cfg(any(test, feature = "synth"))]
const LARGEST_VS: u64 = 0x2_0000;
/// Bytes from which on whole pages are in the second context.
#[cfg(any(test, feature = "synth"))]
const LARGEST_PAGES: u64 = 0x7_f000;
/// Bytes from which on an allocation has address space of its own.
#[cfg(any(test, feature = "synth"))]
const LARGEST_UNITS: u64 = 0x7f_0000;
/// The largest block that is put into slots here, header included.
#[cfg(any(test, feature = "synth"))]
const LARGEST_SLOT: u64 = 0x1f0;
