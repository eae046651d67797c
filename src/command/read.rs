//! Parses a line, or words that the shell has split, into requests.

use super::line::{self, Words};
use super::refusal::{Refusal, Result};
use super::refusals;
use super::request::{Request, Target};
use super::table;

/// Parses a line as typed or pasted: with a debugger's prompt, several commands separated
/// by `;`, or an extension's name before the command.
///
/// # Errors
/// The first command that is unknown, or has an unsupported argument.
pub fn parse(line: &str) -> Result<Vec<Request>> {
    let commands = line::split(line::without_prompt(line));
    commands.iter().map(|command| one(command)).collect()
}

/// Parses one command and its arguments, as split by the shell.
///
/// # Errors
/// As [`parse`].
pub fn parse_words(name: &str, arguments: &[String]) -> Result<Request> {
    if let Some(why) = refused(name) {
        return Err(why);
    }
    request(name, Words::of(name, arguments))
}

/// Parses the arguments of a command. `?` evaluates an expression, but alone, and before
/// the name of a command, it is help.
fn request(name: &str, arguments: Words) -> Result<Request> {
    let about = arguments.peek();
    let is_help = name == "?" && about.is_none_or(|word| table::find(word).is_some());
    let entry = table::find(if is_help { "help" } else { name }).ok_or_else(|| unknown(name))?;
    (entry.parse)(&mut arguments.with_usage(entry.usage()))
}

/// The refusal of a debugger's command, which goes before one of ours with the same letters:
/// `!stacks` is not `stacks`.
fn refused(name: &str) -> Option<Refusal> {
    let bare = line::bare_name(name);
    let found = match name.starts_with('!') {
        true => refusals::find(&format!("!{bare}")),
        false => refusals::find(name),
    };
    let (what, instead) = found?;
    Some(Refusal(format!("{what}: not available here; {instead}")))
}

fn one(command: &str) -> Result<Request> {
    let inside = command
        .strip_prefix("\\\"")
        .and_then(|c| c.strip_suffix("\\\""));
    if let Some(target) = inside.and_then(Target::parse) {
        return Ok(Request::Go(target));
    }
    let (name, rest) = line::name_and_rest(command);
    if let Some(why) = refused(name) {
        return Err(why);
    }
    let bare = line::bare_name(name);
    // `poolmon.exe -b`.
    let bare = bare.strip_suffix(".exe").unwrap_or(bare);
    if table::find(bare).is_some() {
        return request(bare, Words::parse(bare, rest)?);
    }
    if name.starts_with(['!', '.']) {
        return Err(unknown(name));
    }
    match Target::parse(command) {
        Some(target) => Ok(Request::Go(target)),
        None => Err(unknown(name)),
    }
}

/// The error for an unknown command.
pub fn unknown(name: &str) -> Refusal {
    let nearest = table::nearest(line::bare_name(name));
    Refusal(match nearest {
        Some(nearest) => format!("unknown command: {name}; did you mean {nearest}?"),
        None => format!("unknown command: {name}; `help` lists the commands"),
    })
}
