//! Everything that the main loop waits for, in one channel: keys, sizes, signals, answers.

use std::sync::mpsc::Sender;
use std::thread;

use crossterm::event::{self, KeyEventKind, MouseEventKind};

use crate::tui::data::message::Message;
use crate::tui::jobs::symbols::Reopened;

/// Something that wakes the main loop.
#[derive(Debug)]
pub enum Event {
    /// For the state machine.
    Message(Message),
    /// The dump was read anew: another engine answers from now on.
    Reopened(Box<Reopened>),
    /// A signal that ends, suspends or resumes.
    Signal(i32),
    /// The terminal gives no more keys.
    InputLost(std::io::Error),
}

/// Starts the thread that waits for keys. It ends with the process.
///
/// # Errors
/// When the system refuses to start it.
pub fn listen(out: Sender<Event>) -> std::io::Result<()> {
    thread::Builder::new()
        .name("ui-input".into())
        .spawn(move || {
            loop {
                let message = match event::read() {
                    Ok(event::Event::Key(key)) if key.kind != KeyEventKind::Release => {
                        Message::Key(key)
                    }
                    Ok(event::Event::Resize(columns, rows)) => Message::Resize(columns, rows),
                    Ok(event::Event::Mouse(mouse)) if is_used(mouse.kind) => Message::Mouse(mouse),
                    Ok(_) => continue,
                    Err(why) => {
                        let _ = out.send(Event::InputLost(why));
                        return;
                    }
                };
                if out.send(Event::Message(message)).is_err() {
                    return;
                }
            }
        })?;
    Ok(())
}

/// Releases and moves mean nothing here, and wake nobody.
fn is_used(kind: MouseEventKind) -> bool {
    use MouseEventKind::{Down, ScrollDown, ScrollUp};
    matches!(kind, Down(_) | ScrollDown | ScrollUp)
}
