//! Determines which points belong to the same boot.

use rustc_hash::FxHashMap;

use crate::pool::{Pool, Tag};

use super::point::{CounterWidth, Point};

/// Maximum difference in seconds between boot times of the same boot: the clock may be adjusted,
/// and a reboot takes longer.
const CLOCK_STEP: f64 = 120.0;
/// The same where both have one boot number (`BootId`), which no clock changes. It is not
/// unlimited: equal machines can have equal numbers.
const CLOCK_STEP_OF_ONE_NUMBER: f64 = 600.0;

/// Sets the boot of each point from a machine's memory: equal for points of the same boot.
/// Returns whether all points have the same boot; `None` if a log is included, because logs do
/// not identify the boot.
pub fn assign(points: &mut [Point]) -> Option<bool> {
    let mut boots: Vec<(usize, String)> = Vec::new();
    for at in 0..points.len() {
        let (before, rest) = points.split_at_mut(at);
        let Some(point) = rest.first_mut().filter(|p| p.kind.is_memory()) else {
            continue;
        };
        let known = boots
            .iter()
            .find(|(first, _)| before.get(*first).is_some_and(|first| is_one(first, point)));
        let boot = match known {
            Some((_, boot)) => boot.clone(),
            None => {
                let mut boot = name(point);
                if boots.iter().any(|(_, other)| *other == boot) {
                    boot += &format!(" ({})", boots.len() + 1);
                }
                boots.push((at, boot.clone()));
                boot
            }
        };
        point.boot = Some(boot);
    }
    let all_memory = points.iter().all(|p| p.kind.is_memory());
    (all_memory && points.len() > 1).then_some(boots.len() == 1)
}

/// True if the facts are consistent with one boot.
fn is_one(a: &Point, b: &Point) -> bool {
    let (Some(x), Some(y)) = (&a.machine, &b.machine) else {
        return false;
    };
    let started = |p: &Point| p.time?.before(p.uptime_seconds?);
    let (one_number, step) = match (x.boot_number, y.boot_number) {
        (Some(x), Some(y)) => (x == y, CLOCK_STEP_OF_ONE_NUMBER),
        _ => (true, CLOCK_STEP),
    };
    let together = match (started(a), started(b)) {
        (Some(a), Some(b)) => a.seconds_since(b).abs() <= step,
        _ => true,
    };
    let (earlier, later) = match a.uptime_seconds <= b.uptime_seconds {
        true => (a, b),
        false => (b, a),
    };
    x.build == y.build
        && x.kernel_base == y.kernel_base
        && one_number
        && together
        && !counters_fall(earlier, later)
}

fn name(point: &Point) -> String {
    let started = point.time.zip(point.uptime_seconds);
    let started = started.and_then(|(time, uptime)| time.before(uptime));
    let machine = point.machine.as_ref();
    let base = machine.map_or(0, |m| m.kernel_base);
    let build = machine.map_or(0, |m| m.build);
    match started {
        Some(started) => format!("{started} build {build} kernel {base:#x}"),
        None => format!("build {build} kernel {base:#x}"),
    }
}

/// True if most allocation counters decreased: the machine was restarted in between, or it is
/// another machine.
pub fn counters_fall(earlier: &Point, later: &Point) -> bool {
    let width = match (earlier.width, later.width) {
        (CounterWidth::Bits64, CounterWidth::Bits64) => CounterWidth::Bits64,
        _ => CounterWidth::Bits32,
    };
    let before: FxHashMap<Tag, [Option<u64>; 2]> =
        earlier.rows.iter().map(|r| (r.tag, allocs(r))).collect();
    let mut compared = 0usize;
    let mut fell = 0usize;
    for row in &later.rows {
        let Some(old) = before.get(&row.tag) else {
            continue;
        };
        for (old, new) in old.iter().zip(allocs(row)) {
            if let (Some(old), Some(new)) = (old.filter(|n| *n > 0), new) {
                compared += 1;
                fell += usize::from(width.fell(old, new));
            }
        }
    }
    fell * 2 > compared
}

fn allocs(row: &super::Row) -> [Option<u64>; 2] {
    [Pool::Nonpaged, Pool::Paged].map(|pool| row.counts(pool).allocs)
}
