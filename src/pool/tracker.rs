//! The kernel's own counters: one `_POOL_TRACKER_TABLE` per processor, and an overflow table,
//! summed per tag.
//!
//! A block that is allocated on one processor and freed on another makes one table's count
//! negative. So counts are added modulo their width, and only the sum is meaningful.
//! `PoolTrackTable` is the table of processor 0, not an additional one. Entries are 0x28 bytes
//! with 32-bit counts up to Windows 10 1607, and 0x38 or 0x50 bytes with 64-bit counts later;
//! the layout is looked up by name.

use rustc_hash::FxHashMap;

use crate::bytes::{u32_at, u64_at};
use crate::kernel::Kernel;
use crate::kernel::kdbg::field;
use crate::memory::{AddressSpace, PAGE_SIZE, Va};
use crate::symbols::Field;

use super::legacy::Encoding;
use super::tag::Tag;

/// The two pools that the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Pool {
    /// Nonpaged, executable or not.
    Nonpaged,
    /// Paged.
    Paged,
}

impl Pool {
    /// The word in answers.
    pub fn word(self) -> &'static str {
        match self {
            Pool::Nonpaged => "nonpaged",
            Pool::Paged => "paged",
        }
    }
}

/// Counts of one tag in one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Allocations since boot, modulo the counter's width.
    pub allocs: u64,
    /// Frees since boot, modulo the counter's width.
    pub frees: u64,
    /// Outstanding allocations: the difference, modulo the counter's width.
    pub outstanding: u64,
    /// Outstanding bytes, including block headers and rounding.
    pub bytes: u64,
    /// The counters of allocations and frees have overflowed: the two numbers are meaningless
    /// by themselves, but their difference is right.
    #[serde(default)]
    pub wrapped: bool,
}

impl Usage {
    /// True when nothing is outstanding.
    pub fn is_empty(&self) -> bool {
        self.outstanding == 0 && self.bytes == 0
    }

    /// Average bytes per outstanding allocation.
    pub fn bytes_per_alloc(&self) -> u64 {
        self.bytes.checked_div(self.outstanding).unwrap_or(0)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.allocs = self.allocs.wrapping_add(other.allocs);
        self.frees = self.frees.wrapping_add(other.frees);
        self.outstanding = self.outstanding.wrapping_add(other.outstanding);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.wrapped = self.wrapped || other.wrapped;
    }
}

/// The counters of one tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TagUsage {
    /// The tag.
    pub tag: Tag,
    /// Executable and non-executable nonpaged pool combined.
    pub nonpaged: Usage,
    /// All paged pools combined.
    pub paged: Usage,
}

/// All counters.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Trackers {
    /// One row per tag, in order of tag.
    pub rows: Vec<TagUsage>,
    /// The sum of all rows.
    pub total: TagUsage,
    /// The tables that were summed.
    pub tables: Vec<Va>,
    /// Number of entries in each table.
    pub entries: u64,
    /// Remarks on tables that could be read only partly or not at all, and other doubts.
    pub notes: Vec<String>,
}

impl Trackers {
    /// The counters of a tag.
    pub fn get(&self, tag: Tag) -> Option<&TagUsage> {
        let at = self.rows.binary_search_by(|row| row.tag.cmp(&tag)).ok()?;
        self.rows.get(at)
    }

    /// Sets the sums, modulo the counters' width and sorted by tag.
    pub(super) fn settle(&mut self, rows: FxHashMap<Tag, TagUsage>, layout: &Layout) {
        let mask = layout.count_mask();
        self.rows = rows.into_values().map(|row| clip(row, mask)).collect();
        self.rows.sort_unstable_by_key(|row| row.tag);
        finish(self);
    }
}

/// The fields of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) size: usize,
    key: Field,
    nonpaged: [Field; 3],
    paged: [Field; 3],
}

impl Layout {
    pub(super) fn of(kernel: &Kernel) -> Option<Layout> {
        const TYPE: &str = "_POOL_TRACKER_TABLE";
        let get = |name| kernel.symbols.field(TYPE, name);
        Some(Layout {
            size: kernel.symbols.size_of(TYPE)? as usize,
            key: get("Key")?,
            nonpaged: [
                get("NonPagedAllocs")?,
                get("NonPagedFrees")?,
                get("NonPagedBytes")?,
            ],
            paged: [get("PagedAllocs")?, get("PagedFrees")?, get("PagedBytes")?],
        })
        .filter(|layout| (0x20..=0x100).contains(&layout.size))
    }

