//! Does a tag look like a leak: signs for and against it, each with its number.
//!
//! One dump has no history, so load and leak look alike at first. What tells them apart
//! is in the numbers beside the size: whether the tag is ever freed, whether its blocks
//! are all of one size, whether something that it should keep pace with has grown too,
//! and whether the pool as a whole is in trouble. The signs and what they count are this
//! program's own rules, from published analyses of leaks; none of them is proof.

use crate::analysis::Description;
use crate::analysis::objects::Objects;
use crate::pool::tracker::{Trackers, Usage};
use crate::pool::{Pool, Tag};

/// What all signs of a tag come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The kernel's accounts are not in the dump.
    Unknown,
    /// Nothing points to a leak.
    Normal,
    /// Some signs of a leak; watch it.
    Suspicious,
    /// As leaks look.
    Leak,
}

impl Verdict {
    /// The word in answers.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Unknown => "unknown",
            Verdict::Normal => "normal",
            Verdict::Suspicious => "suspicious",
            Verdict::Leak => "leak",
        }
    }
}

/// One sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// What was looked at, in a word or two.
    pub name: &'static str,
    /// How far it points to a leak: above zero for, below against.
    pub points: i8,
    /// The number, and what it means.
    pub sentence: String,
}

impl Component {
    /// How far it points to a leak, in words.
    pub fn weight(&self) -> &'static str {
        match self.points {
            ..=-2 => "strongly against",
            -1 => "against",
            0 => "says nothing",
            1 => "slightly for",
            2 => "for",
            _ => "strongly for",
        }
    }
}

/// What is known of the machine and the pool that a tag is in.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// All accounts, for the populations that a tag should keep pace with.
    pub trackers: &'a Trackers,
    /// Physical memory in bytes.
    pub memory: Option<u64>,
    /// Seconds since boot.
    pub uptime: Option<u64>,
    /// Nonpaged and paged pool in bytes.
    pub pools: [Option<u64>; 2],
    /// Whether `!vm` warns of each.
    pub flagged: [bool; 2],
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

/// A tag in one pool, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// Signs, in a fixed order; those that could not be looked at are left out.
    pub components: Vec<Component>,
    /// What they come to.
    pub verdict: Verdict,
}

/// Points from which a tag looks as leaks do, and from which it is worth watching.
const LEAK: i32 = 7;
const SUSPICIOUS: i32 = 6;
/// A tag with less than this, and less than a tenth of its pool, is no concern.
const SMALL: u64 = 16 << 20;
/// A leak that has not filled the pool yet is called one from here on.
const LARGE: u64 = 64 << 20;

