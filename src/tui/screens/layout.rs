//! The layout of a screen of a given size. Drawing uses it, and so does code that needs the
//! number of visible rows.

use ratatui::layout::Rect;

use crate::tui::data::model::Model;
use crate::tui::screens::summary;
use crate::tui::widgets::draw::{split_left, split_top};
use crate::tui::widgets::table::Table;

/// The parts of every screen; a part that does not fit is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Areas {
    /// The title: the open dump.
    pub title: Rect,
    /// The path.
    pub crumbs: Rect,
    /// The screen itself.
    pub body: Rect,
    /// Messages and progress.
    pub status: Rect,
    /// Key hints, or the open line.
    pub hints: Rect,
}

/// Divides a screen. On a small screen, the path and the hints are dropped last.
pub fn areas((columns, rows): (u16, u16)) -> Areas {
    let whole = Rect::new(0, 0, columns, rows);
    let (title, rest) = split_top(whole, u16::from(rows >= 12));
    let (crumbs, rest) = split_top(rest, u16::from(rows >= 4));
    let below = u16::from(rows >= 6) + u16::from(rows >= 3);
    let (body, below) = split_top(rest, rest.height - below);
    let (status, hints) = split_top(below, below.height.saturating_sub(1));
    Areas {
        title,
        crumbs,
        body,
        status,
        hints,
    }
}

/// From this width on, the complete summary is shown beside the tags.
const BESIDE: u16 = 150;
/// Width of the complete summary.
const SUMMARY_WIDTH: u16 = 60;

/// True if the summary is beside the tag list, false if above it.
pub fn beside(body: Rect) -> bool {
    body.width >= BESIDE && body.height >= 30
}

/// The verdict's line, and the rest of the first screen below it. The line is reserved
/// before there is a verdict, so that nothing moves when it arrives.
pub fn verdict(body: Rect) -> (Rect, Rect) {
    split_top(body, u16::from(body.height >= 6))
}

/// The user's choices about the first screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Show only the list.
    pub zoom: bool,
    /// Show the preview of the selected tag below the list.
    pub preview: bool,
}

/// Minimum screen width for the preview.
const PREVIEW_FROM: u16 = 120;
/// Height of the preview, and minimum height of the list above it.
const PREVIEW_LINES: u16 = 9;
const LIST_LINES: u16 = 12;

/// The parts of the first screen below the verdict; hidden parts are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstScreen {
    /// The summary.
    pub summary: Rect,
    /// The tag list.
    pub list: Rect,
    /// The preview of the selected tag.
    pub preview: Rect,
}

/// Divides the first screen.
pub fn first_screen(model: &Model, body: Rect, wanted: Wanted) -> FirstScreen {
    let (summary, list) = summary_and_list(model, body, wanted.zoom);
    let room = wanted.preview
        && !wanted.zoom
        && body.width >= PREVIEW_FROM
        && list.height >= LIST_LINES + PREVIEW_LINES;
    let lines = if room { PREVIEW_LINES } else { 0 };
    let (list, preview) = split_top(list, list.height - lines);
    FirstScreen {
        summary,
        list,
        preview,
    }
}

fn summary_and_list(model: &Model, body: Rect, zoom: bool) -> (Rect, Rect) {
    let (_, body) = verdict(body);
    if zoom {
        return split_top(body, 0);
    }
    if beside(body) {
        let (left, right) = split_left(body, SUMMARY_WIDTH);
        // A blank column between summary and list.
        let (_, right) = split_left(right, 1);
        return (left, right);
    }
    split_top(body, summary::pane_height(model, body.height))
}

/// Number of tags on screen.
pub fn tag_list_height(model: &Model, body: Rect, wanted: Wanted) -> u64 {
    let list = first_screen(model, body, wanted).list;
    list.height.saturating_sub(1 + Table::HEADING).into()
}
