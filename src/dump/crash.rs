//! Crash dumps of Windows: the data between the header and the pages, per dump type.
//!
//! Full dumps (1) store the header's memory runs in sequence. Bitmap dumps (5, 6) and kernel
//! dumps of Windows 7 (2) have a bitmap. Dumps written by a debugger (8, 9, 0xA) have a list of
//! ranges. Sources: `mindumpdef.h` for the signatures, the public readers kdmp-parser and rizin
//! for the layouts.

use crate::addr::{PAGE_SIZE, Pfn};
use crate::bytes::{u32_at, u64_at};

use super::error::DumpError;
use super::header::{HEADER_SIZE, Header};
use super::page_map::{FileRun, MAX_FRAMES, PageMap, RankedBitmap};

/// Offset of the second header (bitmap or ranges).
const SECOND: usize = HEADER_SIZE;

/// Finds the pages of a dump. `file` is the whole file.
///
/// # Errors
/// [`DumpError::Damaged`] when the container contradicts itself, and
/// [`DumpError::UnknownType`].
pub(super) fn page_map(file: &[u8], header: &Header) -> Result<PageMap, DumpError> {
    match header.dump_type {
        1 if !has_bitmap(file) => full(header),
        1 | 5 | 6 | 7 => bitmap(file).map(PageMap::Bitmap),
        2 => summary(file, header).map(PageMap::Bitmap),
        8..=0xa => ranges(file, header.dump_type),
        dump_type => Err(DumpError::UnknownType { dump_type }),
    }
}

fn damaged<T>(what: String) -> Result<T, DumpError> {
    Err(DumpError::Damaged { what })
}

fn has_bitmap(file: &[u8]) -> bool {
    let signature = file.get(SECOND..SECOND + 8).unwrap_or(&[]);
    signature == b"SDMPDUMP" || signature == b"FDMPDUMP"
}

fn full(header: &Header) -> Result<PageMap, DumpError> {
    if header.memory.is_empty() {
        return damaged(
            "the header's list of physical memory runs is unset or not plausible".into(),
        );
    }
    let mut offset = HEADER_SIZE as u64;
    let mut runs = Vec::with_capacity(header.memory.len());
    for run in &header.memory {
        runs.push(FileRun {
            first: run.first.0,
            pages: run.pages,
            offset,
        });
        offset += run.pages * PAGE_SIZE;
    }
    Ok(PageMap::Runs(runs))
}

/// One way to read the second header of a bitmap dump.
#[derive(Clone, Copy)]
struct BitmapLayout {
    first_page: u64,
    present: u64,
    bits: u64,
    bitmap: usize,
}

/// The layout of Windows 8 and later (64-bit fields, bitmap at 0x38).
fn wide_layout(file: &[u8]) -> Option<BitmapLayout> {
    Some(BitmapLayout {
        first_page: u64_at(file, SECOND + 0x20)?,
        present: u64_at(file, SECOND + 0x28)?,
        bits: u64_at(file, SECOND + 0x30)?,
        bitmap: SECOND + 0x38,
    })
}

/// The older layout (32-bit fields, then a serialised RTL_BITMAP). `at` is the offset of the
/// bitmap from the second header.
fn narrow_layout(file: &[u8], at: usize) -> Option<BitmapLayout> {
    let bits = u32_at(file, SECOND + 0x10)?;
    if u32_at(file, SECOND + 0x18)? != bits {
        return None;
    }
    Some(BitmapLayout {
        first_page: u32_at(file, SECOND + 0x0c)?.into(),
        present: u32_at(file, SECOND + 0x14)?.into(),
        bits: bits.into(),
        bitmap: SECOND + at,
    })
}

impl BitmapLayout {
    /// Checks the fields against each other and against the file, then counts the bitmap.
    fn open(self, file: &[u8]) -> Result<RankedBitmap, String> {
        if self.bits == 0 || self.bits > MAX_FRAMES {
            return Err(format!("a bitmap of {} bits", self.bits));
        }
        if !self.first_page.is_multiple_of(PAGE_SIZE) || self.first_page < SECOND as u64 + PAGE_SIZE
        {
            return Err(format!("pages start at {:#x}", self.first_page));
        }
        let end = self.bitmap as u64 + self.bits.div_ceil(8);
        if end > self.first_page {
            return Err(format!(
                "the bitmap ends at {end:#x}, after the first page at {:#x}",
                self.first_page
            ));
        }
        let map =
            RankedBitmap::new(file, self.bitmap, self.bits, self.first_page).ok_or_else(|| {
                format!(
                    "the file ends inside the bitmap ({} bytes, {end} needed)",
                    file.len()
                )
            })?;
        if map.present() != self.present {
            return Err(format!(
                "the bitmap marks {} pages, its header says {}",
                map.present(),
                self.present
            ));
        }
        Ok(map)
    }

