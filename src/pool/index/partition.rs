//! Divides a realm's pool into windows.

use crate::memory::{AddressSpace, CHUNK_SIZE, Chunk, PAGE_SIZE, Va};
use crate::pool::big::BigTable;
use crate::pool::block::PoolKind;
use crate::pool::heap::{Heaps, PageSegment};

use super::realm::Realm;
use super::segment::WINDOW;
use super::window::Window;

/// The windows of a realm in address order. `notes` receives remarks on missing data.
pub fn plan(number: usize, realm: &Realm, notes: &mut Vec<String>) -> Vec<Window> {
    let mut own = Vec::new();
    let windows = cut(number, realm, &mut own);
    let named = |note: &String| note.starts_with("session ") || note.starts_with("the session ");
    notes.extend(own.into_iter().map(|note| match realm.session {
        Some(id) if !named(&note) => format!("session {id}: {note}"),
        _ => note,
    }));
    windows
}

fn cut(number: usize, realm: &Realm, notes: &mut Vec<String>) -> Vec<Window> {
    let mut windows = Vec::new();
    notes.extend(realm.notes.iter().cloned());
    notes.extend(realm.big.notes.iter().cloned());
    notes.extend(realm.parked.notes.iter().cloned());
    if let Some(pool) = &realm.heaps {
        notes.extend(pool.heaps.notes.iter().cloned());
        notes.extend(pool.parking.notes.iter().cloned());
    }
    for region in realm.regions.iter().filter(|r| r.chains) {
        let stretch = Stretch {
            start: region.start,
            end: region.end,
            kind: Some(region.kind),
            special: false,
        };
        stretch.cut(&realm.space, &mut windows, notes);
    }
    if let Some(pool) = &realm.heaps {
        add_segments(&pool.heaps, &mut windows);
        add_orphans(&pool.heaps, &realm.big, &mut windows);
    }
    for region in &realm.special {
        let stretch = Stretch {
            start: region.start,
            end: region.end,
            kind: region.kind,
            special: true,
        };
        stretch.cut(&realm.space, &mut windows, notes);
    }
    add_windows_of_big(&realm.big, &mut windows);
    windows.sort_by_key(|w| w.start);
    for window in &mut windows {
        window.realm = number;
    }
    windows
}

/// Upper limit for the number of pages that the walk of a window reads.
pub fn work(realm: &Realm, window: &Window) -> u64 {
    let context = |s: &PageSegment| realm.heaps.as_ref()?.heaps.contexts.get(s.context);
    let segments = window.segments.iter().filter_map(context);
    let bytes: u64 = segments.map(|c| c.segment_bytes).sum();
    (window.chunks.len() + window.orphans.len()) as u64 * (CHUNK_SIZE / PAGE_SIZE)
        + bytes / PAGE_SIZE
}

/// Assigns each heap segment to its window. Segments are aligned to their size, so none crosses
/// a window's border.
fn add_segments(heaps: &Heaps, windows: &mut Vec<Window>) {
    windows.sort_by_key(|w| w.start);
    let mut extra: Vec<Window> = Vec::new();
    for &segment in &heaps.segments {
        let start = window_start(segment.va);
        let holder = windows
            .binary_search_by_key(&start, |w| window_start(w.start))
            .ok();
        if let Some(window) = holder.and_then(|i| windows.get_mut(i)) {
            // A region may start or end inside the window; its segments do not.
            window.start = start;
            window.end = Va(start.0.saturating_add(WINDOW));
            window.segments.push(segment);
            continue;
        }
        match extra.last_mut().filter(|w| w.start == start) {
            Some(window) => window.segments.push(segment),
            None => extra.push(Window {
                start,
                end: Va(start.0.saturating_add(WINDOW)),
                kind: heaps.contexts.get(segment.context).map(|c| c.kind),
                segments: vec![segment],
                ..Window::default()
            }),
        }
    }
    windows.append(&mut extra);
}

