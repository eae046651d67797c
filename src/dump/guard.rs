//! Handles pages of a mapped file that can no longer be read.
//!
//! If the file is truncated, or the disk or network share fails, the system raises SIGBUS at
//! the reading instruction. By default this ends the process and leaves the terminal in raw
//! mode. This handler maps zeros over the page, records the page as lost, and lets the
//! instruction run again. It calls only functions that POSIX lists as safe in signal handlers
//! (`<signal.h>`).
//!
//! The host's pages may be larger than those of the dump (16 KB and 64 KB on ARM64): a whole
//! host page is lost. Windows has no such signal; see `view.rs`.

use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Bytes per bit in the record of lost pages.
const UNIT: usize = 0x1000;

/// Mappings that can be guarded at once.
const SLOTS: usize = 1024;
static SLOT: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];
static INSTALL: Once = Once::new();

/// One guarded mapping, as the signal handler sees it.
struct Slot {
    /// 0 when the slot is free.
    start: AtomicUsize,
    end: AtomicUsize,
    file: AtomicI32,
    /// One bit per lost unit; owned by the [`Guard`].
    lost: AtomicPtr<AtomicU64>,
    /// Everything from this offset on is lost; `usize::MAX` if nothing is.
    cut: AtomicUsize,
    faults: AtomicU64,
}

/// Guards a mapping until it is dropped.
#[derive(Debug)]
pub(super) struct Guard {
    slot: usize,
    lost: Box<[AtomicU64]>,
}

impl Guard {
    /// Guards `start..start + length`, a mapping of this file. `None` when too many mappings
    /// are guarded, or when the handler can't be installed.
    pub fn new(start: usize, length: usize, file: &impl AsRawFd) -> Option<Guard> {
        static INSTALLED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        INSTALL.call_once(|| INSTALLED.store(install(), Ordering::Release));
        if !INSTALLED.load(Ordering::Acquire) {
            return None;
        }
        let words = length.div_ceil(UNIT).div_ceil(64);
        let lost: Box<[AtomicU64]> = (0..words).map(|_| AtomicU64::new(0)).collect();
        let free = |slot: &Slot| {
            let taken = slot
                .start
                .compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed);
            taken.is_ok()
        };
        let slot = SLOT.iter().position(free)?;
        let guard = Guard { slot, lost };
        // The mapping is not read before this function returns.
        let own = guard.slot()?;
        own.cut.store(usize::MAX, Ordering::Relaxed);
        own.faults.store(0, Ordering::Relaxed);
        own.file.store(file.as_raw_fd(), Ordering::Relaxed);
        own.lost
            .store(guard.lost.as_ptr().cast_mut(), Ordering::Relaxed);
        own.end.store(start + length, Ordering::Release);
        Some(guard)
    }

    fn slot(&self) -> Option<&'static Slot> {
        SLOT.get(self.slot)
    }

    /// Number of pages of this mapping that could not be read.
    pub fn faults(&self) -> u64 {
        self.slot()
            .map_or(0, |slot| slot.faults.load(Ordering::Acquire))
    }

    /// True when any of these bytes were lost and replaced by zeros.
    pub fn is_lost(&self, offset: usize, length: usize) -> bool {
        let Some(slot) = self.slot().filter(|_| self.faults() > 0) else {
            return false;
        };
        let end = offset.saturating_add(length);
        let bit = |unit: usize| {
            let word = self.lost.get(unit / 64);
            word.is_some_and(|w| w.load(Ordering::Acquire) >> (unit % 64) & 1 == 1)
        };
        end > slot.cut.load(Ordering::Acquire) || (offset / UNIT..end.div_ceil(UNIT)).any(bit)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(slot) = self.slot() {
            slot.end.store(0, Ordering::Release);
            slot.lost.store(ptr::null_mut(), Ordering::Release);
            slot.start.store(0, Ordering::Release);
        }
    }
}

impl Slot {
    const fn new() -> Slot {
        Slot {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            file: AtomicI32::new(-1),
            lost: AtomicPtr::new(ptr::null_mut()),
            cut: AtomicUsize::new(usize::MAX),
            faults: AtomicU64::new(0),
        }
    }

    fn holds(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::Acquire);
        start != 0 && address >= start && address < self.end.load(Ordering::Acquire)
    }

    /// Makes an unreadable page readable. Runs in the signal handler. `page` is the size of a
    /// host page in bytes.
    fn patch(&self, address: usize, page: usize) -> bool {
        let start = self.start.load(Ordering::Acquire);
        let end = self.end.load(Ordering::Acquire);
        let at = address & !(page - 1);
        // Everything after the end of the file is replaced in one step. Page by page, each page
        // would need a mapping, and a process may have only 65,530.
        let cut = length(self.file.load(Ordering::Relaxed)).filter(|n| at - start >= *n);
        if let Some(length) = cut {
            self.cut.fetch_min(length, Ordering::AcqRel);
            return zeros(start + length.next_multiple_of(page), end);
        }
        self.mark(at - start, at - start + page);
        if zeros(at, (at + page).min(end)) {
            return true;
        }
        // No further mapping is available: give up the whole file, which needs no new one.
        self.cut.store(0, Ordering::Release);
        zeros(start, end)
    }

    /// Records that these bytes are lost.
    fn mark(&self, from: usize, to: usize) {
        let lost = self.lost.load(Ordering::Acquire);
        let units =
            (self.end.load(Ordering::Acquire) - self.start.load(Ordering::Acquire)).div_ceil(UNIT);
        for unit in from / UNIT..to.div_ceil(UNIT).min(units) {
            if !lost.is_null() {
                // SAFETY: `lost` has a bit for every unit of the mapping, and lives as long as
                // the guard, which outlives every read of the mapping.
                let word = unsafe { &*lost.add(unit / 64) };
                word.fetch_or(1 << (unit % 64), Ordering::AcqRel);
            }
        }
    }
}

