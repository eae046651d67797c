//! Compressed pages: decompressed once, when they are first read.
//!
//! A page is known by its slot, its number in the order of the container. What was
//! decompressed stays where it is while the dump is open, so that a page is as good as
//! one of the mapping. It lies in memory up to a limit, behind that in a temporary file.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use memmap2::{Mmap, MmapMut};

use crate::addr::{PAGE_SIZE, Pfn};

use super::PageBytes;
use super::mapping::Positioned;

/// What a container of compressed pages knows. `file` is the whole file.
pub(super) trait Unpack: fmt::Debug + Send + Sync {
    /// One more than the highest frame that may be stored.
    fn frames(&self) -> u64;
    /// Slots in all.
    fn slots(&self) -> u64;
    /// Pages that the container names: no more than slots.
    fn promised(&self) -> u64;
    /// Pages whose bytes are inside the file.
    fn stored(&self, file: &[u8]) -> u64;
    /// The slot of a frame; `None` when it is left out.
    fn slot(&self, pfn: Pfn) -> Option<u64>;
    /// Where in the file the bytes of a slot begin.
    fn place(&self, file: &[u8], slot: u64) -> Option<u64>;
    /// The page itself, where the file has it as it is: its offset.
    fn plain(&self, file: &[u8], slot: u64) -> Option<u64>;
    /// Decompresses the page of a slot, and those that come with it, which are handed to
    /// `put`. `false` when the data is damaged.
    fn unpack(&self, file: &[u8], slot: u64, put: &mut dyn FnMut(u64, &PageBytes)) -> bool;
}

static ZEROS: PageBytes = [0; PAGE_SIZE as usize];
/// Stands for a page whose data is damaged.
static DAMAGED: PageBytes = [0; PAGE_SIZE as usize];

/// Slots that share a lock.
const GROUP: u64 = 256;

/// Slots of one lock. Pointers lead into the store, or to one of the two pages above.
struct Group {
    lock: Mutex<()>,
    pages: [AtomicPtr<PageBytes>; GROUP as usize],
}

impl Group {
    fn new() -> Box<Group> {
        Box::new(Group {
            lock: Mutex::new(()),
            pages: [const { AtomicPtr::new(std::ptr::null_mut()) }; GROUP as usize],
        })
    }

    fn page(&self, slot: u64) -> Option<&AtomicPtr<PageBytes>> {
        self.pages.get((slot % GROUP) as usize)
    }
}

/// Compressed pages of a container.
pub struct Packed {
    source: Box<dyn Unpack>,
    groups: Vec<OnceLock<Box<Group>>>,
    store: Mutex<Store>,
    /// Bytes that may lie in memory.
    limit: AtomicU64,
    damaged: AtomicU64,
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({:?})", self.source)
    }
}

/// A page that was asked for.
pub(super) enum Unpacked<'a> {
    /// Its offset in the file, which has it as it is.
    Plain(u64),
    /// Its bytes.
    Bytes(&'a PageBytes),
    /// Its data can't be decompressed.
    Damaged,
    /// The container leaves it out.
    Absent,
}

impl Packed {
    pub(super) fn new(source: Box<dyn Unpack>) -> Packed {
        let groups = source.slots().div_ceil(GROUP);
        Packed {
            groups: (0..groups).map(|_| OnceLock::new()).collect(),
            store: Mutex::new(Store::default()),
            limit: AtomicU64::new(u64::MAX),
            damaged: AtomicU64::new(0),
            source,
        }
    }

    /// Says how many bytes of pages may lie in memory.
    pub(super) fn limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn frames(&self) -> u64 {
        self.source.frames()
    }

    pub(super) fn promised(&self) -> u64 {
        self.source.promised()
    }

    pub(super) fn stored(&self, file: &[u8]) -> u64 {
        self.source.stored(file)
    }

    pub(super) fn place(&self, file: &[u8], pfn: Pfn) -> Option<u64> {
        self.source.place(file, self.source.slot(pfn)?)
    }

