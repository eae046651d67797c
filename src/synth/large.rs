//! Dumps of any size, full of small blocks, for measuring read speed.

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

/// Number of different tags in a dump.
const TAGS: usize = 200;

/// Writes a kernel bitmap dump with `pool_bytes` of pool, three quarters of it nonpaged. All
/// pages are written to disk. The blocks are counted in [`Truth::tags`] but not listed in
/// [`Truth::blocks`].
///
/// # Errors
/// The error of the file system.
pub fn large(path: &Path, pool_bytes: u64) -> io::Result<Truth> {
    let machine = large_machine(pool_bytes)?;
    machine.write(path, Container::BitmapKernel)?;
    Ok(machine.truth)
}

/// As [`large`], with a single tag in nonpaged pool, as in a leak.
///
/// # Errors
/// The error of the file system.
pub fn large_leak(path: &Path, pool_bytes: u64) -> io::Result<Truth> {
    let machine = machine_of(pool_bytes, &[*b"Leak"])?;
    machine.write(path, Container::BitmapKernel)?;
    Ok(machine.truth)
}

/// The machine of [`large`]. Its pool is generated when a dump is written.
///
/// # Errors
/// Does not depend on the environment.
pub fn large_machine(pool_bytes: u64) -> io::Result<Machine> {
    machine_of(pool_bytes, &tags())
}

/// A machine with these tags in nonpaged pool.
fn machine_of(pool_bytes: u64, nonpaged_tags: &[Tag]) -> io::Result<Machine> {
    let pages = pool_bytes / PAGE_SIZE;
    let nonpaged = pages - pages / 4;
    let mut spec = small::spec();
    let tags = tags();
    spec.bulk = vec![
        Bulk::new(Pool::NonPaged, nonpaged, nonpaged_tags, 11),
        Bulk::new(Pool::Paged, pages - nonpaged, &tags, 12),
    ];
    // Tables need a page per 2 MB; the PFN database needs 48 bytes per frame.
    let memory = (pages + pages / 64 + 0x1000).next_multiple_of(512);
    spec.runs = vec![(1, 0x9e), (0x100, memory - 0x100)];
    spec.vm.physical_memory = 0x9e + memory - 0x100;
    spec.vm.nonpaged_max = nonpaged + 0x2000;
    spec.options.tracker_entries = 1025;
    spec.options.gigabyte_page = false;
    // Another table size changes the required blocks.
    spec.allocations = small::allocations(&spec);
    Machine::build(&spec)
}

/// Writes a bitmap kernel dump of an era with segment heaps, with about `pool_bytes` of small
/// blocks in them, three quarters nonpaged. `shuffled` writes the pages in random order, as on
/// a machine that has run for a while. Needs as much memory as the pool, because nothing in a
/// heap repeats.
///
/// # Errors
/// The error of the file system; also if the era has no segment heaps.
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
    // Subsegments are not completely full, and decommitted pages need no memory.
    let memory = (pages * 2 + 0x8000).next_multiple_of(512);
    spec.runs = vec![(1, 0x9e), (0x100, memory)];
    spec.vm.physical_memory = 0x9e + memory;
    spec.options.shuffle = shuffled;
    // Readers that search for the kernel need all of its pages, and no extra bits in the
    // page-table root.
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
