//! A mapped file on Windows, and the handling of parts that can't be read any more.
//!
//! Windows prevents truncation of a mapped file. But if the disk or share fails, the system
//! raises an exception (`EXCEPTION_IN_PAGE_ERROR`) at the reading instruction, which ends the
//! process. This handler splits the view: it replaces the failed stretch by zeros and records
//! it as lost, maps the rest again at the same addresses, and lets the instruction run again.
//! The addresses are free for a moment, so views are placed where the system does not allocate
//! on its own. After many failures, the whole file is given up. See "Vectored Exception
//! Handling", `MapViewOfFileEx` and `VirtualAlloc` in the Windows API documentation.

use std::fs::File;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use windows_sys::Win32::Foundation::{
    CloseHandle, EXCEPTION_ACCESS_VIOLATION, EXCEPTION_IN_PAGE_ERROR, HANDLE,
};
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, EXCEPTION_CONTINUE_EXECUTION, EXCEPTION_CONTINUE_SEARCH,
    EXCEPTION_POINTERS,
};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, MEM_COMMIT, MEM_RELEASE, MEM_RESERVE,
    MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFileEx, PAGE_NOACCESS, PAGE_READONLY, UnmapViewOfFile,
    VirtualAlloc, VirtualFree,
};

/// Alignment of views: the allocation granularity of every Windows version.
const GRANULE: usize = 0x10000;
/// After this many failures, the whole file is given up: each waits for a time-out of the
/// share.
const MOST_FAILURES: u64 = 64;

/// Start and size in bytes of the address ranges for views: far from both ends of the address
/// space, where the system allocates on its own. The second range is for systems before Windows
/// 8.1, whose processes have 8 TB.
const PLACES: [(u64, u64); 2] = [(64 << 40, 16 << 40), (4 << 40, 2 << 40)];

/// The views of this process; the handler needs them.
static VIEWS: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());

/// A whole file, mapped read-only.
#[derive(Debug)]
pub(super) struct View(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The first address and the length; both are constant while the view lives.
    start: usize,
    length: usize,
    /// The section handle, stored as an integer because process handles are not bound to a
    /// thread.
    section: usize,
    /// The contents of each stretch of addresses, in order and without gaps.
    pieces: Mutex<Vec<Piece>>,
    /// One bit for every [`GRANULE`] that was lost.
    lost: Box<[AtomicU64]>,
    faults: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    start: usize,
    end: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The file's bytes.
    File,
    /// Zeros.
    Zeros,
    /// Reserved: zeros are committed at the first access, so memory is used only there.
    Reserved,
}

impl View {
    /// Maps a file of more than zero bytes.
    ///
    /// # Errors
    /// The error of the system.
    pub fn new(file: &File) -> io::Result<View> {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            // SAFETY: the handler lives as long as the process. If it can't be installed, a
            // failure ends the process, as it would without it.
            unsafe { AddVectoredExceptionHandler(1, Some(on_exception)) };
        });
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // SAFETY: the handle is that of an open file; the new handle is checked.
        let section: HANDLE = unsafe {
            let file = file.as_raw_handle().cast();
            CreateFileMappingW(file, ptr::null(), PAGE_READONLY, 0, 0, ptr::null())
        };
        if section.is_null() {
            return Err(io::Error::last_os_error());
        }
        let Some(start) = map_apart(section as usize, length) else {
            let why = io::Error::last_os_error();
            // SAFETY: the section is ours, and nothing is mapped from it.
            unsafe { CloseHandle(section) };
            return Err(why);
        };
        let words = length.div_ceil(GRANULE).div_ceil(64);
        let shared = Arc::new(Shared {
            start,
            length,
            section: section as usize,
            pieces: Mutex::new(vec![Piece {
                start,
                end: start + length,
                kind: Kind::File,
            }]),
            lost: (0..words).map(|_| AtomicU64::new(0)).collect(),
            faults: AtomicU64::new(0),
        });
        locked(&VIEWS).push(Arc::clone(&shared));
        Ok(View(shared))
    }

    /// The bytes of the file; lost bytes are zeros.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: these addresses are mapped or reserved while the view lives, and the handler
        // makes unreadable parts readable. They are never written.
        unsafe { std::slice::from_raw_parts(self.0.start as *const u8, self.0.length) }
    }

    /// Number of stretches that could not be read.
    pub fn faults(&self) -> u64 {
        self.0.faults.load(Ordering::Acquire)
    }

    /// True when any of these bytes were lost and replaced by zeros.
    pub fn is_lost(&self, offset: usize, length: usize) -> bool {
        let end = offset.saturating_add(length).min(self.0.length);
        let bit = |granule: usize| {
            let word = self.0.lost.get(granule / 64);
            word.is_some_and(|w| w.load(Ordering::Acquire) >> (granule % 64) & 1 == 1)
        };
        self.faults() > 0 && (offset / GRANULE..end.div_ceil(GRANULE)).any(bit)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        locked(&VIEWS).retain(|view| !Arc::ptr_eq(view, &self.0));
        for piece in locked(&self.0.pieces).drain(..) {
            piece.release();
        }
        // SAFETY: the section is ours, and nothing is mapped from it any more.
        unsafe { CloseHandle(self.0.section as HANDLE) };
    }
}

