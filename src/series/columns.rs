//! The columns of tables by their heads, whoever wrote them.

use crate::pool::Pool;

use super::number;
use super::point::Counts;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The tag as text.
    Tag,
    /// The tag as a number, bytes in memory order little-endian.
    TagValue,
    /// The name of the pool.
    Pool,
    /// A figure: of a pool, or of the pool that another column names.
    Figure(Option<Pool>, Figure),
    /// The time.
    Time,
    /// Seconds since boot.
    Uptime,
    /// Anything else.
    Other,
}

/// The figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Allocations since boot.
    Allocs,
    /// Frees since boot.
    Frees,
    /// Allocations outstanding.
    Outstanding,
    /// Bytes outstanding.
    Bytes,
}

impl Column {
    /// By its head.
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

/// The pool by its name in a cell: `Ok(None)` for an empty one, which a table has where its
/// source did not say.
///
/// # Errors
/// When the cell names no pool.
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

/// Puts a cell into the counts.
///
/// # Errors
/// When it is not empty and no number.
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
            // A script that subtracts with a sign prints it below zero after a wrap.
            let wrapped = || {
                let negative = number::signed(cell).filter(|n| *n < 0)?;
                u64::try_from(negative.checked_add(1 << 32)?).ok()
            };
            counts.outstanding = Some(value.or_else(wrapped).ok_or(())?);
        }
    }
    Ok(())
}

/// True when the outstanding allocations are the difference of the counters, in 32 bits, or
/// when one of the three is not known.
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
    fn heads_of_all_tools_are_understood() {
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
    fn a_difference_below_zero_is_a_wrap() {
        let mut counts = Counts::default();
        put(&mut counts, Figure::Outstanding, "-4294967284").unwrap();
        assert_eq!(counts.outstanding, Some(12));
        assert!(put(&mut counts, Figure::Bytes, "-4").is_err());
        assert!(put(&mut counts, Figure::Bytes, "many").is_err());
        assert!(put(&mut counts, Figure::Allocs, "").is_ok() && counts.allocs.is_none());
    }
}
