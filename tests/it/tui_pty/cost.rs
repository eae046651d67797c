//! The cost of moving the selection, in bytes on the line and in time, measured in a
//! pseudo-terminal.

use std::thread;
use std::time::{Duration, Instant};

use super::terminal::Terminal;
use super::{ENTER, demo};

/// The number of bytes that a key causes, and the time to the first one.
fn cost(terminal: &mut Terminal, key: &str) -> (usize, Duration) {
    let sent = |terminal: &Terminal| terminal.sent.lock().unwrap().len();
    let before = sent(terminal);
    terminal.press(key);
    let started = Instant::now();
    let (mut last, mut since) = (before, Instant::now());
    let mut answered = Duration::ZERO;
    // Stop waiting for a key that draws nothing.
    while started.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(1));
        let now = sent(terminal);
        if now != last {
            if last == before {
                answered = started.elapsed();
            }
            (last, since) = (now, Instant::now());
        } else if last != before && since.elapsed() > Duration::from_millis(40) {
            break;
        }
    }
    (last - before, answered)
}

/// The median of the bytes, and the fastest answer: if other tests are running too, only
/// the fastest shows the program's own time.
fn median(terminal: &mut Terminal, key: &str, times: usize) -> (usize, Duration) {
    let costs: Vec<_> = (0..times).map(|_| cost(terminal, key)).collect();
    let mut bytes: Vec<usize> = costs.iter().map(|c| c.0).collect();
    let fastest = costs.iter().map(|c| c.1).filter(|t| !t.is_zero()).min();
    bytes.sort_unstable();
    (bytes[times / 2], fastest.unwrap())
}

/// Maximum bytes for a row and for a page of the tag list, with the preview.
const TAG_LIST: (usize, usize) = (327, 3335);
/// The same for other lists.
const OTHERS: (usize, usize) = (350, 5000);
/// Maximum time to the first byte of an answer.
const PROMPT: Duration = Duration::from_millis(50);

const DOWN: &str = "\x1b[B";
const PAGE_DOWN: &str = "\x1b[6~";

#[test]
fn rows_and_pages_are_cheap_in_every_list() {
    let mut terminal = Terminal::open(demo(), &[], (120, 40));
    terminal.wait("the verdict", |screen| {
        screen.contains("Pool walked") && !screen.contains("computing")
    });
    // The last update that arrives without a key.
    thread::sleep(Duration::from_millis(700));
    for (screen, keys, title) in [
        ("tags", "", "Tags: both pools"),
        ("allocations", ENTER, "kernel counters: 601 blocks"),
        ("bytes", ENTER, "Bytes at"),
    ] {
        terminal.press(keys);
        terminal.see(title);
        thread::sleep(Duration::from_millis(200));
        let (row, answered) = median(&mut terminal, DOWN, 15);
        let (page, turned) = median(&mut terminal, PAGE_DOWN, 5);
        println!("{screen}: a row {row} bytes, {answered:?}; a page {page} bytes, {turned:?}");
        let (most_row, most_page) = if keys.is_empty() { TAG_LIST } else { OTHERS };
        assert!((1..=most_row).contains(&row), "{screen}: a row costs {row}");
        assert!(
            (1..=most_page).contains(&page),
            "{screen}: a page costs {page}"
        );
        // Only rows: few pages are measured, so their fastest time says little on a busy
        // machine.
        assert!(
            answered < PROMPT,
            "{screen}: a key is answered after {answered:?}"
        );
        terminal.press("\x1b[H");
    }
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
}
