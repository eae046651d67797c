//! Estimates when the blocks of a tag were allocated, from a single dump.
//!
//! The pool does not store allocation times, but many structures contain one. If the words at one
//! offset of a tag's blocks are times between boot and dump, the allocated blocks are counted
//! over the uptime. Freed blocks leave no trace: for blocks that are never freed the counts are a
//! growth curve, for a cache they are not.

pub mod clock;
pub mod luid;
pub mod slots;

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::memory::{AddressSpace, PAGE_SIZE, Va};
use crate::pool::block::Block;
use crate::pool::index::Snapshot;
use crate::pool::index::sort::Wanted;

use super::census::sample::{self, Question};
use super::judgement::words::duration;
use clock::SECOND;
use slots::{Clock, Scales};

/// Number of intervals that the uptime is divided into.
pub const SLICES: usize = 24;
/// Number of blocks that are sampled to find the offset of a time.
const SAMPLE: u64 = 4096;
/// Number of bytes of a block that are searched for times.
const REACH: u64 = 4096;
/// Number of block sizes that are searched.
const CLASSES: usize = 8;
/// Times whose error exceeds the uptime divided by this number show no shape.
const COARSE: u64 = 6;
/// Number of blocks between two checks for cancellation.
const CHUNK: usize = 1 << 14;

/// The distribution of the blocks over the uptime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Over the whole uptime; no slice has more than three times the average.
    Steady,
    /// At least 80% in the last slice.
    Burst,
    /// At least 80% in the first quarter and none in the last.
    Old,
    /// None of these.
    Mixed,
}

impl Shape {
    /// The shape of the counts per slice.
    pub fn of(histogram: &[u64; SLICES]) -> Shape {
        let all: u64 = histogram.iter().sum();
        let (first, last) = (&histogram[..SLICES / 4], &histogram[SLICES - SLICES / 4..]);
        let most = |part: u64| part > 0 && part as f64 >= all as f64 * 0.8;
        let used = histogram.iter().filter(|&&n| n > 0).count();
        let mean = all as f64 / SLICES as f64;
        if most(histogram[SLICES - 1]) {
            Shape::Burst
        } else if most(first.iter().sum()) && last.iter().all(|&n| n == 0) {
            Shape::Old
        } else if used >= 18 && histogram.iter().all(|&n| n as f64 <= mean * 3.0) {
            Shape::Steady
        } else {
            Shape::Mixed
        }
    }

    /// The name used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Shape::Steady => "steady",
            Shape::Burst => "burst",
            Shape::Old => "old",
            Shape::Mixed => "mixed",
        }
    }
}

/// The ages of a tag's allocated blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ages {
    /// The field and its clock, for example `field +0x28 (system time)` or `_EPROCESS.CreateTime
    /// (system time)`.
    pub source: String,
    /// Number of blocks with a time between boot and dump.
    pub blocks_with_time: u64,
    /// Number of blocks that were read: all allocated blocks, or a sample.
    pub blocks: u64,
    /// The oldest time, in units of 100 ns since 1601 (UTC).
    pub oldest: u64,
    /// The newest time, in units of 100 ns since 1601 (UTC).
    pub newest: u64,
    /// Number of blocks per slice of the time from boot to dump, the oldest slice first.
    pub histogram: [u64; SLICES],
    /// The shape of the distribution.
    pub shape: Shape,
    /// The maximum error in units of 100 ns, if times are estimated from LUIDs.
    #[serde(default)]
    pub error: Option<u64>,
    /// How the time field was recognised.
    #[serde(default)]
    pub recognised: Recognised,
}

/// How a time field was recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recognised {
    /// It is a known field of a kernel object.
    #[default]
    ByName,
    /// Its values are FILETIMEs: the probability of a coincidence is at most 10 to this power.
    ByRarity(i32),
    /// Its values are small numbers, as many fields have; their distribution decided.
    ByDistribution,
}

/// A time field of a kernel object.
pub struct ObjectField<'a> {
    /// The type and the field, for example `_EPROCESS.CreateTime`.
    pub name: &'static str,
    /// The field's clock.
    pub clock: Clock,
    /// The field's address in a block, if the block has such an object.
    pub place: &'a (dyn Fn(&AddressSpace, &Block) -> Option<Va> + Sync),
}

/// The inputs for the ages of a tag.
pub struct Setting<'a> {
    /// The index with the blocks.
    pub index: &'a Snapshot,
    /// The address space of a session, or of the system.
    pub space: &'a (dyn Fn(Option<u32>) -> &'a AddressSpace + Sync),
    /// The scales that convert values to times.
    pub scales: Scales<'a>,
    /// The time field of the tag's objects, if the tag is an object type's.
    pub object: Option<ObjectField<'a>>,
    /// True to count all blocks, false to count the sample, which is enough for the shape.
    pub all: bool,
}

