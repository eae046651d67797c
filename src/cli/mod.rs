//! The command line: what is typed, what is run, what the process answers.

mod args;
mod check;
mod commands;
mod dataset;
mod diff;
mod download;
mod help;
mod input;
mod logs;
mod man;
mod mcp;
mod outcome;
mod stacks;
mod start;
mod typed;
mod walk;

pub use args::Args;
pub use outcome::Outcome;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use clap::FromArgMatches;

use crate::engine::{Machine, Options};
use crate::symbols::FetchError;
use crate::system::console::takes_sequences;
use outcome::CliError;

/// Reads the process's arguments. Ends the process with help, or where they make no sense.
pub fn arguments() -> Args {
    match typed::arguments(std::env::args_os().collect()) {
        Ok(arguments) => {
            let matches = help::command().get_matches_from(arguments);
            Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
        }
        Err(why) => {
            say("error", &why.to_string());
            std::process::exit(2);
        }
    }
}

/// Runs what was asked for. The answer goes to stdout, everything else to stderr.
pub fn run(args: Args) -> Outcome {
    #[cfg(unix)]
    survive_limits();
    // Sorting and counting use rayon's own threads; without them it is slower, no more.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(args.common.threads)
        .build_global();
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

/// Has a file that outgrows its user's limit (`ulimit -f`) be a reported write error; by
/// default the signal would end the program without restoring the terminal.
#[cfg(unix)]
fn survive_limits() {
    let noted = std::sync::Arc::default();
    // Without this it ends the program, as it would anyway.
    let _ = signal_hook::flag::register(libc::SIGXFSZ, noted);
}

/// A line on stderr, safe for a terminal. A closed stderr is ignored.
fn say(kind: &str, text: &str) {
    let text = crate::report::text::clean(text);
    let _ = writeln!(io::stderr(), "{kind}: {text}");
}

/// Opens the dump, with the kernel's PDB from a server if it needs one and may have it,
/// and says what to know about it.
fn open(args: &Args, path: &Path) -> Result<Arc<dyn Machine>, CliError> {
    let options = args.common.options();
    let mut engine = open_with(path, &options)?;
    if let Some(wanted) = engine.missing_pdb().filter(|w| w.may_download()) {
        match download::fetch(args, &wanted) {
            Ok(_) => engine = open_with(path, &options)?,
            Err(FetchError::Cancelled) => return Err(download::interrupted()),
            Err(error) => say("warning", &format!("{}: {error}", wanted.id)),
        }
    }
    note_pooltag(args, &*engine);
    warn(&*engine);
    Ok(engine)
}

/// Opens the dump with what is on this machine.
fn open_offline(args: &Args, path: &Path) -> Result<Arc<dyn Machine>, CliError> {
    open_with(path, &args.common.options())
}

/// What was read of the user's pooltag.txt. A file with nothing in it was refused before.
fn note_pooltag(args: &Args, engine: &dyn Machine) {
    let Some(file) = args.common.pooltag.as_ref().filter(|_| !args.common.quiet) else {
        return;
    };
    let (entries, ignored) = engine.descriptions().counts();
    let lines = match ignored {
        0 => "no line ignored".to_owned(),
        1 => "1 line ignored: it is not an entry".to_owned(),
        n => format!("{n} lines ignored: they are not entries"),
    };
    say(
        "note",
        &format!("{}: {entries} entries read, {lines}", file.display()),
    );
}

fn open_with(path: &Path, options: &Options) -> Result<Arc<dyn Machine>, CliError> {
    crate::evidence::open(path, options).map_err(|error| input::needs_memory(path, error))
}

fn warn(engine: &dyn Machine) {
    for warning in engine.warnings() {
        say("warning", &warning);
    }
}

/// True when progress may be shown: stderr is a terminal that can redraw a line.
fn shows_progress(args: &Args) -> bool {
    !args.common.quiet && io::stderr().is_terminal() && takes_sequences()
}
