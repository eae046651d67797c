//! The log of recent allocations and frees: a ring of `_VF_POOL_TRACE` with the thread and call
//! stack of each, 13 frames up to Server 2022 and 50 from Windows 11.
//!
//! `VfPoolTracesIndex` is a running number. It is not public whether the newest record is at
//! this index or directly before it. Empty slots, the threads of the neighbours, and the order
//! of the events of one address decide.

use crate::bytes::u64_at;
use crate::kernel::Kernel;
use crate::memory::{PAGE_SIZE, Va};

use super::Code;
use super::kind::{Event, Kinds};

const TYPE: &str = "_VF_POOL_TRACE";
/// Largest plausible number of records.
const MAX_LENGTH: u32 = 1 << 20;
/// Record sizes in bytes, from the public types: up to Server 2022, and Windows 11.
const SIZES: [u64; 2] = [0x80, 0x1a8];
/// Number of records that are compared to choose the size.
const SAMPLE: u32 = 256;
/// Size limit in bytes, above any pool block.
const MAX_BYTES: u64 = 1 << 40;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its slot in the ring.
    pub slot: u32,
    /// The block: the first byte that its owner uses.
    pub address: Va,
    /// Size in bytes.
    pub size: u64,
    /// The thread.
    pub thread: Va,
    /// Return addresses, innermost first, without trailing zeros.
    pub frames: Vec<Va>,
}

impl Record {
    /// True when the block contains an address.
    pub fn holds(&self, va: Va) -> bool {
        va.0.checked_sub(self.address.0)
            .is_some_and(|inside| inside < self.size)
    }

    /// Whether it is an allocation or a free.
    pub fn event(&self, kinds: &Kinds<'_>) -> Option<Event> {
        kinds.event(*self.frames.first()?)
    }
}

/// The reason why a slot of the ring has no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    Empty,
    Damaged,
    Unreadable,
}

/// How the newest record was determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By empty slots, threads, or the order of events.
    Known,
    /// Not determined: one record may be the oldest or the newest.
    Assumed,
    /// The index can't be read.
    Unknown,
}

/// The location of the log.
#[derive(Clone, Debug)]
pub struct Log {
    /// Address of the ring.
    pub at: Va,
    /// Number of slots.
    pub length: u32,
    /// `VfPoolTracesIndex`; `None` if it can't be read.
    pub index: Option<u32>,
    /// Size of a record in bytes.
    pub stride: u64,
    /// Offset of the frames in a record.
    frames_at: u64,
    /// Remarks on damage.
    pub(super) damage: Vec<String>,
}

/// Counts of a pass over the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogRead {
    /// Number of valid records.
    pub used: u64,
    /// Number of invalid records.
    pub damaged: u64,
    /// Number of unreadable records.
    pub unreadable: u64,
}

impl Log {
    /// Finds the log; `Ok(None)` if there is none.
    ///
    /// # Errors
    /// The reason why its existence is unknown, as a sentence.
    pub(super) fn find(kernel: &Kernel) -> Result<Option<Log>, String> {
        let Some(variable) = kernel.symbol("VfPoolTraces") else {
            return Err("the log of allocations and frees is not known for this kernel".into());
        };
        let at = kernel.space.pointer(variable).map_err(super::paged_out)?;
        let number = |name: &str| kernel.space.u32(kernel.symbol(name)?).ok();
        let mut damage = Vec::new();
        if at.0 == 0 {
            let Some(calls @ 1..) = number("VfPoolTracesIndex") else {
                return Ok(None);
            };
            damage.push(format!(
                "Driver Verifier's log has no address, though {calls} calls were logged"
            ));
            return Ok(Some(Log::none(at, damage)));
        }
        let length = number("VfPoolTracesLength");
        if !at.is_kernel() || length.is_none_or(|n| n == 0) {
            damage.push(format!(
                "Driver Verifier's log at {at} is damaged: {}",
                match length {
                    Some(length) => format!("it has {length} records"),
                    None => "its length can't be read".to_owned(),
                }
            ));
            let none = Log::none(at, damage);
            return Ok(Some(none));
        }
        let mut length = length.unwrap_or(0);
        if length > MAX_LENGTH || !length.is_power_of_two() {
            damage.push(format!(
                "the length of Driver Verifier's log, {length} records, is not one that Windows \
                    uses; at most {MAX_LENGTH} are read"
            ));
            length = length.min(MAX_LENGTH);
        }
        let index = number("VfPoolTracesIndex");
        if index.is_none() {
            damage.push(
                "the index of Driver Verifier's log can't be read: the order of its records is not known".into(),
            );
        }
        let Some((frames_at, stride)) = layout(kernel) else {
            return Err("the layout of Driver Verifier's log is not known for this kernel".into());
        };
        let mut log = Log {
            at,
            length,
            index,
            stride,
            frames_at,
            damage,
        };
        log.choose_stride(kernel);
        Ok(Some(log))
    }

