//! Terminals with few capabilities, and multiplexers in between.

use super::terminal::Terminal;
use super::{ENTER, demo};

fn sent(terminal: &Terminal) -> String {
    String::from_utf8_lossy(&terminal.sent.lock().unwrap()).into_owned()
}

#[test]
fn a_vt100_receives_only_vt100_sequences() {
    let state = tempfile::tempdir().unwrap();
    let place = state.path().to_str().unwrap();
    let variables = [
        ("TERM", "vt100"),
        ("XDG_STATE_HOME", place),
        ("HOME", place),
    ];
    let mut terminal = Terminal::open(demo(), &variables, (80, 24));
    terminal.see("Pool walked");
    terminal.press(&format!("\x1b[B\x1b[B{ENTER}"));
    terminal.see("kernel counters");
    terminal.press("y");
    terminal.see("copied to ");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
    for piece in sent(&terminal).split('\x1b').skip(1) {
        let known = match piece.strip_prefix('[') {
            // The cursor visibility mode is newer than a VT100, which ignores it.
            Some("?25l" | "?25h") => true,
            Some(rest) => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                let (numbers, letter) = (&rest[..end], &rest[end..=end]);
                let attributes = |n: &str| matches!(n, "" | "0" | "1" | "4" | "5" | "7");
                match letter {
                    "m" => numbers.split(';').all(attributes),
                    "H" | "A" | "B" | "C" | "D" | "K" | "J" | "r" => !numbers.contains('?'),
                    _ => rest.starts_with("?25"),
                }
            }
            None => piece.starts_with('M'),
        };
        assert!(known, "{piece:?}");
    }
}

#[test]
fn gnu_screen_passes_a_copy_on() {
    let variables = [("TERM", "screen"), ("STY", "1.pts-0.host"), ("TMUX", "")];
    let mut terminal = Terminal::open(demo(), &variables, (80, 24));
    terminal.see("Pool walked");
    terminal.press("y");
    terminal.see("to the clipboard");
    assert!(sent(&terminal).contains("\x1bP\x1b]52;c;"));
    terminal.press("Y");
    terminal.wait("the row alone", |screen| {
        screen.starts_with("Leak nonpaged")
    });
    terminal.press(" ");
    terminal.see("Tags: both pools");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn the_mouse_is_on_by_default() {
    let arguments = [demo().as_os_str(), "--no-mouse".as_ref()];
    let mut terminal = Terminal::run(&arguments, &[], (80, 24));
    terminal.see("Pool walked");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
    assert!(!sent(&terminal).contains("\x1b[?100"));

    let mut terminal = Terminal::open(demo(), &[], (80, 24));
    terminal.see("Pool walked");
    // Click on the row of CM31, twice.
    let row = terminal.text().lines().position(|l| l.contains("CM31"));
    let click = format!("\x1b[<0;10;{}M", row.unwrap() + 1);
    terminal.press(&click);
    terminal.see("> CM31");
    terminal.press(&click);
    terminal.see("Tags \u{203a} CM31");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
    let all = sent(&terminal);
    assert!(all.contains("\x1b[?1000h") && all.contains("\x1b[?1000l"));
}
