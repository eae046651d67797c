//! The terminal UI in tmux, started from a shell: what a user at a keyboard does, with
//! job control and a real terminal emulator between.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A tmux server of this test alone, with a shell in it.
struct Tmux {
    name: String,
}

impl Tmux {
    /// `None`, with a word about it, where there is no tmux.
    fn start(test: &str, size: (u16, u16)) -> Option<Tmux> {
        let found = Command::new("tmux")
            .arg("-V")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !found {
            eprintln!("skipped: tmux is not installed");
            return None;
        }
        let tmux = Tmux {
            name: format!("poolscope-{test}-{}", std::process::id()),
        };
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        // A prompt that is known, and none of the user's files.
        let shell =
            "env -i PATH=\"$PATH\" HOME=/ LC_ALL=C.UTF-8 TERM=\"$TERM\" PS1='prompt$ ' sh -i";
        tmux.run(&["new-session", "-d", "-x", &columns, "-y", &rows, shell]);
        tmux.see("prompt$");
        Some(tmux)
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-L", &self.name, "-f", "/dev/null"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "tmux {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    fn keys(&self, keys: &[&str]) {
        let mut arguments = vec!["send-keys"];
        arguments.extend_from_slice(keys);
        self.run(&arguments);
    }

    fn type_line(&self, text: &str) {
        self.run(&["send-keys", "-l", text]);
        self.keys(&["Enter"]);
    }

    fn see(&self, text: &str) {
        self.wait(text, |screen| screen.contains(text));
    }

    fn wait(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "waited for {what}; the screen is\n{screen}"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The shell has the terminal: lines are edited and echoed as before.
    fn shell_is_back(&self, word: &str) {
        self.wait("the shell's screen", |screen| !screen.contains("Tags"));
        // The line shows both typed and answered only when the terminal echoes.
        self.type_line(&format!("echo {word}-$((20+22))"));
        self.wait("the echo", |screen| {
            screen.contains(&format!("echo {word}-$((20+22))"))
                && screen.lines().any(|line| line == format!("{word}-42"))
        });
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .args(["-L", &self.name, "kill-server"])
            .status();
    }
}

fn demo() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    poolscope::synth::demo::write(&path).unwrap();
    let command = format!(
        "{} --no-cache '{}'; echo status-$?",
        env!("CARGO_BIN_EXE_poolscope"),
        path.display()
    );
    (folder, command)
}

#[test]
fn the_articles_case_by_keys_with_a_break_in_the_middle() {
    let Some(tmux) = Tmux::start("case", (80, 24)) else {
        return;
    };
    let (_folder, command) = demo();
    tmux.type_line(&command);
    tmux.see("Pool walked");
    tmux.see("!vm summary");
    tmux.keys(&["p", "b"]);
    tmux.see("nonpaged pool by bytes, large first");
    tmux.keys(&["Enter"]);
    tmux.see("holds 586.9 MB");
    tmux.see("Modules that mention it: 2");
    tmux.keys(&["C-z"]);
    tmux.wait("the shell", |screen| screen.contains("prompt$"));
    tmux.shell_is_back("stopped");
    tmux.type_line("fg");
    tmux.see("Modules that mention it: 2");
    tmux.keys(&["Tab", "Enter"]);
    tmux.see("db fffff880`044b63aa");
    tmux.see("4c65 616b 3bc1 0f42 c141 8d49 fd8b d0ff");
    tmux.keys(&["Escape"]);
    tmux.see("s -a @#Base");
    tmux.keys(&["Escape"]);
    tmux.see("!poolused 2");
    tmux.keys(&["q"]);
    // Being stopped ended the shell's line, so the status is asked for again.
    tmux.wait("the shell", |screen| screen.contains("prompt$"));
    tmux.type_line("echo status-$?");
    tmux.see("status-0");
    tmux.shell_is_back("left");
}

#[test]
fn other_ways_to_end_give_the_shell_its_terminal_back() {
    let Some(tmux) = Tmux::start("ends", (120, 40)) else {
        return;
    };
    let (folder, command) = demo();
    let number = folder.path().join("id");
    let wrapped = format!(
        "sh -c 'echo $$ > {}; exec \"$0\" \"$@\"' {command}",
        number.display()
    );
    tmux.type_line(&wrapped);
    tmux.see("Pool walked");
    let id: i32 = std::fs::read_to_string(&number)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    // SAFETY: sends a signal to the program that this test started in its own tmux.
    unsafe { libc::kill(id, libc::SIGTERM) };
    tmux.see("status-143");
    tmux.shell_is_back("killed");

    tmux.type_line("clear");
    tmux.type_line(&command);
    tmux.see("Pool walked");
    tmux.keys(&["C-c"]);
    tmux.see("status-0");
    tmux.shell_is_back("interrupted");
}

/// Builds without debug assertions have no way to panic on demand.
#[cfg(debug_assertions)]
#[test]
fn a_panic_gives_the_shell_its_terminal_back() {
    let Some(tmux) = Tmux::start("panic", (100, 30)) else {
        return;
    };
    let (_folder, command) = demo();
    tmux.type_line(&format!("POOLSCOPE_TEST_PANIC=1 {command}"));
    tmux.see("Pool walked");
    tmux.keys(&["!"]);
    tmux.see("status-101");
    tmux.see("the panic that a test asked for");
    tmux.shell_is_back("panicked");
}
