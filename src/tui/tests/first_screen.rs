//! The tag list: columns, preview, help, and the baseline beside it.

use super::*;
use crate::tui::data::settings::ColumnChoice;
use crate::tui::screens::help::Page;

/// The settings in the effects that save them.
fn kept(desk: &Desk) -> Option<crate::tui::data::settings::Settings> {
    desk.effects.iter().rev().find_map(|e| match e {
        Effect::KeepSettings(settings) => Some((**settings).clone()),
        _ => None,
    })
}

#[test]
fn column_choices_are_saved() {
    let mut desk = Desk::new((80, 24));
    desk.walked().keys("C");
    assert!(
        desk.screen().contains("Columns of the tag list"),
        "{}",
        desk.screen()
    );
    desk.keys("G").enter();
    assert!(desk.status().contains("owner: always"), "{}", desk.status());
    let settings = kept(&desk).unwrap();
    assert_eq!(settings.tag_columns.of("owner"), ColumnChoice::Always);
    desk.press(KeyCode::Esc);
    assert!(desk.screen().contains("Owner"), "{}", desk.screen());
    // The next run starts with the saved choice.
    let mut next = Desk::new((80, 24));
    next.tell(Message::Settings(Box::new(settings)));
    assert!(next.walked().screen().contains("Owner"));
    // By name, then back to the choice by width.
    next.keys("t:columns -share -owner").enter();
    assert!(!next.screen().contains("Of both") && !next.screen().contains("Owner"));
    next.keys("b");
    assert!(
        next.screen().contains("Of both"),
        "the sort column is always shown"
    );
    next.keys("C0").press(KeyCode::Esc);
    assert!(kept(&next).unwrap().tag_columns.is_empty());
    next.keys(":columns nonsense").enter();
    assert!(
        next.status().contains("unknown column"),
        "{}",
        next.status()
    );
}

#[test]
fn sorting_by_a_column_keeps_the_pool() {
    let mut desk = Desk::new((120, 40));
    desk.walked().keys("tb");
    desk.keys("<S");
    assert!(
        desk.status()
            .contains("both pools by paged bytes, descending"),
        "{}",
        desk.status()
    );
    assert_eq!(desk.tag(), "CM31");
    desk.keys("S");
    assert!(desk.status().contains("ascending"), "{}", desk.status());
}

#[test]
fn the_preview_shows_the_selected_tag_from_120_columns() {
    let mut desk = Desk::new((120, 40));
    desk.walked();
    let screen = desk.screen();
    for text in [
        "Preview of Leak",
        "myfault (certain)",
        "1,024,000 bytes x 601",
        "a text in the block",
    ] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
    assert!(
        screen.contains("myfault+0x13aa (certain), ExAllocatePoolWithTag "),
        "the name of the call is whole: {screen}"
    );
    desk.press(KeyCode::Down);
    assert!(
        desk.screen().contains("Preview of Leak"),
        "stays until the answer"
    );
    desk.answer();
    assert!(
        desk.screen().contains("Preview of CM31"),
        "{}",
        desk.screen()
    );
    desk.press(KeyCode::Up);
    assert!(
        desk.screen().contains("Preview of CM31"),
        "a known tag waits for the selection to rest, too"
    );
    desk.answer();
    assert!(desk.screen().contains("Preview of Leak"));
    desk.press(KeyCode::Down).press(KeyCode::Up);
    desk.answer();
    assert!(
        desk.screen().contains("Preview of Leak"),
        "the answer about a tag that was left is dropped"
    );
    desk.keys("i");
    assert!(!desk.screen().contains("Preview of"));
    assert!(kept(&desk).unwrap().hide_preview);
    let mut narrow = Desk::new((100, 40));
    narrow.walked();
    assert!(!narrow.screen().contains("Preview of"));
}

#[test]
fn the_help_has_three_pages() {
    let mut desk = Desk::new((80, 24));
    desk.walked().keys("?");
    let screen = desk.screen();
    for text in [
        "Keys of the tag list",
        "PoolMon's letters",
        "choose columns",
        "quit",
    ] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
    desk.keys("?");
    let screen = desk.screen();
    assert!(screen.contains("np > 100MB and owner ~ amd"), "{screen}");
    assert_eq!(desk.app.help.unwrap().page, Page::Queries);
    desk.keys("?");
    assert!(desk.screen().contains("All keys"), "{}", desk.screen());
    desk.press(KeyCode::Esc);
    assert!(desk.app.help.is_none());
}

fn with_baseline(size: (u16, u16)) -> Desk {
    let mut desk = Desk::new(size);
    desk.walked().keys(":baseline earlier.csv").enter();
    desk
}

