//! Writes a pool with assigned positions into memory and records its contents.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::addr::{PAGE_SIZE, Va};
use crate::synth::paging::{Entry, Memory};
use crate::synth::rng::Rng;
use crate::synth::truth::{Account, Block, PageTruth, Pool, State};

use super::allocation::{Allocation, Outcome, Role};
use super::big::BigEntry;
use super::contents::Contents;
use super::layout::{BigPlace, Bin, LARGE_PAGES, Layout, PageOutcome};
use super::lists::{List, Parked};
use super::page::{self, Piece, Types};
use super::{UNIT, allocation};

/// The record of a written pool.
#[derive(Clone, Debug, Default)]
pub struct Laid {
    /// All blocks except free ones.
    pub blocks: Vec<Block>,
    /// Live entries for the big page table.
    pub big: Vec<BigEntry>,
    /// Body addresses of blocks with a role.
    pub roles: HashMap<Role, Va>,
    /// Freed blocks on lookaside lists.
    pub parked: Parked,
    /// Freed blocks on deferred lists, by pool.
    pub pending: BTreeMap<Pool, Vec<Va>>,
    /// Body addresses of free blocks, by pool, pool number and units.
    pub free_bodies: BTreeMap<(Pool, u8), BTreeMap<u64, Vec<Va>>>,
    /// Free blocks.
    pub free: Account,
    /// Page counts per pool.
    pub pages: BTreeMap<Pool, PageTruth>,
    /// Numbers of small pages and big pages, by pool and pool number.
    pub by_index: BTreeMap<(Pool, u8), (u64, u64)>,
    /// Pages with a broken chain, and the offset in bytes of the break.
    pub damaged: Vec<(Va, u16)>,
    /// Executable pages of small blocks, on builds with two nonpaged pools.
    pub executable: HashSet<Va>,
}

/// Writes pools; `prototypes` is the address of a page for prototype entries.
pub struct Writer<'a> {
    /// Memory with its page tables.
    pub memory: &'a mut Memory,
    /// All allocations; layouts refer to them by index.
    pub allocations: &'a [Allocation],
    /// The contents of bodies.
    pub contents: Contents,
    /// Address of the next prototype entry.
    pub prototypes: Va,
    /// The record.
    pub laid: Laid,
    /// Random choices of details.
    pub rng: Rng,
}

