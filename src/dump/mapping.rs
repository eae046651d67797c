//! The mapping of the dump file: read-only, and protected against truncation.
//!
//! If the file is truncated, or the disk or share fails, access to a page of the mapping raises
//! SIGBUS. This would end the process and leave the terminal in raw mode. The
//! [guard](super::guard) maps a zero page in its place and counts it. Code that reads data
//! compares [`Mapping::faults`] before and after; later readers check [`Mapping::is_lost`]. On
//! Windows, a `View` does the same for the exception that the system raises there.

use std::fs::File;
use std::io;

#[cfg(not(windows))]
use memmap2::Mmap;

#[cfg(unix)]
use super::guard::Guard;
#[cfg(windows)]
use super::view::View;

/// A whole file, mapped.
#[derive(Debug)]
pub struct Mapping {
    /// Declared before the mapping, so that it is dropped first.
    #[cfg(unix)]
    guard: Guard,
    #[cfg(not(windows))]
    map: Mmap,
    #[cfg(windows)]
    map: View,
    file: File,
}

impl Mapping {
    /// Maps a file of more than zero bytes.
    ///
    /// # Errors
    /// The error of the operating system, or an error if too many dumps are open to guard one
    /// more.
    pub fn new(file: &File) -> io::Result<Mapping> {
        #[cfg(windows)]
        let map = View::new(file)?;
        // SAFETY: the mapping is private to this process and read-only. Another process can
        // still change or truncate the file. Changed bytes are untrusted input like the rest of
        // the dump (no reference is held across a check), and the guard below handles a
        // truncation.
        #[cfg(not(windows))]
        let map = unsafe { Mmap::map(file)? };
        let file = file.try_clone()?;
        #[cfg(unix)]
        let guard = Guard::new(map.as_ptr() as usize, map.len(), &file)
            .ok_or_else(|| io::Error::other("too many dumps are open"))?;
        Ok(Mapping {
            #[cfg(unix)]
            guard,
            map,
            file,
        })
    }

    /// Number of pages of this file that could not be read since it was mapped.
    pub fn faults(&self) -> u64 {
        #[cfg(unix)]
        return self.guard.faults();
        #[cfg(windows)]
        return self.map.faults();
        #[cfg(not(any(unix, windows)))]
        0
    }

    /// True when any of these bytes were lost and replaced by zeros.
    pub fn is_lost(&self, offset: usize, length: usize) -> bool {
        #[cfg(unix)]
        return self.guard.is_lost(offset, length);
        #[cfg(windows)]
        return self.map.is_lost(offset, length);
        #[cfg(not(any(unix, windows)))]
        {
            let _ = (offset, length);
            false
        }
    }

    /// The file; its position is not used.
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The current metadata of the file, also after its name was removed.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn metadata(&self) -> io::Result<std::fs::Metadata> {
        self.file.metadata()
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        #[cfg(windows)]
        return self.map.bytes();
        #[cfg(not(windows))]
        &self.map
    }

    /// Sets the expected access pattern: scattered pages, or most pages. This is a hint:
    /// without it, some systems read megabytes around every page that is touched.
    pub fn expect(&self, here_and_there: bool) {
        #[cfg(unix)]
        {
            let advice = match here_and_there {
                true => memmap2::Advice::Random,
                false => memmap2::Advice::Normal,
            };
            // Correctness does not depend on the hint.
            let _ = self.map.advise(advice);
        }
        #[cfg(not(unix))]
        let _ = here_and_there;
    }
}

/// The file, accessed by positioned reads and writes.
#[derive(Debug)]
pub struct Positioned(File);

impl Positioned {
    /// Takes an open file over.
    pub fn new(file: File) -> Positioned {
        Positioned(file)
    }

    /// Writes all bytes at `offset`.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0usize;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            #[cfg(unix)]
            let n = std::os::unix::fs::FileExt::write_at(&self.0, rest, offset + done as u64)?;
            #[cfg(windows)]
            let n = std::os::windows::fs::FileExt::seek_write(&self.0, rest, offset + done as u64)?;
            #[cfg(not(any(unix, windows)))]
            let n = 0;
            if n == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero));
            }
            done += n;
        }
        Ok(())
    }

    /// Reads up to `to.len()` bytes at `offset`; 0 at the end of the file.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(&self.0, to, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(&self.0, to, offset);
        #[cfg(not(any(unix, windows)))]
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
}
