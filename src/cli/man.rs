//! The manual page, generated from the command line and the key table.

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::tui::input::keys::{Group, KeyMap};

/// Files and their purpose. Paths for each system.
const FILES: [(&str, &str); 5] = [
    (
        "$XDG_CONFIG_HOME/poolscope/keys, ~/.config/poolscope/keys",
        "key bindings, in the format that `poolscope keys` prints. On macOS in \
            ~/Library/Application Support, on Windows in %APPDATA%.",
    ),
    (
        "$XDG_CACHE_HOME/poolscope, ~/.cache/poolscope",
        "indexes of dumps, 4 GB at most, and symbols; free to delete. On macOS in ~/Library/Caches, on Windows in %LOCALAPPDATA% (symbols: %ProgramData%\\Dbg\\sym).",
    ),
    (
        "$XDG_STATE_HOME/poolscope/sessions, ~/.local/state/poolscope/sessions",
        "marks, notes and places, by dump. On macOS in ~/Library/Application Support, on Windows in %LOCALAPPDATA%.",
    ),
    (
        "$XDG_STATE_HOME/poolscope/copied.txt",
        "the text copied last, if the terminal has no clipboard.",
    ),
    (
        "pooltag.txt",
        "tag descriptions that override the built-in ones, if given with --pooltag.",
    ),
];

/// Environment variables and their effect.
const VARIABLES: [(&str, &str); 9] = [
    (
        "_NT_SYMBOL_PATH, _NT_ALT_SYMBOL_PATH",
        "where to look for PDBs, in the debuggers' syntax, unless --symbols is given.",
    ),
    (
        "NO_COLOR",
        "if not empty: no colours, unless --theme sets them.",
    ),
    (
        "COLORTERM",
        "truecolor or 24bit: the terminal has 24-bit colour.",
    ),
    (
        "TERM",
        "the terminal type, which decides the number of colours and the control sequences.",
    ),
    (
        "LC_ALL, LC_CTYPE, LANG",
        "the character set, which decides whether lines and marks are drawn in ASCII.",
    ),
    ("TMUX, STY", "how copied text is sent to the terminal."),
    (
        "XDG_CONFIG_HOME, XDG_CACHE_HOME, XDG_STATE_HOME",
        "the locations of files; see FILES.",
    ),
    (
        "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY",
        "proxies for symbol servers.",
    ),
    ("SSL_CERT_FILE", "root certificates for symbol servers."),
];

const STATUS: [(&str, &str); 5] = [
    ("0", "the answer is complete, or says what is missing."),
    (
        "1",
        "the dump can't be read, or does not have what was asked for.",
    ),
    ("2", "wrong usage."),
    (
        "3",
        "check found a violated rule, or diagnose --exit-code a leak.",
    ),
    ("128+N", "ended by signal N."),
];

/// The manual page, for `man -l -`.
///
/// # Errors
/// Never: the page is written to memory.
pub fn page() -> std::io::Result<Vec<u8>> {
    let mut command = super::help::command();
    command.build();
    let man = Man::new(command.clone());
    let mut out = Vec::new();
    man.render_name_section(&mut out)?;
    let mut roff = Roff::new();
    synopsis(&mut roff);
    out.extend_from_slice(roff.to_roff().as_bytes());
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    let mut roff = Roff::new();
    commands(&mut roff, &command);
    keys(&mut roff);
    for (title, rows) in [
        ("EXIT STATUS", &STATUS[..]),
        ("ENVIRONMENT", &VARIABLES[..]),
        ("FILES", &FILES[..]),
    ] {
        roff.control("SH", [title]);
        for (what, text) in rows {
            paragraph(&mut roff, vec![bold(*what)], text);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        roman("Microsoft's documentation of the debugger's "),
        bold("!vm"),
        roman(", "),
        bold("!poolused"),
        roman(" and "),
        bold("!poolfind"),
        roman("."),
    ]);
    out.extend_from_slice(roff.to_roff().as_bytes());
    Ok(titled(&String::from_utf8_lossy(&out)).into_bytes())
}

/// Joins the pieces of the page below one title. Every piece starts with the same
/// definition; only one is kept.
fn titled(pieces: &str) -> String {
    const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";
    let version = env!("CARGO_PKG_VERSION");
    let title = format!(".TH POOLSCOPE 1 \"\" \"poolscope {version}\" \"User Commands\"\n");
    let body = pieces.replace(APOSTROPHE, "");
    format!("{APOSTROPHE}{title}{}\n", body.trim_end())
}

