//! Builds the index: plans windows, walks them in parallel, and provides snapshots.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::characters::grouped;
use crate::memory::Va;
use crate::pool::legacy::Encoding;

use super::Snapshot;
use super::partition::{self, work};
use super::progress::Progress;
use super::read_ahead::ReadAhead;
use super::realm::Realm;
use super::segment::{Segment, Word};
use super::totals::{Totals, WindowTotals};
use super::window::{Scratch, Window, walk};

/// Results of the finished windows.
#[derive(Default)]
struct Finished {
    segments: Vec<Arc<Segment>>,
    totals: Totals,
    windows: usize,
    failed: Vec<Va>,
    /// Bytes of memory of the segments, including those still being built.
    held: u64,
    /// Number of windows walked when the limit was reached.
    full: Option<usize>,
    left_out: u64,
}

impl Finished {
    /// Reserves memory for the words of a window, if any is left. After the first failure it
    /// always fails, so that the stored blocks are those of the start of the walk.
    fn reserve(&mut self, blocks: usize, limit: u64) -> bool {
        let bytes = (blocks * size_of::<Word>()) as u64;
        if self.full.is_none() && self.held.saturating_add(bytes) > limit {
            self.full = Some(self.windows);
        }
        match self.full {
            None => self.held += bytes,
            Some(_) => self.left_out += blocks as u64,
        }
        self.full.is_none()
    }
}

/// A walk over the whole pool.
pub struct IndexBuilder {
    encoding: Encoding,
    realms: Vec<Arc<Realm>>,
    windows: Vec<Window>,
    notes: Vec<String>,
    limit: u64,
    finished: Mutex<Finished>,
    progress: Arc<Progress>,
}

impl IndexBuilder {
    /// Plans the walk over the pools of the system and of the sessions: divides their regions
    /// into windows.
    pub fn plan(encoding: Encoding, realms: Vec<Arc<Realm>>, progress: Arc<Progress>) -> Self {
        let mut notes = Vec::new();
        let mut windows = Vec::new();
        for (number, realm) in realms.iter().enumerate() {
            windows.extend(partition::plan(number, realm, &mut notes));
        }
        let of = |w: &Window| realms.get(w.realm).map_or(0, |realm| work(realm, w));
        let pages: u64 = windows.iter().map(of).sum();
        progress.pages_all.store(pages, Ordering::Relaxed);
        progress.windows_all.store(windows.len(), Ordering::Relaxed);
        IndexBuilder {
            encoding,
            realms,
            windows,
            notes,
            limit: u64::MAX,
            finished: Mutex::default(),
            progress,
        }
    }

