//! Contexts and their page segments: the assignment of units, and the descriptors for it.

use crate::addr::{PAGE_SIZE, Pfn, Va};
use crate::synth::kernel::Nt;
use crate::synth::paging::{Entry, Memory};
use crate::synth::rng::Rng;

/// Number of descriptors of a segment, including those of the header.
const DESCRIPTORS: u64 = 256;
/// TreeSignature of a range's first descriptor.
const TREE_SIGNATURE: u32 = 0xccdd_ccdd;

/// RangeFlags.
pub const IN_USE: u8 = 1;
const FIRST: u8 = 2;
/// RangeFlags of an LFH subsegment.
pub const LFH: u8 = IN_USE | 8;
/// RangeFlags of a VS subsegment.
pub const VS: u8 = IN_USE | 8 | 4;

/// A context of a heap.
#[derive(Clone, Debug)]
pub struct Context {
    /// Its `_HEAP_SEG_CONTEXT`.
    pub at: Va,
    /// log2 of the size of a unit in bytes.
    pub shift: u8,
    /// True when the pages are executable.
    executable: bool,
    /// Number of units that are used before the next segment is started.
    units: u64,
    /// The segments.
    pub segments: Vec<Segment>,
}

/// A page segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its address.
    pub va: Va,
    next: u64,
    ranges: Vec<Range>,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    unit: u64,
    units: u64,
    flags: u8,
}

/// The next free address of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Cursor(pub Va);

impl Cursor {
    /// Allocates the next `bytes`, aligned to `align`, a power of two.
    pub fn take(&mut self, bytes: u64, align: u64) -> Va {
        let at = Va(self.0.0.next_multiple_of(align));
        self.0 = at.add(bytes);
        at
    }
}

impl Context {
    /// Context number 0 (pages) or 1 (64 KB units) of a heap.
    pub fn new(at: Va, number: u64, units: u64, executable: bool) -> Context {
        Context {
            at,
            executable,
            shift: if number == 0 { 12 } else { 16 },
            units: if number == 0 { units } else { DESCRIPTORS },
            segments: Vec::new(),
        }
    }

    /// Number of descriptors for the header, which has 0x2000 bytes.
    fn first(&self) -> u64 {
        if self.shift == 12 { 2 } else { 1 }
    }

    /// The page-table entry for the segments' pages.
    pub fn entry(&self, frame: Pfn) -> Entry {
        match self.executable {
            true => Entry::Code(frame),
            false => Entry::Data(frame),
        }
    }

    /// Size of a segment in bytes.
    pub fn segment_bytes(&self) -> u64 {
        DESCRIPTORS << self.shift
    }

    /// Finds space for a range; starts another segment when the last one is full.
    pub fn place(&mut self, bytes: u64, flags: u8, cursor: &mut Cursor, rng: &mut Rng) -> Va {
        let units = bytes.div_ceil(1 << self.shift);
        let gap = if rng.one_in(4) { 1 + rng.below(3) } else { 0 };
        let first = self.first();
        let full = |s: &Segment| {
            let fresh = s.next == first;
            s.next + gap + units
                > if fresh {
                    DESCRIPTORS
                } else {
                    self.units + first
                }
                || s.next + gap + units > DESCRIPTORS
        };
        if self.segments.last().is_none_or(full) {
            // Segments of different heaps are interleaved.
            let skip = rng.below(3) * self.segment_bytes();
            cursor.0 = cursor.0.add(skip);
            self.segments.push(Segment {
                va: cursor.take(self.segment_bytes(), self.segment_bytes()),
                next: first,
                ranges: Vec::new(),
            });
        }
        let Some(segment) = self.segments.last_mut() else {
            return Va(0);
        };
        if gap > 0 && segment.next + gap + units <= DESCRIPTORS {
            segment.ranges.push(Range {
                unit: segment.next,
                units: gap,
                flags: 0,
            });
            segment.next += gap;
        }
        let unit = segment.next;
        segment.ranges.push(Range { unit, units, flags });
        segment.next += units;
        segment.va.add(unit << self.shift)
    }

    /// Writes the context, the headers of its segments, and their ring.
    pub fn write(&self, memory: &mut Memory, nt: &Nt, heap: Va, (mix, key): (u64, u64)) {
        let field = |name| nt.field(self.at, "_HEAP_SEG_CONTEXT", name);
        memory.u64(field("SegmentMask"), self.segment_bytes().wrapping_neg());
        let shifts = [self.shift, self.shift - 12, self.first() as u8];
        memory.write(field("UnitShift"), &shifts);
        memory.pointer(field("Heap"), heap);
        memory.u64(field("SegmentCount"), self.segments.len() as u64);
        let heap_field = |name| nt.field(heap, "_SEGMENT_HEAP", name);
        memory.pointer(field("VsContext"), heap_field("VsContext"));
        memory.pointer(field("LfhContext"), heap_field("LfhContext"));
        for segment in &self.segments {
            for page in [segment.va, segment.va.add(PAGE_SIZE)] {
                let frame = memory.physical.allocate(1);
                memory.map(page, self.entry(frame));
            }
            let signature = segment.va.0 ^ self.at.0 ^ key ^ mix;
            for range in &segment.ranges {
                descriptors(memory, nt, segment.va, *range);
            }
            let rest = Range {
                unit: segment.next,
                units: DESCRIPTORS - segment.next,
                flags: 0,
            };
            descriptors(memory, nt, segment.va, rest);
            memory.u64(
                nt.field(segment.va, "_HEAP_PAGE_SEGMENT", "Signature"),
                signature,
            );
        }
        let links: Vec<Va> = self.segments.iter().map(|s| s.va).collect();
        memory.ring(field("SegmentListHead"), &links);
    }
}

/// Writes the descriptors of a range: the first has its length, the others their offset in it.
fn descriptors(memory: &mut Memory, nt: &Nt, segment: Va, range: Range) {
    const TYPE: &str = "_HEAP_PAGE_RANGE_DESCRIPTOR";
    if range.units == 0 {
        return;
    }
    let at = |i: u64| segment.add((range.unit + i) * 0x20);
    let field = |name| nt.field(at(0), TYPE, name);
    memory.u32(field("TreeSignature"), TREE_SIGNATURE);
    memory.write(field("RangeFlags"), &[range.flags | FIRST]);
    let committed = if range.flags == 0 { 0 } else { range.units };
    memory.write(field("CommittedPageCount"), &[committed as u8]);
    memory.write(field("UnitSize"), &[range.units as u8]);
    let (flags, offset) = (field("RangeFlags"), field("UnitOffset"));
    for i in 1..range.units {
        memory.write(flags.add(i * 0x20), &[range.flags]);
        memory.write(offset.add(i * 0x20), &[i as u8]);
    }
}

/// Number of pages for a number of bytes.
pub fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_SIZE)
}
