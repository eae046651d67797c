//! Commands that make files of many dumps: `evidence`, `export`, `fleet`.

use std::io;
use std::path::{Path, PathBuf};

use crate::engine::Machine;
use crate::evidence::answers::{Answers, Depth};
use crate::evidence::export::{self, Form};
use crate::evidence::fleet::{self, Fleet, Input};
use crate::evidence::{self, Choices};
use crate::pool::index::Snapshot;
use crate::report::Format;
use crate::report::text::grouped;

use super::args::{Args, FormatName};
use super::index::index;
use super::outcome::CliError;
use super::{open, say};

type Result<T = ()> = std::result::Result<T, CliError>;

/// Makes an evidence file.
pub fn evidence(args: &Args, dump: &Path, out: &Path, choices: &Choices) -> Result {
    let machine = open(args, dump)?;
    let walked = index(args, &*machine)?;
    let written = evidence::write(&*machine, &walked, out, choices);
    let manifest = written.map_err(|source| CliError::File {
        path: out.to_owned(),
        source,
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
    Ok(())
}

/// What `export` was told.
pub struct Export<'a> {
    /// The dumps.
    pub dumps: &'a [PathBuf],
    /// The dataset's folder.
    pub out: &'a Path,
    /// With the table of blocks.
    pub blocks: bool,
    /// The machine's name.
    pub host: Option<&'a str>,
}

/// Writes the tables of dumps into a dataset.
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
        let why = "--host names one machine: export its dumps by themselves";
        return Err(CliError::Usage(why.into()));
    }
    let mut failed = 0;
    for dump in export.dumps {
        // One that can't be read costs its own rows; one that can't be written, all.
        match with_tables(args, dump, export.host, |answers| {
            export::export(answers, export.out, form, export.blocks).map_err(|source| {
                CliError::File {
                    path: export.out.to_owned(),
                    source,
                }
            })
        }) {
            Err(why @ (CliError::File { .. } | CliError::Interrupted(_))) => return Err(why),
            Err(why) => {
                failed += 1;
                say("error", &format!("{}: {why}", dump.display()));
            }
            Ok(()) => {}
        }
    }
    match failed {
        0 => Ok(()),
        n => Err(CliError::NotThere(format!(
            "{n} of {} dumps could not be read and have no rows",
            export.dumps.len()
        ))),
    }
}

fn with_tables(
    args: &Args,
    dump: &Path,
    host: Option<&str>,
    each: impl FnOnce(&Answers<'_>) -> Result,
) -> Result {
    let machine = open(args, dump)?;
    let walked = index(args, &*machine)?;
    let answers = tables(&*machine, &walked, host)?;
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

/// What many dumps have in common.
pub fn fleet(args: &Args, paths: &[PathBuf]) -> Result {
    let (inputs, mut skipped) = fleet::inputs(paths);
    let (mut dumps, unread) = fleet::read_all(&inputs);
    skipped.extend(unread);
    // Dumps are walked one after the other, each on all cores, into a dataset of their own.
    let own = tempfile::tempdir()?;
    let of_dumps = inputs.iter().filter_map(|input| match input {
        Input::Dump(path) => Some(path),
        _ => None,
    });
    for path in of_dumps {
        let written = with_tables(args, path, None, |answers| {
            Ok(export::export(answers, own.path(), Form::Parquet, false)?)
        });
        if let Err(why) = written {
            skipped.push(format!("{}: {why}", path.display()));
        }
    }
    let (more, unread) = fleet::read_all(&[Input::Dataset(own.path().to_owned())]);
    dumps.extend(more);
    skipped.extend(unread);
    skipped.iter().for_each(|why| say("warning", why));
    if dumps.is_empty() {
        let why = "none of these paths has a dump, an evidence file or a dataset that can be read";
        return Err(CliError::NotThere(why.into()));
    }
    let fleet = Fleet::of(dumps, skipped);
    Ok(fleet.write(Format::from(args.common.format), &mut io::stdout().lock())?)
}
