//! What all harnesses share: the limit of time, and panics that the program contains.

use std::panic;
use std::process;
use std::time::Duration;

/// Processor time that a run may take. libFuzzer's own limit is the clock on the wall,
/// which on a busy machine says nothing.
pub const SECOND: Duration = Duration::from_secs(1);

/// Builds what the runs of a target share, and lets panics in the sources of some crates
/// pass.
///
/// Decoders that are not ours index by what the data says; the program calls them behind
/// `catch_unwind` and refuses the file. libFuzzer's hook would end at the first of those,
/// so they are let through to the program. Any other ends the run.
pub fn prepare(name: &str, contained: &'static [&'static str]) {
    panic::set_hook(Box::new(move |info| {
        let file = info.location().map_or("", |at| at.file());
        let inside = |name: &&str| file.contains(&format!("/{name}-"));
        if !contained.iter().any(|name| inside(name)) {
            eprintln!("{info}\n{}", std::backtrace::Backtrace::force_capture());
            process::abort();
        }
    }));
    poolscope_fuzz::prepare(name);
}

/// Runs, and ends when that took more processor time than it may.
pub fn run(run: fn(&[u8]), data: &[u8], limit: Duration) {
    let start = processor_time();
    run(data);
    let took = processor_time() - start;
    assert!(took <= limit, "takes {took:?}");
}

/// What all threads of the process have had.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the clock exists, and the pointer is to a whole structure.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(done, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
