//! LUIDs as times.
//!
//! nt draws the ids of tokens, their changes and logons from one counter that only rises
//! and begins anew at each boot. A process and its first token are made together, so the
//! processes of the list say which number was drawn when; what lies between two of them is
//! interpolated. That is an estimate: it is as good as the distance of the two.

/// The first that is not reserved for a logon of the system.
pub const FIRST: u64 = 0x3e9;
/// Processes from which on there is a scale.
const FEWEST: usize = 8;
/// Of them, those whose numbers must rise with their times: tokens that are older than
/// their process, or were replaced, do not.
const RISING: f64 = 0.7;

/// Which LUID was drawn when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Luids {
    /// LUID and 100 ns since boot, both rising.
    points: Vec<(u64, u64)>,
}

impl Luids {
    /// From processes: 100 ns since boot and the LUID of the token, in any order; and the
    /// counter's value at the dump, where it is known. `None` where that makes no scale.
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

    /// The highest number that has a time.
    pub fn last(&self) -> u64 {
        self.points.last().map_or(0, |point| point.0)
    }

    /// When a LUID was drawn, in 100 ns since boot; `None` for what is none of this boot.
    pub fn since_boot(&self, luid: u64) -> Option<u64> {
        let (from, to) = self.around(luid)?;
        let (numbers, time) = (to.0 - from.0, to.1 - from.1);
        let part = u128::from(luid - from.0) * u128::from(time) / u128::from(numbers.max(1));
        Some(from.1 + part as u64)
    }

    /// How far a time may be off, in 100 ns.
    pub fn error(&self, luid: u64) -> Option<u64> {
        let (from, to) = self.around(luid)?;
        Some(to.1 - from.1)
    }

    /// The points that a LUID lies between; twice the same where it is one of them.
    fn around(&self, luid: u64) -> Option<((u64, u64), (u64, u64))> {
        let at = self.points.partition_point(|point| point.0 < luid);
        let to = *self.points.get(at)?;
        let from = match to.0 == luid {
            true => to,
            false => *self.points.get(at.checked_sub(1)?)?,
        };
        // Times that do not rise were left out; this holds for any input.
        (from.0 <= luid && from.1 <= to.1).then_some((from, to))
    }
}

/// The longest run of pairs, in order of time, whose numbers rise.
fn rising(sorted: &[(u64, u64)]) -> Vec<(u64, u64)> {
    // The end of the best run of each length, and what comes before each pair in its run.
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

/// Blocks from which on a field of LUIDs can be told.
const FEWEST_BLOCKS: usize = 16;

/// True when the words at one offset are LUIDs. Small numbers are in their range too, so
/// the set decides: it reaches far into the range, is mostly distinct, has the residues of
/// no address or size, and is not as dense as a count of these blocks would be, of which
/// there are `population`.
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

    /// A process an hour, and a thousand LUIDs with each.
    fn anchors(count: u64) -> Vec<(u64, u64)> {
        (1..=count).map(|n| (n * HOUR, n * 1_000)).collect()
    }

    #[test]
    fn what_lies_between_two_processes_is_interpolated() {
        let mut all = anchors(20);
        // A service's token that was made long before, and one that was replaced.
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
        // Without the counter nothing is said of what came after the last process.
        let luids = Luids::of(&all, None, 24 * HOUR).unwrap();
        assert_eq!(luids.since_boot(20_500), None);
    }

    #[test]
    fn too_few_processes_or_numbers_in_no_order_make_no_scale() {
        assert_eq!(Luids::of(&anchors(7), Some(21_000), 24 * HOUR), None);
        let turned: Vec<_> = (1..=20).map(|n| (n * HOUR, (21 - n) * 1_000)).collect();
        assert_eq!(Luids::of(&turned, Some(21_000), 24 * HOUR), None);
        let huge = [(u64::MAX, u64::MAX); 20];
        assert_eq!(Luids::of(&huge, Some(u64::MAX), u64::MAX), None);
    }

    #[test]
    fn small_numbers_are_not_taken_for_luids() {
        let luids = Luids::of(&anchors(20), Some(400_000), 24 * HOUR).unwrap();
        let spread = |step: u64| (0..64).map(|n| 1_003 + n * step).collect::<Vec<u64>>();
        assert!(are_luids(&spread(6_001), 64, &luids));
        let sizes: Vec<u64> = (0..64).map(|n| 0x1000 + n * 0x1000).collect();
        assert!(!are_luids(&sizes, 64, &luids));
        assert!(!are_luids(&spread(2), 64, &luids), "far from the end");
        // One block in a hundred of 30,000 that count themselves.
        let counted: Vec<u64> = (0..300).map(|n| 2_000 + n * 101).collect();
        assert!(!are_luids(&counted, 30_000, &luids));
        assert!(!are_luids(&[99_999; 64], 64, &luids), "a constant");
    }
}
