//! Saving and restoring the state between runs.

use crate::memory::Va;
use crate::pool::{Backend, Block, PoolKind, State, Tag};
use crate::report::text::clean;

use crate::tui::app::{App, Screen};
use crate::tui::data::mark::{self, LONGEST, MOST, Mark, Marked};
use crate::tui::data::order::{PoolChoice, SortBy};
use crate::tui::data::session::{SessionState, Step, VERSION};
use crate::tui::data::table::TableKind;
use crate::tui::input::prompt::Kind;
use crate::tui::screens::bytes::{BytesFormat, BytesView};
use crate::tui::screens::tag::Pane;

/// Maximum number of saved path steps.
const MOST_STEPS: usize = 16;

const POOLS: [PoolChoice; 3] = [PoolChoice::Both, PoolChoice::Nonpaged, PoolChoice::Paged];
const SORTS: [SortBy; 6] = [
    SortBy::Bytes,
    SortBy::Allocs,
    SortBy::Frees,
    SortBy::Diff,
    SortBy::PerAlloc,
    SortBy::Tag,
];
const SHAPES: [BytesFormat; 3] = [BytesFormat::Bytes, BytesFormat::Pointers, BytesFormat::Text];

fn number<T: PartialEq>(of: &[T], what: &T) -> u8 {
    of.iter().position(|w| w == what).unwrap_or(0) as u8
}

fn numbered<T: Copy + Default>(of: &[T], number: u8) -> T {
    of.get(usize::from(number)).copied().unwrap_or_default()
}

/// Cleans text from a session file: anyone may have written it.
fn safe(text: &str) -> String {
    clean(text).chars().take(LONGEST).collect()
}

fn step_of(screen: &Screen) -> Option<Step> {
    Some(match screen {
        Screen::Summary(_) => Step::Summary,
        Screen::Modules(view) => Step::Modules {
            filter: view.filter.clone(),
        },
        Screen::Report(view) if view.typed.is_some() => return None,
        Screen::Report(_) => Step::Report,
        Screen::Chart(_) => return None,
        Screen::Table(table) => match &table.ask {
            TableKind::Drivers => Step::Drivers,
            TableKind::TagsOf(module) => Step::TagsOf(module.clone()),
            TableKind::Sizes(tag) => Step::Sizes(tag.value()),
            TableKind::Marks => Step::Marks,
            // Quick to open again, and not worth restoring.
            _ => return None,
        },
        Screen::Tag(view) => Step::Tag {
            tag: view.tag.value(),
            part: view.base_filter.clone(),
            filter: view.filter.clone(),
            pool: number(&POOLS, &view.pool),
            by_size: view.sort.by_size,
            descending: view.sort.descending,
            references: view.pane == Pane::References,
            at: view.current().map(|b| Marked::of(&b)),
        },
        Screen::Bytes(view) => Step::Bytes {
            title: view.title.clone(),
            about: view.about.clone(),
            first: view.first.0,
            length: view.length,
            at: view.at.0,
            session: view.session,
            shape: number(&SHAPES, &view.shape),
        },
    })
}

impl App {
    /// The state to save.
    pub fn to_keep(&self) -> SessionState {
        let tags = &self.tags;
        // The path is saved up to the first step that cannot be saved.
        let steps = self.stack.iter().map_while(step_of).take(MOST_STEPS);
        SessionState {
            version: VERSION,
            file: self.model.file.clone(),
            marks: self.marks.clone(),
            pool: number(&POOLS, &tags.pool),
            sort: number(&SORTS, &tags.sort),
            reversed: tags.reversed,
            filter: tags.filter.clone(),
            unknown_only: tags.unknown_only,
            selected: tags.current(&self.model).map(|row| row.usage.tag.value()),
            steps: steps.collect(),
            commands: self.history.kept(Kind::Command),
            filters: self.history.kept(Kind::Filter),
            searches: self.history.kept(Kind::Search),
        }
    }

