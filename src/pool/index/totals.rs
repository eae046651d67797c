//! Sums over the results of the walk.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::memory::{Fault, Va};
use crate::pool::block::{Block, PoolKind, State};
use crate::pool::tag::Tag;

/// A number of blocks and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Number of blocks.
    pub blocks: u64,
    /// Their bytes, including headers.
    pub bytes: u64,
}

/// Blocks of each pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerPool {
    /// In nonpaged pool.
    pub nonpaged: Found,
    /// In paged pool.
    pub paged: Found,
    /// In the pools of sessions.
    pub session: Found,
}

impl PerPool {
    /// The sum that a block is counted in.
    fn of(&mut self, block: &Block) -> &mut Found {
        match (block.session, block.kind.is_nonpaged()) {
            (Some(_), _) => &mut self.session,
            (None, true) => &mut self.nonpaged,
            (None, false) => &mut self.paged,
        }
    }

    /// Number of blocks in all pools.
    pub fn blocks(&self) -> u64 {
        self.parts().iter().map(|f| f.blocks).sum()
    }

    fn parts(&self) -> [Found; 3] {
        [self.nonpaged, self.paged, self.session]
    }
}

impl std::ops::AddAssign for PerPool {
    fn add_assign(&mut self, other: PerPool) {
        self.nonpaged += other.nonpaged;
        self.paged += other.paged;
        self.session += other.session;
    }
}

impl std::ops::AddAssign for Found {
    fn add_assign(&mut self, other: Found) {
        self.blocks += other.blocks;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// The totals of one tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagFound {
    /// Allocated, in nonpaged pool.
    pub nonpaged: Found,
    /// Allocated, in paged pool.
    pub paged: Found,
    /// Allocated, in the pools of sessions.
    pub session: Found,
    /// Freed but kept on lookaside or deferred lists, all pools.
    pub parked: Found,
    /// Very likely allocated: recognised by their headers, because the structures that lead to
    /// them are damaged. Not included in the sums above.
    pub heuristic: PerPool,
}

impl TagFound {
    /// Counts a block.
    pub fn add(&mut self, block: &Block) {
        let found = Found {
            blocks: 1,
            bytes: block.bytes,
        };
        if block.heuristic && block.state == State::Allocated {
            *self.heuristic.of(block) += found;
            return;
        }
        match (block.state, block.session, block.kind.is_nonpaged()) {
            (State::Allocated, Some(_), _) => self.session += found,
            (State::Allocated, None, true) => self.nonpaged += found,
            (State::Allocated, None, false) => self.paged += found,
            _ => self.parked += found,
        }
    }

    /// The sum of all parts, for untrusted numbers; `None` on overflow.
    pub fn checked_sum(&self) -> Option<Found> {
        let parts = [self.nonpaged, self.paged, self.session, self.parked];
        let likely = self.heuristic.parts();
        parts
            .iter()
            .chain(&likely)
            .try_fold(Found::default(), |sum, part| {
                Some(Found {
                    blocks: sum.blocks.checked_add(part.blocks)?,
                    bytes: sum.bytes.checked_add(part.bytes)?,
                })
            })
    }

    /// Number of blocks that the index lists for the tag.
    pub fn listed(&self) -> u64 {
        let certain = self.nonpaged.blocks + self.paged.blocks + self.session.blocks;
        certain + self.parked.blocks + self.heuristic.blocks()
    }
}

impl std::ops::AddAssign for TagFound {
    fn add_assign(&mut self, other: TagFound) {
        self.nonpaged += other.nonpaged;
        self.paged += other.paged;
        self.session += other.session;
        self.parked += other.parked;
        self.heuristic += other.heuristic;
    }
}

/// Page counts by result of the walk; the unit is always 4 KB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCounts {
    /// Walked as a chain of blocks.
    pub pool: u64,
    /// Inside allocations of whole pages.
    pub big: u64,
    /// Mapped and readable, but without a chain: other uses of the region, or free pages.
    pub other: u64,
    /// Contents are in the page file.
    pub paged_out: u64,
    /// Left out of the dump.
    pub not_in_dump: u64,
    /// The system failed to read them from the file.
    pub failed: u64,
    /// Unreadable pages inside allocations of whole pages: their blocks are still known from
    /// the big page table.
    pub unread_big: u64,
    /// Pages, or starts of heap subsegments, with a damaged chain of blocks.
    pub damaged: u64,
    /// Bytes in use that could not be assigned to a block.
    pub unplaced_bytes: u64,
    /// Mapped and written, in the address range of a pool that uses heaps, but in no known
    /// segment or large allocation: the heaps' own data, or blocks that damaged lists hide.
    pub unowned: u64,
}

impl PageCounts {
    /// Counts an unreadable page.
    pub fn missing(&mut self, fault: Fault) {
        match fault {
            Fault::PagedOut => self.paged_out += 1,
            Fault::FileFailed => self.failed += 1,
            _ => self.not_in_dump += 1,
        }
    }

    /// Number of unreadable pages, for any reason.
    pub fn unreadable(&self) -> u64 {
        self.paged_out + self.not_in_dump + self.failed
    }

