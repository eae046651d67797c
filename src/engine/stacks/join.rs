//! Joins stack records and blocks.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::kernel::etw::Trace;
use crate::kernel::verifier::{Event, Kinds, Order, Record};
use crate::memory::Va;
use crate::pool::block::{Block, State};
use crate::pool::index::Snapshot;
use crate::pool::index::sort::Wanted;
use crate::pool::{Tag, TagPattern};

use super::{Recorder, StackRow, Stacks, StacksOf};
use crate::engine::Engine;

/// Number of bytes that a record may extend beyond its block: recorded sizes of frees may be a
/// few bytes larger than requested.
const SLACK: u64 = 0x20;

/// Distinct stacks with their counts.
#[derive(Debug, Default)]
pub(super) struct Rows {
    places: FxHashMap<(Recorder, Option<Event>, Vec<Va>), usize>,
    rows: Vec<StackRow>,
}

impl Rows {
    fn add(&mut self, row: StackRow) {
        let key = (row.source, row.event, row.frames.clone());
        match self.places.get(&key).and_then(|at| self.rows.get_mut(*at)) {
            Some(same) => {
                same.count += 1;
                same.bytes = same.bytes.saturating_add(row.bytes);
            }
            None => {
                self.places.insert(key, self.rows.len());
                self.rows.push(row);
            }
        }
    }

    /// The most frequent first; equal counts by bytes.
    pub(super) fn sorted(self) -> Vec<StackRow> {
        let mut rows = self.rows;
        rows.sort_by(|a, b| {
            let key = |r: &StackRow| (Reverse((r.count, r.bytes)), r.source, r.address);
            key(a).cmp(&key(b)).then_with(|| a.frames.cmp(&b.frames))
        });
        rows
    }
}

fn of_record(record: Record, event: Option<Event>) -> StackRow {
    StackRow {
        source: Recorder::Log,
        event,
        address: record.address,
        size: record.size,
        thread: Some(record.thread),
        frames: record.frames,
        symbols: Vec::new(),
        functions: Vec::new(),
        count: 1,
        bytes: record.size,
    }
}

/// The records of blocks that contain an address.
pub(super) fn of_address(
    engine: &Engine,
    va: Va,
    kinds: &Kinds<'_>,
    rows: &mut Rows,
    out: &mut Stacks,
) {
    let verifier = engine.verifier();
    for (_, entry) in verifier.entries() {
        let inside = va.0.checked_sub(entry.address.0);
        if inside.is_some_and(|inside| inside < entry.bytes) {
            out.coverage.in_pool += 1;
            rows.add(of_entry(entry.address, entry.bytes, entry.caller));
        }
    }
    let Some(log) = &verifier.log else {
        return;
    };
    let mut found: Vec<Record> = Vec::new();
    let read = log.each(engine.kernel(), &mut |record| {
        if record.holds(va) {
            found.push(record);
        }
    });
    out.coverage.log_entries = read.used;
    out.coverage.damaged += read.damaged + log.emptied(&read);
    out.coverage.unreadable = read.unreadable;
    out.coverage.in_log = found.len() as u64;
    if found.is_empty() {
        return;
    }
    let (newest, order) = log.newest(engine.kernel(), kinds);
    if found.len() > 1 {
        out.tell_order(order);
    }
    found.sort_by_key(|record| log.age(newest, record.slot));
    for record in found {
        let event = record.event(kinds);
        out.coverage.unknown_events += u64::from(event.is_none());
        rows.add(of_record(record, event));
    }
}

fn of_entry(address: Va, bytes: u64, caller: Va) -> StackRow {
    StackRow {
        source: Recorder::Pool,
        event: Some(Event::Allocated),
        address,
        size: bytes,
        thread: None,
        frames: vec![caller],
        symbols: Vec::new(),
        functions: Vec::new(),
        count: 1,
        bytes,
    }
}

/// The allocations in trace buffers that are not freed later in the buffers.
pub(super) fn of_trace(trace: &Trace, of: &StacksOf, rows: &mut Rows) {
    let wanted = |tag: u32| match of {
        StacksOf::Tag(pattern) => pattern.matches(Tag::new(tag)),
        StacksOf::Address(_) => true,
    };
    for event in trace.outstanding(&wanted) {
        let inside = |va: Va| {
            va.0.checked_sub(event.address.0)
                .is_some_and(|i| i < event.bytes)
        };
        if matches!(of, StacksOf::Address(va) if !inside(*va)) {
            continue;
        }
        rows.add(StackRow {
            source: Recorder::Trace,
            event: Some(event.event),
            address: event.address,
            size: event.bytes,
            thread: None,
            frames: event.frames.clone(),
            symbols: Vec::new(),
            functions: Vec::new(),
            count: 1,
            bytes: event.bytes,
        });
    }
}

