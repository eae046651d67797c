//! A file that is damaged for one run and repaired afterwards.
//!
//! Writing a whole dump for each run would be too slow, and random bytes in a dump rarely
//! hit anything. So the dump stays, the fuzzer's bytes are a list of edits, and the edits
//! go to the structures that a target tests.

use std::fs::File;
use std::path::Path;

use tempfile::NamedTempFile;

use super::input::Input;
use super::placed;

/// A range of the file for edits.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Offset in the file.
    pub at: usize,
    /// Length in bytes.
    pub length: usize,
    /// Virtual address in the dump; 0 if it is not mapped.
    pub va: u64,
}

/// A file and its places. Places are in groups, so that a short structure is hit as often
/// as a long one.
pub struct Bed {
    file: NamedTempFile,
    /// An unmodified copy of the file. It is a file because dumps are mostly holes, which
    /// would take memory in a buffer.
    original: File,
    length: usize,
    /// Pages of the file that are not all zero.
    filled: Vec<usize>,
    groups: Vec<Vec<Place>>,
}

/// Maximum number of edits: more only take time.
const MOST: usize = 256;

const PAGE: usize = 0x1000;

/// A change to the file.
enum Edit {
    Write(usize, Vec<u8>),
    Cut(usize),
}

impl Bed {
    /// A bed for a file that `write` creates.
    pub fn new(write: impl Fn(&Path), groups: impl FnOnce(&Path) -> Vec<Vec<Place>>) -> Bed {
        let file = NamedTempFile::new().unwrap();
        let twin = NamedTempFile::new().unwrap();
        write(file.path());
        write(twin.path());
        let groups = groups(twin.path());
        // Opened again, because `write` may have replaced the file under its name.
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

    /// A bed for a file with these bytes; all of them are one place.
    pub fn of_bytes(bytes: &[u8]) -> Bed {
        let all = Place {
            at: 0,
            length: bytes.len(),
            va: 0,
        };
        let write = |path: &Path| std::fs::write(path, bytes).unwrap();
        Bed::new(write, |_| vec![vec![all]])
    }

    /// Applies the edits, calls `ask`, and undoes the edits.
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
        // After the writes, so that none of them extends the file again.
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

    /// Bytes of the original; fewer at the end of the file.
    fn read(&self, at: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.min(self.length.saturating_sub(at))];
        placed::read(&self.original, at as u64, &mut bytes);
        bytes
    }

    /// The next edit, from at least five bytes: kind, group, and position in it.
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
            // Only the upper or the lower half of a word.
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

    /// A value that is likely to cause trouble in a structure.
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

    /// The word at an offset of the file, with earlier edits applied.
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

/// The offset in the file of a position in a group, and its place.
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
