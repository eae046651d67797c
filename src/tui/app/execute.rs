//! The line editor: searches, filters, addresses, commands.

use crossterm::event::KeyEvent;
use tui_input::Input;

use crate::memory::Va;
use crate::report::text::parse_address;

use crate::tui::app::{App, Screen};
use crate::tui::data::block_filter::BlockFilter;
use crate::tui::data::message::Question;
use crate::tui::input::keys::{Action, Context};
use crate::tui::input::prompt::{Kind, Prompt};
use crate::tui::input::query::TextFilter;
use crate::tui::screens::bytes::BytesView;
use crate::tui::screens::tag::{Pane, TagView};
use crate::tui::widgets::list::Cursor;
use crate::tui::widgets::list::around;

impl App {
    /// Opens a line for typing.
    pub(in crate::tui) fn start(&mut self, kind: Kind) {
        let (filter_before, cursor_before) = match self.stack.last() {
            Some(Screen::Modules(view)) => (view.filter.clone(), view.cursor),
            Some(Screen::Table(table)) => (table.filter.clone(), table.cursor),
            Some(Screen::Report(view)) => (String::new(), view.cursor),
            Some(Screen::Tag(view)) => match view.pane {
                Pane::Allocations => (view.filter.clone(), view.cursor),
                Pane::References => (String::new(), view.reference),
            },
            _ => (self.tags.filter.clone(), self.tags.cursor),
        };
        let typed = match kind {
            Kind::Filter => filter_before.clone(),
            Kind::Note => match self.note_here() {
                Some(note) => note,
                None => {
                    self.message = Some("only tags and allocations can be marked".into());
                    return;
                }
            },
            _ => String::new(),
        };
        self.message = self.what_to_type(kind).map(Into::into);
        self.prompt = Some(Prompt {
            kind,
            input: Input::new(typed),
            filter_before,
            cursor_before,
            offers: None,
            recalled: None,
        });
    }

