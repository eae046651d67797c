//! The command line: arguments, running a command, exit status.

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

use clap::{CommandFactory, FromArgMatches};

use crate::engine::{Machine, Options};
use crate::symbols::FetchError;
use crate::system::console::takes_sequences;
use crate::system::threads;
use outcome::CliError;

/// Parses the process's arguments. Prints help or a usage error, and ends the process.
pub fn arguments() -> Args {
    let command = Args::command();
    match typed::arguments(&command, std::env::args_os().collect()) {
        Ok(arguments) => {
            let command = help::for_arguments(command, &arguments);
            let matches = command.get_matches_from(arguments);
            Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
        }
        Err(why) => {
            say("error", &why.to_string());
            std::process::exit(2);
        }
    }
}

/// Runs the command. The answer goes to stdout, everything else to stderr.
pub fn run(args: Args) -> Outcome {
    #[cfg(unix)]
    survive_limits();
    // Sorting and counting use rayon's global threads.
    threads::start_global(args.common.threads);
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

/// Turns exceeding the file size limit (`ulimit -f`) into a write error. By default, the
/// signal would end the program without restoring the terminal.
#[cfg(unix)]
fn survive_limits() {
    let noted = std::sync::Arc::default();
    // If this fails, the signal ends the program, as without a handler.
    let _ = signal_hook::flag::register(libc::SIGXFSZ, noted);
}

/// Prints a line on stderr, with characters that are safe for a terminal. A closed stderr
/// is ignored.
fn say(kind: &str, text: &str) {
    let text = crate::report::text::clean(text);
    let _ = writeln!(io::stderr(), "{kind}: {text}");
}

/// Opens the dump, downloads the kernel's PDB if needed and allowed, and prints warnings.
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

/// Opens the dump with local symbols only.
fn open_offline(args: &Args, path: &Path) -> Result<Arc<dyn Machine>, CliError> {
    open_with(path, &args.common.options())
}

/// Reports how many entries of the user's pooltag.txt were read. An empty file was rejected
/// earlier.
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

/// True if progress can be shown: stderr is a terminal that can redraw a line.
fn shows_progress(args: &Args) -> bool {
    !args.common.quiet && io::stderr().is_terminal() && takes_sequences()
}
