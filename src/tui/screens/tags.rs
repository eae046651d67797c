//! The tag list: `!poolused`, sorted and filtered.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::pool::Tag;
use crate::report::text::{grouped, signed};

use crate::tui::data::baseline::{Baseline, Delta, folded};
use crate::tui::data::columns::{self, TagAsked};
use crate::tui::data::mark::{self, Mark};
use crate::tui::data::model::{Model, TagRow};
use crate::tui::data::order::{PoolChoice, SortBy};
use crate::tui::data::settings::ColumnChoices;
use crate::tui::input::query::TextFilter;
use crate::tui::input::query::{self, Query};
use crate::tui::screens::tag_columns::{self, BAR, TagColumn};
use crate::tui::terminal::theme::{Kind, Theme};
use crate::tui::widgets::list::{Cursor, around};
use crate::tui::widgets::table::{Column, Row, Table, fit};

/// The data that a list is drawn from, besides its own state.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The data of the dump.
    pub model: &'a Model,
    /// The marks.
    pub marks: &'a [Mark],
    /// The list has the focus.
    pub focused: bool,
    /// The walk of the pool is done.
    pub done: bool,
}

/// The state of the list.
#[derive(Clone, Debug, Default)]
pub struct Tags {
    /// Indexes of the model's rows, in the order shown.
    order: Vec<usize>,
    /// The cursor.
    pub cursor: Cursor,
    /// The pool.
    pub pool: PoolChoice,
    /// The sort key.
    pub sort: SortBy,
    /// Ascending (for tags: descending).
    pub reversed: bool,
    /// The filter typed after `&`.
    pub filter: String,
    /// Only tags without a description.
    pub unknown_only: bool,
    /// The pool whose number is the sort key, if the list shows both.
    pub sort_pool: Option<PoolChoice>,
    /// Sorted by the change since the baseline, as with PoolMon's `(`.
    pub by_change: bool,
    /// The selected column; `None` for the sort column.
    pub column: Option<TagColumn>,
    /// The user's choices about columns.
    pub choices: ColumnChoices,
    selected: Option<Tag>,
    /// The last requested order; `None` after the pool changed. A second request reverses
    /// the order.
    asked: Option<SortBy>,
}

impl Tags {
    /// Number of rows shown.
    pub fn len(&self) -> u64 {
        self.order.len() as u64
    }

