//! Copies to the clipboard of the user's own machine, even over a remote connection:
//! through the terminal if it supports OSC 52, otherwise into a file.

use std::io::{self, Write};
use std::path::PathBuf;

use crossterm::Command;
use crossterm::clipboard::CopyToClipboard;

use crate::report::text::{clean, grouped};

use crate::tui::storage::state_directory;
use crate::tui::storage::write_whole;
use crate::tui::terminal::diff::is_plain;

/// How a copy reaches the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through the terminal; tmux passes it on if `set-clipboard` is on.
    Terminal,
    /// Through GNU screen, which passes on device control strings.
    Screen,
    /// Into a file: the terminal has no clipboard, or a multiplexer does not pass the copy on.
    File,
}

impl Way {
    /// Detects the way from the environment.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Way {
        let get = |name| variable(name).filter(|value| !value.is_empty());
        let term = get("TERM").unwrap_or_default();
        if get("TMUX").is_some() {
            Way::Terminal
        } else if get("STY").is_some() {
            Way::Screen
        } else if term == "linux" || is_plain(&term) || term.starts_with("screen") {
            // GNU screen or tmux runs at the other end of the connection. TERM does not
            // tell which one, and neither accepts the sequences of the other.
            Way::File
        } else {
            Way::Terminal
        }
    }
}

/// Terminals reject longer copies, some of them silently.
const LONGEST: usize = 70_000;
/// Maximum bytes in a string for GNU screen; its buffer has 256.
const CHUNK: usize = 200;

/// The clipboard.
#[derive(Clone, Debug)]
pub struct Clipboard {
    way: Way,
    /// The directory of the file, if there is one.
    directory: Option<PathBuf>,
}

impl Clipboard {
    /// The clipboard that the environment provides.
    pub fn of_user() -> Clipboard {
        Clipboard {
            way: Way::of(|name| std::env::var(name).ok()),
            directory: state_directory(),
        }
    }

    /// Copies text; returns a message if it did not go to the clipboard.
    ///
    /// # Errors
    /// If the terminal is gone. A file that cannot be written is reported in the message.
    pub fn copy(&self, out: &mut impl Write, text: &str) -> io::Result<Option<String>> {
        let why = match self.way {
            _ if text.len() > LONGEST => format!(
                "{} bytes are too many for a terminal's clipboard",
                grouped(text.len() as u64)
            ),
            Way::File => "this terminal has no clipboard".to_owned(),
            way => {
                out.write_all(sequence(way, text).as_bytes())?;
                out.flush()?;
                return Ok(None);
            }
        };
        Ok(Some(match self.write(text) {
            Ok(path) => format!("copied to {}: {why}", clean(&path.to_string_lossy())),
            Err(failed) => format!("not copied: {why}, and {failed}; Y shows it as plain text"),
        }))
    }

    fn write(&self, text: &str) -> Result<PathBuf, String> {
        let directory = self
            .directory
            .as_ref()
            .ok_or("there is no directory for a file")?;
        let path = directory.join("copied.txt");
        let written = create_private(directory)
            .and_then(|()| write_whole(&path, true, |out| out.write_all(text.as_bytes())));
        match written {
            Ok(_) => Ok(path),
            Err(why) => {
                let path = path.to_string_lossy();
                Err(format!("{} can't be written: {why}", clean(&path)))
            }
        }
    }
}

/// Contents of a dump are confidential: only the user can read the directory.
fn create_private(directory: &std::path::Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// The sequence to send.
fn sequence(way: Way, text: &str) -> String {
    let mut plain = String::new();
    // Writing to a string cannot fail.
    let _ = CopyToClipboard::to_clipboard_from(text).write_ansi(&mut plain);
    if way != Way::Screen {
        return plain;
    }
    // The terminator of a device control string must not occur inside one, so the inner
    // sequence ends with BEL.
    let body = plain.strip_suffix("\x1b\\").unwrap_or(&plain);
    let body = format!("{}\x07", body.trim_end_matches('\x07'));
    let bytes = body.as_bytes().chunks(CHUNK);
    let chunks = bytes.map(|chunk| format!("\x1bP{}\x1b\\", String::from_utf8_lossy(chunk)));
    chunks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(variables: &[(&str, &str)]) -> Way {
        Way::of(|name| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_decides_how_to_copy() {
        assert_eq!(way(&[("TERM", "xterm-256color")]), Way::Terminal);
        assert_eq!(way(&[]), Way::Terminal);
        assert_eq!(
            way(&[("TERM", "screen"), ("TMUX", "/tmp/x,1,0")]),
            Way::Terminal
        );
        assert_eq!(way(&[("TERM", "tmux-256color")]), Way::Terminal);
        assert_eq!(way(&[("TERM", "screen"), ("STY", "12.pts-0")]), Way::Screen);
        for plain in ["linux", "vt100", "dumb", "screen", "screen-256color"] {
            assert_eq!(way(&[("TERM", plain)]), Way::File, "{plain}");
        }
    }

    fn clipboard(way: Way, directory: &std::path::Path) -> Clipboard {
        Clipboard {
            way,
            directory: Some(directory.join("state").join("poolscope")),
        }
    }

    #[test]
    fn terminals_get_one_sequence_and_gnu_screen_gets_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        let told = clipboard(Way::Terminal, folder.path()).copy(&mut out, "Leak");
        assert_eq!(told.unwrap(), None);
        assert_eq!(out, b"\x1b]52;c;TGVhaw==\x1b\\");
        let mut out = Vec::new();
        let long = "x".repeat(3000);
        let told = clipboard(Way::Screen, folder.path()).copy(&mut out, &long);
        assert_eq!(told.unwrap(), None);
        let sent = String::from_utf8(out).unwrap();
        let pieces: Vec<&str> = sent
            .split_terminator("\x1b\\")
            .map(|piece| {
                piece
                    .strip_prefix("\x1bP")
                    .expect("each is a string of its own")
            })
            .collect();
        assert!(pieces.len() > 10 && pieces.iter().all(|p| p.len() <= CHUNK));
        let inner = pieces.concat();
        assert!(inner.starts_with("\x1b]52;c;eHh4") && inner.ends_with('\x07'));
        let letters = &inner["\x1b]52;c;".len()..inner.len() - 1];
        assert_eq!(letters, "eHh4".repeat(1000));
        assert!(!folder.path().join("state").exists());
    }

    #[test]
    fn a_copy_without_clipboard_goes_to_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("state").join("poolscope");
        let path = directory.join("copied.txt");
        let mut out = Vec::new();
        let no_clipboard = clipboard(Way::File, folder.path());
        let told = no_clipboard.copy(&mut out, "one").unwrap().unwrap();
        assert!(
            told.starts_with(&format!("copied to {}: ", path.display())),
            "{told}"
        );
        let told = clipboard(Way::Terminal, folder.path())
            .copy(&mut out, &"x".repeat(LONGEST + 1))
            .unwrap()
            .unwrap();
        assert!(told.contains("70,001 bytes are too many"), "{told}");
        assert!(out.is_empty());
        assert_eq!(std::fs::read(&path).unwrap().len(), LONGEST + 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode();
            assert_eq!(mode(&path) & 0o777, 0o600);
            assert_eq!(mode(path.parent().unwrap()) & 0o777, 0o700);
        }
        std::fs::write(folder.path().join("file"), "").unwrap();
        let nowhere = Clipboard {
            way: Way::File,
            directory: Some(folder.path().join("file/poolscope")),
        };
        let told = nowhere.copy(&mut out, "one").unwrap().unwrap();
        assert!(told.contains("can't be written"), "{told}");
    }
}
