//! Rows that moved up or down together are scrolled there, and not written again.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::line::LineWriter;
use super::look::Look;
use super::screen_cell::ScreenCell;

/// Rows of the screen that move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The first row of the region.
    top: usize,
    /// The last one.
    bottom: usize,
    /// By so many rows: up when positive.
    by: isize,
}

/// Cells that a scrolling must save to be worth its sequences.
const WORTH: i64 = 60;
/// A move by more rows has little left to save.
const FARTHEST: isize = 8;

/// The move after which least is left to write; `None` when writing is as good.
pub fn find(old: &[ScreenCell], new: &[ScreenCell], width: usize) -> Option<Moved> {
    let rows = old.len() / width.max(1);
    let changed = (0..rows)
        .filter(|&y| row(old, y, width) != row(new, y, width))
        .count();
    // Two rows change when a selection moves.
    if changed < 4 {
        return None;
    }
    let (old_marks, new_marks) = (marks(old), marks(new));
    let mut best = None;
    for by in (-FARTHEST..=FARTHEST).filter(|by| *by != 0) {
        let gains = (0..rows).map(|y| {
            let from = y.checked_add_signed(by).filter(|from| *from < rows)?;
            let now = row(&new_marks, y, width);
            let stays = differing(row(&old_marks, y, width), now);
            let comes = differing(row(&old_marks, from, width), now);
            Some(stays as i64 - comes as i64)
        });
        let Some((first, last, gain)) = best_run(gains) else {
            continue;
        };
        // The region also has the rows that move out of it.
        let top = first.min(first.saturating_add_signed(by));
        let bottom = last.max(last.saturating_add_signed(by));
        let lost = lost(&old_marks, &new_marks, width, (top, bottom), (first, last));
        let gain = gain - lost;
        if gain > best.map_or(WORTH, |(_, most)| most) {
            best = Some((Moved { top, bottom, by }, gain));
        }
    }
    best.map(|(moved, _)| moved)
}

/// Cells that are right now in the rows that are blank after the move.
fn lost(
    old: &[u64],
    new: &[u64],
    width: usize,
    region: (usize, usize),
    run: (usize, usize),
) -> i64 {
    let blank = mark(&ScreenCell::blank());
    (region.0..=region.1)
        .filter(|y| *y < run.0 || *y > run.1)
        .map(|y| {
            let now = row(new, y, width);
            let kept = differing(row(old, y, width), now) as i64;
            now.iter().filter(|m| **m != blank).count() as i64 - kept
        })
        .sum()
}

/// The stretch with the largest sum.
fn best_run(gains: impl Iterator<Item = Option<i64>>) -> Option<(usize, usize, i64)> {
    let (mut start, mut sum) = (0, 0);
    let mut best: Option<(usize, usize, i64)> = None;
    for (y, gain) in gains.enumerate() {
        let Some(gain) = gain else {
            (start, sum) = (y + 1, 0);
            continue;
        };
        if sum <= 0 {
            (start, sum) = (y, 0);
        }
        sum += gain;
        if sum > best.map_or(0, |(.., most)| most) {
            best = Some((start, y, sum));
        }
    }
    best
}

fn row<T>(cells: &[T], y: usize, width: usize) -> &[T] {
    cells.get(y * width..(y + 1) * width).unwrap_or_default()
}

fn differing(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

fn marks(cells: &[ScreenCell]) -> Vec<u64> {
    cells.iter().map(mark).collect()
}

/// A hash of a cell's content, for comparisons of cost; what is written is compared itself.
fn mark(cell: &ScreenCell) -> u64 {
    let mut hasher = DefaultHasher::new();
    let look = cell.look();
    (
        cell.symbol(),
        look.fg,
        look.bg,
        look.modifier.bits(),
        cell.width,
    )
        .hash(&mut hasher);
    hasher.finish()
}

impl Moved {
    /// Has the terminal move the rows: a scrolling region (DECSTBM), line feeds at its end
    /// or reverse ones at its start, and the whole screen again. All in the plain look, for
    /// some terminals fill with the one that is being written with.
    pub fn write(&self, hand: &mut LineWriter) {
        hand.wear(Look::PLAIN);
        let region = format!("\x1b[{};{}r", self.top + 1, self.bottom + 1);
        hand.out.extend_from_slice(region.as_bytes());
        // Moves that are not absolute may end at the region's margins.
        hand.lose_place();
        let times = self.by.unsigned_abs();
        if self.by > 0 {
            hand.go(0, self.bottom as u16);
            hand.out.extend(vec![b'\n'; times]);
        } else {
            hand.go(0, self.top as u16);
            hand.out.extend(b"\x1bM".repeat(times));
        }
        // Taking the region away puts the cursor home.
        hand.out.extend_from_slice(b"\x1b[r");
        hand.stand((0, 0), Look::PLAIN);
    }

    /// The same to what is known of the screen.
    pub fn apply(&self, shadow: &mut [ScreenCell], width: usize) {
        let Some(region) = shadow.get_mut(self.top * width..(self.bottom + 1) * width) else {
            return;
        };
        let cells = (self.by.unsigned_abs() * width).min(region.len());
        if self.by > 0 {
            region.rotate_left(cells);
            let kept = region.len() - cells;
            region
                .iter_mut()
                .skip(kept)
                .for_each(|s| *s = ScreenCell::blank());
        } else {
            region.rotate_right(cells);
            region
                .iter_mut()
                .take(cells)
                .for_each(|s| *s = ScreenCell::blank());
        }
    }
}
