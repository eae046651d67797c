//! PoolMonXv3's CSV: no quotes, commas between cells, and thousands separators of the user's
//! language, so `1,234` appears as two cells.
//!
//! A line starts with the tag as text and as a number. The following cells are joined to eight
//! numbers such that each difference equals allocations minus frees. A line with no such
//! division, or with several, is dropped.

use super::error::SeriesError;
use super::limits;
use super::number;
use super::point::{CounterWidth, Counts, Kind, Listing, Log, Point};
use super::rows::Rows;
use super::tag_text::ReadTag;
use crate::pool::{Pool, Tag};

/// True for a line that starts with a tag and its value.
pub fn is_start(line: &str) -> bool {
    split(line).is_some()
}

/// Reads a file.
///
/// # Errors
/// [`SeriesError::NoRows`].
pub fn read(text: &str, source: &str) -> Result<Log, SeriesError> {
    const WHAT: &str = "a table of PoolMonXv3";
    let mut rows = Rows::default();
    let mut skipped = 0;
    let mut notes = Vec::new();
    for line in text.lines() {
        let Some((value, rest)) = split(line) else {
            continue;
        };
        let Some([paged, nonpaged]) = numbers(rest) else {
            skipped += 1;
            continue;
        };
        if rows.len() >= limits::ROWS {
            notes.push(limits::note());
            break;
        }
        let tag = ReadTag {
            tag: Tag::new(value),
            unsure: 0,
        };
        rows.add(tag, Some(Pool::Paged), paged);
        rows.add(tag, Some(Pool::Nonpaged), nonpaged);
    }
    if rows.is_empty() {
        return Err(SeriesError::NoRows {
            what: WHAT,
            skipped,
            advice: "the columns must be in their usual order, none hidden",
        });
    }
    let mut point = Point {
        width: CounterWidth::Bits32,
        listing: Listing::Unstated,
        skipped,
        ..Point::new(source, Kind::PoolMonX)
    };
    rows.finish(&mut point);
    Ok(Log {
        what: WHAT,
        points: vec![point],
        notes,
    })
}

/// The tag's value, and the cells after it.
fn split(line: &str) -> Option<(u32, &str)> {
    let (tag, rest) = line.split_once(",0x")?;
    let plausible = (1..=4).contains(&tag.chars().count()) && line.len() <= limits::CELL_BYTES;
    let (hex, rest) = rest.split_at_checked(8)?;
    let whole = plausible && hex.bytes().all(|b| b.is_ascii_hexdigit());
    let rest = rest.strip_prefix(',')?;
    whole
        .then(|| u32::from_str_radix(hex, 16).ok())
        .flatten()
        .map(|value| (value, rest))
}

/// Paged and nonpaged counts from the cells.
fn numbers(rest: &str) -> Option<[Counts; 2]> {
    /// Eight numbers with at most seven groups of three digits each.
    const MOST: usize = 8 * 7;
    let cells: Vec<&str> = rest
        .split(',')
        .map(str::trim)
        .take_while(|c| number::unsigned(c).is_some())
        .collect();
    if cells.len() < 8 || cells.len() > MOST {
        return None;
    }
    let mut found = Vec::new();
    divide(&cells, &mut Vec::with_capacity(8), &mut found);
    let [only] = found.try_into().ok()?;
    Some(only)
}

/// Finds the divisions of the cells into eight consistent numbers; stops at the second.
fn divide(cells: &[&str], done: &mut Vec<u64>, found: &mut Vec<[Counts; 2]>) {
    let narrow = |n: Option<&u64>| n.copied().unwrap_or_default() as u32;
    let adds_up = |at: usize| {
        let [a, f, d] = [at, at + 1, at + 2].map(|i| narrow(done.get(i)));
        a.wrapping_sub(f) == d
    };
    let length = done.len();
    if (length == 3 && !adds_up(0)) || (length == 7 && !adds_up(4)) || found.len() > 1 {
        return;
    }
    if length == 8 {
        if cells.is_empty() {
            found.extend(both(done));
        }
        return;
    }
    let mut joined = String::new();
    for (at, cell) in cells.iter().enumerate() {
        let groups = at > 0;
        let first = cells.first().copied().unwrap_or_default();
        let fits = cell.len() == 3 && (1..=3).contains(&first.len()) && !first.starts_with('0');
        if (groups && !fits) || joined.len() > 20 {
            break;
        }
        joined.push_str(cell);
        let Some(value) = number::unsigned(&joined) else {
            break;
        };
        done.push(value);
        divide(cells.get(at + 1..).unwrap_or_default(), done, found);
        done.pop();
    }
}

fn both(numbers: &[u64]) -> Option<[Counts; 2]> {
    let of = |at: usize| -> Option<Counts> {
        Some(Counts {
            allocs: Some(*numbers.get(at)?),
            frees: Some(*numbers.get(at + 1)?),
            outstanding: Some(*numbers.get(at + 2)?),
            bytes: Some(*numbers.get(at + 3)?),
        })
    };
    Some([of(0)?, of(4)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(line: &str) -> Option<[[u64; 4]; 2]> {
        let (_, rest) = split(line)?;
        let of = |c: Counts| [c.allocs, c.frees, c.outstanding, c.bytes].map(Option::unwrap);
        numbers(rest).map(|both| both.map(of))
    }

    #[test]
    fn groups_of_digits_are_joined_to_consistent_numbers() {
        let line = "Leak,0x6B61654C,0,0,0,0,1,234,567,1,233,966,601,615,424,000,,";
        let expected = [[0; 4], [1_234_567, 1_233_966, 601, 615_424_000]];
        assert_eq!(figures(line), Some(expected));
        assert_eq!(split(line).unwrap().0, 0x6b61_654c);
        let line = "Leak,0x6B61654C,0,0,0,0,1.234.567,1.233.966,601,615.424.000,x.sys,a, b";
        assert_eq!(figures(line), Some(expected));
        let line = "Leak,0x6B61654C,0,0,0,0,1234567,1233966,601,615424000,,";
        assert_eq!(figures(line), Some(expected));
    }

    #[test]
    fn inconsistent_lines_are_dropped() {
        for line in [
            "Leak,0x6B61654C,0,0,0,0,5,1,3,64,,",
            "Leak,0x6B61654C,0,0,0,0,5,1,4",
            "Leak,0x6B61654C,,,,",
            "Leak,0x6B61654",
            "Leaks,0x6B61654C,0,0,0,0,5,1,4,64",
        ] {
            assert_eq!(figures(line), None, "{line}");
        }
        let many = format!("Leak,0x6B61654C,{}", "1,111,".repeat(25));
        assert_eq!(figures(&many), None);
    }
}
