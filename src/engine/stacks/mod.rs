//! Call stacks that were recorded for the allocations of a tag, or for an address: from Driver
//! Verifier's lists of outstanding blocks, its log of allocations and frees, and trace buffers.
//!
//! The records are joined with the located blocks, and equal stacks are combined.

mod callers;
mod join;
mod names;

use serde::{Deserialize, Serialize};

use crate::characters::grouped;
use crate::kernel::etw::Trace;
use crate::kernel::verifier::{Event, Kinds, Order, Verifier};
use crate::memory::Va;
use crate::pool::index::Snapshot;
use crate::pool::index::sort::Wanted;
use crate::pool::{Tag, TagPattern};

use super::Engine;

/// The subject of a query for stacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StacksOf {
    /// The live blocks of all matching tags.
    Tag(TagPattern),
    /// All records whose block contains an address.
    Address(Va),
}

/// The source of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Recorder {
    /// Driver Verifier's list of a driver's outstanding blocks; it has the calling address only.
    Pool,
    /// Driver Verifier's log of allocations and frees.
    Log,
    /// A buffer of an event tracing session.
    Trace,
}

impl Recorder {
    /// The word used in JSON and CSV.
    pub fn word(self) -> &'static str {
        match self {
            Recorder::Pool => "verifier-pool",
            Recorder::Log => "verifier-log",
            Recorder::Trace => "etw",
        }
    }
}

/// A stack with its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackRow {
    /// The source.
    pub source: Recorder,
    /// The kind of event; `None` if unknown.
    pub event: Option<Event>,
    /// The block with the newest record, or the one with the lowest address.
    pub address: Va,
    /// The requested size of that block, in bytes.
    pub size: u64,
    /// The address of the thread of that record; lists of blocks have none.
    pub thread: Option<Va>,
    /// Return addresses, innermost first.
    pub frames: Vec<Va>,
    /// The frames as `module+0x…`, or with function names if the module's PDB is available.
    pub symbols: Vec<String>,
    /// The function of each frame, as far as known without a PDB.
    pub functions: Vec<Option<String>>,
    /// Number of records.
    pub count: u64,
    /// The sum of their sizes, in bytes.
    pub bytes: u64,
}

/// The coverage of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StacksCoverage {
    /// Driver Verifier's level; `None` if it can't be read.
    pub level: Option<u32>,
    /// Verified drivers with records.
    pub drivers: Vec<String>,
    /// Number of outstanding blocks on their lists.
    pub pool_entries: u64,
    /// Capacity of the log, in records.
    pub log_length: u64,
    /// Maximum number of frames per record.
    pub log_frames: u64,
    /// Number of valid records in the log.
    pub log_entries: u64,
    /// Number of damaged records, entries and lists.
    pub damaged: u64,
    /// Number of unreadable records.
    pub unreadable: u64,
    /// Number of live blocks of the tag; `None` for an address.
    pub live_blocks: Option<u64>,
    /// Number of these on a driver's list; for an address, number of entries that contain it.
    pub in_pool: u64,
    /// Number of these whose newest record in the log is their allocation; for an address, number
    /// of records that contain it.
    pub in_log: u64,
    /// Number of records of an unknown kind.
    pub unknown_events: u64,
    /// True if pool events were being traced; `None` if that can't be read.
    pub trace_on: Option<bool>,
    /// Number of pool events in trace buffers.
    pub trace_events: u64,
    /// Number of events that the tracing sessions with pool events lost.
    pub trace_lost: Option<u64>,
    /// The source of the layouts: `pdb`, `built-in`, `nearest build` or `unknown`.
    pub layouts: String,
}

/// The answer of a query for stacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stacks {
    /// The subject, as typed.
    pub of: String,
    /// The stacks, by number of records, descending.
    pub rows: Vec<StackRow>,
    /// Stacks of allocations in trace buffers that are not freed later in the buffers. They are
    /// from the last seconds or minutes and show the current callers.
    pub traced: Vec<StackRow>,
    /// The coverage.
    pub coverage: StacksCoverage,
    /// Damage, as sentences.
    pub warnings: Vec<String>,
    /// Notes on the answer, as sentences.
    pub notes: Vec<String>,
}

impl Engine {
    /// Driver Verifier's records; read on first use.
    pub fn verifier(&self) -> &Verifier {
        self.verifier.get_or_init(|| {
            let mut read = Verifier::read(self.kernel());
            if let Some(log) = &mut read.log {
                let inside = |big: &crate::pool::big::BigBlock| big.end().checked_sub(log.at.0);
                let room = self.big().holding(log.at).and_then(inside);
                let cut = room.and_then(|bytes| log.limit(bytes));
                read.damage.extend(cut);
            }
            read
        })
    }

    /// Pool events in trace buffers; read on first use.
    pub fn trace(&self) -> &Trace {
        self.trace.get_or_init(|| Trace::read(self.kernel()))
    }

    /// The tags of live blocks with Driver Verifier records, sorted.
    pub fn tags_with_stacks(&self, index: &Snapshot) -> Vec<Tag> {
        join::tags(self, index)
    }

