//! kdump-compressed files, as `dump-guest-memory -z` of QEMU, `virsh dump --format
//! kdump-*` and makedumpfile write them.
//!
//! Layout: `IMPLEMENTATION` and `diskdump_mod.h` of makedumpfile, `dump/dump.c` of QEMU.

use std::borrow::Cow;
use std::cell::RefCell;

use crate::addr::{PAGE_SIZE, Pfn};
use crate::bytes::{u32_at, u64_at};

use super::PageBytes;
use super::error::DumpError;
use super::flattened::Layout;
use super::notes::Notes;
use super::packed::{self, Packed, Unpack};
use super::page_map::{PageMap, RankedBitmap};

/// The signature.
pub(super) const MAGIC: &[u8] = b"KDUMP   ";
const BLOCK: u64 = PAGE_SIZE;
const HEADER: usize = 0x1d0;
const DESCRIPTOR: u64 = 24;
/// Header version with 64-bit frame numbers in the sub-header.
const WIDE: u32 = 6;
const MAX_NOTES: u64 = 16 << 20;
/// More than any x64 machine of QEMU has (2^34 frames = 64 TB). Limits the bitmap that a sparse
/// file can claim.
const MAX_FRAMES: u64 = 1 << 34;
/// No compressor expands a page to twice its size.
const MAX_PACKED: u32 = 2 * BLOCK as u32;

const ZLIB: u32 = 1;
const LZO: u32 = 2;
const SNAPPY: u32 = 4;
const INCOMPLETE: u32 = 8;
const ZSTD: u32 = 0x20;

/// A kdump file: its pages and the data from its notes.
pub(super) struct Kdump {
    pub pages: PageMap,
    pub notes: Notes,
    /// The writer recorded that it did not finish.
    pub incomplete: bool,
}

/// Reads the headers. `layout` gives the positions of the file's bytes.
///
/// # Errors
/// [`DumpError::Damaged`] and refusals.
pub(super) fn read(file: &[u8], layout: Layout) -> Result<Kdump, DumpError> {
    let damaged = |what: String| DumpError::Damaged { what };
    let short = || damaged("the file ends inside the headers of kdump".into());
    let header = layout.bytes(file, 0, HEADER).ok_or_else(short)?;
    if !header.starts_with(MAGIC) {
        return Err(damaged("a flattened file that is not a kdump file".into()));
    }
    let d = |at| u32_at(&header, at).unwrap_or(0);
    let (version, status, block) = (d(8), d(0x1a8), d(0x1ac));
    if u64::from(block) != BLOCK {
        return Err(damaged(format!("kdump blocks of {block} bytes")));
    }
    let sub_blocks = u64::from(d(0x1b0));
    let bitmap_bytes = u64::from(d(0x1b4)) * BLOCK;
    let sub = layout.bytes(file, BLOCK, 0x68).ok_or_else(short)?;
    if u32_at(&sub, 0xc).is_some_and(|split| split != 0) {
        return Err(DumpError::refused(
            "this is one part of a kdump file that was split",
            "join the parts with: makedumpfile --reassemble PART1 PART2 … FILE",
        ));
    }
    let frames = match version >= WIDE {
        true => u64_at(&sub, 0x60).filter(|frames| *frames > 0),
        false => None,
    };
    let frames = frames.unwrap_or_else(|| d(0x1b8).into());
    if frames == 0 || frames > MAX_FRAMES {
        return Err(damaged(format!("kdump: {frames:#x} frames")));
    }
    let start = BLOCK + sub_blocks * BLOCK;
    // Both bitmaps have the same length; the second marks the stored pages.
    let half = bitmap_bytes / 2;
    let needed = frames.div_ceil(8);
    if needed > half {
        return Err(damaged(format!(
            "kdump: bitmaps of {half} bytes for {frames:#x} frames"
        )));
    }
    let length = usize::try_from(needed).unwrap_or(usize::MAX);
    let bitmap = layout.bytes(file, start + half, length);
    let bitmap =
        bitmap.ok_or_else(|| damaged("the file ends inside the bitmaps of kdump".into()))?;
    // A bitmap inside the file is used in place: it may be as large as the file claims.
    let (bitmap, at) = match (bitmap, layout.place(start + half)) {
        (Cow::Borrowed(_), Some(at)) => (Bitmap::InFile, at),
        (bytes, _) => (Bitmap::Own(bytes.into_owned()), 0),
    };
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let ranks = RankedBitmap::new(bitmap.bytes(file), at, frames, 0)
        .ok_or_else(|| damaged("kdump: the bitmap does not fit".into()))?;
    let notes = (
        u64_at(&sub, 0x30).unwrap_or(0),
        u64_at(&sub, 0x38).unwrap_or(0).min(MAX_NOTES),
    );
    let notes = match version >= 4 && notes.1 > 0 {
        true => layout.bytes(file, notes.0, notes.1 as usize),
        false => None,
    };
    let pages = Pages {
        descriptors: start + bitmap_bytes,
        bitmap,
        ranks,
        frames,
        layout,
    };
    if pages.ranks.present() == 0 {
        return Err(damaged("kdump: no page is stored".into()));
    }
    pages.check_method(file)?;
    Ok(Kdump {
        notes: notes.map(|n| Notes::read(&n)).unwrap_or_default(),
        incomplete: status & INCOMPLETE != 0,
        pages: PageMap::Packed(Packed::new(Box::new(pages))),
    })
}

