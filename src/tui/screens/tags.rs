//! The tag list: `!poolused`, sorted and filtered.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::pool::Tag;
use crate::report::text::grouped;

use crate::tui::data::columns::{self, TagAsked};
use crate::tui::data::mark::{self, Mark};
use crate::tui::data::model::{Model, TagRow};
use crate::tui::data::order::{PoolChoice, SortBy};
use crate::tui::input::query::TextFilter;
use crate::tui::input::query::{self, Query};
use crate::tui::terminal::theme::{Kind, Theme};
use crate::tui::widgets::list::{Cursor, around};
use crate::tui::widgets::table::{Column, Row, Table};

/// What a list is drawn from, besides its own state.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// What is known of the dump.
    pub model: &'a Model,
    /// What is marked.
    pub marks: &'a [Mark],
    /// The list has the keys.
    pub focused: bool,
    /// The walk of the pool is done.
    pub done: bool,
}

/// The state of the list.
#[derive(Clone, Debug, Default)]
pub struct Tags {
    /// Rows of the model, in the order shown.
    order: Vec<usize>,
    /// Where one is.
    pub cursor: Cursor,
    /// Which pool.
    pub pool: PoolChoice,
    /// What it is sorted by.
    pub sort: SortBy,
    /// Smallest first (for tags: last first).
    pub reversed: bool,
    /// What was typed after `&`.
    pub filter: String,
    /// Only tags without a description.
    pub unknown_only: bool,
    /// The column of the table that keys about a column mean; `None` for the one that is
    /// sorted by.
    pub meant: Option<usize>,
    selected: Option<Tag>,
    /// The order that was asked for last, as long as nothing else was.
    asked: Option<SortBy>,
}

impl Tags {
    /// Rows shown.
    pub fn len(&self) -> u64 {
        self.order.len() as u64
    }

