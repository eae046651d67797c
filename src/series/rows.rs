//! Collects the rows of a point.

use rustc_hash::FxHashMap;

use crate::pool::{Pool, Tag};

use super::point::{Counts, Point, Row};
use super::tag_text::ReadTag;

/// The rows of a snapshot, one per tag.
#[derive(Debug, Default)]
pub struct Rows {
    rows: FxHashMap<Tag, Row>,
    has_nonpaged: bool,
    has_paged: bool,
    /// Number of repeated rows with a certain tag; the first row is used.
    pub repeated: u64,
}

impl Rows {
    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Number of tags.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The row of a tag.
    pub fn get(&self, tag: Tag) -> Option<&Row> {
        self.rows.get(&tag)
    }

    /// All rows, in any order.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// Adds the counts of a tag; `pool` is `None` if the table does not state it. Different tags
    /// with placeholder characters may look alike: their counts are summed.
    pub fn add(&mut self, tag: ReadTag, pool: Option<Pool>, counts: Counts) {
        match pool {
            Some(Pool::Nonpaged) => self.has_nonpaged = true,
            Some(Pool::Paged) => self.has_paged = true,
            None => {}
        }
        let row = self.rows.entry(tag.tag).or_insert(Row {
            tag: tag.tag,
            ..Row::default()
        });
        row.unsure |= tag.unsure;
        let unsure = row.unsure != 0;
        let place = match pool {
            Some(pool) => row.counts_mut(pool),
            None => &mut row.unplaced,
        };
        match (place.is_unknown(), unsure) {
            (true, _) => *place = counts,
            (false, true) => *place = sum(*place, counts),
            (false, false) => self.repeated += 1,
        }
    }

    /// Moves the rows to a point, sorted by tag.
    pub fn finish(self, point: &mut Point) {
        point.has_nonpaged = self.has_nonpaged;
        point.has_paged = self.has_paged;
        point.skipped += self.repeated;
        point.rows = self.rows.into_values().collect();
        point.rows.sort_unstable_by_key(|row| row.tag);
    }
}

fn sum(a: Counts, b: Counts) -> Counts {
    let add = |a: Option<u64>, b: Option<u64>| a?.checked_add(b?);
    Counts {
        allocs: add(a.allocs, b.allocs),
        frees: add(a.frees, b.frees),
        outstanding: add(a.outstanding, b.outstanding),
        bytes: add(a.bytes, b.bytes),
    }
}
