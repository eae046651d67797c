//! The map from PFN to file offset.
//!
//! Two shapes cover every container of uncompressed pages; compressed ones are [`Packed`]. Runs
//! of frames that are contiguous in the file (full dumps, and dumps that a debugger wrote) are
//! found by binary search. A bitmap with one bit per frame (bitmap and kernel dumps) is read
//! from the file, with a directory of running counts, one per 512 bits. A look-up takes a
//! handful of instructions, and a 64 GB machine needs 256 KB of memory.

use crate::addr::{PAGE_SIZE, Pfn};

use super::packed::Packed;

/// Frames that are contiguous both in memory and in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRun {
    /// First frame.
    pub first: u64,
    /// Number of frames.
    pub pages: u64,
    /// File offset in bytes of the first frame.
    pub offset: u64,
}

/// More frames than any x64 machine has (2^40 frames = 4 PB).
pub(super) const MAX_FRAMES: u64 = 1 << 40;

impl FileRun {
    /// The whole pages of a stretch of physical memory. `None` if it has none, or if a number
    /// is implausible.
    pub fn of_bytes(start: u64, length: u64, offset: u64) -> Option<FileRun> {
        let first = start.div_ceil(PAGE_SIZE);
        let skipped = first.checked_mul(PAGE_SIZE)?.checked_sub(start)?;
        let pages = length.checked_sub(skipped)? / PAGE_SIZE;
        let offset = offset.checked_add(skipped)?;
        (pages > 0).then_some(FileRun {
            first,
            pages,
            offset,
        })
    }

    fn end(&self) -> u64 {
        self.first.saturating_add(self.pages)
    }

    /// The file offset that frame 0 would have if the run started there. Equal for runs that
    /// agree on every frame.
    fn origin(&self) -> i128 {
        i128::from(self.offset) - i128::from(self.first) * i128::from(PAGE_SIZE)
    }
}

/// PFN → file offset.
#[derive(Debug)]
pub enum PageMap {
    /// Sorted, disjoint runs.
    Runs(Vec<FileRun>),
    /// One bit per frame; pages are stored in ascending order of frames.
    Bitmap(RankedBitmap),
    /// Compressed pages.
    Packed(Packed),
}

/// A bitmap inside the file, with running counts.
#[derive(Debug)]
pub struct RankedBitmap {
    /// File offset in bytes of bit 0.
    start: usize,
    /// Number of bits.
    bits: u64,
    /// File offset in bytes of the first stored page.
    first_page: u64,
    /// Set bits before bit `512 * i`.
    before: Vec<u64>,
    /// Total number of set bits.
    present: u64,
}

impl PageMap {
    /// Builds a map from runs in any order. Overlapping runs that agree are joined.
    ///
    /// # Errors
    /// Fails if a frame has two places, or if numbers are implausible.
    pub fn of_runs(mut runs: Vec<FileRun>) -> Result<PageMap, String> {
        runs.sort_by_key(|run| (run.first, run.pages));
        let mut out: Vec<FileRun> = Vec::with_capacity(runs.len());
        for run in runs {
            let end = run.first.checked_add(run.pages);
            let in_file = run.pages.checked_mul(PAGE_SIZE);
            let in_file = in_file.and_then(|bytes| run.offset.checked_add(bytes));
            if end.is_none_or(|end| end > MAX_FRAMES) || in_file.is_none() {
                return Err(format!(
                    "a run of {:#x} pages at frame {:#x}",
                    run.pages, run.first
                ));
            }
            match out.last_mut() {
                Some(last) if run.first < last.end() && run.origin() != last.origin() => {
                    return Err(format!(
                        "frame {:#x} is stored at {:#x} and at another place",
                        run.first, run.offset
                    ));
                }
                Some(last) if run.first <= last.end() && run.origin() == last.origin() => {
                    last.pages = last.end().max(run.end()) - last.first;
                }
                _ => out.push(run),
            }
        }
        match out.is_empty() {
            true => Err("it holds no pages".into()),
            false => Ok(PageMap::Runs(out)),
        }
    }

