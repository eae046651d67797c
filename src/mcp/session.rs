//! The files that a client has opened, with the indexes of their blocks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::engine::{Machine, Options};
use crate::evidence;
use crate::pool::index::{Progress, Snapshot};
use crate::series::{self, Log, Point};

use super::paths::Allowed;

/// Maximum number of open files; the least recently used one is closed.
const MOST_OPEN: usize = 4;
/// Time between two checks whether a walk is still needed.
const LOOK: Duration = Duration::from_millis(50);

/// Why a tool has no answer, as a sentence that says what to do.
pub type Why = String;

/// The kind of an open file.
#[derive(Debug)]
pub enum Source {
    /// A dump, an image or an evidence file.
    Machine(Arc<dyn Machine>),
    /// A log or a table of tags.
    Log(Log),
}

/// An open file.
#[derive(Debug)]
pub struct Opened {
    /// Its path, with symbolic links resolved.
    pub path: PathBuf,
    /// Its contents.
    pub source: Source,
    index: Mutex<Option<Arc<Snapshot>>>,
}

/// The files that a client may open, and those that it has opened.
#[derive(Debug)]
pub struct Session {
    allowed: Allowed,
    options: Options,
    /// The most recently used file is the last.
    open: Mutex<Vec<Arc<Opened>>>,
}

impl Session {
    /// A session that may read these files, and the files under these directories.
    ///
    /// # Errors
    /// Which of them does not exist, as a sentence.
    pub fn new(paths: &[PathBuf], options: Options) -> Result<Session, String> {
        Ok(Session {
            allowed: Allowed::new(paths)?,
            options,
            open: Mutex::default(),
        })
    }

    /// Warnings to print before serving, as sentences.
    pub fn notes(&self) -> Vec<String> {
        match self.allowed.list() {
            (files, _) if files.is_empty() => vec![
                "no file can be opened: name dumps, or directories that have them, after mcp"
                    .into(),
            ],
            _ => Vec::new(),
        }
    }

    /// The files that may be opened.
    pub fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    /// The options for opening files.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The file that a client names. Without a name: the most recently used one, or the
    /// first of the command line. Opens it if necessary.
    ///
    /// # Errors
    /// Why there is none.
    pub fn file(&self, wanted: Option<&str>) -> Result<Arc<Opened>, Why> {
        let path = match wanted {
            Some(wanted) => self.allowed.resolve(wanted)?,
            None => {
                let last = self.open().last().map(|o| o.path.clone());
                let first = || self.allowed.first().map(Path::to_owned);
                last.or_else(first).ok_or(
                    "no file is open: call open without a path to list the files, then with one",
                )?
            }
        };
        if let Some(found) = self.take(&path) {
            return Ok(found);
        }
        let opened = Arc::new(self.read(&path)?);
        let mut open = self.open();
        while open.len() >= MOST_OPEN {
            open.remove(0);
        }
        open.push(Arc::clone(&opened));
        Ok(opened)
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Opened>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an open file and makes it the most recently used one.
    fn take(&self, path: &Path) -> Option<Arc<Opened>> {
        let mut open = self.open();
        let at = open.iter().position(|o| o.path == path)?;
        let found = open.remove(at);
        open.push(Arc::clone(&found));
        Some(found)
    }

    fn read(&self, path: &Path) -> Result<Opened, Why> {
        let source = match series::is_log_file(path) {
            true => Source::Log(series::read(path).map_err(|e| e.to_string())?),
            false => {
                Source::Machine(evidence::open(path, &self.options).map_err(|e| e.to_string())?)
            }
        };
        Ok(Opened {
            path: path.to_owned(),
            source,
            index: Mutex::default(),
        })
    }
}

impl Opened {
    /// The machine, for tools that need its memory.
    ///
    /// # Errors
    /// For a log: the tools that work with it.
    pub fn machine(&self) -> Result<&dyn Machine, Why> {
        match &self.source {
            Source::Machine(machine) => Ok(&**machine),
            Source::Log(log) => Err(format!(
                "{} is {}: it has counts per tag but no memory; tags, diagnose and diff read it, \
                    this tool needs a dump",
                self.path.display(),
                log.what
            )),
        }
    }

    /// Warnings about the file, as sentences.
    pub fn warnings(&self) -> Vec<String> {
        match &self.source {
            Source::Machine(machine) => machine.warnings(),
            Source::Log(log) => log.notes.clone(),
        }
    }

    /// The file's points in time.
    pub fn points(&self) -> Vec<Point> {
        match &self.source {
            Source::Machine(machine) => vec![machine.point()],
            Source::Log(log) => log.points.clone(),
        }
    }

    /// The index of its blocks: from the cache, or from a walk (then cached).
    ///
    /// # Errors
    /// Why there is none, including cancellation.
    pub fn index(&self, wanted: &(dyn Fn() -> bool + Sync)) -> Result<Arc<Snapshot>, Why> {
        let Source::Machine(machine) = &self.source else {
            return Err(self.machine().err().unwrap_or_default());
        };
        // A second question waits for the walk that the first one started.
        let mut held = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*held {
            return Ok(Arc::clone(index));
        }
        let kept = machine.kept_index(wanted).index;
        let is_kept = kept.is_some();
        let index = match kept {
            Some(index) => index,
            None => walk(&**machine, wanted)?,
        };
        if !wanted() {
            return Err("the request was cancelled".into());
        }
        let index = Arc::new(index);
        *held = Some(Arc::clone(&index));
        if !is_kept {
            keep(Arc::clone(machine), Arc::clone(&index));
        }
        Ok(index)
    }
}

fn walk(machine: &dyn Machine, wanted: &(dyn Fn() -> bool + Sync)) -> Result<Snapshot, Why> {
    let progress = Arc::new(Progress::default());
    let builder = machine
        .walk(Arc::clone(&progress))
        .ok_or("there is no pool to walk")?;
    let workers = machine.workers().map_err(|e| e.to_string())?;
    let (done, stop) = std::sync::mpsc::channel::<()>();
    thread::scope(|scope| {
        let watch = || {
            let stop = stop;
            while stop.recv_timeout(LOOK) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                if !wanted() {
                    progress.cancel();
                }
            }
        };
        let watcher = thread::Builder::new().spawn_scoped(scope, watch);
        watcher.map_err(|error| error.to_string())?;
        builder.run(&workers);
        drop(done);
        Ok::<(), Why>(())
    })?;
    Ok(builder.snapshot())
}

/// Writes an index to the cache in the background, after the answer.
fn keep(machine: Arc<dyn Machine>, index: Arc<Snapshot>) {
    let kept = thread::Builder::new().name("keep".into()).spawn(move || {
        if let Some(why) = machine.keep_index(&index) {
            note(&why);
        }
    });
    if let Err(why) = kept {
        note(&format!("the index is not cached: {why}"));
    }
}

/// A note on the server's stderr.
fn note(text: &str) {
    use std::io::Write;
    let text = crate::report::text::clean(text);
    // A closed stderr is ignored.
    let _ = writeln!(std::io::stderr(), "note: {text}");
}
