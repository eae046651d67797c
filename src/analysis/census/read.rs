//! Reads blocks in parallel and in bounded memory, and counts their words by class.

use rayon::prelude::*;

use crate::dump::PageBytes;
use crate::memory::{AddressSpace, PAGE_SIZE, Va};
use crate::pool::block::{Block, State};
use crate::pool::index::Snapshot;
use crate::pool::index::sort::Wanted;

use super::classify::{Images, Word, classify};
use super::families::{self, SHAPE, Shape, Shapes};
use super::objects::{ObjectTypes, Types};
use super::offsets::{self, LIMIT, STEP, Tally, Target};
use super::{Progress, Setting};

/// Number of blocks to read before their pointers are resolved.
const BATCH: usize = 1 << 14;
/// Number of blocks per work item.
const CHUNK: usize = 512;
/// Maximum number of unresolved addresses, 24 bytes each.
const MOST_PENDING: usize = 1 << 20;
/// Number of blocks that are sampled to choose the values to count individually.
const FIRST_LOOK: usize = 256;
/// The marker for "no session".
const SYSTEM: u32 = u32::MAX;

/// A kernel address to resolve, and where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    session: u32,
    value: u64,
    slot: u16,
}

/// The result of reading a sample.
#[derive(Debug, Default)]
pub struct Found {
    /// The counts by offset.
    pub tally: Tally,
    /// The shapes of the blocks.
    pub shapes: Shapes,
    /// Number of completely unreadable blocks.
    pub unreadable: u64,
    /// Number of blocks longer than the counted part.
    pub longer: u64,
    /// The individually counted values, by offset.
    pub watched: Vec<Vec<u64>>,
    /// The object types that targets refer to by number.
    pub types: Types,
}

/// Reads blocks until the request is cancelled.
pub fn read(
    setting: &Setting<'_>,
    blocks: &[Block],
    wanted: Wanted<'_>,
    progress: &Progress,
) -> Option<Found> {
    let images = Images::of(setting.kernel);
    let mut out = Found {
        watched: watched(setting, blocks),
        ..Found::default()
    };
    let mut pending = Vec::new();
    progress.expect(blocks.len() as u64);
    for (number, batch) in blocks.chunks(BATCH).enumerate() {
        let parts: Option<Vec<Part>> = batch
            .par_chunks(CHUNK)
            .enumerate()
            .map(|(i, chunk)| {
                let part = wanted().then(|| {
                    let first = number * BATCH + i * CHUNK;
                    Part::of(setting, &images, &out.watched, chunk, first)
                });
                progress.advance(chunk.len() as u64);
                part
            })
            .collect();
        for part in parts? {
            out.tally.merge(&part.tally);
            out.shapes.merge(part.shapes);
            out.unreadable += part.unreadable;
            out.longer += part.longer;
            pending.extend(part.pending);
        }
        if pending.len() >= MOST_PENDING {
            resolve(setting, &mut pending, &mut out, wanted)?;
        }
    }
    resolve(setting, &mut pending, &mut out, wanted)?;
    Some(out)
}

/// The page that was read last. Blocks are sorted by address, and several share a page.
#[derive(Default)]
struct LastPage<'a> {
    space: Option<&'a AddressSpace>,
    va: Va,
    bytes: Option<&'a PageBytes>,
}

impl<'a> LastPage<'a> {
    /// The page that contains an address; `None` if it can't be read.
    fn at(&mut self, va: Va, space: &'a AddressSpace) -> Option<&'a PageBytes> {
        let page = Va(va.0 - va.offset() as u64);
        if self.va != page || !self.space.is_some_and(|last| std::ptr::eq(last, space)) {
            *self = LastPage {
                space: Some(space),
                va: page,
                bytes: space.page(page).ok(),
            };
        }
        self.bytes
    }
}

/// Calls `each` with every word of a block up to the limit; `None` for an unreadable word.
fn words<'a>(
    block: &Block,
    space: &'a AddressSpace,
    page: &mut LastPage<'a>,
    mut each: impl FnMut(usize, Option<u64>),
) {
    let body = block.body();
    let length = block.bytes.saturating_sub(block.header_bytes()).min(LIMIT) & !(STEP - 1);
    let mut start = 0;
    while start < length {
        let va = body.add(start);
        let end = (start + PAGE_SIZE - va.offset() as u64).min(length);
        let first = start.next_multiple_of(STEP);
        let range = va.offset() + (first - start) as usize..va.offset() + (end - start) as usize;
        let mut left = page.at(va, space).and_then(|bytes| bytes.get(range));
        // A word that crosses a page counts as unreadable; pool words are aligned.
        for nth in first / STEP..end.div_ceil(STEP) {
            let split = left.and_then(<[u8]>::split_first_chunk);
            left = split.map(|(_, rest)| rest);
            each(
                nth as usize,
                split.map(|(word, _)| u64::from_le_bytes(*word)),
            );
        }
        start = end;
    }
}

