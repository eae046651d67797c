//! WinDbg and PoolMon commands on the command line: requests with a subcommand of their
//! own, and all others through `poolscope run DUMP COMMAND` or under their own name.

use std::ffi::OsString;
use std::path::Path;

use crate::command::request::Modules as ModulesWanted;
use crate::command::{self, Refusal, Request, table};

/// Rewrites a command's WinDbg name or alias in the place of a subcommand to `run`.
/// `poolscope lm DUMP m ntfs` becomes `poolscope run -- DUMP lm m ntfs`, and
/// `poolscope DUMP '!poolused 2'` becomes `poolscope run -- DUMP '!poolused 2'`. `command` has the
/// options and subcommands.
///
/// # Errors
/// A word that is neither a file nor a command.
pub fn arguments(command: &clap::Command, typed: Vec<OsString>) -> Result<Vec<OsString>, Refusal> {
    let Some((program, rest)) = typed.split_first() else {
        return Ok(typed);
    };
    let shape = Shape::of(command);
    let Some(at) = shape.first_word(rest) else {
        return Ok(typed);
    };
    let Some(first) = rest.get(at) else {
        return Ok(typed);
    };
    let name = first.to_string_lossy().into_owned();
    let (before, after) = rest.split_at(at);
    let after = after.get(1..).unwrap_or_default();
    let (options, words) = shape.divide(after);
    let asks_help = |word: &OsString| word == "--help" || word == "-h" || word == "--";
    if name == "run" && !words.first().is_none_or(asks_help) {
        // Options after the dump belong to the command: `-paged`, `-b`.
        return Ok(run(program, before, options, words));
    }
    if shape.commands.contains(&name) {
        // `allocs DUMP Leak -nonpaged`: the debugger's options have one dash and a word.
        let debuggers = |word: &OsString| {
            let option = word.to_str().and_then(|word| word.strip_prefix('-'));
            option.is_some_and(|o| o.len() > 1 && o.starts_with(|c: char| c.is_ascii_alphabetic()))
        };
        return match words.split_first() {
            Some((dump, arguments))
                if table::find(&name).is_some() && arguments.iter().any(debuggers) =>
            {
                let words = [&[dump.clone(), first.clone()], arguments].concat();
                Ok(run(program, before, options, words))
            }
            _ => Ok(typed),
        };
    }
    let is_file = Path::new(first).exists();
    let words = match (is_file, table::find(&name)) {
        // The dump is given twice: the subcommand reports which one to leave out.
        (true, _) if shape.is_sub_command(&words) => return Ok(typed),
        // A dump without a command opens the terminal UI.
        (true, _) if words.is_empty() => return Ok(typed),
        (true, _) => [vec![first.clone()], words].concat(),
        (false, Some(_)) => match words.split_first() {
            Some((dump, arguments)) => {
                [vec![dump.clone(), first.clone()], arguments.to_vec()].concat()
            }
            None => {
                return Err(Refusal(format!(
                    "{name}: name a dump: poolscope {name} DUMP"
                )));
            }
        },
        (false, None) => {
            let meant = table::nearest(&name).or_else(|| shape.nearest(&name));
            let path = name.contains(['/', '\\', '.']) || name.starts_with('-');
            return match (words.is_empty() || path, meant) {
                // Let clap report a file that does not exist.
                (true, None) => Ok(typed),
                (true, Some(_)) if path => Ok(typed),
                (_, Some(meant)) => {
                    // A shell has a meaning of its own for `!`.
                    let bare = meant.trim_start_matches('!');
                    let known = shape.commands.iter().any(|command| command == bare);
                    let meant = if known { bare } else { meant };
                    Err(Refusal(format!(
                        "unknown command: {name}; did you mean {meant}? `poolscope help` lists the commands"
                    )))
                }
                (false, None) => Err(Refusal(format!(
                    "unknown command: {name}; `poolscope help` lists the commands"
                ))),
            };
        }
    };
    Ok(run(program, before, options, words))
}

fn run(
    program: &OsString,
    before: &[OsString],
    options: Vec<OsString>,
    words: Vec<OsString>,
) -> Vec<OsString> {
    let mut out = vec![program.clone()];
    out.extend(before.iter().cloned());
    out.push("run".into());
    out.extend(options);
    out.push("--".into());
    out.extend(words);
    out
}

/// The options and subcommands that clap knows.
struct Shape {
    /// Long option names, and whether each takes a value.
    options: Vec<(String, bool)>,
    commands: Vec<String>,
}

impl Shape {
    fn of(command: &clap::Command) -> Shape {
        let options = command.get_arguments().filter_map(|argument| {
            let takes = argument.get_action().takes_values();
            Some((argument.get_long()?.to_owned(), takes))
        });
        let names = command.get_subcommands().map(|c| c.get_name().to_owned());
        Shape {
            options: options.collect(),
            commands: names.chain(["help".to_owned()]).collect(),
        }
    }

    /// The number of arguments that an option occupies; `None` for unknown options.
    fn length(&self, argument: &OsString) -> Option<usize> {
        let text = argument.to_str()?.strip_prefix("--")?;
        let (name, value) = match text.split_once('=') {
            Some((name, _)) => (name, true),
            None => (text, false),
        };
        let (_, takes) = self.options.iter().find(|(known, _)| known == name)?;
        Some(if *takes && !value { 2 } else { 1 })
    }

