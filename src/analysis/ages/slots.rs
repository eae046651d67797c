//! Recognises which words of a tag's blocks are times.
//!
//! A FILETIME between boot and dump is so rare among random 64-bit values (one in a million at 30
//! days of uptime) that a few are enough. An interrupt time is a small number, like sizes,
//! relative addresses and counters, so the whole set of values decides: by alignment, spread and
//! high halves.

use rustc_hash::FxHashMap;

use super::Recognised;
use super::clock::{Clocks, SECOND};
use super::luid::{self, Luids};

/// The clock of a time field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clock {
    /// FILETIME: units of 100 ns since 1601 (UTC).
    System,
    /// Units of 100 ns since boot.
    Interrupt,
    /// A LUID, assigned from an increasing counter.
    Luid,
}

/// The scales that convert values to times.
#[derive(Clone, Copy, Debug)]
pub struct Scales<'a> {
    /// The clocks at the time of the dump.
    pub clocks: Clocks,
    /// The times of LUIDs, if the processes show them.
    pub luids: Option<&'a Luids>,
}

impl Clock {
    /// The name used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Clock::System => "system time",
            Clock::Interrupt => "interrupt time",
            Clock::Luid => "LUID",
        }
    }

    /// Converts a value to the time since boot, if it lies between boot and dump.
    pub fn since_boot(self, value: u64, scales: &Scales<'_>) -> Option<u64> {
        let clocks = &scales.clocks;
        match self {
            Clock::System => {
                let since = value.checked_sub(clocks.boot())?;
                (since <= clocks.uptime).then_some(since)
            }
            Clock::Interrupt => (value > 0 && value <= clocks.uptime).then_some(value),
            Clock::Luid => scales.luids?.since_boot(value),
        }
    }
}

impl Clock {
    /// The maximum error of the time, in units of 100 ns.
    pub fn error(self, value: u64, scales: &Scales<'_>) -> Option<u64> {
        match self {
            Clock::Luid => scales.luids?.error(value),
            Clock::System | Clock::Interrupt => None,
        }
    }
}

/// 1990-01-01 as FILETIME: earlier values are not plausible dates.
const YEAR_1990: u64 = 122_756_256_000_000_000;
const TEN_YEARS: u64 = 10 * 365 * 86_400 * SECOND;
/// Minimum number of blocks to recognise an interrupt time.
const FEWEST_WEAK: usize = 16;
/// Minimum number of times to recognise a FILETIME.
const FEWEST_STRONG: usize = 3;

/// True if the words at one offset are times of a clock. `values` are the readable words at the
/// offset; `population` is the number of blocks of the tag.
pub fn is_clock(values: &[u64], population: u64, clock: Clock, scales: &Scales<'_>) -> bool {
    let clocks = &scales.clocks;
    if clock == Clock::Luid {
        let are = |luids| luid::are_luids(values, population, luids);
        return scales.luids.is_some_and(are);
    }
    let set: Vec<u64> = values.iter().copied().filter(|&v| v != 0).collect();
    let zeros = values.len() - set.len();
    // Zero often means "not set", but most blocks must have a time.
    if zeros * 5 >= values.len() * 2 {
        return false;
    }
    let inside: Vec<u64> = set
        .iter()
        .filter_map(|&v| clock.since_boot(v, scales))
        .collect();
    if inside.len() * 5 < set.len() * 3 || one_value_rules(&inside) {
        return false;
    }
    match clock {
        Clock::System => inside.len() >= FEWEST_STRONG && are_of_this_boot(&set, clocks),
        _ => inside.len() >= FEWEST_WEAK && look_like_a_clock(&inside, clocks),
    }
}

/// Number of offsets that are tested: the words of a page.
const OFFSETS: f64 = 512.0;

/// How words at an offset were recognised as times. For FILETIMEs this is an upper bound of the
/// probability that random words at any offset pass the test: offsets x C(n, k) x p^k, where p is
/// the share of 64-bit numbers between boot and dump, and C(n, k) is at most 2^n.
pub fn recognised(values: &[u64], clock: Clock, scales: &Scales<'_>) -> Recognised {
    if clock != Clock::System {
        return Recognised::ByDistribution;
    }
    let inside = |v: &&u64| clock.since_boot(**v, scales).is_some();
    let times = values.iter().filter(inside).count() as f64;
    let rare = (scales.clocks.uptime.max(1) as f64 / 2f64.powi(64)).log10();
    let power = OFFSETS.log10() + values.len() as f64 * 2f64.log10() + times * rare;
    Recognised::ByRarity(power.ceil() as i32)
}

/// True if more than half of the blocks have the same value, which is then a constant, such as
/// the start time of the driver.
fn one_value_rules(values: &[u64]) -> bool {
    let mut counts: FxHashMap<u64, usize> = FxHashMap::default();
    for value in values {
        *counts.entry(*value).or_default() += 1;
    }
    counts.values().any(|&n| n * 2 > values.len())
}