impl Writer<'_> {
    /// Writes one pool. `usage` is the number of pages for each pool number, with all pages of
    /// the pool as the sum; if it is empty, everything has number 0.
    pub fn pool(&mut self, layout: &Layout, usage: &[u64]) {
        let (small_indexes, big_indexes) = indexes(layout, usage);
        let pool = layout.shape.pool;
        let start = layout.shape.start;
        for i in 0..layout.shape.large {
            let frames = self.memory.physical.allocate_aligned(LARGE_PAGES);
            let va = start.add(i * LARGE_PAGES * PAGE_SIZE);
            self.memory.map_2m(va, frames);
        }
        for (place, index) in layout.bigs.iter().zip(big_indexes) {
            self.by_index(pool, index).1 += place.pages;
            self.big(place);
        }
        let mut next = small_indexes.into_iter();
        for bin in &layout.bins {
            // The rest of a big allocation's last page counts for the first number.
            let index = match bin.is_whole() {
                true => next.next().unwrap_or(0),
                false => 0,
            };
            if bin.is_whole() {
                self.by_index(pool, index).0 += 1;
                let mapped = bin.va.0 - start.0 < layout.shape.large * LARGE_PAGES * PAGE_SIZE;
                self.map_small(bin, mapped);
            }
            self.bin(bin, (pool, index));
        }
        let pages = self.laid.pages.entry(pool).or_default();
        pages.small += layout.small_pages();
        pages.big += layout.big_pages();
    }

    fn by_index(&mut self, pool: Pool, index: u8) -> &mut (u64, u64) {
        self.laid.by_index.entry((pool, index)).or_default()
    }

    fn map_small(&mut self, bin: &Bin, mapped: bool) {
        if mapped {
            return;
        }
        let frame = match bin.outcome {
            PageOutcome::PagedOut => {
                let page = self.rng.below(0x3_0000) as u32 + 0x100;
                self.memory.map(bin.va, Entry::PageFile(0, page));
                return;
            }
            _ => self.memory.physical.allocate(1),
        };
        match bin.outcome {
            PageOutcome::Transition => self.memory.map(bin.va, Entry::Transition(frame)),
            PageOutcome::Prototype => {
                let at = self.prototypes;
                self.prototypes = at.add(8);
                let raw = self.memory.encode(Entry::Data(frame));
                self.memory.u64(at, raw);
                self.memory.map(bin.va, Entry::Prototype(at));
                self.memory.lend(bin.va, frame);
            }
            _ if self.is_executable(bin) => {
                self.laid.executable.insert(bin.va);
                self.memory.map(bin.va, Entry::Code(frame));
            }
            _ => self.memory.map(bin.va, Entry::Data(frame)),
        }
        if bin.outcome == PageOutcome::Omitted {
            self.memory.physical.omit(frame);
        }
    }

    /// Since Windows 8, there are two nonpaged pools; the first block of a page determines its
    /// pool.
    fn is_executable(&self, bin: &Bin) -> bool {
        let first = bin.blocks.first();
        let allocation = first.and_then(|i| self.allocations.get(*i as usize));
        self.contents.era.build >= 9200
            && allocation.is_some_and(|d| d.pool == Pool::NonPaged && !d.nx)
    }

    /// Writes a big allocation: contiguous frames, contents on its first page.
    fn big(&mut self, place: &BigPlace) {
        let Some(allocation) = self.allocations.get(place.allocation as usize).copied() else {
            return;
        };
        let shared_tail = u64::from(allocation.bytes % PAGE_SIZE != 0);
        if place.paged_out {
            let out = place.pages - shared_tail;
            for i in 0..out {
                let page = 0x8000 + i as u32;
                self.memory
                    .map(place.va.add(i * PAGE_SIZE), Entry::PageFile(0, page));
            }
            self.memory
                .map_new(place.va.add(out * PAGE_SIZE), shared_tail);
        } else {
            self.memory.map_new(place.va, place.pages);
            self.big_contents(place.va, &allocation);
        }
        let listed = !self.contents.era.is_nt52() || !allocation.role.is_table();
        let state = match listed {
            true => State::Allocated,
            false => State::Unlisted,
        };
        self.laid.blocks.push(block(&allocation, place.va, state));
        self.laid.roles.insert(allocation.role, place.va);
        if !listed {
            return;
        }
        self.laid.big.push(BigEntry {
            va: place.va,
            tag: allocation.tag,
            protected: allocation.protected,
            pool: allocation.pool,
            nx: allocation.nx,
            bytes: allocation.bytes,
        });
    }

    fn big_contents(&mut self, va: Va, allocation: &Allocation) {
        let Role::Leak(number) = allocation.role else {
            return;
        };
        if let Some(page) = self.memory.page_mut(va) {
            self.contents.leaked(page, number, allocation.bytes);
        }
    }

    /// Writes the blocks of a page.
    fn bin(&mut self, bin: &Bin, (pool, index): (Pool, u8)) {
        let used: Vec<Piece> = bin.blocks.iter().filter_map(|i| self.piece(*i)).collect();
        let pieces = page::compose(&used, bin.start, &mut self.rng);
        let absent = match bin.outcome {
            PageOutcome::PagedOut => Some(State::PagedOut),
            PageOutcome::Omitted => Some(State::Omitted),
            _ => None,
        };
        let paged_out_tail = !bin.is_whole() && self.memory.frame(bin.va).is_none();
        if absent == Some(State::PagedOut) || paged_out_tail {
            let mut at = bin.start;
            for piece in &pieces {
                self.account(piece, bin.va.add(at), Some(State::PagedOut), (pool, index));
                at += piece.bytes;
            }
            self.laid.pages.entry(pool).or_default().paged_out += 1;
            return;
        }
        let mut rng = self.rng.clone();
        let Some(bytes) = self.memory.page_mut(bin.va) else {
            return;
        };
        let types = Types::of(self.contents.era);
        let pool_is = (types, pool, index);
        let offsets = page::write(bytes, bin.start, &pieces, pool_is, &mut rng);
        for (piece, at) in pieces.iter().zip(&offsets) {
            let body = *at + UNIT;
            let range = body as usize..(*at + piece.bytes) as usize;
            if let (Some(_), Some(body_bytes)) = (piece.allocation, bytes.get_mut(range)) {
                self.contents
                    .fill(body_bytes, bin.va.add(body), &piece.tag, &mut rng);
            }
        }
        self.rng = rng;
        let broken = match bin.outcome {
            PageOutcome::Damaged => self.damage(bin.va, &offsets),
            _ => None,
        };
        if bin.outcome == PageOutcome::Omitted {
            self.laid.pages.entry(pool).or_default().omitted += 1;
        }
        for (piece, at) in pieces.iter().zip(&offsets) {
            let hidden = broken.is_some_and(|broken| *at >= broken);
            let state = absent.or(hidden.then_some(State::Damaged));
            self.account(piece, bin.va.add(*at), state, (pool, index));
        }
    }

    /// Breaks the chain at the middle block of a page.
    fn damage(&mut self, page: Va, offsets: &[u64]) -> Option<u64> {
        let at = *offsets.get(offsets.len() / 2)?;
        self.memory.write(page.add(at), b"\xff\xff\0\xff");
        self.laid.damaged.push((page, at as u16));
        Some(at)
    }

    fn piece(&self, index: u32) -> Option<Piece> {
        let allocation = self.allocations.get(index as usize)?;
        Some(Piece::used(
            allocation.bytes,
            allocation.tag,
            allocation.protected,
            index,
        ))
    }

    /// Records a piece.
    fn account(&mut self, piece: &Piece, va: Va, absent: Option<State>, (pool, index): (Pool, u8)) {
        let body = va.add(UNIT);
        let allocation = piece
            .allocation
            .and_then(|i| self.allocations.get(i as usize));
        let Some(allocation) = allocation.copied() else {
            if piece.is_free() {
                self.free(piece.bytes, body, absent, (pool, index));
            }
            return;
        };
        let state = match (absent, allocation.outcome) {
            (Some(state), _) => state,
            (None, Outcome::Live) => State::Allocated,
            (None, Outcome::Lookaside(_)) => State::Lookaside,
            (None, Outcome::Pending | Outcome::Dynamic | Outcome::Delayed) => State::Pending,
        };
        match allocation.outcome {
            Outcome::Lookaside(cpu) => {
                let key = (cpu, List::of(&allocation), allocation.bytes / UNIT);
                self.laid.parked.entry(key).or_default().push(body);
            }
            Outcome::Pending | Outcome::Dynamic | Outcome::Delayed => {
                self.laid.pending.entry(pool).or_default().push(body);
            }
            Outcome::Live => {}
        }
        if allocation.role != Role::Filler {
            self.laid.roles.insert(allocation.role, body);
        } else if self.contents.neighbours.len() < NEIGHBOURS {
            self.contents.neighbours.push(body);
        }
        let mut block = block(&allocation, va, state);
        // The page decides, not the requests for its blocks.
        block.nx = self.contents.era.build >= 9200
            && pool == Pool::NonPaged
            && !self.laid.executable.contains(&va.page());
        self.laid.blocks.push(block);
    }

    fn free(&mut self, bytes: u64, body: Va, absent: Option<State>, (pool, index): (Pool, u8)) {
        if absent.is_some() {
            return;
        }
        self.laid.free.add(bytes);
        // A block of one unit has no space for the links.
        if bytes > UNIT {
            let lists = self.laid.free_bodies.entry((pool, index)).or_default();
            lists.entry(bytes / UNIT).or_default().push(body);
        }
    }
}

