//! The selected tag at a glance: asked for when the selection rests.

use crate::tui::app::App;
use crate::tui::data::message::Question;
use crate::tui::data::preview::Preview;
use crate::tui::screens::layout;

use crate::pool::Tag;

/// The preview that is shown, and the one that is awaited. Each is asked for, also a known
/// one: the workers answer only when the selection rests, so moving through the list does not
/// draw previews.
#[derive(Clone, Debug, Default)]
pub struct PreviewState {
    /// What is shown: it may be of the tag that was selected before.
    pub shown: Option<Preview>,
    /// The request under way, and its tag.
    awaited: Option<(u64, Tag)>,
}

impl PreviewState {
    /// Takes an answer; one to an older request is dropped.
    pub fn take(&mut self, number: u64, preview: Preview) {
        if self.awaited.is_some_and(|(n, _)| n == number) {
            self.awaited = None;
            self.shown = Some(preview);
        }
    }

    /// True when it was this request that has no answer.
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

    /// Forgets everything: the dump was read again.
    pub fn clear(&mut self) {
        *self = PreviewState::default();
    }
}

impl App {
    /// Asks for the selected tag when it is not shown.
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
            // The selection came back: what was asked for meanwhile is of another tag.
            self.preview.awaited = None;
            return;
        }
        if !shown || self.preview.awaited.is_some_and(|(_, t)| t == tag) {
            return;
        }
        let number = self.ask(Question::Preview { tag });
        self.preview.awaited = Some((number, tag));
    }

    /// Shows the preview, or gives its room to the list.
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