/// Dates before boot belong to data (files, certificates); dates after the dump are due times. At
/// most 5% of the values may be either.
fn are_of_this_boot(values: &[u64], clocks: &Clocks) -> bool {
    let first = clocks.boot().saturating_sub(60 * SECOND);
    let last = clocks.now.saturating_add(2 * SECOND);
    let count = |range: std::ops::Range<u64>| values.iter().filter(|v| range.contains(v)).count();
    let before = count(YEAR_1990..first);
    let after = count(last..clocks.now.saturating_add(TEN_YEARS));
    before * 20 <= values.len() && after * 20 <= values.len()
}

/// True if small numbers are distributed like times since boot.
fn look_like_a_clock(values: &[u64], clocks: &Clocks) -> bool {
    let share = |test: &dyn Fn(&u64) -> bool| {
        values.iter().filter(|v| test(v)).count() as f64 / values.len() as f64
    };
    // Addresses and sizes are multiples of 8.
    if share(&|v| *v % 8 == 0) > 0.6 {
        return false;
    }
    // Two packed 32-bit fields, or 32-bit numbers.
    if share(&|v| *v as u32 <= 0xffff) > 0.3 || share(&|v| *v >> 32 == 0) > 0.5 {
        return false;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = |share: usize| sorted.get(sorted.len() * share / 100).copied().unwrap_or(0);
    let wide = (at(95) - at(5)) as f64 >= clocks.uptime as f64 / 10.0;
    let late = at(10) >= clocks.uptime / 2;
    wide || late
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400 * SECOND;
    const CLOCKS: Clocks = Clocks {
        now: 0x01dc_9ab1_2c3d_0000,
        uptime: 30 * DAY,
    };

    fn is_clock(values: &[u64], clock: Clock, clocks: &Clocks) -> bool {
        let scales = Scales {
            clocks: *clocks,
            luids: None,
        };
        super::is_clock(values, values.len() as u64, clock, &scales)
    }

    /// `count` pseudo-random numbers from a range, always the same.
    fn spread(count: u64, from: u64, to: u64) -> Vec<u64> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        (0..count)
            .map(|_| {
                state = state
                    .wrapping_mul(0x5851_f42d_4c95_7f2d)
                    .wrapping_add(0x1405_7b7e_f767_814f);
                from + (state >> 11) % (to - from)
            })
            .collect()
    }

    #[test]
    fn times_of_this_boot_are_recognised() {
        let system = spread(64, CLOCKS.boot(), CLOCKS.now);
        assert!(is_clock(&system, Clock::System, &CLOCKS));
        let interrupt = spread(64, 0, CLOCKS.uptime);
        assert!(is_clock(&interrupt, Clock::Interrupt, &CLOCKS));
        // Three of four are enough for a FILETIME; zeros in a third of the blocks mean "not set".
        let mut few = spread(3, CLOCKS.boot(), CLOCKS.now);
        few.push(0xffff_8000_1234_5678);
        assert!(is_clock(&few, Clock::System, &CLOCKS));
        let mut unset = vec![0; 19];
        unset.extend(spread(45, CLOCKS.boot(), CLOCKS.now));
        assert!(is_clock(&unset, Clock::System, &CLOCKS));
    }

    #[test]
    fn the_probability_of_coincidence_is_bounded() {
        let scales = Scales {
            clocks: CLOCKS,
            luids: None,
        };
        let few = spread(4, CLOCKS.boot(), CLOCKS.now);
        let odds = |values: &[u64]| match recognised(values, Clock::System, &scales) {
            Recognised::ByRarity(power) => power,
            other => panic!("{other:?}"),
        };
        // 512 x 16 x (2.6e13 / 1.8e19)^4
        assert_eq!(odds(&few), -19);
        let many = spread(4096, CLOCKS.boot(), CLOCKS.now);
        assert!(odds(&many) < -20_000);
        let weak = recognised(&few, Clock::Interrupt, &scales);
        assert_eq!(weak, Recognised::ByDistribution);
    }

    #[test]
    fn values_that_only_resemble_times_are_rejected() {
        let no = |values: Vec<u64>, what: &str| {
            for clock in [Clock::System, Clock::Interrupt] {
                assert!(!is_clock(&values, clock, &CLOCKS), "{what}: {clock:?}");
            }
        };
        no(
            spread(64, CLOCKS.now - 20 * 365 * DAY, CLOCKS.now),
            "dates of data",
        );
        no(
            spread(64, CLOCKS.now, CLOCKS.now + 9 * 365 * DAY),
            "due times",
        );
        no((1..=64).collect(), "counts");
        no(spread(64, 0, u64::MAX), "random numbers");
        no(spread(64, 0, 1 << 32), "random numbers of 32 bits");
        no(vec![CLOCKS.now - DAY; 64], "a constant");
        no(
            spread(64, 0xffff_8000_0000_0000, 0xffff_8000_1000_0000),
            "kernel addresses",
        );
        let user: Vec<u64> = spread(64, 0x7ff6_0000, 0x7fff_0000)
            .iter()
            .map(|v| v << 16)
            .collect();
        let long = Clocks {
            uptime: 200 * DAY,
            ..CLOCKS
        };
        assert!(!is_clock(&user, Clock::Interrupt, &long), "user addresses");
        let heap: Vec<u64> = spread(64, 0x100_0000_0000 >> 4, 0x2ff_0000_0000 >> 4)
            .iter()
            .map(|v| v << 4)
            .collect();
        no(heap, "user heap addresses");
    }
}