    fn usage(&self, entry: &[u8], fields: [Field; 3]) -> Usage {
        let [allocs, frees, bytes] = fields.map(|f| number(entry, f));
        Usage {
            allocs,
            frees,
            outstanding: allocs.wrapping_sub(frees),
            bytes,
            wrapped: false,
        }
    }

    /// The counters' width as a mask.
    fn count_mask(&self) -> u64 {
        match self.nonpaged[0].size {
            4 => u32::MAX.into(),
            _ => u64::MAX,
        }
    }
}

fn number(entry: &[u8], field: Field) -> u64 {
    let at = field.offset as usize;
    match field.size {
        4 => u32_at(entry, at).map(u64::from),
        _ => u64_at(entry, at),
    }
    .unwrap_or(0)
}

/// A table with more entries is not a tracker table (the largest known has 2^16).
pub(super) const MAX_ENTRIES: u64 = 1 << 20;
/// Bits of a processor mask: the largest number of processors of NT 5.2.
const NT52_PROCESSORS: u64 = 64;
/// Number of tables in the largest known array (Server 2022).
const MAX_TABLES: u64 = 2048;

/// Reads and sums all tables of the system.
pub fn read(kernel: &Kernel) -> Trackers {
    let mut out = Trackers::default();
    let Some(layout) = Layout::of(kernel) else {
        out.notes.push(
            "the layout of the pool trackers is not known for this build: no counts per tag".into(),
        );
        return out;
    };
    let entries = kernel
        .number_in("PoolTrackTableSize")
        .filter(|n| (2..=MAX_ENTRIES).contains(n));
    let Some(entries) = entries else {
        out.notes
            .push("the size of the pool tracker tables can't be read: no counts per tag".into());
        return out;
    };
    out.entries = entries;
    out.tables = tables(kernel, &mut out.notes);
    let mut rows = FxHashMap::default();
    let apart = within_dump(kernel, entries * layout.size as u64, &mut out);
    for table in apart {
        add_table(
            &kernel.space,
            &layout,
            table,
            entries,
            &mut rows,
            &mut out.notes,
        );
    }
    if let Some(note) = refused_expansion(kernel) {
        out.notes.push(note);
    }
    if let Some((table, size)) = expansion(kernel) {
        add_table(
            &kernel.space,
            &layout,
            table,
            size,
            &mut rows,
            &mut out.notes,
        );
    }
    out.settle(rows, &layout);
    out
}

/// Limits the tables to the number of pages in the dump: each table has its own memory, so more
/// tables can't be real and would take long to sum.
fn within_dump(kernel: &Kernel, bytes: u64, out: &mut Trackers) -> Vec<Va> {
    let stored = kernel
        .space
        .dump()
        .pages_present()
        .saturating_mul(PAGE_SIZE);
    let room = usize::try_from(stored / bytes.max(1)).unwrap_or(usize::MAX);
    let kept: Vec<Va> = out.tables.iter().copied().take(room.max(1)).collect();
    if kept.len() < out.tables.len() {
        out.notes.push(format!(
            "{} pool tracker tables of {bytes} bytes each are more than the dump holds: the first {} are added up",
            out.tables.len(),
            kept.len()
        ));
    }
    kept
}

/// Reduces counts modulo their width; negative outstanding counts and bytes become 0.
fn clip(mut row: TagUsage, mask: u64) -> TagUsage {
    for usage in [&mut row.nonpaged, &mut row.paged] {
        usage.allocs &= mask;
        usage.frees &= mask;
        usage.outstanding = usage.allocs.wrapping_sub(usage.frees) & mask;
        usage.wrapped =
            usage.frees > usage.allocs || is_past(usage.allocs, mask) || is_past(usage.frees, mask);
    }
    row
}

/// True for a count close to its maximum. Sums of processors' counters of which some have
/// wrapped look like that. Real counts of a busy machine rarely do (once in 256, for 32-bit
/// counters).
fn is_past(count: u64, mask: u64) -> bool {
    count > mask - (mask >> 8)
}

