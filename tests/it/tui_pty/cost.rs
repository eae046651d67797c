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

/// What a key costs.
struct Cost {
    /// The median of the bytes.
    bytes: usize,
    /// The time to the first byte of the fastest answer.
    fastest: Duration,
    /// The processor time of one try, all threads together, on average. Other processes do not
    /// lengthen it. `None` where the system does not tell.
    worked: Option<Duration>,
}

fn measured(terminal: &mut Terminal, key: &str, times: usize) -> Cost {
    let before = terminal.processor_time();
    let costs: Vec<_> = (0..times).map(|_| cost(terminal, key)).collect();
    let after = terminal.processor_time();
    let mut bytes: Vec<usize> = costs.iter().map(|c| c.0).collect();
    let fastest = costs.iter().map(|c| c.1).filter(|t| !t.is_zero()).min();
    bytes.sort_unstable();
    let worked = after
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    Cost {
        bytes: bytes[times / 2],
        fastest: fastest.unwrap(),
        worked: worked.map(|all| all / times as u32),
    }
}

/// Maximum bytes for a row and for a page of the tag list, with the preview.
const TAG_LIST: (usize, usize) = (327, 3335);
/// The same for other lists.
const OTHERS: (usize, usize) = (350, 5000);
/// Maximum time to the first byte of an answer.
const PROMPT: Duration = Duration::from_millis(50);
/// The processor time that a row or a page may take. Code that is not optimised takes
/// several times as long as what people use.
const WORK: Duration = match cfg!(optimized) {
    true => PROMPT,
    false => Duration::from_millis(100),
};

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
        let row = measured(&mut terminal, DOWN, 15);
        let page = measured(&mut terminal, PAGE_DOWN, 7);
        for (what, cost) in [("row", &row), ("page", &page)] {
            println!(
                "{screen}: a {what} {} bytes, {:?} to its first byte, {:?} of work",
                cost.bytes, cost.fastest, cost.worked
            );
        }
        let (most_row, most_page) = if keys.is_empty() { TAG_LIST } else { OTHERS };
        for (what, cost, most) in [("row", &row, most_row), ("page", &page, most_page)] {
            let bytes = cost.bytes;
            assert!(
                (1..=most).contains(&bytes),
                "{screen}: a {what} costs {bytes}"
            );
            if let Some(worked) = cost.worked {
                assert!(worked < WORK, "{screen}: a {what} takes {worked:?} of work");
            }
        }
        // Where the processor time is not known, only the fastest of many answers shows what
        // the program itself takes.
        let answered = row.fastest;
        assert!(
            row.worked.is_some() || answered < PROMPT,
            "{screen}: a key is answered after {answered:?}"
        );
        terminal.press("\x1b[H");
    }
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
}
