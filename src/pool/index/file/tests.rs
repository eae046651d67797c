use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::pool::TagPattern;
use crate::pool::block::{Backend, Block, State};
use crate::pool::index::{Collector, Snapshot, WINDOW};

const KEY: u128 = 0x1234_5678_9abc_def0_0fed_cba9_8765_4321;

fn stamp() -> Stamp {
    Stamp {
        key: KEY,
        modified: SystemTime::UNIX_EPOCH + Duration::new(1_273_651_200, 7),
        opened: SystemTime::UNIX_EPOCH + Duration::from_secs(1_273_651_300),
    }
}

/// An index of the system's pool and of a session's pool, with large blocks.
fn index() -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut totals = Totals::default();
    let mut segments = Vec::new();
    for (session, windows) in [(None, 3u64), (Some(1), 2)] {
        let first = Va(0xffff_8a00_0000_0000);
        let big = |i: u64| BigBlock {
            va: first.add(i * WINDOW + 0x80_0000),
            bytes: 0x10_0010 + i,
            key: Tag::of("Big ").unwrap().value(),
            kind: PoolKind::Paged,
        };
        let owner = Arc::new(Owner {
            session,
            big: Arc::new(BigTable {
                blocks: (0..windows).map(big).collect(),
                ..BigTable::default()
            }),
        });
        for window in 0..windows {
            let base = first.add(window * WINDOW);
            let mut blocks: Vec<Block> = (0..200).map(|i| small(base, i, session)).collect();
            blocks.push(Block {
                session,
                heuristic: false,
                ..big(window).block()
            });
            let (segment, mut counted) = Collector::all(base, Arc::clone(&owner), &blocks);
            counted.damaged.push((base, 16));
            totals.add(&counted);
            segments.push(Arc::new(segment));
        }
    }
    snapshot.windows_all = segments.len() + 1;
    snapshot.windows_done = snapshot.windows_all;
    snapshot.segments = segments.into();
    snapshot.totals = totals.into();
    snapshot.notes = vec!["5 pool pages have a damaged chain".into()].into();
    snapshot
}

fn small(base: Va, i: u64, session: Option<u32>) -> Block {
    let states = [State::Allocated, State::Lookaside, State::Free];
    Block {
        va: base.add(i * 0x1230),
        bytes: 0x20 + i % 9 * 0x10,
        tag: Tag::new(0x6161_6161 + (i % 7) as u32),
        protected: i.is_multiple_of(5),
        kind: [PoolKind::NonPagedNx, PoolKind::Paged][i as usize % 2],
        backend: [Backend::Vs, Backend::Lfh][i as usize / 3 % 2],
        state: states[i as usize % 3],
        session,
        heuristic: false,
    }
}

fn bytes() -> Vec<u8> {
    let mut out = Vec::new();
    write(&index(), &stamp(), &mut out).unwrap();
    out
}

fn read_back(bytes: &[u8]) -> Result<Snapshot, ReadError> {
    read_with(bytes, &|_, _| true, u64::MAX)
}

fn read_with(
    bytes: &[u8],
    is_current: &(dyn Fn(SystemTime, SystemTime) -> bool + Sync),
    limit: u64,
) -> Result<Snapshot, ReadError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let terms = Terms {
        key: KEY,
        limit,
        is_current,
        wanted: &|| true,
    };
    read(&File::open(file.path()).unwrap(), &terms)
}

/// All data that answers are computed from, as text.
fn told(index: &Snapshot) -> String {
    let blocks: Vec<Block> = index.matching(&TagPattern::any()).collect();
    let mut tags: Vec<_> = index.totals.tags.iter().collect();
    tags.sort_by_key(|t| t.0.value());
    let t = &index.totals;
    let rest = (
        index.is_complete(),
        &index.notes,
        t.listed,
        t.free,
        &t.damaged,
        t.paged_pages,
    );
    format!("{blocks:?} {tags:?} {rest:?}")
}

#[test]
fn a_cached_index_gives_the_same_answers() {
    let again = read_back(&bytes()).unwrap();
    assert_eq!(told(&again), told(&index()));
    assert!(again.kept.is_some_and(|t| t.elapsed().is_ok()));
    let tag = Tag::new(0x6161_6161);
    let (list, other) = (again.blocks(tag), index().blocks(tag));
    assert_eq!(list.len(), other.len());
    let last = list.get(list.len() - 1).unwrap();
    assert_eq!(last.session, Some(1));
    assert_eq!(list.position_in(Some(1), last.va), list.len() - 1);
}

#[test]
fn other_dumps_and_versions_and_small_limits_are_refused() {
    let bytes = bytes();
    let mut other = bytes.clone();
    other[16] ^= 1;
    seal(&mut other);
    assert!(matches!(read_back(&other), Err(ReadError::Foreign)));
    let mut other = bytes.clone();
    other[8] += 1;
    seal(&mut other);
    assert!(matches!(read_back(&other), Err(ReadError::Foreign)));
    let own = stamp();
    let current = |modified, opened| (modified, opened) == (own.modified, own.opened);
    assert!(read_with(&bytes, &current, 5 * 201 * 8).is_ok());
    let stale = read_with(&bytes, &|_, _| false, u64::MAX);
    assert!(matches!(stale, Err(ReadError::Stale)));
    let large = read_with(&bytes, &current, 5 * 201 * 8 - 1);
    assert!(matches!(large, Err(ReadError::TooLarge(8040))));
}