    /// Sets the memory limit for blocks in bytes. At the limit, the walk continues to count but
    /// stores no more blocks.
    #[must_use]
    pub fn limited_to(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// Walks all windows on `pool`; returns when done or cancelled. Other threads may take
    /// snapshots meanwhile. If the file is not cached, it is read in file order at the same
    /// time.
    pub fn run(&self, pool: &rayon::ThreadPool) {
        self.run_with(
            pool,
            ReadAhead::plan(&self.realms, &self.windows, room()).as_ref(),
        );
    }

    /// As [`IndexBuilder::run`], but always reads ahead and keeps about `room` bytes of the
    /// file in memory.
    pub fn run_ahead(&self, pool: &rayon::ThreadPool, room: u64) {
        self.run_with(
            pool,
            ReadAhead::new(&self.realms, &self.windows, room).as_ref(),
        );
    }

    fn run_with(&self, pool: &rayon::ThreadPool, ahead: Option<&ReadAhead<'_>>) {
        let order = match ahead {
            Some(ahead) => ahead.order(),
            None => (0..self.windows.len()).collect(),
        };
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let ahead = ahead.filter(|ahead| {
                let read = || ahead.run(&self.progress);
                let reader = std::thread::Builder::new().spawn_scoped(scope, read);
                reader.is_ok()
            });
            pool.broadcast(|_| self.work(&order, &next, ahead));
        });
    }

    /// Runs a worker: takes windows until none are left.
    fn work(&self, order: &[usize], next: &AtomicUsize, ahead: Option<&ReadAhead<'_>>) {
        let mut scratch = Scratch::default();
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            let window = order.get(nth).and_then(|at| self.windows.get(*at));
            let Some(window) = window else {
                return;
            };
            if let Some(ahead) = ahead {
                ahead.wait_for(nth, &self.progress);
            }
            if self.progress.is_cancelled() {
                return;
            }
            self.walk_window(window, &mut scratch);
            if let Some(ahead) = ahead {
                ahead.walked();
            }
        }
    }

    fn walk_window(&self, window: &Window, scratch: &mut Scratch) {
        let Some(realm) = self.realms.get(window.realm) else {
            return;
        };
        let wanted = || !self.progress.is_cancelled();
        // If a dump triggers a bug in the walk, only one window is lost.
        let walked = catch_unwind(AssertUnwindSafe(|| {
            walk(realm, self.encoding, window, scratch, &wanted)
        }));
        match walked {
            Ok(Some(totals)) => self.take(realm, window, scratch, &totals),
            Ok(None) => return,
            Err(_) => {
                *scratch = Scratch::default();
                let mut finished = self.finished();
                finished.failed.push(window.start);
                finished.windows += 1;
            }
        }
        let pages = work(realm, window);
        self.progress.pages_done.fetch_add(pages, Ordering::Relaxed);
        self.progress.windows_done.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a finished window; its words only if there is memory for them.
    fn take(&self, realm: &Realm, window: &Window, scratch: &Scratch, totals: &WindowTotals) {
        let keep = scratch.len() > 0 && self.finished().reserve(scratch.len(), self.limit);
        let segment = keep.then(|| Arc::new(scratch.segment(window, realm.owner())));
        let mut finished = self.finished();
        finished.totals.add(totals);
        finished.segments.extend(segment);
        finished.windows += 1;
    }

    fn finished(&self) -> MutexGuard<'_, Finished> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The finished part of the index.
    pub fn snapshot(&self) -> Snapshot {
        let finished = self.finished();
        let mut segments = finished.segments.clone();
        let totals = Arc::new(finished.totals.clone());
        let notes = self.notes_on(&finished);
        let (windows_done, left_out) = (finished.windows, finished.left_out);
        let failed_windows = finished.failed.len();
        drop(finished);
        segments.sort_by_key(|s| (s.session(), s.base));
        Snapshot {
            segments: segments.into(),
            totals,
            windows_done,
            windows_all: self.windows.len(),
            notes: notes.into(),
            failed_windows,
            left_out,
            kept: None,
            kept_sizes: None,
        }
    }

    fn notes_on(&self, finished: &Finished) -> Vec<String> {
        let totals = &finished.totals;
        let mut notes = self.notes.clone();
        if !totals.damaged.is_empty() {
            notes.push(format!("pool pages with a damaged chain of blocks: {}; blocks behind the damage may be missing", grouped(totals.damaged.len() as u64)));
        }
        if totals.unplaced_bytes > 0 {
            notes.push(format!(
                "{} bytes of heap segments could not be parsed: headers that are damaged, paged out or not in the dump",
                grouped(totals.unplaced_bytes)
            ));
        }
        if totals.doubted > 0 {
            notes.push(format!(
                "{} pages of special pool have a damaged fill pattern: a driver wrote outside a \
                    block there, or the block has another size, at most a page",
                totals.doubted
            ));
        }
        if totals.overlapping > 0 {
            notes.push(format!(
                "{} blocks are left out because they overlap others: the structures that lead to \
                    one of each pair are damaged",
                totals.overlapping
            ));
        }
        let likely: u64 = totals.tags.values().map(|t| t.heuristic.blocks()).sum();
        if likely > 0 {
            notes.push(format!(
                "{likely} blocks were recognised by their headers only, because the structures \
                    that lead to them are damaged or not in the dump: they are marked heuristic \
                    and not included in totals; a few may be free"
            ));
        }
        for base in &finished.failed {
            notes.push(format!(
                "the window of 64 MB at {base} could not be walked: its blocks are missing"
            ));
        }
        if let Some(windows) = finished.full {
            notes.push(format!(
                "the index reached its limit of {} after {windows} of {} windows: totals per tag \
                    are complete, but {} blocks are not listed; use --memory SIZE to list more",
                amount(self.limit),
                self.windows.len(),
                finished.left_out
            ));
        }
        if self.progress.is_cancelled() {
            notes.push("the walk was cancelled: the index is partial".into());
        }
        notes
    }
}

/// A byte count with a suitable unit.
fn amount(bytes: u64) -> String {
    let units = [(30, "GB"), (20, "MB"), (10, "KB")];
    let fitting = units.iter().find(|(shift, _)| bytes >> shift > 0);
    match fitting {
        Some((shift, unit)) => format!("{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes} bytes"),
    }
}

/// Bytes of the file that read-ahead may keep in memory: half of what the system reports as
/// available.
fn room() -> u64 {
    const UNKNOWN: u64 = 1 << 30;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let kb = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kb.map_or(UNKNOWN, |kb| kb.saturating_mul(1024) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reached_limit_stays_reached() {
        let mut finished = Finished::default();
        assert!(finished.reserve(10, 100));
        finished.windows = 7;
        assert!(!finished.reserve(3, 100));
        assert!(!finished.reserve(1, 100));
        assert_eq!((finished.held, finished.left_out), (80, 4));
        assert_eq!(finished.full, Some(7));
    }

    #[test]
    fn amounts_have_a_suitable_unit() {
        let said = [2 << 30, 1_572_864, 1023, 100 << 10].map(amount);
        assert_eq!(said, ["2.0 GB", "1.5 MB", "1023 bytes", "100.0 KB"]);
    }
}
