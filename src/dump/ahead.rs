//! Reads the file in file order, ahead of readers with random access.
//!
//! Pool pages are stored in frame order, which is nearly unrelated to address order. If the
//! file is not cached, a walk by address costs one seek per page. Reading the wanted stretches
//! in file order first runs at disk speed.

use std::io;
use std::time::{Duration, Instant};

use crate::addr::{PAGE_SIZE, Pfn};

use super::Dump;

/// A page that takes longer than this was not in the system's cache. A cached page takes about
/// a microsecond, the fastest disks about fifty.
const SLOW: Duration = Duration::from_micros(25);

impl Dump {
    /// Announces that most pages will be read from now on. Until this call, read-ahead is off
    /// (`madvise`), because opening a dump reads only a few pages.
    pub fn expect_walk(&self) {
        self.mapping.expect(false);
    }

    /// True when at least a quarter of these frames must come from disk. Reads them one by one
    /// and stops as soon as the answer is known.
    pub fn is_cold(&self, frames: &[Pfn]) -> bool {
        let enough = frames.len().div_ceil(4).max(1);
        let mut slow = 0;
        for &frame in frames {
            let start = Instant::now();
            let byte = self.page(frame).and_then(|page| page.first().copied());
            std::hint::black_box(byte);
            slow += usize::from(start.elapsed() > SLOW);
            if slow >= enough {
                return true;
            }
        }
        false
    }

    /// Reads a stretch of the file so that it is in the system's cache afterwards. Returns the
    /// number of bytes that were read. `buffer` is scratch space.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn load(&self, offset: u64, length: u64, buffer: &mut [u8]) -> io::Result<u64> {
        let mut done = 0;
        while done < length {
            let n = (length - done).min(buffer.len() as u64) as usize;
            let to = buffer.get_mut(..n).unwrap_or_default();
            match self.file.read_at(to, offset + done)? {
                0 => break,
                n => done += n as u64,
            }
        }
        Ok(done)
    }
}

/// Stretches of a file that cover the wanted pages, in file order. They include unwanted pages
/// if skipping those would cost more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretches(Vec<(u64, u64)>);

/// Largest gap in bytes between two wanted pages that is read along with them. A disk reads
/// this much in the time of one more request.
const GAP: u64 = 128 << 10;

impl Stretches {
    /// Covers the pages at these offsets, in any order.
    pub fn cover(mut offsets: Vec<u64>) -> Stretches {
        offsets.sort_unstable();
        let mut out: Vec<(u64, u64)> = Vec::new();
        for at in offsets {
            let end = at.saturating_add(PAGE_SIZE);
            match out.last_mut() {
                Some((_, last)) if at <= last.saturating_add(GAP) => *last = end.max(*last),
                _ => out.push((at, end)),
            }
        }
        Stretches(out)
    }

    /// First and last offset (exclusive) of each stretch.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_pages_are_read_together_and_distant_ones_separately() {
        let far = 0x4000 + PAGE_SIZE + GAP + PAGE_SIZE;
        let cover = Stretches::cover(vec![far, 0x4000, 0x2000, 0x2000]);
        assert_eq!(
            cover.iter().collect::<Vec<_>>(),
            [(0x2000, 0x5000), (far, far + PAGE_SIZE)]
        );
    }
}
