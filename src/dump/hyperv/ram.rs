//! Guest memory: descriptions of stretches, and blocks of 1 MiB, stored directly or as tokens.

use std::sync::{Arc, Mutex, PoisonError};

use crate::addr::{PAGE_SIZE, Pfn};
use crate::bytes::{u32_at, u64_at};
use crate::dump::error::DumpError;
use crate::dump::packed::{Packed, Pages, Unpack};
use crate::dump::page_map::{FileRun, MAX_FRAMES, PageMap};
use crate::dump::xpress;

use super::storage::Storage;

/// Size of a block in bytes.
const BLOCK: u64 = 1 << 20;
const BLOCK_PAGES: u64 = BLOCK / PAGE_SIZE;
const STRETCH: usize = 0x28;
/// Limit above the needs of any machine.
const MAX_STRETCHES: usize = 4096;

const END: u32 = 0xffff_ffff;
const PATTERN: u32 = 0xffff_fffe;
const PATTERNS: u32 = 0xffff_fffd;
const BYTES: u32 = 0xffff_fffc;

/// A stretch of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    /// First guest frame.
    guest: u64,
    pages: u64,
    /// Its first page in block data.
    data: u64,
}

/// Finds the pages.
///
/// # Errors
/// [`DumpError::Damaged`], and a refusal if there is no memory.
pub(super) fn read(file: &[u8], storage: &Storage) -> Result<PageMap, DumpError> {
    let damaged = |what: String| DumpError::Damaged { what };
    let mut stretches = Vec::new();
    for (number, place) in storage.numbered("savedstate/RamMemoryBlock") {
        let Some(bytes) = place.bytes(file).filter(|bytes| bytes.len() >= STRETCH) else {
            return Err(damaged(format!("RamMemoryBlock{number} of the .vmrs")));
        };
        let q = |at| u64_at(bytes, at).unwrap_or(u64::MAX);
        stretches.push(Stretch {
            pages: q(8),
            data: q(0x10),
            guest: q(0x18),
        });
    }
    let blocks = storage.numbered("savedstate/RamBlock");
    if (stretches.is_empty() || blocks.is_empty()) && storage.cut_off > 0 {
        return Err(damaged(format!(
            "the .vmrs was cut short: {} of its tables do not end inside the file",
            storage.cut_off
        )));
    }
    if stretches.is_empty() || blocks.is_empty() {
        return Err(DumpError::refused(
            "this Hyper-V file holds no guest memory: it is a configuration, or the machine is running",
            "save the machine (Save-VM), or take a standard checkpoint (not a production one), and open the .vmrs of that",
        ));
    }
    if stretches.len() > MAX_STRETCHES {
        return Err(damaged(format!("{} stretches of memory", stretches.len())));
    }
    stretches.sort_unstable_by_key(|s| s.guest);
    let bad = |s: &Stretch| {
        let ends = [s.guest.checked_add(s.pages), s.data.checked_add(s.pages)];
        ends.iter()
            .any(|end| end.is_none_or(|end| end > MAX_FRAMES))
    };
    if let Some(s) = stretches.iter().find(|s| bad(s)) {
        return Err(damaged(format!(
            "{:#x} pages of guest memory at frame {:#x}",
            s.pages, s.guest
        )));
    }
    if stretches
        .windows(2)
        .any(|w| w[0].guest + w[0].pages > w[1].guest)
    {
        return Err(damaged("stretches of guest memory overlap".into()));
    }
    let mut by_data: Vec<(u64, u64)> = stretches.iter().map(|s| (s.data, s.pages)).collect();
    by_data.sort_unstable();
    if by_data.windows(2).any(|w| w[0].0 + w[0].1 > w[1].0) {
        return Err(damaged("stretches of guest memory share their data".into()));
    }
    let ram = Ram {
        stretches,
        tokens: blocks.iter().map(|_| Mutex::new(None)).collect(),
        blocks: blocks
            .into_iter()
            .map(|(number, place)| (number, place.extent()))
            .collect(),
    };
    match ram.runs() {
        Some(runs) => PageMap::of_runs(runs).map_err(damaged),
        None => Ok(PageMap::Packed(Packed::new(Box::new(ram)))),
    }
}