    /// True if no row is shown.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The row at a position of the list.
    pub fn row<'m>(&self, model: &'m Model, at: u64) -> Option<&'m TagRow> {
        model.tags.get(*self.order.get(usize::try_from(at).ok()?)?)
    }

    /// The selected row.
    pub fn current<'m>(&self, model: &'m Model) -> Option<&'m TagRow> {
        self.row(model, self.cursor.row)
    }

    /// Remembers the selected tag, after the user moved.
    pub fn remember(&mut self, model: &Model) {
        self.selected = self.current(model).map(|row| row.usage.tag);
    }

    /// Sorts and filters again. A row that the user selected stays on its screen line.
    pub fn rearrange(&mut self, model: &Model) {
        let query = self.query();
        let text = TextFilter::parse(&self.filter).filter(|_| query.is_none());
        let mut order: Vec<usize> = (0..model.tags.len()).collect();
        order.retain(|&i| {
            model.tags.get(i).is_some_and(|row| {
                self.is_used(row)
                    && text.as_ref().is_none_or(|f| f.tag(row))
                    && query
                        .as_ref()
                        .is_none_or(|q| q.holds(&self.asked_of(model, row)))
                    && !(self.unknown_only && row.about.is_some())
            })
        });
        // The model's rows are sorted by tag and the sort is stable, so equal rows stay
        // sorted by tag.
        match (self.sort, self.reversed) {
            (SortBy::Tag, false) => {}
            (SortBy::Tag, true) => order.reverse(),
            (_, reversed) => match self.changes(model) {
                Some(baseline) => {
                    let by = |i: &usize| {
                        let tag = model.tags.get(*i).map(|row| row.usage.tag);
                        tag.and_then(|tag| self.change(baseline, tag))
                    };
                    // Unknown values are last in both directions.
                    match reversed {
                        false => order.sort_by_cached_key(|i| std::cmp::Reverse(by(i))),
                        true => order.sort_by_cached_key(|i| by(i).unwrap_or(i64::MAX)),
                    }
                }
                None => {
                    let by = |i: &usize| {
                        let row = model.tags.get(*i);
                        row.map_or(0, |row| self.sort.value(&self.sorted_pool().of(&row.usage)))
                    };
                    match reversed {
                        false => order.sort_by_key(|i| std::cmp::Reverse(by(i))),
                        true => order.sort_by_key(by),
                    }
                }
            },
        }
        self.order = order;
        self.find_selected(model);
    }

    /// The baseline, if the list is sorted by changes.
    fn changes<'m>(&self, model: &'m Model) -> Option<&'m Baseline> {
        model.baseline.as_deref().filter(|_| self.by_change)
    }

    /// The change of the sort key.
    fn change(&self, baseline: &Baseline, tag: Tag) -> Option<i64> {
        let Delta {
            allocs,
            frees,
            outstanding,
            bytes,
        } = baseline.delta(tag, self.sorted_pool());
        match self.sort {
            SortBy::Allocs => allocs,
            SortBy::Frees => frees,
            SortBy::Diff => outstanding,
            SortBy::Bytes | SortBy::PerAlloc | SortBy::Tag => bytes,
        }
    }

    fn query(&self) -> Option<Query> {
        query::compares(&self.filter)
            .then(|| Query::parse(&self.filter, &columns::TAG, columns::TAG_DEFAULT).ok())
            .flatten()
    }

    /// A row as queries see it.
    pub fn asked_of<'m>(&self, model: &'m Model, row: &'m TagRow) -> TagAsked<'m> {
        TagAsked {
            row,
            pool: self.pool,
            total: model.in_use(self.pool),
            counted: model.counted,
            baseline: model.baseline.as_deref(),
        }
    }

    /// Sets the filter.
    ///
    /// # Errors
    /// What is wrong with the filter, as a sentence; the list is unchanged.
    pub fn set_filter(&mut self, model: &Model, text: &str) -> Result<(), String> {
        if query::compares(text) {
            Query::parse(text, &columns::TAG, columns::TAG_DEFAULT)?;
        }
        text.clone_into(&mut self.filter);
        self.rearrange(model);
        // The first rows of an answer are on screen; the selected one stays there too.
        self.cursor.top = 0;
        Ok(())
    }

    /// The available columns, and how each is drawn.
    fn columns(&self, model: &Model) -> Vec<(TagColumn, Column)> {
        let (sorted, baseline) = (self.sorted_column(model), model.baseline.is_some());
        tag_columns::shown(self.pool, (self.sort, sorted), baseline, &self.choices)
    }

    /// The pool of the sort key.
    fn sorted_pool(&self) -> PoolChoice {
        self.sort_pool.unwrap_or(self.pool)
    }

    fn is_by_change(&self, model: &Model) -> bool {
        self.changes(model).is_some()
    }

    fn sorted_column(&self, model: &Model) -> TagColumn {
        match (self.pool, self.sort_pool, self.is_by_change(model)) {
            (PoolChoice::Both, Some(pool), false) => match (pool, self.sort) {
                (PoolChoice::Nonpaged, SortBy::Bytes) => TagColumn::NonpagedBytes,
                (PoolChoice::Nonpaged, _) => TagColumn::NonpagedDiff,
                (_, SortBy::Bytes) => TagColumn::PagedBytes,
                _ => TagColumn::PagedDiff,
            },
            (pool, _, by_change) => TagColumn::sorted(pool, self.sort, by_change),
        }
    }

    /// The column that column keys apply to.
    fn selected_column(&self, model: &Model) -> TagColumn {
        self.column.unwrap_or(self.sorted_column(model))
    }

    /// The query field that column keys apply to.
    pub fn selected_field(&self, model: &Model) -> usize {
        self.selected_column(model).field().unwrap_or(0)
    }

    /// Selects the next or the previous column of those that fit a width.
    pub fn step_column(&mut self, model: &Model, step: i64, width: u16) {
        // The width without the scroll bar.
        let width = width.saturating_sub(1);
        let columns = tag_columns::at_width(self.columns(model), width);
        let drawn: Vec<Column> = columns.iter().map(|c| c.1).collect();
        let fits = fit(&drawn, width);
        let shown: Vec<TagColumn> = fits
            .iter()
            .filter_map(|(i, _)| columns.get(*i).map(|c| c.0))
            .filter(|c| c.field().is_some())
            .collect();
        let now = self.selected_column(model);
        let at = shown.iter().position(|c| *c == now).unwrap_or(0);
        let next = at.checked_add_signed(step as isize);
        if let Some(column) = next.and_then(|at| shown.get(at)) {
            self.column = Some(*column);
        }
    }

    /// Sorts by the selected column. False if the list cannot be sorted by it.
    pub fn sort_here(&mut self, model: &Model) -> bool {
        let Some((pool, sort, by_change)) = self.selected_column(model).sort() else {
            return false;
        };
        let column = self.selected_column(model);
        let order = (pool, sort, by_change);
        let same = order == (self.sort_pool, self.sort, self.is_by_change(model));
        self.by_change = by_change;
        self.sort_pool = pool;
        self.column = Some(column);
        self.reversed = same && !self.reversed;
        self.asked = Some(sort);
        self.sort = sort;
        self.select_top(model);
        true
    }

    /// Toggles between sorting by changes since the baseline and by values. False without a
    /// baseline.
    pub fn toggle_change(&mut self, model: &Model) -> bool {
        if model.baseline.is_none() {
            return false;
        }
        self.by_change = !self.by_change;
        self.reversed = false;
        self.column = None;
        self.sort_pool = None;
        // A tag's name and bytes per allocation have no change to sort by.
        if self.by_change && matches!(self.sort, SortBy::Tag | SortBy::PerAlloc) {
            self.sort = SortBy::Bytes;
        }
        self.select_top(model);
        true
    }

    /// True if the tag has allocations now or had some since boot: freed tags still have
    /// counts to show.
    fn is_used(&self, row: &TagRow) -> bool {
        let usage = self.pool.of(&row.usage);
        usage.allocs > 0 || !usage.is_empty()
    }

    fn find_selected(&mut self, model: &Model) {
        let place = (0..self.len())
            .find(|&at| self.row(model, at).map(|row| row.usage.tag) == self.selected);
        match place {
            Some(at) if self.cursor.moved && self.selected.is_some() => self.cursor.follow(at),
            _ if self.cursor.moved => {}
            _ => self.cursor = Cursor::default(),
        }
    }

    /// Selects a tag.
    pub fn select(&mut self, model: &Model, tag: Tag) {
        self.selected = Some(tag);
        self.cursor.moved = true;
        self.find_selected(model);
    }

    /// Sorts by a key, descending; a second call in a row reverses the order.
    pub fn sort_by(&mut self, model: &Model, sort: SortBy) {
        self.reversed = self.asked == Some(sort) && !self.reversed;
        self.asked = Some(sort);
        self.sort = sort;
        self.column = None;
        self.sort_pool = None;
        self.select_top(model);
    }

    /// Switches to the next pool.
    pub fn next_pool(&mut self, model: &Model) {
        self.pool = self.pool.next();
        self.asked = None;
        self.column = None;
        self.sort_pool = None;
        self.select_top(model);
    }

    /// Goes to the top, after the order changed.
    fn select_top(&mut self, model: &Model) {
        self.cursor = Cursor::default();
        self.selected = None;
        self.rearrange(model);
    }

    /// The next row that matches, wrapping around.
    pub fn find(&self, model: &Model, typed: &str, from: u64, forward: bool) -> Option<u64> {
        let filter = TextFilter::parse(typed)?;
        let find = |fits: &dyn Fn(&TagRow) -> bool| {
            around(self.len(), from, forward).find(|&at| self.row(model, at).is_some_and(fits))
        };
        // A typed tag name is more likely meant as the tag than as part of a description.
        find(&|row| filter.tag_itself(row)).or_else(|| find(&|row| filter.tag(row)))
    }

    /// The order and the filter in words.
    pub fn words(&self) -> String {
        let order = match (self.sort, self.reversed) {
            (SortBy::Tag, false) => "A to Z",
            (SortBy::Tag, true) => "Z to A",
            (_, false) => "descending",
            (_, true) => "ascending",
        };
        let change = if self.by_change { "change of " } else { "" };
        let of = match self.sort_pool {
            Some(PoolChoice::Nonpaged) => "nonpaged ",
            Some(PoolChoice::Paged) => "paged ",
            _ => "",
        };
        let by = self.sort.words();
        let mut out = format!("{} by {change}{of}{by}, {order}", self.pool.words());
        if self.unknown_only {
            out += ", unknown only";
        }
        if !self.filter.is_empty() {
            out += &format!(", & {}", self.filter);
        }
        out
    }

    /// Total bytes of the rows shown.
    pub fn held(&self, model: &Model) -> u64 {
        let rows = (0..self.len()).filter_map(|at| self.row(model, at));
        rows.fold(0u64, |sum, row| {
            sum.saturating_add(self.pool.of(&row.usage).bytes)
        })
    }

    /// The corresponding WinDbg command.
    pub fn command(&self) -> String {
        let flags = match (self.sort, self.sorted_pool()) {
            (SortBy::Tag, _) => "",
            (_, PoolChoice::Paged) => " 4",
            _ => " 2",
        };
        let verbose = match (self.sort, self.sorted_pool()) {
            (SortBy::Allocs | SortBy::Frees, PoolChoice::Paged) => " 5",
            (SortBy::Allocs | SortBy::Frees, _) => " 3",
            _ => flags,
        };
        let pattern = TextFilter::parse(&self.filter)
            .filter(|f| f.is_windbgs_pattern() && !query::compares(&self.filter))
            .map(|_| {
                let needed = if verbose.is_empty() { " 0" } else { "" };
                format!("{needed} {}", self.filter.trim())
            });
        format!("!poolused{verbose}{}", pattern.unwrap_or_default())
    }

    /// Draws the list.
    pub fn draw(&self, buffer: &mut Buffer, area: Rect, theme: &Theme, shown: Shown<'_>) {
        let Shown {
            model,
            marks,
            focused,
            done,
        } = shown;
        let bar = self.len() > u64::from(area.height.saturating_sub(Table::HEADING));
        let width = area.width.saturating_sub(u16::from(bar));
        let columns = tag_columns::at_width(self.columns(model), width);
        let place = |which: TagColumn| columns.iter().position(|c| c.0 == which);
        let drawn: Vec<Column> = columns.iter().map(|c| c.1).collect();
        let total = model.in_use(self.pool);
        let largest_first = self.reversed == (self.sort == SortBy::Tag);
        let table = Table {
            columns: &drawn,
            sorted: place(self.sorted_column(model)).map(|at| (at, largest_first)),
            rows: self.len(),
            cursor: self.cursor,
            focused,
            selected_column: self.column.and_then(place),
        };
        // Only visible rows are formatted.
        let shown = fit(&drawn, width);
        let tints = tints(&columns, self.pool, theme);
        table.draw(buffer, area, theme, |at| {
            let row = self.row(model, at)?;
            let mut cells = vec![Cow::Borrowed(""); columns.len()];
            for (i, _) in &shown {
                if let (Some(cell), Some((which, _))) = (cells.get_mut(*i), columns.get(*i)) {
                    *cell = self.cell(*which, row, total, (model, theme));
                }
            }
            // Zeros are drawn quietly, so that data stands out.
            let zero = |i: &usize| cells.get(*i).is_some_and(|cell| cell == "0");
            let tints = tints.iter().map(|(i, tint)| match zero(i) {
                true => (*i, theme.quiet()),
                false => (*i, *tint),
            });
            let tints = tints.collect();
            Some(Row {
                mark: match mark::has_tag(marks, row.usage.tag) {
                    true => '*',
                    false => mark(row, done && model.counted),
                },
                cells,
                tints,
                ..Row::default()
            })
        });
    }

    fn cell<'r>(
        &self,
        which: TagColumn,
        row: &'r TagRow,
        total: u64,
        (model, theme): (&'r Model, &Theme),
    ) -> Cow<'r, str> {
        let usage = self.pool.of(&row.usage);
        let since_boot = |n: u64| match (model.counted, usage.wrapped) {
            (true, false) => grouped(n).into(),
            (true, true) => Cow::Borrowed("wrapped"),
            (false, _) => Cow::Borrowed("?"),
        };
        let share = usage.bytes as f64 / total.max(1) as f64;
        let tag = row.usage.tag;
        let baseline = model.baseline.as_deref();
        let unknown = || Cow::Borrowed("?");
        match which {
            TagColumn::Tag => tag.to_string().into(),
            TagColumn::NonpagedDiff => grouped(row.usage.nonpaged.outstanding).into(),
            TagColumn::NonpagedBytes => grouped(row.usage.nonpaged.bytes).into(),
            TagColumn::PagedDiff => grouped(row.usage.paged.outstanding).into(),
            TagColumn::PagedBytes => grouped(row.usage.paged.bytes).into(),
            TagColumn::Allocs => since_boot(usage.allocs),
            TagColumn::Frees => since_boot(usage.frees),
            TagColumn::Diff => grouped(usage.outstanding).into(),
            TagColumn::Bytes => grouped(usage.bytes).into(),
            TagColumn::Share => format!("{:.1}%", share * 100.0).into(),
            TagColumn::Bar => theme.bar(share, BAR.into()).into(),
            TagColumn::PerAlloc => grouped(usage.bytes_per_alloc()).into(),
            TagColumn::About => about(row),
            TagColumn::Owner => row.owner().unwrap_or_default().into(),
            TagColumn::Change => {
                let change = baseline.and_then(|b| self.change(b, tag));
                change.map_or_else(unknown, |n| signed(n.into()).into())
            }
            TagColumn::Rate => {
                let rate = baseline.and_then(|b| b.rate(tag));
                rate.map_or_else(unknown, |n| signed(n.into()).into())
            }
            TagColumn::Trend => {
                let trend = baseline.and_then(|b| b.trend(tag));
                trend.map_or_else(unknown, |t| t.word().into())
            }
            TagColumn::Series => match baseline {
                Some(b) => theme.sparkline(&folded(&b.bytes(tag, self.pool))).into(),
                None => Cow::Borrowed(""),
            },
        }
    }
}

