//! Messages to the state machine, and its effects.

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

/// A message to the state machine.
#[derive(Clone, Debug)]
pub enum Message {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse was used.
    Mouse(MouseEvent),
    /// Text was pasted.
    Paste(String),
    /// The terminal has a new size: columns and rows.
    Resize(u16, u16),
    /// Marks and location will not be saved, and why.
    NotKept(String),
    /// The user's saved settings.
    Settings(Box<Settings>),
    /// The overall verdict, after the walk with this number.
    Judged(u64, VerdictLine),
    /// Progress of the pool walk.
    Index(IndexNews),
    /// All images were searched for all tags, after the walk with this number.
    ReferencedIn(u64, Arc<FxHashMap<Tag, String>>),
    /// The owner of each tag, after the walk with this number; empty if a tag has no owner.
    Owners(u64, Arc<FxHashMap<Tag, String>>),
    /// A worker's answer.
    Answer(Answer),
    /// News about the missing PDB of the kernel.
    Symbols(SymbolNews),
    /// The PDB was found, and the dump was read again with it.
    Reopened(Box<Reopening>),
    /// A message to the user from outside the state machine.
    Notice(String),
    /// The dump file failed: no data is reliable from now on.
    FileFailed(String),
    /// The saved session of an earlier run with this dump.
    Session(Box<SessionState>),
}

/// News about the missing PDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolNews {
    /// A download from a server is running.
    Fetching {
        /// The server.
        server: String,
        /// Bytes so far.
        received: u64,
        /// Total bytes, if the server states them.
        total: Option<u64>,
    },
    /// The download finished; the dump is being read again.
    Fetched,
    /// No server delivered it.
    Failed(String),
    /// Files in the right folder that are not used, and why. Sent when the set changes.
    Refused(Vec<String>),
}

/// The data of a dump that was read again.
#[derive(Clone, Debug)]
pub struct Reopening {
    /// All data except the index.
    pub model: Model,
    /// The PDB that it was read with.
    pub file: String,
    /// The number of the walk that has started; see [`IndexNews::walk`].
    pub walk: u64,
}

/// Progress of the pool walk.
#[derive(Clone, Debug, Default)]
pub struct IndexNews {
    /// The walk's number: every reading of the dump starts a new walk, and news of older
    /// walks are dropped.
    pub walk: u64,
    /// The stage, or why it failed.
    pub stage: Stage,
    /// Pages walked.
    pub pages_done: u64,
    /// Total pages.
    pub pages_all: u64,
    /// Time since the start.
    pub elapsed: Duration,
    /// Totals of the blocks found so far; `None` if unchanged.
    pub totals: Option<Arc<Totals>>,
    /// Bytes of both pools in use, if the walk may have changed them.
    pub used: Option<[Option<u64>; 2]>,
    /// What the index lacks, as sentences.
    pub notes: Arc<[String]>,
    /// When the index was made, if an earlier run cached it.
    pub kept: Option<String>,
}

/// The walk's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Reading tables to plan the walk.
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
    /// True while more results can arrive.
    pub fn is_running(&self) -> bool {
        matches!(self, Stage::Planning | Stage::Walking)
    }
}

/// A worker's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The request number: an answer to any request but the latest is dropped.
    pub number: u64,
    /// The result.
    pub body: Body,
}

/// The result of a request.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Body {
    /// The allocations of a tag, sorted and filtered.
    Blocks {
        view: BlockView,
        covered: Covered,
        shape: TagCharts,
    },
    /// The preview of a tag.
    Preview(Box<Preview>),
    /// The row where a search of allocations ended.
    Found(Option<u64>),
    /// The modules that reference a tag.
    References(References),
    /// Memory.
    Bytes(Bytes),
    /// A table.
    Table(TableData),
    /// The report, and whether the walk was done when it was made.
    Report { text: String, whole: bool },
    /// A typed line, with its addresses resolved.
    Resolved(Vec<crate::command::Request>),
    /// The baseline of the dump.
    Baseline(Box<Baseline>),
    /// A file was written.
    Saved { path: String, bytes: u64 },
    /// The request failed.
    Failed(String),
}

/// A request to a worker.
#[derive(Clone, Debug)]
pub struct Request {
    /// The request number; answers carry it.
    pub number: u64,
    /// The question.
    pub question: Question,
}

/// A question to a worker.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Question {
    /// The allocations of a tag that the index has so far.
    Blocks {
        tag: Tag,
        sort: BlockSort,
        filter: Option<BlockFilter>,
    },
    /// The next (or previous) row that matches.
    Find {
        view: BlockView,
        from: u64,
        forward: bool,
        filter: BlockFilter,
    },
    /// The preview of a tag. Answered only if no newer request follows shortly.
    Preview { tag: Tag },
    /// The modules that reference a tag.
    References { tag: Tag },
    /// Memory at an address.
    Bytes {
        start: Va,
        length: u64,
        /// The session whose address space to read, for session pool.
        session: Option<u32>,
    },
    /// A table.
    Table(TableKind),
    /// Resolve the symbols and pointers of a typed line.
    Resolve(Vec<crate::command::Request>),
    /// The text output of a command.
    Typed(Box<crate::command::Request>),
    /// The report, with marks and notes.
    Report { marks: Vec<(String, String)> },
    /// Compare with earlier points in time, the earliest first; an empty list ends the
    /// comparison.
    Baseline {
        paths: Vec<PathBuf>,
        /// How to open them.
        options: Arc<Options>,
    },
    /// Write a file.
    Save(Box<Job>),
}

/// An effect that the state machine requests.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send a request to a worker.
    Ask(Request),
    /// Stop the pool walk.
    CancelIndex,
    /// Stop the download of the kernel's PDB.
    CancelFetch,
    /// Copy text to the terminal's clipboard.
    Copy(String),
    /// Save the session for the next run with this dump.
    Keep(Box<SessionState>),
    /// Save the user's settings.
    KeepSettings(Box<Settings>),
    /// Turn the terminal's mouse reports on or off.
    Mouse(bool),
    /// Redraw the whole screen.
    Redraw,
    /// Suspend to the background.
    Suspend,
    /// Quit.
    Quit,
}

/// The download of the PDB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fetch {
    /// Not started.
    #[default]
    None,
    /// Running.
    Running {
        /// The server.
        server: String,
        /// Bytes so far.
        received: u64,
        /// Total bytes, if the server states them.
        total: Option<u64>,
    },
    /// Done, failed or stopped: later news of it are ignored.
    Over,
}

impl Fetch {
    /// True while it can be stopped.
    pub fn is_running(&self) -> bool {
        matches!(self, Fetch::Running { .. })
    }
}