/// Judges a tag by its accounts. `size` is known when its blocks have been looked at.
pub fn score(
    tag: Tag,
    pool: Pool,
    usage: &Usage,
    description: Option<&Description>,
    (size, objects): (Option<Dominant>, Option<&Objects>),
    setting: &Setting<'_>,
) -> Score {
    let share = share(usage.bytes, setting.pools[pool as usize]);
    let flagged = setting.flagged[pool as usize];
    let components: Vec<Component> = [
        share.map(|share| of_share(pool, share)),
        of_pressure(pool, share, setting),
        of_frees(usage),
        size.and_then(of_size),
        objects.and_then(of_objects),
        of_population(tag, usage, setting.trackers),
        of_growth(usage, setting.uptime),
        Some(of_owner(description)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let points: i32 = components.iter().map(|c| i32::from(c.points)).sum();
    let small = usage.bytes < SMALL && share.is_none_or(|share| share < 0.1);
    let verdict = match points {
        _ if small => Verdict::Normal,
        LEAK.. if flagged || usage.bytes >= LARGE => Verdict::Leak,
        SUSPICIOUS.. => Verdict::Suspicious,
        _ => Verdict::Normal,
    };
    Score {
        components,
        verdict,
    }
}

fn share(bytes: u64, of: Option<u64>) -> Option<f64> {
    of.filter(|of| *of > 0)
        .map(|of| (bytes as f64 / of as f64).min(1.0))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn of_share(pool: Pool, share: f64) -> Component {
    Component {
        name: "share of its pool",
        points: match share {
            0.5.. => 3,
            0.25.. => 2,
            0.1.. => 1,
            _ => 0,
        },
        sentence: format!("{} of {} pool", percent(share), pool.word()),
    }
}

/// The pool as a whole: a tag can hold most of a pool that is small, as it should be.
fn of_pressure(pool: Pool, share: Option<f64>, setting: &Setting<'_>) -> Option<Component> {
    let bytes = setting.pools[pool as usize]?;
    let word = pool.word();
    let (points, sentence) = if setting.flagged[pool as usize] {
        let points = match share {
            Some(0.5..) => 3,
            Some(0.25..) => 2,
            _ => 0,
        };
        (
            points,
            format!("{word} pool use is out of the normal range"),
        )
    } else {
        let of_memory = setting.memory.and_then(|memory| share_of(bytes, memory))?;
        let sentence = format!(
            "{word} pool takes {} of memory and is not flagged",
            percent(of_memory)
        );
        (if of_memory < 0.1 { -2 } else { 0 }, sentence)
    };
    Some(Component {
        name: "state of the pool",
        points,
        sentence,
    })
}

fn share_of(bytes: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| bytes as f64 / of as f64)
}

/// Fewer allocations than this say nothing about frees and sizes.
const FEW: u64 = 100;

fn of_frees(usage: &Usage) -> Option<Component> {
    if usage.outstanding < FEW || usage.allocs < usage.frees {
        return None;
    }
    let freed = usage.frees as f64 / usage.allocs.max(1) as f64;
    let points = match freed {
        _ if usage.frees == 0 => 2,
        ..0.05 => 1,
        0.9.. => -1,
        _ => 0,
    };
    Some(Component {
        name: "frees",
        points,
        sentence: match usage.frees {
            0 => format!("{} allocated and none ever freed", usage.allocs),
            _ => format!(
                "{} allocated, {} freed ({})",
                usage.allocs,
                usage.frees,
                percent(freed)
            ),
        },
    })
}

/// Types whose objects outlive their handles in daily life: the cache and mappings keep
/// files and sections.
const KEPT: [&str; 4] = ["File", "Section", "Device", "Driver"];

/// Who keeps the objects: nobody keeps nearly all of a type by references alone, and no
/// process opens thousands of one type.
fn of_objects(objects: &Objects) -> Option<Component> {
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
            "{} of those looked at have ended and are kept",
            percent(ended)
        );
        (3, what)
    } else if alone >= 0.95 {
        let what = format!("{} have no handle: references keep them", percent(alone));
        (3, what)
    } else if first >= 10_000 && first as f64 > objects.handles() as f64 * 0.5 {
        (
            2,
            format!("one process has {first} handles to such objects"),
        )
    } else {
        (0, format!("{} have no handle", percent(alone)))
    };
    Some(Component {
        name: "objects",
        points,
        sentence,
    })
}

fn of_size(size: Dominant) -> Option<Component> {
    if size.of < FEW {
        return None;
    }
    let share = size.blocks as f64 / size.of as f64;
    Some(Component {
        name: "sizes",
        points: i8::from(share >= 0.9),
        sentence: format!(
            "{} of {} blocks have {} bytes ({})",
            size.blocks,
            size.of,
            size.bytes,
            percent(share)
        ),
    })
}

fn of_owner(description: Option<&Description>) -> Component {
    let (points, sentence) = match description {
        None => (1, "nobody lists what this tag is for".to_owned()),
        Some(Description {
            binary: Some(binary),
            text,
        }) => (0, format!("{text} ({binary})")),
        Some(description) => (0, description.text.clone()),
    };
    Component {
        name: "owner",
        points,
        sentence,
    }
}

/// An uptime below this makes a rate of whatever starting up took.
const SETTLED: u64 = 1800;

fn of_growth(usage: &Usage, uptime: Option<u64>) -> Option<Component> {
    let uptime = uptime.filter(|seconds| *seconds >= SETTLED)?;
    let hours = uptime as f64 / 3600.0;
    let per_hour = usage.bytes as f64 / hours;
    const MB: f64 = (1 << 20) as f64;
    Some(Component {
        name: "growth",
        points: match per_hour / MB {
            100.0.. => 2,
            10.0.. => 1,
            _ => 0,
        },
        sentence: format!(
            "{:.1} MB and {:.0} allocations an hour, if it grew evenly for {hours:.1} hours since boot",
            per_hour / MB,
            usage.outstanding as f64 / hours
        ),
    })
}