#[derive(Debug)]
struct Pages {
    layout: Layout,
    bitmap: Bitmap,
    ranks: RankedBitmap,
    frames: u64,
    /// Offset of the page descriptors.
    descriptors: u64,
}

/// The second bitmap: the stored frames.
#[derive(Debug)]
enum Bitmap {
    InFile,
    /// Assembled from records.
    Own(Vec<u8>),
}

impl Bitmap {
    /// The bytes of the bitmap.
    fn bytes<'a>(&'a self, file: &'a [u8]) -> &'a [u8] {
        match self {
            Bitmap::InFile => file,
            Bitmap::Own(bytes) => bytes,
        }
    }
}

/// A page descriptor.
#[derive(Clone, Copy)]
struct Descriptor {
    offset: u64,
    size: u32,
    flags: u32,
}

impl Pages {
    fn descriptor(&self, file: &[u8], slot: u64) -> Option<Descriptor> {
        let at = slot
            .checked_mul(DESCRIPTOR)?
            .checked_add(self.descriptors)?;
        let bytes = self.layout.bytes(file, at, DESCRIPTOR as usize)?;
        Some(Descriptor {
            offset: u64_at(&bytes, 0)?,
            size: u32_at(&bytes, 8)?,
            flags: u32_at(&bytes, 12)? & !INCOMPLETE,
        })
    }

    fn data<'a>(&self, file: &'a [u8], page: Descriptor) -> Option<Cow<'a, [u8]>> {
        let size = Some(page.size).filter(|size| *size <= MAX_PACKED && *size > 0)?;
        self.layout.bytes(file, page.offset, size as usize)
    }

    /// Refuses an unknown compression method once, instead of for every page.
    fn check_method(&self, file: &[u8]) -> Result<(), DumpError> {
        let Some(first) = self.descriptor(file, 0) else {
            return Ok(());
        };
        match first.flags {
            0 | ZLIB | LZO | SNAPPY | ZSTD => Ok(()),
            flags => Err(DumpError::refused(
                format!(
                    "this is a kdump file whose pages are compressed by an unknown method ({flags:#x})"
                ),
                "dump again with: virsh dump --memory-only --format elf DOMAIN FILE",
            )),
        }
    }
}

impl Unpack for Pages {
    fn frames(&self) -> u64 {
        self.frames
    }

    fn slots(&self) -> u64 {
        self.ranks.present()
    }

    fn promised(&self) -> u64 {
        self.ranks.present()
    }

    fn stored(&self, file: &[u8]) -> u64 {
        /// Number of slots checked at the end, and spread over the file.
        const LOOKED_AT: u64 = 4096;
        let slots = self.slots();
        let here = |slot: &u64| {
            let page = self.descriptor(file, *slot);
            page.is_some_and(|page| self.data(file, page).is_some())
        };
        // Data is in slot order, except pages of zeros, which share one position and may be the
        // last; so a sample is checked. Checking all slots would read all descriptors, which is
        // done only if some data is missing.
        let last = slots.saturating_sub(LOOKED_AT)..slots;
        let step = (slots / LOOKED_AT).max(1) as usize;
        match last.chain((0..slots).step_by(step)).all(|slot| here(&slot)) {
            true => slots,
            false => (0..slots).filter(here).count() as u64,
        }
    }

