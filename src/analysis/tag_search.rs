//! Finds every tag in every image, in one pass.
//!
//! A window of four bytes moves over the images byte by byte. A bitmap of 2^20 bits excludes
//! nearly all windows; the others are looked up. This costs one shift, one multiplication and one
//! test per byte, independent of the number of tags. Runs of zeros are skipped, because four zeros
//! are not a tag.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::kernel::Kernel;
use crate::kernel::modules::Module;
use crate::kernel::sessions::Sessions;
use crate::memory::{AddressSpace, PAGE_SIZE, Va};
use crate::pool::Tag;
use crate::pool::tag::PROTECTED;

/// Maximum number of hits to store per tag and module; further hits are only counted.
pub const MAX_PER_MODULE: usize = 1024;
/// Maximum number of hits to store.
const MAX_HITS: u64 = 1 << 23;
/// Maximum number of pages to search: 4 GB, four times what any machine loads.
pub const MAX_PAGES: u64 = 1 << 20;
/// Number of pages per work item.
const CHUNK_PAGES: u64 = 64;
/// Number of bits of the bitmap's index.
const FILTER_BITS: u32 = 20;
const FILTER_WORDS: usize = 1 << (FILTER_BITS - 6);
const PAGE: usize = PAGE_SIZE as usize;
/// Number of bytes that a window extends beyond its first byte.
const OVERLAP: usize = 3;
/// Number of windows to test for zeros at once.
const ZEROS: usize = 64;
/// Number of windows to search before the next test for zeros.
const BLOCK: usize = 256;
/// Length in bytes of an instruction that adds a constant, without its prefix.
const SUM: usize = 6;

/// A set of tags to search for.
#[derive(Clone, Debug)]
pub struct Needles {
    filter: Box<[u64; FILTER_WORDS]>,
    /// Each tag's value without the protected bit, and its index in `tags`.
    forms: FxHashMap<u32, u32>,
    /// The tags that start with three given characters; code may add the last character.
    stems: FxHashMap<u32, Vec<u32>>,
    tags: Vec<Tag>,
}

/// The first three bytes of a tag.
const STEM: u32 = 0x00ff_ffff;
/// Maximum number of tags with the same first three characters.
const MAX_OF_STEM: usize = 64;

fn slot(window: u32) -> usize {
    (window.wrapping_mul(0x9e37_79b1) >> (32 - FILTER_BITS)) as usize
}

impl Needles {
    /// Prepares the search for these tags; four zeros are not a tag. A tag padded with blanks and
    /// one padded with zeros are different tags.
    pub fn new(tags: impl IntoIterator<Item = Tag>) -> Needles {
        let mut tags: Vec<Tag> = tags.into_iter().filter(|t| t.value() != 0).collect();
        tags.sort_unstable();
        tags.dedup();
        let mut out = Needles {
            filter: Box::new([0; FILTER_WORDS]),
            forms: FxHashMap::default(),
            stems: FxHashMap::default(),
            tags,
        };
        for (i, tag) in out.tags.iter().enumerate() {
            out.forms.insert(tag.value(), i as u32);
            let bit = slot(tag.value());
            out.filter[bit / 64] |= 1 << (bit % 64);
            if tag.is_printable() {
                let stem = out.stems.entry(tag.value() & STEM).or_default();
                if stem.len() < MAX_OF_STEM {
                    stem.push(i as u32);
                }
            }
        }
        out
    }

    /// Calls `hit` with the offset of each constant that an instruction adds to a value, and that
    /// becomes a tag if the value is its last character: `lea r8d, [rax+30306847h]` for `Gh0n`.
    /// [`Needles::find`] finds the complete tags.
    pub fn find_sums(&self, bytes: &[u8], mut hit: impl FnMut(usize, u32)) {
        for opcode in memchr::memchr3_iter(0x8d, 0x81, 0x05, bytes) {
            // lea r32, [reg+disp32]; add or or reg, imm32; add eax, imm32.
            let at = match (bytes.get(opcode), bytes.get(opcode + 1)) {
                (Some(0x8d), Some(form)) if form & 0xc0 == 0x80 && form & 7 != 4 => opcode + 2,
                (Some(0x81), Some(0xc0..=0xcf)) => opcode + 2,
                (Some(0x05), _) => opcode + 1,
                _ => continue,
            };
            let window = bytes.get(at..at + 4).and_then(|w| w.try_into().ok());
            let Some(window) = window.map(u32::from_le_bytes) else {
                continue;
            };
            for &tag in self.stems.get(&(window & STEM)).into_iter().flatten() {
                let whole = self.tags.get(tag as usize).map(|tag| tag.value());
                if whole != Some(window & !PROTECTED) {
                    hit(at, tag);
                }
            }
        }
    }

