//! A missing PDB: while it is downloaded, and when it is found.

use super::*;
use crate::tui::data::message::{Reopening, SymbolNews};
use crate::tui::data::model::MissingPdb;

const FILE: &str = "/symbols/ntkrnlmp.pdb";

/// The machine as read without symbols.
fn without_symbols() -> Model {
    let mut model = fixture::model();
    model.missing = Some(MissingPdb {
        file: "ntkrnlmp.pdb".into(),
        advice: format!("to load symbols, put ntkrnlmp.pdb at {FILE}"),
        ..MissingPdb::default()
    });
    model.warnings = vec!["ntkrnlmp.pdb was not found".into()];
    model
}

/// The same machine with symbols: another leak, and a new first module.
pub fn reopening(walk: u64) -> Message {
    let mut model = fixture::model();
    model
        .tags
        .push(fixture::tag_row("Aaaa", 9, 999_999_999, None, None));
    model.tags.sort_by_key(|row| row.usage.tag);
    let first = crate::tui::data::model::ModuleRow {
        name: "first".into(),
        base: Va(0xffff_f800_0000_0000),
        end: Va(0xffff_f800_0001_0000),
        ..Default::default()
    };
    model.modules.insert(0, first);
    for row in &mut model.tags {
        row.found = Default::default();
    }
    model.warnings.clear();
    Message::Reopened(Box::new(Reopening {
        model,
        file: FILE.into(),
        walk,
    }))
}

fn desk() -> Desk {
    Desk::with(without_symbols(), FINE, (80, 24))
}

fn fetching(received: u64) -> Message {
    Message::Symbols(SymbolNews::Fetching {
        server: "https://msdl.example".into(),
        received,
        total: Some(12_582_912),
    })
}

#[test]
fn a_missing_pdb_is_named_with_its_folder() {
    let mut desk = desk();
    desk.walked();
    assert!(desk.screen().contains("no symbols, v: what to do"));
    desk.keys("v");
    assert!(desk.screen().contains(FILE), "{}", desk.screen());
    desk.tell(reopening(1));
    assert!(!desk.screen().contains("put ntkrnlmp.pdb at"));
    assert!(desk.status().starts_with("ntkrnlmp.pdb found"));
    assert!(desk.status().ends_with(FILE));
    desk.press(KeyCode::Esc);
    desk.walked();
    assert!(!desk.screen().contains("no symbols"), "{}", desk.screen());
}

#[test]
fn a_narrow_screen_shows_what_to_do_about_a_missing_pdb() {
    let mut desk = Desk::with(without_symbols(), FINE, (60, 20));
    desk.walked();
    assert!(desk.screen().contains("no symbols, v: what to do"));
    desk.tell(fetching(6_291_456));
    let screen = desk.screen();
    assert!(screen.contains("50% (Ctrl-C stops)"), "{screen}");
}

#[test]
fn finding_the_pdb_keeps_the_state_of_the_tag_list() {
    let mut desk = desk();
    desk.walked().keys("ppd").keys("&*e*").enter();
    desk.press(KeyCode::Down);
    let (tag, words, line) = (
        desk.tag(),
        desk.app.tags.words(),
        desk.app.tags.cursor.row - desk.app.tags.cursor.top,
    );
    desk.tell(reopening(1));
    assert_eq!(desk.tag(), tag);
    assert_eq!(desk.app.tags.words(), words);
    let cursor = desk.app.tags.cursor;
    assert_eq!(cursor.row - cursor.top, line);
    assert!(desk.app.indexing(), "the walk starts again");
}

#[test]
fn an_open_list_stays_until_the_new_walk_has_as_many_blocks() {
    let mut desk = desk();
    desk.walked().enter();
    for _ in 0..40 {
        desk.press(KeyCode::Down);
    }
    let selected = fixture::planted_block(40).va.to_string();
    desk.tell(reopening(1));
    desk.blocks = 10;
    desk.walking();
    assert!(desk.screen().contains(&selected), "{}", desk.screen());
    assert!(desk.screen().contains("601 (new walk)"));
    assert_eq!(desk.app.path(), ["Summary", "Tags", "Leak"]);
    desk.blocks = 602;
    desk.walked();
    let screen = desk.screen();
    assert!(screen.contains("Allocations 602, by address"), "{screen}");
    assert!(screen.contains(&format!("> {selected}")), "{screen}");
    assert!(desk.asked.is_empty());
}

#[test]
fn a_walk_that_ends_early_shows_its_blocks() {
    let mut desk = desk();
    desk.walked().enter();
    desk.tell(reopening(1));
    desk.blocks = 10;
    desk.tell(Message::Index(IndexNews {
        walk: 1,
        stage: Stage::Cancelled,
        ..IndexNews::default()
    }));
    desk.answer();
    assert!(desk.screen().contains("Allocations 10, by address"));
}

#[test]
fn pending_requests_are_sent_again() {
    let mut desk = desk();
    desk.press(KeyCode::Enter);
    let old = std::mem::take(&mut desk.asked);
    desk.tell(reopening(1));
    let asked: Vec<_> = desk.asked.iter().map(|r| r.number).collect();
    assert_eq!(asked.len(), 2, "the list and the references");
    assert!(old.iter().all(|r| !asked.contains(&r.number)));
    desk.answer();
    assert!(desk.screen().contains("Allocations 601"));
    assert!(desk.screen().contains("reference this tag: 2"));
}

