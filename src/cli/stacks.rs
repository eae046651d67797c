//! `stacks`: the recorded stacks of a tag or of an address.

use std::io::{self, BufWriter};

use crate::command::Target;
use crate::command::request::address_of;
use crate::engine::{Machine, StacksOf};
use crate::pool::TagPattern;
use crate::report::{self, StacksReport};

use super::args::Args;
use super::outcome::CliError;
use super::say;
use super::walk::index;

/// Prints the recorded stacks.
pub(super) fn run(
    args: &Args,
    engine: &dyn Machine,
    target: Option<&Target>,
) -> Result<(), CliError> {
    let target =
        target.ok_or_else(|| CliError::Usage("stacks: name a tag or an address".into()))?;
    let address = target.address.as_ref().filter(|_| target.is_address());
    let (of, index) = match (address, &target.tag) {
        (Some(at), _) => (StacksOf::Address(address_of(at)?), None),
        (None, Some(pattern)) => {
            let pattern = match pattern.exact() {
                Some(tag) => TagPattern::of(engine.tag_as_typed(tag, pattern)),
                None => pattern.clone(),
            };
            (StacksOf::Tag(pattern), Some(index(args, engine)?))
        }
        (None, None) => {
            return Err(CliError::Usage(format!(
                "stacks: {} is neither a tag nor an address",
                target.text
            )));
        }
    };
    let found = engine.stacks_of(index.as_ref(), &of, &|| true);
    let Some(found) = found.map_err(CliError::NotThere)? else {
        return Ok(());
    };
    let answer = StacksReport::of(&found);
    let mut warnings = engine.warnings();
    for warning in answer.warnings() {
        say("warning", warning);
        warnings.push(warning.clone());
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let format = args.common.format.into();
    report::write_for(Some(&engine.facts()), &warnings, &answer, format, &mut out)?;
    if let Some(why) = engine.failure() {
        say("warning", &why);
    }
    Ok(())
}
