//! Detects whether an input file is a machine's memory or a log.

use std::path::Path;
use std::sync::Arc;

use crate::engine::{Machine, OpenError};
use crate::series::{self, Log, Point};

use super::args::Args;
use super::outcome::CliError;
use super::{open, say};

/// An opened input file.
#[derive(Debug)]
pub enum Input {
    /// A dump, an image, or an evidence file.
    Machine(Arc<dyn Machine>),
    /// A log or a table.
    Log(Log),
}

impl Input {
    /// Opens a file by its content, and prints its warnings on stderr.
    pub fn open(args: &Args, path: &Path) -> Result<Input, CliError> {
        if !series::is_log_file(path) {
            return Ok(Input::Machine(open(args, path)?));
        }
        let log = series::read(path).map_err(|error| no_log(path, &error))?;
        log.notes.iter().for_each(|note| say("note", note));
        Ok(Input::Log(log))
    }

    /// Warnings, as sentences.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Input::Machine(engine) => engine.warnings(),
            Input::Log(log) => log.notes.clone(),
        }
    }

    /// The file's points in time.
    pub fn points(&self) -> Vec<Point> {
        match self {
            Input::Machine(engine) => vec![engine.point()],
            Input::Log(log) => log.points.clone(),
        }
    }
}

fn no_log(path: &Path, error: &series::SeriesError) -> CliError {
    CliError::NotThere(match error {
        series::SeriesError::Io { .. } => error.to_string(),
        error => match error.to_string() {
            why if why.starts_with("not a ") => {
                format!(
                    "{}: not a Windows kernel dump, and {why}; get %SystemRoot%\\MEMORY.DMP or a log",
                    path.display()
                )
            }
            why => format!("{}: {why}", path.display()),
        },
    })
}

/// The error for a command that needs memory if the file is a log.
pub fn needs_memory(path: &Path, error: OpenError) -> CliError {
    match error {
        error @ OpenError::Pooltag { .. } => error.into(),
        error if series::is_log_file(path) => match series::read(path) {
            Ok(log) => CliError::NotThere(format!(
                "{} is {}: it has counts per tag but no memory; diff, poolused and diagnose read \
                    it, this command needs a dump",
                path.display(),
                log.what
            )),
            Err(_) => error.into(),
        },
        error => error.into(),
    }
}
