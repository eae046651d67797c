//! The state of a pool, independent of leaks: its use from the best available source, compared
//! with the nearest of its limits.

use crate::pool::Pool;

use super::words::{percent, size};

/// The source of a pool's use, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The memory manager's counter.
    Counter,
    /// The pool descriptors.
    Descriptor,
    /// The sum of all tags.
    Tags,
    /// The located blocks.
    Walk,
}

impl Source {
    /// The words used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Source::Counter => "counter",
            Source::Descriptor => "pool descriptor",
            Source::Tags => "sum of the tags",
            Source::Walk => "sum of the blocks found",
        }
    }
}

/// A pool's use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Bytes in use.
    pub bytes: u64,
    /// The source of the number.
    pub source: Source,
    /// True if the number covers only a part of the pool.
    pub at_least: bool,
    /// The reason why a better source is not used.
    pub instead_of: Option<String>,
}

impl Measure {
    /// A measure from the pool's counter.
    pub fn counter(bytes: u64) -> Measure {
        Measure {
            bytes,
            source: Source::Counter,
            at_least: false,
            instead_of: None,
        }
    }

    /// The source, and the reason why a better one is not used.
    pub fn sentence(&self, pool: Pool) -> Option<String> {
        let why = self.instead_of.as_ref()?;
        Some(format!(
            "{} pool use is taken from the {}: {why}",
            pool.word(),
            self.source.word()
        ))
    }
}

/// A pool's use and its maximum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// The use.
    pub used: Option<Measure>,
    /// The pool's own maximum, in bytes.
    pub maximum: Option<u64>,
}

impl PoolUse {
    /// The best valid source. `tags` is the sum over all tags: a counter that is 0, or well below
    /// this sum, is not used.
    pub fn best(
        counter: Result<u64, Option<String>>,
        descriptor: Option<u64>,
        tags: Option<u64>,
        walk: Option<u64>,
    ) -> Option<Measure> {
        let tags = tags.filter(|bytes| *bytes > 0);
        let why = match counter {
            Ok(bytes) if bytes > 0 && !is_below(bytes, tags) => {
                return Some(Measure::counter(bytes));
            }
            Ok(0) => "the counter is 0".to_owned(),
            Ok(bytes) => format!(
                "the counter says {}, less than the sum of the tags",
                size(bytes)
            ),
            Err(Some(doubt)) => format!("the counter is doubtful ({doubt})"),
            Err(None) => "the counter is not in the dump".to_owned(),
        };
        let descriptor = descriptor.filter(|bytes| *bytes > 0 && !is_below(*bytes, tags));
        let sources = [
            (Source::Descriptor, descriptor),
            (Source::Tags, tags),
            (Source::Walk, walk.filter(|bytes| *bytes > 0)),
        ];
        let (source, bytes) = sources
            .into_iter()
            .find_map(|(source, bytes)| Some((source, bytes?)))?;
        Some(Measure {
            bytes,
            source,
            at_least: false,
            instead_of: Some(why),
        })
    }
}

impl PoolUse {
    /// The use from a table: the counter in its header, otherwise the sum of its rows, which is
    /// the whole pool only if all tags are listed. `most` is the highest possible use. A counter
    /// above it was misread (some tools read it from a wrong address) and is not used.
    pub fn listed(counter: Option<u64>, sum: u64, complete: bool, most: Option<u64>) -> PoolUse {
        let refused = counter.filter(|bytes| most.is_some_and(|most| *bytes > most));
        let sound = counter.filter(|_| refused.is_none());
        let used = match (sound, refused) {
            (Some(counter), _) => PoolUse::best(Ok(counter), None, Some(sum), None),
            (None, _) if sum == 0 => None,
            (None, refused) => Some(Measure {
                bytes: sum,
                source: Source::Tags,
                at_least: !complete,
                instead_of: Some(match refused {
                    Some(bytes) => format!(
                        "the table says {}, more than the machine can have",
                        size(bytes)
                    ),
                    None => "the table does not give the pool's size".into(),
                }),
            }),
        };
        PoolUse {
            used,
            maximum: None,
        }
    }
}

