//! Compressed pages: each is decompressed once, at its first use.
//!
//! A page is identified by its slot, its number in container order. Decompressed pages have a
//! fixed address while the dump is open, like pages of a mapping. They are in memory up to a
//! limit, and after that in a temporary file.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use memmap2::{Mmap, MmapMut, MmapRaw};

use crate::addr::{PAGE_SIZE, Pfn};

use super::PageBytes;
use super::mapping::Positioned;

/// A container of compressed pages. `file` is the whole file.
pub(super) trait Unpack: fmt::Debug + Send + Sync {
    /// One more than the highest frame that may be stored.
    fn frames(&self) -> u64;
    /// Ranges of frames that may be stored, in ascending order.
    fn ranges(&self) -> Vec<std::ops::Range<u64>> {
        std::iter::once(0..self.frames()).collect()
    }
    /// Number of slots.
    fn slots(&self) -> u64;
    /// Number of pages that the container lists: at most the number of slots.
    fn promised(&self) -> u64;
    /// Number of pages whose bytes are inside the file.
    fn stored(&self, file: &[u8]) -> u64;
    /// The slot of a frame; `None` if the container leaves it out.
    fn slot(&self, file: &[u8], pfn: Pfn) -> Option<u64>;
    /// The file offset of a slot's data.
    fn place(&self, file: &[u8], slot: u64) -> Option<u64>;
    /// The file offset of the page, if it is stored uncompressed.
    fn plain(&self, file: &[u8], slot: u64) -> Option<u64>;
    /// Decompresses the page of a slot, and all pages that share its data, into the space that
    /// `pages` has for them. `false` if the data is damaged; the spaces then have any content.
    fn unpack(&self, file: &[u8], slot: u64, pages: &mut dyn Pages) -> bool;
    /// Discards cached data from bytes near a slot, because the file failed to deliver them.
    fn forget(&self, _slot: u64) {}
}

/// The destination of decompressed pages.
pub(super) trait Pages {
    /// Space for the whole page of a slot, with any content; `None` if it is not wanted.
    fn space(&mut self, slot: u64) -> Option<&mut PageBytes>;
}

static ZEROS: PageBytes = [0; PAGE_SIZE as usize];
/// Marks a page with damaged data.
static DAMAGED: PageBytes = [0; PAGE_SIZE as usize];

/// Number of slots that share a lock.
const GROUP: u64 = 256;

/// Slots of one lock. Pointers lead into the store, or to one of the two static pages above.
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
    /// Limit for bytes in memory.
    limit: AtomicU64,
    damaged: AtomicU64,
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({:?})", self.source)
    }
}

