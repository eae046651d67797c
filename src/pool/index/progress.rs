//! Progress and cancellation of a walk.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The progress of a walk; can be read from any thread.
#[derive(Debug, Default)]
pub struct Progress {
    pub(super) pages_done: AtomicU64,
    pub(super) pages_all: AtomicU64,
    pub(super) windows_done: AtomicUsize,
    pub(super) windows_all: AtomicUsize,
    cancelled: AtomicBool,
}

impl Progress {
    /// Requests cancellation. Each worker stops after its current 2 MB; the window of such a
    /// worker is not added to the index.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// True once [`Progress::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Pages of mapped pool: walked, and total (an upper bound: 512 per table).
    pub fn pages(&self) -> (u64, u64) {
        (
            self.pages_done.load(Ordering::Relaxed),
            self.pages_all.load(Ordering::Relaxed),
        )
    }

    /// Windows: walked, and total.
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
