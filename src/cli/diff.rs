//! `diff`: compares dumps and logs as points of one series.

use std::io::{self, BufWriter};
use std::path::PathBuf;

use crate::engine::DumpFacts;
use crate::report::{self, Diff};
use crate::series::Comparison;

use super::args::Args;
use super::input::Input;
use super::outcome::CliError;
use super::say;

/// Compares the files in the given order. A log with several snapshots adds several points.
pub fn run(args: &Args, paths: &[PathBuf]) -> Result<(), CliError> {
    let mut points = Vec::new();
    let mut warnings = Vec::new();
    let mut newest: Option<DumpFacts> = None;
    for path in paths {
        let input = Input::open(args, path)?;
        let of_file = |warning: String| match paths.len() {
            1 => warning,
            _ => format!("{}: {warning}", path.display()),
        };
        warnings.extend(input.warnings().into_iter().map(of_file));
        if let Input::Machine(engine) = &input {
            newest = Some(engine.facts());
        }
        points.extend(input.points());
    }
    if points.len() < 2 {
        return Err(CliError::NotThere(
            "there is one point in time only: name a second dump or log to compare it with".into(),
        ));
    }
    let comparison = Comparison::of(points);
    for warning in &comparison.warnings {
        say("warning", warning);
    }
    warnings.extend(comparison.warnings.iter().cloned());
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let answer = Diff::of(&comparison);
    let format = args.common.format.into();
    Ok(report::write_for(
        newest.as_ref(),
        &warnings,
        &answer,
        format,
        &mut out,
    )?)
}
