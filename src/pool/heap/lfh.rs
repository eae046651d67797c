//! LFH subsegments: slots of one size, and a bitmap of the slots in use.

use crate::memory::{PAGE_SIZE, Va};
use crate::pool::block::Backend;

use super::slot::{LARGEST_SLOT, is_busy};
use super::slots;
use super::walk::{Range, UNIT, Walk};

/// The slots of a subsegment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slots {
    first: u64,
    bytes: u64,
    count: u64,
}

/// Walks a subsegment.
pub fn walk(walk: &mut Walk<'_, '_>, range: Range) {
    let slots = match slots(walk, range) {
        Some(Ok(Some(slots))) => slots,
        // Not initialised yet: no slot was ever allocated.
        Some(Ok(None)) => return,
        Some(Err(())) => {
            walk.out.damaged.push((range.start, 0));
            return lost(walk, range);
        }
        None => return lost(walk, range),
    };
    let bitmap = range.start.add(walk.heaps.layout.lfh.bitmap);
    for i in 0..slots.count {
        let at = range.start.add(slots.first + i * slots.bytes);
        // A slot that would straddle two pages is never allocated.
        if at.offset() as u64 + slots.bytes > PAGE_SIZE {
            continue;
        }
        let Ok(bits) = walk.view.u8(bitmap.add(i / 4)) else {
            walk.out.unplaced_bytes += (slots.count - i) * slots.bytes;
            return;
        };
        if !is_busy(bits, i) {
            walk.free(at, slots.bytes, Backend::Lfh);
            continue;
        }
        match walk.pool_header(at, slots.bytes, Backend::Lfh) {
            Ok(Some(block)) => walk.out.blocks.push(block),
            Ok(None) => walk.out.unplaced_bytes += slots.bytes,
            // Counted with the pages.
            Err(_) => {}
        }
    }
}

/// Searches a subsegment with a damaged header for the POOL_HEADERs of its slots.
fn lost(walk: &mut Walk<'_, '_>, range: Range) {
    let explained = slots::walk(walk, range);
    walk.out.unplaced_bytes += (range.end.0 - range.start.0).saturating_sub(explained);
}

/// The end of a subsegment's slots, if the page starts with an LFH header; `limit` is the first
/// byte after the range that the subsegment can occupy.
pub(super) fn end_of(walk: &Walk<'_, '_>, start: Va, limit: Va) -> Option<Va> {
    let range = Range { start, end: limit };
    let slots = slots(walk, range)?.ok()??;
    let bitmap = walk.heaps.layout.lfh.bitmap + slots.count.div_ceil(4);
    let end = start.add(slots.first + slots.count * slots.bytes);
    (slots.first >= bitmap).then_some(end)
}

/// For each readable slot in use, whether it has a matching POOL_HEADER.
pub(super) fn busy_slots(walk: &Walk<'_, '_>, range: Range) -> Vec<bool> {
    match slots(walk, range) {
        Some(Ok(Some(slots))) => busy(walk, range, slots),
        _ => Vec::new(),
    }
}

fn busy(walk: &Walk<'_, '_>, range: Range, slots: Slots) -> Vec<bool> {
    let bitmap = range.start.add(walk.heaps.layout.lfh.bitmap);
    let fits = |i: u64| {
        let at = range.start.add(slots.first + i * slots.bytes);
        let straddles = at.offset() as u64 + slots.bytes > PAGE_SIZE;
        let busy = walk.view.u8(bitmap.add(i / 4)).is_ok_and(|b| is_busy(b, i));
        let header = walk.pool_header(at, slots.bytes, Backend::Lfh).ok();
        let fits = header.map(|h| h.is_some_and(|b| b.bytes == slots.bytes));
        fits.filter(|_| busy && !straddles)
    };
    (0..slots.count).filter_map(fits).collect()
}

/// `None` if the header can't be read, `Err` if it is invalid.
fn slots(walk: &Walk<'_, '_>, range: Range) -> Option<Result<Option<Slots>, ()>> {
    let l = &walk.heaps.layout.lfh;
    let key = walk.heaps.keys.lfh?;
    let count = walk.view.u16(range.start.add(l.block_count)).ok()?;
    let encoded = walk.view.u32(range.start.add(l.block_offsets)).ok()?;
    if encoded == 0 && count == 0 {
        return Some(Ok(None));
    }
    // Up to build 22631, the low 32 bits of the address are shifted; from 26100, the whole
    // address. The form that gives valid slots is used.
    let forms = [(range.start.0 as u32) >> 12, (range.start.0 >> 12) as u32];
    let found = forms.map(|form| {
        let slots = decode(encoded ^ key as u32 ^ form, count.into());
        slots.is_sound(range, l.bitmap).then_some(slots)
    });
    let found = match found {
        [Some(one), Some(other)] if one != other => Some(better(walk, range, one, other)),
        [one, other] => one.or(other),
    };
    Some(found.map(Some).ok_or(()))
}

/// Of two readings of a header, the one with more block headers in slots in use: both can be
/// valid if the end of the range is unknown.
fn better(walk: &Walk<'_, '_>, range: Range, one: Slots, other: Slots) -> Slots {
    let fitting = |slots: Slots| {
        let busy = busy(walk, range, slots);
        busy.iter().filter(|fits| **fits).count()
    };
    match fitting(other) > fitting(one) {
        true => other,
        false => one,
    }
}

fn decode(offsets: u32, count: u64) -> Slots {
    Slots {
        first: u64::from(offsets >> 16),
        bytes: u64::from(offsets & 0xffff),
        count,
    }
}

impl Slots {
    fn is_sound(&self, range: Range, bitmap: u64) -> bool {
        let whole = range.end.0 - range.start.0;
        (UNIT..LARGEST_SLOT).contains(&self.bytes)
            && self.bytes.is_multiple_of(UNIT)
            && self.first >= bitmap
            && self.first + self.count * self.bytes <= whole
            && self.count > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_must_be_inside_their_range() {
        let range = Range {
            start: Va(0xffff_ba0f_1a20_0000),
            end: Va(0xffff_ba0f_1a20_1000),
        };
        let sound = decode(0x0040_0020, 100);
        assert_eq!((sound.first, sound.bytes), (0x40, 0x20));
        assert!(sound.is_sound(range, 0x30));
        assert!(!decode(0x0040_0020, 127).is_sound(range, 0x30));
        assert!(!decode(0x0040_0021, 10).is_sound(range, 0x30));
        assert!(!decode(0x0010_0020, 10).is_sound(range, 0x30));
    }
}
