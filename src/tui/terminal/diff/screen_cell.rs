//! One cell of the screen, in a form in which cells that look equal are equal.

use ratatui::buffer::Cell;
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

use super::look::Look;

/// One place of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScreenCell {
    /// The symbol; of the places that a wide one covers, only the first has it.
    cell: Cell,
    /// Places that it takes; 0 for one that a wide symbol to its left covers.
    pub width: u16,
}

impl ScreenCell {
    /// A blank in the terminal's own colours.
    pub fn blank() -> ScreenCell {
        ScreenCell {
            cell: Cell::EMPTY,
            width: 1,
        }
    }

    /// True for a blank in the terminal's own colours: what erasing leaves.
    pub fn is_blank(&self) -> bool {
        self.width == 1 && self.cell == Cell::EMPTY
    }

    /// What to write.
    pub fn symbol(&self) -> &str {
        self.cell.symbol()
    }

    /// How it looks.
    pub fn look(&self) -> Look {
        Look {
            fg: self.cell.fg,
            bg: self.cell.bg,
            modifier: self.cell.modifier,
        }
    }

    /// True when every terminal moves its cursor by one place for it. Terminals disagree
    /// on wide and composed symbols.
    pub fn is_sure(&self) -> bool {
        self.width == 1 && self.symbol().chars().count() == 1
    }

    fn of(cell: &Cell, colours: bool, room: usize) -> ScreenCell {
        let text = cell.symbol();
        let width = text.width();
        let fits = width > 0 && width <= room && !text.chars().any(char::is_control);
        let mut look = Cell::EMPTY;
        (look.fg, look.bg, look.modifier) = (cell.fg, cell.bg, cell.modifier);
        if !colours {
            (look.fg, look.bg) = (Color::Reset, Color::Reset);
            look.modifier &= VT100;
        }
        if fits && text != " " {
            look.set_symbol(text);
            return ScreenCell {
                cell: look,
                width: width as u16,
            };
        }
        let cell = ScreenCell {
            cell: look,
            width: 1,
        };
        let seen = cell.look().on_blank();
        let mut cell = Cell::EMPTY;
        (cell.fg, cell.bg, cell.modifier) = (seen.fg, seen.bg, seen.modifier);
        ScreenCell { cell, width: 1 }
    }
}

/// The attributes that a VT100 with the advanced video option has.
const VT100: Modifier = Modifier::BOLD
    .union(Modifier::UNDERLINED)
    .union(Modifier::SLOW_BLINK)
    .union(Modifier::REVERSED);

/// The cells of a screen as places, row by row.
pub fn rows(cells: &[Cell], width: usize, colours: bool) -> Vec<ScreenCell> {
    let mut out = Vec::with_capacity(cells.len());
    for row in cells.chunks(width) {
        let mut covered = 0;
        for (x, cell) in row.iter().enumerate() {
            if covered > 0 {
                covered -= 1;
                out.push(ScreenCell {
                    cell: Cell::EMPTY,
                    width: 0,
                });
                continue;
            }
            let cell = ScreenCell::of(cell, colours, row.len() - x);
            covered = cell.width.saturating_sub(1);
            out.push(cell);
        }
    }
    out
}
