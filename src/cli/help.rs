//! The command line for clap: each subcommand shows the options that apply to it, and two
//! examples. All common options are accepted everywhere.

use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory};

use super::Args;

/// Options of the terminal UI.
const SCREEN: [&str; 4] = ["ascii", "theme", "no_mouse", "keys"];
/// Options of the pool walk.
const WALK: [&str; 2] = ["memory", "threads"];

/// Examples of each subcommand.
const EXAMPLES: &[(&str, [&str; 2])] = &[
    ("demo", ["poolscope demo", "poolscope demo --out demo.dmp"]),
    (
        "info",
        [
            "poolscope info MEMORY.DMP",
            "poolscope info MEMORY.DMP --format json",
        ],
    ),
    (
        "vm",
        [
            "poolscope vm MEMORY.DMP",
            "poolscope vm MEMORY.DMP --sources",
        ],
    ),
    (
        "poolused",
        [
            "poolscope poolused MEMORY.DMP /t10 2",
            "poolscope poolused MEMORY.DMP 4 'Mm*' --format csv",
        ],
    ),
    (
        "allocs",
        [
            "poolscope allocs MEMORY.DMP Leak",
            "poolscope allocs MEMORY.DMP 'Se  ' 1 --format csv",
        ],
    ),
    (
        "pool",
        [
            "poolscope pool MEMORY.DMP 'fffffa80`02400000'",
            "poolscope pool MEMORY.DMP 0xfffffa8002400010 2",
        ],
    ),
    (
        "refs",
        [
            "poolscope refs MEMORY.DMP Leak",
            "poolscope refs MEMORY.DMP 'Pmn\\x00'",
        ],
    ),
    (
        "stacks",
        [
            "poolscope stacks MEMORY.DMP Leak",
            "poolscope stacks MEMORY.DMP 'fffffa80`02400010' --format json",
        ],
    ),
    (
        "contents",
        [
            "poolscope contents MEMORY.DMP FMfn",
            "poolscope contents MEMORY.DMP Leak --size 1024000 --sample 0",
        ],
    ),
    (
        "objects",
        [
            "poolscope objects MEMORY.DMP Token",
            "poolscope objects MEMORY.DMP Proc --sample 0",
        ],
    ),
    (
        "drivers",
        [
            "poolscope drivers MEMORY.DMP",
            "poolscope drivers MEMORY.DMP --format csv",
        ],
    ),
    (
        "diagnose",
        [
            "poolscope diagnose MEMORY.DMP",
            "poolscope diagnose MEMORY.DMP --format markdown",
        ],
    ),
    (
        "diff",
        [
            "poolscope diff monday.dmp tuesday.dmp",
            "poolscope diff series.log MEMORY.DMP --format json",
        ],
    ),
    (
        "check",
        [
            "poolscope check MEMORY.DMP --rules rules.toml",
            "poolscope check after.dmp --baseline before.dmp --rules rules.toml --junit pool.xml",
        ],
    ),
    (
        "evidence",
        [
            "poolscope evidence MEMORY.DMP --out case.zip",
            "poolscope evidence MEMORY.DMP --out case.zip --redact",
        ],
    ),
    (
        "export",
        [
            "poolscope export monday.dmp tuesday.dmp --out dataset",
            "poolscope export MEMORY.DMP --out tables --format csv",
        ],
    ),
    (
        "fleet",
        [
            "poolscope fleet dataset",
            "poolscope fleet case1.zip case2.zip --format markdown",
        ],
    ),
    (
        "mcp",
        [
            "poolscope mcp MEMORY.DMP",
            "poolscope mcp /srv/dumps --no-network",
        ],
    ),
    (
        "modules",
        [
            "poolscope modules MEMORY.DMP 'nt*'",
            "poolscope modules MEMORY.DMP 'fffff880`044b63aa'",
        ],
    ),
    (
        "run",
        [
            "poolscope run MEMORY.DMP '!poolused 2; lm m ntfs'",
            "poolscope run MEMORY.DMP dt nt!_POOL_HEADER 'fffffa80`02400000'",
        ],
    ),
    (
        "symbols",
        [
            "poolscope symbols MEMORY.DMP",
            "poolscope symbols MEMORY.DMP --all --download",
        ],
    ),
    (
        "completions",
        [
            "poolscope completions bash > ~/.local/share/bash-completion/completions/poolscope",
            "poolscope completions powershell >> $PROFILE",
        ],
    ),
    ("keys", ["poolscope keys", "poolscope keys --keys my.keys"]),
    (
        "man",
        ["poolscope man | man -l -", "poolscope man > poolscope.1"],
    ),
];

