//! What is judged: tags with their counts, and what is known of the machine. A dump, a log
//! or a table of tags fills it; whatever the source lacks is `None`.

use crate::pool::tracker::{TagUsage, Trackers, Usage};
use crate::pool::{Pool, Tag};

use crate::analysis::attribution::kinds::{self, Kind};

use super::pressure::PoolUse;

/// A tag in a pool. Counts are since boot; each is `None` where the source lacks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The tag.
    pub tag: Tag,
    /// The pool; `None` where the source does not say.
    pub pool: Option<Pool>,
    /// Allocations.
    pub allocs: Option<u64>,
    /// Frees.
    pub frees: Option<u64>,
    /// Allocations outstanding.
    pub outstanding: Option<u64>,
    /// Bytes outstanding.
    pub bytes: Option<u64>,
}

impl Row {
    /// Of the kernel's own accounts. Counters that have wrapped are left out.
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

    /// Allocations and frees, where both are known and add up.
    pub fn history(&self) -> Option<(u64, u64)> {
        let (allocs, frees) = (self.allocs?, self.frees?);
        (allocs > 0 && frees <= allocs).then_some((allocs, frees))
    }

    /// Mean bytes of a block.
    pub fn mean_size(&self) -> Option<u64> {
        self.bytes?.checked_div(self.outstanding?)
    }
}

/// How a tag changed over the points of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trend {
    /// It rises to the end.
    Growing,
    /// The same blocks at every point.
    Pinned,
    /// It rose and has stopped.
    Plateau,
    /// Most of it was freed.
    Freed,
    /// It goes up and down, or stays as it is.
    Steady,
}

/// A tag's way through a log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    /// The result.
    pub trend: Trend,
    /// Points that hold the tag.
    pub points: usize,
    /// Bytes gained from the first point to the last; below zero when lost.
    pub gained: i64,
    /// Bytes an hour, where the points have times.
    pub per_hour: Option<f64>,
}

/// A machine at one moment, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// The tags, each pool a row.
    pub rows: Vec<Row>,
    /// Every tag of the pools is among the rows.
    pub complete: bool,
    /// Physical memory in bytes.
    pub memory: Option<u64>,
    /// The most that can be committed, in bytes.
    pub commit_limit: Option<u64>,
    /// Seconds since boot.
    pub uptime: Option<u64>,
    /// Nonpaged and paged pool.
    pub pools: [PoolUse; 2],
    /// What a log with several points shows of a tag in a pool.
    pub courses: Vec<(Tag, Option<Pool>, Course)>,
}

impl Case {
    /// The rows of the kernel's accounts.
    pub fn rows_of(trackers: &Trackers) -> Vec<Row> {
        let both = |row: &TagUsage| {
            [
                Row::of(row.tag, Pool::Nonpaged, &row.nonpaged),
                Row::of(row.tag, Pool::Paged, &row.paged),
            ]
        };
        trackers.rows.iter().flat_map(both).collect()
    }

    /// Blocks of a tag outstanding in both pools, as far as they are listed.
    pub fn outstanding(&self, tag: Tag) -> u64 {
        let of_tag = self.rows.iter().filter(|row| row.tag == tag);
        of_tag.fold(0, |sum, row| {
            sum.saturating_add(row.outstanding.unwrap_or(0))
        })
    }

    /// Bytes of a pool in use, with their source.
    pub fn used(&self, pool: Pool) -> Option<u64> {
        self.pools[pool as usize].used.as_ref().map(|m| m.bytes)
    }

    /// A row's share of its pool, 0 to 1. `None` where the pool's use is not known or
    /// only a part of it is listed.
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

    /// The share of a row among the listed rows of its pool, where the pool's use is not
    /// known and there are at least four to compare with.
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

    /// True when a row has more than a number that cannot be compared with anything: bytes with a
    /// count, a history, or something that they are a share of.
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

    /// A tag's course through the log.
    pub fn course(&self, row: &Row) -> Option<&Course> {
        let own =
            |(tag, pool, _): &&(Tag, Option<Pool>, Course)| *tag == row.tag && *pool == row.pool;
        self.courses.iter().find(own).map(|(.., course)| course)
    }
}
