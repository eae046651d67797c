//! The index of a dump's blocks: from the cache, or from a walk.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::engine::Machine;
use crate::pool::index::{Progress, Snapshot};
use crate::report::text::moment;

use super::args::Args;
use super::outcome::CliError;
use super::{say, shows_progress};

type Result<T> = std::result::Result<T, CliError>;

/// The cached index, or a new one from a walk.
pub(super) fn index(args: &Args, engine: &dyn Machine) -> Result<Snapshot> {
    let answered = engine.kept_index(&|| true);
    if let Some(why) = answered.note {
        note(args, &why);
    }
    let Some(index) = answered.index else {
        return walk(args, engine);
    };
    if let Some(made) = index.kept.filter(|_| shows_progress(args)) {
        say("note", &format!("index from cache ({})", moment(made)));
    }
    Ok(index)
}

/// Caches the index in a separate thread while `answer` is computed and printed; afterwards if
/// there is no thread for it.
pub(super) fn keeping<T>(
    args: &Args,
    engine: &dyn Machine,
    index: &Snapshot,
    answer: impl FnOnce() -> Result<T>,
) -> Result<T> {
    thread::scope(|scope| {
        let keep = || engine.keep_index(index);
        let keeper = thread::Builder::new().spawn_scoped(scope, keep);
        let answered = answer();
        let kept = match keeper {
            Ok(keeper) => keeper.join().ok().flatten(),
            Err(_) => keep(),
        };
        if let Some(why) = kept {
            note(args, &why);
        }
        answered
    })
}

/// Walks the pool, with progress on stderr if it is a terminal.
fn walk(args: &Args, engine: &dyn Machine) -> Result<Snapshot> {
    let progress = Arc::new(Progress::default());
    let Some(builder) = engine.walk(Arc::clone(&progress)) else {
        return Err(CliError::NotThere("there is no pool to walk".into()));
    };
    let workers = engine.workers()?;
    if !shows_progress(args) {
        builder.run(&workers);
        return Ok(builder.snapshot());
    }
    let (done, stop) = std::sync::mpsc::channel::<()>();
    thread::scope(|scope| {
        let shown = Arc::clone(&progress);
        let show = move || {
            while stop.recv_timeout(Duration::from_millis(200))
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                let _ = write!(io::stderr(), "\rpool {:3.0}%", shown.share() * 100.0);
            }
            let _ = write!(io::stderr(), "\r          \r");
        };
        // Without this thread, the walk shows no progress.
        let _ = thread::Builder::new().spawn_scoped(scope, show);
        builder.run(&workers);
        drop(done);
    });
    Ok(builder.snapshot())
}

/// A line on stderr that --quiet suppresses.
pub(super) fn note(args: &Args, text: &str) {
    if !args.common.quiet {
        say("note", text);
    }
}
