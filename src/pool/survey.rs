//! Finds pool regions by the contents of their pages, on builds that have no table of regions:
//! a page that is a complete chain of blocks with headers is pool, regardless of its address.
//!
//! Windows gives each pool whole top-level entries of the page tables, so a slot of 512 GB is
//! entirely pool or not at all. A sample of its pages identifies a slot that is full of pool.
//! If the sample finds none, every page is checked, up to a limit; reaching it is reported.
//! Drivers map pool a second time (to lock it, or with all of memory). In that case, the slot
//! that maps more than the others counts.

use std::cmp::Ordering;
use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::kernel::Kernel;
use crate::memory::{CHUNK_SIZE, Chunk, MappedPage, Pfn, Target, Va};

use super::block::PoolKind;
use super::legacy::{self, Encoding, RawBlock, Rules, Verdict};

/// Bytes of address space per top-level entry: the granularity of the kernel's regions.
const SLOT: u64 = 1 << 39;
/// First address of the kernel half, and its number of slots.
const KERNEL_HALF: (u64, u64) = (0xffff_8000_0000_0000, 256);
/// Number of chunks per slot in the sample, evenly spread.
const SAMPLE: usize = 48;
/// Number of pages that are walked per sampled chunk.
const PAGES: u64 = 16;
/// Required number of pages that are chains of at least two blocks.
const PROOF: usize = 4;
/// Limit for pages checked in all slots where the sample found none: 2 GB of memory.
const LIMIT: u64 = 1 << 19;
/// A pool has one kind of block. If at least one in this many pages is of the other kind, the
/// slot maps all kinds of memory a second time.
const MIXED: usize = 8;

/// A range of addresses with pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// First mapped address.
    pub start: Va,
    /// The first address after the last mapped chunk.
    pub end: Va,
    /// The pool, according to its blocks.
    pub kind: PoolKind,
}

/// The pool ranges found, and remarks on missing ones.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Disjoint, in address order.
    pub found: Vec<Surveyed>,
    /// Remarks on ranges that were not searched, or not accepted as pool.
    pub notes: Vec<String>,
}

/// Searches every slot of the kernel half, except addresses that are known to be other data or
/// known pool.
pub fn survey(kernel: &Kernel, known: &[Range<Va>]) -> Survey {
    let mut out = Survey::default();
    let slots = slots(kernel, known, &mut out.notes);
    let mut left = LIMIT;
    let mut unseen = 0;
    let mut candidates = Vec::new();
    for slot in slots {
        let mut seen = Seen::default();
        seen.sample(kernel, &slot.chunks);
        if seen.proofs() < PROOF {
            seen = Seen::default();
            unseen += seen.all(kernel, &slot.chunks, &mut left);
        }
        match seen.proofs() {
            0 => {}
            few if few < PROOF => out.notes.push(thin(&seen)),
            _ => candidates.push(Candidate {
                slot,
                seen,
                shared: 0,
            }),
        }
    }
    if unseen > 0 {
        out.notes.push(format!(
            "{unseen} mapped ranges of 2 MB were not searched for pool, because too many others \
                had none: blocks in them are missing"
        ));
    }
    let accepted = accept(kernel, candidates, &mut out.notes);
    out.found = join(accepted);
    out
}

fn thin(seen: &Seen) -> String {
    let pages = seen.proofs();
    let at = seen.first().unwrap_or_default();
    format!(
        "{pages} page{} of memory from {at} on look like chains of pool blocks, too few to be a pool: not counted",
        if pages == 1 { "" } else { "s" }
    )
}

/// The mapped part of a 512 GB slot.
struct Slot {
    number: u64,
    chunks: Vec<Chunk>,
}

