//! Walks one window of pool into a segment.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::dump::{self, Dump};
use crate::memory::{CHUNK_SIZE, Chunk, Fault, MappedPage, NoExecute, PAGE_SIZE, Va};
use crate::pool::big::BigBlock;
use crate::pool::block::{Backend, Block, PoolKind, State};
use crate::pool::heap::PageSegment;
use crate::pool::legacy::{self, Encoding, RawBlock, Rules, UNIT, Verdict};
use crate::pool::special;
use crate::pool::tag::{PROTECTED, Tag};

use super::collector::Collector;
use super::realm::{Owner, Realm};
use super::segment::Segment;
use super::totals::WindowTotals;

/// A window: up to 64 MB of one region.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Its realm, as an index into the plan.
    pub realm: usize,
    /// True for special pool: one allocation per page.
    pub special: bool,
    /// First address.
    pub start: Va,
    /// The first address after it.
    pub end: Va,
    /// The pool of its region; `None` for a window outside the regions, which has only big
    /// blocks.
    pub kind: Option<PoolKind>,
    /// The mapped 2 MB pieces to walk as chains, in address order.
    pub chunks: Vec<Chunk>,
    /// The heap segments in it, in address order.
    pub segments: Vec<PageSegment>,
    /// The mapped 2 MB pieces that are not entirely in segments, in address order.
    pub orphans: Vec<(Chunk, PoolKind)>,
}

/// Walks a window and leaves its blocks in `scratch`, which is reused for each window. `None`
/// soon after cancellation: a window on a slow disk, or one full of the smallest blocks, takes
/// long.
pub fn walk(
    realm: &Realm,
    encoding: Encoding,
    window: &Window,
    scratch: &mut Scratch,
    wanted: &dyn Fn() -> bool,
) -> Option<WindowTotals> {
    scratch.found.clear();
    let dump = realm.space.dump();
    let faults = dump.faults();
    let mut walker = Walker {
        dump,
        kind: window.kind,
        session: realm.session,
        encoding,
        base: window.start,
        big: realm.big.between(window.start, window.end),
        parked: realm.parked.between(window.start, window.end),
        straddling: realm.big.holding(window.start).map_or(0, BigBlock::end),
        no_execute: NoExecute::default(),
        scratch,
        searches: !window.orphans.is_empty(),
        chains: FxHashSet::default(),
        totals: WindowTotals::default(),
    };
    let mut listed = 0;
    let mut pages = Vec::with_capacity(PAGES_OF_CHUNK);
    let nx = realm.tells_nx && window.kind == Some(PoolKind::NonPaged);
    for &chunk in &window.chunks {
        if !wanted() {
            return None;
        }
        if nx {
            walker.no_execute = realm.space.no_execute(chunk);
        }
        realm.space.chunk_pages(chunk, |va, page| {
            if va >= window.start && va < window.end && !in_segment(realm, window, va) {
                pages.push((va, page));
            }
        });
        for group in pages.chunks(TOGETHER) {
            walker.fetch(group);
            for &(va, page) in group {
                listed = walker.list_big(listed, va);
                match window.special {
                    true => walker.special(va, page),
                    false => walker.page(va, page),
                }
            }
        }
        pages.clear();
    }
    walker.list_big(listed, window.end);
    walker.heaps(realm, window, wanted)?;
    if dump.faults() != faults && walker.totals.failed_pages() == 0 {
        // Some zeros in the window replaced unreadable data: it is incomplete.
        walker.missing(Fault::FileFailed);
    }
    let mut totals = walker.totals;
    totals.tags = scratch.found.tags().to_vec();
    Some(totals)
}

/// Number of pages that are fetched before the first of them is walked: they fit in the
/// processor's innermost caches.
const TOGETHER: usize = 16;
const PAGES_OF_CHUNK: usize = (CHUNK_SIZE / PAGE_SIZE) as usize;

