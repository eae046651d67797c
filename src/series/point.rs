//! The pool of a machine at one point in time, from a dump or a log.

use crate::pool::{Pool, Tag};

use super::moment::Moment;

/// The source of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A crash dump.
    Dump,
    /// A memory image.
    Image,
    /// An evidence file.
    Evidence,
    /// A PoolMon screen or snapshot file.
    PoolMon,
    /// The text of `!poolused`.
    PoolUsed,
    /// PoolMonX or PoolMonXv3.
    PoolMonX,
    /// The PowerShell script poolmon.ps1 and similar scripts.
    PoolMonPowerShell,
    /// A table with a tag column.
    TagTable,
    /// A performance log: pool counters without tags.
    PerfCounters,
    /// A Windows event log.
    EventLog,
}

impl Kind {
    /// The word used in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Dump => "dump",
            Kind::Image => "image",
            Kind::Evidence => "evidence",
            Kind::PoolMon => "poolmon",
            Kind::PoolUsed => "poolused",
            Kind::PoolMonX => "poolmonx",
            Kind::PoolMonPowerShell => "poolmon-powershell",
            Kind::TagTable => "tag-table",
            Kind::PerfCounters => "perf-counters",
            Kind::EventLog => "event-log",
        }
    }

    /// True if the point was read from a machine's memory: its counters are the kernel's, and its
    /// boot is known.
    pub fn is_memory(self) -> bool {
        matches!(self, Kind::Dump | Kind::Image | Kind::Evidence)
    }
}

/// The counts of a tag in a pool. `None` if the log does not contain the count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Allocations since boot, modulo the counter's width.
    pub allocs: Option<u64>,
    /// Frees since boot, modulo the counter's width.
    pub frees: Option<u64>,
    /// Outstanding allocations.
    pub outstanding: Option<u64>,
    /// Outstanding bytes.
    pub bytes: Option<u64>,
}

impl Counts {
    /// The counts of a tag that does not occur in a pool.
    pub const ZERO: Counts = Counts {
        allocs: Some(0),
        frees: Some(0),
        outstanding: Some(0),
        bytes: Some(0),
    };

    /// True if every count is unknown.
    pub fn is_unknown(&self) -> bool {
        *self == Counts::default()
    }

    /// Computes `outstanding` from allocations and frees if the log lacks it, with counters of
    /// this width.
    pub fn completed(mut self, width: CounterWidth) -> Counts {
        if let (None, Some(allocs), Some(frees)) = (self.outstanding, self.allocs, self.frees) {
            self.outstanding = width.difference(allocs, frees);
        }
        self
    }
}

/// The width of the counters of allocations and frees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CounterWidth {
    /// 32 bits: all tools on a live machine, and dumps before Windows 10 1809.
    Bits32,
    /// 64 bits: dumps of Windows 10 1809 and later.
    Bits64,
    /// Not stated by the table.
    #[default]
    Unknown,
}

impl CounterWidth {
    /// `allocs - frees` with this width. `None` if frees exceed allocations and an overflow can't
    /// explain it.
    pub fn difference(self, allocs: u64, frees: u64) -> Option<u64> {
        const MASK: u64 = u32::MAX as u64;
        match self {
            CounterWidth::Bits64 => Some(allocs.wrapping_sub(frees)),
            CounterWidth::Bits32 => Some(allocs.wrapping_sub(frees) & MASK),
            CounterWidth::Unknown => allocs
                .checked_sub(frees)
                .or_else(|| (frees <= MASK).then(|| allocs.wrapping_sub(frees) & MASK)),
        }
    }

    /// True if the counter can't have reached `later` by counting up from `earlier`. A 32-bit
    /// counter may overflow; it is then assumed to have moved by less than half of its range.
    pub fn fell(self, earlier: u64, later: u64) -> bool {
        match self {
            CounterWidth::Bits64 => later < earlier,
            CounterWidth::Bits32 | CounterWidth::Unknown => {
                let narrow = earlier <= u32::MAX.into() && later <= u32::MAX.into();
                match narrow {
                    true => later.wrapping_sub(earlier) as u32 > u32::MAX / 2,
                    false => later < earlier,
                }
            }
        }
    }
}

