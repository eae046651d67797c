//! Evidence for and against a leak of a tag: each piece with its value, weight and direction.
//!
//! A single dump has no history, so load and leak look alike by size. Other facts distinguish
//! them: whether blocks are ever freed, their number in relation to the objects that they belong
//! to, their similarity, and the references to them. The rules and weights are this program's
//! own; `docs/judgement.md` explains the basis of each.

use crate::analysis::ages::{Ages, Recognised, Shape};
use crate::analysis::attribution::Description;
use crate::analysis::census::{Census, Family};
use crate::analysis::objects::Objects;
use crate::pool::{Pool, Tag};

use super::case::{Case, Row, Trend};
use super::lockstep::Group;
use super::pressure::{Pressure, Severity};
use super::words::{count, duration, percent, size};
use crate::analysis::attribution::kinds::{self, Holder, Kind, Norm};

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The name of the fact, one or two words.
    pub name: &'static str,
    /// The weight: positive for a leak, negative against it.
    pub points: i8,
    /// The number and its meaning.
    pub sentence: String,
}

impl Evidence {
    fn new(name: &'static str, points: i8, sentence: String) -> Evidence {
        Evidence {
            name,
            points,
            sentence,
        }
    }

    /// The weight and direction as a phrase.
    pub fn weight(&self) -> &'static str {
        match self.points {
            ..=-2 => "strong evidence against",
            -1 => "evidence against",
            0 => "inconclusive",
            1 => "weak evidence",
            2 => "evidence",
            _ => "strong evidence",
        }
    }

    /// The direction: `for`, `against` or `neutral`.
    pub fn direction(&self) -> &'static str {
        match self.points {
            1.. => "for",
            0 => "neutral",
            _ => "against",
        }
    }
}

/// The most frequent block size of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dominant {
    /// The size in bytes.
    pub bytes: u64,
    /// Number of blocks with this size.
    pub blocks: u64,
    /// Number of blocks of the tag.
    pub of: u64,
}

/// The module that the blocks of a tag point into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointing {
    /// The driver.
    pub module: String,
    /// Blocks that point into it at one offset, per thousand.
    pub per_mille: u32,
    /// True if the driver has been unloaded.
    pub unloaded: bool,
}

/// The similarity of a sample of a tag's blocks by the classes of their words: pointers, text,
/// numbers. Usually each allocation site produces blocks of one layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Number of blocks with the most frequent layout.
    pub blocks: u64,
    /// Number of blocks that were read.
    pub of: u64,
    /// Number of different layouts.
    pub layouts: u64,
}

impl Layout {
    /// The layout from a census. Families that differ only in size count as one layout. `None` if
    /// most blocks contain no pointers: zeros and numbers are not enough for a comparison.
    pub fn of(census: &Census) -> Option<Layout> {
        let mut groups: Vec<(&Family, u64)> = Vec::new();
        for family in &census.families {
            match groups.iter_mut().find(|(first, _)| is_one(first, family)) {
                Some((_, blocks)) => *blocks += family.blocks,
                None => groups.push((family, family.blocks)),
            }
        }
        let (most, blocks) = groups.iter().max_by_key(|(_, blocks)| *blocks)?;
        most.shape.contains(POINTERS).then(|| Layout {
            blocks: *blocks,
            of: census.read(),
            layouts: groups.len() as u64,
        })
    }
}

/// The letters of kernel pointers in a family's shape.
const POINTERS: [char; 3] = ['M', 'o', 'k'];

/// True if two families have the same pointers in their common part.
fn is_one(a: &Family, b: &Family) -> bool {
    let is_data = |c| matches!(c, '0' | 'n');
    let same = |(a, b): (char, char)| a == b || a == '?' || b == '?' || (is_data(a) && is_data(b));
    let shared = a.shape.len().min(b.shape.len());
    let into = |f: &Family| -> Vec<(u64, String)> {
        let inside = |m: &&(u64, String)| m.0 / 8 < shared as u64;
        f.modules.iter().filter(inside).cloned().collect()
    };
    a.shape.chars().zip(b.shape.chars()).all(same) && into(a) == into(b)
}