/// Pages of heap segments are not walked as chains.
fn in_segment(realm: &Realm, window: &Window, va: Va) -> bool {
    !window.segments.is_empty()
        && realm
            .heaps
            .as_ref()
            .is_some_and(|p| p.heaps.holding(va).is_some())
}

/// Buffers of a worker. They contain the blocks of one window: at most 64 MB, for four million
/// of the smallest blocks.
#[derive(Default)]
pub struct Scratch {
    found: Collector,
    raw: Vec<RawBlock>,
}

impl Scratch {
    /// Number of blocks of the last window.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// The segment of the last window.
    pub fn segment(&self, window: &Window, owner: Arc<Owner>) -> Segment {
        self.found.segment(window.start, owner)
    }
}

/// State of the walk of a window.
pub(super) struct Walker<'a, 'b> {
    dump: &'a Dump,
    kind: Option<PoolKind>,
    session: Option<u32>,
    encoding: Encoding,
    base: Va,
    big: &'a [BigBlock],
    parked: &'a [(Va, State)],
    /// End of the big block that extends into the window from the previous one.
    straddling: u64,
    /// Pages of the current chunk that are not executable.
    no_execute: NoExecute,
    scratch: &'b mut Scratch,
    /// Pages outside of segments are searched too.
    searches: bool,
    /// Pages that are complete chains of blocks; recorded only if pages outside of segments are
    /// searched.
    chains: FxHashSet<Va>,
    pub(super) totals: WindowTotals,
}

impl Walker<'_, '_> {
    /// Appends the big blocks that start before or at `before`, so that the window's blocks
    /// stay in address order. Returns the number listed so far.
    fn list_big(&mut self, mut listed: usize, before: Va) -> usize {
        while let Some(big) = self.big.get(listed).filter(|b| b.va <= before) {
            self.push(big.block());
            listed += 1;
        }
        listed
    }

