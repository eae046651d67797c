//! The messages to the state machine, and its effects.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyEvent, MouseEvent};
use rustc_hash::FxHashMap;

use crate::engine::Options;
use crate::memory::Va;
use crate::pool::Tag;
use crate::pool::index::Totals;

use crate::tui::data::baseline::Baseline;
use crate::tui::data::block_filter::BlockFilter;
use crate::tui::data::blocks::{BlockSort, BlockView};
use crate::tui::data::job::Job;
use crate::tui::data::model::{Bytes, Covered, Model, References, VerdictLine};
use crate::tui::data::preview::Preview;
use crate::tui::data::session::SessionState;
use crate::tui::data::settings::Settings;
use crate::tui::data::table::{TableData, TableKind};
use crate::tui::widgets::charts::TagCharts;

/// Something happened.
#[derive(Clone, Debug)]
pub enum Message {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse was used.
    Mouse(MouseEvent),
    /// The terminal pasted text.
    Paste(String),
    /// The screen has this many columns and rows now.
    Resize(u16, u16),
    /// Marks and place are not kept for the next time, and why.
    NotKept(String),
    /// What the user decided before about how things look.
    Settings(Box<Settings>),
    /// The judgement over everything, after the walk of that number.
    Judged(u64, VerdictLine),
    /// The walk of the pool got on.
    Index(IndexNews),
    /// All images were searched for all tags, after the walk of that number.
    ReferencedIn(u64, Arc<FxHashMap<Tag, String>>),
    /// Whose each tag is, after the walk of that number; empty for what has no owner.
    Owners(u64, Arc<FxHashMap<Tag, String>>),
    /// A worker answers.
    Answer(Answer),
    /// How it goes with the kernel's PDB, which is missing.
    Symbols(SymbolNews),
    /// The PDB was picked up, and the dump read again with it.
    Reopened(Box<Reopening>),
    /// Something to tell the user, from outside the state machine.
    Notice(String),
    /// What became of the file under the dump: no number is to be trusted any more.
    FileFailed(String),
    /// What the user left behind when this dump was open before.
    Session(Box<SessionState>),
}

/// How it goes with a PDB that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolNews {
    /// A server is asked, or sends it.
    Fetching {
        /// Which.
        server: String,
        /// Bytes so far.
        received: u64,
        /// Bytes in all, if the server says.
        total: Option<u64>,
    },
    /// It was fetched; the dump is being read again.
    Fetched,
    /// No server gave it.
    Failed(String),
    /// The files that lie where it should, and why they are not used. Told when there
    /// are others than before.
    Refused(Vec<String>),
}

/// What is known of a dump that was read again.
#[derive(Clone, Debug)]
pub struct Reopening {
    /// Everything, without the index.
    pub model: Model,
    /// The PDB that it was read with.
    pub file: String,
    /// The number of the walk that has begun; see [`IndexNews::walk`].
    pub walk: u64,
}

/// How far the walk of the pool is.
#[derive(Clone, Debug, Default)]
pub struct IndexNews {
    /// Which walk: there is another each time the dump is read, and news of an older one
    /// are dropped.
    pub walk: u64,
    /// Running, done, or why not.
    pub stage: Stage,
    /// Pages walked.
    pub pages_done: u64,
    /// Pages in all.
    pub pages_all: u64,
    /// Since it began.
    pub elapsed: Duration,
    /// Sums over what is found so far; `None` when nothing new is.
    pub totals: Option<Arc<Totals>>,
    /// Bytes of both pools in use, when the walk may have changed what is known of them.
    pub used: Option<[Option<u64>; 2]>,
    /// What is missing from the index, as sentences.
    pub notes: Arc<[String]>,
    /// When the index was made, for one that was kept by an earlier run.
    pub kept: Option<String>,
}

/// The walk's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Reading tables, to know what to walk.
    #[default]
    Planning,
    /// Walking.
    Walking,
    /// Every page was walked.
    Done,
    /// Stopped by the user.
    Cancelled,
    /// Ended by an error.
    Failed(String),
}

impl Stage {
    /// True while results may still arrive.
    pub fn is_running(&self) -> bool {
        matches!(self, Stage::Planning | Stage::Walking)
    }
}

/// A worker's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The request's number: an answer to an older request than the last is dropped.
    pub number: u64,
    /// What was found.
    pub body: Body,
}

/// What a worker found.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Body {
    /// A tag's allocations, arranged.
    Blocks {
        view: BlockView,
        covered: Covered,
        shape: TagCharts,
    },
    /// A tag at a glance.
    Preview(Box<Preview>),
    /// The row that a search of allocations ended at.
    Found(Option<u64>),
    /// The modules that reference a tag.
    References(References),
    /// Memory.
    Bytes(Bytes),
    /// A table.
    Table(TableData),
    /// The report, and whether the walk was done when it was made.
    Report { text: String, whole: bool },
    /// What was typed, with addresses as numbers.
    Resolved(Vec<crate::command::Request>),
    /// What the dump is compared with.
    Baseline(Box<Baseline>),
    /// A file was written.
    Saved { path: String, bytes: u64 },
    /// The request could not be answered.
    Failed(String),
}

/// A question to a worker.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its number; answers carry it.
    pub number: u64,
    /// What is asked.
    pub question: Question,
}

/// What is asked of a worker.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Question {
    /// The allocations of a tag, as far as the index goes now.
    Blocks {
        tag: Tag,
        sort: BlockSort,
        filter: Option<BlockFilter>,
    },
    /// The next row (or the one before) that matches.
    Find {
        view: BlockView,
        from: u64,
        forward: bool,
        filter: BlockFilter,
    },
    /// A tag at a glance. Answered when no newer one comes for a moment.
    Preview { tag: Tag },
    /// The modules that reference a tag.
    References { tag: Tag },
    /// Memory from an address on.
    Bytes {
        start: Va,
        length: u64,
        /// The session to read it in, for its pool.
        session: Option<u32>,
    },
    /// A table.
    Table(TableKind),
    /// Symbols and pointers in what was typed, as addresses.
    Resolve(Vec<crate::command::Request>),
    /// The answer of a command that is text.
    Typed(Box<crate::command::Request>),
    /// The report, with what is marked and the notes.
    Report { marks: Vec<(String, String)> },
    /// Compare with earlier points in time, the earliest first; none: not any more.
    Baseline {
        paths: Vec<PathBuf>,
        /// How they are opened.
        options: Arc<Options>,
    },
    /// Write a file.
    Save(Box<Job>),
}

/// What the state machine wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Ask a worker.
    Ask(Request),
    /// Stop the walk of the pool.
    CancelIndex,
    /// Stop the download of the kernel's PDB.
    CancelFetch,
    /// Put text into the terminal's clipboard.
    Copy(String),
    /// Keep what comes back when the dump is opened again.
    Keep(Box<SessionState>),
    /// Keep what the user decided about how things look.
    KeepSettings(Box<Settings>),
    /// Have the terminal report the mouse, or stop it.
    Mouse(bool),
    /// Draw everything again.
    Redraw,
    /// Go to the background.
    Suspend,
    /// End.
    Quit,
}

/// The download of the PDB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fetch {
    /// There is none yet.
    #[default]
    None,
    /// Under way.
    Running {
        /// The server that is asked.
        server: String,
        /// Bytes so far.
        received: u64,
        /// Bytes in all, if the server says.
        total: Option<u64>,
    },
    /// Done, failed or stopped: later news of it are old.
    Over,
}

impl Fetch {
    /// True while it can be stopped.
    pub fn is_running(&self) -> bool {
        matches!(self, Fetch::Running { .. })
    }
}
