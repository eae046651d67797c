//! The file under us: mapped read-only, and guarded against shrinking while it is read.
//!
//! A page of a mapping that has no file behind it any more (the file was cut, the disk
//! or the share failed) raises SIGBUS, which would end the process and leave the
//! terminal raw. The guard puts a zero page in its place and counts it; readers compare
//! [`faults`] before and after and treat what they read as unreadable when it moved.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// A whole file in memory.
#[derive(Debug)]
pub struct Mapping {
    map: Mmap,
    #[cfg(unix)]
    slot: Option<usize>,
}

impl Mapping {
    /// Maps a file of more than zero bytes.
    ///
    /// # Errors
    /// What the operating system says when it refuses the mapping.
    pub fn new(file: &File) -> io::Result<Mapping> {
        // SAFETY: the mapping is private to this process and read-only. Another process
        // can still change or cut the file: changed bytes are untrusted input like the
        // rest of the dump (nothing is kept by reference across a check), and a cut is
        // caught by the guard below.
        let map = unsafe { Mmap::map(file)? };
        #[cfg(unix)]
        let slot = guard::register(map.as_ptr() as usize, map.len());
        Ok(Mapping {
            map,
            #[cfg(unix)]
            slot,
        })
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
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

#[cfg(unix)]
impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            guard::unregister(slot);
        }
    }
}

/// Pages of mapped files that could not be read since the process started.
pub fn faults() -> u64 {
    #[cfg(unix)]
    return guard::FAULTS.load(std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(unix))]
    0
}

#[cfg(unix)]
mod guard {
    use std::sync::Once;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    pub(super) static FAULTS: AtomicU64 = AtomicU64::new(0);

    /// Mappings that can be guarded at once; more are mapped without a guard.
    const SLOTS: usize = 16;
    static STARTS: [AtomicUsize; SLOTS] = [const { AtomicUsize::new(0) }; SLOTS];
    static ENDS: [AtomicUsize; SLOTS] = [const { AtomicUsize::new(0) }; SLOTS];
    static INSTALL: Once = Once::new();

    /// Guards `start..start+length`; the slot is given back with [`unregister`].
    pub(super) fn register(start: usize, length: usize) -> Option<usize> {
        INSTALL.call_once(install);
        let slot = (0..SLOTS).find(|&i| {
            STARTS[i]
                .compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })?;
        ENDS[slot].store(start + length, Ordering::Release);
        Some(slot)
    }

    pub(super) fn unregister(slot: usize) {
        ENDS[slot].store(0, Ordering::Release);
        STARTS[slot].store(0, Ordering::Release);
    }

    fn install() {
        // SAFETY: `action` is fully initialised (zeroed, then its three fields set) and
        // the handler below only does what a signal handler may do: atomics, mmap,
        // sigaction. A refused installation leaves the default action in place.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
        }
    }

    extern "C" fn on_bus_error(
        signal: libc::c_int,
        info: *mut libc::siginfo_t,
        _context: *mut libc::c_void,
    ) {
        // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler.
        let address = unsafe { (*info).si_addr() } as usize;
        let ours = (0..SLOTS).any(|i| {
            let start = STARTS[i].load(Ordering::Acquire);
            start != 0 && address >= start && address < ENDS[i].load(Ordering::Acquire)
        });
        if ours && patch(address) {
            FAULTS.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // SAFETY: not ours: back to the default action, which the faulting instruction
        // meets when it runs again. sigaction is async-signal-safe.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }

    /// Puts a zero page over the page that could not be read.
    fn patch(address: usize) -> bool {
        // SAFETY: sysconf is async-signal-safe on the platforms built for.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(0x1000) as usize;
        let start = address & !(page - 1);
        // SAFETY: MAP_FIXED over a page that lies inside one of our own read-only file
        // mappings; the new page is read-only too, so slices into it stay valid.
        let mapped = unsafe {
            libc::mmap(
                start as *mut libc::c_void,
                page,
                libc::PROT_READ,
                libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANON,
                -1,
                0,
            )
        };
        mapped as usize == start
    }
}