    /// True when there is only alignment padding between the bitmap and the pages.
    fn is_tight(&self) -> bool {
        let end = self.bitmap as u64 + self.bits.div_ceil(8);
        self.first_page.saturating_sub(end) < 2 * PAGE_SIZE
    }
}

fn bitmap(file: &[u8]) -> Result<RankedBitmap, DumpError> {
    if !has_bitmap(file) {
        return damaged("there is no page bitmap (SDMP or FDMP) after the header".into());
    }
    match wide_layout(file) {
        Some(layout) => layout
            .open(file)
            .or_else(|why| damaged(format!("page bitmap: {why}"))),
        None => damaged("the file ends inside the bitmap header".into()),
    }
}

/// Kernel dumps up to Windows 7. Two layouts exist, and the file does not say which one it
/// uses. All are tried; if several fit, the page tables decide.
fn summary(file: &[u8], header: &Header) -> Result<RankedBitmap, DumpError> {
    if !has_bitmap(file) {
        return damaged("there is no page bitmap (SDMP) after the header".into());
    }
    let layouts = [
        wide_layout(file),
        narrow_layout(file, 0x28),
        narrow_layout(file, 0x24),
        narrow_layout(file, 0x20),
    ];
    let mut why = Vec::new();
    let mut fits = Vec::new();
    for layout in layouts.into_iter().flatten() {
        match layout.open(file) {
            Ok(map) => fits.push((layout.is_tight(), map)),
            Err(reason) => why.push(reason),
        }
    }
    let proven = fits.iter().position(|(_, map)| proves(file, header, map));
    let tight = fits.iter().position(|(tight, _)| *tight);
    match proven.or(tight).or((!fits.is_empty()).then_some(0)) {
        Some(chosen) => Ok(fits.swap_remove(chosen).1),
        None => damaged(format!("page bitmap of a type 2 dump: {}", why.join("; "))),
    }
}

/// True when this bitmap leads from the header's page-table root to a page with a self-map
/// entry: this proves that PFNs map to the right pages.
fn proves(file: &[u8], header: &Header, map: &RankedBitmap) -> bool {
    let root = header.directory_table >> 12 & 0xff_ffff_ffff;
    let Some(offset) = map.offset(file, Pfn(root)) else {
        return false;
    };
    (256..512).any(|slot| {
        let entry = u64_at(file, offset as usize + slot * 8).unwrap_or(0);
        entry & 1 == 1 && entry >> 12 & 0xff_ffff_ffff == root
    })
}

/// RDMP: written by WinDbg's `.dump /k`, `/ka` and `/f`.
fn ranges(file: &[u8], dump_type: u32) -> Result<PageMap, DumpError> {
    if file.get(SECOND + 4..SECOND + 12) != Some(b"RDMPDUMP") {
        return damaged("there is no RDMP list of ranges after the header".into());
    }
    let q = |at| u64_at(file, SECOND + at).unwrap_or(0);
    let (metadata, first_page) = (q(0x10), q(0x18));
    let promised = (dump_type == 0xa).then(|| q(0x28));
    if metadata < 0x20 || metadata.checked_sub(0x20) != first_page.checked_sub(0x2040) {
        return damaged(format!(
            "RDMP: {metadata} bytes of ranges do not fit pages at {first_page:#x}"
        ));
    }
    let end = (SECOND + 0x20)
        .saturating_add(metadata as usize)
        .min(file.len());
    let mut runs: Vec<FileRun> = Vec::new();
    let mut offset = first_page;
    let mut total = 0u64;
    for at in (SECOND + 0x30..end).step_by(16) {
        let (Some(first), Some(pages)) = (u64_at(file, at), u64_at(file, at + 8)) else {
            break;
        };
        if promised.is_some_and(|p| total >= p) || (promised.is_none() && first == 0) {
            break;
        }
        let behind = pages.checked_mul(PAGE_SIZE);
        let behind = behind.and_then(|bytes| offset.checked_add(bytes));
        let (Some(behind), Some(_)) = (
            behind,
            first.checked_add(pages).filter(|end| *end <= MAX_FRAMES),
        ) else {
            return damaged(format!("RDMP: a range of {pages:#x} frames at {first:#x}"));
        };
        runs.push(FileRun {
            first,
            pages,
            offset,
        });
        offset = behind;
        total = total.saturating_add(pages);
    }
    runs.sort_by_key(|r| r.first);
    if runs
        .windows(2)
        .any(|w| w[0].first + w[0].pages > w[1].first)
    {
        return damaged("RDMP: ranges overlap".into());
    }
    if runs.is_empty() {
        return damaged("RDMP: the list of ranges is empty".into());
    }
    Ok(PageMap::Runs(runs))
}