    /// True when no row is shown.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The row at a place of the list.
    pub fn row<'m>(&self, model: &'m Model, at: u64) -> Option<&'m TagRow> {
        model.tags.get(*self.order.get(usize::try_from(at).ok()?)?)
    }

    /// The selected row.
    pub fn current<'m>(&self, model: &'m Model) -> Option<&'m TagRow> {
        self.row(model, self.cursor.row)
    }

    /// Remembers what is selected, after the user moved.
    pub fn remember(&mut self, model: &Model) {
        self.selected = self.current(model).map(|row| row.usage.tag);
    }

    /// Sorts and filters anew. A row that the user went to stays where it is on screen.
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
        // The model's rows are in order of tag, and the sort is stable, so equals stay so.
        let value = |i: &usize| {
            model
                .tags
                .get(*i)
                .map_or(0, |row| self.sort.value(&self.pool.of(&row.usage)))
        };
        match (self.sort, self.reversed) {
            (SortBy::Tag, false) => {}
            (SortBy::Tag, true) => order.reverse(),
            (_, false) => order.sort_by_key(|i| std::cmp::Reverse(value(i))),
            (_, true) => order.sort_by_key(value),
        }
        self.order = order;
        self.find_selected(model);
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
            total: self.pool.of(&model.total).bytes,
            counted: model.counted,
        }
    }

    /// Filters by what is typed.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence; the list stays as it was.
    pub fn set_filter(&mut self, model: &Model, text: &str) -> Result<(), String> {
        if query::compares(text) {
            Query::parse(text, &columns::TAG, columns::TAG_DEFAULT)?;
        }
        text.clone_into(&mut self.filter);
        self.rearrange(model);
        Ok(())
    }

    /// The columns of the table as fields of a query; a bar is none.
    fn table_fields(&self) -> &'static [Option<usize>] {
        const BAR: Option<usize> = None;
        match self.pool {
            PoolChoice::Both => &[
                Some(0),
                Some(5),
                Some(2),
                Some(6),
                Some(3),
                Some(7),
                Some(8),
                Some(4),
                Some(10),
                BAR,
                Some(9),
                Some(12),
                Some(11),
            ],
            _ => &[
                Some(0),
                Some(7),
                Some(8),
                Some(4),
                Some(1),
                Some(10),
                BAR,
                Some(9),
                Some(12),
                Some(11),
            ],
        }
    }

    /// The columns of the table. The one that is sorted by is kept at every width.
    fn columns(&self) -> Vec<Column> {
        let mut columns = match self.pool {
            PoolChoice::Both => BOTH.to_vec(),
            PoolChoice::Nonpaged => ONE.to_vec(),
            PoolChoice::Paged => {
                let mut columns = ONE.to_vec();
                if let Some(share) = columns.get_mut(5) {
                    share.title = "Of paged";
                }
                columns
            }
        };
        if let Some(column) = columns.get_mut(self.sorted_column()) {
            column.priority = 0;
        }
        columns
    }

    /// The column of the table that keys about a column mean.
    pub fn meant_column(&self) -> usize {
        self.meant.unwrap_or(self.sorted_column())
    }

    /// The field of a query that keys about a column mean.
    pub fn meant_field(&self) -> usize {
        let fields = self.table_fields();
        fields
            .get(self.meant_column())
            .copied()
            .flatten()
            .unwrap_or(0)
    }

    /// Means the next column, or the one before.
    pub fn step_column(&mut self, step: i64) {
        let fields = self.table_fields();
        let mut at = self.meant_column();
        while let Some(next) = at
            .checked_add_signed(step as isize)
            .filter(|i| *i < fields.len())
        {
            at = next;
            if fields.get(at).is_some_and(Option::is_some) {
                self.meant = Some(at);
                return;
            }
        }
    }

    /// Sorts by the selected column. False when there is no such order.
    pub fn sort_here(&mut self, model: &Model) -> bool {
        let (pool, sort) = match self.meant_field() {
            0 => (self.pool, SortBy::Tag),
            1 | 10 => (self.pool, SortBy::Bytes),
            2 => (PoolChoice::Nonpaged, SortBy::Bytes),
            3 => (PoolChoice::Paged, SortBy::Bytes),
            4 => (self.pool, SortBy::Diff),
            5 => (PoolChoice::Nonpaged, SortBy::Diff),
            6 => (PoolChoice::Paged, SortBy::Diff),
            7 => (self.pool, SortBy::Allocs),
            8 => (self.pool, SortBy::Frees),
            9 => (self.pool, SortBy::PerAlloc),
            _ => return false,
        };
        if pool != self.pool {
            self.pool = pool;
            self.meant = None;
        }
        self.sort_by(model, sort);
        true
    }

    /// A tag that was used and is not any more still has its allocs and frees to show.
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

    /// Sorts by something, largest first; asked for the same twice running, the other
    /// way round.
    pub fn sort_by(&mut self, model: &Model, sort: SortBy) {
        self.reversed = self.asked == Some(sort) && !self.reversed;
        self.asked = Some(sort);
        self.sort = sort;
        self.select_top(model);
    }

    /// Goes on to the next pool.
    pub fn next_pool(&mut self, model: &Model) {
        self.pool = self.pool.next();
        self.asked = None;
        self.meant = None;
        self.select_top(model);
    }

    /// Another order answers another question: the answer is at the top.
    fn select_top(&mut self, model: &Model) {
        self.cursor = Cursor::default();
        self.selected = None;
        self.rearrange(model);
    }

    /// The next row that matches, going round at the ends.
    pub fn find(&self, model: &Model, typed: &str, from: u64, forward: bool) -> Option<u64> {
        let filter = TextFilter::parse(typed)?;
        let find = |fits: &dyn Fn(&TagRow) -> bool| {
            around(self.len(), from, forward).find(|&at| self.row(model, at).is_some_and(fits))
        };
        // Who types a tag wants that tag, not one whose description has the letters.
        find(&|row| filter.tag_itself(row)).or_else(|| find(&|row| filter.tag(row)))
    }

    /// The order and the filter in words.
    pub fn words(&self) -> String {
        let order = match (self.sort, self.reversed) {
            (SortBy::Tag, false) => "A first",
            (SortBy::Tag, true) => "Z first",
            (_, false) => "large first",
            (_, true) => "small first",
        };
        let mut out = format!("{} by {}, {order}", self.pool.words(), self.sort.words());
        if self.unknown_only {
            out += ", unknown only";
        }
        if !self.filter.is_empty() {
            out += &format!(", & {}", self.filter);
        }
        out
    }

    /// What the rows shown hold together.
    pub fn held(&self, model: &Model) -> u64 {
        let rows = (0..self.len()).filter_map(|at| self.row(model, at));
        rows.fold(0u64, |sum, row| {
            sum.saturating_add(self.pool.of(&row.usage).bytes)
        })
    }

    /// What to type into the debugger for this list.
    pub fn command(&self) -> String {
        let flags = match (self.sort, self.pool) {
            (SortBy::Tag, _) => "",
            (_, PoolChoice::Paged) => " 4",
            _ => " 2",
        };
        let verbose = match (self.sort, self.pool) {
            (SortBy::Allocs | SortBy::Frees, PoolChoice::Paged) => " 5",
            (SortBy::Allocs | SortBy::Frees, _) => " 3",
            _ => flags,
        };
        let pattern = TextFilter::parse(&self.filter)
            .filter(|f| f.pattern().is_some() && !query::compares(&self.filter))
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
        let columns = self.columns();
        let sorted = self.sorted_column();
        let total = self.pool.of(&model.total).bytes;
        let table = Table {
            columns: &columns,
            sorted: Some((sorted, self.reversed == (self.sort == SortBy::Tag))),
            rows: self.len(),
            cursor: self.cursor,
            focused,
            meant: self.meant,
        };
        table.draw(buffer, area, theme, |at| {
            let row = self.row(model, at)?;
            Some(Row {
                mark: match mark::has_tag(marks, row.usage.tag) {
                    true => '*',
                    false => mark(row, done && model.counted),
                },
                cells: self.cells(row, total, model.counted, theme),
                tints: self.tints(theme),
                ..Row::default()
            })
        });
    }

    /// The pools' bytes in the pools' colours.
    fn tints(&self, theme: &Theme) -> Vec<(usize, Style)> {
        let (nonpaged, paged) = (theme.kind(Kind::Nonpaged), theme.kind(Kind::Paged));
        match self.pool {
            PoolChoice::Both => vec![(2, nonpaged), (4, paged)],
            PoolChoice::Nonpaged => vec![(4, nonpaged)],
            PoolChoice::Paged => vec![(4, paged)],
        }
    }

    fn sorted_column(&self) -> usize {
        match (self.pool, self.sort) {
            (_, SortBy::Tag) => 0,
            (PoolChoice::Both, SortBy::Bytes) => 8,
            (PoolChoice::Both, SortBy::Allocs) => 5,
            (PoolChoice::Both, SortBy::Frees) => 6,
            (PoolChoice::Both, SortBy::Diff) => 7,
            (PoolChoice::Both, SortBy::PerAlloc) => 10,
            (_, SortBy::Allocs) => 1,
            (_, SortBy::Frees) => 2,
            (_, SortBy::Diff) => 3,
            (_, SortBy::Bytes) => 4,
            (_, SortBy::PerAlloc) => 7,
        }
    }

    fn cells<'r>(
        &self,
        row: &'r TagRow,
        total: u64,
        counted: bool,
        theme: &Theme,
    ) -> Vec<Cow<'r, str>> {
        let tag = row.usage.tag.to_string().into();
        let about = about(row);
        let binary = row.whose().unwrap_or_default().into();
        let usage = self.pool.of(&row.usage);
        let since_boot = |n: u64| match (counted, usage.wrapped) {
            (true, false) => grouped(n).into(),
            (true, true) => Cow::Borrowed("wrapped"),
            (false, _) => Cow::Borrowed("?"),
        };
        let share = usage.bytes as f64 / total.max(1) as f64;
        let percent = format!("{:.1}%", share * 100.0).into();
        let bar = theme.bar(share, BAR.into()).into();
        let mean = grouped(usage.bytes_per_alloc()).into();
        match self.pool {
            PoolChoice::Both => vec![
                tag,
                grouped(row.usage.nonpaged.outstanding).into(),
                grouped(row.usage.nonpaged.bytes).into(),
                grouped(row.usage.paged.outstanding).into(),
                grouped(row.usage.paged.bytes).into(),
                since_boot(usage.allocs),
                since_boot(usage.frees),
                grouped(usage.outstanding).into(),
                percent,
                bar,
                mean,
                about,
                binary,
            ],
            _ => vec![
                tag,
                since_boot(usage.allocs),
                since_boot(usage.frees),
                grouped(usage.outstanding).into(),
                grouped(usage.bytes).into(),
                percent,
                bar,
                mean,
                about,
                binary,
            ],
        }
    }
}

