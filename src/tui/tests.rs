//! Tests of screens and journeys without a terminal and without a dump: keys go in, answers
//! are made by hand, and the frames are compared.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyModifiers};
use proptest::prelude::*;
use ratatui::style::Color;

use crate::memory::Va;
use crate::pool::Tag;

use crate::tui::app::Screen;
use crate::tui::app::view;
use crate::tui::data::blocks::{BlockSort, BlockView};
use crate::tui::data::message::{
    Answer, Body, Effect, IndexNews, Message, Question, Request, Stage,
};
use crate::tui::data::model::{Covered, Model};
use crate::tui::fixture::{self, Planted};
use crate::tui::terminal::theme::{Palette, Theme};

mod colours;
mod cost;
mod desk;
mod first_screen;
mod journeys;
mod mouse;
mod outage;
mod random;
mod symbols;

use desk::Desk;

const FINE: Theme = Theme {
    palette: Palette::Indexed,
    ascii: false,
};

const SIZES: [(u16, u16); 2] = [(80, 24), (200, 50)];

/// Compares a screen with its snapshots at both sizes.
fn shown(name: &str, prepare: impl Fn(&mut Desk)) {
    for size in SIZES {
        let mut desk = Desk::new(size);
        prepare(&mut desk);
        insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), desk.screen());
    }
}

#[test]
fn the_tag_list_is_drawn() {
    shown("tags", |desk| {
        desk.walked();
    });
}

#[test]
fn the_tag_list_shows_one_pool_with_counts_since_boot() {
    shown("tags_nonpaged", |desk| {
        desk.walked().keys("pb");
    });
}

#[test]
fn an_open_tag_is_drawn() {
    shown("tag", |desk| {
        desk.walked().enter();
    });
}

#[test]
fn the_tag_list_names_the_images_with_an_unknown_tag() {
    let mut desk = Desk::new((200, 50));
    desk.walked();
    assert!(!desk.screen().contains("in myfault"));
    let leak = Tag::of("Leak").unwrap();
    let names = [(leak, "in myfault".to_owned())].into_iter().collect();
    let names = Arc::new(names);
    let walk = desk.app.index.walk;
    desk.tell(Message::ReferencedIn(walk + 1, Arc::clone(&names)));
    assert!(
        !desk.screen().contains("in myfault"),
        "of another reading of the dump"
    );
    desk.tell(Message::ReferencedIn(walk, names));
    assert!(desk.screen().contains("in myfault"));
}

#[test]
fn memory_of_a_reference_and_of_a_block_is_drawn() {
    shown("bytes", |desk| {
        desk.walked().enter().press(KeyCode::Tab).enter();
    });
    shown("pointers", |desk| {
        desk.walked().enter().enter().press(KeyCode::Tab);
        desk.answer();
    });
}

#[test]
fn help_modules_and_full_summary_are_drawn() {
    shown("help", |desk| {
        desk.keys("?");
    });
    shown("modules", |desk| {
        desk.keys("M");
    });
    shown("summary", |desk| {
        desk.keys("v");
    });
}

#[test]
fn the_open_line_is_drawn() {
    shown("filter", |desk| {
        desk.walked().keys("&n*");
    });
}

#[test]
fn the_running_walk_is_drawn() {
    shown("walking", |desk| {
        desk.walking();
    });
    shown("walking_tag", |desk| {
        desk.blocks = 77;
        desk.walking().enter();
    });
}

#[test]
fn failed_answers_and_walks_are_drawn() {
    shown("failed", |desk| {
        desk.press(KeyCode::Enter);
        let number = desk.asked[0].number;
        desk.tell(Message::Answer(Answer {
            number,
            body: Body::Failed("an internal error: this question has no answer".into()),
        }));
        desk.asked.clear();
        desk.tell(Message::Index(IndexNews {
            stage: Stage::Failed("no thread could be started".into()),
            ..IndexNews::default()
        }));
    });
}

#[test]
fn screens_are_drawn_without_colours_and_in_ascii() {
    let plain = Theme {
        palette: Palette::Plain,
        ascii: true,
    };
    for size in [(80, 24), (60, 20)] {
        let mut desk = Desk::with(fixture::model(), plain, size);
        for (name, keys) in [("ascii_tags", ""), ("ascii_help", "?"), ("ascii_vm", "v")] {
            desk.walked().keys(keys);
            let terminal = desk.draw();
            insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), terminal.backend());
            let cells = &terminal.backend().buffer().content;
            assert!(
                cells
                    .iter()
                    .all(|c| c.fg == Color::Reset && c.bg == Color::Reset)
            );
            assert!(cells.iter().all(|c| c.symbol().is_ascii()), "{name}");
            desk.press(KeyCode::Esc);
        }
    }
}

