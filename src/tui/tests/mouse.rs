//! The effect of the mouse, given where things are drawn.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

use super::*;

fn mouse(desk: &mut Desk, kind: MouseEventKind, column: u16, row: u16) {
    desk.tell(Message::Mouse(MouseEvent {
        kind,
        column,
        row,
        modifiers: KeyModifiers::NONE,
    }));
    desk.answer();
}

/// Clicks on a text on the screen.
fn click(desk: &mut Desk, text: &str) {
    let screen = desk.screen();
    let found = screen.lines().enumerate().find_map(|(y, line)| {
        let line = line.trim_start_matches('"');
        let before = line.split(text).next().filter(|b| b.len() < line.len())?;
        Some((before.chars().count() as u16, y as u16))
    });
    let (x, y) = found.unwrap_or_else(|| panic!("{text} is not on\n{screen}"));
    mouse(desk, MouseEventKind::Down(MouseButton::Left), x, y);
}

#[test]
fn a_click_selects_and_a_click_on_the_selected_row_opens() {
    for size in SIZES {
        let mut desk = Desk::new(size);
        desk.walked();
        click(&mut desk, "CM31");
        assert_eq!(desk.tag(), "CM31");
        assert!(desk.app.stack.is_empty());
        click(&mut desk, "CM31");
        assert!(matches!(desk.app.stack.last(), Some(Screen::Tag(_))));
        desk.press(KeyCode::Esc);
        click(&mut desk, "Used for");
        assert!(desk.app.stack.is_empty(), "a heading is not a row");
        assert_eq!(desk.tag(), "CM31");
    }
}

#[test]
fn a_click_on_a_pane_focuses_it() {
    let mut desk = Desk::new((200, 50));
    desk.walked();
    click(&mut desk, "!vm 1 with warnings");
    assert!(desk.app.summary_focused);
    click(
        &mut desk,
        ">?Leak".trim_start_matches('>').trim_start_matches('?'),
    );
    assert!(!desk.app.summary_focused);
    assert!(
        desk.app.stack.is_empty(),
        "the first click only gives the keys"
    );
    desk.enter();
    let second = fixture::planted_block(1).va.to_string();
    click(&mut desk, &second);
    let third = fixture::planted_block(2).va.to_string();
    click(&mut desk, "Modules that reference this tag");
    let pane = |desk: &Desk| match desk.app.stack.last() {
        Some(Screen::Tag(view)) => (view.pane, view.current().map(|b| b.va.to_string())),
        _ => panic!("the screen of the tag is not open"),
    };
    use crate::tui::screens::tag::Pane;
    assert_eq!(pane(&desk), (Pane::References, Some(second)));
    click(&mut desk, &third);
    assert_eq!(pane(&desk), (Pane::Allocations, Some(third.clone())));
    click(&mut desk, &third);
    let Some(Screen::Bytes(view)) = desk.app.stack.last() else {
        panic!("the bytes of the block are not open");
    };
    assert_eq!(view.first.to_string(), third);
    let line = view.at.add(0x30).to_string();
    click(&mut desk, &line);
    let Some(Screen::Bytes(view)) = desk.app.stack.last() else {
        panic!("they still are");
    };
    assert_eq!(view.at.to_string(), line);
}

#[test]
fn the_wheel_scrolls_by_three_rows() {
    let mut desk = Desk::with(fixture::many_tags(300), FINE, (80, 24));
    desk.walked();
    mouse(&mut desk, MouseEventKind::ScrollDown, 5, 12);
    assert_eq!(desk.app.tags.cursor.row, 3);
    mouse(&mut desk, MouseEventKind::ScrollUp, 5, 12);
    assert_eq!(desk.app.tags.cursor.row, 0);
    desk.keys("???");
    mouse(&mut desk, MouseEventKind::ScrollDown, 5, 12);
    assert_eq!(desk.app.help.map(|view| view.top), Some(3));
    desk.press(KeyCode::Esc).keys("Y");
    mouse(&mut desk, MouseEventKind::Down(MouseButton::Left), 0, 0);
    assert!(desk.app.copy_view.is_none());
    desk.keys("/x");
    mouse(&mut desk, MouseEventKind::Down(MouseButton::Left), 5, 15);
    assert!(desk.app.prompt.is_some(), "a line being typed stays");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_click_anywhere_does_not_panic(
        size in (1u16..200, 1u16..60),
        clicks in prop::collection::vec((0u16..220, 0u16..70, 0u8..4), 0..12),
        keys in prop::sample::select(vec!["", "M", "v", "?", "D", "R", "Y"]),
    ) {
        let mut desk = Desk::new(size);
        desk.walked().keys(keys);
        for (x, y, what) in clicks {
            let kind = match what {
                0 => MouseEventKind::ScrollUp,
                1 => MouseEventKind::ScrollDown,
                _ => MouseEventKind::Down(MouseButton::Left),
            };
            mouse(&mut desk, kind, x, y);
            desk.screen();
        }
    }
}