/// Colours for the bytes of each pool.
fn tints(columns: &[(TagColumn, Column)], pool: PoolChoice, theme: &Theme) -> Vec<(usize, Style)> {
    let kind = |which: TagColumn| match (which, pool) {
        (TagColumn::NonpagedBytes, _) | (TagColumn::Bytes, PoolChoice::Nonpaged) => {
            Some(Kind::Nonpaged)
        }
        (TagColumn::PagedBytes, _) | (TagColumn::Bytes, PoolChoice::Paged) => Some(Kind::Paged),
        _ => None,
    };
    let tint =
        |(i, (which, _)): (usize, &(TagColumn, Column))| Some((i, theme.kind(kind(*which)?)));
    columns.iter().enumerate().filter_map(tint).collect()
}

fn about(row: &TagRow) -> Cow<'_, str> {
    match &row.about {
        Some(text) => text.as_str().into(),
        None => "unknown tag".into(),
    }
}

/// `?` for an unknown tag, `~` if the walk found a different amount than the kernel counts.
fn mark(row: &TagRow, walked: bool) -> char {
    match (walked && !row.agrees(), row.about.is_none()) {
        (true, _) => '~',
        (_, true) => '?',
        _ => ' ',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    fn order(tags: &Tags, model: &Model) -> Vec<String> {
        (0..tags.len())
            .filter_map(|i| Some(tags.row(model, i)?.usage.tag.to_string()))
            .collect()
    }

    #[test]
    fn the_leak_comes_first_and_letters_change_the_order() {
        let model = fixture::model();
        let mut tags = Tags::default();
        tags.rearrange(&model);
        assert_eq!(order(&tags, &model)[0], "Leak");
        tags.sort_by(&model, SortBy::Diff);
        assert_ne!(order(&tags, &model)[0], "Leak");
        tags.next_pool(&model);
        tags.sort_by(&model, SortBy::Bytes);
        assert_eq!(
            order(&tags, &model)[0],
            "Leak",
            "p and b never turn it round"
        );
        tags.sort_by(&model, SortBy::Tag);
        let ascending = order(&tags, &model);
        assert!(ascending.is_sorted());
        tags.sort_by(&model, SortBy::Tag);
        assert!(order(&tags, &model).iter().rev().is_sorted());
        assert!(tags.words().contains("Z to A"));
    }

    #[test]
    fn another_order_or_pool_starts_at_the_top() {
        let model = fixture::many_tags(500);
        let mut tags = Tags::default();
        tags.rearrange(&model);
        let away = |tags: &mut Tags| {
            tags.cursor.to(250);
            tags.cursor.settle(tags.len(), 10);
            tags.remember(&model);
        };
        away(&mut tags);
        tags.sort_by(&model, SortBy::Diff);
        assert_eq!((tags.cursor.row, tags.cursor.top), (0, 0));
        away(&mut tags);
        tags.next_pool(&model);
        assert_eq!((tags.cursor.row, tags.cursor.top), (0, 0));
    }

    #[test]
    fn a_filter_keeps_the_selected_row_on_its_line() {
        let model = fixture::many_tags(500);
        let mut tags = Tags::default();
        tags.rearrange(&model);
        tags.cursor.to(250);
        tags.cursor.settle(tags.len(), 10);
        tags.remember(&model);
        let tag = tags.current(&model).unwrap().usage.tag;
        let line = tags.cursor.row - tags.cursor.top;
        tags.set_filter(&model, "bytes >= 16").unwrap();
        tags.cursor.settle(tags.len(), 10);
        assert_eq!(tags.current(&model).unwrap().usage.tag, tag);
        assert_eq!(tags.cursor.row - tags.cursor.top, line);
    }

    #[test]
    fn the_command_is_valid_in_windbg() {
        let model = fixture::model();
        let mut tags = Tags::default();
        assert_eq!(tags.command(), "!poolused 2");
        tags.pool = PoolChoice::Paged;
        assert_eq!(tags.command(), "!poolused 4");
        tags.filter = "Mm*".into();
        assert_eq!(tags.command(), "!poolused 4 Mm*");
        tags.sort_by(&model, SortBy::Tag);
        assert_eq!(tags.command(), "!poolused 0 Mm*");
    }
}