#[test]
fn the_sample_leak_is_found_with_few_keys() {
    let mut desk = Desk::new((80, 24));
    desk.walked();
    assert_eq!(desk.tag(), "Leak", "the list starts with the leak");
    desk.enter();
    assert!(desk.screen().contains("allocated 601, never freed"));
    desk.press(KeyCode::Tab).enter();
    let screen = desk.screen();
    assert!(screen.contains("myfault+0x13aa"), "{screen}");
    assert!(screen.contains("db fffff880`044b63aa"), "{screen}");
    for _ in 0..2 {
        desk.press(KeyCode::Esc);
    }
    assert!(desk.app.stack.is_empty());
    desk.keys("q");
    assert!(matches!(desk.effects.as_slice(), [Effect::Quit]));
}

#[test]
fn a_million_allocations_scroll_quickly() {
    let mut desk = Desk::new((120, 40));
    desk.blocks = 1_000_000;
    desk.enter();
    desk.press(KeyCode::End);
    assert!(desk.screen().contains("1,000,000/1,000,000"));
    desk.press(KeyCode::PageUp);
    let last = fixture::planted_block(999_999).va.to_string();
    assert!(!desk.screen().contains(&last));
    let target = fixture::planted_block(123_456).va;
    desk.keys("g").keys(&target.to_string()).enter();
    assert!(
        desk.screen().contains("123,457/1,000,000"),
        "{}",
        desk.screen()
    );
    desk.keys("b");
    assert!(
        desk.screen().contains("1/1,000,000"),
        "a sort goes back to the top of the list"
    );
    desk.keys("&4096").enter();
    assert!(desk.screen().contains("none matches"), "{}", desk.screen());
}

#[test]
fn growing_lists_do_not_move_the_selected_row() {
    let mut desk = Desk::new((80, 24));
    desk.blocks = 300;
    desk.walking().enter();
    for _ in 0..40 {
        desk.press(KeyCode::Down);
    }
    let line = |desk: &Desk| {
        let screen = desk.screen();
        let at = screen
            .lines()
            .position(|l| l.contains("\">") || l.contains("> fff"));
        let text = screen.lines().find(|l| l.contains("> fff"));
        (at, text.map(|t| t.chars().take(30).collect::<String>()))
    };
    let before = line(&desk);
    assert!(before.1.is_some());
    desk.blocks = 601;
    desk.walked();
    assert_eq!(line(&desk).1, before.1);
}

#[test]
fn without_trackers_the_tags_come_from_the_walk() {
    let mut model = fixture::model();
    let totals = fixture::totals(&model);
    model.tags.clear();
    model.counted = false;
    let mut desk = Desk::with(model, FINE, (80, 24));
    assert!(desk.screen().contains("no tags"));
    desk.tell(Message::Index(IndexNews {
        stage: Stage::Walking,
        totals: Some(Arc::new(totals)),
        ..IndexNews::default()
    }));
    assert_eq!(desk.tag(), "Leak");
    assert!(desk.screen().contains("as found"));
}

#[test]
fn answers_to_older_questions_are_dropped() {
    let mut desk = Desk::new((80, 24));
    desk.press(KeyCode::Enter);
    let stale = desk.asked.clone();
    desk.asked.clear();
    desk.press(KeyCode::Esc).press(KeyCode::Down).enter();
    let before = desk.screen();
    for request in stale {
        let body = match request.question {
            Question::References { .. } => Body::References(Default::default()),
            _ => Body::Blocks {
                view: BlockView::arrange(
                    Arc::new(Planted { count: 1 }),
                    BlockSort::default(),
                    None,
                    &|| true,
                )
                .unwrap(),
                covered: Covered::default(),
                shape: Default::default(),
            },
        };
        let number = request.number;
        desk.tell(Message::Answer(Answer { number, body }));
    }
    assert_eq!(desk.screen(), before);
}

#[test]
fn ctrl_c_stops_the_walk_first_and_then_quits() {
    let mut desk = Desk::new((80, 24));
    desk.walking().ctrl('c');
    assert!(matches!(desk.effects.as_slice(), [Effect::CancelIndex]));
    desk.ctrl('c');
    assert!(matches!(desk.effects.last(), Some(Effect::Quit)));
    let mut desk = Desk::new((80, 24));
    desk.walked().ctrl('c');
    assert!(matches!(desk.effects.as_slice(), [Effect::Quit]));
}