/// The records of a tag's live blocks. `None` if cancelled.
pub(super) fn of_tag(
    engine: &Engine,
    index: &Snapshot,
    pattern: &TagPattern,
    kinds: &Kinds<'_>,
    wanted: Wanted<'_>,
    rows: &mut Rows,
    out: &mut Stacks,
) -> Option<()> {
    let live = index.allocated(pattern).filter(|b| !b.heuristic);
    out.coverage.live_blocks = Some(live.count() as u64);
    of_lists(engine, index, pattern, wanted, rows, out)?;
    of_log(engine, index, pattern, kinds, wanted, rows, out)
}

/// The tags of live blocks with Driver Verifier records, sorted.
pub(super) fn tags(engine: &Engine, index: &Snapshot) -> Vec<Tag> {
    let verifier = engine.verifier();
    let mut addresses: Vec<Va> = verifier.entries().map(|(_, e)| e.address).collect();
    let listed = verifier.entries().map(|(_, e)| Tag::new(e.tag));
    let mut tags: Vec<Tag> = listed.collect();
    if let Some(log) = &verifier.log {
        log.each(engine.kernel(), &mut |record| {
            addresses.push(record.address)
        });
    }
    addresses.sort_unstable();
    addresses.dedup();
    let found = held(index, &addresses, &TagPattern::any(), &|| true).unwrap_or_default();
    let live = found.blocks.into_iter().flatten();
    tags.extend(
        live.filter(|b| b.state == State::Allocated && !b.heuristic)
            .map(|b| b.tag),
    );
    tags.sort_unstable_by_key(|tag| tag.value());
    tags.dedup();
    tags
}

/// The blocks that contain certain addresses.
#[derive(Default)]
struct Held {
    blocks: Vec<Option<Block>>,
    /// Number of addresses at which several sessions have a matching block.
    ambiguous: u64,
}

/// The block that contains each of some ascending addresses: in the system's pool, or in the only
/// session where a matching live block starts at the address or, failing that, contains it.
/// Records do not identify the session, and all sessions use the same addresses.
fn held(
    index: &Snapshot,
    addresses: &[Va],
    pattern: &TagPattern,
    wanted: Wanted<'_>,
) -> Option<Held> {
    let mut out = Held {
        blocks: index.lookup(None, addresses, wanted)?,
        ambiguous: 0,
    };
    let mut sessions: Vec<u32> = index.segments.iter().filter_map(|s| s.session()).collect();
    sessions.sort_unstable();
    sessions.dedup();
    let missing: Vec<usize> = (0..addresses.len())
        .filter(|at| out.blocks.get(*at).is_some_and(Option::is_none))
        .collect();
    if sessions.is_empty() || missing.is_empty() {
        return Some(out);
    }
    let asked: Vec<Va> = missing
        .iter()
        .filter_map(|at| addresses.get(*at).copied())
        .collect();
    // For each address: whether the block starts there, and the number of sessions with such a
    // block.
    let mut best = vec![(false, 0u32); asked.len()];
    for session in sessions {
        let found = index.lookup(Some(session), &asked, wanted)?;
        for (((block, best), va), at) in found.into_iter().zip(&mut best).zip(&asked).zip(&missing)
        {
            let Some(block) = block.filter(|b| is_live(b, pattern)) else {
                continue;
            };
            let begins = block.body() == *va;
            *best = match best {
                (true, _) if !begins => continue,
                (same, count) if *same == begins => (begins, *count + 1),
                _ => (begins, 1),
            };
            if let Some(to) = out.blocks.get_mut(*at) {
                *to = Some(block).filter(|_| best.1 == 1);
            }
        }
    }
    out.ambiguous = best.iter().filter(|(_, count)| *count > 1).count() as u64;
    Some(out)
}

/// True for an allocated block of a selected tag.
fn is_live(block: &Block, pattern: &TagPattern) -> bool {
    block.state == State::Allocated && !block.heuristic && pattern.matches(block.tag)
}

/// The records on the lists of verified drivers. An entry whose address is a different block in
/// the pool is not used. An entry whose block the walk did not locate is used, because Driver
/// Verifier's lists are reliable.
fn of_lists(
    engine: &Engine,
    index: &Snapshot,
    pattern: &TagPattern,
    wanted: Wanted<'_>,
    rows: &mut Rows,
    out: &mut Stacks,
) -> Option<()> {
    let entries = engine.verifier().entries().map(|(_, entry)| *entry);
    let mut own: Vec<_> = entries
        .filter(|entry| pattern.matches(Tag::new(entry.tag)))
        .collect();
    own.sort_by_key(|entry| entry.address);
    let addresses: Vec<Va> = own.iter().map(|entry| entry.address).collect();
    let found = held(index, &addresses, pattern, wanted)?;
    let (mut others, mut beyond, mut twice) = (0u64, 0u64, 0u64);
    let mut last = None;
    for (entry, block) in own.iter().zip(found.blocks) {
        if last == Some(entry.address) {
            twice += 1;
            continue;
        }
        last = Some(entry.address);
        match block {
            Some(block) if is_live(&block, pattern) => out.coverage.in_pool += 1,
            // Heuristic blocks do not contradict a record.
            Some(block) if !block.heuristic => {
                others += 1;
                continue;
            }
            _ => beyond += 1,
        }
        rows.add(of_entry(entry.address, entry.bytes, entry.caller));
    }
    out.coverage.damaged += others + twice;
    if others > 0 {
        out.warnings.push(format!(
            "{others} entries on Driver Verifier's lists name blocks that are free or have another tag; they were not used"
        ));
    }
    if twice > 0 {
        out.warnings.push(format!(
            "{twice} entries on Driver Verifier's lists name a block a second time; they were not used"
        ));
    }
    if beyond > 0 {
        out.notes.push(format!(
            "{beyond} blocks on Driver Verifier's lists were not found in the pool (unreadable pages); they are counted"
        ));
    }
    out.tell_sessions(found.ambiguous);
    Some(())
}

