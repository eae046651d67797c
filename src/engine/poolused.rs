//! The trackers, selected and sorted as by `!poolused`.

use std::cmp::Reverse;
use std::sync::Arc;

use thiserror::Error;

use crate::analysis::attribution::Attribution;
use crate::analysis::{Description, Descriptions};
use crate::pool::tracker::{TagUsage, Trackers};
use crate::pool::{Pool, TagPattern};
use crate::series::{Counts, Point, Row};

/// The sort order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By the bytes of the tag.
    #[default]
    Tag,
    /// By bytes in nonpaged pool, descending.
    Nonpaged,
    /// By bytes in paged pool, descending.
    Paged,
}

/// The selection and order of rows: the arguments of `!poolused`.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The order.
    pub sort: Sort,
    /// True to show allocations and frees in addition to the difference.
    pub verbose: bool,
    /// True for session pool instead of the system's.
    pub session: bool,
    /// Maximum number of rows (`/tN`); the totals always cover all selected tags.
    pub top: Option<usize>,
    /// The selected tags.
    pub pattern: TagPattern,
}

impl Default for Selection {
    /// All tags, sorted by tag.
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
    /// The selected tags.
    pub rows: Vec<PoolUsedRow>,
    /// The sums of all tags that match the pattern.
    pub total: TagUsage,
    /// The selection.
    pub selection: Selection,
    /// Doubts about the counters, as sentences.
    pub notes: Vec<String>,
}

/// One tag.
#[derive(Clone, Debug)]
pub struct PoolUsedRow {
    /// The counters.
    pub usage: TagUsage,
    /// The entry of the tag lists.
    pub about: Option<Description>,
    /// The owner, if already determined.
    pub attribution: Option<Arc<Attribution>>,
}

/// The trackers are missing; the text is the reason.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NoAccounts(pub String);

impl PoolUsed {
    /// Selects rows of the given trackers.
    ///
    /// # Errors
    /// If the dump has no trackers.
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
                // Doubts about the system's trackers are among the dump's warnings.
                false => Vec::new(),
            },
        })
    }
}

/// The rows of a log or table, selected and sorted in the same way. Missing counts are `None`.
#[derive(Clone, Debug)]
pub struct ListedPoolUsed {
    /// The selected tags with their entries in the tag lists.
    pub rows: Vec<(Row, Option<Description>)>,
    /// The sums of the selected tags, for nonpaged and paged pool; `None` for a count that a row
    /// lacks.
    pub total: [Counts; 2],
    /// The selection.
    pub selection: Selection,
}

impl ListedPoolUsed {
    /// Selects rows of a point.
    ///
    /// # Errors
    /// If the log has no tags.
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

/// Sums the rows of a pool.
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
