//! Orders of a tag's blocks: sorted by size, or filtered. Rows stay numbers into the list, four
//! bytes each; blocks are not copied.
//!
//! Blocks have few sizes. Nearly all are multiples of 16 below 8,192 units, so they are sorted
//! by counting, in parallel, in two passes over the packed words. The others, large ones, are
//! radix-sorted by their bytes.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

/// Bytes per unit of small sizes.
const UNIT: u64 = 16;
/// Number of small sizes, in units: up to 128 KB, the maximum of a heap's variable-size blocks.
const COUNTED: usize = 1 << 13;
/// Rows per piece of work: a few milliseconds, so that cancellation takes effect soon.
const PIECE: u32 = 1 << 18;
/// Largest number of pieces, because each has counters for all small sizes.
const PIECES: u32 = 256;
/// Number of rows between checks for cancellation.
const LOOK_EVERY: usize = 1 << 16;
/// Bits per radix digit for large sizes.
const DIGIT: u32 = 11;

/// A list of rows with sizes that several threads may read.
pub trait Sizes: Sync {
    /// Number of rows.
    fn count(&self) -> u64;
    /// Calls `each` with every row of a range and its bytes, in order.
    fn scan(&self, rows: Range<u32>, each: impl FnMut(u32, u64));
    /// Size of a row in bytes; 0 after the end.
    fn bytes_of(&self, row: u32) -> u64;
}

/// Called from many threads; work ends within a few milliseconds after it returns false.
pub type Wanted<'a> = &'a (dyn Fn() -> bool + Sync);

/// The rows to sort.
#[derive(Clone, Copy)]
enum Rows<'a> {
    All(u32),
    Some(&'a [u32]),
}

impl Rows<'_> {
    fn len(self) -> u32 {
        match self {
            Rows::All(count) => count,
            Rows::Some(rows) => u32::try_from(rows.len()).unwrap_or(u32::MAX),
        }
    }

    /// Divides the rows into ranges of positions.
    fn pieces(self) -> Vec<Range<u32>> {
        let size = PIECE.max(self.len().div_ceil(PIECES));
        let count = self.len().div_ceil(size);
        (0..count)
            .map(|i| i * size..(i * size).saturating_add(size).min(self.len()))
            .collect()
    }

    fn scan(self, list: &impl Sizes, places: Range<u32>, mut each: impl FnMut(u32, u64)) {
        match self {
            Rows::All(_) => list.scan(places, each),
            Rows::Some(rows) => {
                let places = places.start as usize..places.end as usize;
                for &row in rows.get(places).unwrap_or_default() {
                    each(row, list.bytes_of(row));
                }
            }
        }
    }
}

/// The rows of a list (`kept`: only these, ascending) sorted by size; equal sizes keep list
/// order. At most about four billion rows are sorted; more do not fit into a machine. `None` if
/// cancelled.
pub fn by_size(
    list: &impl Sizes,
    kept: Option<&[u32]>,
    descending: bool,
    wanted: Wanted<'_>,
) -> Option<Vec<u32>> {
    let rows = match kept {
        None => Rows::All(u32::try_from(list.count()).unwrap_or(u32::MAX)),
        Some(kept) => Rows::Some(kept),
    };
    let pieces = rows.pieces();
    let counted: Option<Vec<Counted>> = pieces
        .par_iter()
        .map(|piece| count(list, rows, piece.clone(), wanted))
        .collect();
    let mut counted = counted?;
    let mut rest = Vec::with_capacity(counted.iter().map(|c| c.rest.len()).sum());
    for piece in &mut counted {
        rest.append(&mut piece.rest);
    }
    let rest = sort_rest(rest, descending, wanted)?;

    let out: Vec<AtomicU32> = (0..rows.len()).map(|_| AtomicU32::new(0)).collect();
    give_places(&mut counted, &rest, descending, &out);
    let placed: Option<Vec<()>> = pieces
        .into_par_iter()
        .zip(counted)
        .map(|(piece, counted)| place(list, rows, piece, counted.small, &out, wanted))
        .collect();
    placed?;
    Some(out.into_iter().map(AtomicU32::into_inner).collect())
}

/// Counts of a piece: the number of rows of each small size, and the other rows.
struct Counted {
    small: Vec<u32>,
    rest: Vec<(u64, u32)>,
}