    /// The position of the first word that is not an option.
    fn first_word(&self, arguments: &[OsString]) -> Option<usize> {
        let mut at = 0;
        while let Some(argument) = arguments.get(at) {
            match self.length(argument) {
                Some(length) => at += length,
                None if argument.to_str().is_some_and(|a| a.starts_with('-')) => return None,
                None => return Some(at),
            }
        }
        None
    }

    /// Splits arguments into poolscope's options and all others.
    fn divide(&self, arguments: &[OsString]) -> (Vec<OsString>, Vec<OsString>) {
        let (mut options, mut words) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(argument) = arguments.get(at) {
            let length = self.length(argument).unwrap_or(0);
            let to = if length > 0 { &mut options } else { &mut words };
            let all = arguments.get(at..(at + length.max(1)).min(arguments.len()));
            to.extend(all.unwrap_or_default().iter().cloned());
            at += length.max(1);
        }
        (options, words)
    }

    /// True for a subcommand followed by a dump.
    fn is_sub_command(&self, words: &[OsString]) -> bool {
        let name = words.first().and_then(|word| word.to_str());
        let dump = words.get(1).is_some_and(|word| Path::new(word).exists());
        dump && name.is_some_and(|name| self.commands.iter().any(|known| known == name))
    }

    fn nearest(&self, name: &str) -> Option<&'static str> {
        table::nearest_of(name, OF_THE_SHELL)
    }
}

/// Subcommands that are not commands of the grammar.
const OF_THE_SHELL: &[&str] = &[
    "demo",
    "symbols",
    "stacks",
    "diff",
    "evidence",
    "export",
    "fleet",
    "check",
    "completions",
    "keys",
    "man",
];

/// The requests of `run DUMP WORDS…`: a name and its arguments as split by the shell, or a
/// whole line as one word.
///
/// # Errors
/// As [`command::parse`].
pub fn requests(words: &[String]) -> Result<Vec<Request>, Refusal> {
    match words {
        [line] => command::parse(line),
        [name, arguments @ ..] if table::find(name).is_some() => {
            Ok(vec![command::parse_words(name, arguments)?])
        }
        words => command::parse(&words.join(" ")),
    }
}

/// Parses the arguments of `modules`.
///
/// # Errors
/// As [`command::parse_words`].
pub fn modules(arguments: &[String]) -> Result<ModulesWanted, Refusal> {
    match command::parse_words("modules", arguments)? {
        Request::Modules(wanted) => Ok(wanted),
        _ => Err(Refusal("modules: usage: modules [NAME|ADDRESS]".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(typed: &[&str]) -> Result<Vec<String>, Refusal> {
        let typed = [&["poolscope"], typed].concat();
        let typed = typed.iter().map(|t| OsString::from(*t)).collect();
        let out = arguments(&super::super::help::command(), typed)?;
        Ok(out[1..]
            .iter()
            .map(|a| a.to_string_lossy().into_owned())
            .collect())
    }

    #[test]
    fn windbg_names_can_replace_subcommands() {
        for (typed, becomes) in [
            (&["lm", "no.dmp"][..], &["run", "--", "no.dmp", "lm"][..]),
            (
                &["!poolfind", "no.dmp", "Leak", "-paged", "--format", "json"],
                &[
                    "run",
                    "--format",
                    "json",
                    "--",
                    "no.dmp",
                    "!poolfind",
                    "Leak",
                    "-paged",
                ],
            ),
            (
                &["--no-network", "lmvm", "no.dmp", "ntfs"],
                &["--no-network", "run", "--", "no.dmp", "lmvm", "ntfs"],
            ),
            (
                &["run", "no.dmp", "poolmon", "-b", "--format", "csv"],
                &["run", "--format", "csv", "--", "no.dmp", "poolmon", "-b"],
            ),
            (&["run", "--help"], &["run", "--help"]),
            (&["vm", "no.dmp", "1"], &["vm", "no.dmp", "1"]),
            (&["no.dmp"], &["no.dmp"]),
            (&["--help"], &["--help"]),
            (
                &["Cargo.toml", "vm", "Cargo.toml"],
                &["Cargo.toml", "vm", "Cargo.toml"],
            ),
            (&["Cargo.toml"], &["Cargo.toml"]),
            (
                &["Cargo.toml", "!vm 1"],
                &["run", "--", "Cargo.toml", "!vm 1"],
            ),
        ] {
            assert_eq!(rewritten(typed).unwrap(), becomes, "{typed:?}");
        }
    }

    #[test]
    fn a_misspelt_command_is_reported_as_unknown() {
        for (typed, part) in [
            (&["diagnos", "no.dmp"][..], "did you mean diagnose?"),
            (&["poolusde", "no.dmp"], "did you mean"),
            (&["diagnos"], "did you mean diagnose?"),
            (&["symbol", "no.dmp"], "did you mean symbols?"),
            (&["frobnicate", "no.dmp"], "unknown command: frobnicate"),
            (&["lm"], "poolscope lm DUMP"),
        ] {
            let why = rewritten(typed).unwrap_err().0;
            assert!(why.contains(part), "{typed:?}: {why}");
        }
    }
}