/// The slots with mapped memory outside of `known`. Each chunk needs a page of the dump, so
/// valid tables do not map more chunks than the dump has pages.
fn slots(kernel: &Kernel, known: &[Range<Va>], notes: &mut Vec<String>) -> Vec<Slot> {
    let (first, count) = KERNEL_HALF;
    let most = kernel.space.dump().pages_present() + 512;
    let (mut all, mut tables, mut unreadable, mut overrun) = (0, 0, 0, false);
    let mut out = Vec::new();
    for number in 0..count {
        let start = Va(first + number * SLOT);
        let mapped = kernel.space.mapped(start, Va(start.0 + (SLOT - 1)));
        unreadable += mapped.unreadable.len();
        all += mapped.chunks.len() as u64;
        // The top table is read for each slot, if it is readable.
        tables += mapped.tables.saturating_sub(1);
        overrun |= mapped.overrun || all > most || tables > most;
        if overrun {
            notes.push("the page tables name more pages than the dump holds: the search for pool regions stops early".into());
            break;
        }
        let mut chunks = mapped.chunks;
        let inside = |c: &Chunk, r: &Range<Va>| c.va >= r.start && c.va.0 + CHUNK_SIZE <= r.end.0;
        chunks.retain(|c| !known.iter().any(|r| inside(c, r)));
        if !chunks.is_empty() {
            out.push(Slot { number, chunks });
        }
    }
    if unreadable > 0 {
        notes.push(format!(
            "{unreadable} page tables can't be read: pool regions behind them are not found"
        ));
    }
    out
}

/// Results of checking the pages of a slot.
#[derive(Default)]
struct Seen {
    /// Number of pages that could be read.
    looked: u64,
    paged: Vec<(Va, Pfn)>,
    nonpaged: Vec<(Va, Pfn)>,
}

impl Seen {
    /// Checks evenly spread chunks.
    fn sample(&mut self, kernel: &Kernel, chunks: &[Chunk]) {
        let step = chunks.len().div_ceil(SAMPLE).max(1);
        for chunk in chunks.iter().step_by(step) {
            self.chunk(kernel, *chunk, PAGES);
        }
    }

    /// Checks all chunks until `left` pages are used up; returns the number of chunks that were
    /// not checked.
    fn all(&mut self, kernel: &Kernel, chunks: &[Chunk], left: &mut u64) -> usize {
        for (done, chunk) in chunks.iter().enumerate() {
            if self.proofs() >= PROOF {
                // The slot is pool after all. The sample found none, so its share is unknown.
                return 0;
            }
            if *left == 0 {
                return chunks.len() - done;
            }
            let before = self.looked;
            self.chunk(kernel, *chunk, u64::MAX);
            *left = left.saturating_sub(self.looked - before);
        }
        0
    }

    /// Walks at most `most` pages of a chunk that may start a chain.
    fn chunk(&mut self, kernel: &Kernel, chunk: Chunk, most: u64) {
        let rules = Rules {
            paged: None,
            encoding: Encoding::of_build(kernel.build),
        };
        let mut blocks: Vec<RawBlock> = Vec::new();
        let mut walked = 0;
        kernel.space.chunk_pages(chunk, |va, page| {
            let MappedPage::Bytes(bytes, _) = page else {
                return;
            };
            if walked == most {
                return;
            }
            self.looked += 1;
            if !legacy::may_start_chain(bytes) {
                return;
            }
            walked += 1;
            blocks.clear();
            let verdict = legacy::walk_page(bytes, 0, rules, &mut blocks);
            let live = || blocks.iter().filter(|b| b.is_allocated());
            if verdict != Verdict::Pool || live().count() < 2 {
                return;
            }
            let Ok(Target::Frame { pfn, .. }) = kernel.space.translate(va) else {
                return;
            };
            match live().all(RawBlock::is_paged) {
                true => self.paged.push((va, pfn)),
                false if live().any(RawBlock::is_paged) => {}
                false => self.nonpaged.push((va, pfn)),
            }
        });
    }

    fn proofs(&self) -> usize {
        self.paged.len().max(self.nonpaged.len())
    }

    fn kind(&self) -> PoolKind {
        match self.paged.len() > self.nonpaged.len() {
            true => PoolKind::Paged,
            false => PoolKind::NonPaged,
        }
    }

    /// The proofs for its pool.
    fn own(&self) -> &[(Va, Pfn)] {
        match self.kind() {
            PoolKind::Paged => &self.paged,
            _ => &self.nonpaged,
        }
    }

    fn first(&self) -> Option<Va> {
        self.own().first().map(|(va, _)| *va)
    }

    fn is_mixed(&self) -> bool {
        self.paged.len().min(self.nonpaged.len()) * MIXED > self.proofs()
    }
}

struct Candidate {
    slot: Slot,
    seen: Seen,
    /// Number of its proofs whose frames other candidates map too.
    shared: usize,
}