fn synopsis(roff: &mut Roff) {
    roff.control("SH", ["SYNOPSIS"]);
    for what in ["DUMP", "COMMAND"] {
        roff.control("PP", []);
        let mut line = vec![
            bold("poolscope"),
            roman(" ["),
            italic("OPTION"),
            roman(" ...] "),
        ];
        line.push(italic(what));
        if what == "COMMAND" {
            line.extend([roman(" ["), italic("ARGUMENT"), roman(" ...]")]);
        }
        roff.text(line);
    }
}

fn paragraph(roff: &mut Roff, head: Vec<Inline>, text: &str) {
    roff.control("TP", []);
    roff.text(head);
    roff.text([roman(text)]);
}

fn commands(roff: &mut Roff, command: &Command) {
    roff.control("SH", ["COMMANDS"]);
    for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
        let mut head = vec![bold(sub.get_name())];
        let own = |a: &&Arg| !a.is_global_set() && a.get_id() != "help" && a.get_id() != "version";
        let arguments: Vec<&Arg> = sub.get_arguments().filter(own).collect();
        for argument in &arguments {
            head.push(roman(" "));
            head.extend(usage(argument));
        }
        let about = sub.get_long_about().or(sub.get_about());
        paragraph(
            roff,
            head,
            &about.map(ToString::to_string).unwrap_or_default(),
        );
        for argument in arguments {
            let help = argument.get_long_help().or(argument.get_help());
            let help = help.map(ToString::to_string).unwrap_or_default();
            if help == "The dump" {
                continue;
            }
            roff.control("RS", []);
            paragraph(roff, usage(argument), &help);
            roff.control("RE", []);
        }
    }
}

fn usage(argument: &Arg) -> Vec<Inline> {
    let value = argument
        .get_value_names()
        .and_then(|names| names.first())
        .map(ToString::to_string)
        .filter(|_| argument.get_action().takes_values());
    let mut out = Vec::new();
    if let Some(long) = argument.get_long() {
        out.push(bold(format!("--{long}")));
        out.extend(value.is_some().then(|| roman(" ")));
    }
    out.extend(value.map(italic));
    match argument.is_required_set() {
        true => out,
        false => {
            out.insert(0, roman("["));
            out.push(roman("]"));
            out
        }
    }
}

/// The keys, from the same table as dispatch and help.
fn keys(roff: &mut Roff) {
    roff.control("SH", ["KEYS"]);
    roff.text([
        roman("The built-in keys; "),
        bold("poolscope keys"),
        roman(" prints the keys in use."),
    ]);
    let map = KeyMap::default();
    for group in Group::ALL {
        roff.control("SS", [group.title()]);
        for line in map.listed().iter().filter(|l| l.group == group) {
            paragraph(roff, vec![bold(line.keys.as_str())], &line.sentence());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command as Process, Stdio};

    fn text() -> String {
        String::from_utf8(page().unwrap()).unwrap()
    }

    #[test]
    fn the_page_lists_every_command_option_and_key() {
        let plain = text().replace('\\', "");
        for sub in super::super::help::command().get_subcommands() {
            assert!(
                plain.contains(&format!("fB{}", sub.get_name())),
                "{}",
                sub.get_name()
            );
        }
        for argument in super::super::help::command().get_arguments() {
            if let Some(long) = argument.get_long() {
                assert!(plain.contains(&format!("--{long}")), "{long}");
            }
        }
        for line in KeyMap::default().listed() {
            assert!(plain.contains(line.help), "{}", line.help);
        }
    }

    #[test]
    fn the_copy_in_assets_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/poolscope.1");
        if std::env::var_os("UPDATE_README").is_some() {
            std::fs::write(path, text()).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == text(),
            "assets/poolscope.1 is out of date: UPDATE_README=1 cargo test --lib cli::man"
        );
    }

    #[test]
    fn groff_accepts_the_page_without_warnings() {
        let groff = Process::new("groff")
            .args(["-man", "-ww", "-Tutf8", "-Kutf8"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut groff) = groff else {
            eprintln!("skipped: groff is not installed");
            return;
        };
        let mut stdin = groff.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, &page().unwrap()).unwrap();
        drop(stdin);
        let output = groff.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "{told}");
    }
}
