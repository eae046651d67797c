//! Builds the index: plans windows, walks them in parallel, hands out snapshots.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::kernel::Kernel;
use crate::memory::{CHUNK_SIZE, Chunk, PAGE_SIZE, Va};
use crate::pool::big::BigTable;
use crate::pool::block::PoolKind;
use crate::pool::heap::{Heaps, PageSegment};
use crate::pool::legacy::Encoding;
use crate::pool::lookaside::Parked;
use crate::pool::regions::{Region, Regions};

use super::Snapshot;
use super::segment::{Segment, WINDOW};
use super::totals::Totals;
use super::window::{Context, HeapPool, Scratch, Window, walk};

/// How far the walk is; read from any thread.
#[derive(Debug, Default)]
pub struct Progress {
    pages_done: AtomicU64,
    pages_all: AtomicU64,
    windows_done: AtomicUsize,
    windows_all: AtomicUsize,
    cancelled: AtomicBool,
}

impl Progress {
    /// Asks the walk to stop; each worker does after the window it is in.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// True once [`Progress::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Pages of mapped pool that are walked, and in all (an upper bound: 512 per table).
    pub fn pages(&self) -> (u64, u64) {
        (
            self.pages_done.load(Ordering::Relaxed),
            self.pages_all.load(Ordering::Relaxed),
        )
    }

    /// Windows that are walked, and in all.
    pub fn windows(&self) -> (usize, usize) {
        (
            self.windows_done.load(Ordering::Relaxed),
            self.windows_all.load(Ordering::Relaxed),
        )
    }

    /// The share done, 0.0 to 1.0.
    pub fn share(&self) -> f64 {
        match self.pages() {
            (_, 0) => 0.0,
            (done, all) => done as f64 / all as f64,
        }
    }
}

/// What finished windows add to.
#[derive(Default)]
struct Finished {
    segments: Vec<Arc<Segment>>,
    totals: Totals,
    windows: usize,
    failed: Vec<Va>,
}

/// A walk over the whole pool.
pub struct IndexBuilder<'k> {
    kernel: &'k Kernel,
    big: Arc<BigTable>,
    parked: Parked,
    heaps: Option<Arc<HeapPool>>,
    windows: Vec<Window>,
    notes: Vec<String>,
    finished: Mutex<Finished>,
    progress: Arc<Progress>,
}

impl<'k> IndexBuilder<'k> {
    /// Plans the walk: reads the lists of parked blocks and cuts the regions into windows.
    pub fn plan(
        kernel: &'k Kernel,
        regions: &Regions,
        heaps: Option<Arc<HeapPool>>,
        big: Arc<BigTable>,
        progress: Arc<Progress>,
    ) -> Self {
        let parked = Parked::read(kernel);
        let mut notes = regions.notes.clone();
        notes.extend(big.notes.iter().cloned());
        notes.extend(parked.notes.iter().cloned());
        let mut windows = Vec::new();
        if let Some(pool) = &heaps {
            notes.extend(pool.heaps.notes.iter().cloned());
            notes.extend(pool.parking.notes.iter().cloned());
        }
        for region in regions.regions.iter().filter(|r| r.chains) {
            cut(kernel, region, &mut windows, &mut notes);
        }
        if let Some(pool) = &heaps {
            add_segments(&pool.heaps, &mut windows);
        }
        let chains = regions.regions.iter().any(|r| r.chains);
        if heaps.is_none() && !chains && regions.notes.is_empty() {
            notes.push(
                "the segment heaps of the pool were not found: its small blocks are missing".into(),
            );
        }
        add_windows_of_big(&big, &mut windows);
        windows.sort_by_key(|w| w.start);
        let pages: u64 = windows.iter().map(|w| work(heaps.as_deref(), w)).sum();
        progress.pages_all.store(pages, Ordering::Relaxed);
        progress.windows_all.store(windows.len(), Ordering::Relaxed);
        IndexBuilder {
            kernel,
            big,
            parked,
            heaps,
            windows,
            notes,
            finished: Mutex::default(),
            progress,
        }
    }

    /// Walks all windows on `pool`; returns when done or cancelled. Snapshots may be
    /// taken from other threads meanwhile.
    pub fn run(&self, pool: &rayon::ThreadPool) {
        pool.install(|| {
            self.windows
                .par_iter()
                .for_each_init(Scratch::default, |scratch, window| {
                    if !self.progress.is_cancelled() {
                        self.walk_window(window, scratch);
                    }
                });
        });
    }

    fn walk_window(&self, window: &Window, scratch: &mut Scratch) {
        let context = Context {
            space: &self.kernel.space,
            big: &self.big,
            parked: &self.parked,
            encoding: Encoding::of_build(self.kernel.build),
            heaps: self.heaps.as_deref(),
        };
        // A dump that finds a bug in the walk costs one window, not the program.
        let walked = catch_unwind(AssertUnwindSafe(|| walk(context, window, scratch)));
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        match walked {
            Ok((segment, totals)) => {
                finished.totals.add(&totals);
                if !segment.is_empty() {
                    finished.segments.push(Arc::new(segment));
                }
            }
            Err(_) => {
                *scratch = Scratch::default();
                finished.failed.push(window.start);
            }
        }
        finished.windows += 1;
        let pages = work(self.heaps.as_deref(), window);
        self.progress.pages_done.fetch_add(pages, Ordering::Relaxed);
        self.progress.windows_done.fetch_add(1, Ordering::Relaxed);
    }

