//! Dumps as large as one wants, full of small blocks: for measuring how fast they are read.

use std::io;
use std::path::Path;

use crate::addr::PAGE_SIZE;

use super::container::Container;
use super::era::Era;
use super::heap::UNIT;
use super::legacy::{Allocation, Bulk};
use super::machine::Machine;
use super::rng::Rng;
use super::small;
use super::truth::{Pool, Tag, Truth};

/// Tags of the blocks, of which a dump has this many.
const TAGS: usize = 200;

/// Writes a kernel bitmap dump with `pool_bytes` of pool, three quarters of it nonpaged.
/// Every page is really written. The blocks are counted in [`Truth::tags`] but not
/// listed in [`Truth::blocks`].
///
/// # Errors
/// What the file system says.
pub fn large(path: &Path, pool_bytes: u64) -> io::Result<Truth> {
    let machine = large_machine(pool_bytes)?;
    machine.write(path, Container::BitmapKernel)?;
    Ok(machine.truth)
}

/// The same with one tag in all of nonpaged pool, as a leak has it.
///
/// # Errors
/// What the file system says.
pub fn large_leak(path: &Path, pool_bytes: u64) -> io::Result<Truth> {
    let machine = machine_of(pool_bytes, &[*b"Leak"])?;
    machine.write(path, Container::BitmapKernel)?;
    Ok(machine.truth)
}

/// The machine of [`large`]. Its pool is made when it is written.
///
/// # Errors
/// None that depend on anything outside of it.
pub fn large_machine(pool_bytes: u64) -> io::Result<Machine> {
    machine_of(pool_bytes, &tags())
}

/// With these tags in nonpaged pool.
fn machine_of(pool_bytes: u64, nonpaged_tags: &[Tag]) -> io::Result<Machine> {
    let pages = pool_bytes / PAGE_SIZE;
    let nonpaged = pages - pages / 4;
    let mut spec = small::spec();
    let tags = tags();
    spec.bulk = vec![
        Bulk::new(Pool::NonPaged, nonpaged, nonpaged_tags, 11),
        Bulk::new(Pool::Paged, pages - nonpaged, &tags, 12),
    ];
    // Tables take a page per 2 MB; the frame database 48 bytes per frame.
    let memory = (pages + pages / 64 + 0x1000).next_multiple_of(512);
    spec.runs = vec![(1, 0x9e), (0x100, memory - 0x100)];
    spec.vm.physical_memory = 0x9e + memory - 0x100;
    spec.vm.nonpaged_max = nonpaged + 0x2000;
    spec.options.tracker_entries = 1025;
    spec.options.gigabyte_page = false;
    // Tables of another size take other blocks.
    spec.allocations = small::allocations(&spec);
    Machine::build(&spec)
}

/// Writes a bitmap kernel dump of an era with segment heaps, with about `pool_bytes` of
/// small blocks in them, three quarters nonpaged. `shuffled` puts the pages into the file
/// in no order, as on a machine that has run for a while. Takes as much memory to make as the
/// pool is large: nothing in a heap repeats.
///
/// # Errors
/// What the file system says; an era without segment heaps.
pub fn large_heaps(
    path: &Path,
    era: &'static Era,
    pool_bytes: u64,
    shuffled: bool,
) -> io::Result<Truth> {
    if era.heap.is_none() {
        return Err(io::Error::other("this Windows has no segment heaps"));
    }
    let mut spec = small::of_era(era);
    if let Some(heaps) = &mut spec.heaps {
        heaps.units = 254;
    }
    let tags = tags();
    let mut rng = Rng::new(13);
    let mut left = pool_bytes;
    while left > 0 {
        let tag = tags.get(rng.below(tags.len() as u64) as usize);
        let tag = tag.copied().unwrap_or(*b"Bulk");
        let largest = if rng.one_in(4) { 0x800 } else { 0x120 };
        let bytes = (0x20 + rng.below(largest)) & !(UNIT - 1);
        let pool = match rng.below(4) {
            0 => Pool::Paged,
            _ => Pool::NonPaged,
        };
        spec.allocations
            .push(Allocation::new(tag, pool, bytes).nx(true));
        left = left.saturating_sub(bytes);
    }
    let pages = pool_bytes / PAGE_SIZE;
    // Subsegments are not filled to the last byte, and decommitted pages take none.
    let memory = (pages * 2 + 0x8000).next_multiple_of(512);
    spec.runs = vec![(1, 0x9e), (0x100, memory)];
    spec.vm.physical_memory = 0x9e + memory;
    spec.options.shuffle = shuffled;
    // Readers that look for the kernel want all of its pages, and no bits beside the
    // address of the page tables.
    spec.options.whole_images = true;
    spec.options.root_low_bits = 0;
    spec.vm.committed = memory;
    spec.vm.commit_limit = memory * 2;
    spec.options.tracker_entries = 1025;
    let machine = Machine::build(&spec)?;
    machine.write(path, Container::BitmapKernel)?;
    Ok(machine.truth)
}

fn tags() -> Vec<Tag> {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrst";
    let letter = |i: usize| LETTERS.get(i % LETTERS.len()).copied().unwrap_or(b'x');
    (0..TAGS)
        .map(|i| [b'B', letter(i), letter(i / LETTERS.len()), b'k'])
        .collect()
}
