//! Correlated tags: their outstanding counts are equal, or one is a small multiple of the other.
//!
//! An object often consists of several allocations, each with its own tag. A leak of the object
//! then appears as several tags, none of which may be the largest. Counts of thousands of blocks
//! that agree to a fraction of a per mille are not a coincidence. The thresholds are chosen so
//! that the large tags of ten healthy machines produce about one coincidental pair.

use rustc_hash::FxHashMap;

use crate::pool::Tag;

use super::case::Row;
use super::words::{count, size};

/// A tag of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The tag.
    pub tag: Tag,
    /// Outstanding blocks in both pools.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Number of blocks per block of the group's first member.
    pub ratio: u64,
}

/// Tags whose counts agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Sorted by ratio, then by bytes; the first has ratio 1.
    pub members: Vec<Member>,
}

impl Group {
    /// Bytes of all its tags.
    pub fn bytes(&self) -> u64 {
        self.members
            .iter()
            .fold(0, |sum, m| sum.saturating_add(m.bytes))
    }

    /// True if the group contains the tag.
    pub fn holds(&self, tag: Tag) -> bool {
        self.members.iter().any(|m| m.tag == tag)
    }

    /// The group as a sentence.
    pub fn sentence(&self) -> String {
        let each = self.members.iter().map(|m| match m.ratio {
            1 => format!("{} {}", m.tag, count(m.blocks)),
            n => format!("{} {} ({n} each)", m.tag, count(m.blocks)),
        });
        let bytes = match self.bytes() {
            0 => String::new(),
            bytes => format!("; {} in all", size(bytes)),
        };
        let first = self.members.first().map(|m| (m.blocks, m.ratio.max(1)));
        let same = |m: &Member| {
            first.is_some_and(|(blocks, ratio)| {
                m.blocks.saturating_mul(ratio) == blocks.saturating_mul(m.ratio.max(1))
            })
        };
        let nearly = match self.members.iter().all(same) {
            true => "",
            false => "nearly ",
        };
        format!(
            "{nearly}equal outstanding counts: {}{bytes}",
            each.collect::<Vec<_>>().join(", ")
        )
    }
}

/// Lower counts may agree by coincidence.
const FEWEST: u64 = 1_000;
/// The minimum count if at least three tags have exactly the same count.
const FEWEST_OF_THREE: u64 = 500;
/// Minimum bytes of a tag to be compared, if its bytes are known.
const LEAST_BYTES: u64 = 1 << 20;
/// Maximum number of blocks per block of the other tag.
const LARGEST_RATIO: u64 = 4;
/// Maximum number of tags to compare, the largest by bytes. The number of pairs grows
/// quadratically.
const MOST: usize = 64;

/// Finds the groups among the largest tags; the largest group is first.
pub fn find(rows: &[Row]) -> Vec<Group> {
    let mut tags = members(rows);
    tags.sort_by_key(|m| std::cmp::Reverse((m.bytes, m.blocks)));
    tags.truncate(MOST);
    // Sorted by count, because a group's counts are multiples of its smallest.
    tags.sort_by_key(|m| (m.blocks, std::cmp::Reverse(m.bytes)));
    let mut groups: Vec<Group> = Vec::new();
    let mut taken = vec![false; tags.len()];
    for first in 0..tags.len() {
        let Some(base) = tags.get(first).copied().filter(|_| !is(&taken, first)) else {
            continue;
        };
        let mut group = Group {
            members: vec![base],
        };
        for (other, member) in tags.iter().enumerate().skip(first + 1) {
            if let Some(ratio) = ratio(base.blocks, member.blocks).filter(|_| !is(&taken, other)) {
                group.members.push(Member { ratio, ..*member });
                taken.iter_mut().skip(other).take(1).for_each(|t| *t = true);
            }
        }
        if is_sound(&group) {
            groups.push(group);
        }
    }
    groups.sort_by_key(|g| std::cmp::Reverse(g.bytes()));
    groups
}

/// True if a coincidence is improbable: a small count must be exactly the same for three tags.
fn is_sound(group: &Group) -> bool {
    let base = group.members.first().map_or(0, |m| m.blocks);
    let same = group.members.iter().filter(|m| m.blocks == base).count();
    match base {
        FEWEST.. => group.members.len() > 1,
        _ => same == group.members.len() && same >= 3,
    }
}

fn is(taken: &[bool], at: usize) -> bool {
    taken.get(at).copied().unwrap_or(true)
}