/// The facts about a tag other than its counts. A table of tags has none of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The entry of the tag lists.
    pub description: Option<&'a Description>,
    /// The most frequent size.
    pub size: Option<Dominant>,
    /// The similarity of its blocks.
    pub layout: Option<Layout>,
    /// The objects in its blocks.
    pub objects: Option<&'a Objects>,
    /// The single driver that its blocks point into.
    pub pointing: Option<&'a Pointing>,
    /// The ages of a sample of its blocks.
    pub ages: Option<&'a Ages>,
    /// Tags with equal outstanding counts.
    pub group: Option<&'a Group>,
    /// If it is part of a pinning chain: the chain as a sentence.
    pub chain: Option<&'a str>,
}

impl Dominant {
    fn share(&self) -> f64 {
        self.blocks as f64 / self.of.max(1) as f64
    }
}

/// With fewer blocks, frees and sizes are inconclusive.
const FEW: u64 = 100;
/// Minimum share of blocks with the same size or layout to count as alike.
const ALIKE: f64 = 0.9;

/// All evidence about a row, in a fixed order, without the facts that are unknown.
pub fn gather(
    row: &Row,
    case: &Case,
    facts: &Facts<'_>,
    pressure: [Option<Pressure>; 2],
) -> Vec<Evidence> {
    let holder = kinds::of(row.tag);
    [
        of_course(row, case),
        of_share(row, case),
        of_memory(row, case, holder),
        of_pressure(row, case, pressure),
        of_frees(row, holder),
        of_count(row, case, holder),
        of_kind(row, case, holder),
        of_rings(row, holder),
        of_load(row, case, holder),
        facts.size.and_then(of_size),
        facts
            .layout
            .and_then(|layout| of_layout(layout, facts.size)),
        facts.objects.and_then(of_objects),
        facts.pointing.map(of_pointing),
        facts.ages.and_then(of_ages),
        facts
            .chain
            .map(|s| Evidence::new("pinning chain", 4, s.to_owned())),
        facts.group.map(|group| of_group(row, group)),
        of_growth(row, case),
        Some(of_list(row.tag, holder, facts.description)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The course in a log: the only direct evidence of growth.
fn of_course(row: &Row, case: &Case) -> Option<Evidence> {
    let course = case.course(row)?;
    let rate = course
        .per_hour
        .map_or(String::new(), |r| format!(", {} an hour", signed(r as i64)));
    let (points, what) = match course.trend {
        Trend::Growing if course.points > 2 => (4, "it grows at every point"),
        Trend::Growing => (2, "it has grown"),
        Trend::Pinned => (-2, "the same blocks at every point"),
        Trend::Plateau => (-1, "it grew and has stopped"),
        Trend::Freed => (-4, "most of it was freed"),
        Trend::Steady => (-2, "it does not grow"),
    };
    // The growth must be significant.
    let small = course.gained.unsigned_abs() < 1 << 20;
    let points = if points > 0 && small { 1 } else { points };
    Some(Evidence::new(
        "trend",
        points,
        format!(
            "{what}: {} over {} points{rate}",
            signed(course.gained),
            course.points
        ),
    ))
}

fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "+" };
    format!("{sign}{}", size(bytes.unsigned_abs()))
}

fn of_share(row: &Row, case: &Case) -> Option<Evidence> {
    let name = "share of its pool";
    row.bytes?;
    let pool = row.pool?;
    if let Some(share) = case.share(row) {
        let points = match share {
            0.5.. => 3,
            0.25.. => 2,
            0.1.. => 1,
            _ => 0,
        };
        let sentence = format!("{} of {} pool", percent(share), pool.word());
        return Some(Evidence::new(name, points, sentence));
    }
    // The list may be incomplete, so this evidence is weaker.
    let listed = case.listed_share(row)?;
    let points = match listed {
        0.75.. => 2,
        0.5.. => 1,
        _ => 0,
    };
    let sentence = format!("{} of the listed {} pool", percent(listed), pool.word());
    Some(Evidence::new(name, points, sentence))
}

/// The share of physical memory: a tag of a driver normally has only a small share. If memory is
/// unknown, the bytes are used, with a lower weight.
fn of_memory(row: &Row, case: &Case, holder: Option<&Holder>) -> Option<Evidence> {
    let bytes = row.bytes?;
    // If other tags fill the pool, this tag is not the cause.
    let minor = case.share(row).is_some_and(|share| share < 0.2);
    let excused = matches!(holder.map(|h| &h.kind), Some(Kind::Cache | Kind::Buffers));
    let (points, sentence) = match case.memory_share(row) {
        Some(share) => {
            let points = match share {
                0.25.. => 6,
                0.1.. => 5,
                0.05.. => 4,
                0.02.. => 1,
                _ => 0,
            };
            (points, format!("{} of physical memory", percent(share)))
        }
        None => {
            const GB: u64 = 1 << 30;
            let points = match bytes / (GB / 4) {
                16.. => 6,
                4.. => 4,
                1.. => 1,
                _ => 0,
            };
            (points, format!("{}; physical memory unknown", size(bytes)))
        }
    };
    let points = match (excused, minor) {
        (true, _) if points < 6 => 0,
        (true, _) => 2,
        (_, true) => 0,
        _ => points,
    };
    Some(Evidence::new("share of memory", points, sentence))
}

/// The state of a pool that is near its limit, if the tag has a large share of it.
fn of_pressure(row: &Row, case: &Case, pressure: [Option<Pressure>; 2]) -> Option<Evidence> {
    let pressure = pressure.get(row.pool? as usize).copied().flatten()?;
    let share = case.share(row).unwrap_or(0.0);
    let points = match (pressure.severity, share) {
        (Severity::Critical | Severity::Exhausted, 0.5..) => 3,
        (Severity::Critical | Severity::Exhausted, 0.25..) => 2,
        (Severity::Elevated, 0.5..) => 1,
        _ => 0,
    };
    Some(Evidence::new(
        "state of the pool",
        points,
        pressure.sentence(),
    ))
}

fn of_frees(row: &Row, holder: Option<&Holder>) -> Option<Evidence> {
    let (allocs, frees) = row.history()?;
    let outstanding = row.outstanding.unwrap_or(allocs - frees);
    if outstanding < FEW {
        return None;
    }
    let freed = frees as f64 / allocs as f64;
    let points = match freed {
        _ if only_comes(row, holder) => 4,
        ..0.01 => 2,
        ..0.05 => 1,
        0.99.. => -2,
        0.9.. => -1,
        _ => 0,
    };
    let sentence = match frees {
        0 => format!("{} allocations and no frees", count(allocs)),
        _ => format!(
            "{} allocations, {} frees ({} freed)",
            count(allocs),
            count(frees),
            percent(freed)
        ),
    };
    Some(Evidence::new("frees", points, sentence))
}

/// True for processes, tokens, files and so on if they are almost never freed: this is not
/// typical of start-up.
fn only_comes(row: &Row, holder: Option<&Holder>) -> bool {
    let ends = matches!(holder.map(|h| &h.kind), Some(Kind::Population(norm)) if norm.ends);
    let few_frees = |(allocs, frees)| allocs >= 1_000 && (frees as f64) < allocs as f64 * 0.05;
    ends && row.history().is_some_and(few_frees)
}

/// Seconds since boot before which counts are below their usual level.
const EARLY: u64 = 600;

/// The typical maximum count of a population.
fn typical(norm: &Norm, case: &Case) -> u64 {
    let common = norm.common(case.memory, &|tag| case.outstanding(tag));
    match case.uptime {
        Some(..EARLY) => common / 4,
        _ => common,
    }
}

/// The number of blocks. For a population it is compared with the typical maximum; caches and
/// buffers may have any number.
fn of_count(row: &Row, case: &Case, holder: Option<&Holder>) -> Option<Evidence> {
    let name = "count";
    let blocks = row.outstanding?;
    match holder.map(|h| &h.kind) {
        Some(Kind::Population(norm)) => {
            let early = case.uptime.filter(|seconds| *seconds < EARLY);
            let common = typical(norm, case);
            let what = holder.map_or("", |h| h.what.as_str());
            let points = match blocks as f64 / common.max(1) as f64 {
                10.0.. => 7,
                3.0.. => 5,
                1.0.. => 3,
                // Few blocks so far, but almost none was freed.
                _ if only_comes(row, holder) => 0,
                _ => -2,
            };
            let when = early.map_or(String::new(), |_| " so early after boot".into());
            let sentence = format!(
                "{} {what} (typical maximum {}{when})",
                count(blocks),
                count(common)
            );
            Some(Evidence::new(name, points, sentence))
        }
        Some(Kind::Cache | Kind::Buffers) => None,
        None if is_ring(row) => None,
        // A leak repeats; a few large blocks are tables or buffers.
        None if blocks < FEW => {
            let sentence = format!("only {} blocks: leaks have more", count(blocks));
            Some(Evidence::new(name, -4, sentence))
        }
        None => {
            let sentence = format!("{} blocks outstanding", count(blocks));
            Some(Evidence::new(name, of_blocks(row, blocks), sentence))
        }
    }
}

fn of_blocks(row: &Row, blocks: u64) -> i8 {
    let freed = row
        .history()
        .map(|(allocs, frees)| frees as f64 / allocs as f64);
    // On a healthy machine few blocks are never freed: those allocated at start-up. Blocks that
    // are freed regularly may be numerous for a while.
    let steps: [u64; 5] = match freed {
        Some(..0.05) => [1_000, 5_000, 20_000, 100_000, 1_000_000],
        Some(0.9..) => [50_000, 100_000, 250_000, 1_000_000, 10_000_000],
        _ => [10_000, 50_000, 100_000, 250_000, 1_000_000],
    };
    steps.iter().filter(|step| blocks >= **step).count() as i8
}

/// True for a configured count: a multiple of 256 blocks of at least half a page, or of 1,024
/// smaller blocks, almost none of which was freed. Rings of buffers and their descriptors look
/// like this. The probability of a coincidence is 1 in 256, or 1 in 1,024.
fn is_ring(row: &Row) -> bool {
    let (Some(blocks), Some(bytes)) = (row.outstanding, row.mean_size()) else {
        return false;
    };
    let few = |(allocs, frees)| frees as f64 <= allocs as f64 * 0.01;
    let unfreed = row.history().is_none_or(few);
    let step = ring_step(bytes);
    unfreed && blocks >= 1024 && blocks.is_multiple_of(step)
}

fn ring_step(bytes: u64) -> u64 {
    match bytes {
        2048.. => 256,
        _ => 1024,
    }
}

fn of_rings(row: &Row, holder: Option<&Holder>) -> Option<Evidence> {
    let fits = is_ring(row) && holder.is_none();
    fits.then(|| {
        let blocks = row.outstanding.unwrap_or(0);
        let sentence = format!(
            "{} blocks, a multiple of {}, of {} each: typical of buffers that are allocated once",
            count(blocks),
            count(ring_step(row.mean_size().unwrap_or(0))),
            size(row.mean_size().unwrap_or(0))
        );
        Evidence::new("buffers", -3, sentence)
    })
}

fn of_kind(row: &Row, case: &Case, holder: Option<&Holder>) -> Option<Evidence> {
    let holder = holder?;
    let (points, sentence) = match &holder.kind {
        Kind::Population(_) => return None,
        Kind::Cache => (
            -5,
            format!(
                "a cache ({}): grows under load, shrinks under memory pressure",
                holder.what
            ),
        ),
        Kind::Buffers => (
            -4,
            format!(
                "buffers ({}): their size depends on the configuration",
                holder.what
            ),
        ),
    };
    // A cache that never frees blocks does not behave like a cache.
    let kept = row
        .history()
        .is_some_and(|(allocs, frees)| allocs >= 100_000 && (frees as f64) < allocs as f64 * 0.02);
    let much = case.memory_share(row).is_some_and(|share| share >= 0.1);
    let points = match kept && much {
        true => points / 2,
        false => points,
    };
    Some(Evidence::new("kind", points, sentence))
}

/// Caches and buffers with fewer bytes are harmless on any machine.
const BURDEN: u64 = 256 << 20;

/// True for a cache, buffers or population that is large enough to examine, although one point in
/// time can't distinguish load from a leak. If memory is known: a cache with 25% of its pool and
/// 2.5% of memory; buffers with 5% of memory. A population above its typical maximum.
pub fn is_large_load(row: &Row, case: &Case, holder: Option<&Holder>) -> bool {
    let least = match holder.map(|h| &h.kind) {
        Some(Kind::Cache) => 0.025,
        Some(Kind::Buffers) => 0.05,
        Some(Kind::Population(norm)) => {
            let beyond = row.outstanding.is_some_and(|n| n > typical(norm, case));
            return beyond && row.bytes.is_none_or(|bytes| bytes >= BURDEN / 16);
        }
        None => return false,
    };
    let minor = case.share(row).is_some_and(|share| share < 0.25);
    let slight = case.memory_share(row).is_some_and(|share| share < least);
    row.bytes.is_some_and(|bytes| bytes >= BURDEN) && !minor && !slight
}

fn of_load(row: &Row, case: &Case, holder: Option<&Holder>) -> Option<Evidence> {
    let what = match holder.map(|h| &h.kind)? {
        Kind::Cache => "a cache",
        Kind::Buffers => "buffers",
        Kind::Population(_) => "objects of one kind",
    };
    is_large_load(row, case, holder).then(|| {
        let held = match (row.bytes, row.outstanding) {
            (Some(bytes), _) => size(bytes),
            (None, blocks) => format!("{} blocks", count(blocks.unwrap_or(0))),
        };
        let sentence =
            format!("{held}: large for {what}; could be load or a leak, compare two dumps");
        Evidence::new("load", 0, sentence)
    })
}

/// Types whose objects normally outlive their handles: the cache and mappings reference files and
/// sections.
const KEPT: [&str; 4] = ["File", "Section", "Device", "Driver"];

/// The references to the objects: normally many objects of a type have handles, and no process
/// has thousands of them.
fn of_objects(objects: &Objects) -> Option<Evidence> {
    let kind = objects.kind.as_ref()?;
    if objects.objects < FEW || KEPT.contains(&kind.name.as_str()) {
        return None;
    }
    let share = |part: u64| part as f64 / objects.objects as f64;
    let ended = share(objects.ended);
    let alone = share(objects.referenced_only);
    let first = objects.holders.first().map_or(0, |h| h.handles);
    let (points, sentence) = if ended >= 0.9 {
        let what = format!(
            "{} of those sampled have ended and are still referenced",
            percent(ended)
        );
        (4, what)
    } else if alone >= 0.95 {
        let what = format!("{} have no open handles, references only", percent(alone));
        (4, what)
    } else if first >= 10_000 && first as f64 > objects.handles() as f64 * 0.5 {
        (
            3,
            format!("one process has {} handles to such objects", count(first)),
        )
    } else {
        (0, format!("{} have no open handles", percent(alone)))
    };
    Some(Evidence::new("objects", points, sentence))
}

fn of_size(dominant: Dominant) -> Option<Evidence> {
    if dominant.of < FEW {
        return None;
    }
    let share = dominant.share();
    let sentence = format!(
        "{} of {} blocks have {} bytes ({})",
        count(dominant.blocks),
        count(dominant.of),
        count(dominant.bytes),
        percent(share)
    );
    Some(Evidence::new("sizes", i8::from(share >= ALIKE), sentence))
}

/// Blocks of one layout usually come from one allocation site. Blocks of one size mostly have one
/// layout, so only one of the two facts counts.
fn of_layout(layout: Layout, size: Option<Dominant>) -> Option<Evidence> {
    if layout.of < FEW {
        return None;
    }
    let share = layout.blocks as f64 / layout.of as f64;
    let one_size = size.is_some_and(|s| s.of >= FEW && s.share() >= ALIKE);
    let (points, more) = match share {
        ALIKE.. if one_size => (0, ", as usual for blocks of one size"),
        ALIKE.. => (1, ", in several sizes"),
        ..0.5 if layout.layouts >= 4 => (-1, ": many allocation sites"),
        _ => (0, ""),
    };
    let among = match layout.layouts {
        1 => String::new(),
        n => format!(" (of {} layouts)", count(n)),
    };
    let sentence = format!(
        "{} of {} sampled blocks share one layout{among}{more}",
        percent(share),
        count(layout.of)
    );
    Some(Evidence::new("layout", points, sentence))
}

fn of_pointing(pointing: &Pointing) -> Evidence {
    let share = percent(f64::from(pointing.per_mille) / 1000.0);
    let (points, state) = match pointing.unloaded {
        // The driver can't free them any more.
        true => (4, ", a driver that has been unloaded"),
        false => (1, ""),
    };
    let sentence = format!(
        "{share} of the blocks point into {}{state}",
        pointing.module
    );
    Evidence::new("contents", points, sentence)
}

/// Times in blocks show when they were allocated. Freed blocks leave no trace, so many young
/// blocks may be turnover as well as growth.
fn of_ages(ages: &Ages) -> Option<Evidence> {
    if ages.blocks_with_time < FEW {
        return None;
    }
    let (points, what) = match ages.shape {
        Shape::Steady => (2, "blocks from every part of the uptime are still in use"),
        Shape::Old => (
            -3,
            "the blocks are from the start of the uptime, and none is recent",
        ),
        Shape::Burst => (0, "most blocks are from the last part of the uptime"),
        Shape::Mixed => (0, "the blocks are from several parts of the uptime"),
    };
    // An estimated time that was recognised by distribution only is not a basis for a verdict.
    let is_weak = ages.error.is_some() && ages.recognised == Recognised::ByDistribution;
    let points = if is_weak { 0 } else { points };
    let sentence = format!(
        "{what} (by {}, {} of {} blocks)",
        ages.source,
        count(ages.blocks_with_time),
        count(ages.blocks)
    );
    Some(Evidence::new("ages", points, sentence))
}

/// Tags with equal counts have one cause. Healthy objects also consist of several blocks, so this
/// is weak evidence.
fn of_group(row: &Row, group: &Group) -> Evidence {
    let others = group.members.iter().filter(|m| m.tag != row.tag).count();
    let points = match others {
        0 => 0,
        1..=3 => 1,
        _ => 2,
    };
    Evidence::new("correlated tags", points, group.sentence())
}

/// Seconds of uptime below which the average growth mostly reflects start-up.
const SETTLED: u64 = 1800;
/// One day, in seconds.
const DAY: u64 = 24 * 3600;

fn of_growth(row: &Row, case: &Case) -> Option<Evidence> {
    let uptime = case.uptime.filter(|seconds| *seconds >= SETTLED)?;
    let bytes = row.bytes?;
    let per_hour = bytes as f64 / (uptime as f64 / 3600.0);
    let daily = case
        .memory
        .filter(|m| *m > 0)
        .map(|memory| per_hour * 24.0 / memory as f64);
    let mut sentence = format!(
        "average growth since boot: {} an hour",
        size(per_hour as u64)
    );
    if let Some(blocks) = row.outstanding {
        let blocks = blocks as f64 / (uptime as f64 / 3600.0);
        sentence += &format!(", {} blocks an hour", count(blocks as u64));
    }
    sentence += &format!(" (uptime {})", duration(uptime));
    let minor = case.share(row).is_some_and(|share| share < 0.1);
    let years = daily.map(|daily| 0.1 / daily.max(1e-12) / 365.0);
    let points = match daily {
        Some(0.05..) if uptime >= 6 * 3600 && !minor => 1,
        // After a long uptime, blocks that were allocated at start-up have a low average growth.
        _ if uptime >= DAY && years.is_some_and(|years| years >= 3.0) => -2,
        _ => 0,
    };
    if let Some(years) = years.filter(|_| points < 0) {
        sentence += &format!(", 10% of memory in {} years", count(years as u64));
    }
    Some(Evidence::new("growth", points, sentence))
}

fn of_list(tag: Tag, holder: Option<&Holder>, description: Option<&Description>) -> Evidence {
    let (points, sentence) = match (description, holder) {
        (None, None) => (1, format!("tag '{tag}' is not in the tag list")),
        (None, Some(holder)) => (0, holder.what.clone()),
        (Some(description), _) => (0, description.sentence()),
    };
    Evidence::new("tag list", points, sentence)
}

/// The name of a pool; "unknown" if there is none.
pub fn pool_word(pool: Option<Pool>) -> &'static str {
    pool.map_or("unknown", Pool::word)
}