#[derive(Debug)]
struct Ram {
    /// Ordered by guest frame, disjoint.
    stretches: Vec<Stretch>,
    /// Offset and length of the existing blocks, by number.
    blocks: Vec<(u64, (u64, u32))>,
    /// Token offsets of the blocks that have been read.
    tokens: Vec<Mutex<Option<Tokens>>>,
}

/// For each page of a block, the offset of the token that produces it.
type Tokens = Arc<[u32; BLOCK_PAGES as usize]>;

impl Ram {
    /// The index of the block with a data page, and the page's number in the block.
    fn block(&self, data: u64) -> Option<(usize, u64)> {
        let number = data / BLOCK_PAGES;
        let index = self
            .blocks
            .binary_search_by_key(&number, |(n, _)| *n)
            .ok()?;
        Some((index, data % BLOCK_PAGES))
    }

    /// The token offsets of a slot's block, computed once.
    fn tokens(&self, slot: u64, bytes: &[u8]) -> Option<Tokens> {
        let index = usize::try_from(slot / BLOCK_PAGES).ok()?;
        let mut kept = self.tokens.get(index)?.lock();
        let kept = kept.as_mut().ok()?;
        if kept.is_none() {
            **kept = tokens(bytes);
        }
        (**kept).clone()
    }

    fn extent(&self, slot: u64) -> Option<(u64, u32)> {
        let index = usize::try_from(slot / BLOCK_PAGES).ok()?;
        self.blocks.get(index).map(|(_, extent)| *extent)
    }

    /// The pages as runs, if no block is compressed.
    fn runs(&self) -> Option<Vec<FileRun>> {
        if self
            .blocks
            .iter()
            .any(|(_, (_, size))| u64::from(*size) != BLOCK)
        {
            return None;
        }
        let mut out: Vec<FileRun> = Vec::new();
        for s in &self.stretches {
            let first = self
                .blocks
                .partition_point(|(n, _)| *n < s.data / BLOCK_PAGES);
            for (number, (at, _)) in self.blocks.get(first..)? {
                let start = number.checked_mul(BLOCK_PAGES)?;
                if start >= s.data + s.pages {
                    break;
                }
                let from = start.max(s.data);
                let to = start.checked_add(BLOCK_PAGES)?.min(s.data + s.pages);
                if to > from {
                    out.push(FileRun {
                        first: s.guest + (from - s.data),
                        pages: to - from,
                        offset: at.checked_add((from - start) * PAGE_SIZE)?,
                    });
                }
            }
        }
        Some(out)
    }
}

impl Unpack for Ram {
    fn frames(&self) -> u64 {
        self.stretches.last().map_or(0, |s| s.guest + s.pages)
    }

    fn ranges(&self) -> Vec<std::ops::Range<u64>> {
        let mut out: Vec<std::ops::Range<u64>> = Vec::new();
        for s in &self.stretches {
            let end = s.data + s.pages;
            let first = self
                .blocks
                .partition_point(|(n, _)| *n < s.data / BLOCK_PAGES);
            for (number, _) in self.blocks.get(first..).unwrap_or_default() {
                let start = number.saturating_mul(BLOCK_PAGES);
                if start >= end {
                    break;
                }
                let from = s.guest + (start.max(s.data) - s.data);
                let to = s.guest + (start.saturating_add(BLOCK_PAGES).min(end) - s.data);
                match out.last_mut() {
                    Some(last) if last.end == from => last.end = to,
                    _ => out.push(from..to),
                }
            }
        }
        out
    }

    fn slots(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK_PAGES
    }

    fn promised(&self) -> u64 {
        self.stretches.iter().map(|s| s.pages).sum()
    }

