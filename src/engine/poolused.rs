//! The kernel's accounts, selected and ordered as `!poolused` does.

use std::cmp::Reverse;
use std::sync::Arc;

use thiserror::Error;

use crate::analysis::attribution::Attribution;
use crate::analysis::{Description, Descriptions};
use crate::pool::tracker::{TagUsage, Trackers};
use crate::pool::{Pool, TagPattern};
use crate::series::{Counts, Point, Row};

/// The order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By the tag's bytes.
    #[default]
    Tag,
    /// By bytes of nonpaged pool, the most first.
    Nonpaged,
    /// By bytes of paged pool, the most first.
    Paged,
}

/// Which rows, and how: the arguments of `!poolused`.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The order.
    pub sort: Sort,
    /// Allocations and frees beside the difference.
    pub verbose: bool,
    /// Session pool instead of the system's.
    pub session: bool,
    /// At most so many rows (`/tN`); the totals are over all tags whatever this is.
    pub top: Option<usize>,
    /// Which tags.
    pub pattern: TagPattern,
}

impl Default for Selection {
    /// All tags, by tag.
    fn default() -> Selection {
        Selection {
            sort: Sort::Tag,
            verbose: false,
            session: false,
            top: None,
            pattern: TagPattern::any(),
        }
    }
}

impl From<&crate::command::PoolUsed> for Selection {
    fn from(wanted: &crate::command::PoolUsed) -> Selection {
        Selection {
            sort: match (wanted.has(2), wanted.has(4)) {
                (true, _) => Sort::Nonpaged,
                (_, true) => Sort::Paged,
                _ => Sort::Tag,
            },
            verbose: wanted.has(1),
            session: wanted.has(8),
            top: wanted.top,
            pattern: wanted.pattern.clone().unwrap_or_else(TagPattern::any),
        }
    }
}

/// The answer of `poolused`.
#[derive(Clone, Debug)]
pub struct PoolUsed {
    /// The tags selected.
    pub rows: Vec<PoolUsedRow>,
    /// Over all tags; with a pattern, over those that match.
    pub total: TagUsage,
    /// What was asked for.
    pub selection: Selection,
    /// Doubts about the accounts, as sentences.
    pub notes: Vec<String>,
}

/// One tag.
#[derive(Clone, Debug)]
pub struct PoolUsedRow {
    /// Its account.
    pub usage: TagUsage,
    /// What the tag is for.
    pub about: Option<Description>,
    /// Whose it is, where that is known already.
    pub attribution: Option<Arc<Attribution>>,
}

/// There are no accounts, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NoAccounts(pub String);

impl PoolUsed {
    /// Of these accounts, as selected.
    ///
    /// # Errors
    /// When the dump has none.
    pub fn of(
        trackers: &Trackers,
        descriptions: &Descriptions,
        selection: &Selection,
    ) -> Result<PoolUsed, NoAccounts> {
        if trackers.tables.is_empty() {
            let why = trackers.notes.join("; ");
            return Err(NoAccounts(match why.is_empty() {
                true => "the pool trackers were not found in this dump".into(),
                false => why,
            }));
        }
        let rows = trackers.rows.iter();
        let mut rows: Vec<&TagUsage> = rows
            .filter(|row| selection.pattern.matches(row.tag))
            .collect();
        match selection.sort {
            Sort::Tag => {}
            Sort::Nonpaged => rows.sort_by_key(|r| Reverse(r.nonpaged.bytes)),
            Sort::Paged => rows.sort_by_key(|r| Reverse(r.paged.bytes)),
        }
        let mut total = TagUsage::default();
        for row in &rows {
            total.nonpaged += row.nonpaged;
            total.paged += row.paged;
        }
        let shown = selection.top.unwrap_or(usize::MAX);
        let rows = rows.into_iter().take(shown).map(|row| PoolUsedRow {
            usage: *row,
            about: descriptions.get(row.tag).cloned(),
            attribution: None,
        });
        Ok(PoolUsed {
            rows: rows.collect(),
            total,
            selection: selection.clone(),
            notes: match selection.session {
                true => trackers.notes.clone(),
                // Those of the system stand among the dump's warnings.
                false => Vec::new(),
            },
        })
    }
}

/// The rows of a log or table, selected and ordered in the same way. Figures that it does
/// not hold are `None`.
#[derive(Clone, Debug)]
pub struct ListedPoolUsed {
    /// The tags selected, and what they are for.
    pub rows: Vec<(Row, Option<Description>)>,
    /// Sums over the tags that match, of nonpaged and of paged pool; a figure that one row
    /// lacks is not summed.
    pub total: [Counts; 2],
    /// What was asked for.
    pub selection: Selection,
}

impl ListedPoolUsed {
    /// Of a point.
    ///
    /// # Errors
    /// When the log has no tags.
    pub fn of(
        point: &Point,
        descriptions: &Descriptions,
        selection: &Selection,
    ) -> Result<ListedPoolUsed, NoAccounts> {
        if point.rows.is_empty() {
            return Err(NoAccounts("the log has no tags".into()));
        }
        if selection.session && !point.session {
            return Err(NoAccounts("the log does not list session pool".into()));
        }
        let rows = point.rows.iter();
        let mut rows: Vec<&Row> = rows.filter(|r| selection.pattern.matches(r.tag)).collect();
        match selection.sort {
            Sort::Tag => {}
            Sort::Nonpaged => rows.sort_by_key(|r| Reverse(r.nonpaged.bytes)),
            Sort::Paged => rows.sort_by_key(|r| Reverse(r.paged.bytes)),
        }
        let total = [Pool::Nonpaged, Pool::Paged].map(|pool| sum(&rows, pool));
        let shown = selection.top.unwrap_or(usize::MAX);
        let about = |row: &Row| descriptions.get(row.tag).cloned();
        let rows = rows.into_iter().take(shown).map(|row| (*row, about(row)));
        Ok(ListedPoolUsed {
            rows: rows.collect(),
            total,
            selection: selection.clone(),
        })
    }
}

/// Over the rows that have the pool at all.
fn sum(rows: &[&Row], pool: Pool) -> Counts {
    let listed = rows
        .iter()
        .map(|r| r.counts(pool))
        .filter(|c| !c.is_unknown());
    let of = |get: fn(&Counts) -> Option<u64>| {
        let mut figures = listed.clone().map(|c| get(&c)).peekable();
        figures.peek()?;
        figures.try_fold(0u64, |sum, figure| sum.checked_add(figure?))
    };
    Counts {
        allocs: of(|c| c.allocs),
        frees: of(|c| c.frees),
        outstanding: of(|c| c.outstanding),
        bytes: of(|c| c.bytes),
    }
}
