//! `check`: tests dumps and logs against a file of rules.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use crate::engine::DumpFacts;
use crate::engine::check::{self, Outcome, RuleResult, Rules, Subject, Verdicts};
use crate::report::{self, Check};
use crate::series::{Comparison, Point};

use super::args::Args;
use super::input::Input;
use super::outcome::CliError;
use super::say;
use super::walk::index;

/// The arguments of `check`.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The dumps and logs.
    pub inputs: &'a [PathBuf],
    /// The rules file.
    pub rules: &'a Path,
    /// An earlier dump or log.
    pub baseline: Option<&'a Path>,
    /// Where to write JUnit XML as well.
    pub junit: Option<&'a Path>,
}

/// Tests every input against the rules; one that cannot be opened does not stop the others.
pub fn run(args: &Args, question: Question<'_>) -> Result<(), CliError> {
    let rules = read_rules(question.rules)?;
    if let (None, Some(line)) = (question.baseline, rules.needs_baseline()) {
        return Err(CliError::Usage(format!(
            "{}: line {line}: max_growth_per_hour needs an earlier dump or log: add --baseline FILE",
            question.rules.display()
        )));
    }
    let baseline = match question.baseline {
        Some(path) => Input::open(args, path)?.points().pop(),
        None => None,
    };
    let today = OffsetDateTime::now_utc().date();
    let mut results: Vec<RuleResult> = Vec::new();
    let mut unreadable = Vec::new();
    let mut warnings = Vec::new();
    let mut newest: Option<DumpFacts> = None;
    for path in question.inputs {
        let input = match Input::open(args, path) {
            Ok(input) => input,
            Err(error @ CliError::Interrupted(_)) => return Err(error),
            Err(error) => {
                say("error", &format!("{}: {error}", path.display()));
                unreadable.push((path.to_string_lossy().into_owned(), error.to_string()));
                continue;
            }
        };
        let of_file = |warning: String| format!("{}: {warning}", path.display());
        warnings.extend(input.warnings().into_iter().map(of_file));
        if let Input::Machine(machine) = &input {
            newest = Some(machine.facts());
        }
        results.extend(check_one(
            args,
            &input,
            &rules,
            baseline.as_ref(),
            today,
            &mut warnings,
        )?);
    }
    let answer = Check::of(&results, &unreadable);
    if let Some(path) = question.junit {
        write_junit(&answer, path)?;
    }
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    report::write_for(
        newest.as_ref(),
        &warnings,
        &answer,
        args.common.format.into(),
        &mut out,
    )?;
    let ended = |outcome| results.iter().any(|r| r.outcome == outcome);
    if ended(Outcome::Failed) {
        return Err(CliError::Outside);
    }
    if !unreadable.is_empty() || ended(Outcome::Unknown) {
        return Err(CliError::NotThere(
            "some of the rules could not be checked".into(),
        ));
    }
    Ok(())
}

fn read_rules(path: &Path) -> Result<Rules, CliError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))?;
    Rules::parse(&text).map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))
}

fn check_one(
    args: &Args,
    input: &Input,
    rules: &Rules,
    baseline: Option<&Point>,
    today: time::Date,
    warnings: &mut Vec<String>,
) -> Result<Vec<RuleResult>, CliError> {
    // Of a log with several snapshots, the last one counts.
    let Some(point) = input.points().pop() else {
        return Ok(Vec::new());
    };
    let comparison = baseline.map(|b| Comparison::of(vec![b.clone(), point.clone()]));
    for warning in comparison.iter().flat_map(|c| &c.warnings) {
        say("warning", warning);
        warnings.push(warning.clone());
    }
    let machine = match input {
        Input::Machine(machine) => Some(machine),
        Input::Log(_) => None,
    };
    let drivers = match machine.filter(|_| rules.needs_drivers()) {
        Some(machine) => {
            let index = index(args, &**machine)?;
            Some(
                machine
                    .by_driver(Some(&index))
                    .map_err(CliError::NotThere)?,
            )
        }
        None => None,
    };
    let verdicts = match machine.filter(|_| rules.needs_verdict()) {
        Some(machine) => match machine.engine() {
            Some(engine) => Some(Verdicts::of(&engine.diagnose(&index(args, &**machine)?))),
            None => machine
                .kept_answer("diagnose", report::Format::Json.word())
                .and_then(Verdicts::of_report),
        },
        None => None,
    };
    let subject = Subject {
        point: &point,
        comparison: comparison.as_ref(),
        drivers: drivers.as_ref(),
        verdicts: verdicts.as_ref(),
    };
    Ok(check::evaluate(rules, &subject, today))
}

fn write_junit(answer: &Check, path: &Path) -> Result<(), CliError> {
    let write = || -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        answer.junit(&mut out)?;
        io::Write::flush(&mut out)
    };
    write().map_err(|error| {
        CliError::NotThere(format!(
            "{}: {error}; name another file with --junit",
            path.display()
        ))
    })
}
