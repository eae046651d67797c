//! The dump is truncated, removed or unreadable while the UI is open.

use std::fs::{self, File};

use super::terminal::Terminal;
use super::{ENTER, ESC, demo};

#[test]
fn a_dump_truncated_while_shown_is_reported_and_the_ui_continues() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    crate::demo::copy(&path, |_, _| ());
    let mut terminal = Terminal::open(&path, &[], (120, 40));
    terminal.see("Pool walked");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(0x3000).unwrap();
    terminal.press(ENTER);
    terminal.see("holds 586.9 MB");
    terminal.see("the file was truncated from");
    terminal.press(ENTER);
    terminal.see("Bytes at");
    terminal.see("the dump file could not be read");
    terminal.see("??");
    terminal.press(ESC);
    terminal.press(ESC);
    terminal.press("v");
    terminal.see("the file was truncated from");
    for key in ["M", ENTER, ESC, ESC, "D", ESC, "R", ESC, "T"] {
        terminal.press(key);
    }
    terminal.see("Leak");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
    terminal.is_restored();
    assert!(terminal.is_cooked());
}

#[test]
fn a_dump_truncated_during_the_walk_leaves_the_terminal_intact() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    for delay in [0, 10, 30, 80] {
        // Without holes: some file systems take many seconds to cut a file with thousands.
        fs::copy(demo(), &path).unwrap();
        let mut terminal = Terminal::open(&path, &[], (80, 24));
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(0x10_0000).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        terminal.press("q");
        let status = terminal.exit_code();
        assert!(matches!(status, 0 | 1), "{delay}: {status}");
        terminal.is_restored();
        assert!(terminal.is_cooked(), "{delay}");
    }
}

#[test]
fn the_ui_works_with_a_removed_dump_and_without_a_home() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("MEMORY.DMP");
    crate::demo::copy(&path, |_, _| ());
    let nowhere = [
        ("HOME", ""),
        ("XDG_CACHE_HOME", ""),
        ("XDG_STATE_HOME", ""),
        ("XDG_CONFIG_HOME", ""),
    ];
    let mut terminal = Terminal::open(&path, &nowhere, (120, 40));
    terminal.see("Leak");
    fs::remove_file(&path).unwrap();
    terminal.see("Pool walked");
    terminal.press(ENTER);
    terminal.see("kernel counters: 601 blocks");
    terminal.press(ENTER);
    terminal.see("Leak block of 1,024,000 bytes");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
    terminal.is_restored();
}