    /// Calls `hit` with the offset of each occurrence and the index of its tag.
    pub fn find(&self, bytes: &[u8], mut hit: impl FnMut(usize, u32)) {
        let mut start = 0;
        while let Some(rest) = bytes.get(start..).filter(|rest| rest.len() > OVERLAP) {
            if let Some(zeros) = rest.first_chunk::<{ ZEROS + OVERLAP }>()
                && zeros.iter().fold(0, |all, byte| all | byte) == 0
            {
                start += ZEROS;
                continue;
            }
            let block = rest.get(..BLOCK + OVERLAP).unwrap_or(rest);
            self.find_in_block(block, |at, tag| hit(start + at, tag));
            start += BLOCK;
        }
    }

    /// [`Needles::find`] without the search for zeros. Inlined into that loop, it takes a fifth
    /// longer.
    #[inline(never)]
    fn find_in_block(&self, bytes: &[u8], mut hit: impl FnMut(usize, u32)) {
        for (at, window) in bytes.windows(4).enumerate() {
            let Ok(window) = window.try_into() else {
                continue;
            };
            let window = u32::from_le_bytes(window) & !PROTECTED;
            let bit = slot(window);
            if self.filter[bit / 64] >> (bit % 64) & 1 != 0
                && let Some(&tag) = self.forms.get(&window)
            {
                hit(at, tag);
            }
        }
    }
}

/// An occurrence of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// Index in the kernel's module list.
    pub module: u32,
    /// Offset in bytes from the module's base.
    pub rva: u32,
}

/// The coverage of the search of a module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Searched {
    /// Number of pages that were searched.
    pub pages: u64,
    /// Number of unreadable pages.
    pub missing: u64,
}

/// The occurrences of all tags.
#[derive(Clone, Debug, Default)]
pub struct TagSearch {
    tags: Vec<Tag>,
    /// Sorted by tag, module and RVA.
    hits: Vec<(u32, Hit)>,
    /// Constants that become a tag when a value is added; sorted in the same way.
    sums: Vec<(u32, Hit)>,
    /// Number of occurrences by tag and module, if not all are stored.
    more: FxHashMap<(u32, u32), u64>,
    /// The coverage by module index.
    pub searched: FxHashMap<u32, Searched>,
    /// Omissions, as sentences.
    pub notes: Vec<String>,
}

/// A part of a module: the work item of a worker.
struct Chunk<'a> {
    space: &'a AddressSpace,
    module: u32,
    base: Va,
    first: u64,
    pages: u64,
    all: u64,
}

#[derive(Default)]
struct Found {
    hits: Vec<(u32, Hit)>,
    sums: Vec<(u32, Hit)>,
    counts: FxHashMap<u32, u64>,
    module: u32,
    searched: Searched,
}

