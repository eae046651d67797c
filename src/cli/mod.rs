//! The command line: what is typed, what is run, what the process answers.

mod args;
mod commands;
mod outcome;

pub use args::Args;
pub use outcome::Outcome;

use std::io::{self, IsTerminal, Write};

use crate::engine::{Engine, OpenError};

/// Runs what was asked for. The answer goes to stdout, everything else to stderr.
pub fn run(args: Args) -> Outcome {
    let result = commands::run(&args);
    match &result {
        Err(error) if error.is_closed_pipe() => Outcome::Done,
        Err(error) => {
            if error.is_silent() {
                return error.outcome();
            }
            say("error", &error.to_string());
            error.outcome()
        }
        Ok(()) => Outcome::Done,
    }
}

/// A line on stderr, safe for a terminal. A closed stderr is nobody's concern.
fn say(kind: &str, text: &str) {
    let text = crate::report::text::clean(text);
    let _ = writeln!(io::stderr(), "{kind}: {text}");
}

/// Opens the dump and says what to know about it.
fn open(args: &Args, path: &std::path::Path) -> Result<Engine, OpenError> {
    let engine = Engine::open(path, &args.common.options())?;
    for warning in engine.warnings() {
        say("warning", &warning);
    }
    Ok(engine)
}

/// True when progress may be shown.
fn shows_progress(args: &Args) -> bool {
    !args.common.quiet && io::stderr().is_terminal()
}