/// The result of a request for a page.
pub(super) enum Unpacked<'a> {
    /// Stored uncompressed, at this file offset.
    Plain(u64),
    /// The decompressed bytes.
    Bytes(&'a PageBytes),
    /// The data can't be decompressed.
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

    /// Sets the limit for bytes of pages in memory.
    pub(super) fn limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn frames(&self) -> u64 {
        self.source.frames()
    }

    pub(super) fn ranges(&self) -> Vec<std::ops::Range<u64>> {
        self.source.ranges()
    }

    pub(super) fn promised(&self) -> u64 {
        self.source.promised()
    }

    pub(super) fn stored(&self, file: &[u8]) -> u64 {
        self.source.stored(file)
    }

    pub(super) fn place(&self, file: &[u8], pfn: Pfn) -> Option<u64> {
        self.source.place(file, self.source.slot(file, pfn)?)
    }

    /// Number of pages so far with data that could not be decompressed.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// A page, decompressed now if it was not before. `faults` counts read failures of the
    /// file: pages made from such bytes are not stored.
    pub(super) fn page(&self, file: &[u8], pfn: Pfn, faults: &dyn Fn() -> u64) -> Unpacked<'_> {
        let Some(slot) = self.source.slot(file, pfn) else {
            return Unpacked::Absent;
        };
        let Some(lazy) = self.groups.get((slot / GROUP) as usize) else {
            return Unpacked::Absent;
        };
        if let Some(bytes) = lazy.get().and_then(|g| g.page(slot)).and_then(known) {
            return bytes;
        }
        if let Some(offset) = self.source.plain(file, slot) {
            return Unpacked::Plain(offset);
        }
        if self.source.place(file, slot).is_none() {
            return Unpacked::Absent;
        }
        let group = lazy.get_or_init(Group::new);
        let Some(page) = group.page(slot) else {
            return Unpacked::Absent;
        };
        let guard = group.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = known(page) {
            return bytes;
        }
        let before = faults();
        let mut made = Unpacking {
            packed: self,
            group,
            nth: slot / GROUP,
            pages: Vec::new(),
        };
        let sound = self.source.unpack(file, slot, &mut made);
        let failed = faults() != before;
        if failed {
            self.source.forget(slot);
        }
        let pages = made.pages;
        if !sound || failed {
            pages.into_iter().for_each(|(_, space)| self.discard(space));
            self.damaged.fetch_add(1, Ordering::Relaxed);
            page.store((&raw const DAMAGED).cast_mut(), Ordering::Release);
            return Unpacked::Damaged;
        }
        for (other, space) in pages {
            if let Some(page) = group.page(other) {
                page.store(self.keep(space), Ordering::Release);
            }
        }
        drop(guard);
        known(page).unwrap_or(Unpacked::Damaged)
    }

    /// Passes a page to `f` without storing it, for searches of all memory, which would
    /// otherwise need as much space as the machine's memory. `None` if there is no such page.
    pub(super) fn peek<R>(
        &self,
        file: &[u8],
        pfn: Pfn,
        f: impl FnOnce(&PageBytes) -> R,
    ) -> Option<R> {
        let slot = self.source.slot(file, pfn)?;
        let group = self.groups.get((slot / GROUP) as usize)?.get();
        if let Some(found) = group.and_then(|g| g.page(slot)).and_then(known) {
            return match found {
                Unpacked::Bytes(page) => Some(f(page)),
                _ => None,
            };
        }
        if let Some(offset) = self.source.plain(file, slot) {
            let at = usize::try_from(offset).ok()?;
            let page = file.get(at..at.checked_add(PAGE_SIZE as usize)?)?;
            return page.try_into().ok().map(f);
        }
        self.source.place(file, slot)?;
        let mut single = Single {
            slot,
            page: [0; PAGE_SIZE as usize],
            found: false,
        };
        let sound = self.source.unpack(file, slot, &mut single);
        (sound && single.found).then(|| f(&single.page))
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Space for a page: in memory up to the limit, otherwise a buffer for the file.
    fn space(&self) -> Space<'_> {
        match self.store().space(self.limit.load(Ordering::Relaxed)) {
            // SAFETY: the store returns each place to one caller, inside a block that it
            // neither moves nor frees while the `Packed` lives. No other code has the address
            // until the page is stored or discarded, so workers can write in parallel.
            Some(at) => Space::Block(unsafe { &mut *at }),
            None => Space::Buffer(Box::new([0; PAGE_SIZE as usize])),
        }
    }

    fn discard(&self, space: Space<'_>) {
        if let Space::Block(page) = space {
            self.store().unused.push(AtomicPtr::new(page));
        }
    }

    /// Stores a page. If there is no space, returns the marker of a damaged page.
    fn keep(&self, space: Space<'_>) -> *mut PageBytes {
        let page = match &space {
            Space::Block(page) => &**page,
            Space::Buffer(page) => &**page,
        };
        if *page == ZEROS {
            self.discard(space);
            return (&raw const ZEROS).cast_mut();
        }
        match space {
            Space::Block(page) => page,
            // If neither memory nor disk has space, the page can't be shown.
            Space::Buffer(page) => {
                let spilled = self.store().spill(&page);
                spilled.unwrap_or((&raw const DAMAGED).cast_mut())
            }
        }
    }
}

/// Space for a page while it is decompressed.
enum Space<'a> {
    /// In a block of the store.
    Block(&'a mut PageBytes),
    /// Goes to the temporary file afterwards.
    Buffer(Box<PageBytes>),
}

/// The pages of one group that are being decompressed.
struct Unpacking<'a> {
    packed: &'a Packed,
    group: &'a Group,
    /// Number of the group.
    nth: u64,
    pages: Vec<(u64, Space<'a>)>,
}

impl Pages for Unpacking<'_> {
    fn space(&mut self, slot: u64) -> Option<&mut PageBytes> {
        // Slots of other groups have other locks and are stored when they are requested.
        let wanted =
            slot / GROUP == self.nth && self.group.page(slot).is_some_and(|p| known(p).is_none());
        if !wanted {
            return None;
        }
        self.pages.push((slot, self.packed.space()));
        match &mut self.pages.last_mut()?.1 {
            Space::Block(page) => Some(page),
            Space::Buffer(page) => Some(page),
        }
    }
}

/// One page that is not stored.
struct Single {
    slot: u64,
    page: PageBytes,
    found: bool,
}