impl TagSearch {
    /// Searches all loaded modules with the calling thread's worker pool, until `wanted` cancels
    /// it.
    pub fn run(
        kernel: &Kernel,
        sessions: &Sessions,
        tags: impl IntoIterator<Item = Tag>,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Option<TagSearch> {
        let needles = Needles::new(tags);
        let mut out = TagSearch::default();
        let chunks = chunks(kernel, sessions, &mut out.notes);
        let kept = AtomicU64::new(0);
        let found: Option<Vec<Found>> = chunks
            .par_iter()
            .map(|chunk| wanted().then(|| chunk.search(&needles, &kept)))
            .collect();
        out.tags = needles.tags;
        out.gather(found?);
        if kept.into_inner() > MAX_HITS {
            out.notes.push(format!(
                "tag bytes occur in more than {MAX_HITS} places: the rest are not listed"
            ));
        }
        Some(out)
    }

    fn gather(&mut self, found: Vec<Found>) {
        let mut counts: FxHashMap<(u32, u32), u64> = FxHashMap::default();
        for chunk in found {
            let searched = self.searched.entry(chunk.module).or_default();
            searched.pages += chunk.searched.pages;
            searched.missing += chunk.searched.missing;
            for (tag, count) in chunk.counts {
                *counts.entry((tag, chunk.module)).or_default() += count;
            }
            self.hits.extend(chunk.hits);
            self.sums.extend(chunk.sums);
        }
        self.sums.sort_unstable();
        self.sums.dedup();
        self.hits.sort_unstable();
        let (mut last, mut run) = (None, 0);
        self.hits.retain(|(tag, hit)| {
            let group = Some((*tag, hit.module));
            run = if group == last { run + 1 } else { 1 };
            last = group;
            run <= MAX_PER_MODULE
        });
        let mut kept: FxHashMap<(u32, u32), u64> = FxHashMap::default();
        for (tag, hit) in &self.hits {
            *kept.entry((*tag, hit.module)).or_default() += 1;
        }
        counts.retain(|group, count| kept.get(group).copied().unwrap_or(0) < *count);
        self.more = counts;
        self.hits.shrink_to_fit();
    }

    fn index(&self, tag: Tag) -> Option<u32> {
        self.tags.binary_search(&tag).ok().map(|i| i as u32)
    }

    /// True if this tag was searched for.
    pub fn covers(&self, tag: Tag) -> bool {
        self.index(tag).is_some()
    }

    /// The occurrences of a tag, sorted by module and address.
    pub fn hits(&self, tag: Tag) -> impl Iterator<Item = Hit> + '_ {
        let range = self.index(tag).map_or(0..0, |tag| {
            let first = self.hits.partition_point(|h| h.0 < tag);
            first..self.hits.partition_point(|h| h.0 <= tag)
        });
        self.hits.get(range).unwrap_or_default().iter().map(|h| h.1)
    }

    /// The constants that become this tag when an unknown last character is added, sorted by
    /// module and address.
    pub fn sums(&self, tag: Tag) -> impl Iterator<Item = Hit> + '_ {
        let range = self.index(tag).map_or(0..0, |tag| {
            let first = self.sums.partition_point(|h| h.0 < tag);
            first..self.sums.partition_point(|h| h.0 <= tag)
        });
        self.sums.get(range).unwrap_or_default().iter().map(|h| h.1)
    }

    /// The modules that contain a tag's bytes, and the number of occurrences.
    pub fn modules(&self, tag: Tag) -> Vec<(usize, u64)> {
        let mut out: Vec<(usize, u64)> = Vec::new();
        for hit in self.hits(tag) {
            match out.last_mut().filter(|m| m.0 == hit.module as usize) {
                Some(module) => module.1 += 1,
                None => out.push((hit.module as usize, 1)),
            }
        }
        for (module, count) in &mut out {
            *count = self.total(tag, *module).unwrap_or(*count);
        }
        out
    }

    /// The number of occurrences of a tag in a module, if not all are stored.
    pub fn total(&self, tag: Tag, module: usize) -> Option<u64> {
        self.more.get(&(self.index(tag)?, module as u32)).copied()
    }
}

/// The note for modules whose total size is implausible.
pub fn too_large(first_left_out: &Module) -> String {
    format!(
        "the modules claim more than {MAX_PAGES} pages: {} and the modules after it were not \
            searched",
        first_left_out.name()
    )
}

fn chunks<'a>(
    kernel: &'a Kernel,
    sessions: &'a Sessions,
    notes: &mut Vec<String>,
) -> Vec<Chunk<'a>> {
    let mut out = Vec::new();
    let mut left = MAX_PAGES;
    for (i, module) in kernel.modules.iter().enumerate() {
        if module.unloaded {
            continue;
        }
        let all = u64::from(module.size).div_ceil(PAGE_SIZE);
        if all > left {
            notes.push(too_large(module));
            break;
        }
        left -= all;
        let space = sessions.space_of(kernel, module);
        for first in (0..all).step_by(CHUNK_PAGES as usize) {
            out.push(Chunk {
                space,
                module: i as u32,
                base: module.base,
                first,
                pages: CHUNK_PAGES.min(all - first),
                all,
            });
        }
    }
    out
}