/// Assigns pool numbers to small pages and big allocations so that each number gets its pages.
/// Number 0 gets the remainder; numbers above 1 only have small pages.
fn indexes(layout: &Layout, usage: &[u64]) -> (Vec<u8>, Vec<u8>) {
    let mut left = usage.to_vec();
    let mut take = |index: usize, pages: u64, keep: u64| match left.get_mut(index) {
        Some(count) if *count >= pages + keep => {
            *count -= pages;
            true
        }
        _ => false,
    };
    // Leave some pages so that small pages can make the count exact.
    let mut bigs = vec![0; layout.bigs.len()];
    for (place, index) in layout.bigs.iter().zip(&mut bigs) {
        *index = u8::from(take(1, place.pages, 300));
    }
    let mut smalls = vec![0; layout.small_pages() as usize];
    for small in &mut smalls {
        let own = (1..usage.len()).rev().find(|&index| take(index, 1, 0));
        *small = own.unwrap_or(0) as u8;
    }
    (smalls, bigs)
}

/// Number of body addresses stored for pointers between blocks.
const NEIGHBOURS: usize = 4096;

/// Converts an allocation to the block that it became.
pub fn block(allocation: &allocation::Allocation, va: Va, state: State) -> Block {
    Block {
        nx: allocation.nx,
        va,
        bytes: allocation.bytes,
        tag: allocation.tag,
        protected: allocation.protected,
        pool: allocation.pool,
        big: allocation.is_big(),
        state,
    }
}