    /// The log at an address, for use without symbols: as long as its first records are all
    /// valid, with frames in modules. The order of its records is unknown.
    pub(super) fn found(kernel: &Kernel, at: Va, code: &Code) -> Option<Log> {
        let (frames_at, own) = layout(kernel)?;
        let mut sizes = vec![own];
        sizes.extend(SIZES.into_iter().filter(|s| *s != own));
        for stride in sizes {
            let log = Log {
                stride: stride.max(frames_at + 8),
                frames_at,
                length: MAX_LENGTH,
                ..Log::none(at, Vec::new())
            };
            if let Some(length) = log.sound_length(kernel, code) {
                return Some(Log { length, ..log });
            }
        }
        None
    }

    /// Number of consecutive slots that are valid or empty, if enough of the first ones are
    /// valid.
    fn sound_length(&self, kernel: &Kernel, code: &Code) -> Option<u32> {
        let (mut sound, mut slot) = (0, 0);
        while slot < self.length {
            match self.record(kernel, slot) {
                Ok(record) if record.frames.first().is_some_and(|f| code.holds(*f)) => sound += 1,
                Ok(_) => {}
                Err(Gap::Empty) => {}
                Err(Gap::Damaged | Gap::Unreadable) => break,
            }
            slot += 1;
            if slot == SAMPLE / 4 && sound < SAMPLE / 8 {
                return None;
            }
        }
        (sound >= SAMPLE / 8).then(|| 1 << slot.checked_ilog2().unwrap_or(0))
    }

    fn none(at: Va, damage: Vec<String>) -> Log {
        Log {
            at,
            length: 0,
            index: None,
            stride: SIZES[0],
            frames_at: 0x18,
            damage,
        }
    }

    /// Number of frames that a record can have.
    pub fn frames(&self) -> u64 {
        self.stride.saturating_sub(self.frames_at) / 8
    }

    /// Truncates a log that is longer than its pool block; returns a remark if it did.
    pub fn limit(&mut self, bytes: u64) -> Option<String> {
        let room = u32::try_from(bytes / self.stride).unwrap_or(u32::MAX);
        if self.length <= room {
            return None;
        }
        let said = self.length;
        self.length = room;
        Some(format!(
            "Driver Verifier's log says that it has {said} records; its block of pool has room for {room}"
        ))
    }

    /// Server 2022 has both record sizes; with the wrong size, all records but the first are
    /// nonsense.
    fn choose_stride(&mut self, kernel: &Kernel) {
        let code = Code::of(kernel);
        let score = |stride: u64| {
            let log = Log {
                stride,
                ..self.clone()
            };
            let (mut sound, mut all) = (0u32, 0u32);
            for slot in 0..log.length.min(SAMPLE) {
                match log.record(kernel, slot) {
                    Ok(record) => {
                        let known = |first: &Va| code.holds(*first);
                        sound += u32::from(record.frames.first().is_some_and(known));
                        all += 1;
                    }
                    Err(Gap::Damaged) => all += 1,
                    Err(Gap::Empty | Gap::Unreadable) => {}
                }
            }
            (sound, all)
        };
        let (sound, all) = score(self.stride);
        if all == 0 || sound * 2 >= all {
            return;
        }
        let others = SIZES.into_iter().filter(|s| *s != self.stride);
        let best = others.map(|stride| (score(stride), stride));
        let fitting = best.filter(|((sound, all), _)| *all > 0 && sound * 2 >= *all);
        if let Some((_, stride)) = fitting.max_by_key(|b| b.0.0) {
            self.stride = stride;
        }
    }

    /// The address of a slot.
    fn place(&self, slot: u32) -> Va {
        self.at.add(u64::from(slot) * self.stride)
    }

