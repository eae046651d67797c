//! Finding the kernel's PDB while it is missing: downloads it if allowed, detects it when
//! it appears on disk, and reads the dump again with it. All of this runs on separate threads.
//!
//! One thread polls the directories of the symbol path; another asks the servers once, if
//! the path names any and network access is allowed. A download is stored in one of those
//! directories, so the polling thread handles files from every source.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::engine::Machine;
use crate::report::text::clean;
use crate::symbols::{FetchError, Located, Progress, WantedPdb, Watch, shown_address};

use crate::tui::data::event::{Event, Reopened};
use crate::tui::data::message::{Message, SymbolNews};
use crate::tui::data::model::Model;

/// Time between two polls.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time until a new file is checked again: it may still be incomplete.
const SETTLE: Duration = Duration::from_millis(300);
/// Polling may use at most 1/20 of the time: a poll may have to unpack a cabinet.
const SHARE: u32 = 20;
/// Maximum time between two polls.
const RAREST: Duration = Duration::from_secs(30);
/// Time between two progress reports of a download.
const NEWS_EVERY: Duration = Duration::from_millis(200);
/// How long the program waits on exit for a download to remove its unfinished file.
const PATIENCE: Duration = Duration::from_millis(500);

/// The threads. Dropping this ends them.
pub struct SymbolArrival {
    cancel: Arc<AtomicBool>,
    fetching: Option<JoinHandle<()>>,
    /// Dropping it ends the polling.
    _wake: Sender<()>,
}

impl SymbolArrival {
    /// Starts waiting for the kernel's PDB. `None` if no PDB is missing.
    ///
    /// # Errors
    /// If the system refuses to start a thread.
    pub fn start(
        engine: &Arc<dyn Machine>,
        out: &Sender<Event>,
    ) -> std::io::Result<Option<SymbolArrival>> {
        let Some(wanted) = engine.missing_pdb() else {
            return Ok(None);
        };
        let (wake, woken) = mpsc::channel();
        let cancel = Arc::new(AtomicBool::new(false));
        let fetching = match wanted.may_download() {
            true => Some(fetch_aside(&wanted, &cancel, &wake, out)?),
            false => None,
        };
        let watcher = Watcher {
            engine: Arc::clone(engine),
            wanted,
            cancel: Arc::clone(&cancel),
            out: out.clone(),
        };
        thread::Builder::new()
            .name("ui-symbols".into())
            .spawn(move || watcher.run(&woken))?;
        Ok(Some(SymbolArrival {
            cancel,
            fetching,
            _wake: wake,
        }))
    }

    /// Cancels the download; polling continues.
    pub fn cancel_fetch(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

impl Drop for SymbolArrival {
    fn drop(&mut self) {
        self.cancel_fetch();
        let started = Instant::now();
        let running = || self.fetching.as_ref().is_some_and(|t| !t.is_finished());
        while running() && started.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn fetch_aside(
    wanted: &WantedPdb,
    cancel: &Arc<AtomicBool>,
    wake: &Sender<()>,
    out: &Sender<Event>,
) -> std::io::Result<JoinHandle<()>> {
    let (wanted, cancel) = (wanted.clone(), Arc::clone(cancel));
    let (wake, out) = (wake.clone(), out.clone());
    thread::Builder::new()
        .name("ui-download".into())
        .spawn(move || {
            let told = catch_unwind(AssertUnwindSafe(|| fetch(&wanted, &cancel, &out)));
            let news = told.unwrap_or_else(|_| Some(SymbolNews::Failed(BUG.into())));
            if let Some(news) = news {
                tell(&out, news);
            }
            let _ = wake.send(());
        })
}

const BUG: &str = "internal error (details are printed on exit)";

fn tell(out: &Sender<Event>, news: SymbolNews) {
    // On exit there is no receiver any more.
    let _ = out.send(Event::Message(Message::Symbols(news)));
}

/// Asks the servers. `None` if the user cancelled.
fn fetch(wanted: &WantedPdb, cancel: &AtomicBool, out: &Sender<Event>) -> Option<SymbolNews> {
    let server = wanted.path.servers().first().map(|s| shown_address(s));
    tell(
        out,
        SymbolNews::Fetching {
            server: clean(&server.unwrap_or_default()).into_owned(),
            received: 0,
            total: None,
        },
    );
    let last = Mutex::new(Instant::now());
    let progress = |p: Progress<'_>| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= NEWS_EVERY {
            *last = Instant::now();
            let server = clean(&shown_address(p.server)).into_owned();
            let (received, total) = (p.received, p.total);
            tell(
                out,
                SymbolNews::Fetching {
                    server,
                    received,
                    total,
                },
            );
        }
    };
    let watch = Watch {
        cancel,
        progress: &progress,
    };
    match wanted.download(watch) {
        Ok(_) => Some(SymbolNews::Fetched),
        Err(FetchError::Cancelled) => None,
        Err(why) => Some(SymbolNews::Failed(clean(&why.to_string()).into_owned())),
    }
}

/// The polling thread.
struct Watcher {
    engine: Arc<dyn Machine>,
    wanted: WantedPdb,
    cancel: Arc<AtomicBool>,
    out: Sender<Event>,
}

impl Watcher {
    fn run(&self, woken: &Receiver<()>) {
        let mut lookout = Lookout::default();
        loop {
            let started = Instant::now();
            let seen = lookout.take(self.look());
            if let Some(file) = seen.ready {
                match self.reopen(&file.path) {
                    Ok(reopened) => {
                        self.cancel.store(true, Ordering::Relaxed);
                        let _ = self.out.send(Event::Reopened(Box::new(reopened)));
                        return;
                    }
                    Err(why) => lookout.failed(file, why),
                }
            }
            if let Some(notes) = seen.news {
                let notes = notes.iter().map(|n| clean(n).into_owned());
                tell(&self.out, SymbolNews::Refused(notes.collect()));
            }
            let pause = match seen.soon {
                true => SETTLE,
                false => (started.elapsed() * SHARE).clamp(LOOK_EVERY, RAREST),
            };
            if woken.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn look(&self) -> Look {
        let located = catch_unwind(AssertUnwindSafe(|| self.wanted.locate()));
        Look::of(located.unwrap_or_default())
    }

    /// Reads the dump again. It is an error if the new engine rejects the file after all.
    fn reopen(&self, file: &Path) -> Result<Reopened, String> {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let engine = self.engine.reopened().map_err(|e| e.to_string())?;
            let model = Model::of(&*engine);
            Ok::<_, String>((engine, model))
        }));
        let (engine, model) = opened.unwrap_or_else(|_| Err(BUG.into()))?;
        if engine.missing_pdb().is_some() {
            let notes = engine.warnings();
            let about = notes
                .iter()
                .rev()
                .find(|n| n.contains(&*file.to_string_lossy()));
            return Err(about
                .cloned()
                .unwrap_or_else(|| format!("{} can't be used", file.display())));
        }
        Ok(Reopened {
            engine,
            model,
            file: file.to_owned(),
        })
    }
}

/// A file at one moment; a changed file counts as a different one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
}

