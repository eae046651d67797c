//! What can be typed: one grammar for the command line and for the line after `:`.
//!
//! A line becomes [`Request`]s by one table ([`table::ENTRIES`]): poolscope's own commands,
//! and those of WinDbg and PoolMon with their documented options. What poolscope can't do
//! is refused by name, with what to do instead. Nothing here reads a dump: addresses are
//! [`Expression`]s until a [`Resolver`] resolves them.

pub mod expression;
mod line;
mod parse;
mod poolmon;
mod refusals;
pub mod request;
pub mod table;

pub use expression::{Expression, Resolver};
pub use line::Words;
pub use request::{File, Memory, PoolUsed, Request, Target};
pub use table::Entry;

/// Why a line can't be done: what is wrong, then what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

impl Refusal {
    fn new(text: impl Into<String>) -> Refusal {
        Refusal(text.into())
    }
}

type Result<T> = std::result::Result<T, Refusal>;

/// Reads a line as it is typed or pasted: with a debugger's prompt before it, several
/// commands with `;` between them, an extension's name before the command.
///
/// # Errors
/// The first command that is not known, or has an argument that can't be honoured.
pub fn parse(line: &str) -> Result<Vec<Request>> {
    let commands = line::split(line::without_prompt(line));
    commands.iter().map(|command| one(command)).collect()
}

/// Reads one command and its arguments, as the shell has divided them.
///
/// # Errors
/// As [`parse`].
pub fn parse_words(name: &str, arguments: &[String]) -> Result<Request> {
    let entry = table::find(name).ok_or_else(|| unknown(name))?;
    (entry.parse)(&mut Words::of(name, arguments))
}

fn one(command: &str) -> Result<Request> {
    let (name, rest) = line::name_and_rest(command);
    let bare = line::bare_name(name);
    if let Some(entry) = table::find(bare) {
        return (entry.parse)(&mut Words::parse(bare, rest)?);
    }
    let refused = match name.starts_with('!') {
        true => refusals::find(&format!("!{bare}")),
        false => refusals::find(name),
    };
    if let Some((what, instead)) = refused {
        return Err(Refusal(format!("{what}: not available here; {instead}")));
    }
    if name.starts_with(['!', '.']) {
        return Err(unknown(name));
    }
    match request::Target::parse(command) {
        Some(target) => Ok(Request::Go(target)),
        None => Err(unknown(name)),
    }
}

/// The sentence for a word that is no command.
pub fn unknown(name: &str) -> Refusal {
    let nearest = table::nearest(line::bare_name(name));
    Refusal(match nearest {
        Some(nearest) => format!("unknown command: {name}; did you mean {nearest}?"),
        None => format!("unknown command: {name}; `help` lists the commands"),
    })
}

#[cfg(test)]
mod tests;
