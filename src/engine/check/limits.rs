//! The limits of a rule.

use crate::analysis::judgement::Verdict;

/// One limit of a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Maximum outstanding bytes.
    Bytes(u64),
    /// Maximum percentage: of the pool for a tag or a driver, of physical memory for a pool.
    Share(f64),
    /// Maximum number of outstanding allocations.
    Outstanding(u64),
    /// Maximum growth since a baseline, in bytes per hour.
    Growth(u64),
    /// The worst verdict that passes.
    Verdict(Verdict),
}

impl Limit {
    /// The key in a rules file.
    pub fn key(self) -> &'static str {
        match self {
            Limit::Bytes(_) => "max_bytes",
            Limit::Share(_) => "max_share_percent",
            Limit::Outstanding(_) => "max_outstanding",
            Limit::Growth(_) => "max_growth_per_hour",
            Limit::Verdict(_) => "max_verdict",
        }
    }
}

/// Parses `500 KB`, `1.5 GB`, `615424000`; 1 KB is 1,024 bytes.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        _ => return None,
    };
    let number = number.replace('_', "");
    match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(1 << shift),
        Err(_) => {
            let bytes = number.parse::<f64>().ok()? * (1u64 << shift) as f64;
            (0.0..9e18).contains(&bytes).then_some(bytes as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_parsed_with_units() {
        for (text, bytes) in [
            ("615424000", 615_424_000),
            ("1_000", 1000),
            ("500 KB", 500 << 10),
            ("1.5 GB", 3 << 29),
            ("2t", 2 << 40),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "MB", "5 pages", "-1", "1e9", "99999999999 TB", "1.2.3"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