impl Chunk<'_> {
    fn search(&self, needles: &Needles, kept: &AtomicU64) -> Found {
        let mut out = Found {
            module: self.module,
            ..Found::default()
        };
        let page = |n: u64| self.space.page(self.base.add(n * PAGE_SIZE)).ok();
        let mut next = page(self.first);
        for n in self.first..self.first + self.pages {
            let this = next.take();
            if n + 1 < self.all {
                next = page(n + 1);
            }
            let Some(this) = this else {
                out.searched.missing += 1;
                continue;
            };
            out.searched.pages += 1;
            let start = n * PAGE_SIZE;
            needles.find(this, |at, tag| out.add(tag, start + at as u64, kept));
            needles.find_sums(this, |at, tag| out.add_sum(tag, start + at as u64, kept));
            if let (Some(next), Some(tail)) = (next, this.get(PAGE - SUM..)) {
                let mut seam = [0; SUM * 2];
                let (left, right) = seam.split_at_mut(SUM);
                left.copy_from_slice(tail);
                right.copy_from_slice(next.get(..SUM).unwrap_or(&[0; SUM]));
                let start = start + (PAGE - SUM) as u64;
                needles.find_sums(&seam, |at, tag| out.add_sum(tag, start + at as u64, kept));
            }
            if let (Some(next), Some(tail)) = (next, this.get(PAGE - OVERLAP..)) {
                let mut seam = [0; OVERLAP * 2];
                let (left, right) = seam.split_at_mut(OVERLAP);
                left.copy_from_slice(tail);
                right.copy_from_slice(next.get(..OVERLAP).unwrap_or(&[0; OVERLAP]));
                let start = start + (PAGE - OVERLAP) as u64;
                needles.find(&seam, |at, tag| out.add(tag, start + at as u64, kept));
            }
        }
        out
    }
}

impl Found {
    fn add(&mut self, tag: u32, rva: u64, kept: &AtomicU64) {
        let count = self.counts.entry(tag).or_default();
        *count += 1;
        let room = *count <= MAX_PER_MODULE as u64;
        if room && kept.fetch_add(1, Ordering::Relaxed) < MAX_HITS {
            let hit = Hit {
                module: self.module,
                rva: rva as u32,
            };
            self.hits.push((tag, hit));
        }
    }
}

impl Found {
    fn add_sum(&mut self, tag: u32, rva: u64, kept: &AtomicU64) {
        if kept.fetch_add(1, Ordering::Relaxed) < MAX_HITS {
            let hit = Hit {
                module: self.module,
                rva: rva as u32,
            };
            self.sums.push((tag, hit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(tags: &[Tag], bytes: &[u8]) -> Vec<(usize, Tag)> {
        let needles = Needles::new(tags.iter().copied());
        let mut out = Vec::new();
        needles.find(bytes, |at, tag| out.push((at, needles.tags[tag as usize])));
        out
    }

    #[test]
    fn padding_is_part_of_a_tag_and_the_protected_bit_is_not() {
        let tag = |t| Tag::of(t).unwrap();
        let (irp, thre) = (tag("Irp"), tag("Thre"));
        assert_eq!(
            found(&[irp, thre], b"xIrp\0Irp Thr\xe5"),
            [(5, irp), (9, thre)]
        );
        assert!(found(&[Tag::new(0)], &[0; 16]).is_empty());
    }

    proptest! {
        #[test]
        fn the_search_finds_exactly_the_occurrences(
            tags in proptest::collection::vec(1u32..0x8000_0000, 1..40),
            // Runs of zeros occur in images; the search skips them.
            filler in proptest::collection::vec(prop_oneof![99 => Just(0), 1 => any::<u8>()], 0..1000),
            places in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..10),
        ) {
            let mut bytes = filler;
            for (tag, at) in places {
                let tag = tag.get(&tags).to_le_bytes();
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, tag);
            }
            let tags: Vec<Tag> = tags.into_iter().map(Tag::new).collect();
            let got: Vec<usize> = found(&tags, &bytes).iter().map(|f| f.0).collect();
            let all: Vec<u32> = tags.iter().map(|t| t.value()).collect();
            let is_tag = |w: &[u8]| all.contains(&(u32::from_le_bytes(w.try_into().unwrap()) & !PROTECTED));
            let want: Vec<usize> = bytes.windows(4).enumerate().filter(|(_, w)| is_tag(w)).map(|(at, _)| at).collect();
            prop_assert_eq!(got, want);
        }
    }
}