impl Candidate {
    /// Orders the pool itself before second mappings of it: fewer of its pages are also mapped
    /// elsewhere, or, if all are, a larger part of its mapping is pool.
    fn order(&self, other: &Candidate) -> Ordering {
        let cross = |a: (usize, u64), b: (usize, u64)| {
            (a.0 as u128 * u128::from(b.1)).cmp(&(b.0 as u128 * u128::from(a.1)))
        };
        let own = |c: &Candidate| c.seen.own().len();
        let shared = |c: &Candidate| (c.shared, own(c) as u64);
        let dense = |c: &Candidate| (own(c), c.seen.looked);
        cross(shared(self), shared(other)).then(cross(dense(other), dense(self)))
    }
}

/// Accepts the slots with their own pool. The others map the same pages a second time.
fn accept(
    kernel: &Kernel,
    mut candidates: Vec<Candidate>,
    notes: &mut Vec<String>,
) -> Vec<Candidate> {
    candidates.retain(|candidate| {
        let mixed = candidate.seen.is_mixed();
        if mixed {
            let at = candidate.seen.first().unwrap_or_default();
            notes.push(format!(
                "memory around {at} shows paged and nonpaged pool among other pages: taken for a second mapping, and its blocks not counted there"
            ));
        }
        !mixed
    });
    if candidates.len() < 2 {
        return candidates;
    }
    count_shared(kernel, &mut candidates);
    candidates.sort_by(Candidate::order);
    let mut taken = proofs(&candidates);
    let mut out = Vec::new();
    for candidate in candidates {
        let own = candidate.seen.own().iter();
        let free = |pfn| taken.get(pfn).is_some_and(|t: &Taken| t.by == 0);
        if own.filter(|(_, pfn)| free(pfn)).count() < PROOF {
            let at = candidate.seen.first().unwrap_or_default();
            notes.push(format!(
                "pool is mapped a second time around {at}: its blocks are counted once"
            ));
            continue;
        }
        take(kernel, &candidate.slot, &mut taken);
        out.push(candidate);
    }
    out
}

/// The number of slots that map a frame, and the last of them.
#[derive(Clone, Copy, Default)]
struct Taken {
    by: u16,
    last: Option<u64>,
}

/// The frames of all proofs, not yet claimed.
fn proofs(candidates: &[Candidate]) -> FxHashMap<Pfn, Taken> {
    let frames = candidates.iter().flat_map(|c| c.seen.own());
    frames.map(|(_, pfn)| (*pfn, Taken::default())).collect()
}

fn count_shared(kernel: &Kernel, candidates: &mut [Candidate]) {
    let mut taken = proofs(candidates);
    for candidate in candidates.iter() {
        take(kernel, &candidate.slot, &mut taken);
    }
    for candidate in candidates {
        let shared = |pfn| taken.get(pfn).is_some_and(|t| t.by > 1);
        let own = candidate.seen.own().iter();
        candidate.shared = own.filter(|(_, pfn)| shared(pfn)).count();
    }
}

/// Claims the frames that a slot maps.
fn take(kernel: &Kernel, slot: &Slot, frames: &mut FxHashMap<Pfn, Taken>) {
    for chunk in &slot.chunks {
        kernel.space.chunk_frames(*chunk, |pfn| {
            if let Some(taken) = frames.get_mut(&pfn)
                && taken.last != Some(slot.number)
            {
                taken.by = taken.by.saturating_add(1);
                taken.last = Some(slot.number);
            }
        });
    }
}

/// Joins adjacent slots of the same pool into one region: there are no mapped chunks between
/// the last of one and the first of the next.
fn join(mut accepted: Vec<Candidate>) -> Vec<Surveyed> {
    accepted.sort_by_key(|c| c.slot.number);
    let mut out: Vec<Surveyed> = Vec::new();
    let mut last = None;
    for Candidate { slot, seen, .. } in accepted {
        let (Some(head), Some(tail)) = (slot.chunks.first(), slot.chunks.last()) else {
            continue;
        };
        let end = tail.va.add(CHUNK_SIZE);
        let beside = last == slot.number.checked_sub(1);
        match out.last_mut() {
            Some(before) if beside && before.kind == seen.kind() => before.end = end,
            _ => out.push(Surveyed {
                start: head.va,
                end,
                kind: seen.kind(),
            }),
        }
        last = Some(slot.number);
    }
    out
}
