//! Worker threads of rayon, as many as the system can start.
//!
//! A container or `ulimit -u` can limit the number of threads. rayon panics if its global threads
//! can't be started, so operating system threads are started first, and rayon gets those that
//! exist.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// The system refused to start threads.
#[derive(Debug, thiserror::Error)]
#[error("the worker threads can't be started: {0}; try --threads 1")]
pub struct NoThreads(#[from] ThreadPoolBuildError);

/// Threads that wait for their work.
type Waiting = Vec<Sender<ThreadBuilder>>;

/// Starts rayon's global threads: `count`, or one per core if it is zero; fewer if the system
/// refuses more. If it refuses all, the calling thread does the work.
pub fn start_global(count: usize) {
    let waiting = start(count, spawn);
    let builder = ThreadPoolBuilder::new().num_threads(waiting.len().max(1));
    // This fails only if there are global threads already.
    let _ = match waiting.is_empty() {
        true => builder.use_current_thread().build_global(),
        false => builder.spawn_handler(hand_out(waiting)).build_global(),
    };
}

/// Starts `count` threads, or one per core if it is zero; fewer if the system refuses more.
///
/// # Errors
/// If no thread can be started.
pub fn pool(count: usize) -> Result<ThreadPool, NoThreads> {
    Ok(pool_of(start(count, spawn))?)
}

fn pool_of(waiting: Waiting) -> Result<ThreadPool, ThreadPoolBuildError> {
    match waiting.len() {
        // rayon's own attempt gives the reason.
        0 => ThreadPoolBuilder::new().num_threads(1).build(),
        count => ThreadPoolBuilder::new()
            .num_threads(count)
            .spawn_handler(hand_out(waiting))
            .build(),
    }
}

fn start(
    count: usize,
    mut spawn: impl FnMut(usize, Receiver<ThreadBuilder>) -> io::Result<()>,
) -> Waiting {
    let count = match count {
        0 => thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    let mut waiting = Vec::new();
    for i in 0..count {
        let (sender, work) = mpsc::channel();
        if spawn(i, work).is_err() {
            break;
        }
        waiting.push(sender);
    }
    waiting
}

fn spawn(i: usize, work: Receiver<ThreadBuilder>) -> io::Result<()> {
    let run = move || {
        // Without work, rayon has refused the pool, and this thread ends.
        if let Ok(work) = work.recv() {
            work.run();
        }
    };
    let thread = thread::Builder::new().name(format!("pool-{i}"));
    thread.spawn(run).map(drop)
}

fn hand_out(waiting: Waiting) -> impl FnMut(ThreadBuilder) -> io::Result<()> {
    let mut waiting = waiting.into_iter();
    move |work| {
        let next = waiting.next().map(|thread| thread.send(work));
        match next {
            Some(Ok(())) => Ok(()),
            _ => Err(io::Error::other("a worker thread has ended")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn the_threads_that_could_be_started_do_the_work() {
        let two = start(8, |i, work| match i {
            0 | 1 => spawn(i, work),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        });
        let pool = pool_of(two).unwrap();
        assert_eq!(pool.current_num_threads(), 2);
        let sum: u64 = pool.install(|| (0..1000u64).into_par_iter().sum());
        assert_eq!(sum, 499_500);
        assert_eq!(pool_of(start(3, spawn)).unwrap().current_num_threads(), 3);
    }
}
