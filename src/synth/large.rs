//! Dumps as large as one wants, full of small blocks: for measuring how fast they are read.

use std::io;
use std::path::Path;

use crate::memory::addr::PAGE_SIZE;

use super::container::Container;
use super::legacy::Bulk;
use super::machine::Machine;
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
    let pages = pool_bytes / PAGE_SIZE;
    let nonpaged = pages - pages / 4;
    let mut spec = small::spec();
    let tags = tags();
    spec.bulk = vec![
        Bulk::new(Pool::NonPaged, nonpaged, &tags, 11),
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
    spec.demands = small::demands(&spec);
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
