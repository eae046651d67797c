//! The input of a judgement: tags with their counts, and facts about the machine. A dump, a log
//! or a table of tags fills it; facts that the source lacks are `None`.

use crate::pool::tracker::{TagUsage, Trackers, Usage};
use crate::pool::{Pool, Tag};

use crate::analysis::attribution::kinds::{self, Kind};

use super::pressure::PoolUse;

/// A tag in a pool. Counts are since boot; each is `None` if the source lacks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The tag.
    pub tag: Tag,
    /// The pool; `None` if the source does not state it.
    pub pool: Option<Pool>,
    /// Number of allocations.
    pub allocs: Option<u64>,
    /// Number of frees.
    pub frees: Option<u64>,
    /// Number of outstanding allocations.
    pub outstanding: Option<u64>,
    /// Outstanding bytes.
    pub bytes: Option<u64>,
}

impl Row {
    /// A row from the kernel's trackers, without counters that have overflowed.
    pub fn of(tag: Tag, pool: Pool, usage: &Usage) -> Row {
        let sound = !usage.wrapped && usage.frees <= usage.allocs;
        Row {
            tag,
            pool: Some(pool),
            allocs: sound.then_some(usage.allocs),
            frees: sound.then_some(usage.frees),
            outstanding: Some(usage.outstanding),
            bytes: Some(usage.bytes),
        }
    }

    /// True for the same tag in the same pool.
    pub fn is_same(&self, other: &Row) -> bool {
        self.tag == other.tag && self.pool == other.pool
    }

    /// Allocations and frees, if both are known and consistent.
    pub fn history(&self) -> Option<(u64, u64)> {
        let (allocs, frees) = (self.allocs?, self.frees?);
        (allocs > 0 && frees <= allocs).then_some((allocs, frees))
    }

    /// Average size of a block, in bytes.
    pub fn mean_size(&self) -> Option<u64> {
        self.bytes?.checked_div(self.outstanding?)
    }
}

/// The trend of a tag over the points of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trend {
    /// Rises until the last point.
    Growing,
    /// Has the same blocks at every point.
    Pinned,
    /// Rose and then stopped.
    Plateau,
    /// Most of it was freed.
    Freed,
    /// Varies or stays constant.
    Steady,
}

/// The course of a tag in a log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    /// The trend.
    pub trend: Trend,
    /// Number of points that contain the tag.
    pub points: usize,
    /// Change in bytes from the first point to the last.
    pub gained: i64,
    /// Change in bytes per hour, if the points have times.
    pub per_hour: Option<f64>,
}

/// The facts about a machine at one point in time.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// The tags, one row per pool.
    pub rows: Vec<Row>,
    /// True if the rows include every tag of the pools.
    pub complete: bool,
    /// Physical memory, in bytes.
    pub memory: Option<u64>,
    /// The commit limit, in bytes.
    pub commit_limit: Option<u64>,
    /// The uptime, in seconds.
    pub uptime: Option<u64>,
    /// The use of nonpaged and of paged pool.
    pub pools: [PoolUse; 2],
    /// The courses of tags, from a log with several points.
    pub courses: Vec<(Tag, Option<Pool>, Course)>,
}

impl Case {
    /// Rows from the kernel's trackers.
    pub fn rows_of(trackers: &Trackers) -> Vec<Row> {
        let both = |row: &TagUsage| {
            [
                Row::of(row.tag, Pool::Nonpaged, &row.nonpaged),
                Row::of(row.tag, Pool::Paged, &row.paged),
            ]
        };
        trackers.rows.iter().flat_map(both).collect()
    }

    /// Outstanding blocks of a tag in both pools, as far as they are listed.
    pub fn outstanding(&self, tag: Tag) -> u64 {
        let of_tag = self.rows.iter().filter(|row| row.tag == tag);
        of_tag.fold(0, |sum, row| {
            sum.saturating_add(row.outstanding.unwrap_or(0))
        })
    }

    /// Bytes in use of a pool.
    pub fn used(&self, pool: Pool) -> Option<u64> {
        self.pools[pool as usize].used.as_ref().map(|m| m.bytes)
    }

    /// A row's share of its pool, 0 to 1. `None` if the pool's use is unknown or only a part of
    /// it is listed.
    pub fn share(&self, row: &Row) -> Option<f64> {
        let measure = self.pools[row.pool? as usize].used.as_ref()?;
        let known = measure.bytes > 0 && !measure.at_least;
        let bytes = row.bytes?;
        known.then(|| (bytes as f64 / measure.bytes as f64).min(1.0))
    }

    /// A row's share of physical memory, 0 to 1.
    pub fn memory_share(&self, row: &Row) -> Option<f64> {
        let memory = self.memory.filter(|bytes| *bytes > 0)?;
        Some((row.bytes? as f64 / memory as f64).min(1.0))
    }

    /// A row's share of the listed rows of its pool, if the pool's use is unknown and at least
    /// four rows are listed.
    pub fn listed_share(&self, row: &Row) -> Option<f64> {
        let own = row.bytes.filter(|_| self.share(row).is_none())?;
        let others: Vec<u64> = self
            .rows
            .iter()
            .filter(|other| other.pool == row.pool)
            .filter_map(|other| other.bytes)
            .collect();
        let sum = others.iter().fold(0u64, |sum, b| sum.saturating_add(*b));
        (others.len() >= 4 && sum > 0).then(|| own as f64 / sum as f64)
    }

    /// True if a row has something that its number can be compared with: a count in addition to
    /// bytes, a history, or a total.
    pub fn can_judge(&self, row: &Row) -> bool {
        let population = matches!(
            kinds::of(row.tag).map(|holder| &holder.kind),
            Some(Kind::Population(_))
        );
        let of_something = self.share(row).is_some() || self.memory_share(row).is_some();
        row.history().is_some()
            || (population && row.outstanding.is_some())
            || (row.bytes.is_some() && (row.outstanding.is_some() || of_something))
    }

    /// The course of a tag in the log.
    pub fn course(&self, row: &Row) -> Option<&Course> {
        let own =
            |(tag, pool, _): &&(Tag, Option<Pool>, Course)| *tag == row.tag && *pool == row.pool;
        self.courses.iter().find(own).map(|(.., course)| course)
    }
}
