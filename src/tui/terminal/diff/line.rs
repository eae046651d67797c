//! Writing one row: which cells to write, and how to move between them.

use super::look::{self, Look};
use super::screen_cell::ScreenCell;

/// The output, and the terminal's cursor and attributes after it.
#[derive(Clone, Debug)]
pub struct LineWriter {
    /// Bytes to send.
    pub out: Vec<u8>,
    /// Columns and rows.
    pub size: (u16, u16),
    /// The terminal can switch attributes off one by one.
    singly: bool,
    /// The cursor; `None` if terminals may disagree. A column past the last one means that
    /// the last was written, and the terminal wraps before the next symbol.
    at: Option<(u16, u16)>,
    /// Current attributes; `None` if unknown.
    look: Option<Look>,
}

impl LineWriter {
    /// A writer for a screen with unknown cursor and attributes.
    pub fn new(singly: bool) -> LineWriter {
        LineWriter {
            out: Vec::new(),
            size: (0, 0),
            singly,
            at: None,
            look: None,
        }
    }

    /// Records the cursor position and attributes that the terminal was set to.
    pub fn stand(&mut self, at: (u16, u16), look: Look) {
        self.at = Some(at);
        self.look = Some(look);
    }

    /// Forgets the cursor position: the next move is absolute.
    pub fn lose_place(&mut self) {
        self.at = None;
    }

    /// Switches to other attributes.
    pub fn wear(&mut self, look: Look) {
        look::change(&mut self.out, self.look, look, self.singly);
        self.look = Some(look);
    }

    /// Moves the cursor with the shortest sequence that does not depend on unknown state.
    pub fn go(&mut self, x: u16, y: u16) {
        if self.at == Some((x, y)) {
            return;
        }
        let mut best = absolute(x, y);
        if let Some(from) = self.at
            && let Some(way) = relative(from, (x, y), self.size.0)
            && way.len() < best.len()
        {
            best = way;
        }
        self.out.extend_from_slice(&best);
        self.at = Some((x, y));
    }

    /// Updates a row, in the cheaper of two ways: over the old contents, or after erasing them.
    pub fn row(&mut self, y: u16, new: &[ScreenCell], old: &[ScreenCell]) {
        let Some(first) = (0..new.len()).find(|&x| new.get(x) != old.get(x)) else {
            return;
        };
        let empty = self.fork();
        let mut over = empty.clone();
        over.write(y, new, old, first);
        let mut anew = empty;
        anew.go(first as u16, y);
        anew.erase();
        let mut erased = old.to_vec();
        if let Some(rest) = erased.get_mut(first..) {
            rest.fill(ScreenCell::blank());
        }
        anew.write(y, new, &erased, first);
        let best = if anew.out.len() < over.out.len() {
            anew
        } else {
            over
        };
        self.out.extend_from_slice(&best.out);
        (self.at, self.look) = (best.at, best.look);
    }

    fn fork(&self) -> LineWriter {
        LineWriter {
            out: Vec::new(),
            ..self.clone()
        }
    }

    /// Erases to the end of the row. Some terminals erase with the current background
    /// colour, so the attributes are reset first.
    fn erase(&mut self) {
        self.wear(Look::PLAIN);
        self.out.extend_from_slice(b"\x1b[K");
    }

    fn write(&mut self, y: u16, new: &[ScreenCell], old: &[ScreenCell], first: usize) {
        let tail = new.iter().rposition(|s| !s.is_blank()).map_or(0, |x| x + 1);
        let differs = |x: &usize| new.get(*x) != old.get(*x);
        for x in (first..new.len()).filter(differs) {
            if x >= tail && (x..new.len()).filter(differs).count() > ERASING {
                self.go(x as u16, y);
                self.erase();
                return;
            }
            let Some(cell) = new.get(x).filter(|cell| cell.width > 0) else {
                continue;
            };
            self.approach(x, y, new, cell.look());
            self.put(cell, x as u16, y);
        }
    }

