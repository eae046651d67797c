//! What fuzzing found, and what it begins with, through the very functions that the
//! harnesses in `fuzz/` call: no panic, nothing that hangs, nothing that takes all memory.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// One target at a time: the counters are everybody's.
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: every call goes to the system's allocator as it came; the counters are beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that a run may take beside what was there.
const MOST_MEMORY: usize = 512 << 20;

/// The limit of the harnesses is a second of optimised code. This is not, and shares the
/// machine with other tests: a hang is still told from work.
const MOST_TIME: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 2 });

/// The stored inputs of a target.
fn cases(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz_cases");
    let mut files: Vec<PathBuf> = fs::read_dir(root.join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    files.into_iter().map(read).collect()
}

/// Runs the seeds and the stored inputs of a target.
fn replay(name: &str) {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let target = fuzz::TARGETS.iter().find(|t| t.name == name).unwrap();
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    let seeds = seeds.into_iter().enumerate();
    let seeds = seeds.map(|(i, seed)| (PathBuf::from(format!("seed-{i}")), seed));
    let stored = cases(name);
    assert!(!stored.is_empty(), "no stored inputs of {name}");
    // What is made once is not a run's.
    fuzz::prepare(name);
    for (path, input) in seeds.chain(stored) {
        let before = NOW.load(Ordering::SeqCst);
        PEAK.store(before, Ordering::SeqCst);
        let start = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        assert!(done.is_ok(), "{name}: {} panics", path.display());
        let took = start.elapsed();
        assert!(
            took < MOST_TIME,
            "{name}: {} takes {took:?}",
            path.display()
        );
        let peak = PEAK.load(Ordering::SeqCst).saturating_sub(before);
        assert!(
            peak < MOST_MEMORY,
            "{name}: {} takes {peak} bytes",
            path.display()
        );
    }
}

macro_rules! replayed {
    ($($target:ident),* $(,)?) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn every_target_is_replayed() {
            let here = [$(stringify!($target)),*];
            let all: Vec<&str> = fuzz::TARGETS.iter().map(|t| t.name).collect();
            assert_eq!(here.as_slice(), all);
        }
    };
}

replayed![
    container,
    ranges,
    page_tables,
    modules,
    images,
    pdb,
    pooltag,
    big_tables,
    legacy,
    heaps,
    symbol_path,
    cabinet,
    index_file,
    keys,
    typed,
    whole,
];
