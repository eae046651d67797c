//! Walks the heap segments of a window, and mapped memory outside of segments.

use crate::memory::{CHUNK_SIZE, PAGE_SIZE, Va};
use crate::pool::block::{PoolKind, State};
use crate::pool::heap::{Content, Context, SMALLEST_SEGMENT, View, walk_orphans, walk_segment};

use super::overlaps;
use super::realm::{HeapPool, Realm};
use super::window::{Walker, Window};

/// A range of addresses of one pool.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: Va,
    end: Va,
    kind: PoolKind,
}

impl Walker<'_, '_> {
    /// Walks the window's heap segments in order and collects their blocks; `None` if
    /// cancelled.
    pub(super) fn heaps(
        &mut self,
        realm: &Realm,
        window: &Window,
        wanted: &dyn Fn() -> bool,
    ) -> Option<()> {
        let Some(pool) = realm.heaps.as_deref() else {
            return Some(());
        };
        if window.segments.is_empty() && window.orphans.is_empty() {
            return Some(());
        }
        let view = View::load(&realm.space, window.start, window.end);
        let mut content = Content::default();
        let mut next = Va(0);
        for &segment in &window.segments {
            if !wanted() {
                return None;
            }
            content.clear();
            walk_segment(&pool.heaps, segment, &view, &realm.big, &mut content);
            let kind = pool.heaps.contexts.get(segment.context).map(|c| c.kind);
            self.count(kind, &mut content);
            next = self.take(realm, pool, &mut content, next).max(next);
        }
        for stretch in stretches(realm, pool, window) {
            if !wanted() {
                return None;
            }
            content.clear();
            self.orphans(realm, pool, stretch, &view, &mut content);
            self.count(Some(stretch.kind), &mut content);
            self.take(realm, pool, &mut content, Va(0));
        }
        self.sort();
        Some(())
    }

    /// Collects the blocks of one segment, except those that overlap other segments; earlier
    /// segments end at `from`. Returns the end of the last block.
    fn take(&mut self, realm: &Realm, pool: &HeapPool, content: &mut Content, from: Va) -> Va {
        let blocks = &mut content.blocks;
        blocks.sort_unstable_by_key(|b| b.va);
        let (Some(first), Some(end)) = (blocks.first(), blocks.iter().map(overlaps::end).max())
        else {
            return from;
        };
        let first = first.va;
        let start = realm.big.holding(first).map_or(first, |b| b.va);
        self.totals.overlapping += overlaps::resolve(blocks, from, realm.big.between(start, end));
        pool.parking.mark(first.page(), end, blocks);
        let end = blocks.last().map_or(from, overlaps::end);
        for mut block in blocks.drain(..) {
            if block.state == State::Allocated {
                block.state = self.state(block.va);
            }
            self.push(block);
        }
        end
    }

    /// Searches pages outside of segments, and counts them.
    fn orphans(
        &mut self,
        realm: &Realm,
        pool: &HeapPool,
        stretch: Stretch,
        view: &View<'_>,
        content: &mut Content,
    ) {
        let context = Context::unknown(stretch.kind);
        let range = (stretch.start, stretch.end);
        walk_orphans(&pool.heaps, &context, range, view, &realm.big, content);
        content.blocks.retain(|b| !self.is_chain(b.va.page()));
        // Other contents are counted in pages.
        content.unplaced_bytes = 0;
        content.damaged.clear();
        let mut va = stretch.start;
        while va < stretch.end {
            let heap = pool.heaps.contexts.iter().any(|c| c.heap == va);
            if !heap && !self.is_chain(va) && realm.big.holding(va).is_none() {
                match view.page(va) {
                    Ok(page) if crate::bytes::is_zero(page) => {}
                    Ok(_) => content.pages.unowned += 1,
                    Err(fault) if fault.is_missing_data() => content.pages.missing(fault),
                    Err(_) => {}
                }
            }
            va = va.add(PAGE_SIZE);
        }
    }

    fn count(&mut self, kind: Option<PoolKind>, content: &mut Content) {
        let pages = self.totals.pages(kind);
        *pages += content.pages;
        pages.damaged += content.damaged.len() as u64;
        pages.unplaced_bytes += content.unplaced_bytes;
        self.totals.free_blocks += content.free_blocks;
        self.totals.free_bytes += content.free_bytes;
        self.totals.unplaced_bytes += content.unplaced_bytes;
        self.totals.doubted += content.doubted;
        self.totals.damaged.append(&mut content.damaged);
    }
}

/// The window's mapped addresses outside of segments. The first page decides whether nonpaged
/// pool is executable.
fn stretches(realm: &Realm, pool: &HeapPool, window: &Window) -> Vec<Stretch> {
    let mut out: Vec<Stretch> = Vec::new();
    for &(chunk, kind) in &window.orphans {
        let no_execute = realm.space.no_execute(chunk);
        for half in (0..CHUNK_SIZE).step_by(SMALLEST_SEGMENT as usize) {
            let start = chunk.va.add(half);
            if pool.heaps.holding(start).is_some() {
                continue;
            }
            let pages = (0..SMALLEST_SEGMENT).step_by(PAGE_SIZE as usize);
            let nx = pages.map(|at| start.add(at)).any(|va| no_execute.at(va));
            let kind = match kind.is_nonpaged() {
                true if nx => PoolKind::NonPagedNx,
                true => PoolKind::NonPaged,
                false => kind,
            };
            let end = start.add(SMALLEST_SEGMENT);
            match out.last_mut() {
                Some(last) if last.end == start && last.kind == kind => last.end = end,
                _ => out.push(Stretch { start, end, kind }),
            }
        }
    }
    out
}
