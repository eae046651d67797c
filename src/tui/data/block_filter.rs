//! The filter of a list of allocations (after `&`): parsed once, tested on many blocks.

use crate::pool::Block;
use crate::report::text::parse_address;

use crate::tui::data::columns;
use crate::tui::data::order::PoolChoice;
use crate::tui::input::query::{self, Query};

/// A filter for allocations: a size (`1024000`, `>4096`, `<=0x140`), the start of an
/// address (`fffffa80`, `0xfffffa80'01`), or a word (`paged`, `big`, `lookaside`).
#[derive(Clone, Debug)]
pub enum BlockFilter {
    /// Size comparison.
    Size(Compare, u64),
    /// The address starts with these hexadecimal digits.
    Address(String),
    /// A pool, a backend or a state.
    Word(String),
    /// A query with several conditions.
    Query(Query),
    /// One pool, and a further filter.
    In(PoolChoice, Option<Box<BlockFilter>>),
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Compare {
    Is,
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl BlockFilter {
    /// Parses a typed filter.
    ///
    /// # Errors
    /// A sentence that lists what can be typed.
    pub fn parse(typed: &str) -> Result<Option<BlockFilter>, String> {
        let text = typed.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let (compare, rest) = comparison(text);
        if let Some(size) = number(rest) {
            return Ok(Some(BlockFilter::Size(
                compare.unwrap_or(Compare::Is),
                size,
            )));
        }
        if compare.is_none() {
            if let Some(address) = parse_address(text).filter(|va| va.0 != 0) {
                return Ok(Some(BlockFilter::Address(format!("{:x}", address.0))));
            }
            if text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_') {
                return Ok(Some(BlockFilter::Word(text.to_ascii_lowercase())));
            }
        }
        if query::compares(text) {
            let query = Query::parse(text, &columns::BLOCK, columns::BLOCK_DEFAULT)?;
            return Ok(Some(BlockFilter::Query(query)));
        }
        Err(format!(
            "`{text}`: type a size (4096, >0x1000), the start of an address (fffffa80), a word (paged, big, lookaside), or a query (size > 4k and pool = paged)"
        ))
    }

    /// Limits a filter to one pool.
    pub fn in_pool(filter: Option<BlockFilter>, pool: PoolChoice) -> Option<BlockFilter> {
        match pool {
            PoolChoice::Both => filter,
            pool => Some(BlockFilter::In(pool, filter.map(Box::new))),
        }
    }

    /// True if a block matches.
    pub fn block(&self, block: &Block) -> bool {
        match self {
            BlockFilter::Size(compare, size) => match compare {
                Compare::Is => block.bytes == *size,
                Compare::Above => block.bytes > *size,
                Compare::AtLeast => block.bytes >= *size,
                Compare::Below => block.bytes < *size,
                Compare::AtMost => block.bytes <= *size,
            },
            BlockFilter::Address(start) => format!("{:x}", block.va.0).starts_with(start),
            BlockFilter::Word(word) => {
                [block.kind.word(), block.backend.word(), block.state.word()]
                    .iter()
                    .any(|w| w == word)
            }
            BlockFilter::Query(query) => query.holds(block),
            BlockFilter::In(pool, filter) => {
                let nonpaged = block.kind.is_nonpaged();
                let here = match pool {
                    PoolChoice::Both => true,
                    PoolChoice::Nonpaged => nonpaged,
                    PoolChoice::Paged => !nonpaged,
                };
                here && filter.as_ref().is_none_or(|f| f.block(block))
            }
        }
    }
}

fn comparison(text: &str) -> (Option<Compare>, &str) {
    for (sign, compare) in [
        (">=", Compare::AtLeast),
        ("<=", Compare::AtMost),
        (">", Compare::Above),
        ("<", Compare::Below),
        ("=", Compare::Is),
    ] {
        if let Some(rest) = text.strip_prefix(sign) {
            return (Some(compare), rest.trim());
        }
    }
    (None, text)
}

/// Parses a size: decimal with optional commas and K, M or G, or `0x` hexadecimal with up
/// to eight digits (more digits are an address).
fn number(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return (hex.len() <= 8)
            .then(|| u64::from_str_radix(hex, 16).ok())
            .flatten()
            .filter(|_| !hex.starts_with('+'));
    }
    let upper = text.to_ascii_uppercase();
    let upper = upper.strip_suffix('B').unwrap_or(&upper);
    let (digits, shift) = match upper.as_bytes().last()? {
        b'K' => (upper.strip_suffix('K')?, 10),
        b'M' => (upper.strip_suffix('M')?, 20),
        b'G' => (upper.strip_suffix('G')?, 30),
        _ => (upper, 0),
    };
    let digits = digits.trim().replace(',', "");
    // Sixteen decimal digits are an address, not a size.
    let plain = (1..16).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let value: u64 = digits.parse().ok().filter(|_| plain)?;
    value.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture::planted_block;
    use proptest::prelude::*;

    #[test]
    fn allocations_are_found_by_size_address_and_word() {
        let block = planted_block(3);
        let asks = |typed: String| {
            BlockFilter::parse(&typed)
                .unwrap()
                .is_none_or(|f| f.block(&block))
        };
        assert!(asks(block.bytes.to_string()));
        assert!(asks(format!("{:#x}", block.bytes)));
        assert!(asks(">1".into()) && asks("<= 1G".into()) && !asks(">1GB".into()));
        assert!(asks(format!("{}", block.va)) && asks("fffffa80".into()));
        assert!(!asks("fffff8a0".into()));
        assert!(asks("nonpaged".into()) && asks("Big".into()) && !asks("paged".into()));
        assert!(asks(String::new()));
        assert!(BlockFilter::parse(">x y").is_err());
    }

    proptest! {
        #[test]
        fn parsing_any_text_does_not_panic(typed in ".{0,24}") {
            if let Ok(Some(filter)) = BlockFilter::parse(&typed) {
                filter.block(&planted_block(1));
            }
        }
    }
}
