//! What the terminal sends: keys, the mouse, its size.

use std::io;
use std::thread;

use crossterm::event::{self, Event, KeyEvent, KeyEventKind, MouseEvent, MouseEventKind};

/// Something that the terminal sent.
#[derive(Clone, Debug)]
pub enum Input {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse was used.
    Mouse(MouseEvent),
    /// The screen has this many columns and rows now.
    Resize(u16, u16),
}

/// Starts the thread that waits for input; it ends with the process, or when `take` returns
/// false. `take` is also given the error that ends the input.
///
/// # Errors
/// When the system refuses to start it.
pub fn listen(take: impl Fn(io::Result<Input>) -> bool + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name("ui-input".into())
        .spawn(move || {
            loop {
                let input = match event::read() {
                    Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Ok(Input::Key(key)),
                    Ok(Event::Resize(columns, rows)) => Ok(Input::Resize(columns, rows)),
                    Ok(Event::Mouse(mouse)) if is_used(mouse.kind) => Ok(Input::Mouse(mouse)),
                    Ok(_) => continue,
                    Err(why) => Err(why),
                };
                let lost = input.is_err();
                if !take(input) || lost {
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
