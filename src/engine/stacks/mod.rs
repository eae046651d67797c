//! Call stacks recorded for the allocations of a tag, or for an address: by Driver
//! Verifier's lists of outstanding blocks, and by its log of allocations and frees.
//!
//! The records are joined to the blocks that the walk of the pool found, and equal stacks
//! are one row.

mod callers;
mod join;
mod names;

use serde::{Deserialize, Serialize};

use crate::kernel::etw::Trace;
use crate::kernel::verifier::{Event, Kinds, Order, Verifier};
use crate::memory::Va;
use crate::pool::index::Snapshot;
use crate::pool::index::sort::Wanted;
use crate::pool::{Tag, TagPattern};

use super::Engine;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StacksOf {
    /// The live blocks of the tags that match.
    Tag(TagPattern),
    /// Every record whose block holds an address.
    Address(Va),
}

/// Which record a stack is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Recorder {
    /// Verifier's list of a driver's outstanding blocks: the calling address alone.
    Pool,
    /// Verifier's log of allocations and frees.
    Log,
    /// A buffer of an event tracing session.
    Trace,
}

impl Recorder {
    /// The word that the JSON and CSV answers use.
    pub fn word(self) -> &'static str {
        match self {
            Recorder::Pool => "verifier-pool",
            Recorder::Log => "verifier-log",
            Recorder::Trace => "etw",
        }
    }
}

/// A stack, and the records that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackRow {
    /// Where it is recorded.
    pub source: Recorder,
    /// The kind of event; `None` if unknown.
    pub event: Option<Event>,
    /// A block with it: the one with the newest record, or the lowest address.
    pub address: Va,
    /// Bytes of that block, as they were asked for.
    pub size: u64,
    /// The thread of that record; lists of blocks have none.
    pub thread: Option<Va>,
    /// Return addresses, the innermost first.
    pub frames: Vec<Va>,
    /// Each as `module+0x…`, or by function where the module's PDB is at hand.
    pub symbols: Vec<String>,
    /// The function of each frame, as far as functions are known without a PDB.
    pub functions: Vec<Option<String>>,
    /// Records.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What the answer covers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StacksCoverage {
    /// The level of Driver Verifier; `None` when it can't be read.
    pub level: Option<u32>,
    /// Verified drivers with records.
    pub drivers: Vec<String>,
    /// Outstanding blocks on their lists.
    pub pool_entries: u64,
    /// Records that the log has room for.
    pub log_length: u64,
    /// Frames that a record has room for.
    pub log_frames: u64,
    /// Sound records of the log.
    pub log_entries: u64,
    /// Records, entries and lists that are damaged.
    pub damaged: u64,
    /// Records that can't be read.
    pub unreadable: u64,
    /// Live blocks of the tag; `None` for an address.
    pub live_blocks: Option<u64>,
    /// Of those, blocks on a driver's list; for an address the entries that hold it.
    pub in_pool: u64,
    /// Of those, blocks whose newest record in the log is their allocation; for an address
    /// the records that hold it.
    pub in_log: u64,
    /// Records of an unknown kind.
    pub unknown_events: u64,
    /// Pool events were being traced; `None` when that can't be read.
    pub trace_on: Option<bool>,
    /// Pool events in trace buffers.
    pub trace_events: u64,
    /// Events that the sessions with pool events lost.
    pub trace_lost: Option<u64>,
    /// Who answered for the layouts: `pdb`, `built-in`, `nearest build` or `unknown`.
    pub layouts: String,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stacks {
    /// What was asked about, as it is typed.
    pub of: String,
    /// The stacks, the most frequent first.
    pub rows: Vec<StackRow>,
    /// Stacks of allocations in trace buffers that have no later free there: of the last seconds or
    /// minutes, which shows the current callers.
    pub traced: Vec<StackRow>,
    /// How much was looked at.
    pub coverage: StacksCoverage,
    /// What is damaged, as sentences.
    pub warnings: Vec<String>,
    /// What is to be known about the answer, as sentences.
    pub notes: Vec<String>,
}

impl Engine {
    /// Driver Verifier's records, read on first use.
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

    /// Pool events in trace buffers, read on first use.
    pub fn trace(&self) -> &Trace {
        self.trace.get_or_init(|| Trace::read(self.kernel()))
    }

    /// The tags of live blocks that Driver Verifier has records of, in order.
    pub fn tags_with_stacks(&self, index: &Snapshot) -> Vec<Tag> {
        join::tags(self, index)
    }

    /// The stacks recorded for a tag's live blocks, or for an address. `None` when cancelled. An
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
    /// Sentences on what was counted.
    fn tell(&mut self, verifier: &Verifier, known: bool, of: &StacksOf) {
        let c = &self.coverage;
        if c.damaged > 0 && verifier.log.is_some() {
            self.warnings.push(format!(
                "{} of Driver Verifier's records are damaged and not used",
                c.damaged
            ));
        }
        if c.unreadable > 0 {
            self.warnings.push(format!(
                "{} records of Driver Verifier's log can't be read",
                c.unreadable
            ));
        }
        if c.unknown_events > 0 {
            let why = match known {
                true => "their first frame is not in a function of nt that allocates or frees pool",
                false => "the functions of this kernel are not known without its PDB",
            };
            self.notes.push(format!(
                "{} records may be of an allocation or of a free: {why}",
                c.unknown_events
            ));
        }
        if matches!(of, StacksOf::Tag(_)) {
            self.tell_blocks();
        }
    }

    /// Notes on how many of a tag's live blocks have records.
    fn tell_blocks(&mut self) {
        let c = &self.coverage;
        let Some(live) = c.live_blocks else {
            return;
        };
        if c.log_length > 0 {
            self.notes
                .push(format!("{} of {live} blocks are in the log", c.in_log));
        }
        if !c.drivers.is_empty() {
            self.notes.push(format!(
                "{} of {live} blocks are on the lists of verified drivers ({})",
                c.in_pool,
                c.drivers.join(", ")
            ));
        }
    }

    /// The answer of a tag that has no records, from an answer about nothing.
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

    /// Addresses of session pool at which several sessions have such a block.
    fn tell_sessions(&mut self, ambiguous: u64) {
        let note = match ambiguous {
            0 => return,
            n => format!(
                "{n} records name an address at which several sessions have a block of the tag: which one is not recorded"
            ),
        };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Notes and warnings on the order of the log's records.
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
