//! Evidence for and against a leak of a tag: each piece with its value, its weight and its
//! direction.
//!
//! One moment has no history, so load and leak look alike at first. They differ in other facts
//! than the size: whether the blocks are ever freed, how many there are beside what the tag
//! belongs to, whether they are all alike, who refers to them. The rules and their weights are
//! this program's own; `docs/judgement.md` says what each rests on.

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
    /// What was looked at, in a word or two.
    pub name: &'static str,
    /// How far it points to a leak: above zero for, below against.
    pub points: i8,
    /// The number, and what it means.
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

    /// Its weight and direction, in words.
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

    /// Whether it points to a leak: `for`, `against` or `neutral`.
    pub fn direction(&self) -> &'static str {
        match self.points {
            1.. => "for",
            0 => "neutral",
            _ => "against",
        }
    }
}

/// A size that many blocks of a tag have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dominant {
    /// Bytes of each.
    pub bytes: u64,
    /// Blocks of that size.
    pub blocks: u64,
    /// Blocks of the tag.
    pub of: u64,
}

/// Where the contents of a tag's blocks point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointing {
    /// The driver.
    pub module: String,
    /// Blocks that point into it at one offset, of 1,000.
    pub per_mille: u32,
    /// It has been unloaded.
    pub unloaded: bool,
}

/// How alike a sample of a tag's blocks is in what their words are: pointers, text,
/// numbers. One place that allocates makes blocks of one layout, as a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Blocks of the layout that most have.
    pub blocks: u64,
    /// Blocks that were read.
    pub of: u64,
    /// Layouts that were told apart.
    pub layouts: u64,
}

impl Layout {
    /// Of a census, whose families are told apart by size, too. `None` where most blocks
    /// hold no pointers: zeros and numbers alone have no layout to compare.
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

/// The letters of a family's shape that are pointers into the kernel's half.
const POINTERS: [char; 3] = ['M', 'o', 'k'];

/// True for two families with the same pointers, as far as both reach.
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

/// What is known of a tag beside its counts. A table has none of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// What the tag is listed as.
    pub description: Option<&'a Description>,
    /// The most frequent size.
    pub size: Option<Dominant>,
    /// How alike its blocks are.
    pub layout: Option<Layout>,
    /// The objects in its blocks.
    pub objects: Option<&'a Objects>,
    /// The one driver that its blocks point into.
    pub pointing: Option<&'a Pointing>,
    /// When a sample of its blocks was made.
    pub ages: Option<&'a Ages>,
    /// Tags with the same count.
    pub group: Option<&'a Group>,
    /// It is part of a pinning chain, described in a sentence.
    pub chain: Option<&'a str>,
}

impl Dominant {
    fn share(&self) -> f64 {
        self.blocks as f64 / self.of.max(1) as f64
    }
}

/// Fewer blocks than this say nothing about frees and sizes.
const FEW: u64 = 100;
/// Share of the blocks from which on they are of one size, or of one layout.
const ALIKE: f64 = 0.9;

/// All evidence about a row, in a fixed order. What could not be looked at is left out.
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

/// A log shows what one moment cannot.
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
    // The list may be incomplete, so it is weaker evidence.
    let listed = case.listed_share(row)?;
    let points = match listed {
        0.75.. => 2,
        0.5.. => 1,
        _ => 0,
    };
    let sentence = format!("{} of the listed {} pool", percent(listed), pool.word());
    Some(Evidence::new(name, points, sentence))
}

/// No driver's tag has a good part of the machine's memory. Where memory is not known,
/// bytes alone must do, and weigh less.
fn of_memory(row: &Row, case: &Case, holder: Option<&Holder>) -> Option<Evidence> {
    let bytes = row.bytes?;
    // A pool that others fill is not this tag's doing.
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

/// A pool in trouble, and the tag that has a good part of it.
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

/// Processes, tokens, files come and go: that they only come is not typical of start-up.
fn only_comes(row: &Row, holder: Option<&Holder>) -> bool {
    let ends = matches!(holder.map(|h| &h.kind), Some(Kind::Population(norm)) if norm.ends);
    let few_frees = |(allocs, frees)| allocs >= 1_000 && (frees as f64) < allocs as f64 * 0.05;
    ends && row.history().is_some_and(few_frees)
}

/// An uptime below this has not brought a machine its usual numbers.
const EARLY: u64 = 600;

/// How many of a population are common at most.
fn typical(norm: &Norm, case: &Case) -> u64 {
    let common = norm.common(case.memory, &|tag| case.outstanding(tag));
    match case.uptime {
        Some(..EARLY) => common / 4,
        _ => common,
    }
}

/// Blocks that a driver's own tag has. Where a tag belongs to something, the count beside
/// that decides; caches and buffers may have any number.
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
                // Few so far, of which none has ended.
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
        // A leak repeats; a few large blocks are what something is made of.
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
    // Blocks that are never freed are few on a machine that is well: what starting up
    // took. Those that come and go may be many for a moment.
    let steps: [u64; 5] = match freed {
        Some(..0.05) => [1_000, 5_000, 20_000, 100_000, 1_000_000],
        Some(0.9..) => [50_000, 100_000, 250_000, 1_000_000, 10_000_000],
        _ => [10_000, 50_000, 100_000, 250_000, 1_000_000],
    };
    steps.iter().filter(|step| blocks >= **step).count() as i8
}

/// A count that was configured: a multiple of 256 blocks of half a page or more, or of
/// 1,024 smaller ones, of which next to none was freed, as rings of buffers and their descriptors
/// are. By chance one count in 256 is, or in 1,024.
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
    // A cache that nothing is ever dropped from does not behave as one.
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

/// Caches and buffers below this burden no machine.
const BURDEN: u64 = 256 << 20;

/// True for a cache, buffers, or a population, so large that it should be examined, although
/// one moment cannot tell load from leak. Where memory is known: a cache with a quarter of its
/// pool and a fortieth of memory, buffers with a twentieth of memory. A population that is
/// beyond what is common.
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

/// Types whose objects outlive their handles in daily life: the cache and mappings keep
/// files and sections.
const KEPT: [&str; 4] = ["File", "Section", "Device", "Driver"];

/// What keeps the objects: normally not nearly all objects of a type are kept by references
/// only, and no process opens thousands of one type.
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

/// Blocks of one layout come from one place. Blocks of one size mostly have one layout,
/// so the two count once.
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
        // Nobody is left to free them.
        true => (4, ", a driver that has been unloaded"),
        false => (1, ""),
    };
    let sentence = format!(
        "{share} of the blocks point into {}{state}",
        pointing.module
    );
    Evidence::new("contents", points, sentence)
}

/// Blocks that carry their times show since when they were made. Freed blocks leave no
/// trace, so many young blocks may be turnover as well as growth.
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
    // Numbers that any field may hold are no ground for a verdict.
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

/// Tags of one cause have one count. Healthy objects are made of several blocks too, so
/// this alone says little.
fn of_group(row: &Row, group: &Group) -> Evidence {
    let others = group.members.iter().filter(|m| m.tag != row.tag).count();
    let points = match others {
        0 => 0,
        1..=3 => 1,
        _ => 2,
    };
    Evidence::new("correlated tags", points, group.sentence())
}

/// An uptime below this makes a rate of whatever starting up took.
const SETTLED: u64 = 1800;
/// Seconds.
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
        // What was built at start and never grew looks like this after a long time.
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

/// The word for a pool, where it is known.
pub fn pool_word(pool: Option<Pool>) -> &'static str {
    pool.map_or("unknown", Pool::word)
}