    /// What is finished now.
    pub fn snapshot(&self) -> Snapshot {
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let mut segments = finished.segments.clone();
        let totals = Arc::new(finished.totals.clone());
        let (windows_done, failed) = (finished.windows, finished.failed.clone());
        drop(finished);
        segments.sort_by_key(|s| s.base);
        let mut notes = self.notes.clone();
        if !totals.damaged.is_empty() {
            notes.push(format!("{} pool pages have a damaged chain of blocks: blocks behind the damage may be missing", totals.damaged.len()));
        }
        if totals.unplaced_bytes > 0 {
            notes.push(format!(
                "{} bytes of heap segments could not be divided into blocks: headers that are damaged, paged out or not in the dump",
                totals.unplaced_bytes
            ));
        }
        for base in failed {
            notes.push(format!(
                "the window of 64 MB at {base} could not be walked: its blocks are missing"
            ));
        }
        if self.progress.is_cancelled() {
            notes.push("the walk was cancelled: the index is partial".into());
        }
        Snapshot {
            segments: segments.into(),
            totals,
            big: Arc::clone(&self.big),
            windows_done,
            windows_all: self.windows.len(),
            notes: notes.into(),
        }
    }
}

/// Pages that a window makes the walk look at, at most.
fn work(heaps: Option<&HeapPool>, window: &Window) -> u64 {
    let context = |s: &PageSegment| heaps?.heaps.contexts.get(s.context);
    let segments = window.segments.iter().filter_map(context);
    let bytes: u64 = segments.map(|c| c.segment_bytes).sum();
    window.chunks.len() as u64 * (CHUNK_SIZE / PAGE_SIZE) + bytes / PAGE_SIZE
}

/// Gives each heap segment to the window that it lies in. Segments are aligned to their
/// size, so none crosses a window's border.
fn add_segments(heaps: &Heaps, windows: &mut Vec<Window>) {
    windows.sort_by_key(|w| w.start);
    let mut extra: Vec<Window> = Vec::new();
    for &segment in &heaps.segments {
        let start = window_start(segment.va);
        let holder = windows
            .binary_search_by_key(&start, |w| window_start(w.start))
            .ok();
        if let Some(window) = holder.and_then(|i| windows.get_mut(i)) {
            // A region may begin or end inside the window; its segments don't.
            window.start = start;
            window.end = Va(start.0.saturating_add(WINDOW));
            window.segments.push(segment);
            continue;
        }
        match extra.last_mut().filter(|w| w.start == start) {
            Some(window) => window.segments.push(segment),
            None => extra.push(Window {
                start,
                end: Va(start.0.saturating_add(WINDOW)),
                kind: heaps.contexts.get(segment.context).map(|c| c.kind),
                chunks: Vec::new(),
                segments: vec![segment],
            }),
        }
    }
    windows.append(&mut extra);
}

fn window_start(va: Va) -> Va {
    Va(va.0 & !(WINDOW - 1))
}

/// Cuts a region's mapped chunks into windows.
fn cut(kernel: &Kernel, region: &Region, windows: &mut Vec<Window>, notes: &mut Vec<String>) {
    let mapped = kernel.space.mapped(region.start, region.end);
    for (va, bytes, fault) in &mapped.unreadable {
        notes.push(format!(
            "page tables for {bytes:#x} bytes of {} pool at {va} can't be read ({fault})",
            region.kind.word()
        ));
    }
    if mapped.overrun {
        notes.push(format!("the page tables of the {} pool name more pages than the dump holds: the walk of it stops early", region.kind.word()));
    }
    let mut chunks = mapped.chunks.as_slice();
    while let Some(first) = chunks.first() {
        let start = window_start(first.va);
        let end = start.0.saturating_add(WINDOW);
        let count = chunks.partition_point(|c: &Chunk| c.va.0 < end);
        let (here, rest) = chunks.split_at(count.max(1));
        windows.push(Window {
            start: start.max(region.start),
            end: Va(end.min(region.end.0)),
            kind: Some(region.kind),
            chunks: here.to_vec(),
            segments: Vec::new(),
        });
        chunks = rest;
    }
}

/// Big allocations that are paged out whole, or outside the regions, still are
/// allocations: windows without pages list them.
fn add_windows_of_big(big: &BigTable, windows: &mut Vec<Window>) {
    windows.sort_by_key(|w| w.start);
    let mut extra: Vec<Window> = Vec::new();
    for block in &big.blocks {
        let after = windows.partition_point(|w| w.start <= block.va);
        let covered = after
            .checked_sub(1)
            .and_then(|i| windows.get(i))
            .is_some_and(|w| block.va < w.end);
        let again = extra.last().is_some_and(|w| block.va < w.end);
        if !covered && !again {
            let start = after
                .checked_sub(1)
                .and_then(|i| windows.get(i))
                .map_or(Va(0), |w| w.end);
            let end = windows.get(after).map_or(Va(u64::MAX), |w| w.start);
            let aligned = window_start(block.va);
            extra.push(Window {
                start: aligned.max(start),
                end: Va(aligned.0.saturating_add(WINDOW)).min(end),
                kind: None::<PoolKind>,
                chunks: Vec::new(),
                segments: Vec::new(),
            });
        }
    }
    windows.append(&mut extra);
}
