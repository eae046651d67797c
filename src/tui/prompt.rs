//! A line typed at the foot of the screen: a search, a filter, an address.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_input::{Input, InputRequest};

use super::list::Cursor;

/// What is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// After `/`.
    Search,
    /// After `&`.
    Filter,
    /// An address.
    Goto,
}

impl Kind {
    /// What stands before the text.
    pub fn sign(self) -> &'static str {
        match self {
            Kind::Search => "/",
            Kind::Filter => "& ",
            Kind::Goto => "go to address: ",
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
        self.input
            .handle(request)
            .is_some_and(|change| change.value)
    }

    /// The text typed.
    pub fn text(&self) -> &str {
        self.input.value()
    }
}
