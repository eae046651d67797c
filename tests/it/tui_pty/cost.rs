//! What moving costs on a line, measured where a user would: in a pseudo-terminal.

use std::thread;
use std::time::{Duration, Instant};

use super::terminal::Terminal;
use super::{ENTER, demo};

/// Bytes that a key costs: all that comes until nothing comes any more.
fn cost(terminal: &mut Terminal, key: &str) -> usize {
    let sent = |terminal: &Terminal| terminal.sent.lock().unwrap().len();
    let before = sent(terminal);
    terminal.press(key);
    let started = Instant::now();
    let (mut last, mut since) = (before, Instant::now());
    // A key that draws nothing is not waited for longer.
    while started.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(5));
        let now = sent(terminal);
        if now != last {
            (last, since) = (now, Instant::now());
        } else if last != before && since.elapsed() > Duration::from_millis(40) {
            break;
        }
    }
    last - before
}

fn median(terminal: &mut Terminal, key: &str, times: usize) -> usize {
    let mut costs: Vec<usize> = (0..times).map(|_| cost(terminal, key)).collect();
    costs.sort_unstable();
    costs[times / 2]
}

const DOWN: &str = "\x1b[B";
const PAGE_DOWN: &str = "\x1b[6~";

#[test]
fn rows_and_pages_are_cheap_in_every_list() {
    let mut terminal = Terminal::open(demo(), &[], (120, 40));
    terminal.wait("the verdict", |screen| {
        screen.contains("Pool walked") && !screen.contains("computing")
    });
    // The last that comes by itself.
    thread::sleep(Duration::from_millis(700));
    for (screen, keys, title) in [
        ("tags", "", "Tags: both pools"),
        ("allocations", ENTER, "kernel counters: 601 blocks"),
        ("bytes", ENTER, "Bytes at"),
    ] {
        terminal.press(keys);
        terminal.see(title);
        thread::sleep(Duration::from_millis(200));
        let row = median(&mut terminal, DOWN, 15);
        let page = median(&mut terminal, PAGE_DOWN, 5);
        println!("{screen}: a row {row} bytes, a page {page} bytes");
        assert!((1..350).contains(&row), "{screen}: a row costs {row} bytes");
        assert!((1..5000).contains(&page), "{screen}: a page costs {page}");
        terminal.press("\x1b[H");
    }
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
}
