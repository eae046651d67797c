//! Drawing with few bytes, for slow connections.
//!
//! [`DiffBackend`] knows what is on the screen. It takes complete frames and writes only
//! the differences. Between two differences it takes the shortest way: a relative move, an
//! absolute move, or writing the few cells in between again (module `line`). Lists that
//! moved by a few lines are scrolled (module `scroll`). Of the attributes, only changes are
//! sent (module `look`). A VT100 can do all of this; features that it lacks (colours,
//! switching off a single attribute) can be disabled.
//!
//! The input is complete frames instead of the differences from `ratatui::Terminal`,
//! because those omit the cells that a wide symbol covered.

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

/// Capabilities of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// More than a VT100: colours, and a separate off code for each attribute.
    pub colours: bool,
    /// Large frames are marked so that the terminal shows them at once, by DEC private mode
    /// 2026. Terminals that do not know the mode ignore it.
    pub synchronized: bool,
    /// Kitty's keyboard protocol. It is requested only from terminals known to have it,
    /// because others may misinterpret the sequence.
    pub kitty: bool,
}

impl Capabilities {
    /// The capabilities of a terminal, by its name.
    pub fn of(term: &str) -> Capabilities {
        let plain = is_plain(term);
        Capabilities {
            colours: !plain,
            synchronized: !plain && term != "linux",
            kitty: KITTY.iter().any(|name| term.starts_with(name)),
        }
    }
}

/// Prefixes of terminal names with kitty's keyboard protocol.
const KITTY: [&str; 4] = ["xterm-kitty", "xterm-ghostty", "foot", "alacritty"];

/// True for terminals that are known to be no more than a VT100.
pub fn is_plain(term: &str) -> bool {
    matches!(
        term,
        "dumb" | "ansi" | "vt52" | "vt100" | "vt102" | "vt125" | "vt131" | "vt220" | "vt320"
    )
}

/// A frame with fewer bytes arrives in one piece anyway.
const ONE_PIECE: usize = 1024;

/// The contents of a screen, and how to change them with few bytes.
#[derive(Debug)]
pub struct DiffBackend<W: Write> {
    writer: W,
    skills: Capabilities,
    /// The cells on the screen, row by row; empty if unknown.
    shadow: Vec<ScreenCell>,
    hand: LineWriter,
}

impl<W: Write> DiffBackend<W> {
    /// A backend for a screen with unknown contents.
    pub fn new(writer: W, skills: Capabilities) -> DiffBackend<W> {
        DiffBackend {
            writer,
            skills,
            shadow: Vec::new(),
            hand: LineWriter::new(skills.colours),
        }
    }

    /// Forgets the contents, because another program may have written on the screen: the
    /// next frame is drawn completely.
    pub fn forget(&mut self) {
        self.shadow.clear();
    }

    /// Makes the screen equal to a frame of the same size. An unchanged frame sends nothing.
    ///
    /// # Errors
    /// If the terminal is gone.
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

    /// Sends the frame, with synchronization marks if it is large.
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