/// The location of the time in a block.
enum Source<'a, 'b> {
    Object(&'b ObjectField<'a>),
    Offset(u64),
}

/// An offset that contains times.
struct Slot {
    offset: u64,
    clock: Clock,
    recognised: Recognised,
}

/// Searches the blocks of a tag for times. `Ok(None)` if no offset contains times.
///
/// # Errors
/// [`Unwanted`] if the request was cancelled.
pub fn take(
    setting: &Setting<'_>,
    question: &Question,
    wanted: Wanted<'_>,
) -> Result<Option<Ages>, Unwanted> {
    if let Some(field) = &setting.object {
        let source = Source::Object(field);
        let counted = count(setting, question, &source, field.clock, wanted)?;
        if counted.dated > 0 {
            let name = field.name.to_owned();
            let by_name = Recognised::ByName;
            return Ok(Some(counted.ages(setting, name, field.clock, by_name)));
        }
    }
    let picked =
        sample::pick(setting.index, &question.with_sample(SAMPLE), wanted).ok_or(Unwanted)?;
    let population = setting.index.blocks(question.tag).len();
    let Some(slot) = find(setting, &picked.blocks, population) else {
        return Ok(None);
    };
    let source = Source::Offset(slot.offset);
    let counted = count(setting, question, &source, slot.clock, wanted)?;
    let name = format!("field +{:#x}", slot.offset);
    let dated = counted.dated > 0;
    Ok(dated.then(|| counted.ages(setting, name, slot.clock, slot.recognised)))
}

/// The request was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwanted;

/// The offset of the creation time: for the most frequent block sizes first, FILETIMEs before
/// interrupt times before LUIDs, and the earliest if a structure has several.
fn find(setting: &Setting<'_>, blocks: &[Block], population: u64) -> Option<Slot> {
    let mut classes: FxHashMap<u64, Vec<&Block>> = FxHashMap::default();
    for block in blocks {
        classes.entry(block.bytes).or_default().push(block);
    }
    let mut classes: Vec<_> = classes.into_iter().collect();
    classes.sort_by_key(|(bytes, list)| (std::cmp::Reverse(list.len()), *bytes));
    classes.truncate(CLASSES);
    classes.into_iter().find_map(|(_, blocks)| {
        let columns = columns(setting, &blocks);
        [Clock::System, Clock::Interrupt, Clock::Luid]
            .into_iter()
            .find_map(|clock| {
                let times: Vec<(u64, u64)> = columns
                    .iter()
                    .enumerate()
                    .filter(|(_, values)| {
                        slots::is_clock(values, population, clock, &setting.scales)
                    })
                    .map(|(nth, values)| {
                        let inside = values
                            .iter()
                            .filter_map(|&v| clock.since_boot(v, &setting.scales));
                        let (sum, count) =
                            inside.fold((0_u128, 0_u128), |(s, n), v| (s + u128::from(v), n + 1));
                        ((sum / count.max(1)) as u64, nth as u64 * 8)
                    })
                    .collect();
                let (_, offset) = times.into_iter().min()?;
                let values = columns.get(offset as usize / 8)?;
                Some(Slot {
                    offset,
                    clock,
                    recognised: slots::recognised(values, clock, &setting.scales),
                })
            })
    })
}

/// The words of blocks of one size, grouped by offset, without unreadable words.
fn columns(setting: &Setting<'_>, blocks: &[&Block]) -> Vec<Vec<u64>> {
    let mut out: Vec<Vec<u64>> = Vec::new();
    for block in blocks {
        let length = block.bytes.saturating_sub(block.header_bytes()).min(REACH) & !7;
        let body = block.body();
        for (va, piece) in (setting.space)(block.session).pieces(body, length) {
            let Ok(piece) = piece else { continue };
            let start = va.0.wrapping_sub(body.0);
            let skipped = start.next_multiple_of(8) - start;
            let words = piece
                .get(skipped as usize..)
                .unwrap_or_default()
                .chunks_exact(8);
            for (nth, word) in ((start + skipped) / 8..).zip(words) {
                let nth = nth as usize;
                if out.len() <= nth {
                    out.resize_with(nth + 1, Vec::new);
                }
                if let (Some(column), Some(word)) =
                    (out.get_mut(nth), crate::bytes::u64_at(word, 0))
                {
                    column.push(word);
                }
            }
        }
    }
    out
}

#[derive(Clone, Default)]
struct Counted {
    blocks: u64,
    dated: u64,
    oldest: Option<u64>,
    newest: Option<u64>,
    histogram: [u64; SLICES],
    error: u64,
}

