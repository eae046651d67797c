//! Reads the pool's pages in file order, ahead of the walk, if the dump is not cached.
//!
//! The walk proceeds by address, the file is ordered by frame. A reader passes through the file
//! once in order, and a window is walked after the last of its pages has been read. Pool that
//! does not fit into free memory is processed in batches of windows, so that no page is evicted
//! before it is used.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::dump::{Dump, Stretches};
use crate::memory::{AddressSpace, Chunk, ChunkMapping, PAGE_SIZE, Pfn};

use super::progress::Progress;
use super::realm::Realm;
use super::window::Window;

/// The plan of the reads, and their progress.
pub struct ReadAhead<'a> {
    dump: &'a Dump,
    batches: Vec<Batch>,
    state: Mutex<State>,
    moved: Condvar,
}

/// Windows that are in memory together.
struct Batch {
    stretches: Stretches,
    /// Window, and the end of its last page in the file; sorted by the latter.
    windows: Vec<(usize, u64)>,
}

#[derive(Default)]
struct State {
    /// The current batch.
    batch: usize,
    /// File offset of the end of the data read so far.
    read: u64,
    /// Number of windows walked, over all batches.
    walked: usize,
}

/// Number of frames that are sampled to check whether the file is cached.
const SAMPLES: usize = 24;
/// Bytes per read.
const PIECE: usize = 1 << 20;
/// Interval at which waiting threads check for cancellation.
const PATIENCE: Duration = Duration::from_millis(20);

impl<'a> ReadAhead<'a> {
    /// Plans the reads; `None` if the file is cached, because read-ahead would not help. `room`
    /// is the number of bytes of the file that may be kept in memory.
    pub fn plan(realms: &'a [Arc<Realm>], windows: &[Window], room: u64) -> Option<Self> {
        let dump = realms.first()?.space.dump();
        let mapped: Vec<Vec<Chunk>> = windows.iter().map(|w| chunks(realms, w)).collect();
        let cold = dump.is_cold(&samples(realms, windows, &mapped));
        dump.expect_walk();
        cold.then(|| ReadAhead::of(dump, realms, windows, &mapped, room))
    }

    /// The same without checking the cache; `None` only if there is no pool.
    pub fn new(realms: &'a [Arc<Realm>], windows: &[Window], room: u64) -> Option<Self> {
        let dump = realms.first()?.space.dump();
        let mapped: Vec<Vec<Chunk>> = windows.iter().map(|w| chunks(realms, w)).collect();
        Some(ReadAhead::of(dump, realms, windows, &mapped, room))
    }

    fn of(
        dump: &'a Dump,
        realms: &[Arc<Realm>],
        windows: &[Window],
        mapped: &[Vec<Chunk>],
        room: u64,
    ) -> Self {
        // Read the tables first, also in file order: they have the positions of the pages.
        let tables = mapped.iter().flatten().map(frame);
        let offsets = tables.filter_map(|pfn| dump.file_offset(pfn)).collect();
        read(dump, &Stretches::cover(offsets), &mut |_| true);
        ReadAhead {
            dump,
            batches: batches(realms, windows, mapped, room),
            state: Mutex::default(),
            moved: Condvar::new(),
        }
    }

    /// All windows, in the order in which they become ready.
    pub fn order(&self) -> Vec<usize> {
        let windows = self.batches.iter().flat_map(|b| &b.windows);
        windows.map(|(window, _)| *window).collect()
    }

    /// Reads everything; run this on its own thread.
    pub fn run(&self, progress: &Progress) {
        let mut before = 0;
        for (number, batch) in self.batches.iter().enumerate() {
            // Two batches are in memory: one being walked, one being read.
            let walked = before;
            before += batch.windows.len();
            let earlier = self.batches.get(number.wrapping_sub(1));
            let enough = walked - earlier.map_or(0, |b| b.windows.len());
            self.wait(progress, |state| state.walked >= enough);
            self.advance(|state| (state.batch, state.read) = (number, 0));
            read(self.dump, &batch.stretches, &mut |offset| {
                self.advance(|state| state.read = offset);
                !progress.is_cancelled()
            });
            // A read error occurs again when the data is used, and is reported there.
            self.advance(|state| state.read = u64::MAX);
        }
    }

