//! The columns of the tag list, which of them fit a width, and the user's choices.

use crate::tui::data::order::{PoolChoice, SortBy};
use crate::tui::data::settings::{ColumnChoice, ColumnChoices};
use crate::tui::widgets::table::{Column, fit};

/// A column of the tag list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum TagColumn {
    Tag,
    NonpagedDiff,
    NonpagedBytes,
    PagedDiff,
    PagedBytes,
    Allocs,
    Frees,
    Diff,
    Bytes,
    Share,
    Bar,
    PerAlloc,
    Change,
    Rate,
    Series,
    Trend,
    About,
    Owner,
}

use TagColumn::{
    About, Allocs, Bar, Bytes, Change, Diff, Frees, NonpagedBytes, NonpagedDiff, Owner, PagedBytes,
    PagedDiff, PerAlloc, Rate, Series, Share, Tag, Trend,
};

/// Width of the bar, in cells.
pub const BAR: u16 = 10;

/// All columns, in the order of the list.
pub const ALL: [TagColumn; 18] = [
    Tag,
    NonpagedDiff,
    NonpagedBytes,
    PagedDiff,
    PagedBytes,
    Allocs,
    Frees,
    Diff,
    Bytes,
    Change,
    Rate,
    Series,
    Trend,
    Share,
    Bar,
    PerAlloc,
    About,
    Owner,
];