impl Piece {
    /// Unmaps or frees this piece of the address space.
    fn release(self) -> bool {
        // SAFETY: each piece was created at this start by one call of the matching kind.
        unsafe {
            match self.kind {
                Kind::File => UnmapViewOfFile(address(self.start)) != 0,
                Kind::Zeros | Kind::Reserved => {
                    VirtualFree(self.start as *mut _, 0, MEM_RELEASE) != 0
                }
            }
        }
    }
}

impl Shared {
    /// Makes an address readable after an exception. False when that is not possible.
    fn repair(&self, at: usize, failed: bool) -> bool {
        let mut pieces = locked(&self.pieces);
        let Some(index) = pieces.iter().position(|p| (p.start..p.end).contains(&at)) else {
            return false;
        };
        let Some(&piece) = pieces.get(index) else {
            return false;
        };
        let granule = piece.start + (at - piece.start) / GRANULE * GRANULE;
        let granule_end = (granule + GRANULE).min(piece.end);
        match piece.kind {
            Kind::Reserved => {
                self.count(granule, granule_end);
                zeros(granule, granule_end - granule, MEM_COMMIT)
            }
            // Another thread has already repaired it.
            Kind::Zeros => true,
            Kind::File if !failed => self.faults.load(Ordering::Acquire) > 0,
            Kind::File => {
                self.count(granule, granule_end);
                if self.faults.load(Ordering::Acquire) >= MOST_FAILURES {
                    let files = pieces.iter_mut().filter(|p| p.kind == Kind::File);
                    return files.fold(true, |done, piece| self.give_up(piece) && done);
                }
                if !piece.release() {
                    return false;
                }
                let parts = [
                    (piece.start, granule, Kind::File),
                    (granule, granule_end, Kind::Zeros),
                    (granule_end, piece.end, Kind::File),
                ];
                let parts = parts.into_iter().filter(|(start, end, _)| start < end);
                let made: Option<Vec<Piece>> = parts
                    .map(|(start, end, kind)| self.place(start, end, kind))
                    .collect();
                let Some(made) = made else { return false };
                pieces.splice(index..=index, made);
                true
            }
        }
    }

    fn give_up(&self, piece: &mut Piece) -> bool {
        let released = piece.release();
        match self.place(piece.start, piece.end, Kind::Reserved) {
            Some(reserved) => *piece = reserved,
            None => return false,
        }
        released
    }

    /// Maps a piece at a stretch of free addresses. A file that can't be mapped again is given
    /// up.
    fn place(&self, start: usize, end: usize, kind: Kind) -> Option<Piece> {
        let length = end - start;
        let piece = |kind| Piece { start, end, kind };
        let done = match kind {
            Kind::File => map(self.section, start - self.start, length, start).is_some(),
            Kind::Zeros => zeros(start, length, MEM_RESERVE | MEM_COMMIT),
            Kind::Reserved => false,
        };
        if done {
            return Some(piece(kind));
        }
        self.mark(start, end);
        // SAFETY: nothing is at these addresses; the result is checked.
        let at = unsafe { VirtualAlloc(start as *const _, length, MEM_RESERVE, PAGE_NOACCESS) };
        (at as usize == start).then(|| piece(Kind::Reserved))
    }

    fn count(&self, start: usize, end: usize) {
        self.mark(start, end);
        self.faults.fetch_add(1, Ordering::AcqRel);
    }

    /// Records that these bytes are lost.
    fn mark(&self, start: usize, end: usize) {
        let granules = (start - self.start) / GRANULE..(end - self.start).div_ceil(GRANULE);
        for granule in granules {
            if let Some(word) = self.lost.get(granule / 64) {
                word.fetch_or(1 << (granule % 64), Ordering::AcqRel);
            }
        }
    }
}

/// Maps a whole section in one of the [`PLACES`]; anywhere if they are occupied.
fn map_apart(section: usize, length: usize) -> Option<usize> {
    // Addresses are reused only after all others were used once.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    const TRIES: usize = 8;
    let room = length.checked_add(2 * GRANULE)? / GRANULE * GRANULE;
    for (first, size) in PLACES {
        let (Ok(first), Ok(size)) = (usize::try_from(first), usize::try_from(size)) else {
            continue;
        };
        for _ in 0..TRIES {
            let at = NEXT.fetch_add(room, Ordering::Relaxed) % size;
            let is_inside = at.checked_add(room).is_some_and(|end| end <= size);
            let start = is_inside.then(|| map(section, 0, length, first + at));
            if let Some(start) = start.flatten() {
                return Some(start);
            }
        }
    }
    map(section, 0, length, 0)
}

/// Maps a stretch of a section, at the given address unless it is 0.
fn map(section: usize, offset: usize, length: usize, at: usize) -> Option<usize> {
    let offset = offset as u64;
    // SAFETY: the section is open; the system checks the stretch and the address.
    let view = unsafe {
        let (high, low) = ((offset >> 32) as u32, offset as u32);
        MapViewOfFileEx(
            section as HANDLE,
            FILE_MAP_READ,
            high,
            low,
            length,
            at as *const _,
        )
    };
    (!view.Value.is_null()).then_some(view.Value as usize)
}

