//! A tmux server for a single test, and the program in it.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Long, because the machine may be busy with other builds.
const PATIENCE: Duration = Duration::from_secs(300);

/// A private tmux server with a shell.
pub struct Tmux {
    name: String,
}

impl Tmux {
    /// `None` if tmux is not installed; prints a note.
    pub fn start(test: &str, size: (u16, u16)) -> Option<Tmux> {
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
        // A known prompt, and none of the user's files.
        let shell =
            "env -i PATH=\"$PATH\" HOME=/ LC_ALL=C.UTF-8 TERM=\"$TERM\" PS1='prompt$ ' sh -i";
        tmux.run(&["new-session", "-d", "-x", &columns, "-y", &rows, shell]);
        tmux.see("prompt$");
        Some(tmux)
    }

    pub fn run(&self, arguments: &[&str]) -> String {
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

    pub fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    pub fn keys(&self, keys: &[&str]) {
        let mut arguments = vec!["send-keys"];
        arguments.extend_from_slice(keys);
        self.run(&arguments);
    }

    pub fn type_line(&self, text: &str) {
        self.run(&["send-keys", "-l", text]);
        self.keys(&["Enter"]);
    }

    pub fn see(&self, text: &str) {
        self.wait(text, |screen| screen.contains(text));
    }

    pub fn wait(&self, what: &str, holds: impl Fn(&str) -> bool) {
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

    /// The shell controls the terminal again: lines are edited and echoed as before.
    pub fn shell_is_back(&self, word: &str) {
        self.wait("the shell's screen", |screen| !screen.contains("Tags"));
        // The screen shows both the command and its output only if the terminal echoes.
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

/// The sample in its own folder, and the command that opens it.
pub fn demo() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = crate::demo::link(folder.path());
    let command = format!(
        "{} --no-cache '{}'; echo status-$?",
        env!("CARGO_BIN_EXE_poolscope"),
        path.display()
    );
    (folder, command)
}