fn small(bytes: u64) -> Option<usize> {
    let units = usize::try_from(bytes / UNIT).ok()?;
    (bytes.is_multiple_of(UNIT) && units < COUNTED).then_some(units)
}

/// Divides a piece so that cancellation takes effect in time, regardless of the cost of a row.
fn steps(piece: Range<u32>) -> impl Iterator<Item = Range<u32>> {
    let end = piece.end;
    piece
        .step_by(LOOK_EVERY)
        .map(move |start| start..start.saturating_add(LOOK_EVERY as u32).min(end))
}

fn count(
    list: &impl Sizes,
    rows: Rows<'_>,
    piece: Range<u32>,
    wanted: Wanted<'_>,
) -> Option<Counted> {
    let mut out = Counted {
        small: vec![0; COUNTED],
        rest: Vec::new(),
    };
    for step in steps(piece) {
        if !wanted() {
            return None;
        }
        rows.scan(list, step, |row, bytes| {
            match small(bytes).and_then(|units| out.small.get_mut(units)) {
                Some(count) => *count += 1,
                None => out.rest.push((bytes, row)),
            }
        });
    }
    Some(out)
}

/// Converts counts into the positions of the first row of each size, piece by piece, and
/// inserts the sorted large rows between them.
fn give_places(counted: &mut [Counted], rest: &[(u64, u32)], descending: bool, out: &[AtomicU32]) {
    let mut slots = out.iter();
    let mut next = 0;
    let mut rest = rest.iter().peekable();
    for i in 0..COUNTED {
        let units = if descending { COUNTED - 1 - i } else { i };
        let size = units as u64 * UNIT;
        let comes_first = |r: &&(u64, u32)| (r.0 > size) == descending;
        while let Some((_, row)) = rest.next_if(comes_first) {
            if let Some(slot) = slots.next() {
                slot.store(*row, Ordering::Relaxed);
            }
            next += 1;
        }
        let start = next;
        for piece in counted.iter_mut() {
            if let Some(count) = piece.small.get_mut(units) {
                next += std::mem::replace(count, next);
            }
        }
        if let Some(skipped) = (next - start).checked_sub(1) {
            slots.nth(skipped as usize);
        }
    }
    for ((_, row), slot) in rest.zip(slots) {
        slot.store(*row, Ordering::Relaxed);
    }
}

fn place(
    list: &impl Sizes,
    rows: Rows<'_>,
    piece: Range<u32>,
    mut next: Vec<u32>,
    out: &[AtomicU32],
    wanted: Wanted<'_>,
) -> Option<()> {
    for step in steps(piece) {
        if !wanted() {
            return None;
        }
        rows.scan(list, step, |row, bytes| {
            let Some(at) = small(bytes).and_then(|units| next.get_mut(units)) else {
                return;
            };
            if let Some(slot) = out.get(*at as usize) {
                slot.store(row, Ordering::Relaxed);
            }
            *at += 1;
        });
    }
    Some(())
}

/// Sorts by bytes, lowest digit first; stable, so equal sizes keep list order.
fn sort_rest(
    mut rows: Vec<(u64, u32)>,
    descending: bool,
    wanted: Wanted<'_>,
) -> Option<Vec<(u64, u32)>> {
    let key = |bytes: u64| if descending { !bytes } else { bytes };
    let differ = rows
        .iter()
        .fold((u64::MAX, 0), |(and, or), r| (and & r.0, or | r.0));
    let differ = differ.0 ^ differ.1;
    let mut other = vec![(0, 0); if differ == 0 { 0 } else { rows.len() }];
    for shift in (0..u64::BITS).step_by(DIGIT as usize) {
        let mask = (1usize << DIGIT) - 1;
        if rows.is_empty() || (differ >> shift) as usize & mask == 0 {
            continue;
        }
        let digit = |row: &(u64, u32)| (key(row.0) >> shift) as usize & mask;
        let mut next = vec![0usize; mask + 1];
        for piece in rows.chunks(LOOK_EVERY) {
            wanted().then_some(())?;
            for row in piece {
                if let Some(count) = next.get_mut(digit(row)) {
                    *count += 1;
                }
            }
        }
        let mut sum = 0;
        for first in &mut next {
            sum += std::mem::replace(first, sum);
        }
        for piece in rows.chunks(LOOK_EVERY) {
            wanted().then_some(())?;
            for row in piece {
                let Some(at) = next.get_mut(digit(row)) else {
                    continue;
                };
                if let Some(slot) = other.get_mut(*at) {
                    *slot = *row;
                }
                *at += 1;
            }
        }
        std::mem::swap(&mut rows, &mut other);
    }
    Some(rows)
}