/// Computes totals, and reports rows with negative sums.
fn finish(out: &mut Trackers) {
    let mut below_zero = 0;
    for row in &mut out.rows {
        for usage in [&mut row.nonpaged, &mut row.paged] {
            let negative_count =
                usage.outstanding > u64::from(u32::MAX) / 2 && is_negative(usage.outstanding);
            if negative_count || (usage.bytes as i64) < 0 {
                below_zero += 1;
                usage.outstanding = if negative_count { 0 } else { usage.outstanding };
                usage.bytes = if (usage.bytes as i64) < 0 {
                    0
                } else {
                    usage.bytes
                };
            }
        }
        out.total.nonpaged += row.nonpaged;
        out.total.paged += row.paged;
    }
    if below_zero > 0 {
        out.notes.push(format!(
            "{below_zero} sums of the trackers are below zero (tables missing, or changing while a live dump was written) and are shown as 0"
        ));
    }
}

/// True for a negative count of either width.
fn is_negative(count: u64) -> bool {
    (count as i64) < 0 || (count <= u32::MAX.into() && (count as u32 as i32) < 0)
}

/// The distinct tables of ExPoolTagTables and PoolTrackTable.
fn tables(kernel: &Kernel, notes: &mut Vec<String>) -> Vec<Va> {
    let mut tables: Vec<Va> = Vec::new();
    let mut add = |va: Va| {
        if va.is_kernel() && !tables.contains(&va) {
            tables.push(va);
        }
    };
    let first = kernel.pointer_in("PoolTrackTable", Some(field::POOL_TRACK_TABLE));
    if let Some(first) = first {
        add(first);
    }
    let processors = u64::from(kernel.machine.processors);
    match kernel.symbol("ExPoolTagTables") {
        Some(array) => {
            for i in 0..array_length(kernel, processors) {
                match kernel.space.pointer(array.add(i * 8)) {
                    Ok(va) if va.0 == 0 => {}
                    Ok(va) if va.is_kernel() => add(va),
                    // The array ends at the first value that is not a pointer.
                    _ => break,
                }
            }
        }
        None if processors > 1 && Encoding::of_build(kernel.build) == Encoding::Nt52 => {
            notes.push(format!(
                "one pool tracker table was found, for {processors} processors: if this kernel \
                    has one for each, the counts per tag are those of one processor only"
            ));
        }
        None if processors > 1 => notes.push(format!(
            "only one processor's pool tracker table was found, of {processors}: the counts per tag are one processor's share"
        )),
        None => {}
    }
    if (tables.len() as u64) < processors && kernel.symbol("ExPoolTagTables").is_some() {
        notes.push(format!(
            "{} pool tracker tables were found for {processors} processors",
            tables.len()
        ));
    }
    tables
}

/// Number of pointers in ExPoolTagTables: 256 on Windows 7, 640 up to 1607, 1,280 up to Windows
/// 10 2004, 2,048 later (from the distance to the next public symbol). The array size of NT 5.2
/// is unknown, so at most one table per processor is read.
fn array_length(kernel: &Kernel, processors: u64) -> u64 {
    match kernel.build {
        0..6000 => processors.clamp(1, NT52_PROCESSORS),
        6000..9200 => 256,
        9200..17763 => 640,
        17763..20348 => 1280,
        _ => MAX_TABLES,
    }
}

/// The tables, each with its size in bytes, in whole pages.
pub(super) fn extents(kernel: &Kernel) -> Vec<(Va, u64)> {
    let Some(layout) = Layout::of(kernel) else {
        return Vec::new();
    };
    let entries = kernel.number_in("PoolTrackTableSize");
    let entries = entries.filter(|n| (2..=MAX_ENTRIES).contains(n));
    let own = tables(kernel, &mut Vec::new());
    let own = own.into_iter().filter_map(|table| Some((table, entries?)));
    own.chain(expansion(kernel))
        .map(|(at, entries)| {
            (
                at,
                (entries * layout.size as u64).next_multiple_of(PAGE_SIZE),
            )
        })
        .collect()
}

fn expansion(kernel: &Kernel) -> Option<(Va, u64)> {
    let table = kernel.pointer_in("PoolTrackTableExpansion", None)?;
    let size = kernel.number_in("PoolTrackTableExpansionSize")?;
    (1..=MAX_ENTRIES).contains(&size).then_some((table, size))
}

/// Describes an overflow table that exists but can't be used.
fn refused_expansion(kernel: &Kernel) -> Option<String> {
    kernel.pointer_in("PoolTrackTableExpansion", None)?;
    let size = kernel.number_in("PoolTrackTableExpansionSize");
    let size = size.filter(|n| !(0..=MAX_ENTRIES).contains(n))?;
    Some(format!(
        "the overflow table of the pool trackers says it has {size} entries, which is not \
            plausible: tags that are only in it have no counts"
    ))
}