/// A tag at a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The tag.
    pub tag: Tag,
    /// A mask of the tag's bytes that the log does not show: a dot, a question mark or a
    /// replacement character stands for each. Bit 0 is the first byte in memory order.
    pub unsure: u8,
    /// Nonpaged pool.
    pub nonpaged: Counts,
    /// Paged pool.
    pub paged: Counts,
    /// Counts without a stated pool.
    pub unplaced: Counts,
}

impl Row {
    /// The counts in a pool.
    pub fn counts(&self, pool: Pool) -> Counts {
        match pool {
            Pool::Nonpaged => self.nonpaged,
            Pool::Paged => self.paged,
        }
    }

    /// The counts in a pool, mutable.
    pub fn counts_mut(&mut self, pool: Pool) -> &mut Counts {
        match pool {
            Pool::Nonpaged => &mut self.nonpaged,
            Pool::Paged => &mut self.paged,
        }
    }
}

/// The selection of tags in a listing, which determines what the absence of a tag means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    /// All tags of the covered pools: an absent tag has no allocations.
    Complete,
    /// Not stated by the log, so a filter may have been used. An absent tag has no allocations
    /// only if a listing of mostly the same tags has it.
    #[default]
    Unstated,
    /// A part, for this reason. The counts of an absent tag are unknown.
    Truncated(String),
}

/// Totals of the machine. `None` if the log does not contain them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of nonpaged pool by the system's counter: whole pages, not the sum of the tags.
    pub nonpaged_bytes: Option<u64>,
    /// Bytes of paged pool by the system's counter.
    pub paged_bytes: Option<u64>,
    /// Bytes of paged pool that are resident.
    pub paged_resident_bytes: Option<u64>,
    /// Bytes of physical memory.
    pub ram_bytes: Option<u64>,
    /// Bytes of available memory.
    pub available_bytes: Option<u64>,
    /// Committed bytes.
    pub committed_bytes: Option<u64>,
    /// The commit limit, in bytes.
    pub commit_limit_bytes: Option<u64>,
    /// Free system page table entries.
    pub free_system_ptes: Option<u64>,
    /// Number of handles of all processes.
    pub handles: Option<u64>,
}

/// Identifies one boot of Windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The Windows build number.
    pub build: u32,
    /// The kernel's base address; it changes with each boot since Windows 8.
    pub kernel_base: u64,
    /// How many times Windows was started on the machine, where the kernel counts it.
    pub boot_number: Option<u32>,
}

/// The pool of a machine at one point in time.
#[derive(Clone, Debug)]
pub struct Point {
    /// The source file, as the user named it.
    pub source: String,
    /// The number of the snapshot in the file, from 1; `None` if the file has only one.
    pub snapshot: Option<usize>,
    /// The type of the source.
    pub kind: Kind,
    /// The time in UTC. `None` if the log has no time, or a time without a zone.
    pub time: Option<Moment>,
    /// The time by the machine's clock, if the log does not state the zone. Comparable only
    /// within one file.
    pub local_time: Option<Moment>,
    /// The uptime, in seconds.
    pub uptime_seconds: Option<u64>,
    /// The boot: equal for points of the same boot; `None` if unknown.
    pub boot: Option<String>,
    /// The kernel, if the point is from a machine's memory.
    pub machine: Option<Machine>,
    /// The Windows version, as stated by the log or the dump.
    pub windows: Option<String>,
    /// The tags, sorted and unique. Empty if the log has no tags.
    pub rows: Vec<Row>,
    /// The selection of tags.
    pub listing: Listing,
    /// False if the listing has no row of nonpaged pool, which is then unknown.
    pub has_nonpaged: bool,
    /// False if the listing has no row of paged pool, which is then unknown.
    pub has_paged: bool,
    /// Totals of the machine.
    pub totals: Totals,
    /// The width of the counters of allocations and frees.
    pub width: CounterWidth,
    /// True if the listing is of session pool, not of the system's.
    pub session: bool,
    /// True if the tool rounded the bytes.
    pub rounded: bool,
    /// The event, if the point is from an event log.
    pub event: Option<&'static str>,
    /// Number of lines that look like rows and could not be used.
    pub skipped: u64,
}

