//! The trend of a tag over several points.

/// The trend of a tag's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trend {
    /// Rises until the last point and never falls.
    Growing,
    /// Identical at every point, without frees in between, and large.
    Pinned,
    /// Rose, but by less than 5% of the rise in the last step.
    Plateau,
    /// The last value is less than half of the first.
    Freed,
    /// Zero at first, not zero at the end.
    New,
    /// Not zero at first, zero at the end.
    Gone,
    /// None of the others.
    Fluctuating,
    /// Identical at every point, but small, or freed and allocated again.
    Unchanged,
}

impl Trend {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Trend::Growing => "growing",
            Trend::Pinned => "pinned",
            Trend::Plateau => "plateau",
            Trend::Freed => "freed",
            Trend::New => "new",
            Trend::Gone => "gone",
            Trend::Fluctuating => "fluctuating",
            Trend::Unchanged => "unchanged",
        }
    }
}

/// A tag at one point, over the compared pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Outstanding bytes.
    pub bytes: u64,
    /// Outstanding allocations.
    pub outstanding: Option<u64>,
    /// Frees since boot.
    pub frees: Option<u64>,
}

/// Minimum number of bytes for pinned memory.
const PINNED_BYTES: u64 = 1 << 20;
/// Minimum number of blocks for pinned memory.
const PINNED_BLOCKS: u64 = 1000;

/// The trend over at least two points; `None` for fewer.
pub fn of(samples: &[Sample]) -> Option<Trend> {
    let ([first, .., last], Some(before)) = (samples, samples.len().checked_sub(2)) else {
        return None;
    };
    let before = samples.get(before)?;
    let identical = |get: fn(&Sample) -> Option<u64>| {
        get(first).is_some() && samples.iter().all(|s| get(s) == get(first))
    };
    if samples.iter().all(|s| s.bytes == first.bytes) {
        let large = first.bytes >= PINNED_BYTES || first.outstanding >= Some(PINNED_BLOCKS);
        let held = identical(|s| s.outstanding) && identical(|s| s.frees);
        return Some(match large && held && first.bytes > 0 {
            true => Trend::Pinned,
            false => Trend::Unchanged,
        });
    }
    let falls = samples.windows(2).any(|pair| match pair {
        [a, b] => b.bytes < a.bytes,
        _ => false,
    });
    let rise = i128::from(last.bytes) - i128::from(first.bytes);
    let last_step = i128::from(last.bytes) - i128::from(before.bytes);
    Some(match (first.bytes, last.bytes) {
        (0, end) if end > 0 => Trend::New,
        (start, 0) if start > 0 => Trend::Gone,
        (start, end) if end < start.div_ceil(2) => Trend::Freed,
        _ if rise > 0 && last_step * 20 < rise => Trend::Plateau,
        _ if rise > 0 && !falls => Trend::Growing,
        _ => Trend::Fluctuating,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(bytes: &[u64]) -> Option<Trend> {
        let samples: Vec<Sample> = bytes
            .iter()
            .map(|&bytes| Sample {
                bytes,
                outstanding: Some(bytes / 64),
                frees: Some(7),
            })
            .collect();
        of(&samples)
    }

    #[test]
    fn every_course_has_its_trend() {
        for (bytes, expected) in [
            (&[0, 5][..], Trend::New),
            (&[0, 5, 3, 9], Trend::New),
            (&[5, 0], Trend::Gone),
            (&[5, 9, 0], Trend::Gone),
            (&[100, 49], Trend::Freed),
            (&[100, 50], Trend::Fluctuating),
            (&[101, 50], Trend::Freed),
            (&[100, 200], Trend::Growing),
            (&[100, 200, 300], Trend::Growing),
            (&[100, 200, 200, 300], Trend::Growing),
            (&[100, 95, 200, 300], Trend::Fluctuating),
            (&[100, 1100, 1149], Trend::Plateau),
            (&[100, 1100, 1200], Trend::Growing),
            (&[100, 1100, 1100], Trend::Plateau),
            (&[100, 1100, 1150], Trend::Plateau),
            (&[100, 1300, 1100], Trend::Plateau),
            (&[100, 300, 100, 300], Trend::Fluctuating),
            (&[100, 300, 200, 400], Trend::Fluctuating),
            (&[100, 300, 80], Trend::Fluctuating),
            (&[0, 5, 0], Trend::Fluctuating),
            (&[64, 64, 64], Trend::Unchanged),
            (&[0, 0], Trend::Unchanged),
            (&[1 << 20, 1 << 20], Trend::Pinned),
            (&[64_000, 64_000], Trend::Pinned),
            (&[63_999, 63_999], Trend::Unchanged),
            (&[u64::MAX, 0, u64::MAX], Trend::Fluctuating),
        ] {
            assert_eq!(trend(bytes), Some(expected), "{bytes:?}");
        }
        assert_eq!(trend(&[5]), None);
        assert_eq!(trend(&[]), None);
    }

    #[test]
    fn memory_that_is_freed_and_allocated_again_is_not_pinned() {
        let sample = |outstanding, frees| Sample {
            bytes: 2 << 20,
            outstanding,
            frees,
        };
        let same = sample(Some(5), Some(7));
        assert_eq!(of(&[same, same]), Some(Trend::Pinned));
        assert_eq!(
            of(&[same, sample(Some(5), Some(8))]),
            Some(Trend::Unchanged)
        );
        assert_eq!(
            of(&[same, sample(Some(6), Some(7))]),
            Some(Trend::Unchanged)
        );
        let unknown = sample(Some(5), None);
        assert_eq!(of(&[unknown, unknown]), Some(Trend::Unchanged));
    }
}
