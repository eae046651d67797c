//! Identifies a dump by its contents, independent of its path and name.

use std::time::SystemTime;

use xxhash_rust::xxh3::Xxh3;

use super::{Dump, HEADER_SIZE};

/// Number of samples besides the header: a few seeks on a disk.
const SAMPLES: u64 = 32;
/// Bytes in each sample.
const SAMPLE: u64 = 4096;

impl Dump {
    /// A hash of the header (times, bug check, page tables), of the file's length and of a
    /// sample of its pages. `None` if the file could not be read.
    ///
    /// The sample does not detect every change: see [`Dump::is_as_of`].
    pub fn identity(&self) -> Option<u128> {
        let before = self.faults();
        let bytes = self.mapping.bytes();
        let length = bytes.len() as u64;
        let mut hash = Xxh3::new();
        hash.update(&length.to_le_bytes());
        hash.update(bytes.get(..HEADER_SIZE.min(bytes.len()))?);
        // The start of an image may be equal in images of different moments.
        hash.update(format!("{:?}", self.cpus()).as_bytes());
        // The same memory file with another state file is another machine.
        if self.contents.header.is_none() {
            hash.update(format!("{:?}", self.contents.pages.runs()).as_bytes());
        }
        let last = length.saturating_sub(SAMPLE);
        for i in 1..=SAMPLES {
            // No overflow: file lengths fit in 64 bits.
            let at = (u128::from(last) * u128::from(i) / u128::from(SAMPLES)) as usize;
            let end = bytes.len().min(at.saturating_add(SAMPLE as usize));
            hash.update(bytes.get(at..end)?);
        }
        (self.faults() == before).then(|| hash.digest128())
    }

    /// The time at which the dump was opened.
    pub fn opened(&self) -> SystemTime {
        self.opened
    }

    /// The file's modification time when it was opened; `None` if the system does not record
    /// it.
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// True when, by the system's timestamps, the file has not been written to since it had
    /// this modification time or since it was opened then. A copy in progress has its final
    /// length and header long before all its pages.
    pub fn is_as_of(&self, modified: SystemTime, opened: SystemTime) -> bool {
        self.modified
            .is_some_and(|now| now == modified || now < opened)
    }

    /// True when length and modification time show that the file under this dump is still the
    /// one that was opened.
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
    fn identity_depends_on_contents_and_not_on_path() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1.dmp"), folder.path().join("2.dmp"));
        let machine = Machine::build(&small::spec()).unwrap();
        machine.write(&one, Container::BitmapKernel).unwrap();
        fs::copy(&one, &two).unwrap();
        let first = Dump::open(&one).unwrap();
        let identity = first.identity().unwrap();
        assert_eq!(Dump::open(&two).unwrap().identity(), Some(identity));

        let bytes = fs::read(&one).unwrap();
        // Changes in the uptime, in the last page, and in the length.
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
    fn a_modified_file_is_not_as_of_an_earlier_time() {
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
        // A copy that preserved an older modification time.
        touch(opened - Duration::from_secs(100));
        assert!(Dump::open(&path).unwrap().is_as_of(modified, opened));
    }
}
