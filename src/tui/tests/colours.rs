//! Colour is never the only carrier of a meaning.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::*;
use crate::tui::terminal::theme::Kind;

fn drawn(desk: &Desk) -> Buffer {
    let (columns, rows) = desk.app.size;
    let mut frame = Buffer::empty(Rect::new(0, 0, columns, rows));
    view::draw(&desk.app, &mut frame);
    frame
}

fn line(frame: &Buffer, y: u16) -> String {
    (0..frame.area.width)
        .map(|x| frame[(x, y)].symbol())
        .collect()
}

/// Words or marks that carry the meaning of a kind, beside the coloured text or in the
/// heading above it.
fn words(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Nonpaged => &["nonp", "NonP"],
        Kind::Paged => &["paged", "Paged"],
        Kind::Code => &["code"],
        Kind::Data => &["data", "?"],
        Kind::Freed => &["f ", "free", "lookaside"],
        Kind::Alarm => &["! ", "****"],
        Kind::Doubt => &[
            "! ",
            "~",
            "?",
            "can't",
            "never freed",
            "stopped",
            "more found",
            "not ",
        ],
        // These colours have no meaning beyond the text itself.
        Kind::Quiet | Kind::Heading => &[""],
    }
}

fn screens(theme: Theme) -> Vec<(String, Buffer)> {
    let mut out = Vec::new();
    for size in [(240, 50), (80, 24)] {
        for keys in ["", "p", "pp", "v", "M", "?", "\n", "\n\n", "\n\t", "\n\t\n"] {
            let mut desk = Desk::with(fixture::model(), theme, size);
            desk.walked();
            for c in keys.chars() {
                match c {
                    '\n' => drop(desk.enter().screen()),
                    '\t' => drop(desk.press(KeyCode::Tab).screen()),
                    c => drop(desk.keys(&c.to_string()).screen()),
                }
            }
            out.push((format!("{keys:?} at {size:?}"), drawn(&desk)));
        }
    }
    out
}

fn theme(palette: Palette) -> Theme {
    Theme {
        palette,
        ascii: false,
    }
}

/// Lines that may explain a colour: its own line, the line that it continues, the column
/// heading, and the title above.
fn places(frame: &Buffer, (x, y): (u16, u16)) -> Vec<u16> {
    let heading = Palette::True.colour(Kind::Heading);
    // Text further away may belong to another pane.
    let near = x.saturating_sub(14)..(x + 14).min(frame.area.width);
    let is_heading = |y: &u16| near.clone().any(|x| frame[(x, *y)].fg == heading);
    let mut out = vec![y];
    let goes_on = |above: &u16| frame[(x, *above)].fg == frame[(x, y)].fg;
    out.extend((0..y).rev().take_while(goes_on));
    if let Some(above) = (0..y).rev().find(is_heading) {
        out.extend([above, above.saturating_sub(1)]);
    }
    out
}

#[test]
fn every_colour_has_its_word_or_mark() {
    let mut seen = Vec::new();
    for (name, frame) in screens(theme(Palette::True)) {
        let whole: Vec<String> = (0..frame.area.height).map(|y| line(&frame, y)).collect();
        for y in 0..frame.area.height {
            for x in 0..frame.area.width {
                let colour = frame[(x, y)].fg;
                if colour == Color::Reset {
                    continue;
                }
                let mut kinds = Kind::ALL.into_iter();
                let known = |k: &Kind| Palette::True.colour(*k) == colour;
                let kind = kinds
                    .find(known)
                    .expect("only the theme's colours are used");
                if !seen.contains(&kind) {
                    seen.push(kind);
                }
                let told = places(&frame, (x, y)).into_iter().any(|y| {
                    let text = line(&frame, y);
                    words(kind).iter().any(|word| text.contains(word))
                });
                assert!(
                    told,
                    "{name}: {kind:?} at {x},{y} has no word:\n{}",
                    whole.join("\n")
                );
            }
        }
    }
    for kind in [
        Kind::Nonpaged,
        Kind::Paged,
        Kind::Code,
        Kind::Alarm,
        Kind::Doubt,
    ] {
        assert!(seen.contains(&kind), "{kind:?} is on no screen");
    }
}

#[test]
fn every_theme_draws_the_same_text() {
    let plain = screens(theme(Palette::Plain));
    for palette in [Palette::Sixteen, Palette::Indexed, Palette::True] {
        for ((name, plain), (_, coloured)) in plain.iter().zip(screens(theme(palette))) {
            for y in 0..plain.area.height {
                assert_eq!(line(plain, y), line(&coloured, y), "{name}");
            }
            // A selected row must not differ by colour only.
            let reversed = |b: &Buffer| {
                let has = |c: &&ratatui::buffer::Cell| c.modifier.contains(Modifier::REVERSED);
                b.content.iter().filter(has).count()
            };
            assert_eq!(reversed(plain), reversed(&coloured), "{name}");
        }
    }
}
