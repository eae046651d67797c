//! However and whenever the program ends, the terminal is restored and the cache is intact.

use std::process::Command;
use std::thread;
use std::time::Duration;

use super::demo;
use super::terminal::Terminal;

/// Pseudo-random delays, the same in each run.
fn delays(seed: u64, below: u64) -> impl Iterator<Item = Duration> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(99);
        Duration::from_millis((state >> 33) % below)
    })
}

#[test]
fn a_signal_at_any_moment_restores_the_terminal_and_leaves_the_cache_intact() {
    let cache = tempfile::tempdir().unwrap();
    let place = cache.path().to_str().unwrap();
    let variables = [("XDG_CACHE_HOME", place)];
    let signals = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
    for (i, delay) in delays(7, 400).take(20).enumerate() {
        let mut terminal = Terminal::open(demo(), &variables, (80, 24));
        if i % 4 == 3 {
            // While a key's request is being answered.
            terminal.see("Leak");
            terminal.press("D");
        }
        thread::sleep(delay);
        let signal = signals[i % signals.len()];
        terminal.signal(signal);
        let status = terminal.exit_code();
        // Before the screen is taken over, a signal has its default effect.
        let own = status == 128 + signal as u32 || !terminal.took_the_screen();
        assert!(own, "{delay:?}: {status}");
        terminal.is_restored();
        assert!(terminal.is_cooked(), "{delay:?}, signal {signal}");
        // Every file in the cache is complete.
        if i % 5 == 4 {
            let output = Command::new(env!("CARGO_BIN_EXE_poolscope"))
                .args(["allocs".as_ref(), demo().as_os_str(), "Leak".as_ref()])
                .env("XDG_CACHE_HOME", cache.path())
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{told}");
            assert!(!told.contains("is not used"), "{told}");
        }
    }
}

#[test]
fn ctrl_c_twice_quits_at_any_moment() {
    for delay in delays(11, 300).take(6) {
        let mut terminal = Terminal::open(demo(), &[], (80, 24));
        terminal.see("Leak");
        thread::sleep(delay);
        // During the walk, the first Ctrl-C stops only the walk.
        terminal.press("\x03");
        thread::sleep(Duration::from_millis(300));
        terminal.press("\x03");
        assert_eq!(terminal.exit_code(), 0, "{delay:?}");
        terminal.is_restored();
        assert!(terminal.is_cooked());
    }
}

/// Nobody reads the output, so the program is blocked while drawing; it still restores the
/// terminal's modes.
#[test]
fn a_signal_restores_the_modes_of_a_blocked_terminal() {
    let mut terminal = Terminal::open(demo(), &[], (200, 50));
    terminal.see("Pool walked");
    terminal.stop_reading();
    // Redraw until the output buffer is full.
    for _ in 0..400 {
        terminal.press("M\x1bv\x1b");
    }
    thread::sleep(Duration::from_millis(500));
    assert!(!terminal.is_cooked());
    terminal.signal(libc::SIGTERM);
    assert_eq!(terminal.exit_code(), 128 + libc::SIGTERM as u32);
    assert!(terminal.is_cooked());
}
