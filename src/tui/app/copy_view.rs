//! A full-screen view of the text to copy, without borders.

use crate::tui::app::App;
use crate::tui::input::keys::{Action, Context};
use crate::tui::screens::copy_view::CopyView;

impl App {
    /// Shows the text that would be copied.
    pub(in crate::tui) fn show_copy_view(&mut self) {
        match self.text_to_copy() {
            Some(text) => self.copy_view = Some(CopyView::new(text)),
            None => self.message = Some("nothing here to show".into()),
        }
    }

    /// Handles a key in the copy view: the next page, or back. Redraw and suspend work as usual.
    pub(in crate::tui) fn copy_view_key(&mut self, event: &crossterm::event::KeyEvent) {
        match self.keys.action(Context::Help, event) {
            Some(action @ (Action::Redraw | Action::Suspend)) => self.act(action),
            Some(Action::Cancel | Action::Interrupt) => self.copy_view = None,
            _ => {
                let size = self.size;
                if !self
                    .copy_view
                    .as_mut()
                    .is_some_and(|plain| plain.go_on(size))
                {
                    self.copy_view = None;
                }
            }
        }
    }
}
