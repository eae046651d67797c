//! The segment-heap pool of Windows 10 1809 and later.
//!
//! `nt!ExPoolState` has four heaps per node: nonpaged, nonpaged NX, and two paged ones. Each
//! heap has two contexts of page segments (1 MB in pages, 16 MB in units of 64 KB). A segment's
//! descriptors divide it into ranges. A range is a VS subsegment (variable-size chunks), an LFH
//! subsegment (equal slots), or whole pages described by the big page table. Field names are
//! those of the public symbols; the encodings come from published research (Synacktiv, "Scoop
//! the Windows 10 pool!").

mod chunk;
mod find;
mod heaps;
mod layout;
mod lfh;
mod parked;
mod private;
mod resync;
mod scan;
mod segment;
mod slot;
mod slots;
mod tags;
mod view;
mod vs;
mod walk;

pub use heaps::{Area, Context, Heaps, PageSegment, SMALLEST_SEGMENT};
pub use parked::Parking;
pub use segment::{walk_orphans, walk_segment};
pub use tags::KnownTags;
pub use view::View;

use super::block::Block;
use super::index::PageCounts;
use super::tag::Tag;

/// The contents of a segment.
#[derive(Debug, Default)]
pub struct Content {
    /// Blocks in use or on lookaside lists; also free ones if [`Content::keep_free`] is set.
    pub blocks: Vec<Block>,
    /// Lists free chunks and slots as blocks, with their last tag.
    pub keep_free: bool,
    /// Number of free chunks and slots.
    pub free_blocks: u64,
    /// Total size of the free chunks and slots in bytes.
    pub free_bytes: u64,
    /// Bytes in use without a valid header, and bytes after unreadable headers.
    pub unplaced_bytes: u64,
    /// Number of special pool pages with a broken pattern.
    pub doubted: u64,
    /// Subsegments and segments with damaged headers or chains: address, and offset in bytes.
    pub damaged: Vec<(crate::memory::Va, u16)>,
    /// Page counts.
    pub pages: PageCounts,
}

impl Content {
    /// Clears the content for the next segment, keeping the allocations.
    pub fn clear(&mut self) {
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.clear();
        *self = Content {
            blocks,
            keep_free: self.keep_free,
            ..Content::default()
        };
    }

    /// Counts a free chunk or slot; its old tag is read with `tag` if free blocks are listed.
    fn free(&mut self, block: Block, tag: impl FnOnce() -> Option<u32>) {
        self.free_blocks += 1;
        self.free_bytes += block.bytes;
        if self.keep_free {
            let tag = Tag::new(tag().unwrap_or(0));
            self.blocks.push(Block { tag, ..block });
        }
    }
}
