//! Finds the kernel's image: downwards from the handler of an interrupt, or in the memory where
//! Windows loads it.

use rayon::prelude::*;
use rustc_hash::FxHashSet;

use crate::bytes::{u16_at, u32_at};
use crate::dump::{Cpu, Dump, PageBytes};
use crate::memory::{
    AddressSpace, CHUNK_SIZE, Chunk, ChunkMapping, MappedPage, PAGE_SIZE, Pfn, Va,
};

use super::super::image::Image;

/// Size limit in bytes; nt's images have grown to 18 MB.
const MOST: u64 = 48 << 20;
/// The address range where Windows loads the kernel.
const RANGE: (Va, Va) = (Va(0xffff_f800_0000_0000), Va(0xffff_f808_0000_0000));
/// The rest of the boot range: a slot of the top page table.
const WIDE: (Va, Va) = (Va(0xffff_f808_0000_0000), Va(0xffff_f880_0000_0000));
/// Known names of the kernel's PDB.
const PDBS: [&str; 4] = [
    "ntkrnlmp.pdb",
    "ntkrnlpa.pdb",
    "ntoskrnl.pdb",
    "ntkrpamp.pdb",
];
const EXPORT_NAME: &str = "ntoskrnl.exe";

/// Finds nt in this address space: base, headers, and the method.
pub(super) fn find(space: &AddressSpace, cpu: Option<&Cpu>) -> Option<(Va, Image, &'static str)> {
    if let Some(handler) = cpu.and_then(|cpu| handler(space, cpu))
        && let Some(image) = below(space, handler)
    {
        return Some((image.base, image, "the interrupt table of a processor"));
    }
    const BY_MAP: &str = "what is mapped where Windows loads its kernel";
    let image = [RANGE, WIDE]
        .into_iter()
        .find_map(|range| mapped(space, range))?;
    Some((image.base, image, BY_MAP))
}

/// The upper half of the address space.
const KERNEL_HALF: (Va, Va) = (Va(0xffff_8000_0000_0000), Va(0xffff_ffff_ffff_f000));
/// The signature of a debug record; the PDB's name follows at offset 24.
const RECORD: &[u8] = b"RSDS";
const RECORD_NAME: usize = 24;
/// Frames that are searched at a time, and the limit for records that are checked. Memory also
/// contains kernel files.
const WINDOW: u64 = 0x1_0000;
const MOST_RECORDS: usize = 256;

/// Finds nt by the debug record of its image, wherever it is mapped. Searches memory for
/// records with the name of a kernel's PDB. The first of these spaces that maps such a record
/// inside an image wins; the result has its index.
pub(super) fn by_record(dump: &Dump, spaces: &[AddressSpace]) -> Option<(usize, Va, Image)> {
    dump.expect_walk();
    let mut records: FxHashSet<*const PageBytes> = FxHashSet::default();
    for frames in dump.written_frames(WINDOW) {
        let found: Vec<Pfn> = frames
            .into_par_iter()
            .map(Pfn)
            .filter(|pfn| dump.peek(*pfn, has_record).unwrap_or(false))
            .collect();
        let pages = found.into_iter().filter_map(|pfn| dump.page(pfn));
        records.extend(pages.map(std::ptr::from_ref));
        if records.len() >= MOST_RECORDS {
            break;
        }
    }
    if records.is_empty() {
        return None;
    }
    spaces.iter().enumerate().find_map(|(nth, space)| {
        let mut places = Vec::new();
        for chunk in space.mapped(KERNEL_HALF.0, KERNEL_HALF.1).chunks {
            space.chunk_pages(chunk, |at, page| {
                if let MappedPage::Bytes(bytes, _) = page
                    && records.contains(&std::ptr::from_ref(bytes))
                    && places.len() < MOST_RECORDS
                {
                    places.push(at);
                }
            });
        }
        let mut found: Vec<Va> = places
            .into_iter()
            .filter_map(|at| Some(below(space, at)?.base))
            .collect();
        found.dedup();
        let image = best(space, &found)?;
        Some((nth, image.base, image))
    })
}