    /// Brings pages into the processor's caches, except those inside big allocations, which are
    /// not read.
    fn fetch(&self, pages: &[(Va, MappedPage<'_>)]) {
        dump::fetch(pages.iter().filter_map(|(va, page)| match page {
            MappedPage::Bytes(bytes, _) if self.taken_by_big(*va) < PAGE_SIZE => Some(*bytes),
            _ => None,
        }));
    }

    fn page(&mut self, va: Va, page: MappedPage<'_>) {
        let taken = self.taken_by_big(va);
        if taken >= PAGE_SIZE {
            match page {
                MappedPage::Missing(fault) => {
                    self.missing(fault);
                    self.totals.pages(self.kind).unread_big += 1;
                }
                _ => self.totals.pages(self.kind).big += 1,
            }
            return;
        }
        match page {
            MappedPage::Missing(fault) => self.missing(fault),
            MappedPage::Zero => self.totals.pages(self.kind).other += 1,
            MappedPage::Bytes(bytes, _) => self.blocks_of_page(va, bytes, taken),
        }
    }

    /// Handles a page of special pool, which has a single block.
    fn special(&mut self, va: Va, page: MappedPage<'_>) {
        let found = match page {
            MappedPage::Missing(fault) => return self.missing(fault),
            MappedPage::Zero => None,
            MappedPage::Bytes(bytes, _) => special::decode(bytes),
        };
        let Some(found) = found else {
            self.totals.pages(self.kind).other += 1;
            return;
        };
        let block = found.block(va, self.kind);
        let kind = self.kind.unwrap_or(block.kind);
        self.totals.pages(Some(kind)).pool += 1;
        self.totals.doubted += u64::from(!found.intact);
        self.push(block);
    }

    /// Bytes at the start of this page that belong to a big allocation.
    fn taken_by_big(&self, va: Va) -> u64 {
        let after = self.big.partition_point(|b| b.va <= va);
        let end = after
            .checked_sub(1)
            .and_then(|i| self.big.get(i))
            .map_or(self.straddling, BigBlock::end);
        end.saturating_sub(va.0).min(PAGE_SIZE)
    }

    fn blocks_of_page(&mut self, va: Va, bytes: &dump::PageBytes, taken: u64) {
        let Some(kind) = self.kind else {
            return;
        };
        let start = taken.div_ceil(UNIT as u64) as usize;
        if start == 0 && !legacy::may_start_chain(bytes) && !worth_a_look(bytes) {
            self.totals.pages(self.kind).other += 1;
            return;
        }
        let rules = Rules {
            paged: Some(!kind.is_nonpaged()),
            encoding: self.encoding,
        };
        let failed_before = self.dump.faults();
        self.scratch.raw.clear();
        let verdict = legacy::walk_page(bytes, start, rules, &mut self.scratch.raw);
        if self.dump.faults() != failed_before {
            self.missing(Fault::FileFailed);
            return;
        }
        match verdict {
            Verdict::Pool => {
                self.totals.pages(self.kind).pool += 1;
                self.chain(va);
            }
            // The rest of a big block's last page is often unused.
            Verdict::NotPool if start > 0 => self.totals.pages(self.kind).big += 1,
            Verdict::NotPool => self.totals.pages(self.kind).other += 1,
            Verdict::Damaged(at) => {
                self.chain(va);
                self.totals.pages(self.kind).pool += 1;
                self.totals.pages(self.kind).damaged += 1;
                self.totals.damaged.push((va, at));
            }
        }
        for i in 0..self.scratch.raw.len() {
            if let Some(&raw) = self.scratch.raw.get(i) {
                self.small(va, kind, raw);
            }
        }
    }

    fn small(&mut self, page: Va, kind: PoolKind, raw: RawBlock) {
        let bytes = u64::from(raw.units) * UNIT as u64;
        if !raw.is_allocated() {
            self.totals.free_blocks += 1;
            self.totals.free_bytes += bytes;
            return;
        }
        if raw.is_fragment_marker() {
            return;
        }
        let va = page.add(u64::from(raw.unit) * UNIT as u64);
        let state = self.state(va);
        self.push(Block {
            va,
            bytes,
            tag: Tag::new(raw.tag),
            protected: raw.tag & PROTECTED != 0,
            kind: match kind {
                _ if raw.is_session() && raw.is_paged() => PoolKind::Session,
                PoolKind::NonPaged if self.no_execute.at(page) => PoolKind::NonPagedNx,
                kind => kind,
            },
            backend: Backend::Legacy,
            state,
            session: None,
            heuristic: false,
        });
    }

    /// Blocks come in address order, so the sorted lookaside entries are consumed in parallel.
    pub(super) fn state(&mut self, va: Va) -> State {
        while let Some((first, rest)) = self.parked.split_first() {
            if first.0 > va {
                break;
            }
            self.parked = rest;
            if first.0 == va {
                return first.1;
            }
        }
        State::Allocated
    }

    pub(super) fn push(&mut self, mut block: Block) {
        block.session = self.session;
        self.scratch.found.push(self.base, &block);
    }

    /// Records a page that is walked as a chain, if needed.
    fn chain(&mut self, page: Va) {
        if self.searches {
            self.chains.insert(page);
        }
    }

    /// True for a recorded page that was walked as a chain.
    pub(super) fn is_chain(&self, page: Va) -> bool {
        self.chains.contains(&page)
    }

    /// Sorts the blocks by address.
    pub(super) fn sort(&mut self) {
        self.scratch.found.sort(self.base);
    }

    fn missing(&mut self, fault: Fault) {
        self.totals.pages(self.kind).missing(fault);
    }
}

/// True for a page that may still have a chain after a damaged first header. A page that starts
/// with zeros has none.
fn worth_a_look(bytes: &dump::PageBytes) -> bool {
    bytes.iter().take(64).any(|&b| b != 0) && bytes.iter().skip(4000).any(|&b| b != 0)
}
