//! Estimates times from LUIDs.
//!
//! nt assigns the ids of tokens, token modifications and logon sessions from one counter that
//! only increases and restarts at each boot. A process and its first token are created together,
//! so the process list shows when some LUIDs were assigned. Times between two of these points are
//! interpolated; the error is at most the distance between the points.

/// The first LUID that is not reserved for system logon sessions.
pub const FIRST: u64 = 0x3e9;
/// Minimum number of processes for a time scale.
const FEWEST: usize = 8;
/// Minimum share of processes whose LUIDs increase with their creation times. A token that is
/// older than its process, or was replaced, breaks the order.
const RISING: f64 = 0.7;

/// The times at which LUIDs were assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Luids {
    /// Pairs of LUID and time (100 ns units since boot), both ascending.
    points: Vec<(u64, u64)>,
}

impl Luids {
    /// Builds the scale from pairs of creation time (100 ns units since boot) and token LUID of
    /// processes, in any order, and from the counter's value at the dump, if known. `None` if
    /// there are too few pairs or they are not in order.
    pub fn of(anchors: &[(u64, u64)], counter: Option<u64>, uptime: u64) -> Option<Luids> {
        let counter = counter.filter(|last| *last > FIRST);
        let possible = |&&(time, luid): &&(u64, u64)| {
            time <= uptime && luid >= FIRST && counter.is_none_or(|last| luid <= last)
        };
        let mut sorted: Vec<(u64, u64)> = anchors.iter().filter(possible).copied().collect();
        sorted.sort_unstable();
        let chain = rising(&sorted);
        if chain.len() < FEWEST || (chain.len() as f64) < anchors.len() as f64 * RISING {
            return None;
        }
        let mut points = vec![(FIRST, 0)];
        points.extend(chain.into_iter().map(|(time, luid)| (luid, time)));
        points.extend(counter.map(|last| (last, uptime)));
        points.dedup_by_key(|point| point.0);
        Some(Luids { points })
    }

    /// The highest LUID with a known time.
    pub fn last(&self) -> u64 {
        self.points.last().map_or(0, |point| point.0)
    }

    /// The time when a LUID was assigned, in units of 100 ns since boot; `None` if it is out of
    /// range.
    pub fn since_boot(&self, luid: u64) -> Option<u64> {
        let (from, to) = self.around(luid)?;
        let (numbers, time) = (to.0 - from.0, to.1 - from.1);
        let part = u128::from(luid - from.0) * u128::from(time) / u128::from(numbers.max(1));
        Some(from.1 + part as u64)
    }

    /// The maximum error of a time, in units of 100 ns.
    pub fn error(&self, luid: u64) -> Option<u64> {
        let (from, to) = self.around(luid)?;
        Some(to.1 - from.1)
    }

    /// The points before and after a LUID; the same point twice if it matches exactly.
    fn around(&self, luid: u64) -> Option<((u64, u64), (u64, u64))> {
        let at = self.points.partition_point(|point| point.0 < luid);
        let to = *self.points.get(at)?;
        let from = match to.0 == luid {
            true => to,
            false => *self.points.get(at.checked_sub(1)?)?,
        };
        // Also correct if the times are not in order, although such points were removed.
        (from.0 <= luid && from.1 <= to.1).then_some((from, to))
    }
}