/// A disk with space for this many bytes.
struct Disk(usize);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        match taken {
            0 => Err(std::io::ErrorKind::StorageFull.into()),
            taken => Ok(taken),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_at_any_write() {
    // The encoded time varies in length, so the limit is 8 bytes early.
    let length = bytes().len();
    for room in [0, 10, PREFIX, PREFIX + 1, length - 8] {
        let error = write(&index(), &stamp(), &mut Disk(room)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{room}");
    }
}

#[test]
fn a_cancelled_read_stops() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&bytes()).unwrap();
    let terms = Terms {
        key: KEY,
        limit: u64::MAX,
        is_current: &|_, _| true,
        wanted: &|| false,
    };
    let file = File::open(file.path()).unwrap();
    assert!(matches!(read(&file, &terms), Err(ReadError::Cancelled)));
}

/// Recomputes the checksums of the description and of the prefix.
fn seal(bytes: &mut [u8]) {
    let length = u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize;
    if let Some(meta) = bytes.get(PREFIX..PREFIX.saturating_add(length)) {
        let sum = xxh3_64(meta);
        bytes[48..56].copy_from_slice(&sum.to_le_bytes());
    }
    let sum = xxh3_64(&bytes[..56]);
    bytes[56..64].copy_from_slice(&sum.to_le_bytes());
}

/// A file with this description and these words, and valid checksums.
fn forge(mut meta: Meta, words: &[u8]) -> Vec<u8> {
    let mut at = 0;
    for record in &mut meta.segments {
        let end = at + record.words as usize * 8;
        record.checksum = words.get(at..end).map_or(0, xxh3_64);
        at = end;
    }
    let meta = postcard::to_stdvec(&meta).unwrap();
    let mut out = bytes()[..PREFIX].to_vec();
    out[32..40].copy_from_slice(&(meta.len() as u64).to_le_bytes());
    out[40..48].copy_from_slice(&(words.len() as u64 / 8).to_le_bytes());
    out.extend_from_slice(&meta);
    out.extend_from_slice(words);
    seal(&mut out);
    out
}

/// Runs all queries on the index from a forged file.
fn ask(index: &Snapshot) {
    let _ = told(index);
    let _ = (index.has_sessions(), index.totals.unreadable_pages());
    for (tag, _) in index.totals.tags.iter() {
        let list = index.blocks(*tag);
        assert_eq!(list.iter().count() as u64, list.len());
        for row in (0..list.len()).step_by(17) {
            let block = list.get(row).unwrap();
            let _ = list.position_in(block.session, block.va);
        }
    }
}

#[test]
fn words_out_of_order_are_refused_despite_valid_checksums() {
    let whole = bytes();
    let start = whole.len() - 5 * 201 * 8;
    let meta = || postcard::from_bytes::<Meta>(&whole[PREFIX..start]).unwrap();
    let mut words = whole[start..].to_vec();
    assert_eq!(
        told(&read_back(&forge(meta(), &words)).unwrap()),
        told(&index())
    );
    words.swap(0, 8);
    words.swap(1, 9);
    words.swap(2, 10);
    assert!(read_back(&forge(meta(), &words)).is_err());
    let mut twice = meta();
    twice.totals.listed -= 1;
    assert!(read_back(&forge(twice, &whole[start..])).is_err());
    let mut swapped = meta();
    swapped.segments.swap(0, 3);
    assert!(read_back(&forge(swapped, &whole[start..])).is_err());
}

proptest! {
    #[test]
    fn any_damage_is_detected(at: prop::sample::Index, bit in 0u8..8, cut in proptest::option::of(any::<prop::sample::Index>())) {
        let mut bytes = bytes();
        match cut {
            Some(cut) => bytes.truncate(cut.index(bytes.len())),
            None => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
        }
        prop_assert!(read_back(&bytes).is_err());
    }

    #[test]
    fn forged_files_are_refused_or_safe_to_query(
        meta_damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        word_damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let whole = bytes();
        let start = whole.len() - 5 * 201 * 8;
        let mut meta = whole[PREFIX..start].to_vec();
        for (at, byte) in meta_damage {
            let at = at.index(meta.len());
            meta[at] = byte;
        }
        let mut words = whole[start..].to_vec();
        for (at, byte) in word_damage {
            let at = at.index(words.len());
            words[at] = byte;
        }
        let forged = match postcard::from_bytes::<Meta>(&meta) {
            Ok(meta) => forge(meta, &words),
            Err(_) => {
                let mut out = whole[..PREFIX].to_vec();
                out.extend_from_slice(&meta);
                out.extend_from_slice(&words);
                seal(&mut out);
                out
            }
        };
        if let Ok(index) = read_back(&forged) {
            ask(&index);
        }
    }

    #[test]
    fn arbitrary_prefixes_are_read_without_panic(prefix in proptest::collection::vec(any::<u8>(), 24)) {
        let mut bytes = bytes();
        bytes[32..56].copy_from_slice(&prefix);
        let sum = xxh3_64(&bytes[..56]);
        bytes[56..64].copy_from_slice(&sum.to_le_bytes());
        prop_assert!(read_back(&bytes).is_err());
    }
}