    /// Moves right to a cell, or rewrites the text in between if that is shorter. `next` is
    /// the look of the cell; rewriting may change the current attributes on the way, which
    /// counts as cost.
    fn approach(&mut self, x: usize, y: u16, new: &[ScreenCell], next: Look) {
        let mut going = self.fork();
        going.go(x as u16, y);
        let from = match self.at {
            Some((from, row)) if row == y && usize::from(from) < x => usize::from(from),
            // The start of the next row is close too.
            Some((_, row)) if row.checked_add(1) == Some(y) && x <= going.out.len() => 0,
            _ => return self.adopt(going),
        };
        let between = new.get(from..x).unwrap_or_default();
        if between.len() > going.out.len() || !between.iter().all(ScreenCell::is_sure) {
            return self.adopt(going);
        }
        let mut writing = self.fork();
        writing.go(from as u16, y);
        for (i, cell) in between.iter().enumerate() {
            writing.put(cell, (from + i) as u16, y);
        }
        let cost = |hand: &LineWriter| {
            let mut hand = hand.clone();
            hand.wear(next);
            hand.out.len()
        };
        match cost(&writing) <= cost(&going) {
            true => self.adopt(writing),
            false => self.adopt(going),
        }
    }

    fn adopt(&mut self, other: LineWriter) {
        self.out.extend_from_slice(&other.out);
        (self.at, self.look) = (other.at, other.look);
    }

    /// Writes a symbol at the cursor.
    fn put(&mut self, cell: &ScreenCell, x: u16, y: u16) {
        // The text colour of a blank is invisible, so the current colour can stay.
        let seen = self.look.map(Look::on_blank);
        if cell.symbol() != " " || seen != Some(cell.look()) {
            self.wear(cell.look());
        }
        if cell.width > 1 {
            // If the terminal draws the symbol narrower, no old symbol must remain beside it.
            for _ in 0..cell.width {
                self.out.push(b' ');
            }
            self.at = None;
            self.go(x, y);
        }
        self.out.extend_from_slice(cell.symbol().as_bytes());
        self.at = cell.is_sure().then_some((x + 1, y));
    }
}

/// Maximum number of blanks that are written instead of erased.
const ERASING: usize = 3;

/// An absolute move (CUP).
fn absolute(x: u16, y: u16) -> Vec<u8> {
    match (x, y) {
        (0, 0) => b"\x1b[H".to_vec(),
        (0, _) => format!("\x1b[{}H", y + 1).into_bytes(),
        (_, 0) => format!("\x1b[;{}H", x + 1).into_bytes(),
        _ => format!("\x1b[{};{}H", y + 1, x + 1).into_bytes(),
    }
}

/// The shortest relative move: down by line feeds or by one sequence, then sideways from
/// the cursor or from the margin.
fn relative((x, y): (u16, u16), to: (u16, u16), width: u16) -> Option<Vec<u8>> {
    let down = usize::from(to.1.checked_sub(y)?);
    // Some systems keep the column at a line feed and others do not, so line feeds are used
    // only from the margin.
    let mut margin = vec![b'\r'];
    if down <= 4 {
        margin.extend(vec![b'\n'; down]);
    } else {
        margin.extend(steps(down, b'B'));
    }
    margin.extend(sideways(0, to.0));
    if x >= width {
        return Some(margin);
    }
    let mut direct = steps(down, b'B');
    direct.extend(sideways(x, to.0));
    Some(if direct.len() < margin.len() {
        direct
    } else {
        margin
    })
}

fn sideways(from: u16, to: u16) -> Vec<u8> {
    if from <= to {
        return steps(usize::from(to - from), b'C');
    }
    let back = usize::from(from - to);
    match back {
        0..=3 => vec![8; back],
        _ => steps(back, b'D'),
    }
}

/// A cursor move by a number of cells.
fn steps(count: usize, letter: u8) -> Vec<u8> {
    match count {
        0 => Vec::new(),
        1 => vec![0x1b, b'[', letter],
        _ => format!("\x1b[{count}{}", char::from(letter)).into_bytes(),
    }
}