const BAR: u16 = 10;

const BOTH: [Column; 13] = [
    Column::text("Tag", 4, 0),
    Column::number("NonP diff", 9, 2),
    Column::number("NonP bytes", 14, 1),
    Column::number("Paged diff", 10, 2),
    Column::number("Paged bytes", 14, 1),
    Column::number("Allocs", 13, 7),
    Column::number("Frees", 13, 7),
    Column::number("Diff", 11, 9),
    Column::number("Of both", 8, 4),
    Column::text("", BAR, 8),
    Column::number("Mean", 11, 6),
    Column::text("Used for", 12, 3).growing(16),
    Column::text("Binary", 14, 5),
];

const ONE: [Column; 10] = [
    Column::text("Tag", 4, 0),
    Column::number("Allocs", 13, 5),
    Column::number("Frees", 13, 5),
    Column::number("Diff", 11, 2),
    Column::number("Bytes", 15, 1),
    Column::number("Of nonp", 8, 3),
    Column::text("", BAR, 4),
    Column::number("Mean", 11, 7),
    Column::text("Used for", 12, 4).growing(18),
    Column::text("Binary", 14, 6),
];

fn about(row: &TagRow) -> Cow<'_, str> {
    match &row.about {
        Some(text) => text.as_str().into(),
        None => "unknown tag".into(),
    }
}

