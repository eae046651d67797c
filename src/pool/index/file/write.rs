//! Writes a finished index.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::super::Snapshot;
use super::super::realm::Owner;
use super::super::segment::Segment;
use super::{FORMAT, LONGEST_META, MAGIC, Meta, OwnerRecord, PREFIX, SegmentRecord, Stamp};
use super::{TotalsRecord, checksum, encoded};

/// Writes an index of the dump that the stamp identifies, with the current time.
///
/// # Errors
/// The error of `to`; [`io::ErrorKind::FileTooLarge`] if the description is too long.
pub fn write(snapshot: &Snapshot, stamp: &Stamp, to: &mut impl Write) -> io::Result<()> {
    let meta = postcard::to_stdvec(&describe(snapshot, stamp))
        .map_err(|e| io::Error::other(e.to_string()))?;
    if meta.len() as u64 > LONGEST_META {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let words: u64 = snapshot.segments.iter().map(|s| s.len() as u64).sum();
    let mut prefix = Vec::with_capacity(PREFIX);
    prefix.extend_from_slice(MAGIC);
    prefix.extend_from_slice(&FORMAT.to_le_bytes());
    prefix.extend_from_slice(&[0; 4]);
    prefix.extend_from_slice(&stamp.key.to_le_bytes());
    prefix.extend_from_slice(&(meta.len() as u64).to_le_bytes());
    prefix.extend_from_slice(&words.to_le_bytes());
    prefix.extend_from_slice(&xxh3_64(&meta).to_le_bytes());
    let sum = xxh3_64(&prefix);
    prefix.extend_from_slice(&sum.to_le_bytes());
    to.write_all(&prefix)?;
    to.write_all(&meta)?;
    for segment in snapshot.segments.iter() {
        encoded(segment.all_words(), |bytes| to.write_all(bytes))?;
    }
    to.flush()
}

fn describe(snapshot: &Snapshot, stamp: &Stamp) -> Meta {
    let mut owners: Vec<Arc<Owner>> = Vec::new();
    let mut owned = Vec::with_capacity(snapshot.segments.len());
    for segment in snapshot.segments.iter() {
        // Segments of one realm are adjacent, and all windows of a realm share an owner's
        // table, if not the owner.
        let same = |o: &&Arc<Owner>| {
            o.session == segment.owner().session && Arc::ptr_eq(&o.big, &segment.owner().big)
        };
        if owners.last().as_ref().is_none_or(|o| !same(o)) {
            owners.push(Arc::clone(segment.owner()));
        }
        owned.push((owners.len() as u32 - 1, segment));
    }
    Meta {
        created: SystemTime::now(),
        modified: stamp.modified,
        opened: stamp.opened,
        windows: snapshot.windows_all as u64,
        notes: snapshot.notes.to_vec(),
        totals: TotalsRecord::of(&snapshot.totals),
        owners: owners.iter().map(|o| OwnerRecord::of(o)).collect(),
        segments: owned.into_par_iter().map(|(o, s)| record(o, s)).collect(),
    }
}

fn record(owner: u32, segment: &Arc<Segment>) -> SegmentRecord {
    SegmentRecord {
        owner,
        base: segment.base.0,
        words: segment.len() as u32,
        checksum: checksum(segment.all_words()),
        tags: segment
            .starts()
            .map(|(tag, first)| (tag.value(), first))
            .collect(),
    }
}
