//! A data table: drivers, sizes, frequencies, marks and similar lists share their look,
//! sorting, filters, search and saving.

use std::cmp::Ordering;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use unicode_width::UnicodeWidthStr;

use crate::report::text::{grouped, human};

use crate::tui::data::cell::{Cell, like};
use crate::tui::data::order::PoolChoice;
use crate::tui::data::table::{TableColumn, TableData, TableKind, TableRow};
use crate::tui::input::query::{self, Field, Kind, Query, TextFilter};
use crate::tui::terminal::theme::Theme;
use crate::tui::widgets::draw::{put, put_lines, split_top, wrap};
use crate::tui::widgets::list::Cursor;
use crate::tui::widgets::list::around;
use crate::tui::widgets::pane::pane_title;
use crate::tui::widgets::table::{Column, Row, Table};

/// The state of the screen.
#[derive(Clone, Debug)]
pub struct DataTable {
    /// The kind of table.
    pub ask: TableKind,
    /// The name on the path.
    pub crumb: String,
    /// The corresponding WinDbg command; empty if there is none.
    pub command: String,
    /// The contents; `None` until the answer arrives.
    pub data: Option<TableData>,
    /// The number of the pending request; 0 for none.
    pub awaited: u64,
    /// Indexes of the rows shown.
    order: Vec<u32>,
    /// The sort column, and whether it is descending.
    pub sort: Option<(usize, bool)>,
    /// The selected column: `S`, `@` and `F` apply to it.
    pub column: usize,
    /// The filter typed after `&`.
    pub filter: String,
    /// The cursor.
    pub cursor: Cursor,
}

impl DataTable {
    /// A table that waits for its answer.
    pub fn new(ask: TableKind, crumb: String, command: String) -> DataTable {
        DataTable {
            ask,
            crumb,
            command,
            data: None,
            awaited: 0,
            order: Vec::new(),
            sort: None,
            column: 0,
            filter: String::new(),
            cursor: Cursor::default(),
        }
    }

    /// Applies an answer; the first answer also sets the sort order.
    pub fn take(&mut self, data: TableData) {
        if self.data.is_none() {
            self.sort = data.sorted.map(|column| (column, true));
            self.column = data.sorted.unwrap_or(0);
            self.cursor.to(data.start);
        }
        self.awaited = 0;
        self.data = Some(data);
        self.rearrange();
    }

    /// The dump was read again: drops the contents, except for tables made by the user.
    pub fn stale(&mut self) {
        if !matches!(
            self.ask,
            TableKind::Counted | TableKind::Marks | TableKind::Points | TableKind::ModuleChanges
        ) {
            self.data = None;
            self.awaited = 0;
            self.order.clear();
        }
    }