    fn stored(&self, file: &[u8]) -> u64 {
        let mut here = 0;
        for s in &self.stretches {
            let first = self
                .blocks
                .partition_point(|(n, _)| *n < s.data / BLOCK_PAGES);
            for (number, (at, size)) in self.blocks.get(first..).unwrap_or_default() {
                let start = number.saturating_mul(BLOCK_PAGES);
                if start >= s.data + s.pages {
                    break;
                }
                let end = at.saturating_add((*size).into());
                if end <= file.len() as u64 {
                    let to = start.saturating_add(BLOCK_PAGES).min(s.data + s.pages);
                    here += to.saturating_sub(start.max(s.data));
                }
            }
        }
        here
    }

    fn slot(&self, _: &[u8], pfn: Pfn) -> Option<u64> {
        let after = self.stretches.partition_point(|s| s.guest <= pfn.0);
        let stretch = self.stretches.get(after.checked_sub(1)?)?;
        let inside = pfn.0 - stretch.guest;
        let data = (inside < stretch.pages).then(|| stretch.data + inside)?;
        let (index, page) = self.block(data)?;
        Some(index as u64 * BLOCK_PAGES + page)
    }

    fn place(&self, file: &[u8], slot: u64) -> Option<u64> {
        let (at, size) = self.extent(slot)?;
        let end = at.checked_add(size.into())?;
        (end <= file.len() as u64).then_some(at)
    }

    fn plain(&self, _: &[u8], slot: u64) -> Option<u64> {
        let (at, size) = self.extent(slot)?;
        (u64::from(size) == BLOCK)
            .then(|| at.checked_add(slot % BLOCK_PAGES * PAGE_SIZE))
            .flatten()
    }

    fn unpack(&self, file: &[u8], slot: u64, pages: &mut dyn Pages) -> bool {
        let bytes = || {
            let (at, size) = self.extent(slot)?;
            let at = usize::try_from(at).ok()?;
            file.get(at..at.checked_add(size as usize)?)
        };
        let first = slot - slot % BLOCK_PAGES;
        let wanted = (slot % BLOCK_PAGES) as usize;
        let found = || {
            let bytes = bytes()?;
            let tokens = self.tokens(slot, bytes)?;
            let at = *tokens.get(wanted)?;
            let start = tokens.iter().position(|token| *token == at)?;
            let (part, _) = part(bytes, at as usize, start as u64)?;
            Some((bytes, part))
        };
        let Some((bytes, part)) = found() else {
            return false;
        };
        part.unpack(bytes, first, pages).is_some()
    }

