//! One moment of a machine's pool, as a dump or a log shows it.

use crate::pool::{Pool, Tag};

use super::moment::Moment;

/// What a point comes from.
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
    /// The PowerShell script poolmon.ps1 and its relatives.
    PoolMonPowerShell,
    /// A table with a tag column.
    TagTable,
    /// A performance log: counters of the pools, no tags.
    PerfCounters,
    /// A Windows event log.
    EventLog,
}

impl Kind {
    /// The word in JSON.
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

    /// True when the point was read from a machine's memory: its counters are the kernel's
    /// own, and its boot is known.
    pub fn is_memory(self) -> bool {
        matches!(self, Kind::Dump | Kind::Image | Kind::Evidence)
    }
}

/// Counts of one tag in one pool. `None` where the log does not hold the figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Allocations since boot, modulo the counter's width.
    pub allocs: Option<u64>,
    /// Frees since boot, modulo the counter's width.
    pub frees: Option<u64>,
    /// Allocations outstanding.
    pub outstanding: Option<u64>,
    /// Bytes outstanding.
    pub bytes: Option<u64>,
}

impl Counts {
    /// A pool in which the tag has nothing.
    pub const ZERO: Counts = Counts {
        allocs: Some(0),
        frees: Some(0),
        outstanding: Some(0),
        bytes: Some(0),
    };

    /// True when no figure is known.
    pub fn is_unknown(&self) -> bool {
        *self == Counts::default()
    }

    /// `outstanding` from allocations and frees where the log gives only those, in the
    /// width of the counters.
    pub fn completed(mut self, width: CounterWidth) -> Counts {
        if let (None, Some(allocs), Some(frees)) = (self.outstanding, self.allocs, self.frees) {
            self.outstanding = width.difference(allocs, frees);
        }
        self
    }
}

/// How wide the counters of allocations and frees are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CounterWidth {
    /// 32 bits: all tools that run on the live machine, and dumps before Windows 10 1809.
    Bits32,
    /// 64 bits: dumps of Windows 10 1809 and later.
    Bits64,
    /// The table does not say.
    #[default]
    Unknown,
}

impl CounterWidth {
    /// `allocs - frees` in this width. `None` when frees exceed allocations and no width
    /// explains that.
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

    /// True when a counter that was `earlier` and is `later` cannot have only grown: it fell
    /// by less than half of its range.
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

/// One tag at one point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The tag.
    pub tag: Tag,
    /// Bytes of the tag that the log does not show, as a mask over the tag's four bytes in
    /// memory order (bit 0 is the first byte): a dot, a question mark or a replacement
    /// character stands for them.
    pub unsure: u8,
    /// Nonpaged pool.
    pub nonpaged: Counts,
    /// Paged pool.
    pub paged: Counts,
    /// Counts of which the table does not say the pool.
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

    /// The counts in a pool, to fill in.
    pub fn counts_mut(&mut self, pool: Pool) -> &mut Counts {
        match pool {
            Pool::Nonpaged => &mut self.nonpaged,
            Pool::Paged => &mut self.paged,
        }
    }
}

/// Which tags a listing holds: what the absence of a tag means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    /// Every tag of the pools that it covers: a tag that is absent has nothing.
    Complete,
    /// The log does not say. A filter may have been used: a tag that is absent has nothing
    /// only in comparison with a listing of mostly the same tags.
    #[default]
    Unstated,
    /// A part, for this reason. An absent tag is unknown.
    Truncated(String),
}

/// Figures of the whole machine. `None` where the log does not hold them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes of nonpaged pool by the system's counter: pages, not the sum of the tags.
    pub nonpaged_bytes: Option<u64>,
    /// Bytes of paged pool by the system's counter.
    pub paged_bytes: Option<u64>,
    /// Bytes of paged pool that are in memory.
    pub paged_resident_bytes: Option<u64>,
    /// Bytes of memory.
    pub ram_bytes: Option<u64>,
    /// Bytes of memory available.
    pub available_bytes: Option<u64>,
    /// Bytes committed.
    pub committed_bytes: Option<u64>,
    /// Limit of the bytes committed.
    pub commit_limit_bytes: Option<u64>,
    /// Free system page table entries.
    pub free_system_ptes: Option<u64>,
    /// Handles of all processes.
    pub handles: Option<u64>,
}

/// Identifies one boot of Windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The kernel's build.
    pub build: u32,
    /// Where the kernel is; another place at each boot since Windows 8.
    pub kernel_base: u64,
    /// How many times Windows was started on the machine, where the kernel counts it.
    pub boot_number: Option<u32>,
}

/// One moment of a machine's pool.
#[derive(Clone, Debug)]
pub struct Point {
    /// The file it comes from, as the user named it.
    pub source: String,
    /// The number of the snapshot in that file, from 1; `None` when the file has one.
    pub snapshot: Option<usize>,
    /// What the file is.
    pub kind: Kind,
    /// When, in UTC. `None` where the log has no time, or one without its zone.
    pub time: Option<Moment>,
    /// When by the machine's own clock, where the log does not say the zone. Two of the same
    /// file can be compared; it is no UTC.
    pub local_time: Option<Moment>,
    /// Seconds since boot.
    pub uptime_seconds: Option<u64>,
    /// The boot: equal for points of one boot, `None` where that can't be known.
    pub boot: Option<String>,
    /// The kernel, where the point is of a machine's memory.
    pub machine: Option<Machine>,
    /// The version of Windows as the log or the dump gives it.
    pub windows: Option<String>,
    /// The tags, in order of tag, each once. Empty when the log has no tags.
    pub rows: Vec<Row>,
    /// What the absence of a tag means.
    pub listing: Listing,
    /// False when no row of nonpaged pool is in the listing: that pool is then unknown.
    pub has_nonpaged: bool,
    /// False when no row of paged pool is in the listing.
    pub has_paged: bool,
    /// The whole machine.
    pub totals: Totals,
    /// How wide allocations and frees are.
    pub width: CounterWidth,
    /// The listing is of the pool of terminal sessions, not of the system's.
    pub session: bool,
    /// Bytes are rounded by the tool that wrote them.
    pub rounded: bool,
    /// What happened at that time, where the point is an event.
    pub event: Option<&'static str>,
    /// Lines that look like rows and could not be used.
    pub skipped: u64,
}

impl Point {
    /// An empty point of a file.
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

    /// The counts of a tag in a pool: zero for one that a complete listing lacks, unknown for
    /// one that another lacks.
    pub fn counts(&self, tag: Tag, pool: Pool) -> Counts {
        let listed = self.get(tag).map(|row| row.counts(pool));
        match listed.filter(|c| !c.is_unknown()) {
            Some(counts) => counts,
            None if self.listing == Listing::Complete && self.has(pool) => Counts::ZERO,
            None => Counts::default(),
        }
    }

    /// Hours from this point to a later one: by uptime where both are of one boot, which no
    /// setting of the clock disturbs. `None` when that is not known, or not above zero.
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

    /// True when the listing covers a pool at all.
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

    /// Sum of the rows' bytes in a pool; `None` when the listing has none, or on overflow.
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

/// A log, read.
#[derive(Clone, Debug)]
pub struct Log {
    /// The layout, in words: "a PoolMon log".
    pub what: &'static str,
    /// One per snapshot, in the order of the file; never empty.
    pub points: Vec<Point>,
    /// What the user should know, as sentences.
    pub notes: Vec<String>,
}
