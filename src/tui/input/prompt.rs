//! A line typed at the foot of the screen: a search, a filter, an address.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_input::{Input, InputRequest};

use crate::tui::widgets::list::Cursor;

/// What is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// After `/`.
    Search,
    /// After `&`.
    Filter,
    /// An address.
    Goto,
    /// After `:`.
    Command,
    /// What to say of a row.
    Note,
    /// A file's name.
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

/// The line, and how to undo what it did while it was typed.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// What is typed.
    pub kind: Kind,
    /// The text.
    pub input: Input,
    /// What the filter was before.
    pub filter_before: String,
    /// Where one was before.
    pub cursor_before: Cursor,
    /// What the word can become, which of it the line shows, and the line before.
    pub offers: Option<(Vec<String>, usize)>,
    /// How far back in what was typed before the line shows, and what was typed until then.
    pub recalled: Option<(usize, String)>,
}

/// Lines that were typed, by kind, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    lines: Vec<(Kind, String)>,
}

/// Lines that are remembered.
const REMEMBERED: usize = 200;
/// Letters of one that are remembered.
const LONGEST: usize = 1000;

impl History {
    /// Remembers a line.
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

    /// The lines of a kind, the latest last, to be kept.
    pub fn kept(&self, kind: Kind) -> Vec<String> {
        let mut out: Vec<String> = self.of(kind).map(ToOwned::to_owned).collect();
        out.reverse();
        out
    }
}

impl Prompt {
    /// Hands a key to the line. True when the text changed.
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

    /// Types a text at the cursor.
    pub fn insert(&mut self, text: &str) {
        self.offers = None;
        self.recalled = None;
        for c in text.chars() {
            self.input.handle(InputRequest::InsertChar(c));
        }
    }

    /// Puts another text on the line.
    pub fn replace(&mut self, text: &str) {
        self.input = Input::new(text.to_owned());
    }

    /// Shows the next of what the word can become.
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
            // A single one is taken: what follows is another word.
            self.offers = (offers.len() > 1).then_some((offers, at));
        }
    }

    /// Shows what was typed before (`step` 1) or after that (-1).
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
