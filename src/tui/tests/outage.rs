//! An engineer's steps in an outage: each must work at the first attempt.

use super::*;

/// The keys that sort the tag list, and those that change its pool.
const ORDERS: [&str; 9] = ["p", "b", "bb", "d", "a", "f", "m", "t", "pd"];

#[test]
fn changing_the_order_or_pool_shows_the_top_of_the_list() {
    for order in ORDERS {
        let mut desk = Desk::with(fixture::many_tags(300), FINE, (80, 24));
        desk.walked().enter().press(KeyCode::Esc);
        desk.answer();
        desk.press(KeyCode::End);
        desk.keys(order);
        assert_eq!(desk.app.tags.cursor.row, 0, "{order}");
        assert_eq!(desk.app.tags.cursor.top, 0, "{order}");
    }
}

/// What to do instead is at the end of a refusal.
#[test]
fn a_refusal_is_shown_to_its_end_at_every_size() {
    for size in [(40, 12), (60, 20), (80, 24), (120, 40), (200, 50)] {
        let mut desk = Desk::new(size);
        desk.walked().keys(":.reload").enter();
        let screen = desk.screen();
        assert!(screen.contains("_NT_SYMBOL_PATH"), "{size:?}:\n{screen}");
        desk.press(KeyCode::Down);
        assert!(!desk.screen().contains(".reload (loading"), "{size:?}");
        desk.keys(":db ~").keys(&"x".repeat(3_000)).enter();
        let screen = desk.screen();
        assert!(
            screen.contains("Tags") && screen.contains("not a valid address"),
            "half of the screen stays: {screen}"
        );
    }
}

/// As in PoolMon and WinDbg: what is not typed has its default, not that of the line before.
#[test]
fn typed_lists_have_the_pool_that_was_typed() {
    use crate::tui::data::order::PoolChoice::{Both, Nonpaged, Paged};
    let mut desk = Desk::new((120, 40));
    desk.walked();
    for (line, pool) in [
        ("poolmon -p -p", Paged),
        ("poolmon -xLeak", Both),
        ("!poolfind Thr* 0", Nonpaged),
        ("!poolfind ?h* 0", Nonpaged),
        ("!poolfind *", Both),
    ] {
        desk.keys(":").keys(line).enter();
        desk.answer();
        match desk.app.tag_view() {
            Some(view) => assert_eq!(view.pool, pool, "{line}"),
            None => assert_eq!(desk.app.tags.pool, pool, "{line}"),
        }
    }
}

#[test]
fn the_sort_column_is_visible_at_every_width() {
    for size in [(40, 12), (60, 20), (80, 24), (120, 40), (200, 50)] {
        for order in ORDERS {
            let mut desk = Desk::new(size);
            desk.walked().keys(order);
            let screen = desk.screen();
            assert!(
                screen.contains('▼') || screen.contains('▲'),
                "{order} at {size:?}:\n{screen}"
            );
        }
    }
}

#[test]
fn tags_are_filtered_by_owner_by_pattern_and_by_a_query_with_ampersands() {
    let count = |filter: &str| {
        let mut desk = Desk::new((80, 24));
        desk.walked();
        let walk = desk.app.index.walk;
        let names = [(
            Tag::new(u32::from_le_bytes(*b"Leak")),
            "in myfault".to_owned(),
        )];
        let names = Arc::new(names.into_iter().collect());
        desk.tell(Message::ReferencedIn(walk, names));
        desk.keys("&").keys(filter).enter();
        (desk.app.tags.len(), desk.app.command())
    };
    assert_eq!(count("myfault").0, 1, "the text of the row is searched");
    assert_eq!(count("thr?"), count("tag = thr?"));
    assert_eq!(count("thr?").1, "!poolused 2", "WinDbg is case-sensitive");
    assert_eq!(count("Thr?").1, "!poolused 2 Thr?");
    let (both, _) = count("np > 1MB && frees = 0");
    assert!(both > 0);
    assert_eq!(both, count("np > 1MB and frees = 0").0);
}

