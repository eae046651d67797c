//! The README shows the program's real output. `UPDATE_README=1 cargo test readme` updates
//! its sections.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use poolscope::tui::input::keys::{Context, Group, KeyMap};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::demo::{answer, directory};

fn keys_page() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/keys.md"))
}

fn readme() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

fn indented(text: &str) -> String {
    let line = |l: &str| match l {
        "" => "\n".into(),
        _ => format!("    {}\n", l.trim_end().replace('\t', "  ")),
    };
    text.lines().map(line).collect()
}

/// The first screen at 80x24, drawn by the program in a pseudo-terminal.
fn screen() -> String {
    let size = PtySize {
        rows: 24,
        cols: 80,
        ..PtySize::default()
    };
    let pair = native_pty_system().openpty(size).unwrap();
    let mut command = CommandBuilder::new(assert_cmd::cargo::cargo_bin("poolscope"));
    command.args(["--no-cache", "demo.dmp"]);
    command.cwd(directory());
    command.env("TERM", "xterm-256color");
    command.env("LANG", "C.UTF-8");
    let mut child = pair.slave.spawn_command(command).unwrap();
    drop(pair.slave);
    let mut reader = pair.master.try_clone_reader().unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = std::io::Read::read(&mut reader, &mut buffer) {
            if send.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut terminal = vt100::Parser::new(24, 80, 0);
    let end = Instant::now() + Duration::from_secs(300);
    let judged = |text: &str| text.contains("Pool walked") && !text.contains("computing");
    while !judged(&terminal.screen().contents()) {
        let left = end.saturating_duration_since(Instant::now());
        let bytes = receive.recv_timeout(left).expect("the walk ends");
        terminal.process(&bytes);
    }
    let mut writer = pair.master.take_writer().unwrap();
    writer.write_all(b"q").unwrap();
    child.wait().unwrap();
    // The only number on it that depends on the machine's speed.
    let text = terminal.screen().contents();
    let walked = text
        .find("allocations in ")
        .map(|at| at + "allocations".len())
        .zip(text.find(" s  "));
    match walked {
        Some((from, to)) if from < to => format!("{}{}", &text[..from], &text[to + 2..]),
        _ => text,
    }
}

/// The key table: all keys, or only those in the hints of a screen.
fn keys(all: bool) -> String {
    let listed = KeyMap::default().listed();
    let mut rows: Vec<(String, &str)> = Vec::new();
    for group in Group::ALL {
        for line in listed.iter().filter(|line| line.group == group) {
            let overlay =
                |c: &Context| matches!(c, Context::Help | Context::Prompt | Context::Columns);
            let screen = |c: &Context| !overlay(c);
            let here = line.contexts.iter().any(screen);
            let named = !line.hint.is_empty() && group != Group::Move;
            if all || (here && named) {
                rows.push((line.keys.replace('|', "\\|"), line.help));
            }
        }
    }
    let mut out = String::from("| keys | what |\n| --- | --- |\n");
    for (names, help) in rows {
        writeln!(out, "| {names} | {help} |").unwrap();
    }
    out
}

/// Replaces the text between `<!-- name -->` and `<!-- end -->`.
fn with_section(text: &str, name: &str, body: &str) -> String {
    let start = format!("<!-- {name} -->\n");
    let (before, rest) = text
        .split_once(&start)
        .unwrap_or_else(|| panic!("no section {name}"));
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    format!("{before}{start}\n{body}\n<!-- end -->{after}")
}

#[test]
fn the_readme_shows_current_output() {
    let old = std::fs::read_to_string(readme()).unwrap();
    let first = |count, text: &str| text.lines().take(count).collect::<Vec<_>>().join("\n");
    let mut new = with_section(&old, "screen", &indented(&screen()));
    for (name, body) in [
        ("poolused", answer(&["poolused", "demo.dmp", "/t3", "2"])),
        ("diagnose", first(1, &answer(&["diagnose", "demo.dmp"]))),
    ] {
        new = with_section(&new, name, &indented(&body));
    }
    new = with_section(&new, "keys", &keys(false));
    let page = keys_page();
    let old_page = std::fs::read_to_string(&page).unwrap_or_default();
    let new_page = with_section(&old_page, "keys", &keys(true));
    let old_both = (old.clone(), old_page);
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(readme(), &new).unwrap();
        std::fs::write(page, new_page).unwrap();
    } else if old_both != (new.clone(), new_page) {
        panic!(
            "the README or docs/keys.md is out of date: UPDATE_README=1 cargo test --test it readme"
        );
    }
    assert!(new.lines().count() < 200);
}
