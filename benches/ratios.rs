//! How fast, as ratios within one run: the legacy index against `cat` of the same warm
//! file, 2 threads against 1, and the first screen at three dump sizes.
//!
//! `cargo bench --bench ratios [-- MEGABYTES]`; 4096 MB of pool by default, made by the
//! builder in the temporary directory (`TMPDIR`), every page of it really written.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use poolscope::engine::{Engine, Options};
use poolscope::pool::index::Progress;
use poolscope::synth;

const RUNS: usize = 7;

/// Minimum, median and maximum of several runs.
struct Times([Duration; 3]);

impl Times {
    fn of(mut run: impl FnMut()) -> Times {
        let mut all: Vec<Duration> = (0..RUNS)
            .map(|_| {
                let start = Instant::now();
                run();
                start.elapsed()
            })
            .collect();
        all.sort();
        Times([all[0], all[RUNS / 2], all[RUNS - 1]])
    }

    fn median(&self) -> f64 {
        self.0[1].as_secs_f64()
    }

    fn row(&self, what: &str, bytes: u64) {
        let [min, median, max] = self.0.map(|t| t.as_secs_f64() * 1000.0);
        let speed = bytes as f64 / self.median() / 1e9;
        println!("{what:<34} {min:>9.1} {median:>9.1} {max:>9.1} ms {speed:>7.2} GB/s");
    }
}

fn cat(file: &Path) {
    let status = Command::new("cat")
        .stdin(File::open(file).unwrap())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

fn index(file: &Path, threads: usize) -> u64 {
    let options = Options {
        threads,
        ..Options::default()
    };
    let engine = Engine::open(file, &options).unwrap();
    let snapshot = engine.index(Arc::new(Progress::default())).unwrap();
    let coverage = engine.total_coverage(&snapshot);
    // The builder leaves a few pages out, and pages a few out.
    let missing = coverage.nonpaged.missing_blocks() + coverage.paged.missing_blocks();
    assert!(missing < 1000, "{:#?}", coverage.sentences());
    snapshot.totals.listed
}

fn first_screen(file: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_poolscope"))
        .args(["poolused".as_ref(), file.as_os_str(), "2".as_ref()])
        .env_remove("_NT_SYMBOL_PATH")
        .output();
    assert!(output.unwrap().status.success());
}

fn make(directory: &Path, megabytes: u64) -> PathBuf {
    let file = directory.join(format!("{megabytes}.dmp"));
    synth::large(&file, megabytes << 20).unwrap();
    file
}

fn main() {
    let asked = std::env::args().skip(1).find_map(|a| a.parse().ok());
    let megabytes: u64 = asked.unwrap_or(4096);
    let directory = tempfile::tempdir().unwrap();
    let file = make(directory.path(), megabytes);
    let bytes = file.metadata().unwrap().len();
    println!(
        "{} MB dump, {RUNS} runs: minimum, median, maximum",
        bytes >> 20
    );

    let read = Times::of(|| cat(&file));
    read.row("cat of the warm file", bytes);
    let mut blocks = 0;
    let one = Times::of(|| blocks = index(&file, 1));
    one.row("open and index, 1 thread", bytes);
    let two = Times::of(|| blocks = index(&file, 2));
    two.row("open and index, 2 threads", bytes);
    println!("blocks in the index                {blocks:>9}");
    println!(
        "speed against cat, 2 threads       {:>9.2}",
        read.median() / two.median()
    );
    println!(
        "2 threads against 1                {:>9.2}",
        one.median() / two.median()
    );

    for size in [megabytes / 16, megabytes / 4, megabytes] {
        let file = make(directory.path(), size);
        Times::of(|| first_screen(&file)).row(&format!("first screen, {size} MB of pool"), 0);
    }
}