#[test]
fn old_memory_is_shown_until_it_is_read_again() {
    let mut desk = desk();
    desk.walked().enter().press(KeyCode::Tab).enter();
    let before = desk.screen();
    desk.tell(reopening(1));
    assert_eq!(desk.app.path().len(), 5);
    let lines = |screen: &str| {
        let memory = screen.lines().filter(|l| l.contains("fffff880`044b63"));
        memory.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(&desk.screen()), lines(&before));
    let memory = |r: &Request| matches!(r.question, Question::Bytes { .. });
    assert_eq!(desk.asked.iter().filter(|r| memory(r)).count(), 1);
    desk.answer();
    assert!(desk.asked.is_empty());
    desk.press(KeyCode::Esc);
    assert_eq!(desk.app.path().last().unwrap(), "Leak");
}

#[test]
fn the_selected_module_stays_selected() {
    let mut desk = desk();
    desk.keys("M").press(KeyCode::Down);
    desk.tell(reopening(1));
    let Some(Screen::Modules(view)) = desk.app.stack.last() else {
        panic!("the modules are open");
    };
    assert_eq!(view.len(), 3);
    assert_eq!(view.current(&desk.app.model).unwrap().name, "myfault");
}

#[test]
fn an_open_line_stays_open() {
    let mut desk = desk();
    desk.walked().keys("&nv");
    desk.tell(reopening(1));
    desk.keys("s");
    assert_eq!(desk.app.tags.filter, "nvs");
    assert_eq!(desk.tag(), "nVsC");
    desk.press(KeyCode::Esc);
    assert_eq!(desk.app.tags.filter, "");
}

#[test]
fn news_of_the_previous_walk_are_dropped() {
    let mut desk = desk();
    desk.walking();
    let late = fixture::totals(&desk.app.model);
    desk.tell(reopening(1));
    desk.tell(Message::Index(IndexNews {
        walk: 0,
        stage: Stage::Cancelled,
        totals: Some(Arc::new(late)),
        ..IndexNews::default()
    }));
    assert!(desk.app.indexing());
    assert_eq!(desk.app.listed, 0);
}

#[test]
fn without_trackers_the_rows_stay_until_the_walk_has_new_ones() {
    let mut model = without_symbols();
    model.counted = false;
    let mut desk = Desk::with(model, FINE, (80, 24));
    desk.walked().press(KeyCode::Down).press(KeyCode::Down);
    let tag = desk.tag();
    let Message::Reopened(mut reopening) = reopening(1) else {
        unreachable!();
    };
    reopening.model.counted = false;
    reopening.model.tags.clear();
    desk.tell(Message::Reopened(reopening));
    assert_eq!(desk.tag(), tag);
    desk.walked();
    assert_eq!(desk.tag(), tag);
}

#[test]
fn a_refused_file_is_reported_once() {
    let mut desk = desk();
    desk.walked();
    let refused = |notes: &[&str]| {
        let notes = notes.iter().map(|n| (*n).to_owned()).collect();
        Message::Symbols(SymbolNews::Refused(notes))
    };
    let wrong = format!("{FILE} is not used: it belongs to another image");
    desk.tell(refused(&[&wrong]));
    assert!(desk.status().contains("it belongs to another image"));
    desk.keys("v");
    assert_eq!(desk.status(), "");
    assert!(desk.screen().contains("another image"), "{}", desk.screen());
    desk.tell(refused(&[&wrong]));
    assert_eq!(desk.status(), "");
    desk.tell(refused(&[]));
    assert!(!desk.screen().contains("another image"));
    // A warning that was shown at opening is not repeated.
    desk.tell(refused(&["ntkrnlmp.pdb was not found"]));
    assert_eq!(desk.status(), "");
}

#[test]
fn a_download_is_shown_and_ctrl_c_stops_it_first() {
    let mut desk = desk();
    desk.walking().tell(fetching(0));
    assert!(desk.screen().contains("Fetching ntkrnlmp.pdb: asking"));
    desk.tell(fetching(3_145_728));
    let screen = desk.screen();
    assert!(screen.contains("3.0 MB of 12.0 MB (Ctrl-C stops)"));
    desk.ctrl('c');
    assert!(matches!(desk.effects.as_slice(), [Effect::CancelFetch]));
    assert!(desk.status().contains("download stopped"));
    desk.tell(fetching(4_000_000));
    assert!(
        !desk.screen().contains("Fetching"),
        "news of an ended download are ignored"
    );
    desk.ctrl('c');
    assert!(matches!(desk.effects.last(), Some(Effect::CancelIndex)));
    desk.ctrl('c');
    assert!(matches!(desk.effects.last(), Some(Effect::Quit)));
}

#[test]
fn a_failed_download_is_reported_once_and_stays_in_the_summary() {
    let mut desk = desk();
    desk.walked().tell(fetching(0));
    let failed = || Message::Symbols(SymbolNews::Failed("it has no such file".into()));
    desk.tell(failed());
    assert!(desk.status().contains("was not fetched: it has no such"));
    desk.keys("v");
    assert!(desk.screen().contains("it has no such file"));
    desk.tell(failed());
    assert_eq!(desk.status(), "");
    desk.ctrl('c');
    assert!(matches!(desk.effects.as_slice(), [Effect::Quit]));
}

#[test]
fn a_finished_download_is_shown_until_the_dump_is_read() {
    let mut desk = desk();
    desk.walked().tell(fetching(0));
    desk.tell(Message::Symbols(SymbolNews::Fetched));
    assert!(desk.status().contains("reading the dump with it"));
    desk.tell(reopening(1));
    assert!(desk.status().contains("read again with it"));
    desk.tell(fetching(1));
    assert!(!desk.screen().contains("Fetching"));
}