    fn slot(&self, file: &[u8], pfn: Pfn) -> Option<u64> {
        Some(self.ranks.offset(self.bitmap.bytes(file), pfn)? / PAGE_SIZE)
    }

    fn place(&self, file: &[u8], slot: u64) -> Option<u64> {
        let page = self.descriptor(file, slot)?;
        self.data(file, page)?;
        self.layout.place(page.offset)
    }

    fn plain(&self, file: &[u8], slot: u64) -> Option<u64> {
        let page = self.descriptor(file, slot)?;
        if page.flags != 0 || u64::from(page.size) != BLOCK {
            return None;
        }
        // A page across two records is copied together, like a compressed one.
        match self.data(file, page)? {
            Cow::Borrowed(_) => self.layout.place(page.offset),
            Cow::Owned(_) => None,
        }
    }

    fn unpack(&self, file: &[u8], slot: u64, pages: &mut dyn packed::Pages) -> bool {
        let page = self.descriptor(file, slot);
        let data = page.and_then(|page| Some((page.flags, self.data(file, page)?)));
        match (data, pages.space(slot)) {
            (Some((method, data)), Some(out)) => inflate(method, &data, out).is_some(),
            (data, None) => data.is_some(),
            (None, Some(_)) => false,
        }
    }
}

thread_local! {
    /// Creating a decoder's tables and window takes longer than decompressing a page.
    static ZLIB_STATE: RefCell<flate2::Decompress> = RefCell::new(flate2::Decompress::new(true));
    static ZSTD_STATE: RefCell<ruzstd::decoding::FrameDecoder> =
        RefCell::new(ruzstd::decoding::FrameDecoder::new());
}

/// Decompresses one page into `out`; `None` unless the result is exactly one page.
fn inflate(method: u32, data: &[u8], out: &mut PageBytes) -> Option<()> {
    let length = match method {
        0 => {
            *out = data.try_into().ok()?;
            BLOCK
        }
        ZLIB => ZLIB_STATE.with_borrow_mut(|decoder| {
            decoder.reset(true);
            let end = decoder.decompress(data, out, flate2::FlushDecompress::Finish);
            let whole = matches!(end, Ok(flate2::Status::StreamEnd));
            whole.then(|| decoder.total_out())
        })?,
        SNAPPY => {
            let length = snap::raw::decompress_len(data).ok();
            length.filter(|n| *n as u64 == BLOCK)?;
            snap::raw::Decoder::new().decompress(data, out).ok()? as u64
        }
        LZO => {
            let made = lzokay_native::decompress_all(data, Some(out.len())).ok()?;
            *out = made.try_into().ok()?;
            BLOCK
        }
        // One frame, which must end with the page and with the data.
        ZSTD if is_small_frame(data) => {
            ZSTD_STATE.with_borrow_mut(|decoder| decoder.decode_all(data, out).ok())? as u64
        }
        _ => return None,
    };
    (length == BLOCK).then_some(())
}

/// True for a Zstandard frame (RFC 8878, 3.1.1.1) with a window of at most 1 MB. A frame can
/// demand a window far larger than a page, and the decoder would allocate it.
fn is_small_frame(data: &[u8]) -> bool {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let Some(&descriptor) = data.get(4).filter(|_| data.starts_with(&MAGIC)) else {
        return false;
    };
    // Without a window field, the window is the size of the content.
    match descriptor & 0x20 == 0 {
        true => data.get(5).is_some_and(|window| window >> 3 <= 10),
        false => {
            let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
            let at = 5 + dictionary;
            let size = match descriptor >> 6 {
                0 => data.get(at).map(|&b| u64::from(b)),
                1 => crate::bytes::u16_at(data, at).map(|n| u64::from(n) + 256),
                2 => u32_at(data, at).map(u64::from),
                _ => u64_at(data, at),
            };
            size == Some(BLOCK)
        }
    }
}