/// What a tag should keep pace with.
struct Pace {
    tag: &'static str,
    /// What its blocks are.
    what: &'static str,
    /// Blocks that are usual in any case.
    floor: u64,
    /// Blocks that are usual for each block of these tags.
    per: &'static [(&'static str, u64, &'static str)],
}

const PROCESS: &str = "process";
const THREAD: &str = "thread";

/// Generous on purpose: a busy server must not be called a leak.
const PACES: [Pace; 8] = [
    Pace {
        tag: "Proc",
        what: "processes",
        floor: 3_000,
        per: &[],
    },
    Pace {
        tag: "Thre",
        what: "threads",
        floor: 2_000,
        per: &[("Proc", 60, PROCESS)],
    },
    Pace {
        tag: "Toke",
        what: "tokens",
        floor: 10_000,
        per: &[("Proc", 10, PROCESS), ("Thre", 2, THREAD)],
    },
    Pace {
        tag: "SeTd",
        what: "parts of tokens",
        floor: 10_000,
        per: &[("Proc", 10, PROCESS), ("Thre", 2, THREAD)],
    },
    Pace {
        tag: "Even",
        what: "events",
        floor: 30_000,
        per: &[("Thre", 40, THREAD)],
    },
    Pace {
        tag: "File",
        what: "open files",
        floor: 300_000,
        per: &[("Proc", 1_000, PROCESS)],
    },
    Pace {
        tag: "EtwR",
        what: "event registrations",
        floor: 50_000,
        per: &[("Proc", 400, PROCESS)],
    },
    Pace {
        tag: "Irp ",
        what: "I/O requests",
        floor: 30_000,
        per: &[("Thre", 10, THREAD)],
    },
];

/// Tags that hold caches: what they take depends on what the machine works on, and is
/// given back when memory is short. With the shape of what they keep.
const CACHES: [(&str, &str); 18] = [
    ("MmSt", "page tables of files that are mapped or cached"),
    ("MmCa", "control areas of files that are mapped or cached"),
    ("MmCi", "control areas of images"),
    ("CcSc", "cached files"),
    ("CM25", "registry hives"),
    ("CM31", "registry hives"),
    ("CM16", "registry hives"),
    ("CMkb", "open registry keys"),
    ("Ntff", "files that NTFS has open or cached"),
    ("NtfF", "files that NTFS has open or cached"),
    ("Ntfx", "files that NTFS has open or cached"),
    ("NtFs", "files that NTFS has open or cached"),
    ("Ntfc", "files that NTFS has open or cached"),
    ("NtfC", "files that NTFS has open or cached"),
    ("FMfn", "names of files that filters asked for"),
    ("FMsl", "files that filters watch"),
    ("smSt", "compressed pages of programs"),
    ("smNp", "compressed pages of programs"),
];