    fn record(&self, kernel: &Kernel, slot: u32) -> Result<Record, Gap> {
        let mut bytes = vec![0; self.stride as usize];
        if kernel.space.read(self.place(slot), &mut bytes).is_err() {
            return Err(Gap::Unreadable);
        }
        parse(&bytes, self.frames_at as usize, slot)
    }

    /// Passes all valid records, slot by slot.
    pub fn each(&self, kernel: &Kernel, take: &mut dyn FnMut(Record)) -> LogRead {
        let mut out = LogRead::default();
        // A damaged length can name a million records that are not there.
        let mut missing = None;
        for slot in 0..self.length {
            let page = self.place(slot).0 / PAGE_SIZE;
            if missing == Some(page) {
                out.unreadable += 1;
                continue;
            }
            match self.record(kernel, slot) {
                Ok(record) => {
                    out.used += 1;
                    take(record);
                }
                Err(Gap::Empty) => {}
                Err(Gap::Damaged) => out.damaged += 1,
                Err(Gap::Unreadable) => {
                    out.unreadable += 1;
                    missing = kernel.space.page(self.place(slot)).is_err().then_some(page);
                }
            }
        }
        out
    }

    /// Number of records without an address in a log that has wrapped around, which should have
    /// no empty slots.
    pub fn emptied(&self, read: &LogRead) -> u64 {
        let all = u64::from(self.length);
        let went_around = self.index.is_some_and(|calls| u64::from(calls) >= all);
        match went_around {
            true => all.saturating_sub(read.used + read.damaged + read.unreadable),
            false => 0,
        }
    }

    /// The record in a slot.
    pub fn at(&self, kernel: &Kernel, slot: u32) -> Option<Record> {
        self.record(kernel, slot).ok()
    }

    /// The number of records that are newer than the one in a slot, if the newest is in slot
    /// `newest`.
    pub fn age(&self, newest: u32, slot: u32) -> u32 {
        match newest >= slot {
            true => newest - slot,
            false => self.length - slot + newest,
        }
    }

    /// The slot of the newest record, and how it was determined.
    pub fn newest(&self, kernel: &Kernel, kinds: &Kinds<'_>) -> (u32, Order) {
        let Some(index) = self.index.filter(|_| self.length > 0) else {
            return (self.length.saturating_sub(1), Order::Unknown);
        };
        let step = |slot: u32, by: u32| {
            let sum = u64::from(slot) + u64::from(by);
            (sum % u64::from(self.length)) as u32
        };
        let at = index % self.length;
        let (before, after) = (step(at, self.length - 1), step(at, 1));
        let there = match self.record(kernel, at) {
            Ok(record) => record,
            // The next record goes there.
            Err(_) => return (before, Order::Known),
        };
        let next = match self.record(kernel, after) {
            Ok(record) => record,
            // The ring is not full: there are no records after the newest.
            Err(_) => return (at, Order::Known),
        };
        if let Ok(last) = self.record(kernel, before) {
            match (last.thread == there.thread, next.thread == there.thread) {
                (true, false) => return (at, Order::Known),
                (false, true) => return (before, Order::Known),
                _ => {}
            }
        }
        match self.by_events(kernel, kinds, &there) {
            Some(true) => (at, Order::Known),
            Some(false) => (before, Order::Known),
            None => (at, Order::Assumed),
        }
    }

    /// Whether the record at the index is the newest: allocations and frees of one address
    /// alternate. `None` if both are possible.
    fn by_events(&self, kernel: &Kernel, kinds: &Kinds<'_>, there: &Record) -> Option<bool> {
        let event = there.event(kinds)?;
        let mut others: Vec<(u32, Event)> = Vec::new();
        let mut unknown = false;
        self.each(kernel, &mut |record| {
            if record.address != there.address || record.slot == there.slot {
                return;
            }
            match record.event(kinds) {
                // Oldest first, assuming that the record at the index is the oldest.
                Some(event) => others.push((self.age(there.slot, record.slot), event)),
                None => unknown = true,
            }
        });
        let oldest = others.iter().max_by_key(|o| o.0)?.1;
        let newest = others.iter().min_by_key(|o| o.0)?.1;
        match (oldest != event, newest != event) {
            _ if unknown => None,
            (true, false) => Some(false),
            (false, true) => Some(true),
            _ => None,
        }
    }
}

