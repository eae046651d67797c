//! What would be copied, alone on the screen.

use crate::tui::app::App;
use crate::tui::input::keys::{Action, Context};
use crate::tui::screens::copy_view::CopyView;

impl App {
    /// Shows what would be copied.
    pub(in crate::tui) fn show_copy_view(&mut self) {
        match self.text_to_copy() {
            Some(text) => self.copy_view = Some(CopyView::new(text)),
            None => self.message = Some("nothing here to show".into()),
        }
    }

    /// A key while text is shown plain: the rest of it, or back. What draws again still does, and
    /// what leaves still leaves.
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
