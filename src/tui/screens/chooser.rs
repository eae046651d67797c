//! The column chooser of the tag list.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::tui::screens::tag_columns::{ALL, TagColumn};
use crate::tui::screens::tags::Tags;
use crate::tui::terminal::theme::Theme;
use crate::tui::widgets::draw::split_top;
use crate::tui::widgets::list::Cursor;
use crate::tui::widgets::pane::pane_title;
use crate::tui::widgets::table::{Column, Row, Table};

const COLUMNS: [Column; 3] = [
    Column::text("Column", 8, 0),
    Column::text("Shown", 9, 0),
    Column::text("Contents", 20, 1).growing(30),
];

/// The columns that can be chosen.
pub fn rows(baseline: bool) -> Vec<TagColumn> {
    let there = |c: &TagColumn| baseline || !c.needs_baseline();
    ALL.into_iter().filter(there).collect()
}

/// The column with a name.
pub fn named(name: &str) -> Option<TagColumn> {
    TagColumn::named(name)
}

/// All names, for an error message.
pub fn names() -> String {
    ALL.map(TagColumn::name).join(" ")
}

/// Number of rows on screen.
pub fn height(area: Rect) -> u64 {
    area.height.saturating_sub(1 + Table::HEADING).into()
}

/// Draws the chooser.
pub fn draw(
    buffer: &mut Buffer,
    area: Rect,
    theme: &Theme,
    tags: &Tags,
    baseline: bool,
    cursor: Cursor,
) {
    let (title, list) = split_top(area, 1);
    pane_title(
        buffer,
        title,
        theme,
        "Columns of the tag list; saved for all dumps",
        true,
    );
    let rows = rows(baseline);
    let table = Table {
        columns: &COLUMNS,
        sorted: None,
        rows: rows.len() as u64,
        cursor,
        focused: true,
        selected_column: None,
    };
    table.draw(buffer, list, theme, |at| {
        let column = rows.get(usize::try_from(at).ok()?)?;
        let shown = match column {
            TagColumn::Tag => "always",
            column => tags.choices.of(column.name()).word(),
        };
        Some(Row {
            cells: vec![column.name().into(), shown.into(), column.about().into()],
            mark: ' ',
            ..Row::default()
        })
    });
}
