//! The kernel's PDB: the state machine's side. Handles news about it, and updates the
//! screens when the dump was read again with it. The user stays on the same screen.

use crate::pool::index::TagFound;

use crate::tui::app::{App, Screen};
use crate::tui::data::message::{Fetch, IndexNews, Question, Reopening, SymbolNews};
use crate::tui::data::model::Model;

impl App {
    /// Handles news about the missing PDB.
    pub(in crate::tui) fn take_symbols(&mut self, news: SymbolNews) {
        let Some(missing) = &mut self.model.missing else {
            return;
        };
        match news {
            SymbolNews::Refused(mut notes) => {
                // Warnings from the first opening are already in the list of warnings.
                notes.retain(|n| !self.model.warnings.contains(n));
                let new = notes.iter().find(|n| !missing.refused.contains(n));
                if let Some(why) = new {
                    // The message leaves out the path, so that the reason fits; the user
                    // who copied the file knows the path.
                    let why = why
                        .split_once(" is not used: ")
                        .map_or(&**why, |(_, why)| why);
                    self.message = Some(format!("{} is not used (v: more): {why}", missing.file));
                }
                missing.refused = notes;
            }
            _ if self.fetch == Fetch::Over => {}
            SymbolNews::Fetching {
                server,
                received,
                total,
            } => {
                self.fetch = Fetch::Running {
                    server,
                    received,
                    total,
                };
            }
            SymbolNews::Fetched => {
                self.fetch = Fetch::Over;
                self.message = Some(format!(
                    "{} fetched; reading the dump with it",
                    missing.file
                ));
            }
            SymbolNews::Failed(why) => {
                self.fetch = Fetch::Over;
                self.message = Some(format!("{} was not fetched: {why}", missing.file));
                missing.failed = Some(why);
            }
        }
    }

    /// Shows the dump after it was read again. Screens, selection, order and filters stay.
    /// Data from the old reading stays on screen until the new answer arrives.
    pub(in crate::tui) fn take_reopening(&mut self, reopening: Reopening) {
        let Reopening { model, file, walk } = reopening;
        if self.tags.cursor.moved {
            self.tags.remember(&self.model);
        }
        let mut old = std::mem::replace(&mut self.model, model);
        self.model.baseline = old.baseline.take();
        self.preview.clear();
        self.renew_baseline();
        if !self.model.counted {
            self.keep_rows(&old);
        }
        self.index = IndexNews {
            walk,
            ..IndexNews::default()
        };
        self.listed = 0;
        self.failure = None;
        self.stopping = false;
        self.fetch = Fetch::Over;
        self.tags.rearrange(&self.model);
        self.renew_screens(&old);
        let name = old.missing.map_or_else(|| "the PDB".into(), |m| m.file);
        self.message = Some(format!(
            "{name} found, the dump was read again with it: {file}"
        ));
    }

    /// Without pool trackers the rows come from the walk, which has just begun: keeps the
    /// old rows until then.
    fn keep_rows(&mut self, old: &Model) {
        self.model.total = old.total;
        self.model.tags.clone_from(&old.tags);
        for row in &mut self.model.tags {
            row.found = TagFound::default();
        }
    }

    fn renew_screens(&mut self, old: &Model) {
        let mut opened = None;
        for screen in &mut self.stack {
            match screen {
                Screen::Summary(_) | Screen::Chart(_) => {}
                Screen::Table(table) => table.stale(),
                Screen::Report(view) => {
                    view.text = None;
                    view.awaited = 0;
                }
                Screen::Modules(view) => view.renew(old, &self.model),
                Screen::Bytes(view) => {
                    view.stale = true;
                    view.awaited = None;
                }
                Screen::Tag(view) => {
                    let found = old.tag(view.tag).map_or(0, |row| row.found.listed());
                    view.stale = view.view.is_some().then_some(found);
                    view.awaited.blocks = 0;
                    view.awaited.found = 0;
                    opened = Some((view.tag, view.stale.is_none()));
                }
            }
        }
        let Some((tag, nothing_yet)) = opened else {
            return;
        };
        let number = self.ask(Question::References { tag });
        if let Some(view) = self.tag_view() {
            view.awaited.references = number;
        }
        if nothing_yet {
            self.ask_blocks();
        }
    }
}