fn of_population(tag: Tag, usage: &Usage, trackers: &Trackers) -> Option<Component> {
    const NAME: &str = "population";
    if let Some((_, what)) = CACHES.iter().find(|(t, _)| Tag::of(t) == Some(tag)) {
        return Some(Component {
            name: NAME,
            points: -4,
            sentence: format!("holds {what}: large where there are many, which is no leak"),
        });
    }
    let pace = PACES.iter().find(|p| Tag::of(p.tag) == Some(tag))?;
    let mut usual = pace.floor;
    let mut beside = Vec::new();
    for (other, each, word) in pace.per {
        let count = Tag::of(other)
            .and_then(|t| trackers.get(t))
            .map_or(0, |row| row.nonpaged.outstanding + row.paged.outstanding);
        usual = usual.saturating_add(count.saturating_mul(*each));
        let plural = if *word == PROCESS { "es" } else { "s" };
        beside.push(format!("{count} {word}{plural}"));
    }
    let count = usage.outstanding;
    let mut sentence = format!("{count} {}", pace.what);
    if !beside.is_empty() {
        sentence += &format!(" beside {}", beside.join(" and "));
    }
    let many = count > usual;
    sentence += &match many {
        true => format!(": more than {usual} is not usual"),
        false => format!(": up to {usual} is usual"),
    };
    Some(Component {
        name: NAME,
        points: if many { 3 } else { -1 },
        sentence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1 << 30;
    const MB: u64 = 1 << 20;

    fn usage(allocs: u64, frees: u64, bytes: u64) -> Usage {
        Usage {
            allocs,
            frees,
            outstanding: allocs - frees,
            bytes,
        }
    }

    fn setting(trackers: &Trackers, nonpaged: u64, flagged: bool) -> Setting<'_> {
        Setting {
            trackers,
            memory: Some(16 * GB),
            uptime: Some(100 * 3600),
            pools: [Some(nonpaged), Some(GB)],
            flagged: [flagged, false],
        }
    }

    fn verdict(tag: &str, usage: &Usage, known: bool, setting: &Setting<'_>) -> Verdict {
        let description = Description {
            text: "something".into(),
            binary: Some("nt!ex".into()),
        };
        let size = Dominant {
            bytes: usage.bytes / usage.outstanding.max(1),
            blocks: usage.outstanding,
            of: usage.outstanding,
        };
        let description = known.then_some(&description);
        let tag = Tag::of(tag).unwrap();
        let score = score(
            tag,
            Pool::Nonpaged,
            usage,
            description,
            (Some(size), None),
            setting,
        );
        score.verdict
    }

    #[test]
    fn a_tag_that_fills_a_pool_in_trouble_and_is_never_freed_is_a_leak() {
        let trackers = Trackers::default();
        let setting = setting(&trackers, 4 * GB, true);
        let leak = usage(5_768_754, 0, 3 * GB);
        assert_eq!(verdict("amda", &leak, false, &setting), Verdict::Leak);
        assert_eq!(verdict("Io  ", &leak, true, &setting), Verdict::Leak);
    }

    #[test]
    fn a_driver_that_takes_its_buffers_at_boot_is_not() {
        let trackers = Trackers::default();
        let setting = setting(&trackers, 300 * MB, false);
        let buffers = usage(40_000, 0, 160 * MB);
        assert_eq!(verdict("NDnd", &buffers, true, &setting), Verdict::Normal);
    }

    #[test]
    fn caches_may_be_large_and_populations_must_not_be() {
        let trackers = Trackers::default();
        let setting = setting(&trackers, 3 * GB, true);
        let large = usage(400_000, 0, 2 * GB);
        assert_eq!(verdict("MmSt", &large, true, &setting), Verdict::Suspicious);
        assert_eq!(verdict("Toke", &large, true, &setting), Verdict::Leak);
    }

    #[test]
    fn little_memory_is_no_concern_whatever_its_signs() {
        let trackers = Trackers::default();
        let setting = setting(&trackers, 4 * GB, true);
        let little = usage(5_000, 0, 2 * MB);
        assert_eq!(verdict("abcd", &little, false, &setting), Verdict::Normal);
    }

    #[test]
    fn every_sign_has_its_number_in_words() {
        let trackers = Trackers::default();
        let setting = setting(&trackers, 4 * GB, true);
        let tag = Tag::of("Thre").unwrap();
        let score = score(
            tag,
            Pool::Nonpaged,
            &usage(70_000, 100, GB),
            None,
            (None, None),
            &setting,
        );
        let said: Vec<_> = score
            .components
            .iter()
            .map(|c| format!("{}: {} ({})", c.name, c.sentence, c.weight()))
            .collect();
        assert_eq!(
            said,
            [
                "share of its pool: 25.0 % of nonpaged pool (for)",
                "state of the pool: nonpaged pool use is out of the normal range (for)",
                "frees: 70000 allocated, 100 freed (0.1 %) (slightly for)",
                "population: 69900 threads beside 0 processes: more than 2000 is not usual (strongly for)",
                "growth: 10.2 MB and 699 allocations an hour, if it grew evenly for 100.0 hours since boot (slightly for)",
                "owner: nobody lists what this tag is for (slightly for)",
            ]
        );
    }
}
