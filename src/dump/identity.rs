//! Identifies a dump by its contents, independent of its path and name.

use std::time::SystemTime;

use xxhash_rust::xxh3::Xxh3;

use super::{Dump, HEADER_SIZE};

/// Places of the file that are looked at beside the header: a few seeks on a disk.
const SAMPLES: u64 = 32;
/// Bytes looked at in each.
const SAMPLE: u64 = 4096;

impl Dump {
    /// A hash of the header (times, bug check, page tables), of the file's length and of
    /// a sample of its pages. `None` when the file could not be read for it.
    ///
    /// The sample does not notice every change: see [`Dump::is_as_of`].
    pub fn identity(&self) -> Option<u128> {
        let before = self.faults();
        let bytes = self.mapping.bytes();
        let length = bytes.len() as u64;
        let mut hash = Xxh3::new();
        hash.update(&length.to_le_bytes());
        hash.update(bytes.get(..HEADER_SIZE.min(bytes.len()))?);
        // An image begins with memory that no two moments need to differ in.
        hash.update(format!("{:?}", self.cpus()).as_bytes());
        // The same memory is another machine's with another state beside it.
        if self.contents.header.is_none() {
            hash.update(format!("{:?}", self.contents.pages.runs()).as_bytes());
        }
        let last = length.saturating_sub(SAMPLE);
        for i in 1..=SAMPLES {
            // No overflow: a product of two lengths that a file can have.
            let at = (u128::from(last) * u128::from(i) / u128::from(SAMPLES)) as usize;
            let end = bytes.len().min(at.saturating_add(SAMPLE as usize));
            hash.update(bytes.get(at..end)?);
        }
        (self.faults() == before).then(|| hash.digest128())
    }

    /// When it was opened.
    pub fn opened(&self) -> SystemTime {
        self.opened
    }

    /// When the file was last written to, as it was when it was opened; `None` where the
    /// system doesn't say.
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// True when the file has not been written to since it had this time of modification
    /// or since it was opened then, by the system's word. A copy that is still growing into
    /// its place has its final length and header long before all its pages.
    pub fn is_as_of(&self, modified: SystemTime, opened: SystemTime) -> bool {
        self.modified
            .is_some_and(|now| now == modified || now < opened)
    }

    /// True when the file under this dump is, by its length and time of modification,
    /// still the one that was opened.
    pub fn is_unchanged(&self) -> bool {
        std::fs::metadata(&self.pages_path).is_ok_and(|now| {
            let modified = now.modified().ok();
            now.len() == self.file_length() && modified.is_some() && modified == self.modified
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::Duration;

    use super::*;
    use crate::synth::{Container, Machine, small};

    #[test]
    fn a_dump_is_known_by_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1.dmp"), folder.path().join("2.dmp"));
        let machine = Machine::build(&small::spec()).unwrap();
        machine.write(&one, Container::BitmapKernel).unwrap();
        fs::copy(&one, &two).unwrap();
        let first = Dump::open(&one).unwrap();
        let identity = first.identity().unwrap();
        assert_eq!(Dump::open(&two).unwrap().identity(), Some(identity));

        let bytes = fs::read(&one).unwrap();
        // Uptime; the last page; the length.
        for (at, length) in [(0x1030, 0), (bytes.len() - 1, 0), (0, 4096)] {
            let mut other = bytes.clone();
            match length {
                0 => other[at] ^= 1,
                n => other.truncate(bytes.len() - n),
            }
            fs::write(&two, other).unwrap();
            assert_ne!(Dump::open(&two).unwrap().identity(), Some(identity));
        }
    }

    #[test]
    fn a_file_that_was_written_to_is_not_as_of_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.dmp");
        let machine = Machine::build(&small::spec()).unwrap();
        machine.write(&path, Container::BitmapKernel).unwrap();
        let dump = Dump::open(&path).unwrap();
        let (modified, opened) = (dump.modified().unwrap(), dump.opened());
        assert!(dump.is_as_of(modified, opened) && dump.is_unchanged());
        let touch = |time| {
            let file = File::options().append(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
        };
        touch(opened + Duration::from_secs(1));
        assert!(!dump.is_unchanged());
        assert!(!Dump::open(&path).unwrap().is_as_of(modified, opened));
        // A copy that kept an older time.
        touch(opened - Duration::from_secs(100));
        assert!(Dump::open(&path).unwrap().is_as_of(modified, opened));
    }
}
