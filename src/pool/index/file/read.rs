//! Reads a cached index as untrusted input.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use rayon::prelude::*;
use thiserror::Error;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::bytes::{u32_at, u64_at};
use crate::memory::Va;
use crate::pool::tag::Tag;

use super::super::Snapshot;
use super::super::realm::Owner;
use super::super::segment::{MAX_BLOCKS, Segment, Word};
use super::{FORMAT, LONGEST_META, MAGIC, Meta, PIECE, PREFIX, SegmentRecord};

/// The reason why a cached index is not used.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It can't be read.
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
    /// The content is damaged, or was not written by poolscope.
    #[error("it is damaged ({0})")]
    Damaged(&'static str),
    /// The format belongs to another version, or the index to another dump.
    #[error("it belongs to another version or another dump")]
    Foreign,
    /// The dump was modified after the index was written.
    #[error("the dump was modified after the index was written")]
    Stale,
    /// The words need more memory than the limit.
    #[error("it takes {0} bytes of memory, more than the limit of --memory")]
    TooLarge(u64),
    /// The read was cancelled.
    #[error("cancelled")]
    Cancelled,
}

use ReadError::{Cancelled, Damaged};

/// Conditions for reading.
pub struct Terms<'a> {
    /// The key of the dump.
    pub key: u128,
    /// Memory limit for the words in bytes.
    pub limit: u64,
    /// Whether an index matches the current dump file, given the file's modification time and
    /// the time it was opened.
    pub is_current: &'a (dyn Fn(SystemTime, SystemTime) -> bool + Sync),
    /// Called from many threads; reading stops soon after it returns false.
    pub wanted: &'a (dyn Fn() -> bool + Sync),
}

/// Reads the index of the dump with this key.
///
/// # Errors
/// A [`ReadError`]; no data of the file is used in that case.
pub fn read(file: &File, terms: &Terms<'_>) -> Result<Snapshot, ReadError> {
    let length = file.metadata()?.len();
    let mut prefix = [0; PREFIX];
    read_at(file, 0, &mut prefix).map_err(|_| Damaged("it is too short"))?;
    let q = |at| u64_at(&prefix, at).unwrap_or(0);
    let key = u128::from(q(16)) | u128::from(q(24)) << 64;
    if !prefix.starts_with(MAGIC) || q(56) != xxh3_64(prefix.get(..56).unwrap_or_default()) {
        return Err(Damaged("its first bytes"));
    }
    if u32_at(&prefix, 8) != Some(FORMAT) || key != terms.key {
        return Err(ReadError::Foreign);
    }
    let (meta_length, words) = (q(32), q(40));
    let needed = words
        .checked_mul(8)
        .and_then(|w| w.checked_add(meta_length));
    if meta_length > LONGEST_META || needed.and_then(|n| n.checked_add(64)) != Some(length) {
        return Err(Damaged("its length"));
    }
    let mut meta = vec![0; meta_length as usize];
    read_at(file, PREFIX as u64, &mut meta)?;
    if xxh3_64(&meta) != q(48) {
        return Err(Damaged("its description"));
    }
    let meta: Meta = postcard::from_bytes(&meta).map_err(|_| Damaged("its description"))?;
    if !(terms.is_current)(meta.modified, meta.opened) {
        return Err(ReadError::Stale);
    }
    if words * 8 > terms.limit {
        return Err(ReadError::TooLarge(words * 8));
    }
    assemble(file, meta, words, PREFIX as u64 + meta_length, terms)
}

fn assemble(
    file: &File,
    meta: Meta,
    words: u64,
    first: u64,
    terms: &Terms<'_>,
) -> Result<Snapshot, ReadError> {
    let owners = meta.owners.into_iter().map(|o| o.owner().map(Arc::new));
    let owners: Vec<Arc<Owner>> = owners
        .collect::<Option<_>>()
        .ok_or(Damaged("its large allocations"))?;
    let totals = meta.totals.totals().ok_or(Damaged("its sums"))?;
    let mut at = first;
    let mut places = Vec::with_capacity(meta.segments.len());
    for record in &meta.segments {
        places.push(at);
        at = at.saturating_add(u64::from(record.words) * 8);
    }
    // The words end at the end of the file, so their memory is bounded by its size.
    if at != first + words * 8 || words != totals.listed {
        return Err(Damaged("its counts"));
    }
    let records: Vec<_> = meta.segments.into_iter().zip(places).collect();
    let segments: Vec<Arc<Segment>> = records
        .into_par_iter()
        .map(|(record, at)| segment(file, record, at, &owners, terms.wanted).map(Arc::new))
        .collect::<Result<_, _>>()?;
    let windows = usize::try_from(meta.windows).unwrap_or(usize::MAX);
    if !segments.is_sorted_by_key(|s| (s.session(), s.base)) || segments.len() > windows {
        return Err(Damaged("its order"));
    }
    Ok(Snapshot {
        segments: segments.into(),
        totals: totals.into(),
        windows_done: windows,
        windows_all: windows,
        notes: meta.notes.into(),
        kept: Some(meta.created),
        ..Snapshot::default()
    })
}

fn segment(
    file: &File,
    record: SegmentRecord,
    at: u64,
    owners: &[Arc<Owner>],
    wanted: &(dyn Fn() -> bool + Sync),
) -> Result<Segment, ReadError> {
    let owner = owners
        .get(record.owner as usize)
        .ok_or(Damaged("whose its blocks are"))?;
    if record.words > MAX_BLOCKS {
        return Err(Damaged("its counts"));
    }
    let mut words = Vec::with_capacity(record.words as usize);
    let mut hash = Xxh3::new();
    let mut bytes = vec![0; PIECE];
    let mut left = record.words as usize * size_of::<Word>();
    let mut at = at;
    while left > 0 {
        if !wanted() {
            return Err(Cancelled);
        }
        let piece = bytes.get_mut(..left.min(PIECE)).unwrap_or_default();
        read_at(file, at, piece)?;
        hash.update(piece);
        let (eights, _) = piece.as_chunks::<8>();
        words.extend(eights.iter().map(|b| Word::of_bits(u64::from_le_bytes(*b))));
        left -= piece.len();
        at += piece.len() as u64;
    }
    if hash.digest() != record.checksum {
        return Err(Damaged("its blocks"));
    }
    let tags = record.tags.into_iter();
    let tags = tags.map(|(tag, first)| (Tag::new(tag), first)).collect();
    Segment::again(Va(record.base), Arc::clone(owner), tags, words).ok_or(Damaged("its blocks"))
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    let (mut offset, mut left) = (offset, bytes);
    while !left.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, left, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left = left.get_mut(count..).unwrap_or_default();
        offset += count as u64;
    }
    Ok(())
}