    /// True unless sums of these untrusted numbers overflow.
    pub fn adds_up(&self) -> bool {
        // No machine has that many, and sums have at most a dozen terms.
        let most = u64::MAX / 64;
        [
            self.pool,
            self.big,
            self.other,
            self.paged_out,
            self.not_in_dump,
            self.failed,
            self.unread_big,
            self.damaged,
            self.unplaced_bytes,
            self.unowned,
        ]
        .iter()
        .all(|&n| n < most)
    }

    /// All mapped pages.
    pub fn all(&self) -> u64 {
        self.pool + self.big + self.other + self.unowned + self.unreadable()
    }
}

impl std::ops::AddAssign for PageCounts {
    fn add_assign(&mut self, other: PageCounts) {
        self.pool += other.pool;
        self.big += other.big;
        self.other += other.other;
        self.paged_out += other.paged_out;
        self.not_in_dump += other.not_in_dump;
        self.failed += other.failed;
        self.unread_big += other.unread_big;
        self.damaged += other.damaged;
        self.unplaced_bytes += other.unplaced_bytes;
        self.unowned += other.unowned;
    }
}

/// The results of one window.
#[derive(Clone, Debug, Default)]
pub struct WindowTotals {
    /// By tag, each once.
    pub tags: Vec<(Tag, TagFound)>,
    /// Pages of nonpaged pool.
    pub nonpaged_pages: PageCounts,
    /// Pages of paged pool.
    pub paged_pages: PageCounts,
    /// Pages of the pools of sessions.
    pub session_pages: PageCounts,
    /// Bytes in use without a valid header, or after unreadable headers.
    pub unplaced_bytes: u64,
    /// Number of special pool pages with a broken pattern: the size of their blocks is
    /// uncertain.
    pub doubted: u64,
    /// Number of blocks left out because others occupy the same bytes.
    pub overlapping: u64,
    /// Number of free blocks.
    pub free_blocks: u64,
    /// Bytes of free blocks.
    pub free_bytes: u64,
    /// Pages with a broken chain, and the offset in bytes of the break.
    pub damaged: Vec<(Va, u16)>,
}

impl WindowTotals {
    /// Number of pool pages that the system failed to read from the dump's file.
    pub fn failed_pages(&self) -> u64 {
        self.nonpaged_pages.failed + self.paged_pages.failed + self.session_pages.failed
    }

    /// The page counts of one pool; pages of unknown kind count as paged.
    pub fn pages(&mut self, kind: Option<PoolKind>) -> &mut PageCounts {
        match kind {
            Some(kind) if kind.is_nonpaged() => &mut self.nonpaged_pages,
            Some(PoolKind::Session) => &mut self.session_pages,
            _ => &mut self.paged_pages,
        }
    }
}

/// Sums over all windows walked so far.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    /// By tag.
    pub tags: FxHashMap<Tag, TagFound>,
    /// Pages of nonpaged pool.
    pub nonpaged_pages: PageCounts,
    /// Pages of paged pool.
    pub paged_pages: PageCounts,
    /// Pages of the pools of sessions.
    pub session_pages: PageCounts,
    /// Free blocks inside pool pages.
    pub free: Found,
    /// Pages with a broken chain: address, and offset in bytes of the break.
    pub damaged: Vec<(Va, u16)>,
    /// Bytes in use that could not be assigned to a block.
    pub unplaced_bytes: u64,
    /// Number of special pool pages with a broken pattern: the size of their blocks is
    /// uncertain.
    pub doubted: u64,
    /// Number of blocks left out because others occupy the same bytes: two readings of damaged
    /// memory.
    pub overlapping: u64,
    /// Number of blocks listed in the index.
    pub listed: u64,
}

impl Totals {
    /// Adds the results of a window.
    pub fn add(&mut self, window: &WindowTotals) {
        for &(tag, found) in &window.tags {
            *self.tags.entry(tag).or_default() += found;
            self.listed += found.listed();
        }
        self.nonpaged_pages += window.nonpaged_pages;
        self.paged_pages += window.paged_pages;
        self.session_pages += window.session_pages;
        self.unplaced_bytes += window.unplaced_bytes;
        self.doubted += window.doubted;
        self.overlapping += window.overlapping;
        self.free += Found {
            blocks: window.free_blocks,
            bytes: window.free_bytes,
        };
        self.damaged.extend_from_slice(&window.damaged);
    }

    /// The totals of a tag.
    pub fn tag(&self, tag: Tag) -> TagFound {
        self.tags.get(&tag).copied().unwrap_or_default()
    }

    /// Number of pool pages that the system failed to read from the dump's file.
    pub fn failed_pages(&self) -> u64 {
        self.nonpaged_pages.failed + self.paged_pages.failed + self.session_pages.failed
    }

    /// Number of unreadable pool pages.
    pub fn unreadable_pages(&self) -> u64 {
        self.nonpaged_pages.unreadable()
            + self.paged_pages.unreadable()
            + self.session_pages.unreadable()
    }
}
