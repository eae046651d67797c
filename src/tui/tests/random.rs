//! Random events in random order never cause a panic.

use crossterm::event::KeyCode;
use proptest::prelude::*;

use crate::memory::Va;
use crate::tui::data::message::Message;
use crate::tui::fixture;
use crate::tui::terminal::theme::{Palette, Theme};

use super::desk::Desk;
use super::symbols;

fn any_key() -> impl Strategy<Value = (KeyCode, bool)> {
    let letters = prop::sample::select(
        "pbafdmtuC(H0iRMvg/n N&y?hjkl[]Gq0f!x*`,.é\u{202e}世"
            .chars()
            .collect::<Vec<_>>(),
    );
    let named = prop::sample::select(vec![
        KeyCode::Enter,
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::F(1),
        KeyCode::Null,
    ]);
    prop_oneof![
        3 => letters.prop_map(|c| (KeyCode::Char(c), false)),
        4 => named.prop_map(|k| (k, false)),
        1 => prop::sample::select(vec!['c', 'l', 'z', 'f', 'b', 'u', 'w', 'k'])
            .prop_map(|c| (KeyCode::Char(c), true)),
    ]
}

#[derive(Clone, Debug)]
enum Happening {
    Key(KeyCode, bool),
    Resize(u16, u16),
    Answers,
    Walking,
    Walked,
    Address(u64),
    Reopened,
}

fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => any_key().prop_map(|(k, c)| Happening::Key(k, c)),
        2 => (1u16..300, 1u16..100).prop_map(|(w, h)| Happening::Resize(w, h)),
        4 => Just(Happening::Answers),
        1 => Just(Happening::Walking),
        1 => Just(Happening::Walked),
        1 => Just(Happening::Reopened),
        1 => prop_oneof![any::<u64>(), Just(0), Just(u64::MAX)].prop_map(Happening::Address),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn random_events_do_not_panic(
        happenings in prop::collection::vec(any_happening(), 0..80),
        size in (1u16..300, 1u16..100),
        palette in prop::sample::select(vec![Palette::Plain, Palette::Sixteen, Palette::True]),
        ascii in any::<bool>(),
        tags in prop::sample::select(vec![0u32, 1, 6, 400]),
    ) {
        let model = match tags {
            6 => fixture::model(),
            n => fixture::many_tags(n),
        };
        let mut desk = Desk::with(model, Theme { palette, ascii }, size);
        desk.blocks = u64::from(tags) * 3;
        for happening in happenings {
            match happening {
                Happening::Key(code, false) => { desk.press(code); }
                Happening::Key(KeyCode::Char(c), true) => { desk.ctrl(c); }
                Happening::Key(..) => {}
                Happening::Resize(w, h) => desk.tell(Message::Resize(w, h)),
                Happening::Answers => desk.answer(),
                Happening::Walking => { desk.walking(); }
                Happening::Walked => { desk.walked(); }
                Happening::Reopened => {
                    let walk = desk.app.index.walk + 1;
                    desk.tell(symbols::reopening(walk));
                }
                Happening::Address(va) => {
                    desk.keys("g").keys(&Va(va).to_string());
                    desk.enter();
                }
            }
            desk.screen();
        }
    }
}
