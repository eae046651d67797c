//! Terminal input: keys, the mouse, size changes.

use std::io;
use std::thread;
use std::time::Duration;

use crossterm::event::{
    self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseEvent, MouseEventKind,
};

/// An input event.
#[derive(Clone, Debug)]
pub enum Input {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse was used.
    Mouse(MouseEvent),
    /// Text was pasted.
    Paste(String),
    /// The terminal has a new size: columns and rows.
    Resize(u16, u16),
}

/// Starts the input thread; it ends with the process, or when `take` returns false. `take`
/// also receives the error that ends the input.
///
/// # Errors
/// If the system refuses to start a thread.
pub fn listen(take: impl Fn(io::Result<Input>) -> bool + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name("ui-input".into())
        .spawn(move || {
            let mut split = SplitSequence::default();
            loop {
                let events = match next(&split) {
                    Ok(Some(event)) => split.take(event),
                    Ok(None) => split.give_up(),
                    Err(why) => {
                        take(Err(why));
                        return;
                    }
                };
                for input in events.into_iter().filter_map(input) {
                    if !take(Ok(input)) {
                        return;
                    }
                }
            }
        })?;
    Ok(())
}

/// The next event; `None` if an incomplete escape sequence times out.
fn next(split: &SplitSequence) -> io::Result<Option<Event>> {
    if split.is_open() && !event::poll(split.grace())? {
        return Ok(None);
    }
    event::read().map(Some)
}

fn input(event: Event) -> Option<Input> {
    Some(match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => Input::Key(key),
        Event::Paste(text) => Input::Paste(text),
        Event::Resize(columns, rows) => Input::Resize(columns, rows),
        Event::Mouse(mouse) if is_used(mouse.kind) => Input::Mouse(mouse),
        _ => return None,
    })
}

/// How long the rest of an escape sequence may take: serial lines and slow connections can
/// deliver its first byte alone, which looks like the Esc key.
const GRACE: Duration = Duration::from_millis(40);
/// The same once its second byte has come: nobody types `[` this soon after Esc.
const GRACE_INSIDE: Duration = Duration::from_millis(250);
/// Bytes of a sequence at most; what is longer is not a key.
const LONGEST: usize = 12;

/// An Esc that may start a sequence, and the events after it.
#[derive(Debug, Default)]
struct SplitSequence {
    events: Vec<Event>,
}

impl SplitSequence {
    fn is_open(&self) -> bool {
        !self.events.is_empty()
    }

    /// How long to wait for what follows.
    fn grace(&self) -> Duration {
        match self.events.len() {
            0 | 1 => GRACE,
            _ => GRACE_INSIDE,
        }
    }

    /// Takes an event; returns those that are certain now.
    fn take(&mut self, event: Event) -> Vec<Event> {
        let letter = plain_letter(&event);
        match (self.events.len(), letter) {
            (0, _) if is_escape(&event) => {
                self.events.push(event);
                Vec::new()
            }
            (0, _) => vec![event],
            (1, Some('[' | 'O')) => {
                self.events.push(event);
                Vec::new()
            }
            (2.., Some('0'..='9' | ';')) if self.events.len() < LONGEST => {
                self.events.push(event);
                Vec::new()
            }
            (2.., Some(_)) => {
                self.events.push(event);
                match key_of(&self.letters()) {
                    Some(key) => {
                        self.events.clear();
                        vec![Event::Key(key)]
                    }
                    None => self.give_up(),
                }
            }
            // Another Esc may start a new sequence.
            _ if is_escape(&event) => {
                let before = self.give_up();
                self.events.push(event);
                before
            }
            _ => {
                self.events.push(event);
                self.give_up()
            }
        }
    }

