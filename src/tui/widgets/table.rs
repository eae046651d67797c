//! A table that makes only the rows on screen, and drops columns by priority where the
//! screen is narrow.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use unicode_width::UnicodeWidthStr;

use crate::tui::terminal::theme::Theme;
use crate::tui::widgets::draw::{fill, put, split_top, style_line};
use crate::tui::widgets::list::Cursor;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Cells it needs.
    pub width: u16,
    /// Numbers are right-aligned.
    pub right: bool,
    /// 0 is kept longest.
    pub priority: u8,
    /// Takes what the others leave.
    pub grows: bool,
    /// A growing column pushes less important ones out until it has this many cells.
    pub wish: u16,
}

impl Column {
    /// Text, on the left.
    pub const fn text(title: &'static str, width: u16, priority: u8) -> Column {
        Column {
            title,
            width,
            right: false,
            priority,
            grows: false,
            wish: width,
        }
    }

    /// A number, on the right.
    pub const fn number(title: &'static str, width: u16, priority: u8) -> Column {
        Column {
            right: true,
            ..Column::text(title, width, priority)
        }
    }

    /// The same, taking what is left, and the room of less important columns up to
    /// `wish` cells.
    pub const fn growing(self, wish: u16) -> Column {
        Column {
            grows: true,
            wish,
            ..self
        }
    }
}

/// Cells between columns, and before the first one for the marks.
const GAP: u16 = 1;
/// `>` for the selected row and the row's own mark.
pub const MARKS: u16 = 2;

/// Which columns fit into a width, in their order, with the cells of each.
pub fn fit(columns: &[Column], width: u16) -> Vec<(usize, u16)> {
    let mut by_priority: Vec<(usize, &Column)> = columns.iter().enumerate().collect();
    by_priority.sort_by_key(|(_, column)| column.priority);
    let mut left = width.saturating_sub(MARKS);
    let mut kept: Vec<(usize, &Column)> = Vec::new();
    for (i, column) in by_priority {
        let gap = if kept.is_empty() { 0 } else { GAP };
        if kept.is_empty() || column.width + gap <= left {
            left = left.saturating_sub(column.width + gap);
            kept.push((i, column));
        }
    }
    // The last one kept is the least important.
    if let Some(grows) = kept.iter().map(|k| k.1).find(|c| c.grows) {
        while grows.width + left < grows.wish
            && let Some((_, least)) = kept.last()
            && least.priority > grows.priority
        {
            left += least.width + GAP;
            kept.pop();
        }
    }
    kept.sort_unstable_by_key(|(i, _)| *i);
    let cells = |column: &Column| match column.grows {
        true => column.width + left,
        false => column.width.min(width.saturating_sub(MARKS)),
    };
    kept.iter().map(|(i, column)| (*i, cells(column))).collect()
}

/// Gives what is left of a width to the columns whose contents are longer than they are,
/// in order of priority. `wanted` has the longest content of each column.
pub fn widen(columns: &mut [Column], wanted: &[u16], width: u16) {
    let gaps = GAP.saturating_mul(columns.len().saturating_sub(1) as u16);
    let used = columns.iter().map(|c| c.width).fold(0, u16::saturating_add);
    let mut left = width.saturating_sub(MARKS + gaps).saturating_sub(used);
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|i| columns.get(*i).map(|c| c.priority));
    for i in order {
        let (Some(column), Some(wanted)) = (columns.get_mut(i), wanted.get(i)) else {
            continue;
        };
        let more = wanted.saturating_sub(column.width).min(left);
        column.width += more;
        column.wish = column.wish.max(column.width);
        left -= more;
    }
}

/// One row as it is drawn.
#[derive(Clone, Debug, Default)]
pub struct Row<'a> {
    /// Beside the cursor's mark: one character that says something of the row.
    pub mark: char,
    /// The cells, in the order of the columns.
    pub cells: Vec<Cow<'a, str>>,
    /// How it looks when it is not selected.
    pub style: Style,
    /// Columns that look otherwise then.
    pub tints: Vec<(usize, Style)>,
}

