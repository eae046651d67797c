//! One cell of the screen, normalised so that cells that look equal are equal.

use ratatui::buffer::Cell;
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

use super::look::Look;

/// A cell of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScreenCell {
    /// The symbol; a wide symbol is stored only in the first of its cells.
    cell: Cell,
    /// Width in cells; 0 for a cell covered by a wide symbol to its left.
    pub width: u16,
}

impl ScreenCell {
    /// A blank in default colours.
    pub fn blank() -> ScreenCell {
        ScreenCell {
            cell: Cell::EMPTY,
            width: 1,
        }
    }

    /// True for a blank in default colours, which is what erasing leaves.
    pub fn is_blank(&self) -> bool {
        self.width == 1 && self.cell == Cell::EMPTY
    }

    /// The symbol to write.
    pub fn symbol(&self) -> &str {
        self.cell.symbol()
    }

    /// Its colours and attributes.
    pub fn look(&self) -> Look {
        Look {
            fg: self.cell.fg,
            bg: self.cell.bg,
            modifier: self.cell.modifier,
        }
    }

    /// True if every terminal advances its cursor by one cell for it. Terminals disagree on
    /// wide and composed symbols.
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

/// The attributes of a VT100 with the advanced video option.
const VT100: Modifier = Modifier::BOLD
    .union(Modifier::UNDERLINED)
    .union(Modifier::SLOW_BLINK)
    .union(Modifier::REVERSED);

/// The cells of a frame, row by row.
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
