//! A file that is damaged for one run and put right afterwards.
//!
//! To write a whole dump for each of a thousand runs a second is too slow, and bytes
//! chosen blindly in one hit nothing. So the dump stays, the fuzzer's bytes are a list of
//! edits, and edits go to the places that a target is about.

use std::fs::File;
use std::path::Path;

use tempfile::NamedTempFile;

use super::input::Input;
use super::placed;

/// A stretch of the file that edits go to.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its offset in the file.
    pub at: usize,
    /// Bytes.
    pub length: usize,
    /// Where it is in the dump's memory; 0 when it is in none.
    pub va: u64,
}

/// A file and its places. Places are in groups, so that a short structure is hit as often
/// as a long one.
pub struct Bed {
    file: NamedTempFile,
    /// The same file, never written to. Dumps are mostly holes, which a copy in memory
    /// would not be.
    original: File,
    length: usize,
    /// Pages of the file that are not all zeros.
    filled: Vec<usize>,
    groups: Vec<Vec<Place>>,
}

/// Edits to be made at most: more only take time.
const MOST: usize = 256;

const PAGE: usize = 0x1000;

/// What is done to the file.
enum Edit {
    Write(usize, Vec<u8>),
    Cut(usize),
}

impl Bed {
    /// A bed for a file that `write` writes.
    pub fn new(write: impl Fn(&Path), groups: impl FnOnce(&Path) -> Vec<Vec<Place>>) -> Bed {
        let file = NamedTempFile::new().unwrap();
        let twin = NamedTempFile::new().unwrap();
        write(file.path());
        write(twin.path());
        let groups = groups(twin.path());
        // Opened again: it may have been written under its name.
        let original = File::open(twin.path()).unwrap();
        let length = original.metadata().unwrap().len() as usize;
        for group in &groups {
            assert!(group.iter().any(|p| p.length > 0), "a group has no places");
            assert!(group.iter().all(|p| p.at + p.length <= length));
        }
        let mut bed = Bed {
            file,
            original,
            length,
            filled: Vec::new(),
            groups,
        };
        let pages = (0..length).step_by(PAGE);
        let filled = pages.filter(|at| bed.read(*at, PAGE).iter().any(|byte| *byte != 0));
        bed.filled = filled.collect();
        bed
    }

    /// A bed for a file of these bytes, which are all places.
    pub fn of_bytes(bytes: &[u8]) -> Bed {
        let all = Place {
            at: 0,
            length: bytes.len(),
            va: 0,
        };
        let write = |path: &Path| std::fs::write(path, bytes).unwrap();
        Bed::new(write, |_| vec![vec![all]])
    }

    /// Makes the edits, asks, and undoes them.
    pub fn run(&mut self, input: &mut Input<'_>, ask: impl FnOnce(&Path)) {
        let mut now = Vec::new();
        for _ in 0..MOST {
            match self.edit(input, &now) {
                Some(edit) => now.push(edit),
                None => break,
            }
        }
        let file = File::options().write(true).open(self.file.path()).unwrap();
        let mut length = self.length;
        for edit in &now {
            match edit {
                Edit::Write(at, bytes) => placed::write(&file, *at as u64, bytes),
                Edit::Cut(at) => length = length.min(*at),
            }
        }
        // Behind the others, so that none makes the file long again.
        if length < self.length {
            file.set_len(length as u64).unwrap();
        }
        ask(self.file.path());
        if length < self.length {
            file.set_len(self.length as u64).unwrap();
            let first = self.filled.partition_point(|at| at + PAGE <= length);
            for at in &self.filled[first..] {
                let page = self.read(*at, PAGE);
                placed::write(&file, *at as u64, &page);
            }
        }
        for edit in &now {
            if let Edit::Write(at, bytes) = edit {
                let old = self.read(*at, bytes.len());
                placed::write(&file, *at as u64, &old);
            }
        }
    }

