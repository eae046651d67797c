//! The terminal UI as a user runs it: the binary in a pseudo-terminal, keys in, screen out.

mod cost;
mod file;
mod interrupts;
mod plain;
mod symbol_arrival;
mod terminal;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use terminal::Terminal;

/// The sample dump.
fn demo() -> &'static Path {
    static DEMO: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = DEMO.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = crate::demo::link(folder.path());
        (folder, path)
    });
    path
}

const ENTER: &str = "\r";
const ESC: &str = "\x1b";

#[test]
fn from_the_first_screen_to_the_driver_and_out() {
    let mut terminal = Terminal::open(demo(), &[], (80, 24));
    terminal.see("Pool walked");
    let first = terminal.text();
    for expected in [
        "!vm summary",
        "81%",
        "EXCESSIVE",
        "Leak",
        "615,424,000",
        "CM31",
    ] {
        assert!(first.contains(expected), "{expected}:\n{first}");
    }
    terminal.press("pb");
    terminal.see("nonpaged pool by bytes, descending");
    terminal.press(ENTER);
    terminal.see("kernel counters: 601 blocks");
    terminal.see("myfault+0x1610");
    terminal.press(ENTER);
    terminal.see("Leak block of 1,024,000 bytes");
    terminal.press("\t");
    terminal.see("to myfault+0x13");
    terminal.press(ESC);
    terminal.see("kernel counters: 601 blocks");
    terminal.press("\t");
    terminal.see("s -a @#Base");
    terminal.press(ENTER);
    terminal.see("4c65 616b 3bc1 0f42 c141 8d49 fd8b d0ff");
    assert!(terminal.text().contains("myfault+0x13aa"));
    terminal.press(ESC);
    terminal.see("s -a @#Base");
    terminal.press(ESC);
    terminal.see("!poolused 2");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
    terminal.is_restored();
}

#[test]
fn a_resize_redraws_at_the_new_size() {
    let mut terminal = Terminal::open(demo(), &[], (80, 24));
    terminal.see("Pool walked");
    terminal.resize(200, 50);
    terminal.see("Commit limit");
    terminal.resize(60, 20);
    terminal.wait("the small screen", |screen| {
        !screen.contains("Commit limit")
    });
    terminal.see("Leak");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn quitting_does_not_wait_for_the_walk() {
    let mut terminal = Terminal::open(demo(), &[], (80, 24));
    terminal.see("Leak");
    let started = Instant::now();
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
    // It takes some milliseconds; a busy machine gets a second.
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn ending_signals_restore_the_terminal_and_set_the_exit_status() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let mut terminal = Terminal::open(demo(), &[], (80, 24));
        terminal.see("Leak");
        terminal.signal(signal);
        assert_eq!(terminal.exit_code(), 128 + signal as u32);
        terminal.is_restored();
    }
}

#[test]
fn a_terminal_that_is_gone_ends_the_program_without_a_signal() {
    let code = terminal::exit_code_without_terminal(demo());
    assert_eq!(code, 128 + libc::SIGHUP as u32);
}

#[test]
fn suspending_and_continuing_redraws_everything() {
    let mut terminal = Terminal::open(demo(), &[], (80, 24));
    terminal.see("Pool walked");
    terminal.signal(libc::SIGSTOP);
    terminal.screen.lock().unwrap().process(b"\x1b[2J");
    assert!(!terminal.text().contains("Leak"));
    terminal.signal(libc::SIGCONT);
    terminal.see("Leak");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn a_panic_restores_the_terminal_and_is_reported() {
    let variables = [("POOLSCOPE_TEST_PANIC", "1"), ("RUST_BACKTRACE", "0")];
    let mut terminal = Terminal::open(demo(), &variables, (80, 24));
    terminal.see("Leak");
    terminal.press("!");
    assert_eq!(terminal.exit_code(), 101);
    terminal.is_restored();
    terminal.see("the panic that a test asked for");
    assert!(!terminal.text().contains("!poolused"));
}

#[test]
fn a_file_that_is_not_a_dump_is_an_error_on_a_clean_screen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "no dump at all\n").unwrap();
    let mut terminal = Terminal::open(&path, &[], (80, 24));
    assert_eq!(terminal.exit_code(), 1);
    terminal.see("error: ");
    assert!(!terminal.took_the_screen());
}

