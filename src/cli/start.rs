//! Commands that open the terminal UI, and the `keys` command.

use std::io::{self, Write};
use std::path::Path;

use crate::engine::{self, IndexCache};
use crate::report::text::clean;
use crate::{synth, tui};

use super::args::Args;
use super::outcome::{CliError, Result};
use super::say;

/// Prints the current keys, or the errors of the key file.
pub(super) fn keys(args: &Args) -> Result {
    let options = tui::Options {
        keys: args.common.keys.clone(),
        ..tui::Options::default()
    };
    let read = options.read_keys();
    if let Some((path, read)) = &read {
        for warning in &read.warnings {
            say("warning", &warning.told(path));
        }
        if let Some((last, others)) = read.errors.split_last() {
            others
                .iter()
                .for_each(|error| say("error", &error.told(path)));
            return Err(CliError::NotThere(last.told(path)));
        }
    }
    let place = match &read {
        Some((path, _)) => format!("# {}\n", clean(&path.to_string_lossy())),
        None => String::new(),
    };
    let map = read.map_or_else(tui::input::keys::KeyMap::default, |(_, read)| read.map);
    let text = place + &tui::input::keys::file::print(&map);
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

pub(super) fn browse(args: &Args, dump: &Path) -> Result {
    browse_with(args, dump, args.common.options(), args.common.no_cache)
}

/// Opens the terminal UI. `forget`: neither restore nor save marks and locations.
fn browse_with(args: &Args, dump: &Path, options: engine::Options, forget: bool) -> Result {
    Ok(tui::run(
        (dump.to_owned(), options),
        tui::Options {
            ascii: args.common.ascii,
            theme: args.common.theme.into(),
            keys: args.common.keys.clone(),
            mouse: !args.common.no_mouse,
            forget,
            baseline: args.baseline.clone(),
        },
    )?)
}

/// Writes the sample dump to the given file. Without one, writes a temporary file, shows
/// it, and removes it afterwards.
pub(super) fn demo(args: &Args, out: Option<&Path>) -> Result {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CliError::Demo { path, source }
    };
    if let Some(path) = out {
        synth::demo::write(path).map_err(failed(path))?;
        return Ok(());
    }
    let directory = std::env::temp_dir();
    let file = tempfile::Builder::new()
        .prefix("poolscope-demo-")
        .suffix(".dmp")
        .tempfile()
        .map_err(failed(&directory))?;
    synth::demo::write(file.path()).map_err(failed(file.path()))?;
    let options = engine::Options {
        // This file is never opened again.
        cache: IndexCache::Off,
        ..args.common.options()
    };
    // Every run of the sample starts in the same state.
    browse_with(args, file.path(), options, true)
}
