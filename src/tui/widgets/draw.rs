//! Drawing text that never leaves its area.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr;

use crate::report::text::grouped;

use crate::tui::terminal::theme::Theme;

/// The width of a text in cells.
pub fn width(text: &str) -> usize {
    text.width()
}

/// A sentence with large numbers grouped: `1672080 bytes` becomes `1,672,080 bytes`. Not
/// for sentences with build numbers.
pub fn group_numbers(text: &str) -> String {
    let word = |word: &str| {
        let digits = word.trim_end_matches([',', ';', ':', '.']);
        match digits.parse::<u64>() {
            Ok(number) if number.to_string() == digits => {
                let tail = word.get(digits.len()..).unwrap_or_default();
                grouped(number) + tail
            }
            _ => word.to_owned(),
        }
    };
    let words: Vec<String> = text.split(' ').map(word).collect();
    words.join(" ")
}

/// The text cut to a width, with a mark if it was cut.
pub fn cut(text: &str, cells: usize, theme: &Theme) -> String {
    if text.width() <= cells {
        return text.to_owned();
    }
    // The width of a text can differ from the sum of its characters' widths, so the whole
    // text is measured.
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        if out.width() >= cells {
            out.pop();
            break;
        }
    }
    if cells > 0 {
        out += theme.glyph("…", "~");
    }
    out
}

/// The text cut or padded to a width.
pub fn fill(text: &str, cells: usize, right: bool, theme: &Theme) -> String {
    let text = cut(text, cells, theme);
    let blanks = " ".repeat(cells.saturating_sub(text.width()));
    if right {
        blanks + &text
    } else {
        text + &blanks
    }
}

/// Text wrapped at spaces.
pub fn wrap(text: &str, cells: usize) -> Vec<String> {
    let cells = cells.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word = word.to_owned();
        if !line.is_empty() && line.width() + 1 + word.width() > cells {
            lines.push(std::mem::take(&mut line));
        }
        while word.width() > cells {
            let head: String = take(&word, cells);
            if head.is_empty() {
                break;
            }
            word = word.get(head.len()..).unwrap_or_default().to_owned();
            lines.push(head);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += &word;
    }
    lines.push(line);
    lines
}

fn take(text: &str, cells: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        if out.width() > cells {
            out.pop();
            break;
        }
    }
    out
}

/// Writes text at a position in an area; cuts what does not fit. Returns the width written.
pub fn put(buffer: &mut Buffer, area: Rect, x: u16, y: u16, text: &str, style: Style) -> u16 {
    let area = area.intersection(buffer.area);
    let (Some(left), Some(top)) = (area.x.checked_add(x), area.y.checked_add(y)) else {
        return 0;
    };
    if x >= area.width || y >= area.height {
        return 0;
    }
    let room = usize::from(area.width - x);
    let (end, _) = buffer.set_stringn(left, top, text, room, style);
    end.saturating_sub(left)
}

/// The last line that there is room for of a text that goes on.
pub fn unfinished(line: &str, cells: usize, theme: &Theme) -> String {
    match line.width() + 2 <= cells {
        true => format!("{line} {}", theme.glyph("…", "~")),
        false => cut(&format!("{line}  "), cells, theme),
    }
}

/// Writes as many lines as an area has, one blank in; where there are more, the last one
/// ends in dots.
pub fn put_lines(
    buffer: &mut Buffer,
    area: Rect,
    theme: &Theme,
    lines: impl ExactSizeIterator<Item = (impl AsRef<str>, Style)>,
) {
    let (room, count) = (usize::from(area.height), lines.len());
    let cells = usize::from(area.width.saturating_sub(2));
    for (y, (line, style)) in lines.take(room).enumerate() {
        let line = line.as_ref();
        let line = match y + 1 == room && count > room {
            true => unfinished(line, cells, theme),
            false => line.to_owned(),
        };
        put(buffer, area, 1, y as u16, &line, style);
    }
}

/// Text with blanks up to the next stop of eight cells in the place of each tab, which a
/// screen has no cell for.
pub fn without_tabs(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for (at, part) in line.split('\t').enumerate() {
        if at > 0 {
            out += &" ".repeat(8 - out.width() % 8);
        }
        out += part;
    }
    out
}

/// Writes several pieces one after the other on a line.
pub fn pieces(buffer: &mut Buffer, area: Rect, y: u16, parts: &[(&str, Style)]) -> u16 {
    let mut x = 0;
    for (text, style) in parts {
        x += put(buffer, area, x, y, text, *style);
    }
    x
}

/// Sets the style of a whole line of an area.
pub fn style_line(buffer: &mut Buffer, area: Rect, y: u16, style: Style) {
    if y < area.height {
        let line = Rect::new(area.x, area.y + y, area.width, 1);
        buffer.set_style(line.intersection(buffer.area), style);
    }
}

/// Splits rows off the top of an area.
pub fn split_top(area: Rect, rows: u16) -> (Rect, Rect) {
    let rows = rows.min(area.height);
    let top = Rect {
        height: rows,
        ..area
    };
    let rest = Rect {
        y: area.y + rows,
        height: area.height - rows,
        ..area
    };
    (top, rest)
}

/// Splits columns off the left of an area.
pub fn split_left(area: Rect, columns: u16) -> (Rect, Rect) {
    let columns = columns.min(area.width);
    let left = Rect {
        width: columns,
        ..area
    };
    let rest = Rect {
        x: area.x + columns,
        width: area.width - columns,
        ..area
    };
    (left, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::terminal::theme::Palette;
    use proptest::prelude::*;

    const ASCII: Theme = Theme {
        palette: Palette::Plain,
        ascii: true,
    };

    #[test]
    fn cuts_are_marked() {
        assert_eq!(cut("nonpaged", 8, &ASCII), "nonpaged");
        assert_eq!(cut("nonpaged", 5, &ASCII), "nonp~");
        assert_eq!(fill("7", 3, true, &ASCII), "  7");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(unfinished("one", 10, &ASCII), "one ~");
        assert_eq!(unfinished("one two", 7, &ASCII), "one tw~");
        assert_eq!(without_tabs("a\tb"), "a       b");
        assert_eq!(without_tabs("\t12345678\tc"), "        12345678        c");
    }

    #[test]
    fn numbers_in_sentences_are_grouped_and_addresses_are_not() {
        assert_eq!(
            group_numbers("1672080 bytes at fffff880`00000000, 12 of 40000: 007"),
            "1,672,080 bytes at fffff880`00000000, 12 of 40,000: 007"
        );
    }

    proptest! {
        #[test]
        fn any_text_keeps_its_width(text in ".{0,40}", cells in 0usize..50) {
            prop_assert!(cut(&text, cells, &ASCII).width() <= cells);
            let filled = fill(&text, cells, false, &ASCII).width();
            prop_assert!(filled <= cells);
            for line in wrap(&text, cells.max(2)) {
                prop_assert!(line.width() <= cells.max(2));
            }
        }
    }
}