#[test]
fn a_baseline_adds_columns_and_poolmons_parentheses_sort_by_change() {
    let mut desk = with_baseline((120, 40));
    assert!(
        desk.status().contains("baseline: 3 points"),
        "{}",
        desk.status()
    );
    let screen = desk.screen();
    for text in [
        "Change bytes",
        "Bytes/hour",
        "Series",
        "Trend",
        "growing",
        "+410,624,000",
    ] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
    desk.keys("d(");
    assert!(
        desk.status().contains("change of outstanding allocations"),
        "{}",
        desk.status()
    );
    assert_eq!(desk.tag(), "Leak");
    assert!(desk.screen().contains("Change diff"), "{}", desk.screen());
    desk.keys(")");
    assert!(!desk.status().contains("change"), "{}", desk.status());
    desk.keys("&change > 1MB and trend = growing").enter();
    assert_eq!(desk.app.tags.len(), 1);
    desk.press(KeyCode::Esc);
    desk.keys("&change > -5").enter();
    assert_eq!(
        desk.app.tags.len(),
        3,
        "the others have no change that is known"
    );
    desk.press(KeyCode::Esc);
    desk.keys("b").enter();
    assert!(
        desk.screen().contains("Trend: growing"),
        "{}",
        desk.screen()
    );
}

#[test]
fn without_a_baseline_its_keys_say_what_to_do() {
    let mut desk = Desk::new((120, 40));
    desk.walked().keys("(");
    assert!(
        desk.status().contains(":baseline FILE"),
        "{}",
        desk.status()
    );
    desk.keys(":poolmon -b -(").enter();
    assert!(
        desk.status().contains("needs a baseline"),
        "{}",
        desk.status()
    );
    desk.keys("H");
    assert!(
        desk.screen().contains(":baseline FILE"),
        "{}",
        desk.screen()
    );
    desk.press(KeyCode::Esc);
    desk.keys(":baseline").enter();
    assert!(desk.status().contains("no baseline"), "{}", desk.status());
}

#[test]
fn a_baseline_has_points_modules_and_a_chart() {
    shown("chart", |desk| {
        desk.walked().keys(":baseline earlier.csv").enter();
        desk.keys("H");
    });
    shown("baseline_tags", |desk| {
        desk.walked().keys(":baseline earlier.csv").enter();
    });
    let mut desk = with_baseline((120, 40));
    desk.keys(":baseline").enter();
    assert!(
        desk.screen().contains("1 loaded, 0 unloaded"),
        "{}",
        desk.screen()
    );
    desk.keys(":baseline modules").enter();
    assert!(desk.screen().contains("myfault"), "{}", desk.screen());
    desk.keys("T:history pools").enter();
    assert!(
        desk.screen().contains("Nonpaged and paged pool"),
        "{}",
        desk.screen()
    );
    let ascii = Theme {
        palette: Palette::Plain,
        ascii: true,
    };
    let mut plain = Desk::with(fixture::model(), ascii, (80, 24));
    plain.walked().keys(":baseline earlier.csv").enter();
    plain.keys("H");
    assert!(
        plain.screen().contains('*') && plain.screen().is_ascii(),
        "{}",
        plain.screen()
    );
}

#[test]
fn the_report_folds_and_runs_its_steps() {
    let mut desk = Desk::new((80, 24));
    desk.walked().keys("R");
    assert!(!desk.screen().contains("(the walk was not done)"));
    desk.keys("z");
    let all = desk.screen();
    desk.keys("z");
    let folded = desk.screen();
    assert!(
        folded.contains("Machine (1 line)") && !all.contains("(1 line)"),
        "{folded}"
    );
    desk.keys("/poolfind").enter();
    desk.enter();
    assert_eq!(
        desk.app.path(),
        ["Summary", "Report", "Leak"],
        "{}",
        desk.screen()
    );
}

#[test]
fn the_verdict_is_on_the_first_screen_and_the_report_is_one_key_away() {
    for size in [(40, 12), (80, 24), (200, 50)] {
        let mut desk = Desk::new(size);
        desk.walked();
        let walk = desk.app.index.walk;
        desk.tell(Message::Judged(
            walk,
            crate::tui::data::model::VerdictLine {
                text: "Verdict: LEAK. Tag 'Leak', owner myfault (certain)".into(),
                alarm: true,
            },
        ));
        let screen = desk.screen();
        assert!(screen.contains("Verdict: LEAK. Tag 'Leak'"), "{screen}");
        desk.keys("R");
        let screen = desk.screen();
        assert!(screen.contains("Verdict: LEAK"), "{screen}");
        desk.keys("y");
        let copied = desk.effects.iter().any(|e| matches!(e, Effect::Copy(_)));
        assert!(copied, "R and y are the report in the clipboard");
    }
}

#[test]
fn goto_works_from_every_screen() {
    for way in [
        "", "v", "M", "D", "R", "\r", "\r\t", "\r\r", "\rs", "\rc", "'", "H",
    ] {
        let go = |line: &str| {
            let mut desk = Desk::new((80, 24));
            desk.walked();
            for key in way.chars() {
                match key {
                    '\r' => desk.press(KeyCode::Enter),
                    '\t' => desk.press(KeyCode::Tab),
                    c => desk.press(KeyCode::Char(c)),
                };
                desk.answer();
            }
            desk.keys(line).enter();
            desk
        };
        let desk = go(":fffffa80`01000000");
        let path = desk.app.path();
        assert_eq!(
            path.last().map(String::as_str),
            Some("bytes"),
            "{way:?}: {path:?}"
        );
        let desk = go(":Thre");
        let path = desk.app.path();
        assert!(path.contains(&"Thre".to_owned()), "{way:?}: {path:?}");
        let desk = go(":myfault");
        let path = desk.app.path();
        assert!(path.contains(&"Modules".to_owned()), "{way:?}: {path:?}");
    }
}
