//! The mouse: the wheel scrolls, a click selects, a click on the selected row opens it.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use crate::tui::app::actions::Move;
use crate::tui::app::{App, Screen};
use crate::tui::screens::layout;
use crate::tui::screens::modules::ModulesView;
use crate::tui::screens::report::ReportView;
use crate::tui::screens::tag::Pane;
use crate::tui::widgets::list::Cursor;

/// Rows to move for one notch of the wheel.
const NOTCH: i64 = 3;

impl App {
    /// Handles a mouse event.
    pub(in crate::tui) fn mouse(&mut self, event: &MouseEvent) {
        let rows = match event.kind {
            MouseEventKind::ScrollUp => -NOTCH,
            MouseEventKind::ScrollDown => NOTCH,
            MouseEventKind::Down(MouseButton::Left) => 0,
            _ => return,
        };
        self.touched = true;
        // While a line is open it has the focus, and a click would discard it.
        if self.prompt.is_some() {
            return;
        }
        self.message = None;
        if rows != 0 {
            if self.copy_view.is_none() {
                self.travel(Move::Lines(rows));
            }
        } else if self.copy_view.take().is_none() && self.help.is_none() && self.chooser.is_none() {
            self.click(Position::new(event.column, event.row));
        }
    }

    fn click(&mut self, at: Position) {
        let body = layout::areas(self.size).body;
        if !body.contains(at) {
            return;
        }
        let opens = match self.stack.last_mut() {
            None => self.click_first_screen(body, at),
            Some(Screen::Tag(_)) => self.click_tag(body, at),
            Some(Screen::Modules(view)) => {
                let (rows, height) = (view.len(), ModulesView::height(body));
                click_list(&mut view.cursor, body, height, rows, at) == Hit::Selected
            }
            Some(Screen::Table(table)) => {
                let (rows, height) = (table.len(), table.height(body));
                click_list(&mut table.cursor, body, height, rows, at) == Hit::Selected
            }
            Some(Screen::Bytes(view)) => match line_of(body, view.height(body), at) {
                Some(line) => {
                    let by = line as i64 - view.line() as i64;
                    view.by(by, false);
                    by == 0
                }
                None => false,
            },
            Some(Screen::Report(view)) => {
                let (rows, height) = (view.len(body.width), ReportView::height(body));
                click_list(&mut view.cursor, body, height, rows, at) == Hit::Selected
            }
            Some(Screen::Summary(_) | Screen::Chart(_)) => false,
        };
        if opens {
            self.open();
        }
    }

    fn click_first_screen(&mut self, body: Rect, at: Position) -> bool {
        if self.zoom && self.summary_focused {
            return false;
        }
        let parts = layout::first_screen(&self.model, body, self.wanted());
        let (summary, list) = (parts.summary, parts.list);
        let was = self.summary_focused;
        self.summary_focused = summary.contains(at);
        if !list.contains(at) {
            return false;
        }
        let rows = self.tags.len();
        let height = layout::tag_list_height(&self.model, body, self.wanted());
        let hit = click_list(&mut self.tags.cursor, list, height, rows, at);
        self.tags.remember(&self.model);
        hit == Hit::Selected && !was
    }

    fn click_tag(&mut self, body: Rect, at: Position) -> bool {
        let indexing = self.indexing();
        let Some(Screen::Tag(view)) = self.stack.last_mut() else {
            return false;
        };
        let (_, left, right, _) = view.areas(body, &self.model, indexing);
        let heights = view.heights(body, &self.model, indexing);
        let was = view.pane;
        let hit = if left.contains(at) {
            view.pane = Pane::Allocations;
            let rows = view.len();
            let hit = click_list(&mut view.cursor, left, heights.0, rows, at);
            view.remember();
            hit
        } else if right.contains(at) {
            view.pane = Pane::References;
            let rows = view.references.as_ref().map_or(0, |m| m.rows.len() as u64);
            click_list(&mut view.reference, right, heights.1, rows, at)
        } else {
            Hit::Nothing
        };
        hit == Hit::Selected && view.pane == was
    }
}

/// What a click in a list hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hit {
    /// Title, heading, or empty space.
    Nothing,
    /// A row that was not selected before.
    Row,
    /// The selected row.
    Selected,
}

/// The row under a position, counted from the first visible row. Rows are at the bottom of
/// the pane.
fn line_of(pane: Rect, height: u64, at: Position) -> Option<u64> {
    let above = u64::from(pane.height).checked_sub(height)?;
    u64::from(at.y.checked_sub(pane.y)?).checked_sub(above)
}

fn click_list(cursor: &mut Cursor, pane: Rect, height: u64, rows: u64, at: Position) -> Hit {
    let line = line_of(pane, height, at);
    let row = line.and_then(|line| cursor.top.checked_add(line));
    match row.filter(|row| *row < rows) {
        None => Hit::Nothing,
        Some(row) if row == cursor.row => Hit::Selected,
        Some(row) => {
            cursor.to(row);
            Hit::Row
        }
    }
}