    /// The range from the lowest frame to one after the highest. It may have gaps.
    pub fn frames(&self) -> std::ops::Range<u64> {
        match self {
            PageMap::Runs(runs) => {
                let first = runs.first().map_or(0, |r| r.first);
                first..runs.last().map_or(first, FileRun::end)
            }
            PageMap::Bitmap(map) => 0..map.bits,
            PageMap::Packed(packed) => 0..packed.frames(),
        }
    }

    /// Ranges of frames that may be stored, in ascending order.
    pub fn ranges(&self) -> Vec<std::ops::Range<u64>> {
        match self {
            PageMap::Runs(runs) => runs.iter().map(|run| run.first..run.end()).collect(),
            PageMap::Bitmap(map) => std::iter::once(0..map.bits).collect(),
            PageMap::Packed(packed) => packed.ranges(),
        }
    }

    /// The runs of frames with their file offsets; `None` if the map has no runs.
    pub fn runs(&self) -> Option<&[FileRun]> {
        match self {
            PageMap::Runs(runs) => Some(runs),
            _ => None,
        }
    }

    /// The file offset of a frame's first byte; `None` if the dump leaves the frame out. `file`
    /// is the whole file (the bitmap is read in place).
    pub fn offset(&self, file: &[u8], pfn: Pfn) -> Option<u64> {
        match self {
            PageMap::Runs(runs) => {
                let after = runs.partition_point(|r| r.first <= pfn.0);
                let run = runs.get(after.checked_sub(1)?)?;
                let index = pfn.0 - run.first;
                (index < run.pages).then(|| run.offset + index * PAGE_SIZE)
            }
            PageMap::Bitmap(map) => map.offset(file, pfn),
            PageMap::Packed(packed) => packed.place(file, pfn),
        }
    }

    /// The file offset of the byte with a frame's bit in the bitmap; `None` if it is in memory.
    pub fn bit_place(&self, pfn: Pfn) -> Option<usize> {
        match self {
            PageMap::Runs(_) | PageMap::Packed(_) => None,
            PageMap::Bitmap(map) => {
                (pfn.0 < map.bits).then(|| map.start.saturating_add((pfn.0 / 8) as usize))
            }
        }
    }

    /// Number of frames that the container lists.
    pub fn promised(&self) -> u64 {
        match self {
            PageMap::Runs(runs) => runs.iter().map(|r| r.pages).sum(),
            PageMap::Bitmap(map) => map.present,
            PageMap::Packed(packed) => packed.promised(),
        }
    }

    /// Number of frames whose bytes are inside the file.
    pub fn stored(&self, file: &[u8]) -> u64 {
        let length = file.len() as u64;
        let whole = |offset: u64, pages: u64| pages.min(length.saturating_sub(offset) / PAGE_SIZE);
        match self {
            PageMap::Runs(runs) => runs.iter().map(|r| whole(r.offset, r.pages)).sum(),
            PageMap::Bitmap(map) => whole(map.first_page, map.present),
            PageMap::Packed(packed) => packed.stored(file),
        }
    }
}

impl RankedBitmap {
    /// Counts the bits of the bitmap at `start..` of `file`. `None` if the bitmap is not inside
    /// the file.
    pub fn new(file: &[u8], start: usize, bits: u64, first_page: u64) -> Option<RankedBitmap> {
        let length = usize::try_from(bits.div_ceil(8)).ok()?;
        let bytes = file.get(start..start.checked_add(length)?)?;
        let mut before = Vec::with_capacity(length / 64 + 1);
        let mut present = 0u64;
        for (i, block) in bytes.chunks(64).enumerate() {
            before.push(present);
            let used = (bits - i as u64 * 512).min(512);
            present += ones(block, used);
        }
        Some(RankedBitmap {
            start,
            bits,
            first_page,
            before,
            present,
        })
    }

    /// Total number of set bits.
    pub fn present(&self) -> u64 {
        self.present
    }

