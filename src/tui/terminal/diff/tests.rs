//! Optimised output must look the same as the frames: sequences of frames go through the
//! backend into an independent terminal emulator, and every cell is compared.

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr;

use super::*;

/// Collects the output.
#[derive(Clone, Default)]
struct Sent(Rc<RefCell<Vec<u8>>>);

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A screen of some size, and an emulator that receives its output.
struct Line {
    sent: Sent,
    backend: DiffBackend<Sent>,
    emulator: vt100::Parser,
}

const FULL: Capabilities = Capabilities {
    colours: true,
    synchronized: true,
    kitty: false,
};
const PLAIN: Capabilities = Capabilities {
    colours: false,
    synchronized: false,
    kitty: false,
};

impl Line {
    fn new(columns: u16, rows: u16, skills: Capabilities) -> Line {
        let sent = Sent::default();
        Line {
            backend: DiffBackend::new(sent.clone(), skills),
            sent,
            emulator: vt100::Parser::new(rows, columns, 0),
        }
    }

    /// Draws a frame; returns the bytes sent.
    fn draw(&mut self, buffer: &Buffer) -> Vec<u8> {
        self.backend.show(buffer).unwrap();
        let bytes = self.sent.0.take();
        self.emulator.process(&bytes);
        bytes
    }

    fn compare(&self, buffer: &Buffer, colours: bool) {
        for y in 0..buffer.area.height {
            let mut covered = 0;
            for x in 0..buffer.area.width {
                let seen = self.emulator.screen().cell(y, x).unwrap();
                if covered > 0 {
                    covered -= 1;
                    assert!(seen.is_wide_continuation(), "{x},{y}");
                    continue;
                }
                let cell = &buffer[(x, y)];
                covered = cell.symbol().width().max(1) - 1;
                assert_eq!(look_of(seen), wanted(cell, colours), "{x},{y}");
            }
        }
    }
}

type Seen = (
    String,
    vt100::Color,
    vt100::Color,
    [bool; 5], // bold, dim, italic, underline, inverse
);

fn visible(seen: Seen) -> Seen {
    let (text, fg, bg, [bold, dim, italic, underline, inverse]) = seen;
    if !text.trim().is_empty() {
        return (text, fg, bg, [bold, dim, italic, underline, inverse]);
    }
    // On a blank, bold and italic are invisible, and the text colour is visible only in a
    // line or when reversed.
    let fg = match underline || inverse {
        true => fg,
        false => vt100::Color::Default,
    };
    (
        " ".into(),
        fg,
        bg,
        [false, inverse && dim, false, underline, inverse],
    )
}

fn look_of(cell: &vt100::Cell) -> Seen {
    visible((
        cell.contents().to_owned(),
        cell.fgcolor(),
        cell.bgcolor(),
        [
            cell.bold(),
            cell.dim(),
            cell.italic(),
            cell.underline(),
            cell.inverse(),
        ],
    ))
}

fn wanted(cell: &Cell, colours: bool) -> Seen {
    let has = |m| cell.modifier.contains(m);
    let colour = |c| match (c, colours) {
        (_, false) | (Color::Reset, _) => vt100::Color::Default,
        (Color::Red, _) => vt100::Color::Idx(1),
        (Color::LightBlue, _) => vt100::Color::Idx(12),
        (Color::Indexed(n), _) => vt100::Color::Idx(n),
        (Color::Rgb(r, g, b), _) => vt100::Color::Rgb(r, g, b),
        other => panic!("no test uses {other:?}"),
    };
    visible((
        cell.symbol().to_owned(),
        colour(cell.fg),
        colour(cell.bg),
        [
            // The emulator has only one intensity.
            has(Modifier::BOLD),
            colours && has(Modifier::DIM),
            colours && has(Modifier::ITALIC),
            has(Modifier::UNDERLINED),
            has(Modifier::REVERSED),
        ],
    ))
}

/// A change to the screen between two frames.
#[derive(Clone, Debug)]
enum Change {
    Text(u16, u16, String, Style),
    Look(u16, Style),
    Clear(u16),
    Up(u16, u16, u16),
    Down(u16, u16, u16),
    Nothing,
    All,
    Forgotten,
}

fn any_colour() -> impl Strategy<Value = Color> {
    prop::sample::select(vec![
        Color::Reset,
        Color::Reset,
        Color::Red,
        Color::LightBlue,
        Color::Indexed(200),
        Color::Rgb(1, 2, 3),
    ])
}