#[test]
fn cancelling_a_search_or_filter_restores_the_list() {
    let mut desk = Desk::new((80, 24));
    desk.walked().keys("/thre");
    assert_eq!(desk.tag(), "Thre");
    desk.press(KeyCode::Esc);
    assert_eq!(desk.tag(), "Leak");
    desk.keys("/nv").enter();
    assert_eq!(desk.tag(), "nVsC");
    desk.keys("&registry");
    assert_eq!(desk.tag(), "CM31");
    assert_eq!(desk.app.tags.len(), 1);
    desk.press(KeyCode::Esc);
    assert_eq!(desk.tag(), "nVsC");
    assert_eq!(desk.app.tags.len(), 6);
    desk.keys("/zzz").enter().keys("n");
    assert!(desk.status().contains("no row has"), "{}", desk.status());
}

#[test]
fn pointers_are_followed_and_back_returns() {
    let mut desk = Desk::new((100, 30));
    desk.walked().enter().enter();
    assert_eq!(desk.app.path().len(), 5);
    desk.press(KeyCode::Tab).enter();
    assert!(desk.app.path().contains(&"myfault+0x13aa".to_owned()));
    desk.press(KeyCode::Esc).press(KeyCode::Down).enter();
    assert!(desk.status().contains("no kernel address"));
    desk.keys("]");
    let next = fixture::planted_block(1).va.to_string();
    assert!(desk.app.path().contains(&next), "{:?}", desk.app.path());
    desk.keys("[[");
    assert!(desk.status().contains("no more rows"));
}

#[test]
fn copying_reports_the_copied_text() {
    let mut desk = Desk::new((80, 24));
    desk.walked().keys("y");
    assert!(
        desk.status()
            .contains("Leak nonpaged 601 allocations 615424000 bytes")
    );
    assert!(matches!(desk.effects.last(), Some(Effect::Copy(_))));
}

#[test]
fn the_text_to_copy_can_be_shown_full_screen() {
    let mut desk = Desk::new((80, 24));
    desk.walked().keys("Y");
    let screen = desk.screen();
    let text = "Leak nonpaged 601 allocations 615424000 bytes";
    let first = screen.lines().next().unwrap();
    assert!(first.trim_start_matches('"').starts_with(text), "{screen}");
    assert!(!screen.contains("quit"), "{screen}");
    desk.press(KeyCode::Char('q'));
    assert!(desk.screen().contains("quit"), "any key returns");
    assert!(desk.effects.is_empty());
}

#[test]
fn an_address_finds_its_module() {
    let mut desk = Desk::new((80, 24));
    desk.keys("Mgfffff880`044b63aa").enter();
    assert!(desk.screen().contains("lm a fffff880`044b63aa"));
    let Some(Screen::Modules(view)) = desk.app.stack.last() else {
        panic!("the modules are open");
    };
    assert_eq!(view.current(&desk.app.model).unwrap().name, "myfault");
    desk.keys("gzz").enter();
    assert!(desk.status().contains("not a valid address"));
}

#[test]
fn a_hostile_name_is_shown_without_control_characters() {
    let mut model = fixture::model();
    model
        .tags
        .push(fixture::tag_row("\x1b[2J", 9, 999_999_999, None, None));
    model.tags.sort_by_key(|row| row.usage.tag);
    let desk = Desk::with(model, FINE, (80, 24));
    assert!(!desk.screen().contains('\x1b'));
    assert_eq!(
        desk.app.tags.current(&desk.app.model).unwrap().usage.tag,
        Tag::of("\x1b[2J").unwrap()
    );
}

#[test]
fn a_cached_index_is_shown_with_its_date() {
    let mut desk = Desk::new((80, 24));
    let news = IndexNews {
        stage: Stage::Done,
        totals: Some(Arc::clone(&desk.found)),
        kept: Some("2026-11-24 01:30 UTC".into()),
        ..IndexNews::default()
    };
    desk.tell(Message::Index(news));
    let screen = desk.screen();
    assert!(
        screen.contains("Index from cache (2026-11-24 01:30 UTC): "),
        "{screen}"
    );
    assert!(!screen.contains("Pool walked"), "{screen}");
}

#[test]
fn a_file_failure_is_shown_after_each_key() {
    let mut desk = Desk::new((80, 24));
    desk.tell(Message::FileFailed(
        "the file was truncated from 9 to 3 bytes".into(),
    ));
    for key in ["v", "j", "k"] {
        let told = desk
            .screen()
            .contains("! the file was truncated from 9 to 3 bytes");
        assert!(told, "before {key}: {}", desk.screen());
        desk.keys(key);
    }
    assert_eq!(
        desk.app
            .model
            .warnings
            .iter()
            .filter(|w| w.contains("was truncated"))
            .count(),
        1
    );
}

#[test]
fn a_list_cut_by_the_memory_limit_says_so() {
    let covered = || crate::tui::data::model::Covered {
        whole: true,
        ..Default::default()
    };
    assert!(covered().listing(7, 7).whole);
    let cut = covered().listing(7, 1000);
    assert!(!cut.whole);
    assert!(cut.sentences[0].starts_with("7 of the 1,000 blocks are listed"));
}
