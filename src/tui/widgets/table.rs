//! A table that formats only the rows on screen, and drops columns by priority on a narrow
//! screen.

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
    /// Minimum width in cells.
    pub width: u16,
    /// Right-aligned, for numbers.
    pub right: bool,
    /// Priority; 0 is dropped last.
    pub priority: u8,
    /// Takes the remaining width.
    pub grows: bool,
    /// A growing column displaces less important ones until it has this width.
    pub wish: u16,
}

impl Column {
    /// A text column, left-aligned.
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

    /// A number column, right-aligned.
    pub const fn number(title: &'static str, width: u16, priority: u8) -> Column {
        Column {
            right: true,
            ..Column::text(title, width, priority)
        }
    }

    /// The same column, growing: it takes the remaining width, and displaces less important
    /// columns up to a width of `wish` cells.
    pub const fn growing(self, wish: u16) -> Column {
        Column {
            grows: true,
            wish,
            ..self
        }
    }
}

/// Cells between columns, and between the marks and the first column.
const GAP: u16 = 1;
/// Cells for `>` of the selected row and for the row's own mark.
pub const MARKS: u16 = 2;

/// The columns that fit a width, in their order, with the width of each.
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
    // The last column is the least important one.
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

/// Distributes the remaining width to columns whose contents are cut, by priority. `wanted`
/// is the longest content of each column.
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

/// A row to draw.
#[derive(Clone, Debug, Default)]
pub struct Row<'a> {
    /// The row's own mark, beside the cursor's mark.
    pub mark: char,
    /// The cells, in the order of the columns.
    pub cells: Vec<Cow<'a, str>>,
    /// The style while it is not selected.
    pub style: Style,
    /// Columns with a different style while it is not selected.
    pub tints: Vec<(usize, Style)>,
}

/// A table to draw.
pub struct Table<'a> {
    /// The columns.
    pub columns: &'a [Column],
    /// The sort column, and whether it is descending.
    pub sorted: Option<(usize, bool)>,
    /// Total number of rows.
    pub rows: u64,
    /// The cursor.
    pub cursor: Cursor,
    /// True if the pane is focused.
    pub focused: bool,
    /// The column that column keys apply to; its heading is marked if it is not the sort column.
    pub selected_column: Option<usize>,
}

impl Table<'_> {
    /// Height of the heading.
    pub const HEADING: u16 = 1;

    /// Draws the heading and the visible rows; `row` formats one row.
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
                // The selected column is marked without colour too: the blank before it is free.
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

    /// Draws the scroll bar at the right edge.
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
    fn narrow_screens_drop_the_least_important_columns() {
        let names = |width| -> Vec<(usize, u16)> { fit(&COLUMNS, width) };
        assert_eq!(names(80), [(0, 4), (1, 10), (2, 62)]);
        assert_eq!(names(28), [(0, 4), (1, 10), (2, 10)]);
        assert_eq!(names(27), [(0, 4), (2, 20)]);
        assert_eq!(names(10), [(0, 4)]);
        assert_eq!(names(4), [(0, 2)]);
        assert_eq!(names(0), [(0, 0)]);
    }

    #[test]
    fn the_remaining_width_goes_to_columns_that_are_cut() {
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
    fn only_visible_rows_are_formatted() {
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