    /// Pages whose data could not be decompressed so far.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// A page, decompressed now if it was not before. `faults` counts what the file
    /// failed to deliver: what was made of such bytes is not kept.
    pub(super) fn page(&self, file: &[u8], pfn: Pfn, faults: &dyn Fn() -> u64) -> Unpacked<'_> {
        let Some(slot) = self.source.slot(pfn) else {
            return Unpacked::Absent;
        };
        if let Some(offset) = self.source.plain(file, slot) {
            return Unpacked::Plain(offset);
        }
        if self.source.place(file, slot).is_none() {
            return Unpacked::Absent;
        }
        let Some(group) = self.groups.get((slot / GROUP) as usize) else {
            return Unpacked::Absent;
        };
        let group = group.get_or_init(Group::new);
        let Some(page) = group.page(slot) else {
            return Unpacked::Absent;
        };
        if let Some(bytes) = known(page) {
            return bytes;
        }
        let guard = group.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = known(page) {
            return bytes;
        }
        let before = faults();
        let mut made: Vec<(u64, Box<PageBytes>)> = Vec::new();
        let sound = self.source.unpack(file, slot, &mut |slot, bytes| {
            made.push((slot, Box::new(*bytes)));
        });
        if !sound || faults() != before {
            self.damaged.fetch_add(1, Ordering::Relaxed);
            page.store((&raw const DAMAGED).cast_mut(), Ordering::Release);
            return Unpacked::Damaged;
        }
        for (other, bytes) in &made {
            // Slots of other groups have other locks: those come when they are asked for.
            if other / GROUP == slot / GROUP
                && let Some(page) = group.page(*other)
                && page.load(Ordering::Acquire).is_null()
            {
                page.store(self.keep(bytes), Ordering::Release);
            }
        }
        drop(guard);
        known(page).unwrap_or(Unpacked::Damaged)
    }

    /// Puts a page where it stays. Null when there is no room any more.
    fn keep(&self, bytes: &PageBytes) -> *mut PageBytes {
        if *bytes == ZEROS {
            return (&raw const ZEROS).cast_mut();
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        match store.put(bytes, limit) {
            Ok(at) => at,
            // Neither memory nor disk has room: the page can't be shown.
            Err(_) => (&raw const DAMAGED).cast_mut(),
        }
    }
}

fn known<'a>(page: &AtomicPtr<PageBytes>) -> Option<Unpacked<'a>> {
    let at = page.load(Ordering::Acquire).cast_const();
    if at.is_null() {
        return None;
    }
    if std::ptr::eq(at, &raw const DAMAGED) {
        return Some(Unpacked::Damaged);
    }
    // SAFETY: the pointer leads to a static page or into the store, whose blocks are
    // neither moved nor freed nor written to again while the `Packed` lives, and the
    // caller's `'a` is that of a borrow of the `Packed`. The store happened before this
    // load.
    Some(Unpacked::Bytes(unsafe { &*at }))
}

/// Bytes of one block of the store.
const BLOCK: usize = 16 << 20;

/// Where decompressed pages lie: blocks in memory, then blocks of a temporary file.
#[derive(Default)]
struct Store {
    memory: Vec<MmapMut>,
    spilled: Vec<Mmap>,
    file: Option<(Positioned, File)>,
    /// Bytes used of the last block.
    used: usize,
}

impl Store {
    fn put(&mut self, bytes: &PageBytes, limit: u64) -> io::Result<*mut PageBytes> {
        let in_memory = self.memory.len() as u64 * BLOCK as u64;
        let starts = self.spilled.is_empty() && (self.memory.is_empty() || self.used == BLOCK);
        if self.spilled.is_empty() && (!starts || in_memory + BLOCK as u64 <= limit.max(1)) {
            if starts {
                self.memory.push(MmapMut::map_anon(BLOCK)?);
                self.used = 0;
            }
            let at = self.used;
            let block = self.memory.last_mut();
            let place = block.and_then(|block| block.get_mut(at..at + bytes.len()));
            let place = place.ok_or_else(|| io::Error::other("no block"))?;
            place.copy_from_slice(bytes);
            self.used += bytes.len();
            return Ok(place.as_mut_ptr().cast());
        }
        self.spill(bytes)
    }

    /// Written by calls, not through the mapping: a full disk is then an error and no
    /// signal.
    fn spill(&mut self, bytes: &PageBytes) -> io::Result<*mut PageBytes> {
        if self.file.is_none() {
            let file = tempfile::tempfile()?;
            self.file = Some((Positioned::new(file.try_clone()?), file));
            self.used = BLOCK;
        }
        let Some((positioned, file)) = &self.file else {
            return Err(io::Error::other("no temporary file"));
        };
        let blocks = self.spilled.len();
        if self.used == BLOCK {
            let start = blocks as u64 * BLOCK as u64;
            file.set_len(start + BLOCK as u64)?;
            // SAFETY: the file has no name, so that nobody else writes to it or cuts it.
            let block = unsafe {
                memmap2::MmapOptions::new()
                    .offset(start)
                    .len(BLOCK)
                    .map(file)?
            };
            self.spilled.push(block);
            self.used = 0;
        }
        let start = (self.spilled.len() as u64).saturating_sub(1) * BLOCK as u64;
        positioned.write_all_at(bytes, start + self.used as u64)?;
        let block = self
            .spilled
            .last()
            .ok_or_else(|| io::Error::other("no block"))?;
        let place = block.get(self.used..self.used + bytes.len());
        let place = place.ok_or_else(|| io::Error::other("no block"))?;
        self.used += bytes.len();
        Ok(place.as_ptr().cast_mut().cast())
    }
}
