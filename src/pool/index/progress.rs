//! How far a walk is, and that it is to end.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How far the walk is; read from any thread.
#[derive(Debug, Default)]
pub struct Progress {
    pub(super) pages_done: AtomicU64,
    pub(super) pages_all: AtomicU64,
    pub(super) windows_done: AtomicUsize,
    pub(super) windows_all: AtomicUsize,
    cancelled: AtomicBool,
}

impl Progress {
    /// Asks the walk to stop; each worker does after the 2 MB it is in, and the window
    /// they are of is not in the index.
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