fn any_style() -> impl Strategy<Value = Style> {
    let modifiers = prop::sample::select(vec![
        Modifier::empty(),
        Modifier::empty(),
        Modifier::BOLD,
        Modifier::DIM,
        Modifier::REVERSED,
        Modifier::UNDERLINED,
        Modifier::ITALIC | Modifier::REVERSED,
        Modifier::BOLD | Modifier::UNDERLINED,
    ]);
    (any_colour(), any_colour(), modifiers).prop_map(|(fg, bg, modifier)| {
        let style = Style::reset().fg(fg).bg(bg);
        style.add_modifier(modifier)
    })
}

fn any_change() -> impl Strategy<Value = Change> {
    let text = prop::collection::vec(
        prop::sample::select(vec![
            "a", "b", "7", " ", "  ", "     ", "█", "世", "é", "e\u{301}", "─",
        ]),
        0..20,
    );
    let text = text.prop_map(|pieces| pieces.concat());
    let rows = || (0u16..12, 0u16..12, 1u16..4);
    prop_oneof![
        6 => (0u16..40, 0u16..12, text, any_style())
            .prop_map(|(x, y, text, style)| Change::Text(x, y, text, style)),
        2 => (0u16..12, any_style()).prop_map(|(y, style)| Change::Look(y, style)),
        2 => (0u16..12).prop_map(Change::Clear),
        1 => rows().prop_map(|(a, b, n)| Change::Up(a, b, n)),
        1 => rows().prop_map(|(a, b, n)| Change::Down(a, b, n)),
        1 => Just(Change::Nothing),
        1 => Just(Change::All),
        1 => Just(Change::Forgotten),
    ]
}

fn happen(buffer: &mut Buffer, change: &Change) {
    let area = buffer.area;
    let line = |y: u16| Rect::new(0, y.min(area.height - 1), area.width, 1);
    match change {
        Change::Text(x, y, text, style) => {
            let (x, y) = (x % area.width, y % area.height);
            buffer.set_string(x, y, text, *style);
        }
        Change::Look(y, style) => buffer.set_style(line(*y), *style),
        Change::Clear(y) => {
            for x in 0..area.width {
                buffer[(x, line(*y).y)].reset();
            }
        }
        Change::Up(a, b, n) | Change::Down(a, b, n) => {
            let (a, b) = (line(*a).y.min(line(*b).y), line(*a).y.max(line(*b).y));
            let width = usize::from(area.width);
            let region = usize::from(a) * width..(usize::from(b) + 1) * width;
            let by = (usize::from(*n) * width).min(region.len());
            match change {
                Change::Up(..) => buffer.content[region].rotate_left(by),
                _ => buffer.content[region].rotate_right(by),
            }
        }
        Change::Nothing | Change::Forgotten => {}
        Change::All => buffer.reset(),
    }
}