/// Assigns mapped memory outside of segments to the windows, except parts that large
/// allocations occupy entirely.
fn add_orphans(heaps: &Heaps, big: &BigTable, windows: &mut Vec<Window>) {
    windows.sort_by_key(|w| w.start);
    let mut extra: Vec<Window> = Vec::new();
    for &(chunk, kind) in &heaps.orphans {
        if big
            .holding(chunk.va)
            .is_some_and(|b| b.end() >= chunk.va.0 + CHUNK_SIZE)
        {
            continue;
        }
        let start = window_start(chunk.va);
        let holder = windows.binary_search_by_key(&start, |w| window_start(w.start));
        let known = match holder {
            Ok(i) => windows.get_mut(i),
            Err(_) => extra.last_mut().filter(|w| w.start == start),
        };
        match known {
            Some(window) => {
                window.start = start;
                window.end = Va(start.0.saturating_add(WINDOW));
                window.orphans.push((chunk, kind));
            }
            None => extra.push(Window {
                start,
                end: Va(start.0.saturating_add(WINDOW)),
                kind: Some(kind),
                orphans: vec![(chunk, kind)],
                ..Window::default()
            }),
        }
    }
    windows.append(&mut extra);
}

fn window_start(va: Va) -> Va {
    Va(va.0 & !(WINDOW - 1))
}

/// A range of addresses to walk.
struct Stretch {
    start: Va,
    end: Va,
    kind: Option<PoolKind>,
    special: bool,
}

impl Stretch {
    fn name(&self) -> String {
        let kind = self.kind.map_or("", PoolKind::word);
        match self.special {
            true => format!("{kind} special").trim_start().to_owned(),
            false => kind.to_owned(),
        }
    }

    /// Divides the mapped chunks into windows.
    fn cut(&self, space: &AddressSpace, windows: &mut Vec<Window>, notes: &mut Vec<String>) {
        let mapped = space.mapped(self.start, self.end);
        for (va, bytes, fault) in &mapped.unreadable {
            notes.push(format!(
                "page tables for {bytes:#x} bytes of {} pool at {va} can't be read ({fault})",
                self.name()
            ));
        }
        if mapped.overrun {
            notes.push(format!("the page tables of the {} pool name more pages than the dump holds: the walk of it stops early", self.name()));
        }
        let mut chunks = mapped.chunks.as_slice();
        while let Some(first) = chunks.first() {
            let start = window_start(first.va);
            let end = start.0.saturating_add(WINDOW);
            let count = chunks.partition_point(|c: &Chunk| c.va.0 < end);
            let (here, rest) = chunks.split_at(count.max(1));
            windows.push(Window {
                start: start.max(self.start),
                end: Va(end.min(self.end.0)),
                kind: self.kind,
                special: self.special,
                chunks: here.to_vec(),
                ..Window::default()
            });
            chunks = rest;
        }
    }
}

/// Big allocations that are entirely paged out, or outside the regions, still are allocations:
/// windows without pages list them.
fn add_windows_of_big(big: &BigTable, windows: &mut Vec<Window>) {
    windows.sort_by_key(|w| w.start);
    let mut extra: Vec<Window> = Vec::new();
    for block in &big.blocks {
        let after = windows.partition_point(|w| w.start <= block.va);
        let before = after.checked_sub(1).and_then(|i| windows.get(i));
        let covered = before.is_some_and(|w| block.va < w.end);
        let again = extra.last().is_some_and(|w| block.va < w.end);
        if !covered && !again {
            let start = before.map_or(Va(0), |w| w.end);
            let end = windows.get(after).map_or(Va(u64::MAX), |w| w.start);
            let aligned = window_start(block.va);
            extra.push(Window {
                start: aligned.max(start),
                end: Va(aligned.0.saturating_add(WINDOW)).min(end),
                ..Window::default()
            });
        }
    }
    windows.append(&mut extra);
}
