//! Commands that write files from many dumps: `evidence`, `export`, `fleet`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::engine::Machine;
use crate::evidence::answers::{Answers, Depth};
use crate::evidence::export::{self, Form};
use crate::evidence::fleet::{self, Fleet, Input};
use crate::evidence::{self, Choices};
use crate::pool::index::Snapshot;
use crate::report::Format;
use crate::report::text::grouped;

use super::args::{Args, FormatName};
use super::outcome::CliError;
use super::{open, say};

type Result<T = ()> = std::result::Result<T, CliError>;

/// Writes an evidence file.
pub fn evidence(args: &Args, dump: &Path, out: &Path, choices: &Choices) -> Result {
    let machine = open(args, dump)?;
    let index = super::walk::index(args, &*machine)?;
    let manifest = super::walk::keeping(args, &*machine, &index, || {
        let written = evidence::write(&*machine, &index, out, choices);
        written.map_err(|source| CliError::File {
            path: out.to_owned(),
            source,
        })
    })?;
    if manifest.blocks_left_out > 0 && !args.common.quiet {
        say(
            "note",
            &format!(
                "{} blocks are listed, those of the suspects first; {} more are counted only",
                grouped(manifest.blocks_listed),
                grouped(manifest.blocks_left_out)
            ),
        );
    }
    say_notes(args, &manifest.notes, None);
    Ok(())
}

/// Prints the notes about a dump's tables; `dump` is named where there are many.
fn say_notes(args: &Args, notes: &[String], dump: Option<&Path>) {
    for note in notes.iter().filter(|_| !args.common.quiet) {
        match dump {
            Some(dump) => say("note", &format!("{}: {note}", dump.display())),
            None => say("note", note),
        }
    }
}

/// The arguments of `export`.
pub struct Export<'a> {
    /// The dumps.
    pub dumps: &'a [PathBuf],
    /// The folder of the dataset.
    pub out: &'a Path,
    /// Include the table of blocks.
    pub blocks: bool,
    /// The machine's name.
    pub host: Option<&'a str>,
}

/// Writes the tables of dumps to a dataset.
pub fn export(args: &Args, export: &Export<'_>) -> Result {
    let form = match args.common.format {
        FormatName::Csv => Form::Csv,
        FormatName::Text => Form::Parquet,
        _ => {
            return Err(CliError::Usage(
                "export writes Parquet, or CSV with --format csv".into(),
            ));
        }
    };
    if export.host.is_some() && export.dumps.len() > 1 {
        let why = "--host names one machine: export the dumps of each machine separately";
        return Err(CliError::Usage(why.into()));
    }
    if let Some(schema) = export::newer_dataset(export.out) {
        return Err(CliError::NotThere(format!(
            "{} holds a dataset of schema {schema}, written by a newer poolscope: use that version, or another folder",
            export.out.display()
        )));
    }
    let failed = export_all(args, export, form)?;
    for (dump, why) in &failed {
        say("error", &format!("{}: {why}", dump.display()));
    }
    match failed.len() {
        0 => Ok(()),
        n => Err(CliError::NotThere(format!(
            "{n} of {} dumps could not be read and have no rows",
            export.dumps.len()
        ))),
    }
}

/// Maximum number of dumps to export at the same time: a walk uses all cores, but opening a
/// dump and writing its tables use only one each.
const AT_ONCE: usize = 4;

/// Writes the tables of all dumps. A dump that cannot be read is left out, and returned
/// with the reason. A write error ends the export.
fn export_all<'a>(
    args: &Args,
    export: &Export<'a>,
    form: Form,
) -> Result<Vec<(&'a Path, CliError)>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match args.common.threads {
        0 => cores,
        asked => asked,
    };
    let at_once = threads.min(AT_ONCE).min(export.dumps.len()).max(1);
    let args = args.one_of(at_once);
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let ended = Mutex::new(None);
    // Dumps are opened one at a time, so that a PDB that several of them need is downloaded
    // once.
    let opening = Mutex::new(());
    let held = |lock: &Mutex<Option<CliError>>| lock.lock().is_ok_and(|e| e.is_some());
    let work = || {
        while !held(&ended) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(dump) = export.dumps.get(at) else {
                break;
            };
            let written = with_tables(&args, dump, export.host, Some(&opening), |answers| {
                say_notes(&args, &answers.notes, Some(dump));
                export::export(answers, export.out, form, export.blocks).map_err(|source| {
                    CliError::File {
                        path: export.out.to_owned(),
                        source,
                    }
                })
            });
            match written {
                Ok(()) => {}
                Err(why @ (CliError::File { .. } | CliError::Interrupted(_))) => {
                    let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
                    ended.get_or_insert(why);
                }
                Err(why) => {
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.push((at, why));
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..at_once {
            // With fewer threads, it only takes longer.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    if let Some(why) = ended.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(why);
    }
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|(at, _)| *at);
    let named = failed.into_iter();
    Ok(named
        .filter_map(|(at, why)| Some((export.dumps.get(at)?.as_path(), why)))
        .collect())
}

fn with_tables(
    args: &Args,
    dump: &Path,
    host: Option<&str>,
    opening: Option<&Mutex<()>>,
    each: impl FnOnce(&Answers<'_>) -> Result,
) -> Result {
    let held = opening.map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
    let machine = open(args, dump)?;
    drop(held);
    let index = super::walk::index(args, &*machine)?;
    let answers = tables(&*machine, &index, host)?;
    each(&answers)
}

fn tables<'a>(
    machine: &'a dyn Machine,
    index: &'a Snapshot,
    host: Option<&str>,
) -> Result<Answers<'a>> {
    let answers = Answers::of(machine, Some(index), Depth::Tables, host);
    answers.map_err(|e| CliError::NotThere(e.to_string()))
}

/// Finds common causes in many dumps.
pub fn fleet(args: &Args, paths: &[PathBuf]) -> Result {
    let (inputs, mut skipped) = fleet::inputs(paths);
    let (mut dumps, unread) = fleet::read_all(&inputs);
    skipped.extend(unread);
    // Dumps are walked first, into a temporary dataset.
    let own = tempfile::tempdir()?;
    let of_dumps = inputs.iter().filter_map(|input| match input {
        Input::Dump(path) => Some(path.clone()),
        _ => None,
    });
    let of_dumps: Vec<PathBuf> = of_dumps.collect();
    let walked = Export {
        dumps: &of_dumps,
        out: own.path(),
        blocks: false,
        host: None,
    };
    let failed = export_all(args, &walked, Form::Parquet)?;
    let failed = failed.into_iter();
    skipped.extend(failed.map(|(path, why)| format!("{}: {why}", path.display())));
    // Empty if no dump could be read.
    let (inputs, _) = fleet::inputs(&[own.path().to_owned()]);
    let (more, unread) = fleet::read_all(&inputs);
    dumps.extend(more);
    skipped.extend(unread);
    fleet_of(args, dumps, skipped)
}

fn fleet_of(args: &Args, dumps: Vec<fleet::Dump>, skipped: Vec<String>) -> Result {
    skipped.iter().for_each(|why| say("warning", why));
    if dumps.is_empty() {
        let why = "none of these paths has a dump, an evidence file or a dataset that can be read";
        return Err(CliError::NotThere(why.into()));
    }
    let fleet = Fleet::of(dumps, skipped);
    Ok(fleet.write(Format::from(args.common.format), &mut io::stdout().lock())?)
}
