//! Time of `diagnose` in a new process, on a warm dump of 4 GB with 210 drivers and 547
//! tags: without an index, and again with the cached index and references. Also `refs` and
//! `drivers`.
//!
//! `cargo bench --bench diagnose [-- MEGABYTES]`; 4096 MB of pool by default, built in the
//! temporary directory (`TMPDIR`). Limits: 10 s without an index, 2 s with it.
//! `POOLSCOPE=PATH` measures another program; `DUMP=FILE` keeps the dump there, or uses an
//! existing one.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use poolscope::synth::Container;

// The machine of the tests for code analysis.
#[allow(dead_code, unused_imports)]
#[path = "../tests/it/shapes/mod.rs"]
mod shapes;

const RUNS: usize = 5;
const LEAK: &str = "Qx7z";
fn make(path: &Path, megabytes: u64) {
    let (machine, code) = shapes::many::machine(megabytes << 8);
    println!("{code} bytes of code");
    machine.write(path, Container::BitmapKernel).unwrap();
}

fn program() -> PathBuf {
    let other = std::env::var_os("POOLSCOPE");
    other.map_or_else(|| env!("CARGO_BIN_EXE_poolscope").into(), PathBuf::from)
}

fn run(cache: &Path, arguments: &[&str]) -> Duration {
    let start = Instant::now();
    let status = Command::new(program())
        .args(arguments)
        .env_remove("_NT_SYMBOL_PATH")
        .env("XDG_CACHE_HOME", cache)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success(), "{arguments:?}");
    start.elapsed()
}

/// Prints minimum, median and maximum; returns the median.
fn row(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let ms = |t: Duration| t.as_secs_f64() * 1000.0;
    let (first, last) = (times[0], times[times.len() - 1]);
    let median = times[times.len() / 2];
    println!(
        "{what:<40} {:>9.1} {:>9.1} {:>9.1} ms",
        ms(first),
        ms(median),
        ms(last)
    );
    median
}

fn main() {
    let asked = std::env::args().skip(1).find_map(|a| a.parse().ok());
    let folder = tempfile::tempdir().unwrap();
    let dump = std::env::var_os("DUMP");
    let dump = dump.map_or_else(|| folder.path().join("MEMORY.DMP"), PathBuf::from);
    if !dump.exists() {
        make(&dump, asked.unwrap_or(4096));
    }
    let file = dump.to_str().unwrap();
    let bytes = dump.metadata().unwrap().len();
    println!(
        "{} MB, {} drivers, {} tags; minimum, median, maximum of {RUNS}",
        bytes >> 20,
        shapes::many::DRIVERS,
        shapes::many::TAGS
    );
    let cache = folder.path().join("cache");
    // Reads the file once, so that it is in the page cache.
    run(&cache, &["poolused", file]);
    run(&cache, &["diagnose", file, "--no-cache"]);
    let times = |arguments: &[&str]| (0..RUNS).map(|_| run(&cache, arguments)).collect();
    let first = row(
        "diagnose, not yet indexed",
        times(&["diagnose", file, "--no-cache"]),
    );
    run(&cache, &["diagnose", file]);
    let again = row("diagnose, indexed", times(&["diagnose", file]));
    row(
        "drivers, not yet indexed",
        times(&["drivers", file, "--no-cache"]),
    );
    row("drivers, indexed", times(&["drivers", file]));
    row("refs TAG, indexed", times(&["refs", file, LEAK]));
    row(
        "refs TAG, not yet indexed",
        times(&["refs", file, LEAK, "--no-cache"]),
    );
    assert!(first.as_secs_f64() < 10.0 && again.as_secs_f64() < 2.0);
}