    /// The stacks recorded for a tag's live blocks, or for an address. `None` if cancelled. An
    /// address needs no index.
    pub fn stacks(
        &self,
        index: Option<&Snapshot>,
        of: &StacksOf,
        wanted: Wanted<'_>,
    ) -> Option<Stacks> {
        let verifier = self.verifier();
        let kinds = Kinds::of(self.kernel());
        let mut out = Stacks {
            of: match of {
                StacksOf::Tag(pattern) => pattern.typed(),
                StacksOf::Address(va) => va.to_string(),
            },
            coverage: StacksCoverage {
                level: verifier.level,
                drivers: verifier.drivers.iter().map(|d| d.name.clone()).collect(),
                pool_entries: verifier.entries().count() as u64,
                log_length: verifier.log.as_ref().map_or(0, |l| l.length.into()),
                log_frames: verifier.log.as_ref().map_or(0, |l| l.frames()),
                layouts: verifier.source.to_owned(),
                ..StacksCoverage::default()
            },
            warnings: verifier.damage.clone(),
            notes: verifier.notes.clone(),
            ..Stacks::default()
        };
        let damaged = verifier.drivers.iter().map(|d| d.tracked.damaged);
        out.coverage.damaged = damaged.sum();
        let trace = self.trace();
        out.coverage.trace_on = trace.is_on;
        out.coverage.trace_events = trace.events.len() as u64;
        let lost = trace.sessions.iter().map(|s| s.lost);
        out.coverage.trace_lost = lost.sum();
        out.notes.extend(trace.notes.iter().cloned());
        let mut rows = join::Rows::default();
        let mut traced = join::Rows::default();
        join::of_trace(trace, of, &mut traced);
        match of {
            StacksOf::Tag(pattern) => {
                let index = index?;
                join::of_tag(self, index, pattern, &kinds, wanted, &mut rows, &mut out)?;
            }
            StacksOf::Address(va) => join::of_address(self, *va, &kinds, &mut rows, &mut out),
        }
        out.rows = rows.sorted();
        out.traced = traced.sorted();
        names::add(self, &kinds, &mut out.rows);
        names::add(self, &kinds, &mut out.traced);
        out.tell(verifier, kinds.are_known(), of);
        Some(out)
    }
}

impl Stacks {
    /// Adds notes and warnings on the counts.
    fn tell(&mut self, verifier: &Verifier, known: bool, of: &StacksOf) {
        let c = &self.coverage;
        if c.damaged > 0 && verifier.log.is_some() {
            self.warnings.push(format!(
                "{} of Driver Verifier's records are damaged and not used",
                grouped(c.damaged)
            ));
        }
        if c.unreadable > 0 {
            self.warnings.push(format!(
                "{} records of Driver Verifier's log can't be read",
                grouped(c.unreadable)
            ));
        }
        if c.unknown_events > 0 {
            let why = match known {
                true => "their first frame is not in a function of nt that allocates or frees pool",
                false => "the functions of this kernel are not known without its PDB",
            };
            self.notes.push(format!(
                "{} records may be of an allocation or of a free: {why}",
                grouped(c.unknown_events)
            ));
        }
        if matches!(of, StacksOf::Tag(_)) {
            self.tell_blocks();
        }
    }

    /// Adds notes on the number of live blocks with records.
    fn tell_blocks(&mut self) {
        let c = &self.coverage;
        let Some(live) = c.live_blocks.map(grouped) else {
            return;
        };
        if c.log_length > 0 {
            self.notes.push(format!(
                "{} of {live} blocks are in the log",
                grouped(c.in_log)
            ));
        }
        if !c.drivers.is_empty() {
            self.notes.push(format!(
                "{} of {live} blocks are on the lists of verified drivers ({})",
                grouped(c.in_pool),
                c.drivers.join(", ")
            ));
        }
    }

    /// The answer for a tag without records, derived from an answer for no block.
    pub fn of_tag_without_records(mut self, tag: Tag, live: u64) -> Stacks {
        self.of = tag.typed();
        self.rows.clear();
        self.traced.clear();
        self.coverage.live_blocks = Some(live);
        self.coverage.in_pool = 0;
        self.coverage.in_log = 0;
        self.tell_blocks();
        self
    }

    /// Adds a note on addresses at which several sessions have a matching block.
    fn tell_sessions(&mut self, ambiguous: u64) {
        let note = match ambiguous {
            0 => return,
            n => format!(
                "{} records name an address at which several sessions have a block of the tag: which one is not recorded",
                grouped(n)
            ),
        };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Adds notes and warnings on the order of the log's records.
    fn tell_order(&mut self, order: Order) {
        match order {
            Order::Known => {}
            Order::Assumed => self.notes.push(
                "it is unknown whether the record at the index of the log is the oldest or the \
                    newest: it counts as the newest".into(),
            ),
            Order::Unknown => self.warnings.push(
                "the order of the log's records is not known: of several records of one block, the last in the log counts".into(),
            ),
        }
    }
}