    /// Waits until the nth window of [`ReadAhead::order`] has been read.
    pub fn wait_for(&self, nth: usize, progress: &Progress) {
        let mut nth = nth;
        for (number, batch) in self.batches.iter().enumerate() {
            if let Some((_, end)) = batch.windows.get(nth) {
                self.wait(progress, |s| (s.batch, s.read) >= (number, *end));
                return;
            }
            nth -= batch.windows.len();
        }
    }

    /// Records that a window has been walked.
    pub fn walked(&self) {
        self.advance(|state| state.walked += 1);
    }

    fn advance(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.moved.notify_all();
    }

    fn wait(&self, progress: &Progress, ready: impl Fn(&State) -> bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !ready(&state) && !progress.is_cancelled() {
            let waited = self.moved.wait_timeout(state, PATIENCE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Reads stretches in order; `told` receives the progress and returns whether to continue.
fn read(dump: &Dump, stretches: &Stretches, told: &mut dyn FnMut(u64) -> bool) {
    let mut buffer = vec![0; PIECE];
    for (start, end) in stretches.iter() {
        let mut at = start;
        while at < end {
            let length = (end - at).min(PIECE as u64);
            let got = dump.load(at, length, &mut buffer);
            if !matches!(got, Ok(n) if n == length) {
                return;
            }
            at += length;
            if !told(at) {
                return;
            }
        }
    }
}

/// The mapped chunks of a window.
fn chunks(realms: &[Arc<Realm>], window: &Window) -> Vec<Chunk> {
    let Some(realm) = realms.get(window.realm) else {
        return Vec::new();
    };
    match window.segments.is_empty() {
        true => window.chunks.clone(),
        false => realm.space.mapped(window.start, window.end).chunks,
    }
}

/// Frames of pool, evenly sampled. Tables and the first pages of heap segments have been read
/// before, so pages from the middle of chunks are taken.
fn samples(realms: &[Arc<Realm>], windows: &[Window], mapped: &[Vec<Chunk>]) -> Vec<Pfn> {
    let all: Vec<(usize, Chunk)> = windows
        .iter()
        .zip(mapped)
        .flat_map(|(window, chunks)| chunks.iter().map(|c| (window.realm, *c)))
        .collect();
    let step = (all.len() / SAMPLES).max(1);
    let mut out = Vec::new();
    for (realm, chunk) in all.iter().step_by(step) {
        let mut frames = Vec::new();
        if let Some(realm) = realms.get(*realm) {
            realm.space.chunk_frames(*chunk, |pfn| frames.push(pfn));
        }
        out.extend(frames.get(frames.len() / 2).copied());
    }
    out
}

/// A frame that represents a chunk: its page table, or its first page.
fn frame(chunk: &Chunk) -> Pfn {
    match chunk.mapped {
        ChunkMapping::Table(pfn) | ChunkMapping::Large(pfn) => pfn,
    }
}

fn batches(
    realms: &[Arc<Realm>],
    windows: &[Window],
    mapped: &[Vec<Chunk>],
    room: u64,
) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut offsets: Vec<u64> = Vec::new();
    let mut ends = Vec::new();
    let mut close = |offsets: &mut Vec<u64>, ends: &mut Vec<(usize, u64)>| {
        ends.sort_by_key(|(_, end)| *end);
        batches.push(Batch {
            stretches: Stretches::cover(std::mem::take(offsets)),
            windows: std::mem::take(ends),
        });
    };
    for (number, (window, chunks)) in windows.iter().zip(mapped).enumerate() {
        let first = offsets.len();
        if let Some(realm) = realms.get(window.realm) {
            for chunk in chunks {
                places(&realm.space, *chunk, &mut offsets);
            }
        }
        let own = offsets.get(first..).unwrap_or_default();
        let end = own.iter().max().map_or(0, |at| at + PAGE_SIZE);
        ends.push((number, end));
        if offsets.len() as u64 * PAGE_SIZE > room / 2 {
            close(&mut offsets, &mut ends);
        }
    }
    close(&mut offsets, &mut ends);
    batches
}

/// Collects the file offsets of a chunk's pages.
fn places(space: &AddressSpace, chunk: Chunk, out: &mut Vec<u64>) {
    space.chunk_frames(chunk, |pfn| out.extend(space.dump().file_offset(pfn)));
}
