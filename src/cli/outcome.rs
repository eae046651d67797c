//! How a run ends: its errors, and the exit status of each.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use thiserror::Error;

use crate::command::Refusal;
use crate::engine::{NoAccounts, OpenError};
use crate::tui;

/// What a command returns.
pub(super) type Result<T = ()> = std::result::Result<T, CliError>;

/// Status 3 for what the rules forbid.
pub(super) fn outside(is_outside: bool) -> Result {
    match is_outside {
        true => Err(CliError::Outside),
        false => Ok(()),
    }
}

/// The exit status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 0: the answer is complete, or says what is missing.
    Done,
    /// 1: the dump can't be read, or does not hold what was asked for.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 3: the answer is there, and it is outside the rules.
    Outside,
    /// Ended by a signal: 128 and its number, as shells have it.
    Signal(u8),
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(match outcome {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::Usage => 2,
            Outcome::Outside => 3,
            Outcome::Signal(number) => 128u8.saturating_add(number),
        })
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum CliError {
    /// The dump can't be worked with.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The dump does not hold what was asked for.
    #[error("{0}")]
    NotThere(String),
    /// The dump has no accounts.
    #[error(transparent)]
    NoAccounts(#[from] NoAccounts),
    /// The answer was given, and it is outside the rules.
    #[error("outside the rules")]
    Outside,
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// The answer can't be written.
    #[error("the answer can't be written: {0}")]
    Write(#[from] io::Error),
    /// The sample can't be written.
    #[error("the sample can't be written to {path}: {source}; choose another file with --out FILE", path = path.display())]
    Demo {
        /// Where to.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file or folder of tables can't be written.
    #[error("{path} can't be written: {source}; free disk space, or choose another file with --out", path = path.display())]
    File {
        /// Where to.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The terminal UI ended.
    #[error(transparent)]
    Tui(#[from] tui::Error),
    /// Somebody ended it with a signal of this number.
    #[error("interrupted")]
    Interrupted(u8),
    /// The system refused threads.
    #[error("the worker threads can't be started: {0}; try --threads 1")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

impl From<Refusal> for CliError {
    fn from(Refusal(why): Refusal) -> CliError {
        CliError::Usage(why)
    }
}

impl CliError {
    /// True when the reader of the answer has closed the pipe: not an error.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, CliError::Write(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }

    /// True when there is nothing to say.
    pub fn is_silent(&self) -> bool {
        match self {
            CliError::Outside => true,
            CliError::Tui(e) => e.is_silent(),
            _ => false,
        }
    }

    /// The exit status.
    pub fn outcome(&self) -> Outcome {
        match self {
            CliError::Usage(_) | CliError::Tui(tui::Error::NoTerminal) => Outcome::Usage,
            CliError::Tui(tui::Error::Signal(number)) => {
                Outcome::Signal(u8::try_from(*number).unwrap_or(0))
            }
            CliError::Outside => Outcome::Outside,
            CliError::Interrupted(number) => Outcome::Signal(*number),
            _ => Outcome::Failed,
        }
    }
}
