//! `poolused` and `diagnose` of a log or a table of tags.

use std::io::{self, BufWriter, Write};

use crate::engine::{ListedPoolUsed, Selection, diagnose_points};
use crate::report::{self, Diagnose, PoolUsed};
use crate::series::{Listing, Log};

use super::args::Args;
use super::outcome::{CliError, Result, outside};
use super::say;

/// `poolused` of a log: its last snapshot.
pub(super) fn pool_used(args: &Args, log: &Log, selection: &Selection) -> Result {
    let Some(point) = log.points.last() else {
        return Err(CliError::NotThere("the log has no snapshot".into()));
    };
    let mut warnings = log.notes.clone();
    let mut warn = |warning: String| {
        say("warning", &warning);
        warnings.push(warning);
    };
    if log.points.len() > 1 {
        warn(format!(
            "the log has {} snapshots: this is the last; diff compares all",
            log.points.len()
        ));
    }
    if let Listing::Truncated(why) = &point.listing {
        warn(format!("the listing is not complete: {why}"));
    }
    if point.session {
        warn("the listing is of session pool".into());
    }
    let descriptions = args.common.descriptions()?;
    let used = ListedPoolUsed::of(point, &descriptions, selection)?;
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let format = args.common.format.into();
    Ok(report::write_for(
        None,
        &warnings,
        &PoolUsed::listed(&used),
        format,
        &mut out,
    )?)
}

/// `diagnose` of a log or a table of tags.
pub(super) fn diagnose(args: &Args, log: &Log, exit_code: bool) -> Result {
    let descriptions = args.common.descriptions()?;
    let diagnosis = diagnose_points(&log.points, &descriptions);
    let answer = Diagnose::of_table(&diagnosis, source_of(log));
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let format = args.common.format.into();
    report::write_for(None, &log.notes, &answer, format, &mut out)?;
    out.flush()?;
    outside(exit_code && answer.is_leak())
}

/// The log's source and other facts, by label.
fn source_of(log: &Log) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    if let Some(last) = log.points.last() {
        out.push(("File", last.source.clone()));
        out.push(("Source", log.what.to_owned()));
        out.push(("Points", log.points.len().to_string()));
    }
    out
}