/// The address and size of a record's block, and the age of the record.
#[derive(Clone, Copy, Debug)]
struct Short {
    address: Va,
    size: u64,
    slot: u32,
    age: u32,
}

/// The records of the log: the newest one of each live block.
fn of_log(
    engine: &Engine,
    index: &Snapshot,
    pattern: &TagPattern,
    kinds: &Kinds<'_>,
    wanted: Wanted<'_>,
    rows: &mut Rows,
    out: &mut Stacks,
) -> Option<()> {
    let Some(log) = &engine.verifier().log else {
        return Some(());
    };
    let kernel = engine.kernel();
    let mut all: Vec<Short> = Vec::new();
    let read = log.each(kernel, &mut |record| {
        all.push(Short {
            address: record.address,
            size: record.size,
            slot: record.slot,
            age: 0,
        });
    });
    out.coverage.log_entries = read.used;
    out.coverage.damaged += read.damaged + log.emptied(&read);
    out.coverage.unreadable = read.unreadable;
    if all.is_empty() {
        return Some(());
    }
    let (newest, order) = log.newest(kernel, kinds);
    for short in &mut all {
        short.age = log.age(newest, short.slot);
    }
    all.sort_by_key(|short| (short.address, short.age));
    let mut addresses: Vec<Va> = all.iter().map(|short| short.address).collect();
    addresses.dedup();
    let found = held(index, &addresses, pattern, wanted)?;
    out.tell_sessions(found.ambiguous);
    let blocks: FxHashMap<Va, Block> = addresses
        .into_iter()
        .zip(found.blocks)
        .filter_map(|(va, block)| Some((va, block.filter(|b| is_live(b, pattern))?)))
        .collect();
    // For each block the newest record; records for exactly the block's body are preferred.
    let mut chosen: BTreeMap<Va, (bool, Short)> = BTreeMap::new();
    let mut several = false;
    for short in &all {
        let Some(block) = blocks.get(&short.address) else {
            continue;
        };
        let own = short.address == block.body();
        if !own && !may_be_aligned(block, short) {
            continue;
        }
        let best = chosen.entry(block.va).or_insert((own, *short));
        several |= best.1.slot != short.slot;
        if (own, Reverse(short.age)) > (best.0, Reverse(best.1.age)) {
            *best = (own, *short);
        }
    }
    if several || order == Order::Unknown {
        out.tell_order(order);
    }
    let mut misfits = 0u64;
    for (va, (_, short)) in &chosen {
        let Some(record) = log.at(kernel, short.slot) else {
            continue;
        };
        let event = record.event(kinds);
        out.coverage.unknown_events += u64::from(event.is_none());
        // Without the addresses of nt's functions the kind of a record is unknown; the records of
        // live blocks are then shown without it.
        let shown = match event {
            Some(Event::Allocated) => true,
            Some(Event::Freed) => false,
            None => !kinds.are_known() && !record.frames.is_empty(),
        };
        if !shown {
            continue;
        }
        let end = record.address.0.saturating_add(record.size);
        let block = blocks.get(&record.address);
        let room = block
            .map_or(*va, |b| b.va.add(b.bytes))
            .0
            .saturating_add(SLACK);
        if end > room {
            misfits += 1;
            continue;
        }
        out.coverage.in_log += u64::from(event.is_some());
        rows.add(of_record(record, event));
    }
    if misfits > 0 {
        out.notes.push(format!(
            "{misfits} records of the log are larger than the blocks that are now at their \
                addresses; they belong to earlier blocks"
        ));
    }
    Some(())
}

/// Cache-aligned allocations start later than directly after the block header.
fn may_be_aligned(block: &Block, short: &Short) -> bool {
    const CACHE_LINE: u64 = 64;
    let inside = short.address.0.saturating_sub(block.va.0);
    let end = short.address.0.saturating_add(short.size);
    inside <= block.header_bytes() + CACHE_LINE && end <= block.va.0.saturating_add(block.bytes)
}