pub(super) fn add_table(
    space: &AddressSpace,
    layout: &Layout,
    table: Va,
    entries: u64,
    rows: &mut FxHashMap<Tag, TagUsage>,
    notes: &mut Vec<String>,
) {
    let mut missing = 0u64;
    let mut entry = vec![0u8; layout.size];
    let mut at = table;
    for _ in 0..entries {
        // Entries straddle pages, so each is read separately; the page look-up is cheap.
        match space.read(at, &mut entry) {
            Ok(()) => add_entry(layout, &entry, rows),
            Err(_) => missing += 1,
        }
        at = at.add(layout.size as u64);
    }
    if missing > 0 {
        notes.push(format!(
            "{missing} of {entries} entries of the pool tracker table at {table} can't be read"
        ));
    }
}

fn add_entry(layout: &Layout, entry: &[u8], rows: &mut FxHashMap<Tag, TagUsage>) {
    let key = number(entry, layout.key) as u32;
    if key == 0 {
        return;
    }
    let tag = Tag::new(key);
    let row = rows.entry(tag).or_insert(TagUsage {
        tag,
        ..TagUsage::default()
    });
    row.nonpaged += layout.usage(entry, layout.nonpaged);
    row.paged += layout.usage(entry, layout.paged);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(allocs: u64, frees: u64, bytes: u64) -> Usage {
        Usage {
            allocs,
            frees,
            outstanding: allocs.wrapping_sub(frees),
            bytes,
            wrapped: false,
        }
    }

    #[test]
    fn overflowed_counters_are_marked() {
        let clipped = |allocs: u64, frees: u64, mask| {
            let nonpaged = usage(allocs, frees, 0);
            let row = TagUsage {
                nonpaged,
                ..TagUsage::default()
            };
            clip(row, mask).nonpaged
        };
        let narrow = clipped(
            64u64.wrapping_neg() + 32,
            64u64.wrapping_neg(),
            u32::MAX.into(),
        );
        assert_eq!((narrow.outstanding, narrow.wrapped), (32, true));
        assert_eq!(narrow.allocs, 4_294_967_264);
        let wide = clipped(u64::MAX - 31, u64::MAX - 31, u64::MAX);
        assert_eq!((wide.outstanding, wide.wrapped), (0, true));
        assert!(clipped(5, 9, u64::MAX).wrapped);
        let busy = clipped(3_000_000_000, 2_999_000_000, u32::MAX.into());
        assert_eq!((busy.outstanding, busy.wrapped), (1_000_000, false));
        assert!(!clipped(5_000_000_000, 4_999_000_000, u64::MAX).wrapped);
    }

    #[test]
    fn negative_counts_of_single_processors_add_up() {
        let mut sum = usage(10, 2, 4096);
        sum += usage(1, 5, 1000u64.wrapping_neg());
        let row = clip(
            TagUsage {
                nonpaged: sum,
                ..TagUsage::default()
            },
            u64::MAX,
        );
        assert_eq!(row.nonpaged, usage(11, 7, 3096));
    }

    #[test]
    fn narrow_counters_wrap_at_their_width() {
        let mut sum = usage(u64::from(u32::MAX), 10, 0);
        sum += usage(12, u64::from(u32::MAX) - 9, 0);
        let row = clip(
            TagUsage {
                nonpaged: sum,
                ..TagUsage::default()
            },
            u32::MAX.into(),
        );
        assert_eq!(
            (
                row.nonpaged.allocs,
                row.nonpaged.frees,
                row.nonpaged.outstanding
            ),
            (11, 0, 11)
        );
        // The difference wraps too, if the allocations have wrapped and the frees have not.
        let row = clip(
            TagUsage {
                nonpaged: usage((1 << 32) + 11, (1 << 32) - 5, 0),
                ..TagUsage::default()
            },
            u32::MAX.into(),
        );
        assert_eq!(row.nonpaged.outstanding, 16);
    }

    #[test]
    fn negative_sums_are_reported_and_shown_as_zero() {
        let mut out = Trackers {
            rows: vec![clip(
                TagUsage {
                    nonpaged: usage(3, 5, (-64i64) as u64),
                    ..TagUsage::default()
                },
                u32::MAX.into(),
            )],
            ..Trackers::default()
        };
        finish(&mut out);
        assert_eq!(
            (out.total.nonpaged.outstanding, out.total.nonpaged.bytes),
            (0, 0)
        );
        assert_eq!(out.notes.len(), 1);
    }
}
