//! Speed as ratios within one run: the index of chained blocks and of segment heaps
//! relative to `dd bs=1M` of the same warm file, 2 threads relative to 1, and the first
//! screen at three dump sizes. Also: making and reopening evidence, and comparing three dumps.
//!
//! `cargo bench --bench ratios [-- MEGABYTES]`; 4096 MB of pool by default, built in the
//! temporary directory (`TMPDIR`); every page is really written.
#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use poolscope::engine::{Engine, Options};
use poolscope::pool::index::{Progress, Snapshot};
use poolscope::synth::{self, era::WIN10_2004};

const RUNS: usize = 7;

/// Minimum, median and maximum of several runs.
struct Times([Duration; 3]);

/// Closing a dump (unmapping 4 GB) is not part of opening and indexing it, so the result of
/// `run` is dropped after the clock stops.
fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let made = run();
    let elapsed = start.elapsed();
    drop(made);
    elapsed
}

impl Times {
    fn new(mut all: Vec<Duration>) -> Times {
        all.sort();
        Times([all[0], all[all.len() / 2], all[all.len() - 1]])
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

fn dd(file: &Path) {
    let from = format!("if={}", file.display());
    let status = Command::new("dd")
        .args([from.as_str(), "of=/dev/null", "bs=1M"])
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

fn index(file: &Path, threads: usize, blocks: &mut u64) -> (Engine, Snapshot) {
    let options = Options {
        threads,
        ..Options::default()
    };
    let engine = Engine::open(file, &options).unwrap();
    let snapshot = engine.index(Arc::new(Progress::default())).unwrap();
    let coverage = engine.total_coverage(&snapshot);
    // A few blocks are missing, because the builder leaves a few pages out.
    let missing = coverage.nonpaged.missing_blocks() + coverage.paged.missing_blocks();
    assert!(missing < 1000, "{:#?}", coverage.sentences());
    *blocks = snapshot.totals.listed;
    (engine, snapshot)
}

fn first_screen(file: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_poolscope"))
        .args(["poolused".as_ref(), file.as_os_str(), "2".as_ref()])
        .env_remove("_NT_SYMBOL_PATH")
        .output();
    assert!(output.unwrap().status.success());
}

fn run(arguments: &[&OsStr]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poolscope"));
    command.args(arguments).args(["--no-cache", "--quiet"]);
    let output = command.env_remove("_NT_SYMBOL_PATH").output();
    assert!(output.unwrap().status.success(), "{arguments:?}");
}

/// Times in new processes: making evidence, its first screen, and comparing three dumps.
fn evidence(file: &Path) {
    let out = file.with_extension("evidence");
    let (dump, kept) = (file.as_os_str(), out.as_os_str());
    let make = ["evidence".as_ref(), dump, "--out".as_ref(), out.as_os_str()];
    let times = |arguments: &[&OsStr]| {
        let times = (0..RUNS).map(|_| timed(|| run(arguments)));
        Times::new(times.collect())
    };
    times(&make).row("evidence", 0);
    times(&["poolused".as_ref(), kept, "2".as_ref()]).row("first screen of the evidence", 0);
    times(&["diff".as_ref(), dump, dump, dump]).row("diff of three dumps", 0);
    let bytes = out.metadata().unwrap().len();
    println!("bytes of evidence                  {bytes:>9}\n");
    std::fs::remove_file(&out).unwrap();
}

fn make(directory: &Path, megabytes: u64) -> PathBuf {
    let file = directory.join(format!("{megabytes}.dmp"));
    synth::large(&file, megabytes << 20).unwrap();
    file
}

/// Times `dd` and the index alternately, so that other load on the machine affects both.
fn compare(what: &str, file: &Path) {
    let bytes = file.metadata().unwrap().len();
    println!("{what}: {} MB dump", bytes >> 20);
    dd(file);
    let mut blocks = 0;
    let mut times = [(); 3].map(|()| Vec::new());
    for _ in 0..RUNS {
        times[0].push(timed(|| dd(file)));
        times[1].push(timed(|| index(file, 1, &mut blocks)));
        times[2].push(timed(|| index(file, 2, &mut blocks)));
    }
    let [read, one, two] = times.map(Times::new);
    read.row("dd bs=1M of the warm file", bytes);
    one.row("open and index, 1 thread", bytes);
    two.row("open and index, 2 threads", bytes);
    println!("blocks in the index                {blocks:>9}");
    let ratio = |a: &Times, b: &Times| a.median() / b.median();
    println!(
        "speed against dd, 2 threads        {:>9.2}",
        ratio(&read, &two)
    );
    println!(
        "2 threads against 1                {:>9.2}\n",
        ratio(&one, &two)
    );
}

fn main() {
    let asked = std::env::args().skip(1).find_map(|a| a.parse().ok());
    let megabytes: u64 = asked.unwrap_or(4096);
    let directory = tempfile::tempdir().unwrap();
    println!("{RUNS} runs: minimum, median, maximum\n");

    let file = make(directory.path(), megabytes);
    compare("chained blocks (Windows 7)", &file);
    evidence(&file);
    std::fs::remove_file(&file).unwrap();

    let file = directory.path().join("leak.dmp");
    synth::large_leak(&file, megabytes << 20).unwrap();
    println!("one tag in all of nonpaged pool");
    evidence(&file);
    std::fs::remove_file(&file).unwrap();

    // Subsegments are a bit more than half full.
    let file = directory.path().join("heaps.dmp");
    let bytes = (megabytes << 20) * 9 / 16;
    synth::large_heaps(&file, &WIN10_2004, bytes, true).unwrap();
    compare("segment heaps (Windows 10 2004), pages in no order", &file);
    std::fs::remove_file(&file).unwrap();

    for size in [megabytes / 16, megabytes / 4, megabytes] {
        let file = make(directory.path(), size);
        let times = (0..RUNS).map(|_| timed(|| first_screen(&file))).collect();
        Times::new(times).row(&format!("first screen, {size} MB of pool"), 0);
        std::fs::remove_file(&file).unwrap();
    }
}