/// Common options that have no effect on a subcommand; they are accepted but hidden.
fn without_use(name: &str) -> Vec<&'static str> {
    let screen = SCREEN.iter().copied();
    match name {
        "demo" => vec!["format", "partner"],
        "keys" => without(&["keys"]),
        "man" | "completions" => without(&[]),
        "mcp" => screen.chain(["format"]).collect(),
        "symbols" => screen.chain(WALK).chain(["pooltag"]).collect(),
        "info" | "vm" | "modules" => screen.chain(WALK).chain(["pooltag"]).collect(),
        "poolused" | "refs" | "drivers" => screen.chain(["memory"]).collect(),
        _ => screen.collect(),
    }
}

/// All common options except those in `used`.
fn without(used: &[&str]) -> Vec<&'static str> {
    const OTHERS: [&str; 9] = [
        "partner",
        "format",
        "symbols",
        "no_network",
        "no_cache",
        "pooltag",
        "threads",
        "memory",
        "quiet",
    ];
    let all = SCREEN.iter().chain(&OTHERS).copied();
    all.filter(|id| !used.contains(id)).collect()
}

/// The command line with its help.
pub fn command() -> Command {
    with_help(Args::command(), |_| true)
}

/// The command line with the help that these arguments can ask for: making the help of all
/// subcommands would slow every start.
pub fn for_arguments(command: Command, arguments: &[OsString]) -> Command {
    with_help(command, |name| arguments.iter().any(|typed| typed == name))
}

fn with_help(mut command: Command, wanted: impl Fn(&str) -> bool) -> Command {
    let common: Vec<Arg> = command
        .get_arguments()
        .filter(|argument| argument.is_global_set())
        .cloned()
        .collect();
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .filter(|name| wanted(name))
        .collect();
    for name in names {
        let hidden = without_use(&name);
        let hidden = common
            .iter()
            .filter(|argument| hidden.contains(&argument.get_id().as_str()))
            .map(|argument| argument.clone().hide(true));
        let hidden: Vec<Arg> = hidden.collect();
        let examples = EXAMPLES.iter().find(|(known, _)| *known == name);
        command = command.mut_subcommand(&name, |sub| {
            // Adding the hidden argument first keeps clap from adding the visible one with
            // the same name.
            let sub = sub.args(hidden);
            match examples {
                Some((_, [first, second])) => {
                    sub.after_help(format!("Examples:\n  {first}\n  {second}"))
                }
                None => sub,
            }
        });
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help_of(name: &str) -> String {
        let mut command = command();
        command.build();
        let sub = command.find_subcommand_mut(name).unwrap();
        sub.render_long_help().to_string()
    }

    #[test]
    fn each_subcommand_has_two_valid_examples() {
        let all = command();
        for sub in all.get_subcommands() {
            let examples = EXAMPLES.iter().find(|(known, _)| *known == sub.get_name());
            let Some((name, examples)) = examples else {
                panic!("{} has no examples", sub.get_name())
            };
            let help = help_of(name);
            for example in examples {
                assert!(help.contains(example), "{name}");
                // Only the part that the shell passes to the program.
                let end = example.find([">", "|"].map(|c| c.chars().next().unwrap()));
                let typed = example.get(..end.unwrap_or(example.len())).unwrap();
                let mut words = Vec::new();
                let mut quoted = false;
                let mut word = String::new();
                for c in typed.chars() {
                    match c {
                        '\'' => quoted = !quoted,
                        ' ' if !quoted => words.push(std::mem::take(&mut word)),
                        c => word.push(c),
                    }
                }
                words.push(word);
                words.retain(|w| !w.is_empty());
                let parsed = command().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn help_shows_only_the_options_that_apply() {
        for sub in command().get_subcommands().map(|s| s.get_name().to_owned()) {
            let help = help_of(&sub);
            let has_screen = help.contains("--no-mouse");
            assert_eq!(has_screen, sub == "demo", "{sub}");
        }
        for sub in ["man", "keys", "completions", "demo"] {
            let help = help_of(sub);
            assert!(
                !help.contains("--format") && !help.contains("--partner"),
                "{sub}"
            );
        }
        assert!(help_of("vm").contains("--format"));
        assert!(help_of("allocs").contains("--memory"));
        assert!(!help_of("modules").contains("--memory"));
    }

    #[test]
    fn every_subcommand_accepts_all_common_options() {
        for typed in [
            &[
                "poolscope",
                "vm",
                "d",
                "--theme",
                "none",
                "--memory",
                "1g",
                "--ascii",
            ][..],
            &[
                "poolscope",
                "--no-mouse",
                "man",
                "--format",
                "json",
                "--quiet",
            ],
            &[
                "poolscope",
                "--no-network",
                "modules",
                "--threads",
                "2",
                "d",
            ],
        ] {
            let parsed = command().try_get_matches_from(typed);
            assert!(parsed.is_ok(), "{typed:?}: {}", parsed.unwrap_err());
        }
    }
}