#[test]
fn pasted_text_is_never_run_as_keys() {
    for text in ["q\nq\n", "!poolfind Leak\rq\rq", "\r\n  Leak\r\nq"] {
        let mut desk = Desk::new((80, 24));
        desk.walked();
        desk.tell(Message::Paste(text.into()));
        assert!(!desk.effects.iter().any(|e| matches!(e, Effect::Quit)));
        let typed = desk.app.prompt.as_ref().unwrap().text();
        let first = text.split(['\r', '\n']).map(str::trim);
        let first = first.into_iter().find(|l| !l.is_empty()).unwrap();
        assert_eq!(typed, first, "only the first line is taken");
        let lines = text.split(['\r', '\n']).filter(|l| !l.trim().is_empty());
        let told = format!("the first of {} pasted lines", lines.count());
        assert!(desk.app.message.as_ref().unwrap().starts_with(&told));
    }
}

#[test]
fn the_first_screen_shows_the_keys_of_other_screens_and_help() {
    let mut desk = Desk::new((80, 24));
    desk.walked();
    let screen = desk.screen();
    for hint in [
        "v !vm",
        "M modules",
        "D drivers",
        "R report",
        "? help",
        "q quit",
    ] {
        assert!(screen.contains(hint), "{hint}:\n{screen}");
    }
    desk.keys("?");
    let help = desk.screen();
    assert!(!help.contains("lines 1 to"), "one screen of keys:\n{help}");
    assert!(help.contains("open the tag"), "{help}");
}

#[test]
fn on_a_small_screen_coverage_leaves_room_for_data() {
    let mut desk = Desk::new((80, 24));
    desk.walked().enter();
    let screen = desk.screen();
    let lines: Vec<&str> = screen.lines().collect();
    let data = lines.iter().position(|l| l.contains("fffffa80`")).unwrap();
    let coverage = lines.iter().position(|l| l.contains("kernel counters:"));
    assert!(coverage.unwrap() > data, "coverage is below:\n{screen}");
    let rows = lines.iter().filter(|l| l.contains("nonpaged")).count();
    assert!(rows >= 8, "{rows} rows:\n{screen}");
}

#[test]
fn quitting_asks_once_when_marks_would_be_lost() {
    let mut desk = Desk::new((80, 24));
    desk.app.keeps_session = false;
    desk.walked().keys("xq");
    assert!(!desk.effects.iter().any(|e| matches!(e, Effect::Quit)));
    assert!(desk.status().contains("q again quits"), "{}", desk.status());
    desk.keys("q");
    assert!(desk.effects.iter().any(|e| matches!(e, Effect::Quit)));
}

#[test]
fn a_small_screen_has_rows_before_what_is_known_of_one() {
    let mut desk = Desk::new((40, 12));
    desk.walked().enter();
    desk.press(crossterm::event::KeyCode::Tab);
    let screen = desk.screen();
    let mut lines = screen.lines().map(|line| line.trim_start_matches('"'));
    assert!(lines.any(|line| line.starts_with("> ")), "{screen}");
}

#[test]
fn a_command_for_a_tag_that_is_not_in_use_says_so() {
    for (line, part) in [
        (":!poolfind leak", "did you mean Leak?"),
        (":sizes leak", "did you mean Leak?"),
        (":refs Zzzz", "no tag in use matches Zzzz"),
        (":poolmon -iZzzz", "no tag matches"),
        (":!poolused 2 Zzzz", "no tag matches"),
    ] {
        let mut desk = Desk::new((80, 24));
        desk.walked().keys(line).enter();
        assert!(desk.status().contains(part), "{line}: {}", desk.status());
    }
}

#[test]
fn a_filtered_list_is_shown_from_its_top() {
    let mut desk = Desk::new((80, 24));
    desk.walked().keys("jj&bytes > 0").enter();
    assert_eq!(desk.app.tags.cursor.top, 0);
    let before = desk.tag();
    desk.keys("&").press(crossterm::event::KeyCode::Esc);
    assert_eq!(desk.tag(), before, "the row stays selected");
}
