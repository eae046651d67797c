//! The file under us: mapped read-only, and guarded against shrinking while it is read.
//!
//! A page of a mapping that has no file behind it any more (the file was cut, the disk
//! or the share failed) raises SIGBUS, which would end the process and leave the
//! terminal raw. The [guard](super::guard) puts a zero page in its place and counts it.
//! Who is reading just then compares [`Mapping::faults`] before and after; who comes later
//! is told by [`Mapping::is_lost`]. On Windows a `View` does the same for the exception
//! that the system raises there.

use std::fs::File;
use std::io;

#[cfg(not(windows))]
use memmap2::Mmap;

#[cfg(unix)]
use super::guard::Guard;
#[cfg(windows)]
use super::view::View;

/// A whole file in memory.
#[derive(Debug)]
pub struct Mapping {
    /// Before the mapping, as it goes first.
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
    /// What the operating system says when it refuses the mapping; or that too many dumps
    /// are open for one more to be guarded.
    pub fn new(file: &File) -> io::Result<Mapping> {
        #[cfg(windows)]
        let map = View::new(file)?;
        // SAFETY: the mapping is private to this process and read-only. Another process
        // can still change or cut the file: changed bytes are untrusted input like the
        // rest of the dump (nothing is kept by reference across a check), and a cut is
        // caught by the guard below.
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

    /// Pages of this file that could not be read since it was mapped.
    pub fn faults(&self) -> u64 {
        #[cfg(unix)]
        return self.guard.faults();
        #[cfg(windows)]
        return self.map.faults();
        #[cfg(not(any(unix, windows)))]
        0
    }

    /// True when any of these bytes were lost: what is there now are zeros.
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

    /// What the system says of the file now, also when its name is gone.
    ///
    /// # Errors
    /// What the file system says.
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

    /// Says whether pages will be read here and there, or most of them. A hint: without
    /// it some systems read megabytes around every page that is touched.
    pub fn expect(&self, here_and_there: bool) {
        #[cfg(unix)]
        {
            let advice = match here_and_there {
                true => memmap2::Advice::Random,
                false => memmap2::Advice::Normal,
            };
            // A refused hint changes nothing that is promised.
            let _ = self.map.advise(advice);
        }
        #[cfg(not(unix))]
        let _ = here_and_there;
    }
}

/// The same file, read by calls at given places.
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
    /// What the file system says.
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
    /// What the file system says.
    pub fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(&self.0, to, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(&self.0, to, offset);
        #[cfg(not(any(unix, windows)))]
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
}
