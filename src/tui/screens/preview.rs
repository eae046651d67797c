//! The preview of the selected tag, below the tag list.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::report::text::grouped;

use crate::tui::data::preview::Preview;
use crate::tui::terminal::theme::Theme;
use crate::tui::widgets::draw::{cut, put, split_left, split_top, wrap};
use crate::tui::widgets::pane::pane_title;

/// Width of the labels, in cells.
const LABEL: u16 = 12;

/// Draws the pane.
pub fn draw(buffer: &mut Buffer, area: Rect, theme: &Theme, shown: &Option<Preview>) {
    let (title, body) = split_top(area, 1);
    let Some(preview) = shown else {
        pane_title(buffer, title, theme, "Preview", false);
        return;
    };
    let text = format!("Preview of {}", preview.tag);
    pane_title(buffer, title, theme, &text, false);
    // Names of calls need more room than sizes.
    let (left, right) = split_left(body, body.width * 11 / 20);
    draw_lines(buffer, left, theme, &left_lines(preview, left));
    draw_lines(buffer, right, theme, &right_lines(preview, right));
}

/// A label (empty on continuation lines) and its text.
type Line = (&'static str, String);

/// Cells of a line after its label.
fn room(area: Rect) -> usize {
    usize::from(area.width.saturating_sub(LABEL + 2)).max(20)
}

fn left_lines(preview: &Preview, area: Rect) -> Vec<Line> {
    let room = room(area);
    let mut out = Vec::new();
    if let Some(why) = &preview.failed {
        labelled(&mut out, "Error", wrap(why, room).into_iter());
        return out;
    }
    let owner = match (&preview.owner, preview.whole) {
        (Some(owner), _) => owner.clone(),
        (None, true) => "unknown".into(),
        (None, false) => "computing…".into(),
    };
    labelled(&mut out, "Owner", wrap(&owner, room).into_iter().take(2));
    let reasons = preview.reasons.iter().flat_map(|r| wrap(r, room));
    labelled(&mut out, "Evidence", reasons.take(3));
    let count = match preview.reference_count {
        Some(0) => "none found in the loaded images".to_owned(),
        Some(n) => format!("{} in loaded images", grouped(n)),
        None => String::new(),
    };
    if !count.is_empty() {
        out.push(("References", count));
        for reference in &preview.references {
            // A long name goes on in the next line; a reference without room is left out.
            let mut pieces = wrap(reference, room.saturating_sub(2));
            for piece in pieces.iter_mut().skip(1) {
                piece.insert_str(0, "  ");
            }
            if out.len() + pieces.len() > usize::from(area.height) {
                break;
            }
            labelled(&mut out, "", pieces.into_iter());
        }
    }
    out
}

fn right_lines(preview: &Preview, area: Rect) -> Vec<Line> {
    let mut out = Vec::new();
    let sizes = preview.sizes.iter().map(|(size, count, share)| {
        format!(
            "{:>12} bytes x {:<10} {:>5.1}%",
            grouped(*size),
            grouped(*count),
            share * 100.0
        )
    });
    labelled(&mut out, "Sizes", sizes);
    let more = preview
        .size_count
        .saturating_sub(preview.sizes.len() as u64);
    if more > 0 {
        out.push(("", format!("{} further sizes", grouped(more))));
    }
    // The first text is the longest: it may use the lines that others leave.
    let lines = usize::from(area.height).saturating_sub(out.len());
    let spare = lines.saturating_sub(preview.texts.len());
    let texts = preview
        .texts
        .iter()
        .enumerate()
        .flat_map(|(at, (va, text))| {
            let text = format!("{va} {text}");
            match at {
                0 => wrap(&text, room(area))
                    .into_iter()
                    .take(spare + 1)
                    .collect(),
                _ => vec![text],
            }
        });
    labelled(&mut out, "Text", texts);
    if preview.texts.is_empty() && preview.failed.is_none() {
        let (read, unread) = preview.read;
        out.push((
            "Text",
            match (read, unread) {
                (0, 0) => "no block to read yet".into(),
                (0, _) => "the sample blocks can't be read".into(),
                (1, _) => "none in 1 sample block".into(),
                (n, _) => format!("none in {n} sample blocks"),
            },
        ));
    }
    out
}

fn labelled(out: &mut Vec<Line>, label: &'static str, lines: impl Iterator<Item = String>) {
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    out.extend(labels.zip(lines));
}

fn draw_lines(buffer: &mut Buffer, area: Rect, theme: &Theme, lines: &[Line]) {
    let room = room(area);
    for (y, (label, text)) in lines.iter().take(area.height.into()).enumerate() {
        put(buffer, area, 1, y as u16, label, theme.heading());
        let text = cut(text, room, theme);
        put(buffer, area, LABEL, y as u16, &text, Style::new());
    }
}
