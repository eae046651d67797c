//! The result of a run: its errors, and their exit statuses.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use thiserror::Error;

use crate::command::Refusal;
use crate::engine::{NoAccounts, OpenError};
use crate::system::threads::NoThreads;
use crate::tui;

/// The result of a command.
pub(super) type Result<T = ()> = std::result::Result<T, CliError>;

/// Status 3 if the rules are violated.
pub(super) fn outside(is_outside: bool) -> Result {
    match is_outside {
        true => Err(CliError::Outside),
        false => Ok(()),
    }
}

/// The exit status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 0: the answer is complete, or states what is missing.
    Done,
    /// 1: the dump cannot be read, or does not contain the requested data.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 3: the answer was printed, and the rules are violated.
    Outside,
    /// Ended by a signal: 128 plus its number, as in a shell.
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

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CliError {
    /// The dump cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The dump does not contain the requested data.
    #[error("{0}")]
    NotThere(String),
    /// The dump has no pool trackers.
    #[error(transparent)]
    NoAccounts(#[from] NoAccounts),
    /// The answer was printed, and the rules are violated.
    #[error("outside the rules")]
    Outside,
    /// The arguments are invalid.
    #[error("{0}")]
    Usage(String),
    /// The answer cannot be written.
    #[error("the answer can't be written: {0}")]
    Write(#[from] io::Error),
    /// The sample dump cannot be written.
    #[error("the sample can't be written to {path}: {source}; choose another file with --out FILE", path = path.display())]
    Demo {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file or a dataset folder cannot be written.
    #[error("{path} can't be written: {source}; free disk space, or choose another file with --out", path = path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The terminal UI ended with an error.
    #[error(transparent)]
    Tui(#[from] tui::Error),
    /// The user ended it with this signal.
    #[error("interrupted")]
    Interrupted(u8),
    /// The system refused to start threads.
    #[error(transparent)]
    Threads(#[from] NoThreads),
}

impl From<Refusal> for CliError {
    fn from(Refusal(why): Refusal) -> CliError {
        CliError::Usage(why)
    }
}

impl CliError {
    /// True if the reader of the answer closed the pipe, which is not an error.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, CliError::Write(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }

    /// True if no message is needed.
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
