//! Downloading PDBs in the foreground: progress on stderr, cancelled by Ctrl-C.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::engine::PdbStatus;
use crate::symbols::{FetchError, Fetched, Progress, WantedPdb, Watch, shown_address};

use super::args::Args;
use super::outcome::CliError;
use super::{say, shows_progress};

/// Time between two updates of the progress line.
const PACE: Duration = Duration::from_millis(200);

/// Downloads one PDB from the servers on its path.
pub fn fetch(args: &Args, wanted: &WantedPdb) -> Result<Fetched, FetchError> {
    let interrupt = Interrupt::listen();
    let shown = shows_progress(args);
    let last = Mutex::new(None::<Instant>);
    let progress = |p: Progress<'_>| {
        let Ok(mut last) = last.lock() else { return };
        if shown && last.is_none_or(|at| at.elapsed() >= PACE) {
            *last = Some(Instant::now());
            show(wanted, p);
        }
    };
    let watch = Watch {
        cancel: interrupt.cancel(),
        progress: &progress,
    };
    let fetched = wanted.download(watch);
    drop(interrupt);
    if shown {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    if let Ok(fetched) = &fetched
        && !args.common.quiet
    {
        let (path, server) = (fetched.path.display(), &fetched.server);
        say("note", &format!("fetched {path} from {server}"));
    }
    fetched
}

/// Downloads all PDBs that are missing on this machine, and reports each failure.
pub fn all(args: &Args, pdbs: &[PdbStatus]) -> Result<(), CliError> {
    let mut failed = Vec::new();
    for pdb in pdbs.iter().filter(|p| p.located.file.is_none()) {
        match fetch(args, &pdb.wanted) {
            Ok(_) => {}
            Err(FetchError::Cancelled) => return Err(interrupted()),
            // It would fail for every other file too.
            Err(e @ (FetchError::NetworkOff | FetchError::NoServer)) => {
                return Err(CliError::NotThere(e.to_string()));
            }
            Err(e) => failed.push(format!("{}: {e}", pdb.wanted.id)),
        }
    }
    match failed.pop() {
        None => Ok(()),
        Some(last) => {
            failed.iter().for_each(|why| say("warning", why));
            Err(CliError::NotThere(last))
        }
    }
}

/// The error of a run whose download was interrupted.
pub fn interrupted() -> CliError {
    const SIGINT: u8 = 2;
    CliError::Interrupted(SIGINT)
}

fn show(wanted: &WantedPdb, p: Progress<'_>) {
    let received = p.received / 1024;
    let of = p
        .total
        .map_or(String::new(), |t| format!(" of {}", t / 1024));
    let server = shown_address(p.server);
    let line = format!("{}: {received}{of} KB from {server}", wanted.id.name);
    let line = crate::report::text::clean(&line);
    let _ = write!(io::stderr(), "\r\x1b[K{line}");
}

/// While this exists, the first Ctrl-C only sets a flag, so that the partial file is
/// removed; the second one ends the program. After it is dropped, the first Ctrl-C ends the
/// program.
struct Interrupt {
    flags: &'static Flags,
}

#[derive(Default)]
struct Flags {
    /// The user wants to cancel the download.
    cancel: Arc<AtomicBool>,
    /// The next signal has its default effect.
    fatal: Arc<AtomicBool>,
}

impl Interrupt {
    fn listen() -> Interrupt {
        // Only once: a handler that was registered is never removed.
        static FLAGS: OnceLock<Flags> = OnceLock::new();
        let flags = FLAGS.get_or_init(|| {
            let flags = Flags::default();
            flags.register();
            flags
        });
        flags.cancel.store(false, Ordering::Relaxed);
        flags.fatal.store(false, Ordering::Relaxed);
        Interrupt { flags }
    }

    fn cancel(&self) -> &AtomicBool {
        &self.flags.cancel
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.flags.fatal.store(true, Ordering::Relaxed);
    }
}

impl Flags {
    /// If registering fails, a signal ends the program at once, as without a handler.
    #[cfg(unix)]
    fn register(&self) {
        use signal_hook::consts::{SIGINT, SIGTERM};
        use signal_hook::flag::{register, register_conditional_default};
        for signal in [SIGINT, SIGTERM] {
            // They run in this order: the second signal sees the flag that the first one set.
            let _ = register_conditional_default(signal, Arc::clone(&self.fatal));
            let _ = register(signal, Arc::clone(&self.fatal));
            let _ = register(signal, Arc::clone(&self.cancel));
        }
    }

    /// The same for console events.
    #[cfg(windows)]
    fn register(&self) {
        let (cancel, fatal) = (Arc::clone(&self.cancel), Arc::clone(&self.fatal));
        let _ = crate::system::console::on_control(move |_| {
            cancel.store(true, Ordering::Relaxed);
            !fatal.swap(true, Ordering::Relaxed)
        });
    }

    #[cfg(not(any(unix, windows)))]
    fn register(&self) {}
}
