//! Builds the index: plans windows, walks them in parallel, hands out snapshots.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::memory::Va;
use crate::pool::legacy::Encoding;

use super::Snapshot;
use super::ahead::Ahead;
use super::plan::{self, work};
use super::realm::Realm;
use super::segment::Segment;
use super::totals::Totals;
use super::window::{Scratch, Window, walk};

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
pub struct IndexBuilder {
    encoding: Encoding,
    realms: Vec<Arc<Realm>>,
    windows: Vec<Window>,
    notes: Vec<String>,
    finished: Mutex<Finished>,
    progress: Arc<Progress>,
}

impl IndexBuilder {
    /// Plans the walk over the system's pool and those of the sessions: cuts their
    /// regions into windows.
    pub fn plan(encoding: Encoding, realms: Vec<Arc<Realm>>, progress: Arc<Progress>) -> Self {
        let mut notes = Vec::new();
        let mut windows = Vec::new();
        for (number, realm) in realms.iter().enumerate() {
            windows.extend(plan::plan(number, realm, &mut notes));
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
            finished: Mutex::default(),
            progress,
        }
    }

    /// Walks all windows on `pool`; returns when done or cancelled. Snapshots may be
    /// taken from other threads meanwhile. A file that is not in memory yet is read in
    /// its own order at the same time.
    pub fn run(&self, pool: &rayon::ThreadPool) {
        self.run_with(
            pool,
            Ahead::plan(&self.realms, &self.windows, room()).as_ref(),
        );
    }

    /// The same, reading ahead whether the file is in memory or not, and keeping about
    /// `room` bytes of it there.
    pub fn run_ahead(&self, pool: &rayon::ThreadPool, room: u64) {
        self.run_with(pool, Ahead::new(&self.realms, &self.windows, room).as_ref());
    }

    fn run_with(&self, pool: &rayon::ThreadPool, ahead: Option<&Ahead<'_>>) {
        let order = match ahead {
            Some(ahead) => ahead.order(),
            None => (0..self.windows.len()).collect(),
        };
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            if let Some(ahead) = ahead {
                scope.spawn(|| ahead.run(&self.progress));
            }
            pool.broadcast(|_| self.work(&order, &next, ahead));
        });
    }

    /// One worker: takes the next window until there is none.
    fn work(&self, order: &[usize], next: &AtomicUsize, ahead: Option<&Ahead<'_>>) {
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
        // A dump that finds a bug in the walk costs one window, not the program.
        let walked = catch_unwind(AssertUnwindSafe(|| {
            walk(realm, self.encoding, window, scratch)
        }));
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
        let pages = work(realm, window);
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
        segments.sort_by_key(|s| (s.session(), s.base));
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
        if totals.doubted > 0 {
            notes.push(format!(
                "{} pages of special pool have a broken pattern: somebody wrote outside of a block there, or its size is another one, at most a page",
                totals.doubted
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
            windows_done,
            windows_all: self.windows.len(),
            notes: notes.into(),
        }
    }
}

/// Bytes of file that may be kept in memory while it is read ahead: half of what the
/// system says it could free.
fn room() -> u64 {
    const UNKNOWN: u64 = 1 << 30;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let kb = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kb.map_or(UNKNOWN, |kb| kb.saturating_mul(1024) / 2)
}