    fn what_to_type(&self, kind: Kind) -> Option<&'static str> {
        match (kind, self.screen_context()) {
            (Kind::Goto, _) => Some("hexadecimal, with or without 0x and `"),
            (Kind::Command, _) => Some(
                "!poolused 2, !poolfind Leak, !pool ADDRESS, lm a ADDRESS, drivers, save FILE; Tab completes",
            ),
            (Kind::Save, _) => Some("a file name that ends in .txt, .csv, .json or .md"),
            (Kind::Note, _) => Some("note; it is printed in the report"),
            (_, Context::Allocations) => Some(
                "a size (4096, >0x1000, <=1M), the start of an address, a word, or a query (size > 4k and pool = paged)",
            ),
            (_, Context::Tags) => Some(
                "a tag (* and ?), words of its use or binary, or a query: np > 100MB and owner ~ amd",
            ),
            _ => None,
        }
    }

    /// Passes a key to the line.
    pub(in crate::tui) fn prompt_key(&mut self, event: &KeyEvent) {
        match self.keys.action(Context::Prompt, event) {
            Some(Action::Accept) => {
                self.message = None;
                if let Some(prompt) = self.prompt.take() {
                    self.accept(&prompt);
                }
            }
            Some(Action::Complete) => self.complete(),
            Some(action @ (Action::HistoryBack | Action::HistoryOn)) => {
                let step = if action == Action::HistoryBack { 1 } else { -1 };
                if let Some(prompt) = &mut self.prompt {
                    prompt.recall(&self.history, step);
                }
                self.preview_now();
            }
            Some(_) => {
                self.message = None;
                if let Some(prompt) = self.prompt.take() {
                    self.undo(&prompt);
                }
            }
            None => {
                let changed = self.prompt.as_mut().is_some_and(|p| p.key(event));
                if changed {
                    self.preview_now();
                }
            }
        }
    }

    pub(in crate::tui) fn preview_now(&mut self) {
        if let Some(prompt) = self.prompt.clone() {
            self.preview(&prompt);
        }
    }

    /// Completes the word before the cursor, or offers the next completion.
    fn complete(&mut self) {
        let Some(mut prompt) = self.prompt.take() else {
            return;
        };
        let kind = prompt.kind;
        prompt.offer(|line| match kind {
            Kind::Command => self.completions(line),
            Kind::Filter => self.field_completions(line),
            _ => Vec::new(),
        });
        let shown = prompt.offers.as_ref().map(|(offers, _)| offers.join("  "));
        self.message = shown.or_else(|| match prompt.kind {
            Kind::Command => self.what_it_takes(prompt.text()),
            _ => None,
        });
        self.prompt = Some(prompt);
        self.preview_now();
    }

    /// Usage and help of the command on the line.
    fn what_it_takes(&self, line: &str) -> Option<String> {
        let word = line.split_whitespace().next()?;
        let entry = crate::command::table::find(word)?;
        Some(format!("{}: {}", entry.usage(), entry.help))
    }

    /// Column names that complete the word before the cursor.
    fn field_completions(&self, line: &str) -> Vec<String> {
        let fields = self.fields();
        let start = line.rfind([' ', '(']).map_or(0, |at| at + 1);
        let (before, word) = line.split_at(start);
        let names = fields.iter().flat_map(|f| f.names);
        names
            .filter(|n| !n.is_empty() && n.starts_with(word))
            .map(|n| format!("{before}{n} "))
            .collect()
    }

    /// Applies the line while the user types it; only for lists that can be filtered instantly.
    fn preview(&mut self, prompt: &Prompt) {
        match prompt.kind {
            // A half-typed query is not an error yet: the list is unchanged.
            Kind::Filter => {
                self.message = self.set_text_filter(prompt.text()).err();
            }
            Kind::Search => {
                self.search = prompt.text().to_owned();
                self.set_cursor(prompt.cursor_before);
                if self.screen_context() != Context::Allocations {
                    self.find(true, true);
                }
            }
            Kind::Goto | Kind::Command | Kind::Note | Kind::Save => {}
        }
    }

    fn undo(&mut self, prompt: &Prompt) {
        match prompt.kind {
            Kind::Filter => {
                // It was the active filter before, so it is valid.
                let _ = self.set_text_filter(&prompt.filter_before);
            }
            Kind::Search => {}
            Kind::Goto | Kind::Command | Kind::Note | Kind::Save => return,
        }
        self.set_cursor(prompt.cursor_before);
    }

    fn accept(&mut self, prompt: &Prompt) {
        let text = prompt.text().to_owned();
        if prompt.kind != Kind::Note {
            self.history.add(prompt.kind, &text);
        }
        match (prompt.kind, self.screen_context()) {
            (Kind::Goto, _) => self.go_to(&text),
            (Kind::Command, _) => self.command_line(&text),
            (Kind::Note, _) => self.take_note(&text),
            (Kind::Save, _) => match text.trim().strip_suffix('!') {
                Some(name) => self.save(name, true),
                None => self.save(&text, false),
            },
            (Kind::Filter, Context::Allocations) => self.filter_blocks(text),
            (Kind::Filter, _) => {
                if let Err(why) = self.set_text_filter(&text) {
                    // The line stays open so that the user can correct it.
                    self.message = Some(why);
                    self.prompt = Some(prompt.clone());
                }
            }
            (Kind::Search, Context::Allocations) => {
                self.search = text;
                self.find(true, false);
            }
            (Kind::Search, _) => self.remember(),
        }
    }

    /// Filters a list that can be filtered instantly; a list of allocations is filtered on
    /// Enter.
    fn set_text_filter(&mut self, text: &str) -> Result<(), String> {
        match self.stack.last() {
            Some(Screen::Tag(_)) => Ok(()),
            _ => self.set_filter(text),
        }
    }

    fn filter_blocks(&mut self, text: String) {
        if let Err(why) = BlockFilter::parse(&text) {
            self.message = Some(why);
            return;
        }
        if let Some(Screen::Tag(view)) = self.stack.last_mut() {
            view.filter = text.trim().to_owned();
            self.ask_blocks();
        }
    }

    fn set_cursor(&mut self, cursor: Cursor) {
        match self.stack.last_mut() {
            None => self.tags.cursor = cursor,
            Some(Screen::Modules(view)) => view.cursor = cursor,
            Some(Screen::Table(table)) => table.cursor = cursor,
            Some(Screen::Report(view)) => view.cursor = cursor,
            Some(Screen::Tag(view)) => match view.pane {
                Pane::Allocations => view.cursor = cursor,
                Pane::References => view.reference = cursor,
            },
            Some(_) => {}
        }
        self.remember();
    }

    fn remember(&mut self) {
        match self.stack.last_mut() {
            None => self.tags.remember(&self.model),
            Some(Screen::Tag(view)) => view.remember(),
            Some(_) => {}
        }
    }

    /// Goes to the next row that matches the last search; `here` includes the current row.
    pub(in crate::tui) fn find(&mut self, forward: bool, here: bool) {
        let text = self.search.clone();
        if text.trim().is_empty() {
            if !here {
                self.message = Some("/ searches first".into());
            }
            return;
        }
        let from = |row: u64, rows: u64| match here && rows > 0 {
            true => (row + rows - 1) % rows,
            false => row,
        };
        let found = match self.stack.last_mut() {
            None => {
                let from = from(self.tags.cursor.row, self.tags.len());
                self.tags.find(&self.model, &text, from, forward)
            }
            Some(Screen::Modules(view)) => {
                let from = from(view.cursor.row, view.len());
                view.find(&self.model, &text, from, forward)
            }
            Some(Screen::Table(table)) => {
                let from = from(table.cursor.row, table.len());
                table.find(&text, from, forward)
            }
            Some(Screen::Report(view)) => {
                if !view.find(&text, self.size.0, forward, here) {
                    self.message = Some(format!("no line has `{}`", text.trim()));
                }
                return;
            }
            Some(Screen::Tag(view)) => match view.pane {
                Pane::Allocations => return self.find_block(&text, forward),
                Pane::References => find_reference(view, &text, forward, here),
            },
            Some(_) => return,
        };
        match found {
            Some(row) => {
                let mut cursor = match self.stack.last() {
                    Some(Screen::Modules(view)) => view.cursor,
                    Some(Screen::Table(table)) => table.cursor,
                    Some(Screen::Tag(view)) => view.reference,
                    _ => self.tags.cursor,
                };
                cursor.to(row);
                self.set_cursor(cursor);
                self.message = None;
            }
            None => self.message = Some(format!("no row has `{}`", text.trim())),
        }
    }

    fn find_block(&mut self, text: &str, forward: bool) {
        let filter = match BlockFilter::parse(text) {
            Ok(Some(filter)) => filter,
            Ok(None) => return,
            Err(why) => {
                self.message = Some(why);
                return;
            }
        };
        let Some(Screen::Tag(view)) = self.stack.last() else {
            return;
        };
        let Some(list) = view.view.clone() else {
            return;
        };
        let question = Question::Find {
            view: list,
            from: view.cursor.row,
            forward,
            filter,
        };
        let number = self.ask(question);
        if let Some(Screen::Tag(view)) = self.stack.last_mut() {
            view.awaited.found = number;
        }
    }

    fn go_to(&mut self, text: &str) {
        let Some(va) = parse_address(text) else {
            self.message = Some(format!(
                "not a valid address: {} (hexadecimal, for example fffffa80`02400000)",
                text.trim()
            ));
            return;
        };
        match self.stack.last_mut() {
            Some(Screen::Bytes(view)) => {
                view.to(va);
                view.top = view.at;
            }
            Some(Screen::Modules(view)) => {
                let found = view.select_holder(&self.model, va);
                self.message = (!found).then(|| format!("no loaded module holds {va}"));
            }
            Some(Screen::Tag(view)) => self.message = go_to_block(view, va),
            Some(Screen::Table(table)) => {
                let holds = |at: &u64| table.row(*at).is_some_and(|row| row.holds(va));
                match (0..table.len()).find(holds) {
                    Some(at) => table.cursor.to(at),
                    None => self.message = Some(format!("no row is at {va}")),
                }
            }
            Some(Screen::Summary(_) | Screen::Report(_) | Screen::Chart(_)) | None => {
                let view =
                    BytesView::new(va.to_string(), "memory at this address".into(), va, None);
                self.go(Screen::Bytes(Box::new(view)));
            }
        }
    }
}

fn go_to_block(view: &mut TagView, va: Va) -> Option<String> {
    let row = view.view.as_ref()?.row_at(va);
    view.cursor.to(row);
    view.remember();
    let holds = view
        .current()
        .is_some_and(|b| va >= b.va && va.0 - b.va.0 < b.bytes);
    (!holds).then(|| format!("no listed allocation holds {va}; this is the nearest"))
}

fn find_reference(view: &TagView, text: &str, forward: bool, here: bool) -> Option<u64> {
    let (filter, references) = (TextFilter::parse(text)?, view.references.as_ref()?);
    let rows = references.rows.len() as u64;
    let from = match here && rows > 0 {
        true => (view.reference.row + rows - 1) % rows,
        false => view.reference.row,
    };
    around(rows, from, forward).find(|&at| {
        let row = usize::try_from(at)
            .ok()
            .and_then(|at| references.rows.get(at));
        row.is_some_and(|row| filter.reference(row))
    })
}
