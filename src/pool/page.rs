//! One page of pool, block by block, as `!pool` shows it.

use crate::memory::{Fault, PAGE_SIZE, Va};

use super::big::BigBlock;
use super::block::{Block, HEADER_SIZE, PoolKind, State};
use super::heap::{Content, View, walk_segment};
use super::index::{HeapPool, Realm};
use super::legacy::{self, Encoding, Rules, UNIT, Verdict};
use super::lookaside::Parked;
use super::special;
use super::tag::{PROTECTED, Tag};

/// A block of a page, with additional header fields.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct PageBlock {
    /// The block.
    pub block: Block,
    /// PreviousSize in bytes; 0 for a big block.
    pub previous_bytes: u64,
    /// True when the requested address is inside the block.
    pub holds_address: bool,
}

/// A page and its blocks.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct PoolPage {
    /// The page's address.
    pub page: Va,
    /// The pool of its region, if it is in a pool region.
    pub kind: Option<PoolKind>,
    /// The blocks in address order, including free ones.
    pub blocks: Vec<PageBlock>,
    /// Offset in bytes at which the chain breaks.
    pub damaged_at: Option<u16>,
}

/// The reason why no page can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageError {
    /// The page can't be read.
    Unreadable(Fault),
    /// The page is readable but is not pool.
    NotPool,
    /// The evidence file does not contain the page's blocks.
    NotKept,
}

/// Reads the page that contains `address`.
///
/// # Errors
/// A [`PageError`]. A big block is shown even if its page is missing.
pub fn read(encoding: Encoding, realm: &Realm, address: Va) -> Result<PoolPage, PageError> {
    if let Some(pool) = &realm.heaps
        && let Some(page) = heap_page(realm, pool, address)
    {
        return Ok(with_session(page, realm));
    }
    if let Some(region) = realm.special.iter().find(|r| r.contains(address)) {
        return special_page(realm, region.kind, address).map(|page| with_session(page, realm));
    }
    chained_page(encoding, realm, address).map(|page| with_session(page, realm))
}

fn with_session(mut page: PoolPage, realm: &Realm) -> PoolPage {
    for block in &mut page.blocks {
        block.block.session = realm.session;
    }
    page
}

/// A page of special pool: one block.
fn special_page(realm: &Realm, kind: Option<PoolKind>, address: Va) -> Result<PoolPage, PageError> {
    let page = address.page();
    let bytes = realm.space.page(page).map_err(PageError::Unreadable)?;
    let found = special::decode(bytes).ok_or(PageError::NotPool)?;
    let block = found.block(page, kind);
    Ok(PoolPage {
        page,
        kind: Some(block.kind),
        blocks: vec![PageBlock {
            holds_address: address >= block.va && address.0 < block.va.0 + block.bytes,
            block,
            previous_bytes: 0,
        }],
        damaged_at: None,
    })
}

fn chained_page(encoding: Encoding, realm: &Realm, address: Va) -> Result<PoolPage, PageError> {
    let page = address.page();
    let kind = match realm.region_at(address).map(|r| r.kind) {
        Some(PoolKind::NonPaged) if realm.tells_nx && is_nx(realm, page) => {
            Some(PoolKind::NonPagedNx)
        }
        kind => kind,
    };
    let holder = realm.big.holding(page);
    let mut out = PoolPage {
        page,
        kind: kind.or(holder.map(|b| b.kind)),
        blocks: holder.map(|b| big_block(b, address)).into_iter().collect(),
        damaged_at: None,
    };
    let taken = holder.map_or(0, |b| b.end().saturating_sub(page.0).min(PAGE_SIZE));
    if taken == PAGE_SIZE {
        return Ok(out);
    }
    let bytes = match realm.space.page(page) {
        Ok(bytes) => bytes,
        Err(_) if holder.is_some() => return Ok(out),
        Err(fault) => return Err(PageError::Unreadable(fault)),
    };
    let mut raw = Vec::new();
    let rules = Rules {
        paged: kind.map(|k| !k.is_nonpaged()),
        encoding,
    };
    match legacy::walk_page(bytes, taken.div_ceil(UNIT as u64) as usize, rules, &mut raw) {
        Verdict::NotPool if holder.is_none() => return Err(PageError::NotPool),
        Verdict::Damaged(at) => out.damaged_at = Some(at),
        _ => {}
    }
    let parked = realm.parked.between(page, page.add(PAGE_SIZE));
    out.blocks.extend(
        raw.into_iter()
            .map(|raw| small_block(page, kind, raw, parked, address)),
    );
    Ok(out)
}