impl Counted {
    fn add(&mut self, since_boot: u64, uptime: u64) {
        let slice = u128::from(since_boot) * SLICES as u128 / u128::from(uptime.max(1));
        if let Some(count) = self.histogram.get_mut((slice as usize).min(SLICES - 1)) {
            *count += 1;
        }
        self.dated += 1;
        self.oldest = Some(self.oldest.map_or(since_boot, |t| t.min(since_boot)));
        self.newest = self.newest.max(Some(since_boot));
    }

    fn merge(mut self, other: &Counted) -> Counted {
        self.blocks += other.blocks;
        self.dated += other.dated;
        self.oldest = match (self.oldest, other.oldest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.newest = self.newest.max(other.newest);
        self.error = self.error.max(other.error);
        for (to, from) in self.histogram.iter_mut().zip(other.histogram) {
            *to += from;
        }
        self
    }

    fn ages(
        self,
        setting: &Setting<'_>,
        name: String,
        clock: Clock,
        recognised: Recognised,
    ) -> Ages {
        let boot = setting.scales.clocks.boot();
        Ages {
            source: match clock {
                Clock::Luid => {
                    let within = duration(self.error.div_ceil(SECOND));
                    format!("{name} ({}, times within {within})", clock.word())
                }
                _ => format!("{name} ({})", clock.word()),
            },
            blocks_with_time: self.dated,
            blocks: self.blocks,
            oldest: boot + self.oldest.unwrap_or(0),
            newest: boot + self.newest.unwrap_or(0),
            // If the error is large, the true distribution is unknown.
            shape: match self.error > setting.scales.clocks.uptime / COARSE {
                true => Shape::Mixed,
                false => Shape::of(&self.histogram),
            },
            histogram: self.histogram,
            error: (clock == Clock::Luid).then_some(self.error),
            recognised,
        }
    }
}

/// Reads the time of every block in question.
fn count(
    setting: &Setting<'_>,
    question: &Question,
    source: &Source<'_, '_>,
    clock: Clock,
    wanted: Wanted<'_>,
) -> Result<Counted, Unwanted> {
    let one = |out: &mut Counted, block: &Block| {
        out.blocks += 1;
        let space = (setting.space)(block.session);
        let at = match source {
            Source::Object(field) => (field.place)(space, block),
            Source::Offset(offset) => inside(block, *offset),
        };
        let value = at.and_then(|at| space.u64(at).ok());
        if let Some(time) = value.and_then(|v| clock.since_boot(v, &setting.scales)) {
            out.add(time, setting.scales.clocks.uptime);
        }
        let error = value.and_then(|v| clock.error(v, &setting.scales));
        out.error = out.error.max(error.unwrap_or(0));
    };
    if !setting.all {
        let picked = sample::pick(setting.index, question, wanted).ok_or(Unwanted)?;
        let mut out = Counted::default();
        picked.blocks.iter().for_each(|block| one(&mut out, block));
        return Ok(out);
    }
    let list = setting.index.blocks(question.tag);
    let chunks = list.len().div_ceil(CHUNK as u64);
    (0..chunks)
        .into_par_iter()
        .map(|chunk| {
            if !wanted() {
                return Err(Unwanted);
            }
            let first = chunk * CHUNK as u64;
            let blocks = (first..list.len().min(first + CHUNK as u64)).filter_map(|i| list.get(i));
            let mut out = Counted::default();
            let asked = blocks.filter(|b| question.takes(b));
            asked.for_each(|block| one(&mut out, &block));
            Ok(out)
        })
        .try_reduce(Counted::default, |a, b| Ok(a.merge(&b)))
}

/// The address of the word at an offset if the word lies in the block and within one page.
fn inside(block: &Block, offset: u64) -> Option<Va> {
    let end = offset + 8;
    let reaches = end <= block.bytes.saturating_sub(block.header_bytes());
    let at = block.body().add(offset);
    (reaches && at.offset() as u64 + 8 <= PAGE_SIZE).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_match_their_definitions() {
        let even = [10; SLICES];
        assert_eq!(Shape::of(&even), Shape::Steady);
        let mut burst = [1; SLICES];
        burst[SLICES - 1] = 200;
        assert_eq!(Shape::of(&burst), Shape::Burst);
        let mut old = [0; SLICES];
        old[0] = 90;
        old[10] = 10;
        assert_eq!(Shape::of(&old), Shape::Old);
        old[SLICES - 1] = 1;
        assert_eq!(Shape::of(&old), Shape::Mixed);
        let mut half = [0; SLICES];
        half[12..].fill(10);
        assert_eq!(Shape::of(&half), Shape::Mixed);
    }
}