impl TagColumn {
    /// The name in settings, in the column chooser and, if the column is a field, in queries.
    pub fn name(self) -> &'static str {
        match self {
            Tag => "tag",
            NonpagedDiff => "npdiff",
            NonpagedBytes => "np",
            PagedDiff => "pgdiff",
            PagedBytes => "paged",
            Allocs => "allocs",
            Frees => "frees",
            Diff => "diff",
            Bytes => "bytes",
            Share => "share",
            Bar => "bar",
            PerAlloc => "mean",
            Change => "change",
            Rate => "rate",
            Series => "series",
            Trend => "trend",
            About => "for",
            Owner => "owner",
        }
    }

    /// The column with a name.
    pub fn named(name: &str) -> Option<TagColumn> {
        ALL.into_iter()
            .find(|c| c.name().eq_ignore_ascii_case(name))
    }

    /// A description, for the column chooser.
    pub fn about(self) -> &'static str {
        match self {
            Tag => "the tag; always shown",
            NonpagedDiff => "outstanding allocations, nonpaged pool",
            NonpagedBytes => "bytes, nonpaged pool",
            PagedDiff => "outstanding allocations, paged pool",
            PagedBytes => "bytes, paged pool",
            Allocs => "allocations since boot",
            Frees => "frees since boot",
            Diff => "outstanding allocations",
            Bytes => "bytes outstanding",
            Share => "share of the pool shown",
            Bar => "the share as a bar",
            PerAlloc => "bytes per outstanding allocation",
            Change => "change since the baseline",
            Rate => "growth in bytes an hour since the baseline",
            Series => "bytes at each point of the baseline",
            Trend => "trend over the points of the baseline",
            About => "what the tag is used for",
            Owner => "the binary that allocates with the tag",
        }
    }

    /// True for a column that needs a baseline.
    pub fn needs_baseline(self) -> bool {
        matches!(self, Change | Rate | Series | Trend)
    }

    /// True if the list of a pool has this column.
    pub fn belongs(self, pool: PoolChoice) -> bool {
        match self {
            NonpagedDiff | NonpagedBytes | PagedDiff | PagedBytes => pool == PoolChoice::Both,
            Bytes => pool != PoolChoice::Both,
            _ => true,
        }
    }

    /// The query field, as an index into [`crate::tui::data::columns::TAG`].
    pub fn field(self) -> Option<usize> {
        Some(match self {
            Tag => 0,
            Bytes => 1,
            NonpagedBytes => 2,
            PagedBytes => 3,
            Diff => 4,
            NonpagedDiff => 5,
            PagedDiff => 6,
            Allocs => 7,
            Frees => 8,
            PerAlloc => 9,
            Share => 10,
            Owner => 11,
            About => 12,
            Change => 14,
            Rate => 15,
            Trend => 16,
            Bar | Series => return None,
        })
    }

    /// The order that `S` on this column sets: the pool (`None`: the pool on screen), the
    /// sort key, and whether to sort by its change.
    pub fn sort(self) -> Option<(Option<PoolChoice>, SortBy, bool)> {
        Some(match self {
            Tag => (None, SortBy::Tag, false),
            Bytes | Share | Bar => (None, SortBy::Bytes, false),
            NonpagedBytes => (Some(PoolChoice::Nonpaged), SortBy::Bytes, false),
            PagedBytes => (Some(PoolChoice::Paged), SortBy::Bytes, false),
            Diff => (None, SortBy::Diff, false),
            NonpagedDiff => (Some(PoolChoice::Nonpaged), SortBy::Diff, false),
            PagedDiff => (Some(PoolChoice::Paged), SortBy::Diff, false),
            Allocs => (None, SortBy::Allocs, false),
            Frees => (None, SortBy::Frees, false),
            PerAlloc => (None, SortBy::PerAlloc, false),
            Change | Rate | Series | Trend => (None, SortBy::Bytes, true),
            About | Owner => return None,
        })
    }

    /// The column that shows an order.
    pub fn sorted(pool: PoolChoice, sort: SortBy, by_change: bool) -> TagColumn {
        match (sort, pool) {
            (SortBy::Tag, _) => Tag,
            _ if by_change => Change,
            (SortBy::Bytes, PoolChoice::Both) => Share,
            (SortBy::Bytes, _) => Bytes,
            (SortBy::Allocs, _) => Allocs,
            (SortBy::Frees, _) => Frees,
            (SortBy::Diff, _) => Diff,
            (SortBy::PerAlloc, _) => PerAlloc,
        }
    }

    /// The drawn column, for the list of a pool. On a narrow screen, priorities decide
    /// which columns stay; with a baseline, changes come before the counts since boot.
    fn column(self, pool: PoolChoice, sort: SortBy) -> Column {
        let both = pool == PoolChoice::Both;
        match self {
            Tag => Column::text("Tag", 4, 0),
            NonpagedDiff => Column::number("NonP diff", 9, 2),
            NonpagedBytes => Column::number("NonP bytes", 14, 1),
            PagedDiff => Column::number("Paged diff", 10, 2),
            PagedBytes => Column::number("Paged bytes", 14, 1),
            Allocs => Column::number("Allocs", 13, if both { 7 } else { 5 }),
            Frees => Column::number("Frees", 13, if both { 7 } else { 5 }),
            Diff => Column::number("Diff", 11, if both { 9 } else { 2 }),
            Bytes => Column::number("Bytes", 15, 1),
            Share => {
                let title = match pool {
                    PoolChoice::Both => "Of both",
                    PoolChoice::Nonpaged => "Of nonp",
                    PoolChoice::Paged => "Of paged",
                };
                Column::number(title, 8, if both { 4 } else { 3 })
            }
            Bar => Column::text("", BAR, if both { 10 } else { 4 }),
            PerAlloc => Column::number("Mean", 11, 8),
            Change => {
                let title = match sort {
                    SortBy::Allocs => "Change allocs",
                    SortBy::Frees => "Change frees",
                    SortBy::Diff => "Change diff",
                    _ => "Change bytes",
                };
                Column::number(title, 15, 1)
            }
            Rate => Column::number("Bytes/hour", 13, 2),
            Series => Column::text("Series", 8, 3),
            Trend => Column::text("Trend", 11, 3),
            About => Column::text("Used for", 12, if both { 3 } else { 4 }).growing(if both {
                16
            } else {
                18
            }),
            Owner => Column::text("Owner", 18, if both { 5 } else { 6 }),
        }
    }
}

/// The columns of a list, in its order. Columns that are never shown are left out; columns
/// that are always shown, and the sort column, have the highest priority.
pub fn shown(
    pool: PoolChoice,
    (sort, sorted): (SortBy, TagColumn),
    baseline: bool,
    choices: &ColumnChoices,
) -> Vec<(TagColumn, Column)> {
    let there = |c: &TagColumn| c.belongs(pool) && (baseline || !c.needs_baseline());
    let all = ALL.into_iter().filter(there);
    all.filter_map(|which| {
        let mut column = which.column(pool, sort);
        let choice = match which {
            Tag => ColumnChoice::Always,
            which if which == sorted => ColumnChoice::Always,
            which => choices.of(which.name()),
        };
        match choice {
            ColumnChoice::Never => return None,
            ColumnChoice::Always => column.priority = 0,
            ColumnChoice::Auto => {}
        }
        Some((which, column))
    })
    .collect()
}