/// The blocks of a heap segment that overlap a page; `None` outside of segments, or if the
/// segment has no blocks there.
fn heap_page(realm: &Realm, pool: &HeapPool, address: Va) -> Option<PoolPage> {
    let segment = pool.heaps.holding(address)?;
    let context = pool.heaps.contexts.get(segment.context)?;
    let end = segment.va.add(context.segment_bytes);
    let view = View::load(&realm.space, segment.va, end);
    let mut content = Content {
        keep_free: true,
        ..Content::default()
    };
    walk_segment(&pool.heaps, segment, &view, &realm.big, &mut content);
    pool.parking.mark(segment.va, end, &mut content.blocks);
    let page = address.page();
    let reaches = |b: &Block| b.va < page.add(PAGE_SIZE) && b.va.0 + b.bytes > page.0;
    let mut blocks: Vec<PageBlock> = content
        .blocks
        .into_iter()
        .filter(reaches)
        .map(|block| heap_block(block, &realm.parked, address))
        .collect();
    blocks.extend(realm.big.holding(page).map(|b| big_block(b, address)));
    blocks.sort_by_key(|b| b.block.va);
    let damaged = content.damaged.iter().find(|(at, _)| *at == page);
    (!blocks.is_empty()).then(|| PoolPage {
        page,
        kind: Some(context.kind),
        blocks,
        damaged_at: damaged.map(|(_, at)| *at),
    })
}

/// True when a page is not executable.
fn is_nx(realm: &Realm, page: Va) -> bool {
    let mapped = realm.space.mapped(page, page.add(PAGE_SIZE));
    mapped
        .chunks
        .first()
        .is_some_and(|chunk| realm.space.no_execute(*chunk).at(page))
}

fn heap_block(mut block: Block, parked: &Parked, address: Va) -> PageBlock {
    if let [(_, state)] = parked.between(block.va, block.va.add(1)) {
        block.state = *state;
    }
    PageBlock {
        block,
        previous_bytes: 0,
        holds_address: address >= block.va && address.0 < block.va.0 + block.bytes,
    }
}

fn big_block(big: &BigBlock, address: Va) -> PageBlock {
    PageBlock {
        block: big.block(),
        previous_bytes: 0,
        holds_address: address >= big.va && address.0 < big.end(),
    }
}

fn small_block(
    page: Va,
    kind: Option<PoolKind>,
    raw: legacy::RawBlock,
    parked: &[(Va, State)],
    address: Va,
) -> PageBlock {
    let va = page.add(u64::from(raw.unit) * HEADER_SIZE);
    let bytes = u64::from(raw.units) * HEADER_SIZE;
    let state = match raw.is_allocated() {
        true => parked
            .iter()
            .find(|p| p.0 == va)
            .map_or(State::Allocated, |p| p.1),
        false => State::Free,
    };
    let by_header = match raw.is_paged() {
        true => PoolKind::Paged,
        false => PoolKind::NonPaged,
    };
    PageBlock {
        block: Block {
            va,
            bytes,
            tag: Tag::new(raw.tag),
            protected: raw.tag & PROTECTED != 0,
            kind: kind.unwrap_or(by_header),
            backend: super::Backend::Legacy,
            state,
            session: None,
            heuristic: false,
        },
        previous_bytes: u64::from(raw.previous) * HEADER_SIZE,
        holds_address: address >= va && address.0 < va.0 + bytes,
    }
}