/// Tags and counters are not updated together, so a small difference is not a contradiction.
fn is_below(bytes: u64, tags: Option<u64>) -> bool {
    tags.is_some_and(|tags| tags > bytes.saturating_add(bytes / 20).saturating_add(1 << 18))
}

/// The severity of a pool's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Within the usual range.
    #[default]
    None,
    /// A large share of a limit.
    Elevated,
    /// So near a limit that allocations may soon fail.
    Critical,
    /// At the limit.
    Exhausted,
}

impl Severity {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Severity::None => "none",
            Severity::Elevated => "elevated",
            Severity::Critical => "critical",
            Severity::Exhausted => "exhausted",
        }
    }
}

/// A limit of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The pool's own maximum.
    Maximum,
    /// Physical memory.
    Memory,
    /// The commit limit.
    Commit,
}

impl Limit {
    /// The name of the limit.
    pub fn word(self) -> &'static str {
        match self {
            Limit::Maximum => "its maximum",
            Limit::Memory => "physical memory",
            Limit::Commit => "the commit limit",
        }
    }

    /// The shares at which a pool is elevated, critical and exhausted. For the pool's own
    /// maximum, 80% is the debugger's rule for a warning. Memory and the commit limit are shared
    /// with everything else, so 25% is already much.
    fn steps(self) -> [f64; 3] {
        match self {
            Limit::Maximum => [0.5, 0.8, 0.95],
            Limit::Memory | Limit::Commit => [0.25, 0.5, 0.9],
        }
    }

    fn severity(self, share: f64) -> Severity {
        let [elevated, critical, exhausted] = self.steps();
        match share {
            s if s >= exhausted => Severity::Exhausted,
            s if s > critical => Severity::Critical,
            s if s >= elevated => Severity::Elevated,
            _ => Severity::None,
        }
    }
}

/// A pool's use compared with the nearest of its limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pressure {
    /// The pool.
    pub pool: Pool,
    /// Bytes in use.
    pub used: u64,
    /// True if the use is a lower bound.
    pub at_least: bool,
    /// The nearest limit.
    pub limit: Limit,
    /// The limit, in bytes.
    pub of: u64,
    /// The severity.
    pub severity: Severity,
}

impl Pressure {
    /// The use as a share of the limit.
    pub fn share(&self) -> f64 {
        self.used as f64 / self.of.max(1) as f64
    }

    /// The pressure as a sentence.
    pub fn sentence(&self) -> String {
        format!(
            "{} pool: {}{}, {} of {} ({})",
            self.pool.word(),
            if self.at_least { "at least " } else { "" },
            size(self.used),
            percent(self.share()),
            self.limit.word(),
            size(self.of)
        )
    }

    /// Hours until the limit is reached, at this growth.
    pub fn hours_left(&self, bytes_per_hour: f64) -> Option<f64> {
        let left = self.of.saturating_sub(self.used) as f64;
        (bytes_per_hour > 0.0).then(|| left / bytes_per_hour)
    }
}

