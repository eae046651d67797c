//! Read failures of the file while it is open.

use super::Dump;
use super::page_map::PageMap;
use crate::addr::{PAGE_SIZE, Pfn};

impl Dump {
    /// Number of pages of this dump that the system failed to read since it was opened. Readers
    /// compare it before and after: if it changed, they must discard the data they read.
    pub fn faults(&self) -> u64 {
        self.mapping.faults()
    }

    /// True when the system failed to read a page of this dump since it was opened.
    pub fn has_failed(&self) -> bool {
        self.faults() > 0
    }

    /// True for a frame that is in the dump but whose bytes the system failed to read.
    pub fn is_lost(&self, pfn: Pfn) -> bool {
        if !self.has_failed() {
            return false;
        }
        // The length of a compressed page in the file is not known here, and results of lost
        // bytes are never stored: so try to read the page.
        if let PageMap::Packed(_) = &self.contents.pages {
            return self.page(pfn).is_none() && self.file_offset(pfn).is_some();
        }
        // If the bitmap itself is lost, it is unknown which pages exist.
        let bit = self.contents.pages.bit_place(pfn);
        if bit.is_some_and(|at| self.mapping.is_lost(at, 1)) {
            return true;
        }
        let offset = self
            .file_offset(pfn)
            .and_then(|at| usize::try_from(at).ok());
        offset.is_some_and(|at| self.mapping.is_lost(at, PAGE_SIZE as usize))
    }

    /// The failure of the file since it was opened, as a sentence; `None` if there was none.
    /// Removing an open file is not a failure.
    pub fn failure(&self) -> Option<String> {
        let before = self.file_length();
        let about = match self.mapping.metadata() {
            Ok(about) => about,
            Err(why) => return Some(format!("the state of the file is unknown: {why}")),
        };
        if about.len() < before {
            return Some(format!(
                "the file was truncated from {before} to {} bytes while it was open: data after \
                    the cut is missing or read as zeros; copy it again, and open the copy",
                about.len()
            ));
        }
        if self.has_failed() {
            return Some(
                "parts of the file could not be read while it was open (a failing disk or a lost \
                    share): that data is missing or read as zeros"
                    .into(),
            );
        }
        let modified = about.modified().ok();
        if modified != self.modified || about.len() > before {
            return Some(
                "the file was modified while it was open: the answer may mix old and new data; \
                    open it again"
                    .into(),
            );
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use std::fs;
    use std::fs::File;
    use std::io::Write;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::synth::{Container, Machine, small};

    /// A small dump and its file. Tests that truncate it do not run on Windows, which refuses
    /// to truncate a mapped file; `view.rs` covers lost pages there.
    fn open() -> (tempfile::TempDir, File, Dump) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.dmp");
        let machine = Machine::build(&small::spec()).unwrap();
        machine.write(&path, Container::BitmapKernel).unwrap();
        let dump = Dump::open(&path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        (folder, file, dump)
    }

    fn frames(dump: &Dump) -> Vec<Pfn> {
        let all = (0..0x800).map(Pfn);
        all.filter(|pfn| dump.file_offset(*pfn).is_some()).collect()
    }

    #[cfg(unix)]
    #[test]
    fn lost_pages_stay_lost_for_later_readers() {
        let (_folder, file, dump) = open();
        let frames = frames(&dump);
        let (first, last) = (frames[10], frames[frames.len() - 1]);
        let whole = *dump.page(first).unwrap();
        let cut = dump.file_offset(first).unwrap() + PAGE_SIZE;
        file.set_len(cut).unwrap();
        assert!(!dump.has_failed(), "nobody has read yet");
        // The first read after the truncation gets zeros, and the count increases.
        let before = dump.faults();
        assert_eq!(dump.page(last).unwrap()[0], 0);
        assert!(dump.faults() > before && dump.has_failed());
        // All later pages are lost in the same step, and no earlier ones.
        for pfn in &frames[11..] {
            assert!(dump.is_lost(*pfn) && dump.page(*pfn).is_none());
        }
        assert!(!dump.is_lost(first));
        assert_eq!(dump.page(first), Some(&whole));
        assert_eq!(dump.faults(), 1, "one step");
        let said = dump.failure().unwrap();
        assert!(said.contains(&format!("to {cut} bytes")), "{said}");
        // Data that becomes readable again is still not used.
        file.set_len(dump.file_length()).unwrap();
        assert!(dump.page(last).is_none());
        assert!(dump.failure().unwrap().contains("could not be read"));
    }

    #[cfg(unix)]
    #[test]
    fn a_page_partly_after_the_end_is_lost() {
        let (_folder, file, dump) = open();
        let frames = frames(&dump);
        let half = dump.file_offset(frames[20]).unwrap() + PAGE_SIZE / 2;
        file.set_len(half).unwrap();
        let _ = std::hint::black_box(dump.page(frames[30]).unwrap()[0]);
        assert!(dump.is_lost(frames[20]) && !dump.is_lost(frames[19]));
    }

    #[cfg(unix)]
    #[test]
    fn a_failing_dump_does_not_affect_others() {
        let (_one, file, dump) = open();
        let (_two, _, other) = open();
        file.set_len(0x3000).unwrap();
        for pfn in frames(&other) {
            let _ = std::hint::black_box(dump.page(pfn).map(|page| page[0]));
            let _ = std::hint::black_box(other.page(pfn).map(|page| page[0]));
        }
        assert!(dump.has_failed() && !other.has_failed());
        assert_eq!(other.failure(), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_removed_file_stays_readable() {
        let (folder, _, dump) = open();
        fs::remove_file(folder.path().join("it.dmp")).unwrap();
        let last = *frames(&dump).last().unwrap();
        assert!(dump.page(last).is_some());
        assert_eq!(dump.failure(), None);
        assert!(
            !dump.is_unchanged(),
            "and nothing is kept of it by its name"
        );
    }

    #[cfg(windows)]
    #[test]
    fn windows_does_not_truncate_a_mapped_file() {
        let (_folder, file, dump) = open();
        const USER_MAPPED_FILE: i32 = 1224;
        let refused = file.set_len(0x3000).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(USER_MAPPED_FILE));
        assert!(frames(&dump).iter().all(|pfn| dump.page(*pfn).is_some()));
        assert_eq!(dump.failure(), None);
    }

    #[test]
    fn writing_to_the_open_file_is_reported() {
        let (_folder, mut file, dump) = open();
        file.write_all(b"PAGE").unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(5))
            .unwrap();
        let said = dump.failure().unwrap();
        assert!(said.contains("modified while it was open"), "{said}");
    }

    /// More pages than a process may have mappings.
    #[cfg(unix)]
    #[test]
    fn a_large_file_may_be_truncated_to_nothing() {
        const PAGES: u64 = 150_000;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holes");
        let file = File::create(&path).unwrap();
        file.set_len(PAGES * PAGE_SIZE).unwrap();
        let mapping = super::super::mapping::Mapping::new(&File::open(&path).unwrap()).unwrap();
        file.set_len(0).unwrap();
        let bytes = mapping.bytes();
        let mut sum = 0u64;
        for page in (0..PAGES).rev().step_by(2) {
            sum += u64::from(bytes[(page * PAGE_SIZE) as usize]);
        }
        assert_eq!(sum, 0);
        assert!(mapping.faults() > 0);
        assert!(mapping.is_lost(0, 1));
    }
}
