//! Plain text on the whole screen, for copying with the terminal's own selection: no
//! borders and no other columns.

use ratatui::buffer::Buffer;
use ratatui::style::Style;

use crate::report::text::clean;

use crate::tui::widgets::draw::{put, width};

/// The text, and the part that is on screen.
#[derive(Clone, Debug)]
pub struct CopyView {
    text: String,
    top: usize,
}

impl CopyView {
    /// Starts at the beginning of a text.
    pub fn new(text: String) -> CopyView {
        CopyView { text, top: 0 }
    }

    /// The text in lines that fit; longer lines continue on the next one.
    fn lines(&self, cells: usize) -> Vec<String> {
        let mut out = Vec::new();
        for line in self.text.lines() {
            let mut piece = String::new();
            for c in clean(line).chars() {
                piece.push(c);
                if width(&piece) > cells.max(2) {
                    piece.pop();
                    out.push(std::mem::replace(&mut piece, c.to_string()));
                }
            }
            out.push(piece);
        }
        out
    }

    /// Draws the view; if the text does not fit, the last line says so.
    pub fn draw(&self, buffer: &mut Buffer) {
        let area = buffer.area;
        let lines = self.lines(area.width.into());
        for (y, line) in (0..self.room(area.height, &lines)).zip(lines.iter().skip(self.top)) {
            put(buffer, area, 0, y, line, Style::new());
        }
        let end = self.top + usize::from(self.room(area.height, &lines));
        if end < lines.len() && area.height > 0 {
            let more = format!("-- {} more lines: any key; Esc exit --", lines.len() - end);
            put(buffer, area, 0, area.height - 1, &more, Style::new());
        }
    }

    /// Number of text lines on screen: all, or one less if the text does not fit.
    fn room(&self, height: u16, lines: &[String]) -> u16 {
        match lines.len().saturating_sub(self.top) > usize::from(height) {
            true => height.saturating_sub(1),
            false => height,
        }
    }

    /// Advances to the next page; false at the end.
    pub fn go_on(&mut self, (columns, rows): (u16, u16)) -> bool {
        let lines = self.lines(columns.into());
        let next = self.top + usize::from(self.room(rows, &lines)).max(1);
        let more = next < lines.len();
        if more {
            self.top = next;
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;

    fn drawn(plain: &CopyView) -> Vec<String> {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 40, 3));
        plain.draw(&mut buffer);
        let row = |y| (0..40).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..3).map(|y| row(y).trim_end().to_owned()).collect()
    }

    #[test]
    fn all_text_can_be_seen_and_nothing_else() {
        let mut plain = CopyView::new("one\ntwo\nthree\nfour\nfive".into());
        let more = |n: usize| format!("-- {n} more lines: any key; Esc exit --");
        assert_eq!(drawn(&plain), ["one".to_owned(), "two".to_owned(), more(3)]);
        assert!(plain.go_on((40, 3)));
        assert_eq!(drawn(&plain), ["three", "four", "five"]);
        assert!(!plain.go_on((40, 3)));
        let plain = CopyView::new(format!("{}世b\x1b[2J", "a".repeat(39)));
        assert_eq!(drawn(&plain)[0], "a".repeat(39));
        assert!(drawn(&plain)[1].starts_with('世'));
        for size in [(0, 0), (1, 1), (2, 0)] {
            let mut plain = CopyView::new("one\n世\n".into());
            plain.draw(&mut Buffer::empty(Rect::new(0, 0, size.0, size.1)));
            while plain.go_on(size) {}
        }
    }
}
