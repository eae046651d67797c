//! nt's writable data as words, including unreadable parts.

use crate::bytes::u64_at;
use crate::kernel::Kernel;
use crate::memory::{PAGE_SIZE, Va};

/// Limit in bytes, above the data size of any kernel.
const MAX_BYTES: u64 = 64 << 20;

/// A range of memory, as 8-byte words.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// First address, a multiple of 8.
    pub start: Va,
    words: Vec<Option<u64>>,
}

impl Stretch {
    /// The addresses of its words.
    pub fn places(&self) -> impl Iterator<Item = Va> + '_ {
        (0..self.words.len() as u64).map(|i| self.start.add(i * 8))
    }

    /// The addresses from `low` to `high`, inclusive.
    fn places_in(&self, low: u64, high: u64) -> impl Iterator<Item = Va> + '_ {
        let words = self.words.len() as u64;
        let first = low.saturating_sub(self.start.0).div_ceil(8);
        let end = match high.checked_sub(self.start.0) {
            Some(last) => (last / 8 + 1).min(words),
            None => 0,
        };
        (first..end).map(|i| self.start.add(i * 8))
    }
}

/// nt's writable sections that are not discarded.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// In address order.
    pub stretches: Vec<Stretch>,
}

impl Data {
    /// Reads the sections; the whole image if its headers are not in the dump.
    pub fn of(kernel: &Kernel) -> Data {
        let mut out = Data::default();
        let Some(nt) = kernel.nt() else {
            return out;
        };
        match &nt.image {
            Some(image) => {
                for section in image
                    .sections
                    .iter()
                    .filter(|s| s.writable && !s.discardable)
                {
                    out.add(kernel, nt.base.add(section.rva.into()), section.size.into());
                }
            }
            None => out.add(kernel, nt.base, nt.size.into()),
        }
        out.stretches.sort_by_key(|s| s.start);
        out
    }

    fn add(&mut self, kernel: &Kernel, start: Va, bytes: u64) {
        let taken: usize = self.stretches.iter().map(|s| s.words.len()).sum();
        let room = MAX_BYTES.saturating_sub(taken as u64 * 8);
        let start = Va(start.0.next_multiple_of(8));
        let mut words = Vec::new();
        let length = bytes.min(room) & !7;
        for (va, piece) in kernel.space.pieces(start, length) {
            match piece {
                Ok(bytes) => words.extend((0..bytes.len() / 8).map(|i| u64_at(bytes, i * 8))),
                Err(_) => {
                    // To the end of the page, or of the section if that comes first.
                    let end = (va.page().0 - start.page().0 + PAGE_SIZE)
                        .saturating_sub(start.offset() as u64)
                        .min(length);
                    words.resize((end / 8) as usize, None);
                }
            }
        }
        self.stretches.push(Stretch { start, words });
    }

    /// The word at a multiple of 8.
    pub fn word(&self, at: Va) -> Option<u64> {
        let after = self.stretches.partition_point(|s| s.start <= at);
        let stretch = self.stretches.get(after.checked_sub(1)?)?;
        *stretch.words.get(((at.0 - stretch.start.0) / 8) as usize)?
    }

    /// The pointer at a multiple of 8, if it is a kernel address.
    pub fn pointer(&self, at: Va) -> Option<Va> {
        self.word(at).map(Va).filter(|va| va.is_kernel())
    }

    /// The dword at a multiple of 4.
    pub fn dword(&self, at: Va) -> Option<u32> {
        let word = self.word(Va(at.0 & !7))?;
        Some((word >> ((at.0 & 4) * 8)) as u32)
    }

    /// The addresses of all words at multiples of `step`.
    pub fn every(&self, step: u64) -> impl Iterator<Item = Va> + '_ {
        self.stretches
            .iter()
            .flat_map(Stretch::places)
            .filter(move |at| at.0.is_multiple_of(step))
    }

    /// The words within `distance` bytes of an address, nearest first.
    pub fn near(&self, at: Va, distance: u64) -> Vec<Va> {
        let at = Va(at.0 & !7);
        let (low, high) = (at.0.saturating_sub(distance), at.0.saturating_add(distance));
        let mut all: Vec<Va> = self
            .stretches
            .iter()
            .flat_map(|stretch| stretch.places_in(low, high))
            .collect();
        all.sort_by_key(|place| place.0.abs_diff(at.0));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_come_from_every_stretch_nearest_first() {
        let stretch = |start: u64, words: usize| Stretch {
            start: Va(start),
            words: vec![Some(0); words],
        };
        let data = Data {
            stretches: vec![stretch(0x1000, 4), stretch(0x1030, 2), stretch(0x2000, 1)],
        };
        let near = |at: u64, distance: u64| {
            let all = data.near(Va(at), distance);
            all.into_iter().map(|va| va.0).collect::<Vec<_>>()
        };
        assert_eq!(near(0x1018, 0x18), [0x1018, 0x1010, 0x1008, 0x1000, 0x1030]);
        assert_eq!(near(0x1037, 0), [0x1030]);
        assert_eq!(near(0x1038, 0x10), [0x1038, 0x1030]);
        assert_eq!(near(0, 0xfff), [] as [u64; 0]);
        assert_eq!(near(u64::MAX, u64::MAX).len(), 7);
    }
}