    /// Bytes of the original, fewer at its end.
    fn read(&self, at: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.min(self.length.saturating_sub(at))];
        placed::read(&self.original, at as u64, &mut bytes);
        bytes
    }

    /// The next edit, of at least five bytes: what, which group, where in it.
    fn edit(&self, input: &mut Input<'_>, before: &[Edit]) -> Option<Edit> {
        let [what, group, a, b, c] = input.array()?;
        let group = &self.groups[usize::from(group) % self.groups.len()];
        let at = u32::from_le_bytes([a, b, c, 0]) as usize;
        // Most fields are aligned to their size.
        let align = [0, 3, 7, 15][usize::from(what >> 6)];
        let (at, place) = spot(group, at, align);
        let room = place.at + place.length - at;
        let bytes = match what & 15 {
            0 => vec![input.u8()?],
            1 => input.u16()?.to_le_bytes().to_vec(),
            2 => input.u32()?.to_le_bytes().to_vec(),
            3 => input.u64()?.to_le_bytes().to_vec(),
            4..=8 => self.word(input, at, place, before)?.to_le_bytes().to_vec(),
            9 => {
                let [byte, length] = input.array()?;
                vec![byte; 1 + usize::from(length) * 17]
            }
            10 => input.run()?.to_vec(),
            11 => {
                let from = input.u16()?.into();
                let (from, place) = spot(group, from, align);
                let length = usize::from(input.u8()?) * 16 + 16;
                let end = (from + length).min(place.at + place.length);
                self.read(from, end - from)
            }
            12 => return Some(Edit::Cut(at)),
            // The upper half of a word, or the lower one, alone.
            13 => (self.word(input, at, place, before)? as u32)
                .to_le_bytes()
                .to_vec(),
            14 => {
                let [bit] = input.array()?;
                vec![self.old(at, before) as u8 ^ 1 << (bit & 7)]
            }
            _ => {
                let [by] = input.array()?;
                let old = self.old(at, before) as u32;
                old.wrapping_add_signed((by as i8).into())
                    .to_le_bytes()
                    .to_vec()
            }
        };
        let mut bytes = bytes;
        bytes.truncate(room);
        Some(Edit::Write(at, bytes))
    }

    /// A word that structures are likely to stumble over.
    fn word(&self, input: &mut Input<'_>, at: usize, place: Place, before: &[Edit]) -> Option<u64> {
        let [kind, a, b] = input.array()?;
        let extra = u64::from(u16::from_le_bytes([a, b]));
        let own = place.va + (at - place.at) as u64;
        let other = || {
            let group = &self.groups[usize::from(a) % self.groups.len()];
            let (to, place) = spot(group, usize::from(b) * 16, 0);
            place.va + (to - place.at) as u64
        };
        Some(match kind % 16 {
            0 => 0,
            1 => u64::MAX,
            2 => own,
            3 => other(),
            4 => other() & !0xfff,
            5 => own.wrapping_add_signed((extra as i16).into()),
            6 => i64::MAX as u64,
            7 => 1 << 63,
            8 => extra,
            9 => u32::MAX.into(),
            10 => self.old(spot(&self.groups[0], extra as usize * 8, 7).0, before),
            11 => self
                .old(at, before)
                .wrapping_add_signed((extra as i16).into()),
            12 => self.old(at, before) ^ 1 << (extra % 64),
            13 => extra << 12,
            14 => extra << 40,
            _ => 0xffff_8000_0000_0000 | extra << 31,
        })
    }

    /// The word at an offset of the file, edits that were made included.
    fn old(&self, at: usize, before: &[Edit]) -> u64 {
        let mut word = [0; 8];
        let old = self.read(at, 8);
        word[..old.len()].copy_from_slice(&old);
        for edit in before {
            if let Edit::Write(start, bytes) = edit {
                for (i, to) in word.iter_mut().enumerate() {
                    let byte = (at + i).checked_sub(*start).and_then(|i| bytes.get(i));
                    *to = byte.copied().unwrap_or(*to);
                }
            }
        }
        u64::from_le_bytes(word)
    }
}

/// The offset in the file of a position in a group, and the place it is in.
fn spot(group: &[Place], position: usize, align: usize) -> (usize, Place) {
    let all: usize = group.iter().map(|p| p.length).sum();
    let mut left = position % all;
    for place in group {
        if left < place.length {
            return (place.at + (left & !align), *place);
        }
        left -= place.length;
    }
    unreachable!("the position is in one of the places");
}
