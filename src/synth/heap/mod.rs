//! The pool of Windows 10 1809 and later: segment heaps.
//!
//! `ExPoolState` has four heaps per node. A heap has two contexts of page segments (1 MB in
//! pages, 16 MB in units of 64 KB). A segment's descriptors divide it into ranges: VS
//! subsegments (`vs`), LFH subsegments (`lfh`), and whole pages listed in the big page table.
//! The requested [`Allocation`](super::legacy::Allocation)s are assigned to ranges, the ranges
//! are composed and written (`write`), and finally some of their pages are removed.
//!
//! Layouts are those of the public symbols. Encodings and header positions come from published
//! research (C. Bayet and P. Fariello, "Scoop the Windows 10 pool!", SSTIC 2020; Y. Shafir,
//! PoolViewer; U. Frisk, MemProcFS; glslang/win-kexp).

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

/// Damage to the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The list of the first context with four segments loses its middle ones.
    CutList,
    /// The last segment links back to the first one, not to the context.
    LoopingList,
    /// The second context's list of every heap starts at the heap itself.
    HeapAtItself,
    /// Kernel dumps omit the header page of a segment in the middle of a list.
    LostHeader,
    /// NumberOfPools is 2^31.
    ManyPools,
}

/// The requested shape of the heaps.
#[derive(Clone, Debug)]
pub struct HeapShape {
    /// Nodes, each with its four heaps.
    pub nodes: u64,
    /// Number of units of a segment that are used before the next segment is started; at most
    /// 254.
    pub units: u64,
    /// Restricted to what all public readers expect: no subsegment is marked as fully
    /// committed, whole pages directly follow their chunk's header, no block straddles a page
    /// boundary, and no slot has unused bytes.
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

/// Size of a unit in bytes; also the size of a chunk's header and of a POOL_HEADER.
pub const UNIT: u64 = 16;
/// Size in bytes above which whole pages are a separate range, in the first context.
#[cfg(any(test, feature = "synth"))]
const LARGEST_VS: u64 = 0x2_0000;
/// Size in bytes above which whole pages are in the second context.
#[cfg(any(test, feature = "synth"))]
const LARGEST_PAGES: u64 = 0x7_f000;
/// Size in bytes above which an allocation has its own address range.
#[cfg(any(test, feature = "synth"))]
const LARGEST_UNITS: u64 = 0x7f_0000;
/// Largest block in bytes that goes into slots here, including the header.
#[cfg(any(test, feature = "synth"))]
const LARGEST_SLOT: u64 = 0x1f0;