/// The result of one poll.
#[derive(Debug, Default)]
struct Look {
    file: Option<Seen>,
    notes: Vec<String>,
}

impl Look {
    fn of(located: Located) -> Look {
        let seen = |path: PathBuf| {
            let data = fs::metadata(&path).ok()?;
            Some(Seen {
                path,
                length: data.len(),
                modified: data.modified().ok(),
            })
        };
        Look {
            file: located.file.and_then(seen),
            notes: located.notes,
        }
    }
}

/// The decision after a poll.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// This file is unchanged since the last poll: open it.
    ready: Option<Seen>,
    /// There is a file that may still be incomplete: poll again soon.
    soon: bool,
    /// The current refusals, if they differ from the last report.
    news: Option<Vec<String>>,
}

/// Decides after each poll. A file must be unchanged in two polls, because it may still be
/// copied.
#[derive(Debug, Default)]
struct Lookout {
    last: Look,
    told: Vec<String>,
    /// A file with the right identity that could not be used, and why.
    useless: Option<(Seen, String)>,
}

impl Lookout {
    fn take(&mut self, look: Look) -> Verdict {
        let twice = look.file.is_some() && look.file == self.last.file;
        let tried = self.useless.as_ref().map(|(seen, _)| seen);
        let fresh = look.file.as_ref().is_some_and(|f| Some(f) != tried);
        let lasting = look.notes.iter().filter(|n| self.last.notes.contains(n));
        let mut notes: Vec<String> = lasting.cloned().collect();
        if let Some((seen, why)) = &self.useless
            && look.file.as_ref() == Some(seen)
        {
            notes.push(why.clone());
        }
        let verdict = Verdict {
            ready: look.file.clone().filter(|_| twice && fresh),
            soon: fresh && !twice,
            news: (notes != self.told).then(|| notes.clone()),
        };
        self.told = notes;
        self.last = look;
        verdict
    }

    fn failed(&mut self, file: Seen, why: String) {
        self.useless = Some((file, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(length: u64) -> Option<Seen> {
        Some(Seen {
            path: "store/ntkrnlmp.pdb".into(),
            length,
            modified: None,
        })
    }

    fn look(file: Option<Seen>, notes: &[&str]) -> Look {
        Look {
            file,
            notes: notes.iter().map(|n| (*n).to_owned()).collect(),
        }
    }

    #[test]
    fn a_file_is_opened_when_it_stops_growing() {
        let mut lookout = Lookout::default();
        assert_eq!(lookout.take(look(None, &[])), Verdict::default());
        assert!(lookout.take(look(seen(10), &[])).soon);
        let growing = lookout.take(look(seen(20), &[]));
        assert!(growing.soon && growing.ready.is_none());
        let whole = lookout.take(look(seen(20), &[]));
        assert_eq!((whole.ready, whole.soon), (seen(20), false));
    }

    #[test]
    fn an_unusable_file_is_reported_and_retried_only_after_a_change() {
        let mut lookout = Lookout::default();
        lookout.take(look(seen(10), &[]));
        let file = lookout.take(look(seen(10), &[])).ready.unwrap();
        lookout.failed(file, "no types".into());
        let after = lookout.take(look(seen(10), &[]));
        assert_eq!((after.ready, after.soon), (None, false));
        assert_eq!(after.news, Some(vec!["no types".into()]));
        assert_eq!(lookout.take(look(seen(10), &[])), Verdict::default());
        assert!(lookout.take(look(seen(11), &[])).soon);
        assert!(lookout.take(look(seen(11), &[])).ready.is_some());
    }

    #[test]
    fn a_refusal_is_reported_once_and_again_after_it_disappeared() {
        let mut lookout = Lookout::default();
        let mut news = |notes: &[&str]| lookout.take(look(None, notes)).news;
        assert_eq!(news(&["half a file"]), None);
        assert_eq!(news(&["wrong"]), None);
        assert_eq!(news(&["wrong"]), Some(vec!["wrong".into()]));
        assert_eq!(news(&["wrong"]), None);
        assert_eq!(news(&[]), Some(Vec::new()));
        assert_eq!(news(&["wrong"]), None);
        assert_eq!(news(&["wrong"]), Some(vec!["wrong".into()]));
    }
}
