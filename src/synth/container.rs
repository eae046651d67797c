//! The dump file around the pages, for each type that Windows writes.
//!
//! Type 1 stores the memory runs in sequence. Types 5 and 6 have a bitmap of frames with 64-bit
//! fields. Type 2, the kernel dump up to Windows 7, has a bitmap with 32-bit fields and a
//! serialised RTL_BITMAP. Types 8, 9 and 0xA, written by a debugger, have a list of ranges.
//! Type numbers and signatures are those of `mindumpdef.h` of the Windows SDK; the layouts are
//! those of public readers (kdmp-parser, rizin, Ghidra).

use std::io::{self, Seek, SeekFrom, Write};

use crate::addr::PAGE_SIZE;

use super::header::{Bytes, DumpHeader, HEADER_SIZE};
use super::physical::{Page, Physical};

/// The format of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Type 1: all of memory.
    Full,
    /// Type 2: pages of the kernel, 32-bit fields. The bitmap is at 0x28 if it is aligned like
    /// a u64, at 0x24 if it is packed.
    Summary {
        /// Offset of the bitmap in the second header.
        bitmap_at: u16,
    },
    /// Type 2 with the second header of later versions.
    SummaryWide,
    /// Type 5: all of memory, with a bitmap.
    BitmapFull,
    /// Type 6: pages of the kernel, with a bitmap.
    BitmapKernel,
    /// Type 8: pages of the kernel by ranges, from the debugger's `.dump /k`.
    RangesKernel,
    /// Type 9: the same with the pages of processes, from `.dump /ka`.
    RangesKernelAndUser,
    /// Type 0xA: all of memory by ranges, from the debugger's `.dump /f`.
    RangesFull,
}

impl Container {
    /// The kernel dump of Windows 7.
    pub const WIN7_KERNEL: Container = Container::Summary { bitmap_at: 0x28 };

    /// DumpType of the header.
    pub fn dump_type(self) -> u32 {
        match self {
            Container::Full => 1,
            Container::Summary { .. } | Container::SummaryWide => 2,
            Container::BitmapFull => 5,
            Container::BitmapKernel => 6,
            Container::RangesKernel => 8,
            Container::RangesKernelAndUser => 9,
            Container::RangesFull => 0xa,
        }
    }

    /// True when all of memory is stored, not only the pages that the kernel uses.
    pub fn stores_all(self) -> bool {
        matches!(
            self,
            Container::Full | Container::BitmapFull | Container::RangesFull
        )
    }

    /// The second header with its bitmap, padded to whole pages.
    fn second(self, physical: &Physical, frames: &[u64]) -> Vec<u8> {
        // Windows rounds the bitmap up to whole words.
        let bits = physical.end().next_multiple_of(64);
        let bitmap_at = match self {
            Container::Full => return Vec::new(),
            Container::RangesKernel | Container::RangesKernelAndUser | Container::RangesFull => {
                return self.ranges(frames);
            }
            Container::Summary { bitmap_at } => usize::from(bitmap_at),
            _ => 0x38,
        };
        let end = HEADER_SIZE + bitmap_at + bits as usize / 8;
        let first_page = end.next_multiple_of(PAGE_SIZE as usize);
        let mut out = Bytes(vec![0; first_page - HEADER_SIZE]);
        let signature: &[u8; 8] = match self {
            Container::BitmapFull => b"FDMPDUMP",
            _ => b"SDMPDUMP",
        };
        out.put(0, signature);
        out.u32(8, 1);
        match self {
            Container::Summary { .. } => {
                out.u32(0x0c, first_page as u32);
                out.u32(0x10, bits as u32);
                out.u32(0x14, frames.len() as u32);
                out.u32(0x18, bits as u32);
            }
            _ => {
                out.u64(0x20, first_page as u64);
                out.u64(0x28, frames.len() as u64);
                out.u64(0x30, bits);
            }
        }
        for pfn in frames {
            if let Some(byte) = out.0.get_mut(bitmap_at + *pfn as usize / 8) {
                *byte |= 1 << (pfn % 8);
            }
        }
        out.0
    }

    /// The second header of a debugger's dump: runs of frames, terminated by a run of frame 0.
    /// Its length and the offset of the first page depend on each other.
    fn ranges(self, frames: &[u64]) -> Vec<u8> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &pfn in frames {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == pfn => *count += 1,
                _ => runs.push((pfn, 1)),
            }
        }
        let size = (0x30 + (runs.len() + 1) * 16).next_multiple_of(PAGE_SIZE as usize);
        let mut out = Bytes(vec![0; size]);
        out.u32(0, 0x40);
        out.put(4, b"RDMPDUMP");
        out.u64(0x10, size as u64 - 0x20);
        out.u64(0x18, (HEADER_SIZE + size) as u64);
        if self == Container::RangesFull {
            out.u32(0x20, runs.len() as u32);
            out.u64(0x28, frames.len() as u64);
        }
        for (i, (first, count)) in runs.iter().enumerate() {
            out.u64(0x30 + i * 16, *first);
            out.u64(0x38 + i * 16, *count);
        }
        out.0
    }

    /// Writes a dump. Pages of zeros become holes if the file system supports them.
    ///
    /// # Errors
    /// The error of the writer.
    pub fn write<W: Write + Seek>(
        self,
        header: &DumpHeader,
        physical: &Physical,
        to: &mut W,
    ) -> io::Result<u64> {
        let all = self.stores_all();
        let runs = physical.runs().iter();
        let frames: Vec<u64> = runs
            .flat_map(|(first, pages)| *first..first + pages)
            .filter(|&pfn| all || physical.is_present(pfn))
            .collect();
        let second = self.second(physical, &frames);
        let first_page = (HEADER_SIZE + second.len()) as u64;
        let length = first_page + frames.len() as u64 * PAGE_SIZE;
        to.seek(SeekFrom::Start(0))?;
        to.write_all(&header.encode(self.dump_type(), length))?;
        to.write_all(&second)?;
        let mut pages = PageWriter::new(to, first_page);
        // Most frames of a large machine have no contents: only numbers are compared for them.
        let mut stored = physical.stored();
        let mut next = stored.next();
        let generated = !physical.generated.is_empty();
        for pfn in &frames {
            while next.is_some_and(|(at, _)| at < *pfn) {
                next = stored.next();
            }
            match next.filter(|(at, _)| at == pfn) {
                Some((_, page)) => pages.page(page)?,
                None if generated => pages.missing(physical, *pfn)?,
                None => pages.hole()?,
            }
        }
        pages.finish(length)?;
        Ok(length)
    }
}