    /// It was not a sequence: returns the events as separate keys.
    fn give_up(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn letters(&self) -> String {
        self.events.iter().filter_map(plain_letter).collect()
    }
}

fn is_escape(event: &Event) -> bool {
    matches!(event, Event::Key(key) if key.code == KeyCode::Esc
        && key.modifiers.is_empty() && key.kind != KeyEventKind::Release)
}

/// The letter of a key without Ctrl or Alt.
fn plain_letter(event: &Event) -> Option<char> {
    match event {
        Event::Key(key) if (key.modifiers - KeyModifiers::SHIFT).is_empty() => match key.code {
            KeyCode::Char(c) => Some(c),
            _ => None,
        },
        _ => None,
    }
}

/// The key for a sequence without its Esc: `[B`, `OB`, `[5~`, `[1;5C`.
fn key_of(letters: &str) -> Option<KeyEvent> {
    let (start, rest) = letters.split_at_checked(1)?;
    let end = rest.chars().last()?;
    let numbers = rest.get(..rest.len() - end.len_utf8())?;
    let mut numbers = numbers.split(';').map(str::parse::<u8>);
    let first = numbers.next().and_then(Result::ok);
    let held = numbers.next().and_then(Result::ok).unwrap_or(1);
    let code = match (end, first) {
        ('A', _) => KeyCode::Up,
        ('B', _) => KeyCode::Down,
        ('C', _) => KeyCode::Right,
        ('D', _) => KeyCode::Left,
        ('H', _) | ('~', Some(1 | 7)) => KeyCode::Home,
        ('F', _) | ('~', Some(4 | 8)) => KeyCode::End,
        ('Z', _) => KeyCode::BackTab,
        ('~', Some(2)) => KeyCode::Insert,
        ('~', Some(3)) => KeyCode::Delete,
        ('~', Some(5)) => KeyCode::PageUp,
        ('~', Some(6)) => KeyCode::PageDown,
        ('~', Some(n @ 11..=15)) => KeyCode::F(n - 10),
        ('~', Some(n @ 17..=21)) => KeyCode::F(n - 11),
        ('~', Some(n @ 23..=24)) => KeyCode::F(n - 12),
        ('P', _) if start == "O" => KeyCode::F(1),
        ('Q', _) if start == "O" => KeyCode::F(2),
        ('R', _) if start == "O" => KeyCode::F(3),
        ('S', _) if start == "O" => KeyCode::F(4),
        _ => return None,
    };
    let held = held.saturating_sub(1);
    let mut modifiers = KeyModifiers::NONE;
    modifiers.set(KeyModifiers::SHIFT, held & 1 != 0);
    modifiers.set(KeyModifiers::ALT, held & 2 != 0);
    modifiers.set(KeyModifiers::CONTROL, held & 4 != 0);
    Some(KeyEvent::new(code, modifiers))
}

/// True for clicks and the wheel; releases and moves are ignored.
fn is_used(kind: MouseEventKind) -> bool {
    use MouseEventKind::{Down, ScrollDown, ScrollUp};
    matches!(kind, Down(_) | ScrollDown | ScrollUp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode) -> Event {
        Event::Key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    /// The events of an Esc and the letters after it, each as a separate key.
    fn split(letters: &str) -> Vec<Event> {
        let mut sequence = SplitSequence::default();
        let mut out = sequence.take(key(KeyCode::Esc));
        for c in letters.chars() {
            out.extend(sequence.take(key(KeyCode::Char(c))));
        }
        out.extend(sequence.give_up());
        out
    }

    #[test]
    fn a_sequence_that_arrives_in_pieces_is_one_key() {
        assert_eq!(split("[B"), [key(KeyCode::Down)]);
        assert_eq!(split("OA"), [key(KeyCode::Up)]);
        assert_eq!(split("[5~"), [key(KeyCode::PageUp)]);
        assert_eq!(split("[Bj"), [key(KeyCode::Down), key(KeyCode::Char('j'))]);
        let ctrl_right = KeyEvent::new(KeyCode::Right, KeyModifiers::CONTROL);
        assert_eq!(split("[1;5C"), [Event::Key(ctrl_right)]);
    }

    #[test]
    fn an_escape_key_is_not_a_sequence() {
        assert_eq!(split(""), [key(KeyCode::Esc)]);
        assert_eq!(split("q"), [key(KeyCode::Esc), key(KeyCode::Char('q'))]);
        let bracket = [key(KeyCode::Esc), key(KeyCode::Char('['))];
        assert_eq!(split("["), bracket);
        let mut twice = SplitSequence::default();
        assert!(twice.take(key(KeyCode::Esc)).is_empty());
        assert_eq!(twice.take(key(KeyCode::Esc)), [key(KeyCode::Esc)]);
        assert_eq!(twice.give_up(), [key(KeyCode::Esc)]);
        let endless = split(&format!("[{}", "1".repeat(100)));
        assert_eq!(endless.len(), 102, "no key is lost");
    }
}
