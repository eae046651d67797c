//! Rows that moved up or down together are scrolled instead of written again.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::line::LineWriter;
use super::look::Look;
use super::screen_cell::ScreenCell;

/// A scroll of some rows of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The first row of the region.
    top: usize,
    /// The last row of the region.
    bottom: usize,
    /// The number of rows; positive for up.
    by: isize,
}

/// Cells that a scroll must save to be worth its sequences.
const WORTH: i64 = 60;
/// Maximum scroll distance; a longer one saves little.
const FARTHEST: isize = 8;

/// The scroll that leaves the fewest cells to write; `None` if no scroll is worth it.
pub fn find(old: &[ScreenCell], new: &[ScreenCell], width: usize) -> Option<Moved> {
    let rows = old.len() / width.max(1);
    let changed = (0..rows)
        .filter(|&y| row(old, y, width) != row(new, y, width))
        .count();
    // Only two rows change when the selection moves.
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
        // The region includes the rows that are scrolled out.
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

/// Cells that are already right, in rows that become blank by the scroll.
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

/// The run with the largest sum.
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

/// A hash of a cell's content to estimate costs; the decision what to write compares the
/// cells themselves.
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
    /// Scrolls on the terminal: sets a scrolling region (DECSTBM), sends line feeds at its
    /// end or reverse line feeds at its start, and resets the region. Attributes are reset
    /// first, because some terminals fill new rows with the current ones.
    pub fn write(&self, hand: &mut LineWriter) {
        hand.wear(Look::PLAIN);
        let region = format!("\x1b[{};{}r", self.top + 1, self.bottom + 1);
        hand.out.extend_from_slice(region.as_bytes());
        // Relative moves may stop at the margins of the region.
        hand.lose_place();
        let times = self.by.unsigned_abs();
        if self.by > 0 {
            hand.go(0, self.bottom as u16);
            hand.out.extend(vec![b'\n'; times]);
        } else {
            hand.go(0, self.top as u16);
            hand.out.extend(b"\x1bM".repeat(times));
        }
        // Resetting the region moves the cursor home.
        hand.out.extend_from_slice(b"\x1b[r");
        hand.stand((0, 0), Look::PLAIN);
    }

    /// Applies the scroll to the known contents of the screen.
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