/// True when a kernel's debug record starts in a page.
fn has_record(page: &PageBytes) -> bool {
    memchr::memmem::find_iter(page, RECORD).any(|at| {
        let name = page.get(at + RECORD_NAME..).unwrap_or_default();
        PDBS.iter().any(|pdb| {
            // The rest of a name may be in the next page.
            let n = name.len().min(pdb.len());
            n > 0
                && name
                    .iter()
                    .zip(pdb.bytes())
                    .all(|(a, b)| a.eq_ignore_ascii_case(&b))
        })
    })
}

/// The kernel's image that starts in this page or before it.
fn below(space: &AddressSpace, start: Va) -> Option<Image> {
    let pages = (0..MOST / PAGE_SIZE).map_while(|i| start.page().0.checked_sub(i * PAGE_SIZE));
    pages.filter_map(|at| kernel_at(space, Va(at))).next()
}

/// The handler of interrupt 0, which is in nt with and without KVA shadow.
fn handler(space: &AddressSpace, cpu: &Cpu) -> Option<Va> {
    let gate: [u8; 16] = space.array(Va(cpu.idt?)).ok()?;
    let low = u64::from(u16_at(&gate, 0)?);
    let middle = u64::from(u16_at(&gate, 6)?);
    let high = u64::from(u32_at(&gate, 8)?);
    Some(Va(low | middle << 16 | high << 32)).filter(|va| va.is_kernel() && va.0 > MOST)
}

/// The image at this address, if it is a kernel.
fn kernel_at(space: &AddressSpace, at: Va) -> Option<Image> {
    let page = space.page(at).ok()?;
    if !page.starts_with(b"MZ") {
        return None;
    }
    let image = Image::read(space, at).ok()?;
    let by_pdb = image
        .pdb
        .as_ref()
        .is_some_and(|pdb| PDBS.iter().any(|name| name.eq_ignore_ascii_case(&pdb.name)));
    let by_export = || {
        image
            .export_name(space)
            .is_some_and(|name| name.eq_ignore_ascii_case(EXPORT_NAME))
    };
    (by_pdb || by_export()).then_some(image)
}

/// Searches everything that is mapped: first stretches of large pages, which contain the kernel
/// on all but small machines, then pages with nothing mapped before them, then all pages.
fn mapped(space: &AddressSpace, (start, end): (Va, Va)) -> Option<Image> {
    let chunks = space.mapped(start, end).chunks;
    let mut found = Vec::new();
    for chunk in &chunks {
        if matches!(chunk.mapped, ChunkMapping::Large(_)) {
            candidates(space, *chunk, &mut found, |_| true);
        }
    }
    if let Some(image) = best(space, &found) {
        return Some(image);
    }
    let mut last = Va(0);
    for first_pass in [true, false] {
        found.clear();
        for chunk in &chunks {
            if matches!(chunk.mapped, ChunkMapping::Table(_)) {
                candidates(space, *chunk, &mut found, |at| {
                    let follows = at.0 == last.0 + PAGE_SIZE;
                    last = at;
                    !first_pass || !follows
                });
            }
        }
        if let Some(image) = best(space, &found) {
            return Some(image);
        }
    }
    None
}

/// Pages of a chunk that start like an image.
fn candidates(
    space: &AddressSpace,
    chunk: Chunk,
    out: &mut Vec<Va>,
    mut wanted: impl FnMut(Va) -> bool,
) {
    debug_assert!(chunk.va.0.is_multiple_of(CHUNK_SIZE));
    space.chunk_pages(chunk, |at, page| {
        let wanted = wanted(at);
        if let MappedPage::Bytes(bytes, _) = page
            && wanted
            && bytes.starts_with(b"MZ")
        {
            out.push(at);
        }
    });
}

/// If several kernels are mapped, the one in the module list.
fn best(space: &AddressSpace, found: &[Va]) -> Option<Image> {
    let mut images: Vec<Image> = found
        .iter()
        .filter_map(|at| kernel_at(space, *at))
        .collect();
    let listed = match images.len() {
        0 => return None,
        1 => 0,
        _ => {
            let listed = images
                .iter()
                .position(|i| super::facts::has_modules(space, i));
            listed.unwrap_or(0)
        }
    };
    Some(images.swap_remove(listed))
}
