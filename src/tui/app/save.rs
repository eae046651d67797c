//! Saving the contents of the screen.

use std::path::PathBuf;

use crate::tui::app::{App, Screen};
use crate::tui::data::cell::Cell;
use crate::tui::data::columns;
use crate::tui::data::job::{Content, Job};
use crate::tui::data::message::Question;
use crate::tui::jobs::save::Style;
use crate::tui::screens::summary;
use crate::tui::screens::tag::Pane;

impl App {
    /// Saves the contents of the screen; the answer reports the result.
    pub(in crate::tui) fn save(&mut self, name: &str, replace: bool) {
        let name = name.trim();
        if name.is_empty() {
            self.message = Some("name a file: list.csv, list.json, report.md".into());
            return;
        }
        let Some(content) = self.content() else {
            self.message = Some("nothing here to save yet".into());
            return;
        };
        let job = Job {
            path: at_home(name),
            replace,
            content,
        };
        if let Err(why) = Style::of(&job.path) {
            self.message = Some(why);
            return;
        }
        self.message = Some(format!("writing {name}"));
        self.ask(Question::Save(Box::new(job)));
    }

    /// The contents of the screen, in the form to save.
    fn content(&self) -> Option<Content> {
        Some(match self.stack.last() {
            None if self.summary_focused => self.summary_text(),
            None => {
                let names = columns::TAG.iter().filter_map(|f| f.names.first().copied());
                let rows = (0..self.tags.len()).filter_map(|at| {
                    let row = self.tags.row(&self.model, at)?;
                    let asked = self.tags.asked_of(&self.model, row);
                    Some((0..columns::TAG.len()).map(|f| asked.cell(f)).collect())
                });
                Content::Grid {
                    columns: names.collect(),
                    rows: rows.collect(),
                }
            }
            Some(Screen::Summary(_)) => self.summary_text(),
            Some(Screen::Tag(view)) => match view.pane {
                Pane::Allocations => Content::Blocks(view.view.clone()?),
                Pane::References => {
                    let rows = view.references.as_ref()?.rows.iter();
                    Content::Grid {
                        columns: vec![
                            "module", "address", "symbol", "section", "sure", "used_by",
                            "function", "reason",
                        ],
                        rows: rows
                            .map(|row| {
                                let text = |t: &str| Cell::Text(t.to_owned());
                                vec![
                                    text(&row.module),
                                    Cell::Address(row.va),
                                    text(&row.symbol),
                                    text(&row.section),
                                    text(row.confidence),
                                    text(&row.api),
                                    text(&row.function),
                                    text(&row.reason),
                                ]
                            })
                            .collect(),
                    }
                }
            },
            Some(Screen::Modules(view)) => {
                let names = columns::MODULE.iter();
                let rows = (0..view.len()).filter_map(|at| {
                    let row = view.row(&self.model, at)?;
                    let cells = 0..columns::MODULE.len();
                    Some(cells.map(|f| columns::module_cell(row, f)).collect())
                });
                Content::Grid {
                    columns: names.filter_map(|f| f.names.first().copied()).collect(),
                    rows: rows.collect(),
                }
            }
            Some(Screen::Table(table)) => {
                let kept: Vec<usize> = (0..table.columns().len())
                    .filter(|i| {
                        table
                            .columns()
                            .get(*i)
                            .is_some_and(|c| !c.name().is_empty())
                    })
                    .collect();
                let name = |i: &usize| table.columns().get(*i).map(|c| c.name());
                let rows = (0..table.len()).filter_map(|at| {
                    let row = table.row(at)?;
                    let cell = |i: &usize| row.cells.get(*i).cloned().unwrap_or(Cell::Unknown);
                    Some(kept.iter().map(cell).collect())
                });
                Content::Grid {
                    columns: kept.iter().filter_map(name).collect(),
                    rows: rows.collect(),
                }
            }
            Some(Screen::Chart(view)) => Content::Text(view.text(self.model.baseline.as_deref()?)),
            Some(Screen::Report(view)) if view.typed.is_some() => {
                Content::Text(view.text.clone().unwrap_or_default())
            }
            Some(Screen::Report(_)) => Content::Report(self.marks_in_words()),
            Some(Screen::Bytes(view)) => Content::Memory {
                start: view.first,
                length: view.length.unwrap_or(0x1000),
                session: view.session,
            },
        })
    }

    fn summary_text(&self) -> Content {
        let lines = summary::full(&self.model, 100);
        let lines: Vec<String> = lines.into_iter().map(|l| l.0).collect();
        Content::Text(lines.join("\n") + "\n")
    }

    /// Marks and notes in words, for the report.
    pub(in crate::tui) fn marks_in_words(&self) -> Vec<(String, String)> {
        let marks = self.marks.iter();
        marks.map(|m| (m.what.words(), m.note.clone())).collect()
    }
}

/// Replaces `~` with the home directory, as a shell does.
pub(in crate::tui) fn at_home(name: &str) -> PathBuf {
    let home = std::env::home_dir();
    match (name.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(name),
    }
}