#[test]
fn no_color_and_plain_terminals_are_respected() {
    let terminal = Terminal::open(demo(), &[("NO_COLOR", "1")], (80, 24));
    terminal.see("Pool walked");
    {
        let parser = terminal.screen.lock().unwrap();
        for row in 0..24 {
            for column in 0..80 {
                let cell = parser.screen().cell(row, column).unwrap();
                assert_eq!(cell.fgcolor(), vt100::Color::Default);
                assert_eq!(cell.bgcolor(), vt100::Color::Default);
            }
        }
    }
    for variables in [
        [("TERM", "vt100"), ("LC_ALL", "C.UTF-8")],
        [("TERM", "xterm"), ("LC_ALL", "C")],
    ] {
        let terminal = Terminal::open(demo(), &variables, (80, 24));
        terminal.see("Pool walked");
        assert!(terminal.text().is_ascii(), "{}", terminal.text());
    }
}

#[test]
fn nothing_is_sent_while_idle() {
    // Wide enough to show what arrives last: the owners of all tags.
    let terminal = Terminal::open(demo(), &[], (200, 50));
    terminal.see("Pool walked");
    terminal.see("netvsc60 (cert");
    // Wait until everything has arrived; after that, nothing more may be sent.
    let sent = || terminal.sent.lock().unwrap().len();
    let started = Instant::now();
    let mut before = sent();
    loop {
        thread::sleep(Duration::from_millis(700));
        if sent() == before {
            break;
        }
        assert!(
            started.elapsed() < terminal::PATIENCE,
            "it never stops drawing"
        );
        before = sent();
    }
}

#[test]
fn reopening_shows_the_cached_index_at_once() {
    let cache = tempfile::tempdir().unwrap();
    let variables = [("XDG_CACHE_HOME", cache.path().to_str().unwrap())];
    let mut terminal = Terminal::open(demo(), &variables, (80, 24));
    terminal.see("Pool walked: 107,268 allocations");
    let kept = || fs_entries(&cache.path().join("poolscope/index"));
    let end = Instant::now() + terminal::PATIENCE;
    while !kept().iter().any(|name| name.ends_with(".poolidx")) && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
    terminal.press("q");
    let mut terminal = Terminal::open(demo(), &variables, (80, 24));
    terminal.see("Index from cache (20");
    terminal.see("107,268 allocations");
    terminal.press(ENTER);
    terminal.press(ENTER);
    terminal.see("1,024,000");
    // On a terminal, the command line shows it too.
    let arguments = ["allocs".as_ref(), demo().as_os_str(), "Pool".as_ref()];
    let terminal = Terminal::run(&arguments, &variables, (80, 24));
    terminal.see("note: index from cache (20");
}

fn fs_entries(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let name = |e: std::fs::DirEntry| e.file_name().to_string_lossy().into_owned();
    entries.map(name).collect()
}

#[test]
fn the_users_keys_work_and_errors_in_the_file_are_shown() {
    let home = tempfile::tempdir().unwrap();
    let variables = [("XDG_CONFIG_HOME", home.path().to_str().unwrap())];
    let folder = home.path().join("poolscope");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("keys");
    std::fs::write(&file, "bind x quit\nunbind q\n").unwrap();
    if cfg!(target_os = "linux") {
        let mut terminal = Terminal::open(demo(), &variables, (80, 24));
        terminal.see("x quit");
        terminal.press("q");
        terminal.see("q does nothing here");
        terminal.press("x");
        assert_eq!(terminal.exit_code(), 0);

        std::fs::write(&file, "bind x qiut\n").unwrap();
        let mut terminal = Terminal::open(demo(), &variables, (200, 24));
        terminal.see("keys, line 1: unknown action \"qiut\" (did you mean quit?)");
        terminal.see("q quit");
        terminal.press("q");
        assert_eq!(terminal.exit_code(), 0);
    }
}
