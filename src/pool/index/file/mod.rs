//! A finished index as a file, which is opened later instead of walking again.
//!
//! ```text
//! 0   8  "poolidx\n"            40  8  words in all
//! 8   4  FORMAT                 48  8  XXH3-64 of the description
//! 12  4  zero                   56  8  XXH3-64 of the 56 bytes before
//! 16 16  the dump's key         64  .. description: Meta, in postcard's encoding
//! 32  8  bytes of description       .. words, 8 bytes each, segment by segment
//! ```
//!
//! All fields are little-endian. Each segment's words have their own checksum in the
//! description, so they can be read and verified in parallel. The file is read into memory
//! before it is verified, so that the verified bytes are those used.
//!
//! The file is as hostile as the dump: checksums detect damage by a disk or a crash. All
//! conditions that later binary searches and indexing rely on are checked too.

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

/// The signature.
const MAGIC: &[u8; 8] = b"poolidx\n";
/// Must be increased with any change to this layout or to [`Meta`].
const FORMAT: u32 = 1;
/// Size in bytes of the part before the description.
const PREFIX: usize = 64;
/// Limit in bytes for a description, when writing and reading: some millions of big allocations
/// or damaged pages. It needs a few times as much memory.
const LONGEST_META: u64 = 128 << 20;
/// Bytes of words that are encoded or decoded at once; they fit in the cache.
const PIECE: usize = 128 << 10;

/// Identifies the dump of an index.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Hash of the dump and of all settings that affect a walk.
    pub key: u128,
    /// Modification time of the dump file before the walk.
    pub modified: SystemTime,
    /// Time at which the dump was opened, before the walk.
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

    /// `None` for data that no walk produces: an unknown pool, or addresses out of order.
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

    /// `None` for invalid sums: a repeated tag, counts that disagree, or an overflow.
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

/// Passes the words as bytes, one piece at a time.
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