/// The columns of [`shown`] for a width. Allocations and frees are shown together or not at
/// all, unless the user or the sort order needs one of them.
pub fn at_width(mut columns: Vec<(TagColumn, Column)>, width: u16) -> Vec<(TagColumn, Column)> {
    let drawn: Vec<Column> = columns.iter().map(|c| c.1).collect();
    let fits = fit(&drawn, width);
    let there = |which: TagColumn| {
        let place = columns.iter().position(|c| c.0 == which);
        place.is_some_and(|at| fits.iter().any(|(i, _)| *i == at))
    };
    if there(Allocs) != there(Frees) {
        columns.retain(|(which, column)| !matches!(which, Allocs | Frees) || column.priority == 0);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::data::columns;

    const POOLS: [PoolChoice; 3] = [PoolChoice::Both, PoolChoice::Nonpaged, PoolChoice::Paged];
    const SORTS: [SortBy; 6] = [
        SortBy::Bytes,
        SortBy::Allocs,
        SortBy::Frees,
        SortBy::Diff,
        SortBy::PerAlloc,
        SortBy::Tag,
    ];

    fn at(pool: PoolChoice, sort: (SortBy, bool), baseline: bool, width: u16) -> Vec<TagColumn> {
        let sort = (sort.0, TagColumn::sorted(pool, sort.0, sort.1));
        let columns = shown(pool, sort, baseline, &ColumnChoices::default());
        let columns = at_width(columns, width);
        let drawn: Vec<Column> = columns.iter().map(|c| c.1).collect();
        let fits = fit(&drawn, width);
        fits.iter().map(|(i, _)| columns[*i].0).collect()
    }

    #[test]
    fn the_sort_column_is_shown_at_every_width() {
        for pool in POOLS {
            for sort in SORTS {
                for by_change in [false, true] {
                    let sorted = TagColumn::sorted(pool, sort, by_change);
                    for width in [24, 40, 60, 80, 120, 200] {
                        let shown = at(pool, (sort, by_change), by_change, width);
                        assert!(shown.contains(&sorted), "{pool:?} {sort:?} at {width}");
                    }
                }
            }
        }
    }

    #[test]
    fn wide_lists_have_allocs_frees_and_the_owner() {
        for pool in POOLS {
            let shown = at(pool, (SortBy::Bytes, false), false, 139);
            for column in [Allocs, Frees, Owner] {
                assert!(shown.contains(&column), "{pool:?}: {column:?} at 139");
            }
        }
        let narrower = at(PoolChoice::Both, (SortBy::Bytes, false), false, 119);
        assert_eq!(narrower.contains(&Allocs), narrower.contains(&Frees));
        let with_baseline = at(PoolChoice::Both, (SortBy::Bytes, false), true, 120);
        for column in [Change, Rate, Series, Trend] {
            assert!(with_baseline.contains(&column), "{column:?}");
        }
    }

    #[test]
    fn column_choices_of_the_user_are_respected() {
        let mut choices = ColumnChoices::default();
        choices.set("owner", ColumnChoice::Always);
        choices.set("share", ColumnChoice::Never);
        choices.set("np", ColumnChoice::Never);
        choices.set("tag", ColumnChoice::Never);
        let columns = shown(PoolChoice::Both, (SortBy::Allocs, Allocs), false, &choices);
        let drawn: Vec<Column> = columns.iter().map(|c| c.1).collect();
        let names: Vec<TagColumn> = fit(&drawn, 60).iter().map(|(i, _)| columns[*i].0).collect();
        assert!(names.contains(&Owner) && names.contains(&Tag) && names.contains(&Allocs));
        assert!(!names.contains(&Share) && !names.contains(&NonpagedBytes));
    }

    #[test]
    fn every_column_has_its_name_and_its_field() {
        for column in ALL {
            assert_eq!(TagColumn::named(column.name()), Some(column));
            if let Some(field) = column.field() {
                assert!(
                    columns::TAG[field].names.contains(&column.name()),
                    "{column:?}"
                );
            }
        }
        assert_eq!(TagColumn::named("nonsense"), None);
    }
}
