//! The segment-heap pool of Windows 10 1809 and later.
//!
//! `nt!ExPoolState` names, per node, four heaps (nonpaged, nonpaged NX, and two paged
//! ones); each heap has two contexts of page segments (1 MB in pages, 16 MB in units of
//! 64 KB); a segment's descriptors cut it into ranges, and a range is a VS subsegment
//! (variable-size chunks), an LFH subsegment (equal slots) or whole pages that the big
//! page table describes. Field names are those of the public symbols; the meaning of the
//! encodings is from published research (Synacktiv, "Scoop the Windows 10 pool!").

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

/// What a segment held.
#[derive(Debug, Default)]
pub struct Content {
    /// Blocks in use, or parked; free ones too where [`Content::keep_free`] asks.
    pub blocks: Vec<Block>,
    /// List free chunks and slots as blocks, under the tag that they had.
    pub keep_free: bool,
    /// Free chunks and slots.
    pub free_blocks: u64,
    /// Bytes of them.
    pub free_bytes: u64,
    /// Bytes in use that no valid header describes, and bytes after headers that can't be read.
    pub unplaced_bytes: u64,
    /// Pages of special pool whose pattern is broken.
    pub doubted: u64,
    /// Subsegments and segments whose own headers or chains are damaged.
    pub damaged: Vec<(crate::memory::Va, u16)>,
    /// The pages.
    pub pages: PageCounts,
}

impl Content {
    /// Empties it for the next segment, keeping the memory.
    pub fn clear(&mut self) {
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.clear();
        *self = Content {
            blocks,
            keep_free: self.keep_free,
            ..Content::default()
        };
    }

    /// Counts a free chunk or slot, whose old tag is read with `tag` if it is asked for.
    fn free(&mut self, block: Block, tag: impl FnOnce() -> Option<u32>) {
        self.free_blocks += 1;
        self.free_bytes += block.bytes;
        if self.keep_free {
            let tag = Tag::new(tag().unwrap_or(0));
            self.blocks.push(Block { tag, ..block });
        }
    }
}
