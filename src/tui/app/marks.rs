//! Marking a row, and the list of all marks.

use std::sync::Arc;

use crate::memory::Va;
use crate::pool::Tag;
use crate::report::text::clean;

use crate::tui::app::{App, Screen};
use crate::tui::data::cell::Cell;
use crate::tui::data::mark::{self, LONGEST, MOST, Mark, Marked};
use crate::tui::data::table::{Opens, TableColumn, TableData, TableRow};
use crate::tui::input::query::Kind;
use crate::tui::screens::tag::Pane;
use crate::tui::widgets::table::Column;

const COLUMNS: [TableColumn; 4] = [
    TableColumn::new(Column::text("What", 6, 1), &["what"], Kind::Text),
    TableColumn::new(Column::text("Tag", 4, 0), &["tag"], Kind::Text),
    TableColumn::new(Column::text("Address", 17, 2), &["address"], Kind::Address),
    TableColumn::new(
        Column::text("Note", 12, 0).growing(30),
        &["note"],
        Kind::Text,
    ),
];

impl App {
    /// The object on screen that a mark would apply to.
    fn markable(&self) -> Option<Marked> {
        match self.stack.last() {
            None if self.summary_focused => None,
            None => {
                let row = self.tags.current(&self.model)?;
                Some(Marked::Tag(row.usage.tag.value()))
            }
            Some(Screen::Tag(view)) if view.pane == Pane::Allocations => {
                view.current().map(|b| Marked::of(&b))
            }
            Some(Screen::Bytes(view)) => Some(Marked::of(view.block.as_ref()?)),
            Some(Screen::Table(table)) => match &table.current()?.opens {
                Opens::Tag(tag, filter) if filter.is_empty() => Some(Marked::Tag(tag.value())),
                _ => None,
            },
            _ => None,
        }
    }

    /// Marks the row, or removes its mark.
    pub(in crate::tui) fn toggle_mark(&mut self) {
        let on_marks = matches!(self.stack.last(), Some(Screen::Table(s)) if s.ask == crate::tui::data::table::TableKind::Marks);
        if on_marks {
            self.unmark_row();
            return;
        }
        let Some(what) = self.markable() else {
            self.message = Some("only tags and allocations can be marked".into());
            return;
        };
        if let Some(at) = self.marks.iter().position(|m| m.what.is(&what)) {
            self.marks.remove(at);
            self.message = Some(format!("no longer marked: {}", what.words()));
        } else {
            self.set_mark(what, String::new());
        }
        self.marks_changed = true;
    }

    fn set_mark(&mut self, what: Marked, note: String) {
        let note: String = clean(&note).chars().take(LONGEST).collect();
        self.marks_changed = true;
        self.message = Some(format!("marked: {} (' lists the marks)", what.words()));
        if let Some(mark) = self.marks.iter_mut().find(|m| m.what.is(&what)) {
            mark.note = note;
        } else if self.marks.len() < MOST {
            self.marks.push(Mark { what, note });
        } else {
            self.message = Some(format!("there are {MOST} marks: remove some first"));
        }
    }

    /// The current note of the row, to edit; `None` if the row cannot be marked.
    pub(in crate::tui) fn note_here(&self) -> Option<String> {
        let what = self.markable()?;
        Some(mark::find(&self.marks, &what).map_or(String::new(), |m| m.note.clone()))
    }

    /// Marks the row with a note.
    pub(in crate::tui) fn take_note(&mut self, note: &str) {
        match self.markable() {
            Some(what) => self.set_mark(what, note.trim().to_owned()),
            None => self.message = Some("only tags and allocations can be marked".into()),
        }
    }

    fn unmark_row(&mut self) {
        let Some(Screen::Table(table)) = self.stack.last() else {
            return;
        };
        let Some(at) = table.current().and_then(|row| row.place) else {
            return;
        };
        if at < self.marks.len() {
            let gone = self.marks.remove(at);
            self.marks_changed = true;
            self.message = Some(format!("no longer marked: {}", gone.what.words()));
        }
        let data = self.marks_table();
        if let Some(Screen::Table(table)) = self.stack.last_mut() {
            table.take(data);
        }
    }

    /// The list of all marks.
    pub(in crate::tui) fn marks_table(&self) -> TableData {
        let row = |(place, mark): (usize, &Mark)| {
            let (what, tag, address, opens) = match mark.what {
                Marked::Tag(tag) => {
                    let tag = Tag::new(tag);
                    ("tag", tag, Cell::Nothing, Opens::Tag(tag, String::new()))
                }
                Marked::Block {
                    va,
                    bytes,
                    tag,
                    session,
                } => (
                    "block",
                    Tag::new(tag),
                    Cell::Address(Va(va)),
                    Opens::Memory {
                        title: Va(va).to_string(),
                        about: match mark.note.is_empty() {
                            true => mark.what.words(),
                            false => format!("{}: {}", mark.what.words(), mark.note),
                        },
                        va: Va(va),
                        length: Some(bytes),
                        session,
                    },
                ),
            };
            TableRow {
                mark: '*',
                cells: vec![
                    Cell::Text(what.into()),
                    Cell::Text(tag.to_string()),
                    address,
                    Cell::Text(mark.note.clone()),
                ],
                opens,
                place: Some(place),
            }
        };
        TableData {
            columns: &COLUMNS,
            title: format!("Marks: {} (x removes one)", self.marks.len()),
            rows: Arc::new(self.marks.iter().enumerate().map(row).collect()),
            ..TableData::default()
        }
    }
}