/// The offset of the frames in a record, and the size of a record in bytes. `None` without
/// symbols, or if they are implausible.
fn layout(kernel: &Kernel) -> Option<(u64, u64)> {
    let frames_at = kernel.offset(TYPE, "StackTrace")?;
    plausible(frames_at, kernel.symbols.size_of(TYPE)?.into())
}

/// A layout with at least one frame per record; `None` if a crafted PDB has a size or an offset
/// that no record can have.
fn plausible(frames_at: u64, size: u64) -> Option<(u64, u64)> {
    let size = size.max(frames_at.checked_add(8)?);
    (size <= PAGE_SIZE).then_some((frames_at, size))
}

/// Parses a record.
fn parse(bytes: &[u8], frames_at: usize, slot: u32) -> Result<Record, Gap> {
    let word = |at| u64_at(bytes, at).map(Va).ok_or(Gap::Damaged);
    let (address, size, thread) = (word(0)?, word(8)?, word(16)?);
    if address.0 == 0 {
        return Err(Gap::Empty);
    }
    let frames = bytes.get(frames_at..).unwrap_or_default().chunks_exact(8);
    let frames: Vec<Va> = frames
        .map_while(|raw| u64_at(raw, 0).filter(|frame| *frame != 0).map(Va))
        .collect();
    let sound = address.is_kernel()
        && address.0.is_multiple_of(8)
        && size.0 <= MAX_BYTES
        && thread.is_kernel()
        && frames.iter().all(|frame| frame.is_kernel());
    match sound {
        true => Ok(Record {
            slot,
            address,
            size: size.0,
            thread,
            frames,
        }),
        false => Err(Gap::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u64]) -> Vec<u8> {
        let mut out: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        out.resize(0x80, 0);
        out
    }

    const BLOCK: u64 = 0xffff_fa80_0123_4010;
    const THREAD: u64 = 0xffff_fa80_0222_2040;
    const CODE: u64 = 0xffff_f800_0165_c3b9;

    #[test]
    fn frames_end_at_the_first_zero() {
        let raw = bytes(&[BLOCK, 0x40, THREAD, CODE, CODE + 1, 0, CODE]);
        let record = parse(&raw, 0x18, 7).unwrap();
        assert_eq!(record.frames, [Va(CODE), Va(CODE + 1)]);
        assert!(record.holds(Va(BLOCK + 0x3f)) && !record.holds(Va(BLOCK + 0x40)));
        assert!(!record.holds(Va(BLOCK - 1)));
    }

    #[test]
    fn invalid_records_are_damaged_and_zeros_are_empty() {
        let gap = |words: &[u64]| parse(&bytes(words), 0x18, 0).unwrap_err();
        assert_eq!(gap(&[0; 16]), Gap::Empty);
        assert_eq!(gap(&[0x1000, 0x40, THREAD, CODE]), Gap::Damaged);
        assert_eq!(gap(&[BLOCK, u64::MAX, THREAD, CODE]), Gap::Damaged);
        assert_eq!(gap(&[BLOCK, 0x40, 4, CODE]), Gap::Damaged);
        let odd = 0x1234_5678_9abc_def0;
        assert_eq!(gap(&[BLOCK, 0x40, THREAD, CODE, odd]), Gap::Damaged);
        // A record with an all-zero stack has no frames.
        assert_eq!(
            parse(&bytes(&[BLOCK, 0x40, THREAD]), 0x18, 0)
                .unwrap()
                .frames,
            []
        );
    }

    #[test]
    fn layouts_of_crafted_symbols_are_refused() {
        assert_eq!(plausible(0x18, 0x80), Some((0x18, 0x80)));
        assert_eq!(plausible(0x18, 0), Some((0x18, 0x20)));
        assert_eq!(plausible(0x18, PAGE_SIZE + 1), None);
        assert_eq!(plausible(PAGE_SIZE, 0x80), None);
        assert_eq!(plausible(u64::MAX, 0x80), None);
    }

    #[test]
    fn ages_wrap_around_the_ring() {
        let log = Log {
            length: 8,
            ..Log::none(Va(BLOCK), Vec::new())
        };
        let ages: Vec<u32> = [2, 1, 0, 7, 3].map(|slot| log.age(2, slot)).to_vec();
        assert_eq!(ages, [0, 1, 2, 3, 7]);
    }
}
