//! Runs the seeds and the stored fuzzing cases through the same functions as the harnesses
//! in `fuzz/`: no panics, no hangs, and limited memory.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{NOW, PEAK, alone};

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

/// Maximum bytes that a run may allocate.
const MOST_MEMORY: usize = 512 << 20;

/// The harnesses have a limit of one second with fully optimised code. This code is less
/// optimised and shares the machine with other tests, so the limit is higher; it still detects
/// hangs.
const MOST_TIME: Duration = Duration::from_secs(if cfg!(optimized) { 2 } else { 20 });

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
    let _alone = alone();
    let target = fuzz::TARGETS.iter().find(|t| t.name == name).unwrap();
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    let seeds = seeds.into_iter().enumerate();
    let seeds = seeds.map(|(i, seed)| (PathBuf::from(format!("seed-{i}")), seed));
    let stored = cases(name);
    assert!(!stored.is_empty(), "no stored inputs of {name}");
    // Shared state of the target does not count for a run.
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
        fn stored_cases_of_every_target_pass() {
            let here = [$(stringify!($target)),*];
            let all: Vec<&str> = fuzz::TARGETS.iter().map(|t| t.name).collect();
            assert_eq!(here.as_slice(), all);
        }
    };
}

replayed![
    container,
    ranges,
    memory_images,
    page_tables,
    modules,
    images,
    identity,
    functions,
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
    evidence,
    series,
    verifier,
    whole,
];