/// The longest subsequence of pairs, ordered by time, whose LUIDs increase.
fn rising(sorted: &[(u64, u64)]) -> Vec<(u64, u64)> {
    // `ends`: the last pair of the best subsequence of each length; `before`: each pair's
    // predecessor.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; sorted.len()];
    let luid = |at: usize| sorted.get(at).map_or(0, |pair| pair.1);
    for at in 0..sorted.len() {
        let length = ends.partition_point(|&end| luid(end) < luid(at));
        if let Some(before) = before.get_mut(at) {
            *before = length.checked_sub(1).and_then(|n| ends.get(n).copied());
        }
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut out = Vec::new();
    let mut next = ends.last().copied();
    while let Some(at) = next {
        out.extend(sorted.get(at).copied());
        next = before.get(at).copied().flatten();
    }
    out.reverse();
    out
}

/// Minimum number of blocks to recognise a field of LUIDs.
const FEWEST_BLOCKS: usize = 16;

/// True if the words at one offset are LUIDs. Other small numbers are also in the range, so the
/// distribution decides: the values extend far into the range, are mostly distinct, are not
/// aligned like addresses or sizes, and are sparser than a counter of these blocks would be.
/// `population` is the number of blocks of the tag.
pub fn are_luids(values: &[u64], population: u64, luids: &Luids) -> bool {
    let set: Vec<u64> = values.iter().copied().filter(|&v| v != 0).collect();
    let zeros = values.len() - set.len();
    if zeros * 5 >= values.len() * 2 {
        return false;
    }
    let last = luids.last();
    let mut inside: Vec<u64> = set
        .iter()
        .copied()
        .filter(|v| (FIRST..=last).contains(v))
        .collect();
    if inside.len() < FEWEST_BLOCKS || inside.len() * 100 < set.len() * 99 {
        return false;
    }
    inside.sort_unstable();
    let at = |share: usize| inside.get(inside.len() * share / 100).copied().unwrap_or(0);
    let reaches = at(90) as f64 > last as f64 * 0.05;
    let sparse = at(95) - at(5) > population.saturating_mul(2);
    let multiples = inside.iter().filter(|v| *v % 8 == 0).count();
    let aligned = multiples * 5 > inside.len() * 2;
    let all = inside.len();
    inside.dedup();
    reaches && sparse && !aligned && inside.len() * 10 >= all * 9
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 36_000_000_000;

    /// One process an hour, each with a thousand LUIDs.
    fn anchors(count: u64) -> Vec<(u64, u64)> {
        (1..=count).map(|n| (n * HOUR, n * 1_000)).collect()
    }

    #[test]
    fn times_between_two_processes_are_interpolated() {
        let mut all = anchors(20);
        // A service's token that is older than its process, and a token that was replaced.
        all[3].1 = 1_001;
        all[9].1 = 19_500;
        let luids = Luids::of(&all, Some(21_000), 24 * HOUR).unwrap();
        assert_eq!(luids.since_boot(7_000), Some(7 * HOUR));
        assert_eq!(luids.since_boot(7_500), Some(7 * HOUR + HOUR / 2));
        assert_eq!(luids.error(7_500), Some(HOUR));
        assert_eq!(luids.since_boot(10_000), Some(10 * HOUR));
        assert_eq!(luids.since_boot(20_500), Some(22 * HOUR));
        assert_eq!(luids.since_boot(21_001), None);
        assert_eq!(luids.since_boot(0x3e7), None);
        // Without the counter, LUIDs after the last process have no time.
        let luids = Luids::of(&all, None, 24 * HOUR).unwrap();
        assert_eq!(luids.since_boot(20_500), None);
    }

    #[test]
    fn too_few_processes_or_unordered_luids_make_no_scale() {
        assert_eq!(Luids::of(&anchors(7), Some(21_000), 24 * HOUR), None);
        let turned: Vec<_> = (1..=20).map(|n| (n * HOUR, (21 - n) * 1_000)).collect();
        assert_eq!(Luids::of(&turned, Some(21_000), 24 * HOUR), None);
        let huge = [(u64::MAX, u64::MAX); 20];
        assert_eq!(Luids::of(&huge, Some(u64::MAX), u64::MAX), None);
    }

    #[test]
    fn small_numbers_are_not_recognised_as_luids() {
        let luids = Luids::of(&anchors(20), Some(400_000), 24 * HOUR).unwrap();
        let spread = |step: u64| (0..64).map(|n| 1_003 + n * step).collect::<Vec<u64>>();
        assert!(are_luids(&spread(6_001), 64, &luids));
        let sizes: Vec<u64> = (0..64).map(|n| 0x1000 + n * 0x1000).collect();
        assert!(!are_luids(&sizes, 64, &luids));
        assert!(!are_luids(&spread(2), 64, &luids), "far from the end");
        // One in a hundred of 30,000 blocks with a sequence number.
        let counted: Vec<u64> = (0..300).map(|n| 2_000 + n * 101).collect();
        assert!(!are_luids(&counted, 30_000, &luids));
        assert!(!are_luids(&[99_999; 64], 64, &luids), "a constant");
    }
}
