//! Identifies table columns by their headings, for all tools.

use crate::pool::Pool;

use super::number;
use super::point::Counts;

/// The meaning of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The tag as text.
    Tag,
    /// The tag as a number: its bytes in memory order, little-endian.
    TagValue,
    /// The name of the pool.
    Pool,
    /// A count, in the given pool or in the pool that another column names.
    Figure(Option<Pool>, Figure),
    /// The time.
    Time,
    /// Seconds since boot.
    Uptime,
    /// Anything else.
    Other,
}

/// The counts of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Allocations since boot.
    Allocs,
    /// Frees since boot.
    Frees,
    /// Outstanding allocations.
    Outstanding,
    /// Outstanding bytes.
    Bytes,
}

impl Column {
    /// The column for a heading.
    pub fn of(head: &str) -> Column {
        let word: String = head
            .chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect();
        match word.as_str() {
            "tag" | "tagname" | "pooltag" => Column::Tag,
            "taghex" | "value" | "tagvalue" => Column::TagValue,
            "pool" | "type" | "pooltype" => Column::Pool,
            "time" | "timestamp" | "datetime" | "date" | "timegenerated" | "collected"
            | "timecreated" => Column::Time,
            "uptime" | "uptimeseconds" => Column::Uptime,
            word => {
                figure(word).map_or(Column::Other, |(pool, figure)| Column::Figure(pool, figure))
            }
        }
    }
}

fn figure(word: &str) -> Option<(Option<Pool>, Figure)> {
    const POOLS: [(&str, Pool); 6] = [
        ("nonpaged", Pool::Nonpaged),
        ("npaged", Pool::Nonpaged),
        ("nonp", Pool::Nonpaged),
        ("paged", Pool::Paged),
        ("np", Pool::Nonpaged),
        ("pg", Pool::Paged),
    ];
    let prefixed = POOLS
        .iter()
        .find_map(|(prefix, pool)| word.strip_prefix(prefix).map(|rest| (*pool, rest)));
    let (pool, rest) = match prefixed {
        Some((pool, rest)) => (Some(pool), rest),
        None => (None, word),
    };
    let figure = match rest.strip_prefix("pool").unwrap_or(rest) {
        "allocs" | "allocations" => Figure::Allocs,
        "frees" => Figure::Frees,
        "outstanding" | "diff" | "current" | "live" => Figure::Outstanding,
        "bytes" | "used" | "usage" | "usedbytes" | "bytesused" => Figure::Bytes,
        _ => return None,
    };
    Some((pool, figure))
}

/// The pool in a cell; `Ok(None)` for an empty cell, which a table has if its source did not
/// state the pool.
///
/// # Errors
/// If the cell does not name a pool.
pub fn pool_of(cell: &str) -> Result<Option<Pool>, ()> {
    let word: String = cell
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    match word.as_str() {
        "" => Ok(None),
        "nonpaged" | "nonp" | "np" | "nonpagednx" | "nonpagedpool" | "npaged" | "n" => {
            Ok(Some(Pool::Nonpaged))
        }
        "paged" | "pagedpool" | "pg" | "p" => Ok(Some(Pool::Paged)),
        _ => Err(()),
    }
}

/// Stores a cell in the counts.
///
/// # Errors
/// If the cell is neither empty nor a number.
pub fn put(counts: &mut Counts, figure: Figure, cell: &str) -> Result<(), ()> {
    if cell.trim().is_empty() {
        return Ok(());
    }
    let value = number::unsigned(cell).or_else(|| number::decimal(cell));
    match figure {
        Figure::Allocs => counts.allocs = Some(value.ok_or(())?),
        Figure::Frees => counts.frees = Some(value.ok_or(())?),
        Figure::Bytes => counts.bytes = Some(value.ok_or(())?),
        Figure::Outstanding => {
            // Scripts with signed arithmetic print a negative number after an overflow.
            let wrapped = || {
                let negative = number::signed(cell).filter(|n| *n < 0)?;
                u64::try_from(negative.checked_add(1 << 32)?).ok()
            };
            counts.outstanding = Some(value.or_else(wrapped).ok_or(())?);
        }
    }
    Ok(())
}

/// True if the outstanding allocations equal allocations minus frees, modulo 2^32, or if one of
/// the three is unknown.
pub fn adds_up(counts: &Counts) -> bool {
    match (counts.allocs, counts.frees, counts.outstanding) {
        (Some(allocs), Some(frees), Some(outstanding)) => {
            (allocs as u32).wrapping_sub(frees as u32) == outstanding as u32
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_of_all_tools_are_recognised() {
        use Figure::*;
        use Pool::*;
        for (head, expected) in [
            ("Tag", Column::Tag),
            ("tag_hex", Column::TagValue),
            ("Type", Column::Pool),
            ("Allocs", Column::Figure(None, Allocs)),
            ("PagedUsedBytes", Column::Figure(Some(Paged), Bytes)),
            ("NonPagedDiff", Column::Figure(Some(Nonpaged), Outstanding)),
            ("NPaged Usage", Column::Figure(Some(Nonpaged), Bytes)),
            ("Paged allocations", Column::Figure(Some(Paged), Allocs)),
            ("NpBytes", Column::Figure(Some(Nonpaged), Bytes)),
            ("PgFrees", Column::Figure(Some(Paged), Frees)),
            (
                "nonpaged_outstanding",
                Column::Figure(Some(Nonpaged), Outstanding),
            ),
            ("TotalUsedBytes", Column::Other),
            ("KBytes", Column::Other),
            ("Per Alloc", Column::Other),
            ("Timestamp", Column::Time),
        ] {
            assert_eq!(Column::of(head), expected, "{head}");
        }
    }

    #[test]
    fn a_negative_difference_is_an_overflow() {
        let mut counts = Counts::default();
        put(&mut counts, Figure::Outstanding, "-4294967284").unwrap();
        assert_eq!(counts.outstanding, Some(12));
        assert!(put(&mut counts, Figure::Bytes, "-4").is_err());
        assert!(put(&mut counts, Figure::Bytes, "many").is_err());
        assert!(put(&mut counts, Figure::Allocs, "").is_ok() && counts.allocs.is_none());
    }
}