/// The rows for which `keep` returns true, ascending; limits and cancellation as in
/// [`by_size`].
pub fn filter(
    count: u64,
    keep: &(dyn Fn(u32) -> bool + Sync),
    wanted: Wanted<'_>,
) -> Option<Vec<u32>> {
    let all = Rows::All(u32::try_from(count).unwrap_or(u32::MAX));
    let kept: Option<Vec<Vec<u32>>> = all
        .pieces()
        .into_par_iter()
        .map(|piece| {
            let mut rows = Vec::new();
            for step in steps(piece) {
                wanted().then_some(())?;
                rows.extend(step.filter(|&row| keep(row)));
            }
            Some(rows)
        })
        .collect();
    Some(kept?.concat())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use proptest::prelude::*;

    struct Plain(Vec<u64>);

    impl Sizes for Plain {
        fn count(&self) -> u64 {
            self.0.len() as u64
        }

        fn scan(&self, rows: Range<u32>, mut each: impl FnMut(u32, u64)) {
            rows.for_each(|row| each(row, self.0[row as usize]));
        }

        fn bytes_of(&self, row: u32) -> u64 {
            self.0[row as usize]
        }
    }

    /// The expected result, by a comparison sort.
    fn expected(sizes: &[u64], kept: Option<&[u32]>, descending: bool) -> Vec<u32> {
        let mut rows: Vec<u32> = match kept {
            Some(kept) => kept.to_vec(),
            None => (0..sizes.len() as u32).collect(),
        };
        match descending {
            true => rows.sort_by_key(|&r| std::cmp::Reverse(sizes[r as usize])),
            false => rows.sort_by_key(|&r| sizes[r as usize]),
        }
        rows
    }

    fn size() -> impl Strategy<Value = u64> {
        prop_oneof![
            4 => (0u64..40).prop_map(|u| u * 16),
            2 => (0u64..1 << 20).prop_map(|u| u * 16),
            1 => any::<u64>(),
            1 => 0u64..1 << 41,
            1 => 0u64..700,
        ]
    }

    proptest! {
        #[test]
        fn sorting_matches_a_comparison_sort(
            sizes in proptest::collection::vec(size(), 0..300),
            descending: bool,
            every in proptest::option::of(1usize..5),
        ) {
            let kept = every.map(|n| (0..sizes.len() as u32).step_by(n).collect::<Vec<_>>());
            let want = expected(&sizes, kept.as_deref(), descending);
            let got = by_size(&Plain(sizes), kept.as_deref(), descending, &|| true);
            prop_assert_eq!(got, Some(want));
        }
    }

    #[test]
    fn many_pieces_give_one_order() {
        let count = u64::from(PIECE) * 3 + 17;
        let size = |i: u64| match i % 1000 {
            0 => i * 48 + 5,
            _ => i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53 << 4,
        };
        let sizes: Vec<u64> = (0..count).map(size).collect();
        let keep = |row: u32| row % 3 != 1;
        let kept = filter(count, &keep, &|| true).unwrap();
        assert!(
            kept.iter()
                .copied()
                .eq((0..count as u32).filter(|&r| keep(r)))
        );
        for descending in [false, true] {
            for kept in [None, Some(kept.as_slice())] {
                let want = expected(&sizes, kept, descending);
                let list = Plain(sizes.clone());
                assert!(by_size(&list, kept, descending, &|| true) == Some(want));
            }
        }
    }

    #[test]
    fn cancelled_work_ends() {
        let list = Plain(vec![160; 5 * LOOK_EVERY]);
        for looks in 0..10 {
            let asked = AtomicUsize::new(0);
            let wanted = || asked.fetch_add(1, Ordering::Relaxed) < looks;
            assert_eq!(by_size(&list, None, false, &wanted), None, "{looks}");
            assert!(asked.load(Ordering::Relaxed) <= looks + 8);
        }
        assert_eq!(filter(10, &|_| true, &|| false), None);
        let odd = Plain((0..5 * LOOK_EVERY as u64).map(|i| i * 16 + 1).collect());
        assert_eq!(by_size(&odd, None, true, &|| false), None);
    }
}