/// Compares a pool with its maximum, memory and the commit limit. Paged pool can be paged out, so
/// memory is its limit only if the commit limit is unknown. `None` if its use or every limit is
/// unknown.
pub fn judge(
    pool: Pool,
    state: &PoolUse,
    memory: Option<u64>,
    commit_limit: Option<u64>,
) -> Option<Pressure> {
    let measure = state.used.as_ref()?;
    let memory = memory.filter(|_| pool == Pool::Nonpaged || commit_limit.is_none());
    let limits = [
        (Limit::Maximum, state.maximum),
        (Limit::Memory, memory),
        (Limit::Commit, commit_limit),
    ];
    let against = limits.into_iter().filter_map(|(limit, of)| {
        let of = of.filter(|of| *of > 0)?;
        let share = measure.bytes as f64 / of as f64;
        Some(Pressure {
            pool,
            used: measure.bytes,
            at_least: measure.at_least,
            limit,
            of,
            severity: limit.severity(share),
        })
    });
    against
        .max_by(|a, b| (a.severity.cmp(&b.severity)).then_with(|| a.share().total_cmp(&b.share())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;
    const GB: u64 = 1 << 30;

    #[test]
    fn a_counter_of_zero_is_replaced_by_the_next_source() {
        let tags = Some(76 * MB);
        let best = PoolUse::best(Ok(0), None, tags, None).unwrap();
        assert_eq!((best.bytes, best.source), (76 * MB, Source::Tags));
        assert!(best.sentence(Pool::Nonpaged).unwrap().contains("is 0"));
        let best = PoolUse::best(Ok(0), Some(80 * MB), tags, None).unwrap();
        assert_eq!(best.source, Source::Descriptor);
        let best = PoolUse::best(Ok(2 * MB), Some(3 * MB), tags, None).unwrap();
        assert_eq!(best.source, Source::Tags, "both contradict the tags");
        let best = PoolUse::best(Ok(75 * MB), None, tags, None).unwrap();
        assert_eq!(best.source, Source::Counter);
        assert_eq!(best.sentence(Pool::Paged), None);
        let best = PoolUse::best(Err(Some("wrapped".into())), None, None, Some(5)).unwrap();
        assert_eq!(best.source, Source::Walk);
        assert_eq!(PoolUse::best(Err(None), None, None, None), None);
    }

    #[test]
    fn a_counter_above_the_machines_memory_is_rejected() {
        let listed = |counter, most| PoolUse::listed(Some(counter), 40 * MB, false, most);
        let used = listed(113 * GB, Some(8 * GB)).used.unwrap();
        assert_eq!((used.bytes, used.at_least), (40 * MB, true));
        assert!(used.sentence(Pool::Nonpaged).unwrap().contains("113.0 GB"));
        let used = listed(2 * GB, Some(8 * GB)).used.unwrap();
        assert_eq!((used.bytes, used.source), (2 * GB, Source::Counter));
    }

    fn pool(used: u64, maximum: Option<u64>) -> PoolUse {
        PoolUse {
            used: Some(Measure::counter(used)),
            maximum,
        }
    }

    #[test]
    fn the_nearest_limit_decides() {
        // 4,604 of 8,192 pages, and 3.5% of memory.
        let small = pool(4604 << 12, Some(8192 << 12));
        let found = judge(Pool::Paged, &small, Some(512 * MB), None).unwrap();
        assert_eq!(found.limit, Limit::Maximum);
        assert_eq!(found.severity, Severity::Elevated);
        let wide = pool(9 * GB, Some(1 << 44));
        let found = judge(Pool::Nonpaged, &wide, Some(16 * GB), Some(64 * GB)).unwrap();
        assert_eq!(
            (found.limit, found.severity),
            (Limit::Memory, Severity::Critical)
        );
        let found = judge(Pool::Paged, &wide, Some(10 * GB), Some(64 * GB)).unwrap();
        assert_eq!(
            (found.limit, found.severity),
            (Limit::Commit, Severity::None)
        );
        assert_eq!(
            judge(Pool::Paged, &PoolUse::default(), Some(GB), None),
            None
        );
    }

    #[test]
    fn hours_left_follow_from_the_growth() {
        let full = judge(Pool::Nonpaged, &pool(6 * GB, Some(8 * GB)), None, None).unwrap();
        assert_eq!(full.hours_left(GB as f64), Some(2.0));
        assert_eq!(full.hours_left(0.0), None);
        let over = judge(Pool::Nonpaged, &pool(9 * GB, Some(8 * GB)), None, None).unwrap();
        assert_eq!(over.severity, Severity::Exhausted);
        assert_eq!(over.hours_left(1.0), Some(0.0));
    }
}
