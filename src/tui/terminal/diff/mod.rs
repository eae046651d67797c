//! Drawing in few bytes, for screens at the far end of a slow line.
//!
//! [`DiffBackend`] knows what is on the screen. It takes whole frames and writes what differs,
//! and of the ways to get from one difference to the next it takes the shortest: a
//! relative move, an absolute one, or writing the few cells between once more (module `line`).
//! Lists that moved by some lines are scrolled (module `scroll`), and of an attribute only the
//! change is sent (module `look`). All of it is what a VT100 can do; what one can't (colours,
//! switching one attribute off) is left out on request.
//!
//! It takes frames and not the differences that `ratatui::Terminal` finds, because those
//! leave out the cells that a wide symbol covered.

mod line;
mod look;
mod screen_cell;
mod scroll;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use ratatui::buffer::Buffer;

use line::LineWriter;
use look::Look;
use screen_cell::ScreenCell;

/// What a terminal is known to understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// More than a VT100: colours, and each attribute has its own end.
    pub colours: bool,
    /// It is asked to show a large frame at once (DEC private mode 2026), which terminals
    /// that don't know the mode ignore.
    pub synchronized: bool,
    /// Kitty's keyboard protocol, which is not asked for elsewhere: others may take its
    /// sequences for something else.
    pub kitty: bool,
}

impl Capabilities {
    /// By the name of the terminal.
    pub fn of(term: &str) -> Capabilities {
        let plain = is_plain(term);
        Capabilities {
            colours: !plain,
            synchronized: !plain && term != "linux",
            kitty: KITTY.iter().any(|name| term.starts_with(name)),
        }
    }
}

/// Terminals that have kitty's keyboard protocol, by how their names begin.
const KITTY: [&str; 4] = ["xterm-kitty", "xterm-ghostty", "foot", "alacritty"];

/// Terminals that are known to do no more than a VT100.
pub fn is_plain(term: &str) -> bool {
    matches!(
        term,
        "dumb" | "ansi" | "vt52" | "vt100" | "vt102" | "vt125" | "vt131" | "vt220" | "vt320"
    )
}

/// A frame of fewer bytes arrives in one piece anyway.
const ONE_PIECE: usize = 1024;

/// What is on a screen, and how to change it in few bytes.
#[derive(Debug)]
pub struct DiffBackend<W: Write> {
    writer: W,
    skills: Capabilities,
    /// What is on the screen, row by row; nothing when that is not known.
    shadow: Vec<ScreenCell>,
    hand: LineWriter,
}

impl<W: Write> DiffBackend<W> {
    /// For a screen of which nothing is known.
    pub fn new(writer: W, skills: Capabilities) -> DiffBackend<W> {
        DiffBackend {
            writer,
            skills,
            shadow: Vec::new(),
            hand: LineWriter::new(skills.colours),
        }
    }

    /// Someone else may have written on the screen: the next frame is drawn whole.
    pub fn forget(&mut self) {
        self.shadow.clear();
    }

    /// Makes the screen, which is as large as the frame, look like it. A frame that looks
    /// like the one before sends nothing.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn show(&mut self, frame: &Buffer) -> io::Result<()> {
        let size = (frame.area.width, frame.area.height);
        let width = usize::from(size.0);
        if width == 0 {
            return Ok(());
        }
        let next = screen_cell::rows(&frame.content, width, self.skills.colours);
        if self.hand.size != size || self.shadow.len() != next.len() {
            self.clear(size, next.len());
        } else if let Some(moved) = scroll::find(&self.shadow, &next, width) {
            moved.write(&mut self.hand);
            moved.apply(&mut self.shadow, width);
        }
        let rows = next.chunks(width).zip(self.shadow.chunks(width));
        for (y, (new, old)) in rows.enumerate() {
            self.hand.row(y as u16, new, old);
        }
        self.shadow = next;
        self.send()
    }

    fn clear(&mut self, size: (u16, u16), cells: usize) {
        self.shadow = vec![ScreenCell::blank(); cells];
        self.hand.size = size;
        self.hand.out.extend_from_slice(b"\x1b[m\x1b[H\x1b[2J");
        self.hand.stand((0, 0), Look::PLAIN);
    }

    /// Hands a frame over, marked as one where that helps.
    fn send(&mut self) -> io::Result<()> {
        let frame = std::mem::take(&mut self.hand.out);
        if frame.is_empty() {
            return Ok(());
        }
        let marked = self.skills.synchronized && frame.len() > ONE_PIECE;
        if marked {
            self.writer.write_all(b"\x1b[?2026h")?;
        }
        self.writer.write_all(&frame)?;
        if marked {
            self.writer.write_all(b"\x1b[?2026l")?;
        }
        self.writer.flush()
    }
}