fn own(block: &Block) -> std::ops::Range<u64> {
    block.va.0..block.va.0.saturating_add(block.bytes)
}

/// The values to count individually, by offset: the most frequent in some of the blocks.
fn watched(setting: &Setting<'_>, blocks: &[Block]) -> Vec<Vec<u64>> {
    let step = blocks.len().div_ceil(FIRST_LOOK).max(1);
    let mut values: Vec<Vec<u64>> = Vec::new();
    let mut page = LastPage::default();
    for block in blocks.iter().step_by(step) {
        let space = (setting.space)(block.session);
        words(block, space, &mut page, |nth, word| {
            if values.len() <= nth {
                values.resize_with(nth + 1, Vec::new);
            }
            if let (Some(word), Some(values)) = (word, values.get_mut(nth)) {
                values.push(word);
            }
        });
    }
    values.iter().map(|v| offsets::frequent(v)).collect()
}

/// The result of one work item.
#[derive(Default)]
struct Part {
    tally: Tally,
    shapes: Shapes,
    pending: Vec<Pending>,
    unreadable: u64,
    longer: u64,
}

impl Part {
    fn of(
        setting: &Setting<'_>,
        images: &Images,
        watched: &[Vec<u64>],
        blocks: &[Block],
        first: usize,
    ) -> Part {
        let mut out = Part::default();
        let mut modules = Vec::new();
        let mut page = LastPage::default();
        for (place, block) in (first..).zip(blocks) {
            let mut shape: Shape = [0; SHAPE];
            let mut read = 0u64;
            modules.clear();
            let session = block.session.unwrap_or(SYSTEM);
            let space = (setting.space)(block.session);
            words(block, space, &mut page, |nth, value| {
                let word = value.map(|v| classify(v, images, &own(block)));
                let letter = word.map_or(families::UNREADABLE, families::code);
                if let Some(to) = shape.get_mut(nth) {
                    *to = letter;
                }
                let Some(slot) = out.tally.slot(nth) else {
                    return;
                };
                let (Some(word), Some(value)) = (word, value) else {
                    slot.unreadable += 1;
                    return;
                };
                read += 1;
                slot.add(word, value, watched.get(nth).map_or(&[], Vec::as_slice));
                match word {
                    Word::Module(module, _) => modules.push(module),
                    Word::Kernel if setting.follow => out.pending.push(Pending {
                        session,
                        value,
                        slot: nth as u16,
                    }),
                    Word::Kernel => slot.resolve(None),
                    _ => {}
                }
            });
            modules.sort_unstable();
            modules.dedup();
            for module in &modules {
                *out.tally.blocks_to.entry(*module).or_default() += 1;
            }
            out.unreadable += u64::from(read == 0);
            out.longer += u64::from(block.bytes - block.header_bytes().min(block.bytes) > LIMIT);
            if read > 0 {
                out.shapes.add(block.bytes, shape, place);
            }
        }
        out
    }
}

/// Resolves the addresses and counts their targets.
fn resolve(
    setting: &Setting<'_>,
    pending: &mut Vec<Pending>,
    out: &mut Found,
    wanted: Wanted<'_>,
) -> Option<()> {
    pending.par_sort_unstable();
    for group in pending.chunk_by(|a, b| a.session == b.session) {
        let session = group.first().map(|p| p.session).filter(|s| *s != SYSTEM);
        let mut addresses: Vec<Va> = group.iter().map(|p| Va(p.value)).collect();
        addresses.dedup();
        let found = locate(setting.index, session, &addresses, wanted)?;
        let targets: Vec<Option<Target>> = addresses
            .iter()
            .zip(&found)
            .map(|(va, block)| {
                let block = block.as_ref()?;
                Some(target(setting.objects, &mut out.types, block, *va))
            })
            .collect();
        let mut at = addresses.iter().zip(&targets).peekable();
        for waiting in group {
            while at.next_if(|(va, _)| va.0 < waiting.value).is_some() {}
            let target = at.peek().and_then(|(_, target)| **target);
            if let Some(slot) = out.tally.slot(waiting.slot.into()) {
                slot.resolve(target);
            }
        }
    }
    pending.clear();
    Some(())
}

/// Looks up addresses: blocks of a session point into its own pool and into the system's.
fn locate(
    index: &Snapshot,
    session: Option<u32>,
    addresses: &[Va],
    wanted: Wanted<'_>,
) -> Option<Vec<Option<Block>>> {
    let mut out = index.lookup(session, addresses, wanted)?;
    if session.is_some() {
        let system = index.lookup(None, addresses, wanted)?;
        for (own, of_system) in out.iter_mut().zip(system) {
            *own = own.or(of_system);
        }
    }
    Some(out)
}

fn target(objects: &dyn ObjectTypes, types: &mut Types, block: &Block, va: Va) -> Target {
    let is_freed = block.state != State::Allocated;
    let name = (!is_freed).then(|| objects.type_of(block, va)).flatten();
    Target {
        tag: block.tag,
        is_freed,
        object: name.and_then(|name| types.number(name)),
    }
}