/// Size of a page of this machine in bytes. Safe in a signal handler.
fn page_size() -> usize {
    // SAFETY: sysconf takes and returns numbers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page).unwrap_or(UNIT).max(UNIT)
}

/// The current length of an open file. Safe in a signal handler.
fn length(file: RawFd) -> Option<usize> {
    // SAFETY: a zeroed `stat` is valid. fstat only writes to it, and returns an error for an
    // invalid descriptor.
    let about = unsafe {
        let mut about: libc::stat = std::mem::zeroed();
        (libc::fstat(file, &mut about) == 0).then_some(about)
    };
    usize::try_from(about?.st_size).ok()
}

/// The pages are never written, so no swap is reserved. FreeBSD has no such flag and needs
/// none.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
const NO_RESERVE: libc::c_int = libc::MAP_NORESERVE;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
const NO_RESERVE: libc::c_int = 0;

/// Maps zero pages over a stretch of a mapping.
fn zeros(start: usize, end: usize) -> bool {
    // SAFETY: MAP_FIXED over pages that lie inside one of our own read-only file
    // mappings; the new pages are read-only too, so slices into them stay valid.
    let mapped = unsafe {
        libc::mmap(
            start as *mut libc::c_void,
            end - start,
            libc::PROT_READ,
            libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANON | NO_RESERVE,
            -1,
            0,
        )
    };
    mapped as usize == start
}

/// Installs the handler; true on success.
fn install() -> bool {
    // SAFETY: `action` is fully initialised (zeroed, then its three fields set) and the
    // handler does only what a signal handler may do: atomics, sysconf, fstat, mmap,
    // sigaction.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_bus_error as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) == 0
    }
}

extern "C" fn on_bus_error(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler.
    let address = unsafe { (*info).si_addr() } as usize;
    // The handler's calls may fail; the interrupted code must see its own errno.
    let error = errno::get();
    if let Some(slot) = SLOT.iter().find(|slot| slot.holds(address))
        && slot.patch(address, page_size())
    {
        slot.faults.fetch_add(1, Ordering::AcqRel);
        errno::set(error);
        return;
    }
    // SAFETY: not our mapping. Restore the default action; the faulting instruction runs again
    // and triggers it. sigaction is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

/// The thread's errno, which a handler must preserve.
mod errno {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    use libc::__errno_location as location;
    #[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
    use libc::__error as location;

    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd"
    ))]
    pub fn get() -> i32 {
        // SAFETY: the address of this thread's errno is always valid.
        unsafe { *location() }
    }

    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd"
    ))]
    pub fn set(value: i32) {
        // SAFETY: as above.
        unsafe { *location() = value }
    }

    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd"
    )))]
    pub fn get() -> i32 {
        0
    }

    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd"
    )))]
    pub fn set(_: i32) {}
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A guarded mapping of a file of this many bytes, all 0xAA.
    fn guarded(length: usize) -> (std::fs::File, memmap2::Mmap, Guard) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![0xAA; length]).unwrap();
        // SAFETY: no other process has the file.
        let map = unsafe { memmap2::Mmap::map(&file).unwrap() };
        let guard = Guard::new(map.as_ptr() as usize, map.len(), &file).unwrap();
        (file, map, guard)
    }

    /// The first byte of each 4 KB unit.
    fn first_bytes(map: &memmap2::Mmap) -> Vec<u8> {
        map.iter().step_by(UNIT).copied().collect()
    }

    #[test]
    fn a_failure_loses_exactly_one_host_page() {
        for page in [0x1000, 0x4000, 0x10000] {
            let (_file, map, guard) = guarded(0x40000 - 0x800);
            // A page of this machine may be larger than a unit; count from the start of the
            // mapping.
            let base = map.as_ptr() as usize;
            let at = (base + 0x20000).next_multiple_of(page) - base;
            assert!(guard.slot().unwrap().patch(base + at + page / 2, page));
            guard.slot().unwrap().faults.fetch_add(1, Ordering::AcqRel);
            for (unit, byte) in first_bytes(&map).into_iter().enumerate() {
                let gone = (at..at + page).contains(&(unit * UNIT));
                assert_eq!(byte, if gone { 0 } else { 0xAA }, "{page:x} {unit}");
                assert_eq!(guard.is_lost(unit * UNIT, UNIT), gone, "{page:x} {unit}");
            }
        }
    }

    #[test]
    fn truncation_loses_all_later_pages_in_one_step() {
        for page in [0x1000, 0x4000, 0x10000] {
            let (file, map, guard) = guarded(0x40000);
            file.set_len(0x12345).unwrap();
            let base = map.as_ptr() as usize;
            assert!(guard.slot().unwrap().patch(base + 0x30000, page));
            guard.slot().unwrap().faults.fetch_add(1, Ordering::AcqRel);
            assert_eq!(map[0x12344], 0xAA);
            assert!(map[0x20000..].iter().all(|byte| *byte == 0));
            assert!(!guard.is_lost(0x12000, 0x345));
            assert!(guard.is_lost(0x12000, 0x346) && guard.is_lost(0x3F000, 1));
        }
    }
}