impl Pages for Single {
    fn space(&mut self, slot: u64) -> Option<&mut PageBytes> {
        self.found |= slot == self.slot;
        (slot == self.slot).then_some(&mut self.page)
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
    // SAFETY: the pointer leads to a static page or into the store. Blocks of the store are not
    // moved, freed or written to again while the `Packed` lives, and the caller's `'a` is that
    // of a borrow of the `Packed`. The store happened before this load.
    Some(Unpacked::Bytes(unsafe { &*at }))
}

/// Bytes that stay free on the disk of temporary files.
const SPARE: u64 = 1 << 30;
/// Bytes of one block of the store.
const BLOCK: usize = 16 << 20;

/// Storage of decompressed pages: blocks in memory, then blocks of a temporary file.
#[derive(Default)]
struct Store {
    memory: Vec<MmapRaw>,
    spilled: Vec<Mmap>,
    file: Option<(Positioned, File)>,
    /// Bytes in use in the last block.
    used: usize,
    /// Places in blocks that were returned.
    unused: Vec<AtomicPtr<PageBytes>>,
}

impl Store {
    /// A place in memory; `None` if the limit is reached or the system has no memory.
    fn space(&mut self, limit: u64) -> Option<*mut PageBytes> {
        if let Some(at) = self.unused.pop() {
            return Some(at.into_inner());
        }
        if !self.spilled.is_empty() {
            return None;
        }
        if self.memory.is_empty() || self.used == BLOCK {
            let in_memory = self.memory.len() as u64 * BLOCK as u64;
            if in_memory + BLOCK as u64 > limit.max(1) {
                return None;
            }
            let block = MmapMut::map_anon(BLOCK).ok()?;
            // Every page of a block is written: large pages save most of the page faults.
            // A kernel that has none refuses, which changes nothing.
            #[cfg(target_os = "linux")]
            let _ = block.advise(memmap2::Advice::HugePage);
            self.memory.push(block.into());
            self.used = 0;
        }
        let at = self.used;
        let block = self.memory.last()?;
        self.used += PAGE_SIZE as usize;
        // Only the address: a slice of the block would alias the pages that other workers
        // write.
        Some(block.as_mut_ptr().wrapping_add(at).cast())
    }

    /// Writes by calls, not through the mapping, so that a full disk is an error and not a
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
            // Other programs need the disk too, and decompressed data is limited only by the
            // machine's memory.
            if fs4::available_space(std::env::temp_dir())? < SPARE {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            file.set_len(start + BLOCK as u64)?;
            // SAFETY: the file has no name, so no other process writes to it or truncates it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// A container whose pages contain their number; every seventh is damaged.
    #[derive(Debug)]
    struct Numbers {
        count: u64,
        made: &'static AtomicUsize,
    }

    impl Unpack for Numbers {
        fn frames(&self) -> u64 {
            self.count
        }
        fn slots(&self) -> u64 {
            self.count
        }
        fn promised(&self) -> u64 {
            self.count
        }
        fn stored(&self, _: &[u8]) -> u64 {
            self.count
        }
        fn slot(&self, _: &[u8], pfn: Pfn) -> Option<u64> {
            (pfn.0 < self.count).then_some(pfn.0)
        }
        fn place(&self, _: &[u8], slot: u64) -> Option<u64> {
            Some(slot)
        }
        fn plain(&self, _: &[u8], _: u64) -> Option<u64> {
            None
        }
        fn unpack(&self, _: &[u8], slot: u64, pages: &mut dyn Pages) -> bool {
            self.made.fetch_add(1, Ordering::Relaxed);
            let page = pages.space(slot).unwrap();
            for word in page.chunks_exact_mut(8) {
                word.copy_from_slice(&slot.to_le_bytes());
            }
            // Damage that shows only at the end leaves a page's space with content.
            slot % 777 != 7
        }
    }

    #[test]
    fn each_page_is_decompressed_once_and_stored_in_memory_or_a_file() {
        // Two and a half blocks of the store; none, one, or all of them in memory.
        const COUNT: u64 = 10_000;
        for limit in [0, BLOCK as u64, u64::MAX] {
            let made: &'static AtomicUsize = Box::leak(Box::default());
            let packed = Packed::new(Box::new(Numbers { count: COUNT, made }));
            packed.limit(limit);
            let check = |pfn: u64| match packed.page(&[], Pfn(pfn), &|| 0) {
                Unpacked::Bytes(page) => {
                    assert_eq!(page[4088..], pfn.to_le_bytes());
                    assert_ne!(pfn % 777, 7);
                }
                Unpacked::Damaged => assert_eq!(pfn % 777, 7),
                _ => panic!("page {pfn}"),
            };
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| (0..COUNT).for_each(check));
                }
            });
            (0..COUNT).rev().for_each(check);
            assert_eq!(made.load(Ordering::Relaxed) as u64, COUNT);
            assert_eq!(
                packed.damaged(),
                (0..COUNT).filter(|n| n % 777 == 7).count() as u64
            );
        }
    }
}