    /// The file offset of a frame in bytes; `None` if the bitmap leaves it out.
    pub fn offset(&self, file: &[u8], pfn: Pfn) -> Option<u64> {
        let pfn = pfn.0;
        if pfn >= self.bits {
            return None;
        }
        let byte = self.start + (pfn / 8) as usize;
        if file.get(byte)? >> (pfn % 8) & 1 == 0 {
            return None;
        }
        let block = (pfn / 512) as usize;
        let block_start = self.start + block * 64;
        let block_end = file.len().min(block_start + 64);
        let inside = ones(file.get(block_start..block_end)?, pfn % 512);
        let rank = self.before.get(block)? + inside;
        // The offset of the first page is not checked against the length of the file.
        self.first_page.checked_add(rank * PAGE_SIZE)
    }
}

/// Set bits among the first `count` bits of `bytes` (at most 512), LSB first. Bits behind the
/// end are not set.
fn ones(bytes: &[u8], count: u64) -> u64 {
    // This runs for every page that is read. A checked read for each word is slow in builds
    // without optimisation, which the tests use.
    let (words, tail) = bytes.as_chunks::<8>();
    let whole = words.len().min((count / 64) as usize);
    let (mut total, mut at) = (0, 0);
    while at < whole {
        total += u64::from_le_bytes(words[at]).count_ones();
        at += 1;
    }
    let last = words.get(whole).copied().unwrap_or_else(|| {
        let mut word = [0; 8];
        word[..tail.len()].copy_from_slice(tail);
        word
    });
    let left = count - whole as u64 * 64;
    let mask = 1u64
        .checked_shl(left as u32)
        .map_or(u64::MAX, |bit| bit - 1);
    u64::from(total + (u64::from_le_bytes(last) & mask).count_ones())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bitmap_lookup_matches_counting(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0u64..8) {
            let bits = (bytes.len() as u64 * 8).saturating_sub(cut);
            let map = PageMap::Bitmap(RankedBitmap::new(&bytes, 0, bits, 0x4000).unwrap());
            let mut rank = 0;
            for pfn in 0..bits + 10 {
                let set = pfn < bits && bytes[(pfn / 8) as usize] >> (pfn % 8) & 1 == 1;
                let want = set.then(|| 0x4000 + rank * 0x1000);
                rank += u64::from(set);
                prop_assert_eq!(map.offset(&bytes, Pfn(pfn)), want);
            }
            prop_assert_eq!(map.promised(), rank);
        }
    }

    fn run(first: u64, pages: u64, offset: u64) -> FileRun {
        FileRun {
            first,
            pages,
            offset,
        }
    }

    #[test]
    fn overlapping_runs_are_joined_if_they_agree_and_refused_otherwise() {
        let joined = PageMap::of_runs(vec![run(4, 4, 0x4000), run(0, 6, 0)]).unwrap();
        assert_eq!(joined.runs().unwrap(), [run(0, 8, 0)]);
        let apart = PageMap::of_runs(vec![run(4, 4, 0x9000), run(0, 4, 0)]).unwrap();
        assert_eq!(apart.runs().unwrap().len(), 2);
        for bad in [
            vec![run(0, 6, 0), run(4, 4, 0x9000)],
            vec![run(0, 1 << 60, 0)],
            vec![run(1 << 60, 1, 0)],
            vec![run(0, 1, u64::MAX)],
            vec![],
        ] {
            assert!(PageMap::of_runs(bad).is_err());
        }
        assert_eq!(
            FileRun::of_bytes(0x800, 0x1900, 0x10),
            Some(run(1, 1, 0x810))
        );
        assert_eq!(FileRun::of_bytes(u64::MAX, 1, 0), None);
    }

    #[test]
    fn runs_give_offsets_inside_and_none_between() {
        let map = PageMap::Runs(vec![
            FileRun {
                first: 1,
                pages: 2,
                offset: 0x2000,
            },
            FileRun {
                first: 0x100,
                pages: 1,
                offset: 0x4000,
            },
        ]);
        let at = |pfn| map.offset(&[], Pfn(pfn));
        assert_eq!(
            [at(0), at(1), at(2), at(3)],
            [None, Some(0x2000), Some(0x3000), None]
        );
        assert_eq!([at(0xff), at(0x100), at(0x101)], [None, Some(0x4000), None]);
        assert_eq!((map.promised(), map.stored(&[0; 0x3800])), (3, 1));
    }
}