    /// Restores a saved state. After a key press, restores only the marks and the typed lines.
    pub(in crate::tui) fn take_kept(&mut self, kept: SessionState) {
        let marks = kept.marks.iter().take(MOST).map(|m| Mark {
            what: m.what,
            note: safe(&m.note),
        });
        for mark in marks {
            if mark::find(&self.marks, &mark.what).is_none() {
                self.marks.push(mark);
            }
        }
        for (kind, lines) in [
            (Kind::Command, &kept.commands),
            (Kind::Filter, &kept.filters),
            (Kind::Search, &kept.searches),
        ] {
            lines.iter().for_each(|line| self.history.add(kind, line));
        }
        if self.touched {
            return;
        }
        let tags = &mut self.tags;
        tags.pool = numbered(&POOLS, kept.pool);
        tags.sort = numbered(&SORTS, kept.sort);
        tags.reversed = kept.reversed;
        tags.unknown_only = kept.unknown_only;
        tags.filter = safe(&kept.filter);
        tags.rearrange(&self.model);
        if let Some(tag) = kept.selected {
            self.tags.select(&self.model, Tag::new(tag));
        }
        for step in kept.steps.into_iter().take(MOST_STEPS) {
            self.take_step(step);
        }
        let place = self.path().join(" > ");
        if !self.stack.is_empty() {
            self.message = Some(format!("restored: {place}; T: the tag list"));
        }
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Summary => self.go(Screen::Summary(0)),
            Step::Modules { filter } => {
                self.show_modules();
                // A filter that is no longer valid is dropped.
                let _ = self.set_filter(&safe(&filter));
            }
            Step::Drivers => self.show_drivers(),
            Step::TagsOf(module) => self.open_table(TableKind::TagsOf(module.map(|m| safe(&m)))),
            Step::Sizes(tag) => self.open_table(TableKind::Sizes(Tag::new(tag))),
            Step::Marks => self.open_table(TableKind::Marks),
            Step::Report => self.show_report(),
            Step::Tag {
                tag,
                part,
                filter,
                pool,
                by_size,
                descending,
                references,
                at,
            } => {
                self.open_part(Tag::new(tag), safe(&part));
                let Some(view) = self.tag_view() else {
                    return;
                };
                view.filter = safe(&filter);
                view.pool = numbered(&POOLS, pool);
                view.sort.by_size = by_size;
                view.sort.descending = descending;
                if references {
                    view.pane = Pane::References;
                }
                view.selected = at.and_then(block_of);
                view.cursor.moved = view.selected.is_some();
                self.ask_blocks();
            }
            Step::Bytes {
                title,
                about,
                first,
                length,
                at,
                session,
                shape,
            } => {
                let mut view = BytesView::new(safe(&title), safe(&about), Va(first), length);
                view.session = session;
                view.shape = numbered(&SHAPES, shape);
                view.at = Va(at);
                self.go(Screen::Bytes(Box::new(view)));
                self.settle();
            }
        }
    }
}

/// Just enough of an allocation to find its row again.
fn block_of(marked: Marked) -> Option<Block> {
    let Marked::Block {
        va,
        bytes,
        tag,
        session,
    } = marked
    else {
        return None;
    };
    Some(Block {
        va: Va(va),
        bytes,
        tag: Tag::new(tag),
        protected: false,
        heuristic: false,
        kind: PoolKind::NonPaged,
        backend: Backend::Legacy,
        state: State::Allocated,
        session,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;
    use crate::tui::terminal::theme::{Palette, Theme};

    #[test]
    fn session_files_are_validated() {
        let wild = SessionState {
            pool: 200,
            sort: 99,
            filter: "\x1b[2J(((".into(),
            steps: vec![
                Step::Bytes {
                    title: "\u{202e}x".into(),
                    about: String::new(),
                    first: u64::MAX,
                    length: Some(u64::MAX),
                    at: 3,
                    session: Some(9),
                    shape: 77,
                };
                40
            ],
            ..SessionState::default()
        };
        let theme = Theme {
            palette: Palette::Plain,
            ascii: true,
        };
        let mut app = App::new(fixture::model(), theme, (80, 24));
        app.take_kept(wild);
        assert!(app.stack.len() <= MOST_STEPS);
        assert!(!app.tags.filter.contains('\x1b'));
    }
}
