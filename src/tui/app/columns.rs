//! Column keys: sort by the column, filter by its value, count its values.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::tui::app::{App, Screen};
use crate::tui::data::cell::{Cell, like};
use crate::tui::data::columns;
use crate::tui::data::table::{Opens, TableData, TableKind, TableRow};
use crate::tui::input::query::compares;
use crate::tui::jobs::tables::FREQUENCY;
use crate::tui::screens::data_table::DataTable;
use crate::tui::screens::layout;
use crate::tui::screens::tag::Pane;

impl App {
    /// Selects the next or the previous column of the list.
    pub(in crate::tui) fn step_column(&mut self, step: i64) {
        match self.stack.last_mut() {
            None => {
                let body = layout::areas(self.size).body;
                let list = layout::first_screen(&self.model, body, self.wanted()).list;
                self.tags.step_column(&self.model, step, list.width);
            }
            Some(Screen::Tag(view)) => view.step_column(step),
            Some(Screen::Modules(view)) => view.step_column(step),
            Some(Screen::Table(table)) => table.step_column(step),
            _ => return,
        }
        if let Some(name) = self.column_name() {
            self.message = Some(format!(
                "column {name}: S sorts, @ filters by this value, F counts values"
            ));
        }
    }

    /// The name of the selected column in queries.
    fn column_name(&self) -> Option<&'static str> {
        let first =
            |fields: &[crate::tui::input::query::Field], at: usize| fields.get(at)?.names.first();
        match self.stack.last() {
            None => first(&columns::TAG, self.tags.selected_field(&self.model)),
            Some(Screen::Tag(view)) => first(&columns::BLOCK, view.selected_field()),
            Some(Screen::Modules(view)) => first(&columns::MODULE, view.column),
            Some(Screen::Table(table)) => {
                return table.columns().get(table.column).map(|c| c.name());
            }
            _ => None,
        }
        .copied()
    }

    /// Sorts by the selected column.
    pub(in crate::tui) fn sort_column(&mut self) {
        match self.stack.last_mut() {
            None => {
                if !self.tags.sort_here(&self.model) {
                    self.message =
                        Some("tags are not sorted by this column; F counts its values".into());
                    return;
                }
                self.message = Some(self.tags.words());
            }
            Some(Screen::Modules(view)) => view.sort_here(&self.model),
            Some(Screen::Table(table)) => table.sort_here(),
            Some(Screen::Tag(view)) => match view.selected_field() {
                0 => self.sort_blocks(false),
                1 => self.sort_blocks(true),
                _ => {
                    self.message = Some(
                        "allocations are sorted by address or size; F counts the values of others"
                            .into(),
                    );
                }
            },
            _ => {}
        }
    }

    /// Shows only rows with the value of the selected cell.
    pub(in crate::tui) fn like_this(&mut self) {
        let query = match self.stack.last() {
            None => self.tags.current(&self.model).and_then(|row| {
                let cell = self.tags.asked_of(&self.model, row);
                like(
                    self.column_name()?,
                    &cell.cell(self.tags.selected_field(&self.model)),
                )
            }),
            Some(Screen::Tag(view)) => view.current().and_then(|block| {
                let cell = columns::block_cell(&block, view.selected_field());
                like(self.column_name()?, &cell)
            }),
            Some(Screen::Modules(view)) => view.current(&self.model).and_then(|module| {
                let cell = columns::module_cell(module, view.column);
                like(self.column_name()?, &cell)
            }),
            Some(Screen::Table(table)) => table.like_this(),
            _ => None,
        };
        match query {
            Some(query) => self.filter_here(&query),
            None => self.message = Some("this column has no value to filter by".into()),
        }
    }

    /// Adds a filter to the list on screen, combined with its current filter.
    pub(in crate::tui) fn filter_here(&mut self, query: &str) {
        let now = match self.stack.last() {
            None => &self.tags.filter,
            Some(Screen::Tag(view)) => &view.filter,
            Some(Screen::Modules(view)) => &view.filter,
            Some(Screen::Table(table)) => &table.filter,
            _ => return,
        };
        let text = match compares(now) && now != query {
            true => format!("({now}) and {query}"),
            false => query.to_owned(),
        };
        self.message = self.set_filter(&text).err();
    }

    /// Filters the list on screen.
    ///
    /// # Errors
    /// What is wrong with the query; the list is unchanged.
    pub(in crate::tui) fn set_filter(&mut self, text: &str) -> Result<(), String> {
        match self.stack.last_mut() {
            None => self.tags.set_filter(&self.model, text),
            Some(Screen::Modules(view)) => view.set_filter(&self.model, text),
            Some(Screen::Table(table)) => table.set_filter(text),
            Some(Screen::Tag(view)) => {
                crate::tui::data::block_filter::BlockFilter::parse(text)?;
                text.trim().clone_into(&mut view.filter);
                self.ask_blocks();
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    /// Opens the frequency table of the selected column.
    pub(in crate::tui) fn frequency(&mut self) {
        match self.stack.last() {
            Some(Screen::Bytes(_)) => self.frequency_of_pointers(),
            Some(Screen::Tag(view)) if view.pane == Pane::Allocations => {
                let ask = TableKind::Frequency {
                    tag: view.tag,
                    column: self.column_name().unwrap_or("size").to_owned(),
                    filter: view.filter.clone(),
                };
                self.open_table(ask);
            }
            _ => self.count_shown(),
        }
    }

    /// Opens the frequency table of the values at this offset in all allocations of the tag.
    fn frequency_of_pointers(&mut self) {
        let below = self.stack.iter().rev().nth(1);
        let (Some(Screen::Bytes(bytes)), Some(Screen::Tag(view))) = (self.stack.last(), below)
        else {
            self.message =
                Some("F counts values only in an allocation that was opened from its tag".into());
            return;
        };
        let own = bytes
            .block
            .map(|b| (b.body(), b.bytes - b.header_bytes().min(b.bytes)));
        let inside = own.and_then(|(body, length)| {
            let offset = (bytes.at.0 & !7).checked_sub(body.0)?;
            (offset.saturating_add(8) <= length).then_some(offset)
        });
        match inside {
            Some(offset) => {
                let tag = view.tag;
                self.open_table(TableKind::Pointers { tag, offset });
            }
            None => {
                self.message =
                    Some("this offset is outside the owner's part of the allocation".into())
            }
        }
    }

    /// Counts the values of a column in a list that is fully in memory.
    fn count_shown(&mut self) {
        let Some(name) = self.column_name() else {
            return;
        };
        let cells: Vec<Cell> = match self.stack.last() {
            None => {
                let field = self.tags.selected_field(&self.model);
                let rows = (0..self.tags.len()).filter_map(|at| self.tags.row(&self.model, at));
                let cells = rows.map(|row| self.tags.asked_of(&self.model, row).cell(field));
                cells.collect()
            }
            Some(Screen::Modules(view)) => {
                let rows = (0..view.len()).filter_map(|at| view.row(&self.model, at));
                let cells = rows.map(|row| columns::module_cell(row, view.column));
                cells.collect()
            }
            Some(Screen::Table(table)) => {
                let rows = (0..table.len()).filter_map(|at| table.row(at));
                let cells = rows.filter_map(|row| row.cells.get(table.column).cloned());
                cells.collect()
            }
            _ => return,
        };
        let mut table = DataTable::new(TableKind::Counted, format!("each {name}"), String::new());
        table.take(counted(name, cells));
        self.go(Screen::Table(Box::new(table)));
    }
}

/// The frequency table of cells that are fully in memory.
fn counted(name: &str, cells: Vec<Cell>) -> TableData {
    let all = cells.len().max(1) as f64;
    let mut counts: FxHashMap<String, (Cell, u64)> = FxHashMap::default();
    for cell in cells {
        counts.entry(cell.plain()).or_insert((cell, 0)).1 += 1;
    }
    let rows: Vec<TableRow> = counts
        .into_values()
        .map(|(cell, count)| {
            let share = count as f64 / all;
            let opens = like(name, &cell).map_or(Opens::Nothing, Opens::Filter);
            TableRow {
                cells: vec![
                    cell,
                    Cell::Count(count),
                    Cell::Share(share),
                    Cell::Bar(share),
                ],
                opens,
                ..TableRow::default()
            }
        })
        .collect();
    TableData {
        title: format!("{} values of {name}", rows.len()),
        columns: &FREQUENCY,
        rows: Arc::new(by_value(rows)),
        sorted: Some(1),
        ..TableData::default()
    }
}

/// Orders rows by value, so that equally frequent values have a fixed order.
fn by_value(mut rows: Vec<TableRow>) -> Vec<TableRow> {
    rows.sort_by(|a, b| match (a.cells.first(), b.cells.first()) {
        (Some(a), Some(b)) => a.compare(b),
        _ => std::cmp::Ordering::Equal,
    });
    rows
}
