//! The preview of the selected tag, requested when the selection rests.

use crate::tui::app::App;
use crate::tui::data::message::Question;
use crate::tui::data::preview::Preview;
use crate::tui::screens::layout;

use crate::pool::Tag;

/// The preview on screen and the pending one. Every selection sends a request, even for a
/// tag whose preview is complete: workers answer only when the selection rests, so
/// scrolling through the list does not draw previews.
#[derive(Clone, Debug, Default)]
pub struct PreviewState {
    /// The preview on screen; it may belong to the previously selected tag.
    pub shown: Option<Preview>,
    /// The pending request and its tag.
    awaited: Option<(u64, Tag)>,
}

impl PreviewState {
    /// Applies an answer; drops answers to older requests.
    pub fn take(&mut self, number: u64, preview: Preview) {
        if self.awaited.is_some_and(|(n, _)| n == number) {
            self.awaited = None;
            self.shown = Some(preview);
        }
    }

    /// Records a failure. Returns true if the failed request was the pending one.
    pub fn failed(&mut self, number: u64, why: &str) -> bool {
        let Some((_, tag)) = self.awaited.filter(|(n, _)| *n == number) else {
            return false;
        };
        self.take(
            number,
            Preview {
                tag,
                whole: true,
                failed: Some(why.to_owned()),
                ..Preview::default()
            },
        );
        true
    }

    /// Clears everything, because the dump was read again.
    pub fn clear(&mut self) {
        *self = PreviewState::default();
    }
}

impl App {
    /// Requests the preview of the selected tag unless it is on screen.
    pub(in crate::tui) fn ask_preview(&mut self) {
        let body = layout::areas(self.size).body;
        let shown = self.stack.is_empty()
            && layout::first_screen(&self.model, body, self.wanted())
                .preview
                .height
                > 0;
        let Some(tag) = self.tags.current(&self.model).map(|row| row.usage.tag) else {
            return;
        };
        let done = !self.indexing();
        let fits = |p: &Preview| p.tag == tag && (p.whole || !done);
        if self.preview.shown.as_ref().is_some_and(fits) {
            // The selection returned to this tag: the pending request is for another tag.
            self.preview.awaited = None;
            return;
        }
        if !shown || self.preview.awaited.is_some_and(|(_, t)| t == tag) {
            return;
        }
        let number = self.ask(Question::Preview { tag });
        self.preview.awaited = Some((number, tag));
    }

    /// Shows the preview, or hides it to make room for the list.
    pub(in crate::tui) fn toggle_preview(&mut self) {
        self.shows_preview = !self.shows_preview;
        self.message = Some(
            match (self.shows_preview, self.size.0 >= 120) {
                (true, true) => "preview on",
                (true, false) => "preview on; it needs 120 columns",
                (false, _) => "preview off",
            }
            .into(),
        );
        self.keep_settings();
    }
}
