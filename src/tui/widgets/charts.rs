//! Charts of a tag's allocations: their sizes and their addresses.

use std::sync::Arc;

use crate::pool::index::{AddressHistogram, SizeCount};
use crate::report::text::{grouped, human};

use crate::tui::terminal::theme::Theme;

/// The data of the two charts.
#[derive(Clone, Debug, Default)]
pub struct TagCharts {
    /// Sizes, sorted by total bytes, descending.
    pub sizes: Arc<Vec<SizeCount>>,
    /// Bytes by address, in [`PARTS`] parts; `None` without blocks.
    pub spread: Option<AddressHistogram>,
}

/// The number of parts of the address range; a screen draws as many as it has room for.
pub const PARTS: usize = 240;

impl TagCharts {
    /// The charts as lines of a width.
    pub fn lines(&self, width: u16, theme: &Theme) -> Vec<String> {
        let sizes = self.sizes_line(width, theme);
        let places = self.places_line(width, theme);
        sizes.into_iter().chain(places).collect()
    }

    /// Bytes by size class; each class is twice as large as the one before.
    fn sizes_line(&self, width: u16, theme: &Theme) -> Option<String> {
        let low = self.sizes.iter().map(|s| s.size).min()?;
        let high = self.sizes.iter().map(|s| s.size).max()?;
        let (first, last) = (class(low), class(high));
        let mut columns = vec![0u64; (last - first) as usize + 1];
        let mut all = 0u64;
        for size in self.sizes.iter() {
            all = all.saturating_add(size.bytes());
            if let Some(sum) = columns.get_mut((class(size.size) - first) as usize) {
                *sum = sum.saturating_add(size.bytes());
            }
        }
        let mut line = format!(
            "Sizes {} {} {}",
            human(1 << first),
            theme.spark(&columns),
            human(1u64.checked_shl(last + 1).unwrap_or(u64::MAX)),
        );
        let largest = self.sizes.first()?;
        let share = largest.bytes() as f64 * 100.0 / all.max(1) as f64;
        let more = match self.sizes.len() {
            1 => ", all of one size".to_owned(),
            n => format!(", {} sizes", grouped(n as u64)),
        };
        let most = format!(
            "  {} of {} bytes: {share:.0}%{more}",
            grouped(largest.count),
            grouped(largest.size)
        );
        if line.chars().count() + most.len() <= usize::from(width) {
            line += &most;
        }
        Some(line)
    }

    /// Bytes by address.
    fn places_line(&self, width: u16, theme: &Theme) -> Option<String> {
        let spread = self.spread.as_ref()?;
        let tail = format!(
            " {}  {} over {}",
            spread.end,
            human(spread.bytes()),
            human(spread.length())
        );
        let head = format!("Where {} ", spread.first);
        let room = usize::from(width).saturating_sub(head.len() + tail.len());
        let columns = folded(&spread.parts, room.min(PARTS));
        (room >= 8).then(|| format!("{head}{}{tail}", theme.spark(&columns)))
    }
}

/// The size class: the logarithm of the largest power of two that is not above the size.
fn class(size: u64) -> u32 {
    size.max(1).ilog2()
}

/// Adds neighbours, so that at most this many columns are left.
fn folded(parts: &[u64], most: usize) -> Vec<u64> {
    if most == 0 {
        return Vec::new();
    }
    let each = parts.len().div_ceil(most).max(1);
    let sum = |parts: &[u64]| parts.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
    parts.chunks(each).map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Va;
    use crate::tui::terminal::theme::Palette;

    const ASCII: Theme = Theme {
        palette: Palette::Plain,
        ascii: true,
    };

    fn shape() -> TagCharts {
        let size = |size, count| SizeCount { size, count };
        TagCharts {
            sizes: Arc::new(vec![size(1_024_000, 600), size(4096, 1000), size(64, 10)]),
            spread: Some(AddressHistogram {
                first: Va(0xffff_fa80_0000_0000),
                end: Va(0xffff_fa80_1000_0000),
                parts: (0..PARTS as u64)
                    .map(|i| u64::from(i >= 120) * 1000)
                    .collect(),
            }),
        }
    }

    #[test]
    fn the_charts_show_sizes_and_addresses() {
        let lines = shape().lines(120, &ASCII);
        assert_eq!(
            lines[0],
            "Sizes 64 B .     .      @ 1.0 MB  600 of 1,024,000 bytes: 99%, 3 sizes"
        );
        assert!(
            lines[1].starts_with("Where fffffa80`00000000     "),
            "{}",
            lines[1]
        );
        assert!(lines[1].contains("@@@@ fffffa80`10000000  117.2 KB over 256.0 MB"));
        for width in 0..130 {
            for line in shape().lines(width, &ASCII) {
                assert!(line.len() <= usize::from(width).max(36), "{width}: {line}");
            }
        }
        assert!(TagCharts::default().lines(80, &ASCII).is_empty());
    }

    #[test]
    fn folding_loses_nothing() {
        let parts: Vec<u64> = (0..PARTS as u64).collect();
        for most in [1, 7, 100, PARTS, 1000] {
            let sum: u64 = folded(&parts, most).iter().sum();
            assert_eq!(sum, parts.iter().sum::<u64>());
        }
        assert!(folded(&parts, 0).is_empty());
        assert!(folded(&[], 5).is_empty());
    }
}
