//! Long operations end soon after they are cancelled.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use poolscope::engine::{Engine, Options};
use poolscope::pool::index::Progress;

#[test]
fn a_walk_can_be_cancelled_in_the_middle_of_a_window() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.dmp");
    poolscope::synth::large(&path, 256 << 20).unwrap();
    let options = Options {
        threads: 1,
        ..Options::default()
    };
    let engine = Engine::open(&path, &options).unwrap();
    let _ = (engine.system_pool(), engine.session_pools());
    let whole = Instant::now();
    let index = engine.index(Arc::default()).unwrap();
    let window = whole.elapsed() / index.windows_all as u32;
    // Cancel in the middle of the second window, independent of the machine's speed.
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let progress = Arc::new(Progress::default());
        let took = thread::scope(|scope| {
            let walker = scope.spawn(|| engine.index(Arc::clone(&progress)).unwrap());
            while progress.windows().0 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(window / 4);
            let asked = Instant::now();
            progress.cancel();
            let index = walker.join().unwrap();
            let took = asked.elapsed();
            assert!(index.windows_done >= 1);
            assert!(index.notes.iter().any(|n| n.contains("was cancelled")));
            took
        });
        fastest = fastest.min(took);
    }
    println!("a window takes {window:?}, an end {fastest:?}");
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

#[test]
fn the_requested_number_of_workers_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it.dmp");
    let machine = crate::machines::small();
    let container = poolscope::synth::Container::BitmapKernel;
    machine.write(&path, container).unwrap();
    let cores = thread::available_parallelism().unwrap().get();
    for (threads, wanted) in [(1, 1), (3, 3), (0, cores)] {
        let options = Options {
            threads,
            ..Options::default()
        };
        let engine = Engine::open(&path, &options).unwrap();
        let pool = engine.thread_pool().unwrap();
        assert_eq!(pool.current_num_threads(), wanted);
        let behind = engine.background_pool().unwrap().current_num_threads();
        assert_eq!(
            behind,
            if threads == 0 {
                (cores - 1).max(1)
            } else {
                threads
            }
        );
        // The answer does not depend on the number of threads.
        let index = engine.index(Arc::default()).unwrap();
        assert!(index.is_complete());
    }
}
