//! The line at the bottom of the screen: a search, a filter, an address, a command.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_input::{Input, InputRequest};

use crate::tui::widgets::list::Cursor;

/// The kind of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A search, after `/`.
    Search,
    /// A filter, after `&`.
    Filter,
    /// An address.
    Goto,
    /// A command, after `:`.
    Command,
    /// A note for a row.
    Note,
    /// A file name.
    Save,
}

impl Kind {
    /// The label before the text.
    pub fn sign(self) -> &'static str {
        match self {
            Kind::Search => "/",
            Kind::Filter => "& ",
            Kind::Goto => "go to address: ",
            Kind::Command => ":",
            Kind::Note => "note: ",
            Kind::Save => "save as: ",
        }
    }
}

/// The open line, and the state to restore on cancel.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The kind of input.
    pub kind: Kind,
    /// The text.
    pub input: Input,
    /// The filter before the line was opened.
    pub filter_before: String,
    /// The cursor before the line was opened.
    pub cursor_before: Cursor,
    /// The completions of the line, and the index of the one shown.
    pub offers: Option<(Vec<String>, usize)>,
    /// The position in the history, and the text before history was recalled.
    pub recalled: Option<(usize, String)>,
}

/// Lines typed before, by kind, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    lines: Vec<(Kind, String)>,
}

/// Maximum number of lines in the history.
const REMEMBERED: usize = 200;
/// Maximum length of a line in the history, in characters.
const LONGEST: usize = 1000;

impl History {
    /// Adds a line to the history.
    pub fn add(&mut self, kind: Kind, line: &str) {
        let line = line.trim();
        if line.is_empty() || line.chars().count() > LONGEST {
            return;
        }
        let line = (kind, line.to_owned());
        self.lines.retain(|l| *l != line);
        self.lines.push(line);
        let over = self.lines.len().saturating_sub(REMEMBERED);
        self.lines.drain(..over);
    }

    /// The lines of a kind, the latest first.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let lines = self.lines.iter().rev();
        lines.filter(move |l| l.0 == kind).map(|l| l.1.as_str())
    }

    /// The lines of a kind for the session file, the latest last.
    pub fn kept(&self, kind: Kind) -> Vec<String> {
        let mut out: Vec<String> = self.of(kind).map(ToOwned::to_owned).collect();
        out.reverse();
        out
    }
}

impl Prompt {
    /// Handles a key. Returns true if the text changed.
    pub fn key(&mut self, event: &KeyEvent) -> bool {
        let ctrl = event.modifiers.contains(KeyModifiers::CONTROL);
        let alt = event.modifiers.contains(KeyModifiers::ALT);
        let request = match (event.code, ctrl) {
            (KeyCode::Char('a'), true) | (KeyCode::Home, _) => InputRequest::GoToStart,
            (KeyCode::Char('e'), true) | (KeyCode::End, _) => InputRequest::GoToEnd,
            (KeyCode::Char('u'), true) => InputRequest::DeleteLine,
            (KeyCode::Char('w'), true) => InputRequest::DeletePrevWord,
            (KeyCode::Char('k'), true) => InputRequest::DeleteTillEnd,
            (KeyCode::Char(c), false) if !alt => InputRequest::InsertChar(c),
            (KeyCode::Backspace, _) => InputRequest::DeletePrevChar,
            (KeyCode::Delete, _) => InputRequest::DeleteNextChar,
            (KeyCode::Left, _) => InputRequest::GoToPrevChar,
            (KeyCode::Right, _) => InputRequest::GoToNextChar,
            _ => return false,
        };
        self.offers = None;
        self.recalled = None;
        self.input
            .handle(request)
            .is_some_and(|change| change.value)
    }

    /// Inserts text at the cursor.
    pub fn insert(&mut self, text: &str) {
        self.offers = None;
        self.recalled = None;
        for c in text.chars() {
            self.input.handle(InputRequest::InsertChar(c));
        }
    }

    /// Replaces the text of the line.
    pub fn replace(&mut self, text: &str) {
        self.input = Input::new(text.to_owned());
    }

    /// Shows the next completion.
    pub fn offer(&mut self, make: impl FnOnce(&str) -> Vec<String>) {
        let (offers, at) = match self.offers.take() {
            Some((offers, at)) => {
                let next = (at + 1) % offers.len().max(1);
                (offers, next)
            }
            None => (make(self.input.value()), 0),
        };
        if let Some(text) = offers.get(at).cloned() {
            self.replace(&text);
            // A single completion is accepted at once, so the next completion is for the
            // next word.
            self.offers = (offers.len() > 1).then_some((offers, at));
        }
    }

    /// Recalls an older line (`step` 1) or a newer one (-1).
    pub fn recall(&mut self, history: &History, step: isize) {
        let (at, typed) = match self.recalled.take() {
            Some((at, typed)) => (Some(at), typed),
            None => (None, self.input.value().to_owned()),
        };
        let next = match at {
            None if step > 0 => Some(0),
            None => None,
            Some(at) => at.checked_add_signed(step),
        };
        let Some(next) = next else {
            self.replace(&typed.clone());
            return;
        };
        match history.of(self.kind).nth(next) {
            Some(line) => {
                self.replace(line);
                self.recalled = Some((next, typed));
            }
            None => self.recalled = at.map(|at| (at, typed)),
        }
    }

    /// The text typed.
    pub fn text(&self) -> &str {
        self.input.value()
    }
}