/// The tags to compare, with both pools of each tag summed.
fn members(rows: &[Row]) -> Vec<Member> {
    // For each tag also whether its bytes are known.
    let mut tags: FxHashMap<Tag, (Member, bool)> = FxHashMap::default();
    for row in rows {
        let Some(blocks) = row.outstanding else {
            continue;
        };
        let none = Member {
            tag: row.tag,
            blocks: 0,
            bytes: 0,
            ratio: 1,
        };
        let (member, known) = tags.entry(row.tag).or_insert((none, false));
        member.blocks = member.blocks.saturating_add(blocks);
        member.bytes = member.bytes.saturating_add(row.bytes.unwrap_or(0));
        *known |= row.bytes.is_some();
    }
    let large = |(member, known): &(Member, bool)| {
        member.blocks >= FEWEST_OF_THREE && (!known || member.bytes >= LEAST_BYTES)
    };
    let mut out: Vec<Member> = tags.into_values().filter(large).map(|(m, _)| m).collect();
    out.sort_by_key(|m| m.tag.value());
    out
}

/// The ratio of `more` to `base` if it is a small whole number, with a tolerance of half a per
/// mille or two blocks (an object may have been under construction).
fn ratio(base: u64, more: u64) -> Option<u64> {
    let nearest = more.checked_add(base / 2)? / base;
    let wanted = base.checked_mul(nearest)?;
    let close = more.abs_diff(wanted) <= (more / 2000).max(2);
    (close && (1..=LARGEST_RATIO).contains(&nearest)).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(rows: &[(&str, u64, u64)]) -> Vec<Row> {
        let row = |(tag, blocks, bytes): &(&str, u64, u64)| Row {
            tag: Tag::of(tag).unwrap(),
            outstanding: Some(*blocks),
            bytes: Some(blocks * bytes),
            ..Row::default()
        };
        rows.iter().map(row).collect()
    }

    fn found(rows: &[(&str, u64, u64)]) -> Vec<String> {
        find(&case(rows)).iter().map(Group::sentence).collect()
    }

    #[test]
    fn equal_counts_and_multiples_are_one_group() {
        let rows = [
            ("EtwD", 29_390_102, 0x40),
            ("Etwr", 29_390_100, 0x60),
            ("Ntfx", 48_211, 0x150),
            ("NtFC", 181_002, 0x60),
            ("File", 181_000, 0x180),
            ("IoFE", 362_001, 0x50),
        ];
        assert_eq!(
            found(&rows),
            [
                "nearly equal outstanding counts: Etwr 29,390,100, EtwD 29,390,102; 4.4 GB in all",
                "nearly equal outstanding counts: File 181,000, NtFC 181,002, IoFE 362,001 (2 each); 110.5 MB in all",
            ]
        );
    }

    #[test]
    fn similar_or_small_counts_are_not_a_group() {
        let rows = [
            ("AAAA", 100_000, 0x100),
            ("BBBB", 100_300, 0x100),
            ("CCCC", 900, 0x10000),
            ("DDDD", 900, 0x10000),
            ("GGGG", 874, 0x10000),
            ("HHHH", 875, 0x10000),
            ("IIII", 874, 0x10000),
            ("EEEE", 5_000, 0x20),
            ("FFFF", 5_000, 0x20),
        ];
        assert_eq!(found(&rows), Vec::<String>::new());
    }

    #[test]
    fn a_small_count_needs_three_equal_tags() {
        let rows = [
            ("CCCC", 874, 0x10000),
            ("DDDD", 874, 0x10000),
            ("EEEE", 874, 0x10000),
        ];
        assert_eq!(found(&rows).len(), 1);
    }

    /// Counts of a healthy machine: independent, and over several orders of magnitude.
    #[test]
    fn coincidental_groups_are_rare() {
        let mut seed = 0x1234_5678_9abc_def1u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed >> 11
        };
        let mut groups = 0;
        for _ in 0..200 {
            let rows: Vec<(String, u64, u64)> = (0..40)
                .map(|i| {
                    let decade = 10u64.pow(3 + (random() % 3) as u32);
                    (format!("t{i:03}"), decade + random() % (9 * decade), 0x400)
                })
                .collect();
            let rows: Vec<_> = rows.iter().map(|(t, n, b)| (t.as_str(), *n, *b)).collect();
            groups += find(&case(&rows)).len();
        }
        assert!(
            groups < 200,
            "{groups} groups on 200 machines of 40 large tags"
        );
    }
}