/// Number of bytes that are collected before a write.
const BATCH: usize = 1 << 20;

/// Writes pages in order, many at a time, and skips pages of zeros.
struct PageWriter<'a, W: Write + Seek> {
    to: &'a mut W,
    batch: Vec<u8>,
    batch_at: u64,
    at: u64,
}

impl<'a, W: Write + Seek> PageWriter<'a, W> {
    fn new(to: &'a mut W, at: u64) -> Self {
        PageWriter {
            to,
            batch: Vec::with_capacity(BATCH),
            batch_at: at,
            at,
        }
    }

    fn page(&mut self, page: &Page) -> io::Result<()> {
        self.batch.extend_from_slice(page);
        self.at += PAGE_SIZE;
        if self.batch.len() >= BATCH {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes a page whose bytes are not stored: generated now, or zeros.
    fn missing(&mut self, physical: &Physical, pfn: u64) -> io::Result<()> {
        let made = physical
            .generated
            .iter()
            .find(|g| pfn >= g.first && pfn - g.first < g.count);
        if let Some(made) = made {
            let mut page = [0; PAGE_SIZE as usize];
            (made.make)(pfn - made.first, &mut page);
            return self.page(&page);
        }
        self.hole()
    }

    /// Skips a page of zeros.
    fn hole(&mut self) -> io::Result<()> {
        if !self.batch.is_empty() {
            self.flush()?;
        }
        self.at += PAGE_SIZE;
        self.batch_at = self.at;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.batch.is_empty() {
            self.to.seek(SeekFrom::Start(self.batch_at))?;
            self.to.write_all(&self.batch)?;
            self.batch.clear();
        }
        self.batch_at = self.at;
        Ok(())
    }

    /// Sets the length of the file, which may end in zeros.
    fn finish(mut self, length: u64) -> io::Result<()> {
        self.flush()?;
        if self.to.seek(SeekFrom::End(0))? < length {
            self.to.seek(SeekFrom::Start(length - 1))?;
            self.to.write_all(&[0])?;
        }
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Pfn;
    use std::io::Cursor;

    /// Frames 2, 3 and 5 in use; 3 has contents.
    fn physical() -> Physical {
        let mut physical = Physical::new(vec![(1, 7)]);
        physical.skip_to(Pfn(2));
        physical.allocate(2);
        physical.page_mut(Pfn(3)).fill(0xab);
        physical.skip_to(Pfn(5));
        physical.allocate(1);
        physical
    }

    fn written(container: Container) -> io::Result<Vec<u8>> {
        let mut file = Cursor::new(Vec::new());
        let length = container.write(&DumpHeader::default(), &physical(), &mut file)?;
        let bytes = file.into_inner();
        assert_eq!(bytes.len() as u64, length);
        Ok(bytes)
    }

    /// Offset of the file's only page with contents.
    fn contents(bytes: &[u8]) -> Option<usize> {
        let found = bytes.windows(8).position(|w| w == [0xab; 8])?;
        bytes
            .get(found..found + 4096)?
            .iter()
            .all(|&b| b == 0xab)
            .then_some(found)
    }

    #[test]
    fn pages_are_in_frame_order() -> io::Result<()> {
        let full = written(Container::Full)?;
        assert_eq!(
            (full.len(), contents(&full)),
            (0x2000 + 7 * 4096, Some(0x4000))
        );
        for container in [
            Container::WIN7_KERNEL,
            Container::SummaryWide,
            Container::BitmapKernel,
            Container::RangesKernel,
        ] {
            let bytes = written(container)?;
            assert_eq!((bytes.len(), contents(&bytes)), (0x6000, Some(0x4000)));
        }
        Ok(())
    }

    #[test]
    fn the_bitmap_of_windows_7_follows_32_bit_fields() -> io::Result<()> {
        let bytes = written(Container::WIN7_KERNEL)?;
        let word = |at: usize| bytes.get(at..at + 4).map(|b| [b[0], b[1], b[2], b[3]]);
        assert_eq!(word(0x2000), Some(*b"SDMP"));
        assert_eq!(word(0x200c), Some(0x3000u32.to_le_bytes()));
        assert_eq!(word(0x2010), Some(64u32.to_le_bytes()));
        assert_eq!(word(0x2014), Some(3u32.to_le_bytes()));
        assert_eq!(word(0x2028), Some([0b10_1100, 0, 0, 0]));
        Ok(())
    }
}