/// Widgets never leave half of a wide symbol: the buffer's own methods prevent it. Random
/// changes do, so they are repaired here.
fn repair(buffer: &mut Buffer) {
    let width = usize::from(buffer.area.width);
    for row in buffer.content.chunks_mut(width) {
        let mut x = 0;
        while x < row.len() {
            let cells = row[x].symbol().width().max(1);
            if x + cells > row.len() {
                row[x].set_symbol(" ");
            }
            for covered in row.iter_mut().skip(x + 1).take(cells - 1) {
                covered.reset();
            }
            x += cells;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_frame_looks_the_same_in_an_emulator(
        size in (2u16..40, 1u16..12),
        frames in prop::collection::vec(prop::collection::vec(any_change(), 1..8), 1..12),
        colours in any::<bool>(),
    ) {
        let skills = if colours { FULL } else { PLAIN };
        let mut line = Line::new(size.0, size.1, skills);
        let mut buffer = Buffer::empty(Rect::new(0, 0, size.0, size.1));
        for changes in frames {
            changes.iter().for_each(|change| happen(&mut buffer, change));
            repair(&mut buffer);
            if changes.iter().any(|change| matches!(change, Change::Forgotten)) {
                line.emulator.process(b"\x1b[1;1H#\x1b[1;31m");
                line.backend.forget();
            }
            line.draw(&buffer);
            line.compare(&buffer, colours);
            prop_assert!(line.draw(&buffer).is_empty(), "what did not change is not sent");
        }
    }
}

fn lines(rows: &[&str]) -> Buffer {
    Buffer::with_lines(rows.iter().copied())
}

fn after(first: &[&str], then: &[&str]) -> String {
    let buffer = lines(first);
    let mut line = Line::new(buffer.area.width, buffer.area.height, FULL);
    line.draw(&buffer);
    let bytes = line.draw(&lines(then));
    String::from_utf8(bytes).unwrap().replace('\x1b', "^")
}

#[test]
fn the_shortest_sequence_is_sent() {
    // Two cells in between are cheaper to write than to skip.
    let said = after(&["a..b      "], &["x..y      "]);
    assert_eq!(said, "\rx..y");
    let said = after(&["a.........b.........    "], &["x.........y.........    "]);
    assert_eq!(said, "\rx^[9Cy");
    // From the end of a row to the start of the next.
    let said = after(
        &["a......................", "b......................"],
        &["x......................", "y......................"],
    );
    assert_eq!(said, "^[Hx\r\ny");
    let said = after(&["keep this sentence"], &["keep              "]);
    assert_eq!(said, "^[;6H^[K");
}

#[test]
fn a_moved_list_is_scrolled() {
    let row = |n: usize| format!("row {n} of a list, with words enough to be worth it");
    let rows = |from: usize| -> Vec<String> {
        std::iter::once("heading".to_owned())
            .chain((from..from + 8).map(row))
            .chain(std::iter::once("foot".to_owned()))
            .collect()
    };
    for (from, to) in [(0, 1), (1, 0), (3, 5), (5, 3)] {
        let (before, then) = (rows(from), rows(to));
        let strs = |rows: &[String]| Buffer::with_lines(rows.iter().map(String::as_str));
        let mut line = Line::new(strs(&before).area.width, 10, FULL);
        line.draw(&strs(&before));
        let bytes = line.draw(&strs(&then));
        line.compare(&strs(&then), true);
        assert!(bytes.len() < 160, "{from} to {to}: {} bytes", bytes.len());
    }
}

#[test]
fn a_vt100_gets_only_vt100_sequences() {
    let mut line = Line::new(30, 3, PLAIN);
    let mut buffer = lines(&[
        "one                           ",
        "two                           ",
        "",
    ]);
    buffer.set_style(
        Rect::new(0, 0, 30, 1),
        Style::new().fg(Color::Red).add_modifier(Modifier::REVERSED),
    );
    let mut sent = String::from_utf8(line.draw(&buffer)).unwrap();
    buffer.set_style(
        Rect::new(0, 0, 30, 1),
        Style::reset().add_modifier(Modifier::DIM),
    );
    sent += std::str::from_utf8(&line.draw(&buffer)).unwrap();
    assert!(!sent.contains('?'), "{sent:?}");
    for piece in sent.split("\x1b[").skip(1) {
        let numbers = piece.split('m').next().unwrap();
        if piece.starts_with(|c: char| c.is_ascii_digit()) && piece.contains('m') {
            assert!(
                numbers
                    .split(';')
                    .all(|n| matches!(n, "0" | "1" | "4" | "5" | "7")),
                "{sent:?}"
            );
        }
    }
}

#[test]
fn only_large_frames_are_synchronized() {
    let mut line = Line::new(80, 24, FULL);
    let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
    for y in 0..24 {
        buffer.set_string(0, y, "x".repeat(80), Style::new());
    }
    let all = line.draw(&buffer);
    assert!(all.starts_with(b"\x1b[?2026h") && all.ends_with(b"\x1b[?2026l"));
    buffer.set_string(0, 3, "y", Style::new());
    assert_eq!(line.draw(&buffer), b"\x1b[4Hy");
}

#[test]
fn control_characters_in_symbols_are_not_sent() {
    let mut line = Line::new(4, 1, FULL);
    let mut buffer = Buffer::empty(Rect::new(0, 0, 4, 1));
    buffer[(0, 0)].set_symbol("\x1b[2J");
    buffer[(1, 0)].set_symbol("\n");
    buffer[(2, 0)].set_symbol("");
    buffer[(3, 0)].set_symbol("世");
    line.draw(&Buffer::empty(buffer.area));
    let bytes = line.draw(&buffer);
    assert!(!bytes.contains(&b'J') && !bytes.contains(&b'\n'));
}