/// A table to draw.
pub struct Table<'a> {
    /// The columns.
    pub columns: &'a [Column],
    /// Which column the rows are sorted by, and whether the largest is first.
    pub sorted: Option<(usize, bool)>,
    /// Rows in all.
    pub rows: u64,
    /// Where one is.
    pub cursor: Cursor,
    /// True when this pane has the keys.
    pub focused: bool,
    /// The column that keys about a column apply to; its heading is marked when it isn't
    /// the one that is sorted by.
    pub selected_column: Option<usize>,
}

impl Table<'_> {
    /// Lines of the heading.
    pub const HEADING: u16 = 1;

    /// Draws heading and visible rows; `row` makes one row.
    pub fn draw<'r>(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        theme: &Theme,
        mut row: impl FnMut(u64) -> Option<Row<'r>>,
    ) {
        let (heading, body) = split_top(area, Table::HEADING);
        let bar = self.rows > u64::from(body.height) && body.width > 20;
        let inner = Rect {
            width: body.width - u16::from(bar),
            ..body
        };
        let columns = fit(self.columns, inner.width);
        self.draw_heading(buffer, heading, theme, &columns);
        for line in 0..inner.height {
            let at = self.cursor.top.saturating_add(line.into());
            if at >= self.rows {
                break;
            }
            if let Some(row) = row(at) {
                self.draw_row(buffer, inner, theme, &columns, line, at, &row);
            }
        }
        if bar {
            self.draw_bar(buffer, body, theme);
        }
    }

    fn draw_heading(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        theme: &Theme,
        columns: &[(usize, u16)],
    ) {
        let mut x = MARKS;
        for &(i, width) in columns {
            let Some(column) = self.columns.get(i) else {
                continue;
            };
            let arrow = match self.sorted {
                Some((by, true)) if by == i => theme.glyph("▼", "v"),
                Some((by, false)) if by == i => theme.glyph("▲", "^"),
                _ => "",
            };
            // A title that fills its column has the arrow in the blank before it.
            let full = column.right && column.title.width() >= usize::from(width);
            let title = match (column.right, full) {
                (true, true) => column.title.to_owned(),
                (true, false) => format!("{arrow}{}", column.title),
                (false, _) => format!("{}{arrow}", column.title),
            };
            if full {
                put(buffer, area, x - 1, 0, arrow, theme.heading());
            }
            let text = fill(&title, width.into(), column.right, theme);
            let chosen = self.focused && self.selected_column == Some(i) && arrow.is_empty();
            let style = match chosen {
                true => theme.heading().add_modifier(Modifier::REVERSED),
                false => theme.heading(),
            };
            put(buffer, area, x, 0, &text, style);
            if chosen {
                // Told without colour too: the blank before the column is free.
                put(
                    buffer,
                    area,
                    x - 1,
                    0,
                    theme.glyph("›", ">"),
                    theme.heading(),
                );
            }
            x += width + GAP;
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn draw_row(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        theme: &Theme,
        columns: &[(usize, u16)],
        line: u16,
        at: u64,
        row: &Row<'_>,
    ) {
        let selected = at == self.cursor.row;
        let style = match (selected, self.focused) {
            (true, true) => theme.selected(),
            (true, false) => theme.remembered(),
            _ => row.style,
        };
        let pointer = match (selected, self.focused) {
            (true, true) => ">",
            (true, false) => "-",
            _ => " ",
        };
        put(buffer, area, 0, line, pointer, style);
        put(
            buffer,
            area,
            1,
            line,
            row.mark.encode_utf8(&mut [0; 4]),
            style,
        );
        let mut x = MARKS;
        for &(i, width) in columns {
            let right = self.columns.get(i).is_some_and(|c| c.right);
            let cell = row.cells.get(i).map_or("", |c| c.as_ref());
            let tint = row.tints.iter().find(|t| t.0 == i && !selected);
            let style = tint.map_or(style, |t| style.patch(t.1));
            let text = fill(cell, width.into(), right, theme);
            put(buffer, area, x, line, &text, style);
            x += width + GAP;
        }
        if selected && self.focused {
            style_line(buffer, area, line, style);
        }
    }

    /// Where the screen is in the list, at the right edge.
    fn draw_bar(&self, buffer: &mut Buffer, area: Rect, theme: &Theme) {
        let height = u64::from(area.height.max(1));
        let scale =
            |rows: u64| (u128::from(rows) * u128::from(height) / u128::from(self.rows)) as u64;
        let size = scale(height).max(1);
        let hidden = self.rows.saturating_sub(height).max(1);
        let first = (u128::from(self.cursor.top.min(hidden))
            * u128::from(height - size.min(height))
            / u128::from(hidden)) as u64;
        for line in 0..area.height {
            let inside = (first..first + size).contains(&line.into());
            let glyph = match inside {
                true => theme.glyph("┃", "#"),
                false => theme.glyph("│", "|"),
            };
            put(buffer, area, area.width - 1, line, glyph, theme.quiet());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::terminal::theme::Palette;

    const COLUMNS: [Column; 3] = [
        Column::text("Tag", 4, 0),
        Column::number("Frees", 10, 2),
        Column::text("Description", 10, 1).growing(10),
    ];

    #[test]
    fn narrow_screens_lose_the_least_important_columns() {
        let names = |width| -> Vec<(usize, u16)> { fit(&COLUMNS, width) };
        assert_eq!(names(80), [(0, 4), (1, 10), (2, 62)]);
        assert_eq!(names(28), [(0, 4), (1, 10), (2, 10)]);
        assert_eq!(names(27), [(0, 4), (2, 20)]);
        assert_eq!(names(10), [(0, 4)]);
        assert_eq!(names(4), [(0, 2)]);
        assert_eq!(names(0), [(0, 0)]);
    }

    #[test]
    fn what_a_width_leaves_goes_to_the_columns_that_are_cut() {
        let mut columns = COLUMNS.to_vec();
        widen(&mut columns, &[4, 10, 30], 80);
        assert_eq!(columns[2].width, 30);
        let mut columns = COLUMNS.to_vec();
        widen(&mut columns, &[4, 10, 300], 40);
        assert_eq!(fit(&columns, 40).len(), 3, "no column is pushed out");
        assert_eq!(columns[2].width, 22);
    }

    #[test]
    fn the_arrow_of_the_order_is_beside_a_title_that_fills_its_column() {
        let area = Rect::new(0, 0, 20, 1);
        let mut buffer = Buffer::empty(area);
        let theme = Theme {
            palette: Palette::Plain,
            ascii: true,
        };
        let table = Table {
            columns: &[Column::text("Tag", 4, 0), Column::number("Diff", 4, 1)],
            sorted: Some((1, true)),
            rows: 0,
            cursor: Cursor::default(),
            focused: true,
            selected_column: None,
        };
        table.draw(&mut buffer, area, &theme, |_| None);
        let line: String = (0..20).map(|x| buffer[(x, 0)].symbol()).collect();
        assert_eq!(line.trim_end(), "  Tag vDiff");
    }

    #[test]
    fn only_the_rows_on_screen_are_made() {
        let area = Rect::new(0, 0, 40, 11);
        let mut buffer = Buffer::empty(area);
        let theme = Theme {
            palette: Palette::Sixteen,
            ascii: false,
        };
        let mut made = 0;
        let table = Table {
            columns: &COLUMNS,
            sorted: None,
            rows: 1_000_000_000,
            cursor: Cursor {
                row: 500_000_003,
                top: 500_000_000,
                moved: true,
            },
            focused: true,
            selected_column: None,
        };
        table.draw(&mut buffer, area, &theme, |_| {
            made += 1;
            Some(Row::default())
        });
        assert_eq!(made, 10);
    }
}
