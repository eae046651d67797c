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
    let (left, right) = split_left(body, body.width / 2);
    draw_lines(buffer, left, theme, &left_lines(preview, left.width));
    draw_lines(buffer, right, theme, &right_lines(preview));
}

/// A label (empty on continuation lines) and its text.
type Line = (&'static str, String);

fn left_lines(preview: &Preview, width: u16) -> Vec<Line> {
    if let Some(why) = &preview.failed {
        return vec![("Error", why.clone())];
    }
    let mut out = Vec::new();
    let owner = match (&preview.owner, preview.whole) {
        (Some(owner), _) => owner.clone(),
        (None, true) => "unknown".into(),
        (None, false) => "computing…".into(),
    };
    out.push(("Owner", owner));
    let room = usize::from(width.saturating_sub(LABEL + 2)).max(20);
    let reasons = preview.reasons.iter().flat_map(|r| wrap(r, room));
    labelled(&mut out, "Evidence", reasons.take(3));
    let count = match preview.reference_count {
        Some(0) => "none found in the loaded images".to_owned(),
        Some(n) => format!("{} in loaded images", grouped(n)),
        None => String::new(),
    };
    if !count.is_empty() {
        out.push(("References", count));
        out.extend(preview.references.iter().map(|r| ("", r.clone())));
    }
    out
}

fn right_lines(preview: &Preview) -> Vec<Line> {
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
    let texts = preview
        .texts
        .iter()
        .map(|(va, text)| format!("{va} {text}"));
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
    let room = usize::from(area.width.saturating_sub(LABEL + 2));
    for (y, (label, text)) in lines.iter().take(area.height.into()).enumerate() {
        put(buffer, area, 1, y as u16, label, theme.heading());
        let text = cut(text, room, theme);
        put(buffer, area, LABEL, y as u16, &text, Style::new());
    }
}