/// `?` for an unknown tag, `~` when the walk found something else than is counted.
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
    fn the_leak_comes_first_and_the_letters_reorder() {
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
        assert!(tags.words().contains("Z first"));
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
    fn what_is_sorted_by_has_a_column_at_every_width() {
        let sorts = [
            SortBy::Bytes,
            SortBy::Allocs,
            SortBy::Frees,
            SortBy::Diff,
            SortBy::PerAlloc,
            SortBy::Tag,
        ];
        for pool in [PoolChoice::Both, PoolChoice::Nonpaged, PoolChoice::Paged] {
            for sort in sorts {
                let tags = Tags {
                    pool,
                    sort,
                    ..Tags::default()
                };
                let sorted = tags.sorted_column();
                for width in [40, 60, 80, 120, 200] {
                    let shown = crate::tui::widgets::table::fit(&tags.columns(), width);
                    assert!(
                        shown.iter().any(|(i, _)| *i == sorted),
                        "{pool:?} {sort:?} at {width}"
                    );
                }
            }
        }
        let both = Tags::default();
        let shown = crate::tui::widgets::table::fit(&both.columns(), 139);
        for column in [5, 6, 12] {
            assert!(shown.iter().any(|(i, _)| *i == column), "{column} at 139");
        }
    }

    #[test]
    fn the_command_is_the_debuggers() {
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
