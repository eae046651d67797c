//! A finished index as a file, to be opened again instead of walking.
//!
//! ```text
//! 0   8  "poolidx\n"            40  8  words in all
//! 8   4  FORMAT                 48  8  XXH3-64 of the description
//! 12  4  zero                   56  8  XXH3-64 of the 56 bytes before
//! 16 16  the dump's key         64  .. description: Meta, in postcard's encoding
//! 32  8  bytes of description       .. words, 8 bytes each, segment by segment
//! ```
//!
//! All little-endian. Each segment's words have a checksum of their own in the
//! description, so that they can be read and verified in parallel. A file is read into
//! memory before it is verified: what was verified is what is used.
//!
//! The file is as hostile as the dump: checksums find what a disk or a crash did, and
//! everything that a later binary search or index relies on is checked beside them.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::time::SystemTime;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::memory::Va;
use crate::pool::big::{BigBlock, BigTable, MAX_BYTES};
use crate::pool::block::PoolKind;
use crate::pool::tag::Tag;

pub use read::{ReadError, Terms, read};
pub use write::write;

use super::realm::Owner;
use super::segment::Word;
use super::totals::{Found, PageCounts, TagFound, Totals};

/// The first bytes.
const MAGIC: &[u8; 8] = b"poolidx\n";
/// To be raised with any change to this layout or to [`Meta`].
const FORMAT: u32 = 1;
/// Bytes before the description.
const PREFIX: usize = 64;
/// No longer description is written or believed: some millions of big allocations or
/// damaged pages. It takes a few times as much memory.
const LONGEST_META: u64 = 128 << 20;
/// Bytes of words that are encoded or decoded at once: what stays in the cache.
const PIECE: usize = 128 << 10;

/// Which dump an index is of.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The dump, and all that decides what a walk of it finds.
    pub key: u128,
    /// When the dump was last written to, before it was walked.
    pub modified: SystemTime,
    /// When it was opened, before it was walked.
    pub opened: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    created: SystemTime,
    modified: SystemTime,
    opened: SystemTime,
    windows: u64,
    notes: Vec<String>,
    totals: TotalsRecord,
    owners: Vec<OwnerRecord>,
    segments: Vec<SegmentRecord>,
}

#[derive(Serialize, Deserialize)]
struct SegmentRecord {
    owner: u32,
    base: u64,
    words: u32,
    checksum: u64,
    /// Tags with the index of their first word.
    tags: Vec<(u32, u32)>,
}

#[derive(Serialize, Deserialize)]
struct OwnerRecord {
    session: Option<u32>,
    /// Address, bytes, key, pool.
    big: Vec<(u64, u64, u32, u8)>,
}

#[derive(Serialize, Deserialize)]
struct TotalsRecord {
    tags: Vec<(u32, TagFound)>,
    nonpaged_pages: PageCounts,
    paged_pages: PageCounts,
    session_pages: PageCounts,
    free: Found,
    damaged: Vec<(u64, u16)>,
    unplaced_bytes: u64,
    doubted: u64,
    overlapping: u64,
    listed: u64,
}

impl OwnerRecord {
    fn of(owner: &Owner) -> OwnerRecord {
        let big = owner.big.blocks.iter();
        OwnerRecord {
            session: owner.session,
            big: big
                .map(|b| (b.va.0, b.bytes, b.key, b.kind as u8))
                .collect(),
        }
    }

    /// `None` for what no walk has: a pool that isn't there, or addresses out of order.
    fn owner(self) -> Option<Owner> {
        let block = |(va, bytes, key, kind)| {
            Some(BigBlock {
                va: Va(va),
                bytes,
                key,
                kind: PoolKind::of_number(kind)?,
            })
        };
        let blocks: Vec<BigBlock> = self.big.into_iter().map(block).collect::<Option<_>>()?;
        let sorted = blocks.is_sorted_by(|a, b| a.va < b.va);
        let sized = blocks.iter().all(|b| b.bytes <= MAX_BYTES);
        (sorted && sized).then(|| Owner {
            session: self.session,
            big: BigTable {
                blocks,
                ..BigTable::default()
            }
            .into(),
        })
    }
}

impl TotalsRecord {
    fn of(totals: &Totals) -> TotalsRecord {
        let mut tags: Vec<_> = totals.tags.iter().map(|(t, f)| (t.value(), *f)).collect();
        tags.sort_unstable_by_key(|t| t.0);
        TotalsRecord {
            tags,
            nonpaged_pages: totals.nonpaged_pages,
            paged_pages: totals.paged_pages,
            session_pages: totals.session_pages,
            free: totals.free,
            damaged: totals.damaged.iter().map(|(va, at)| (va.0, *at)).collect(),
            unplaced_bytes: totals.unplaced_bytes,
            doubted: totals.doubted,
            overlapping: totals.overlapping,
            listed: totals.listed,
        }
    }

    /// `None` for sums that are none: a tag twice, or more blocks than are counted.
    fn totals(self) -> Option<Totals> {
        let mut tags = FxHashMap::default();
        let (mut listed, mut bytes) = (0u64, self.free.bytes);
        for (tag, found) in self.tags {
            let sum = found.checked_sum()?;
            listed = listed.checked_add(sum.blocks)?;
            bytes = bytes.checked_add(sum.bytes)?;
            if Tag::new(tag).value() != tag || tags.insert(Tag::new(tag), found).is_some() {
                return None;
            }
        }
        let pages = [self.nonpaged_pages, self.paged_pages, self.session_pages];
        let believed =
            listed == self.listed && bytes < u64::MAX / 64 && pages.iter().all(PageCounts::adds_up);
        believed.then(|| Totals {
            tags,
            nonpaged_pages: self.nonpaged_pages,
            paged_pages: self.paged_pages,
            session_pages: self.session_pages,
            free: self.free,
            damaged: self
                .damaged
                .into_iter()
                .map(|(va, at)| (Va(va), at))
                .collect(),
            unplaced_bytes: self.unplaced_bytes,
            doubted: self.doubted,
            overlapping: self.overlapping,
            listed,
        })
    }
}

/// Hands out the words as bytes, a piece at a time.
fn encoded<E>(words: &[Word], mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut bytes = Vec::with_capacity(PIECE);
    for piece in words.chunks(PIECE / size_of::<Word>()) {
        bytes.clear();
        for word in piece {
            bytes.extend_from_slice(&word.bits().to_le_bytes());
        }
        take(&bytes)?;
    }
    Ok(())
}

fn checksum(words: &[Word]) -> u64 {
    let mut hash = Xxh3::new();
    let Ok(()) = encoded(words, |bytes| {
        hash.update(bytes);
        Ok::<(), std::convert::Infallible>(())
    });
    hash.digest()
}
