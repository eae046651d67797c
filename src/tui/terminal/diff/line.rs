//! Writing one row: which cells, and how to get from one to the next.

use super::look::{self, Look};
use super::screen_cell::ScreenCell;

/// Where the terminal's cursor is, and what is written on the way.
#[derive(Clone, Debug)]
pub struct LineWriter {
    /// What is to be sent.
    pub out: Vec<u8>,
    /// Columns and rows.
    pub size: (u16, u16),
    /// Attributes can be switched off one by one.
    singly: bool,
    /// `None` when terminals may disagree. A column past the last one: the last was
    /// written, and the terminal will wrap before the next symbol.
    at: Option<(u16, u16)>,
    /// `None` when unknown.
    look: Option<Look>,
}

impl LineWriter {
    /// Somewhere on a screen that is not known.
    pub fn new(singly: bool) -> LineWriter {
        LineWriter {
            out: Vec::new(),
            size: (0, 0),
            singly,
            at: None,
            look: None,
        }
    }

    /// The cursor position and look that the terminal was set to.
    pub fn stand(&mut self, at: (u16, u16), look: Look) {
        self.at = Some(at);
        self.look = Some(look);
    }

    /// The next move depends on nothing.
    pub fn lose_place(&mut self) {
        self.at = None;
    }

    /// Writes so from now on.
    pub fn wear(&mut self, look: Look) {
        look::change(&mut self.out, self.look, look, self.singly);
        self.look = Some(look);
    }

    /// Goes to a place, by the shortest sequence that depends on nothing unknown.
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

    /// Makes a row look as wanted, the cheaper of two ways: over what is there, or over
    /// nothing after erasing it.
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

    /// Erases to the end of the row. What erasing leaves has the colour that is being
    /// written with on some terminals, so that is put down first.
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

    /// Goes right to a cell, or rewrites the text between if that is shorter. `next` is the look of
    /// the cell, which what is between may change on the way.
    fn approach(&mut self, x: usize, y: u16, new: &[ScreenCell], next: Look) {
        let mut going = self.fork();
        going.go(x as u16, y);
        let from = match self.at {
            Some((from, row)) if row == y && usize::from(from) < x => usize::from(from),
            // The start of the next row is near too.
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

    /// Writes a symbol where the cursor is.
    fn put(&mut self, cell: &ScreenCell, x: u16, y: u16) {
        // A blank has no colour of its own, so the one that is being written with stays.
        let seen = self.look.map(Look::on_blank);
        if cell.symbol() != " " || seen != Some(cell.look()) {
            self.wear(cell.look());
        }
        if cell.width > 1 {
            // A terminal that takes it for narrower leaves no old symbol beside it.
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

/// Blanks that are written rather than erased.
const ERASING: usize = 3;

/// CUP.
fn absolute(x: u16, y: u16) -> Vec<u8> {
    match (x, y) {
        (0, 0) => b"\x1b[H".to_vec(),
        (0, _) => format!("\x1b[{}H", y + 1).into_bytes(),
        (_, 0) => format!("\x1b[;{}H", x + 1).into_bytes(),
        _ => format!("\x1b[{};{}H", y + 1, x + 1).into_bytes(),
    }
}

/// The shortest of the relative ways: down by line feeds or at once, then sideways, from
/// where the cursor is or from the margin.
fn relative((x, y): (u16, u16), to: (u16, u16), width: u16) -> Option<Vec<u8>> {
    let down = usize::from(to.1.checked_sub(y)?);
    // Line feeds keep the column on some systems and not on others, so they are used only
    // from the margin.
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

/// A cursor move by a number of places.
fn steps(count: usize, letter: u8) -> Vec<u8> {
    match count {
        0 => Vec::new(),
        1 => vec![0x1b, b'[', letter],
        _ => format!("\x1b[{count}{}", char::from(letter)).into_bytes(),
    }
}