    /// The columns.
    pub fn columns(&self) -> &'static [TableColumn] {
        self.data.as_ref().map_or(&[], |d| d.columns)
    }

    fn all(&self) -> &[TableRow] {
        self.data.as_ref().map_or(&[], |d| d.rows.as_slice())
    }

    /// Number of rows shown.
    pub fn len(&self) -> u64 {
        self.order.len() as u64
    }

    /// True if no row is shown.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The row at a position of the list.
    pub fn row(&self, at: u64) -> Option<&TableRow> {
        let place = *self.order.get(usize::try_from(at).ok()?)?;
        self.all().get(place as usize)
    }

    /// The selected row.
    pub fn current(&self) -> Option<&TableRow> {
        self.row(self.cursor.row)
    }

    /// The fields that a query can use.
    pub fn fields(&self) -> Vec<Field> {
        self.columns().iter().map(|c| c.field).collect()
    }

    /// The field for a comparison without a field name: the sort column.
    fn default_field(&self) -> usize {
        let number = |c: &TableColumn| c.field.kind == Kind::Number;
        let by = self.sort.map(|s| s.0).filter(|i| {
            self.columns()
                .get(*i)
                .is_some_and(|c| c.field.kind != Kind::Text)
        });
        by.or_else(|| self.columns().iter().position(number))
            .unwrap_or(0)
    }

    /// Sets the filter.
    ///
    /// # Errors
    /// What is wrong with the filter, as a sentence; the list is unchanged.
    pub fn set_filter(&mut self, text: &str) -> Result<(), String> {
        if query::compares(text) {
            Query::parse(text, &self.fields(), self.default_field())?;
        }
        text.trim().clone_into(&mut self.filter);
        self.rearrange();
        Ok(())
    }

    /// Filters and sorts again; the selected row stays selected.
    pub fn rearrange(&mut self) {
        let selected = self.order.get(self.cursor.row as usize).copied();
        let columns = self.columns();
        let compared = match query::compares(&self.filter) {
            true => Query::parse(&self.filter, &self.fields(), self.default_field()).ok(),
            false => None,
        };
        let text = TextFilter::parse(&self.filter).filter(|_| compared.is_none());
        let keep = |row: &TableRow| {
            let row = (columns, row);
            compared.as_ref().is_none_or(|q| q.holds(&row))
                && text.as_ref().is_none_or(|t| query::Row::has(&row, t))
        };
        let mut order: Vec<u32> = (0u32..)
            .zip(self.all())
            .filter(|(_, row)| keep(row))
            .map(|(i, _)| i)
            .collect();
        if let Some((column, largest)) = self.sort {
            let cell = |i: &u32| self.all().get(*i as usize)?.cells.get(column);
            order.sort_by(|a, b| {
                let order = match (cell(a), cell(b)) {
                    (Some(a), Some(b)) => a.compare(b),
                    _ => Ordering::Equal,
                };
                if largest { order.reverse() } else { order }
            });
        }
        self.order = order;
        let at = self.order.iter().position(|i| Some(*i) == selected);
        if let Some(at) = at.filter(|_| self.cursor.moved) {
            self.cursor.follow(at as u64);
        }
    }

    /// Sorts by the selected column, or reverses the order if it already is the sort column.
    pub fn sort_here(&mut self) {
        self.sort = Some(match self.sort {
            Some((column, largest)) if column == self.column => (column, !largest),
            _ => (self.column, self.starts_large(self.column)),
        });
        self.cursor = Cursor::default();
        self.rearrange();
    }

    fn starts_large(&self, column: usize) -> bool {
        self.columns()
            .get(column)
            .is_some_and(|c| matches!(c.field.kind, Kind::Number | Kind::Share))
    }

    /// Sorts by the next pool's numbers. False if the table has none.
    pub fn next_pool(&mut self) -> bool {
        let pools: Vec<usize> = (0..self.columns().len())
            .filter(|i| self.columns().get(*i).is_some_and(|c| c.pool.is_some()))
            .collect();
        let now = self.sort.map(|s| s.0);
        let at = pools.iter().position(|i| Some(*i) == now);
        let next = at.map_or(0, |at| at + 1);
        let Some(&column) = pools.get(next).or_else(|| pools.first()) else {
            return false;
        };
        self.column = column;
        self.sort = Some((column, true));
        self.cursor = Cursor::default();
        self.rearrange();
        true
    }

    /// Selects the next or the previous column; skips columns with a bar.
    pub fn step_column(&mut self, step: i64) {
        let columns = self.columns();
        let mut at = self.column;
        while let Some(next) = at
            .checked_add_signed(step as isize)
            .filter(|i| *i < columns.len())
        {
            at = next;
            if columns.get(at).is_some_and(|c| !c.name().is_empty()) {
                self.column = at;
                return;
            }
        }
    }

    /// A query for rows with the value of the selected cell.
    pub fn like_this(&self) -> Option<String> {
        let name = self.columns().get(self.column)?.name();
        like(name, self.current()?.cells.get(self.column)?)
    }

    /// The next row that matches, wrapping around.
    pub fn find(&self, typed: &str, from: u64, forward: bool) -> Option<u64> {
        let text = TextFilter::parse(typed)?;
        let has = |at: &u64| {
            self.row(*at)
                .is_some_and(|row| query::Row::has(&(self.columns(), row), &text))
        };
        around(self.len(), from, forward).find(has)
    }

    /// The order and the filter in words.
    pub fn words(&self) -> String {
        let mut out = String::new();
        if let Some((column, largest)) = self.sort
            && let Some(column) = self.columns().get(column)
        {
            let order = match (column.field.kind, largest) {
                (Kind::Text, false) => "A to Z",
                (Kind::Text, true) => "Z to A",
                (_, true) => "descending",
                (_, false) => "ascending",
            };
            let name = match column.pool {
                Some(PoolChoice::Both) => "total bytes".to_owned(),
                Some(pool) => format!("{} bytes", pool.words()),
                None => column.name().to_owned(),
            };
            out += &format!(", by {name}, {order}");
        }
        if !self.filter.is_empty() {
            out += &format!(", & {}", self.filter);
        }
        out
    }

    /// The selected row as text.
    pub fn row_text(&self) -> Option<String> {
        let cells = self.current()?.cells.iter();
        let cells: Vec<String> = cells
            .filter(|c| !matches!(c, Cell::Bar(_)))
            .map(Cell::plain)
            .filter(|c| !c.is_empty())
            .collect();
        Some(cells.join(" "))
    }

    fn sentences(&self, width: u16) -> Vec<String> {
        let notes = self.data.as_ref().map_or(&[][..], |d| d.notes.as_slice());
        let broken = notes
            .iter()
            .flat_map(|n| wrap(n, usize::from(width.saturating_sub(2))));
        broken.collect()
    }

    /// Lines of sentences: most of a small screen is for rows.
    fn sentence_lines(&self, area: Rect) -> u16 {
        let most = (area.height.saturating_sub(3) / 2).clamp(1, 6);
        most.min(self.sentences(area.width).len() as u16)
    }

    /// The row of bars, if there is one and room for it.
    fn chart(&self, area: Rect, theme: &Theme) -> Option<String> {
        let chart = self.data.as_ref()?.chart.as_ref()?;
        let line = format!(
            "{}{}{}",
            chart.before,
            theme.spark(&chart.values),
            chart.after
        );
        (line.width() + 2 <= usize::from(area.width)).then_some(line)
    }

    /// Number of rows on screen.
    pub fn height(&self, area: Rect) -> u64 {
        let chart = self.data.as_ref().is_some_and(|d| d.chart.is_some());
        let above = self.sentence_lines(area) + 1 + Table::HEADING;
        let above = above + u16::from(chart);
        area.height.saturating_sub(above).into()
    }

    /// Draws the screen.
    pub fn draw(&self, buffer: &mut Buffer, area: Rect, theme: &Theme) {
        let sentences = self.sentences(area.width);
        let (notes, rest) = split_top(area, self.sentence_lines(area));
        let styled = sentences.iter().map(|line| (line, Style::new()));
        put_lines(buffer, notes, theme, styled);
        let chart = self.chart(area, theme);
        let (bars, rest) = split_top(rest, u16::from(chart.is_some()));
        if let Some(line) = &chart {
            put(buffer, bars, 1, 0, line, Style::new());
        }
        let (title, list) = split_top(rest, 1);
        let Some(data) = &self.data else {
            let text = format!("{}: computing…", self.crumb);
            pane_title(buffer, title, theme, &text, true);
            return;
        };
        let text = match self.filter.is_empty() {
            true => format!("{}{}", data.title, self.words()),
            false => format!(
                "{}: {} of {}{}",
                data.title,
                grouped(self.len()),
                grouped(self.all().len() as u64),
                self.words()
            ),
        };
        pane_title(buffer, title, theme, &text, true);
        if self.is_empty() && list.height > 1 {
            let why = match self.filter.is_empty() {
                true => "no rows",
                false => "no row matches; Esc clears the filter",
            };
            put(buffer, list, 2, 1, why, theme.quiet());
        }
        self.draw_rows(buffer, list, theme, data);
    }

    fn draw_rows(&self, buffer: &mut Buffer, area: Rect, theme: &Theme, data: &TableData) {
        let mut columns: Vec<Column> = data.columns.iter().map(|c| c.column).collect();
        if let Some(column) = self.sort.and_then(|(i, _)| columns.get_mut(i)) {
            column.priority = column.priority.min(1);
        }
        let table = Table {
            columns: &columns,
            sorted: self.sort,
            rows: self.len(),
            cursor: self.cursor,
            focused: true,
            selected_column: Some(self.column),
        };
        table.draw(buffer, area, theme, |at| {
            let row = self.row(at)?;
            let cells = row.cells.iter().zip(data.columns);
            Some(Row {
                mark: row.mark,
                cells: cells
                    .map(|(cell, c)| cell.shown(c.column.width, theme))
                    .collect(),
                ..Row::default()
            })
        });
    }

    /// The sum of a column over all rows shown, if it holds bytes.
    pub fn sum(&self, column: usize) -> Option<u64> {
        (0..self.len()).try_fold(0u64, |sum, at| match self.row(at)?.cells.get(column)? {
            Cell::Bytes(n) => Some(sum.saturating_add(*n)),
            _ => None,
        })
    }

    /// The sum of the sort column, in words.
    pub fn total(&self) -> Option<String> {
        Some(human(self.sum(self.sort?.0)?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tui::data::order::PoolChoice;
    use crate::tui::data::table::Opens;

    const COLUMNS: [TableColumn; 3] = [
        TableColumn::new(Column::text("Driver", 10, 0), &["driver"], Kind::Text),
        TableColumn::new(Column::number("NonP", 12, 1), &["np"], Kind::Number)
            .of_pool(PoolChoice::Nonpaged),
        TableColumn::new(Column::number("Paged", 12, 1), &["paged"], Kind::Number)
            .of_pool(PoolChoice::Paged),
    ];

    fn table() -> DataTable {
        let row = |name: &str, np, paged| TableRow {
            mark: ' ',
            cells: vec![Cell::Text(name.into()), Cell::Bytes(np), paged],
            opens: Opens::Nothing,
            place: None,
        };
        let mut table = DataTable::new(TableKind::Drivers, "Drivers".into(), String::new());
        table.take(TableData {
            columns: &COLUMNS,
            rows: Arc::new(vec![
                row("nt", 10, Cell::Bytes(500)),
                row("myfault", 600, Cell::Bytes(1)),
                row("a\"c*", 20, Cell::Unknown),
            ]),
            title: "Drivers".into(),
            sorted: Some(1),
            ..TableData::default()
        });
        table
    }

    fn names(table: &DataTable) -> Vec<String> {
        (0..table.len())
            .filter_map(|at| Some(table.row(at)?.cells[0].plain()))
            .collect()
    }

    #[test]
    fn a_table_sorts_by_any_column_and_by_pool() {
        let mut table = table();
        assert_eq!(names(&table), ["myfault", "a\"c*", "nt"]);
        assert!(table.next_pool());
        assert_eq!(names(&table)[0], "nt");
        assert_eq!(names(&table)[2], "a\"c*", "what is unknown is last");
        assert!(table.words().contains("paged pool bytes, descending"));
        table.step_column(-5);
        assert_eq!(table.column, 2, "there is no such step");
        table.step_column(-1);
        table.step_column(-1);
        table.sort_here();
        assert_eq!(names(&table)[2], "nt");
        assert!(table.words().contains("A to Z"));
        table.sort_here();
        assert_eq!(names(&table)[0], "nt");
    }

    #[test]
    fn a_table_is_filtered_by_text_by_query_and_by_cell_value() {
        let mut table = table();
        table.set_filter("fault").unwrap();
        assert_eq!(names(&table), ["myfault"]);
        table.set_filter("np < 100 and paged > 0").unwrap();
        assert_eq!(names(&table), ["nt"]);
        let why = table.set_filter("nonsense > 1").unwrap_err();
        assert!(why.contains("driver, np, paged"));
        assert_eq!(names(&table), ["nt"], "stays as it was");
        table.set_filter("").unwrap();
        table.column = 0;
        for at in 0..3 {
            table.cursor.to(at);
            let name = names(&table)[at as usize].clone();
            let like = table.like_this().unwrap();
            table.set_filter(&like).unwrap();
            assert_eq!(names(&table), [name]);
            table.set_filter("").unwrap();
        }
        assert_eq!(table.total().as_deref(), Some("630 B"));
    }
}