/// Maps read-only zeros at an address.
fn zeros(at: usize, length: usize, how: u32) -> bool {
    // SAFETY: the stretch is free, or reserved by this view; the result is checked.
    let got = unsafe { VirtualAlloc(at as *const _, length, how, PAGE_READONLY) };
    got as usize == at
}

fn address(at: usize) -> MEMORY_MAPPED_VIEW_ADDRESS {
    MEMORY_MAPPED_VIEW_ADDRESS {
        Value: at as *mut _,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

extern "system" fn on_exception(info: *mut EXCEPTION_POINTERS) -> i32 {
    // SAFETY: the system passes a valid record. Both exceptions have at least two parameters:
    // the kind of access, and the address.
    let (code, tried, at) = unsafe {
        let record = &*(*info).ExceptionRecord;
        let [tried, at, ..] = record.ExceptionInformation;
        (record.ExceptionCode, tried, at)
    };
    let failed = code == EXCEPTION_IN_PAGE_ERROR;
    const READ: usize = 0;
    // Other threads may read the view while it is being split; they raise an access violation.
    if !failed && (code != EXCEPTION_ACCESS_VIOLATION || tried != READ) {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    // The lock is never held during a read of a view.
    let views = locked(&VIEWS);
    let view = views
        .iter()
        .find(|view| (view.start..view.start + view.length).contains(&at));
    match view.is_some_and(|view| view.repair(at, failed)) {
        true => EXCEPTION_CONTINUE_EXECUTION,
        false => EXCEPTION_CONTINUE_SEARCH,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use windows_sys::Win32::System::Diagnostics::Debug::RaiseException;

    use super::*;

    fn view(length: usize) -> (tempfile::NamedTempFile, View) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![0xAA; length]).unwrap();
        let view = View::new(file.as_file()).unwrap();
        (file, view)
    }

    /// Raises the exception of a failed read at this offset.
    fn fail_at(view: &View, offset: usize) {
        let parameters = [0, view.0.start + offset, 0];
        // SAFETY: the handler handles this exception; the parameters live through the call.
        unsafe { RaiseException(EXCEPTION_IN_PAGE_ERROR as u32, 0, 3, parameters.as_ptr()) };
    }

    #[test]
    fn failed_parts_read_as_zeros_and_the_rest_stays() {
        let (_file, view) = view(5 * GRANULE + 100);
        assert!(!view.is_lost(0, usize::MAX));
        for (offset, granule) in [(2 * GRANULE + 7, 2), (5 * GRANULE + 50, 5)] {
            fail_at(&view, offset);
            assert!(view.is_lost(granule * GRANULE, 1));
        }
        assert_eq!(view.faults(), 2);
        for (at, byte) in view.bytes().iter().enumerate().step_by(50) {
            let gone = matches!(at / GRANULE, 2 | 5);
            assert_eq!(*byte, if gone { 0 } else { 0xAA }, "{at:x}");
            assert_eq!(view.is_lost(at, 1), gone, "{at:x}");
        }
    }

    /// Allocates and frees as the heaps of other threads do.
    #[test]
    fn no_other_allocation_takes_the_addresses_of_a_split_view() {
        const FAILURES: usize = 40;
        let (_file, view) = view(2 * FAILURES * GRANULE);
        let is_done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_done.load(Ordering::Relaxed) {
                        // SAFETY: the stretch is new, and no other code has it.
                        unsafe {
                            let how = MEM_RESERVE | MEM_COMMIT;
                            let at = VirtualAlloc(ptr::null(), GRANULE, how, PAGE_READONLY);
                            VirtualFree(at, 0, MEM_RELEASE);
                        }
                    }
                });
            }
            for granule in 0..FAILURES {
                fail_at(&view, 2 * granule * GRANULE);
            }
            is_done.store(true, Ordering::Relaxed);
        });
        assert_eq!(view.faults(), FAILURES as u64);
        for (at, byte) in view.bytes().iter().enumerate().step_by(0x1000) {
            let gone = at / GRANULE % 2 == 0;
            assert_eq!(*byte, if gone { 0 } else { 0xAA }, "{at:x}");
        }
    }

    #[test]
    fn a_repeatedly_failing_file_is_given_up_while_other_threads_read() {
        let (_file, view) = view(200 * GRANULE);
        let read = || {
            view.bytes()
                .iter()
                .step_by(0x1000)
                .filter(|b| **b == 0)
                .count()
        };
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| (0..20).map(|_| read()).max()))
                .collect();
            for granule in 0..MOST_FAILURES as usize {
                fail_at(&view, granule * 2 * GRANULE);
            }
            for reader in readers {
                reader.join().unwrap();
            }
        });
        assert_eq!(read(), 200 * GRANULE / 0x1000);
        assert!(view.is_lost(199 * GRANULE, 1));
    }
}