    fn forget(&self, slot: u64) {
        let kept = usize::try_from(slot / BLOCK_PAGES).ok();
        if let Some(kept) = kept.and_then(|index| self.tokens.get(index)) {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// Pages of a block that come from one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    first: u64,
    pages: u64,
    content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Pattern(u64),
    /// Offset in the block's bytes.
    Raw(usize),
    /// Offset and length.
    Packed(usize, usize),
}

impl Part {
    /// Writes the pages of this part of a block whose first slot is `block`.
    fn unpack(&self, bytes: &[u8], block: u64, to: &mut dyn Pages) -> Option<()> {
        let size = PAGE_SIZE as usize;
        let slots = (self.first..self.first + self.pages).map(|page| block + page);
        let mut put = |slot, content: &[u8]| {
            if let Some(page) = to.space(slot) {
                page.copy_from_slice(content);
            }
        };
        match self.content {
            Content::Pattern(pattern) => {
                let mut page = [0; PAGE_SIZE as usize];
                for word in page.chunks_exact_mut(8) {
                    word.copy_from_slice(&pattern.to_le_bytes());
                }
                slots.for_each(|slot| put(slot, &page));
            }
            Content::Raw(from) => {
                let end = from.checked_add(self.pages as usize * size)?;
                let pages = bytes.get(from..end)?.chunks_exact(size);
                slots.zip(pages).for_each(|(slot, page)| put(slot, page));
            }
            Content::Packed(from, length) => {
                let input = bytes.get(from..from.checked_add(length)?)?;
                let mut out = vec![0; self.pages as usize * size];
                xpress::decompress(input, &mut out)?;
                let pages = out.chunks_exact(size);
                slots.zip(pages).for_each(|(slot, page)| put(slot, page));
            }
        }
        Some(())
    }
}

/// The pages from the token at `at`, starting with `page`, and the offset of the next token.
fn part(bytes: &[u8], at: usize, page: u64) -> Option<(Part, usize)> {
    let token = u32_at(bytes, at)?;
    let at = at + 4;
    let (pages, content, next) = match token {
        END => return None,
        PATTERN => (1, Content::Pattern(u64_at(bytes, at)?), at + 8),
        PATTERNS => {
            let (pattern, pages) = (u64_at(bytes, at)?, u32_at(bytes, at + 8)?);
            (pages.into(), Content::Pattern(pattern), at + 12)
        }
        BYTES => {
            let (to, from) = (u32_at(bytes, at)?, u32_at(bytes, at + 4)?);
            if !u64::from(to).is_multiple_of(PAGE_SIZE) {
                return None;
            }
            let place = at + 8;
            let content = match to == from {
                true => Content::Raw(place),
                false => Content::Packed(place, from as usize),
            };
            let next = place.checked_add(from as usize)?;
            (u64::from(to) / PAGE_SIZE, content, next)
        }
        raw if u64::from(raw) == PAGE_SIZE => (1, Content::Raw(at), at + PAGE_SIZE as usize),
        packed if u64::from(packed) < PAGE_SIZE => {
            let length = packed as usize;
            (1, Content::Packed(at, length), at.checked_add(length)?)
        }
        _ => return None,
    };
    if pages == 0 || page.checked_add(pages)? > BLOCK_PAGES {
        return None;
    }
    let part = Part {
        first: page,
        pages,
        content,
    };
    Some((part, next))
}

/// The token offsets of a block; `None` unless the tokens fill it exactly.
fn tokens(bytes: &[u8]) -> Option<Tokens> {
    let mut out = [0; BLOCK_PAGES as usize];
    let (mut at, mut page) = (0usize, 0u64);
    while page < BLOCK_PAGES {
        let (part, next) = part(bytes, at, page)?;
        let end = page + part.pages;
        out.get_mut(page as usize..end as usize)?
            .fill(u32::try_from(at).ok()?);
        (at, page) = (next, end);
    }
    // The data of all tokens must be inside the block.
    (at <= bytes.len()).then(|| Arc::new(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(tokens: &[(u32, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (token, data) in tokens {
            out.extend(token.to_le_bytes());
            out.extend_from_slice(data);
        }
        out
    }

    #[test]
    fn tokens_fill_a_block_exactly() {
        let pattern = [1, 0, 0, 0, 0, 0, 0, 0];
        let many = [&pattern[..], &255u32.to_le_bytes()].concat();
        let whole = block(&[(PATTERN, &pattern), (PATTERNS, &many), (END, &[])]);
        let found = tokens(&whole).unwrap();
        assert_eq!((found[0], found[1], found[255]), (0, 12, 12));
        assert_eq!(part(&whole, 12, 1).unwrap().0.pages, 255);
        for bad in [
            block(&[(PATTERN, &pattern), (END, &[])]),
            block(&[(PATTERN, &pattern), (PATTERN, &pattern), (PATTERNS, &many)]),
            block(&[(0x1001, &[0; 64])]),
            block(&[(BYTES, &[0; 8])]),
        ] {
            assert_eq!(tokens(&bad), None);
        }
    }

    use crate::dump::PageBytes;

    /// Takes every page.
    struct Every(PageBytes);

    impl Pages for Every {
        fn space(&mut self, _: u64) -> Option<&mut PageBytes> {
            Some(&mut self.0)
        }
    }

    proptest! {
        #[test]
        fn arbitrary_tokens_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = tokens(&bytes);
            for at in 0..bytes.len() {
                if let Some((part, _)) = part(&bytes, at, 0) {
                    let _ = part.unpack(&bytes, 0, &mut Every([0; PAGE_SIZE as usize]));
                }
            }
        }
    }
}
