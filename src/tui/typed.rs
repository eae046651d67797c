//! What typed lines do: searches, filters, addresses.

use crossterm::event::KeyEvent;
use tui_input::Input;

use crate::memory::Va;
use crate::report::text::parse_address;

use super::app::{App, Screen};
use super::filter::{BlockFilter, TextFilter};
use super::keys::{self, Action, Context};
use super::list::Cursor;
use super::message::Question;
use super::prompt::{Kind, Prompt};
use super::tag_view::{Pane, TagView};
use super::tags::around;

impl App {
    /// Opens a line to type on.
    pub(super) fn start(&mut self, kind: Kind) {
        let (filter_before, cursor_before) = match self.stack.last() {
            Some(Screen::Modules(view)) => (view.filter.clone(), view.cursor),
            Some(Screen::Tag(view)) => match view.pane {
                Pane::Allocations => (view.filter.clone(), view.cursor),
                Pane::Mentions => (String::new(), view.mention),
            },
            _ => (self.tags.filter.clone(), self.tags.cursor),
        };
        let typed = match kind {
            Kind::Filter => filter_before.clone(),
            _ => String::new(),
        };
        self.message = self.what_to_type(kind).map(Into::into);
        self.prompt = Some(Prompt {
            kind,
            input: Input::new(typed),
            filter_before,
            cursor_before,
        });
    }

    fn what_to_type(&self, kind: Kind) -> Option<&'static str> {
        match (kind, self.screen_context()) {
            (Kind::Goto, _) => Some("hexadecimal, with or without 0x and `"),
            (_, Context::Allocations) => Some(
                "a size (4096, >0x1000, <=1M), the start of an address, or a word (paged, big, lookaside)",
            ),
            (_, Context::Tags) => {
                Some("a tag (* and ? stand for letters), or words of its use or binary")
            }
            _ => None,
        }
    }

    /// Hands a key to the line.
    pub(super) fn prompt_key(&mut self, event: &KeyEvent) {
        match keys::action(Context::Prompt, event) {
            Some(Action::Accept) => {
                self.message = None;
                if let Some(prompt) = self.prompt.take() {
                    self.accept(&prompt);
                }
            }
            Some(_) => {
                self.message = None;
                if let Some(prompt) = self.prompt.take() {
                    self.undo(&prompt);
                }
            }
            None => {
                let changed = self.prompt.as_mut().is_some_and(|p| p.key(event));
                if let Some(prompt) = self.prompt.clone().filter(|_| changed) {
                    self.preview(&prompt);
                }
            }
        }
    }

    /// What the line does while it is typed: short lists follow at once.
    fn preview(&mut self, prompt: &Prompt) {
        match prompt.kind {
            Kind::Filter => self.set_text_filter(prompt.text()),
            Kind::Search => {
                self.search = prompt.text().to_owned();
                self.set_cursor(prompt.cursor_before);
                if self.screen_context() != Context::Allocations {
                    self.find(true, true);
                }
            }
            Kind::Goto => {}
        }
    }

    fn undo(&mut self, prompt: &Prompt) {
        match prompt.kind {
            Kind::Filter => self.set_text_filter(&prompt.filter_before),
            Kind::Search => {}
            Kind::Goto => return,
        }
        self.set_cursor(prompt.cursor_before);
    }

    fn accept(&mut self, prompt: &Prompt) {
        let text = prompt.text().to_owned();
        match (prompt.kind, self.screen_context()) {
            (Kind::Goto, _) => self.go_to(&text),
            (Kind::Filter, Context::Allocations) => self.filter_blocks(text),
            (Kind::Filter, _) => self.set_text_filter(&text),
            (Kind::Search, Context::Allocations) => {
                self.search = text;
                self.find(true, false);
            }
            (Kind::Search, _) => self.remember(),
        }
    }

    fn set_text_filter(&mut self, text: &str) {
        match self.stack.last_mut() {
            None => {
                self.tags.filter = text.to_owned();
                self.tags.rearrange(&self.model);
            }
            Some(Screen::Modules(view)) => {
                view.filter = text.to_owned();
                view.rearrange(&self.model);
            }
            Some(_) => {}
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
            Some(Screen::Tag(view)) => match view.pane {
                Pane::Allocations => view.cursor = cursor,
                Pane::Mentions => view.mention = cursor,
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

    /// To the next row that matches what was searched last; `here` counts this row too.
    pub(super) fn find(&mut self, forward: bool, here: bool) {
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
            Some(Screen::Tag(view)) => match view.pane {
                Pane::Allocations => return self.find_block(&text, forward),
                Pane::Mentions => find_mention(view, &text, forward, here),
            },
            Some(_) => return,
        };
        match found {
            Some(row) => {
                let mut cursor = match self.stack.last() {
                    Some(Screen::Modules(view)) => view.cursor,
                    Some(Screen::Tag(view)) => view.mention,
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
                "`{}` is no address: type hexadecimal digits",
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
            _ => {}
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

fn find_mention(view: &TagView, text: &str, forward: bool, here: bool) -> Option<u64> {
    let (filter, mentions) = (TextFilter::parse(text)?, view.mentions.as_ref()?);
    let rows = mentions.rows.len() as u64;
    let from = match here && rows > 0 {
        true => (view.mention.row + rows - 1) % rows,
        false => view.mention.row,
    };
    around(rows, from, forward).find(|&at| {
        let row = usize::try_from(at)
            .ok()
            .and_then(|at| mentions.rows.get(at));
        row.is_some_and(|row| filter.mention(row))
    })
}
