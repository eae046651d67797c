//! The kernel's PDB while it is missing: fetched where that is allowed, picked up when it
//! appears, and the dump read again with it. All of this runs on separate threads.
//!
//! One thread looks into the directories of the symbol path again and again; another asks
//! the servers once, if the path names any and the network may be used. What it fetches
//! lands in one of those directories, so a file comes in one way only, whoever put it
//! there.

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

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Until the second look at a file that was found: it may still be written.
const SETTLE: Duration = Duration::from_millis(300);
/// A look may take this share of the time, as a cabinet has to be unpacked for it.
const SHARE: u32 = 20;
/// But it is never rarer than this.
const RAREST: Duration = Duration::from_secs(30);
/// Between two pieces of news from a download.
const NEWS_EVERY: Duration = Duration::from_millis(200);
/// What the end of the program waits for a download to remove its unfinished file.
const PATIENCE: Duration = Duration::from_millis(500);

/// The threads. Dropping it ends them.
pub struct SymbolArrival {
    cancel: Arc<AtomicBool>,
    fetching: Option<JoinHandle<()>>,
    /// Its end ends the looking.
    _wake: Sender<()>,
}

impl SymbolArrival {
    /// Starts waiting for the kernel's PDB. `None` when none is missing.
    ///
    /// # Errors
    /// When the system refuses to start a thread.
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

    /// Ends the download; the looking goes on.
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
    // Nobody listens any more: the end of the program.
    let _ = out.send(Event::Message(Message::Symbols(news)));
}

/// Asks the servers. `None` when the user stopped it.
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

/// The thread that looks.
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

    /// Reads the dump again. A file that is not taken after all is an error.
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

/// A file as it was seen; a changed one is another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
}

/// What one look found.
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

/// What follows from a look.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// This file did not change since the last look: to be opened.
    ready: Option<Seen>,
    /// There is a file that may not be all there yet.
    soon: bool,
    /// The current refusals, if they differ from those reported last.
    news: Option<Vec<String>>,
}

/// Decides what a series of looks means: a file must be seen twice unchanged, because it may
/// still be copied.
#[derive(Debug, Default)]
struct Lookout {
    last: Look,
    told: Vec<String>,
    /// A file with the right identity that was of no use, and why.
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
    fn a_file_is_opened_once_it_no_longer_grows() {
        let mut lookout = Lookout::default();
        assert_eq!(lookout.take(look(None, &[])), Verdict::default());
        assert!(lookout.take(look(seen(10), &[])).soon);
        let growing = lookout.take(look(seen(20), &[]));
        assert!(growing.soon && growing.ready.is_none());
        let whole = lookout.take(look(seen(20), &[]));
        assert_eq!((whole.ready, whole.soon), (seen(20), false));
    }

    #[test]
    fn a_file_of_no_use_is_told_and_opened_again_only_when_it_changed() {
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
    fn a_refusal_is_told_once_it_lasts_and_again_after_it_was_gone() {
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
