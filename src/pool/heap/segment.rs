//! One page segment: its descriptors, and the contents of its ranges.

use crate::memory::{Fault, PAGE_SIZE, Va};
use crate::pool::big::BigTable;
use crate::pool::special;

use super::heaps::{Context, Heaps, PageSegment};
use super::view::{Slot, View};
use super::walk::{Range, Walk};
use super::{Content, lfh, scan, vs};

/// RangeFlags: the unit belongs to a range in use.
const IN_USE: u8 = 1;
/// RangeFlags: the first unit of a range.
const FIRST: u8 = 2;
/// RangeFlags: a VS subsegment, if [`SUBSEGMENT`] is set too.
const VS: u8 = 4;
/// RangeFlags: the range is a subsegment.
const SUBSEGMENT: u8 = 8;

/// Walks a segment. Blocks come range by range, in address order.
pub fn walk_segment(
    heaps: &Heaps,
    segment: PageSegment,
    view: &View<'_>,
    big: &BigTable,
    out: &mut Content,
) {
    let Some(context) = heaps.contexts.get(segment.context) else {
        return;
    };
    let mut walk = Walk {
        heaps,
        context,
        view,
        big,
        out,
        guessing: false,
    };
    walk.ranges(segment.va);
}

/// Searches pages between two addresses that belong to no known segment, as if they belonged to
/// `context`.
pub fn walk_orphans(
    heaps: &Heaps,
    context: &Context,
    (start, end): (Va, Va),
    view: &View<'_>,
    big: &BigTable,
    out: &mut Content,
) {
    let mut walk = Walk {
        heaps,
        context,
        view,
        big,
        out,
        guessing: true,
    };
    scan::unknown(&mut walk, Range { start, end });
}

impl Walk<'_, '_> {
    fn ranges(&mut self, segment: Va) {
        let shift = self.context.unit_shift;
        let count = self.context.segment_bytes >> shift;
        let mut index = u64::from(self.context.first_descriptor);
        while index < count {
            let l = &self.heaps.layout.segment;
            let descriptor = segment.add(index * l.descriptor_size);
            let flags = self.view.u8(descriptor.add(l.flags));
            let units = self.view.u8(descriptor.add(l.unit_size));
            let (flags, units) = match (flags, units) {
                (Ok(flags), Ok(units)) => (flags, u64::from(units)),
                (Err(fault), _) | (_, Err(fault)) => {
                    self.unknown_rest(segment, index, fault);
                    return;
                }
            };
            let units = units.clamp(1, count - index);
            let range = Range {
                start: segment.add(index << shift),
                end: segment.add((index + units) << shift),
            };
            if flags & (IN_USE | FIRST) == IN_USE | FIRST {
                self.range(range, flags);
            }
            index += units;
        }
    }

    fn range(&mut self, range: Range, flags: u8) {
        if flags & SUBSEGMENT != 0 {
            self.view.fetch(range.start, range.end);
        }
        match flags & (SUBSEGMENT | VS) {
            SUBSEGMENT => lfh::walk(self, range),
            both if both == SUBSEGMENT | VS => vs::walk(self, range),
            _ => {}
        }
        let subsegment = flags & SUBSEGMENT != 0;
        if self.context.special && !subsegment {
            self.special(range);
            return;
        }
        self.count_pages(range, subsegment);
    }

    /// Lists whole pages in a special pool heap as one block each, except allocations in the
    /// big page table and the unmapped pages in between.
    fn special(&mut self, range: Range) {
        let mut va = range.start;
        while va < range.end {
            match self.view.slot(va) {
                Slot::Empty => {}
                Slot::Missing(fault) => self.out.pages.missing(fault),
                _ if self.big.holding(va).is_some() => self.out.pages.big += 1,
                Slot::Zero => self.out.pages.other += 1,
                Slot::Bytes(bytes) => match special::decode(bytes) {
                    Some(found) => {
                        self.out.pages.pool += 1;
                        self.out.doubted += u64::from(!found.intact);
                        let kind = self.context.kind;
                        self.out.blocks.push(found.block(va, Some(kind)));
                    }
                    None => self.out.pages.other += 1,
                },
            }
            va = va.add(PAGE_SIZE);
        }
    }

    fn count_pages(&mut self, range: Range, subsegment: bool) {
        let mut va = range.start;
        while va < range.end {
            match self.view.slot(va) {
                Slot::Empty => {}
                Slot::Missing(fault) => {
                    self.out.pages.missing(fault);
                    // VS subsegments contain large allocations too.
                    let big = !subsegment || self.big.holding(va).is_some();
                    self.out.pages.unread_big += u64::from(big);
                }
                Slot::Bytes(_) | Slot::Zero if subsegment => self.out.pages.pool += 1,
                Slot::Bytes(_) | Slot::Zero => self.out.pages.big += 1,
            }
            va = va.add(PAGE_SIZE);
        }
    }

    /// Handles a segment whose descriptors are unreadable from here on: only a search of the
    /// mapped rest is possible.
    fn unknown_rest(&mut self, segment: Va, index: u64, fault: Fault) {
        self.out.pages.missing(fault);
        let range = Range {
            start: segment.add(index << self.context.unit_shift),
            end: segment.add(self.context.segment_bytes),
        };
        scan::unknown(self, range);
        let mut va = range.start;
        while va < range.end {
            match self.view.slot(va) {
                Slot::Missing(fault) => self.out.pages.missing(fault),
                Slot::Bytes(_) | Slot::Zero if self.big.holding(va).is_some() => {
                    self.out.pages.big += 1;
                }
                Slot::Bytes(_) => self.out.pages.pool += 1,
                Slot::Empty | Slot::Zero => {}
            }
            va = va.add(PAGE_SIZE);
        }
    }
}