impl Point {
    /// An empty point from a file.
    pub fn new(source: &str, kind: Kind) -> Point {
        Point {
            source: source.into(),
            snapshot: None,
            kind,
            time: None,
            local_time: None,
            uptime_seconds: None,
            boot: None,
            machine: None,
            windows: None,
            rows: Vec::new(),
            listing: Listing::Unstated,
            has_nonpaged: false,
            has_paged: false,
            totals: Totals::default(),
            width: CounterWidth::Unknown,
            session: false,
            rounded: false,
            event: None,
            skipped: 0,
        }
    }

    /// The row of a tag.
    pub fn get(&self, tag: Tag) -> Option<&Row> {
        let at = self.rows.binary_search_by(|row| row.tag.cmp(&tag)).ok()?;
        self.rows.get(at)
    }

    /// The counts of a tag in a pool. If the listing lacks the tag: zero if it is complete,
    /// otherwise unknown.
    pub fn counts(&self, tag: Tag, pool: Pool) -> Counts {
        let listed = self.get(tag).map(|row| row.counts(pool));
        match listed.filter(|c| !c.is_unknown()) {
            Some(counts) => counts,
            None if self.listing == Listing::Complete && self.has(pool) => Counts::ZERO,
            None => Counts::default(),
        }
    }

    /// Hours from this point to a later one; for points of the same boot by uptime, because the
    /// clock may have been adjusted. `None` if unknown or not positive.
    pub fn hours_to(&self, later: &Point) -> Option<f64> {
        let uptime = || Some(later.uptime_seconds? as f64 - self.uptime_seconds? as f64);
        let time = || Some(later.time?.seconds_since(self.time?));
        let one_file = self.source == later.source;
        let local = || Some(later.local_time?.seconds_since(self.local_time?));
        let one_boot = self.boot.is_some() && self.boot == later.boot;
        let seconds = match one_boot {
            true => uptime().or_else(time),
            false => time()
                .or_else(|| one_file.then(local).flatten())
                .or_else(uptime),
        }?;
        (seconds > 0.0).then_some(seconds / 3600.0)
    }

    /// True if the listing covers a pool.
    pub fn has(&self, pool: Pool) -> bool {
        match pool {
            Pool::Nonpaged => self.has_nonpaged,
            Pool::Paged => self.has_paged,
        }
    }

    /// Bytes of the pool by the system's counter.
    pub fn pool_bytes(&self, pool: Pool) -> Option<u64> {
        match pool {
            Pool::Nonpaged => self.totals.nonpaged_bytes,
            Pool::Paged => self.totals.paged_bytes,
        }
    }

    /// The sum of the rows' bytes in a pool; `None` if there are none, or on overflow.
    pub fn listed_bytes(&self, pool: Pool) -> Option<u64> {
        let mut bytes = self
            .rows
            .iter()
            .filter_map(|r| r.counts(pool).bytes)
            .peekable();
        bytes.peek()?;
        bytes.try_fold(0u64, u64::checked_add)
    }
}

/// The contents of a log.
#[derive(Clone, Debug)]
pub struct Log {
    /// The layout as a phrase, for example "a PoolMon log".
    pub what: &'static str,
    /// One point per snapshot, in file order; never empty.
    pub points: Vec<Point>,
    /// Notes for the user, as sentences.
    pub notes: Vec<String>,
}
