//! Tags that are allocated together: their outstanding counts agree, or one is a small
//! multiple of the other.
//!
//! An object is often made of several allocations, each with a tag of its own, so a leak
//! of it shows as several tags of which none may be the largest. Counts that agree to a
//! fraction of a per mille over thousands of blocks don't by chance; how close and how
//! many is chosen so that among a few dozen large tags of a healthy machine about one
//! pair in ten machines would.

use rustc_hash::FxHashMap;

use crate::pool::Tag;

use super::case::Row;
use super::words::{count, size};

/// A tag of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The tag.
    pub tag: Tag,
    /// Blocks outstanding, both pools.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks for each block of the group's first member.
    pub ratio: u64,
}

/// Tags whose counts agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// In order of ratio, then bytes; the first has ratio 1.
    pub members: Vec<Member>,
}

impl Group {
    /// Bytes of all its tags.
    pub fn bytes(&self) -> u64 {
        self.members
            .iter()
            .fold(0, |sum, m| sum.saturating_add(m.bytes))
    }

    /// True when the tag is in it.
    pub fn holds(&self, tag: Tag) -> bool {
        self.members.iter().any(|m| m.tag == tag)
    }

    /// As a sentence.
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

/// Counts below this agree by chance.
const FEWEST: u64 = 1_000;
/// Counts that are the very same for at least three tags, from this on.
const FEWEST_OF_THREE: u64 = 500;
/// Tags with less than this are not compared with each other, where bytes are known.
const LEAST_BYTES: u64 = 1 << 20;
/// Blocks per block of the other tag, at most.
const LARGEST_RATIO: u64 = 4;
/// Tags that are compared; the largest by bytes. Pairs grow with the square.
const MOST: usize = 64;

/// Finds the groups among the largest tags, largest group first.
pub fn find(rows: &[Row]) -> Vec<Group> {
    let mut tags = members(rows);
    tags.sort_by_key(|m| std::cmp::Reverse((m.bytes, m.blocks)));
    tags.truncate(MOST);
    // The smallest count of a group is the one that the others are multiples of.
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

/// Few blocks agree by chance, unless three tags have the very same count.
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

/// The tags that are compared, both pools of each together.
fn members(rows: &[Row]) -> Vec<Member> {
    // Whether any bytes of the tag are known, beside its counts.
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

/// How many `more` are for each of `base`, when that is a small whole number: within
/// half a per mille, and two blocks that are just being made.
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
    fn pairs_and_multiples_are_one_family() {
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
    fn counts_that_are_only_near_or_few_are_not() {
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
    fn few_blocks_agree_where_three_tags_have_the_same_number() {
        let rows = [
            ("CCCC", 874, 0x10000),
            ("DDDD", 874, 0x10000),
            ("EEEE", 874, 0x10000),
        ];
        assert_eq!(found(&rows).len(), 1);
    }

    /// Populations as of a healthy machine: counts of no relation, spread over decades.
    #[test]
    fn chance_makes_few_groups() {
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
