//! Tags that are allocated together: their outstanding counts agree, or one is a small
//! multiple of the other.
//!
//! An object is often made of several allocations, each with a tag of its own, so a leak
//! of it shows as several tags of which none may be the largest. Counts that agree to a
//! fraction of a per mille over thousands of blocks don't by chance; how close and how
//! many is chosen so that among a few dozen large tags of a healthy machine about one
//! pair in ten machines would.

use crate::pool::Tag;
use crate::pool::tracker::{TagUsage, Trackers};

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
            1 => format!("{} {}", m.tag, m.blocks),
            n => format!("{} {} ({n} each)", m.tag, m.blocks),
        });
        format!(
            "outstanding together: {}; {} bytes in all",
            each.collect::<Vec<_>>().join(", "),
            self.bytes()
        )
    }
}

/// Counts below this agree by chance.
const FEWEST: u64 = 1_000;
/// Tags with less than this are not compared with each other.
const LEAST_BYTES: u64 = 1 << 20;
/// Blocks per block of the other tag, at most.
const LARGEST_RATIO: u64 = 4;
/// Tags that are compared; the largest by bytes. Pairs grow with the square.
const MOST: usize = 64;

/// Finds the groups among the largest tags, largest group first.
pub fn find(trackers: &Trackers) -> Vec<Group> {
    let mut tags: Vec<Member> = trackers.rows.iter().filter_map(member).collect();
    tags.sort_by_key(|m| std::cmp::Reverse(m.bytes));
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
        if group.members.len() > 1 {
            groups.push(group);
        }
    }
    groups.sort_by_key(|g| std::cmp::Reverse(g.bytes()));
    groups
}

fn is(taken: &[bool], at: usize) -> bool {
    taken.get(at).copied().unwrap_or(true)
}

fn member(row: &TagUsage) -> Option<Member> {
    let blocks = row
        .nonpaged
        .outstanding
        .checked_add(row.paged.outstanding)?;
    let bytes = row.nonpaged.bytes.checked_add(row.paged.bytes)?;
    (blocks >= FEWEST && bytes >= LEAST_BYTES).then_some(Member {
        tag: row.tag,
        blocks,
        bytes,
        ratio: 1,
    })
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
    use crate::pool::tracker::Usage;

    fn trackers(rows: &[(&str, u64, u64)]) -> Trackers {
        let row = |(tag, blocks, bytes): &(&str, u64, u64)| TagUsage {
            tag: Tag::of(tag).unwrap(),
            nonpaged: Usage {
                outstanding: *blocks,
                bytes: blocks * bytes,
                ..Usage::default()
            },
            ..TagUsage::default()
        };
        Trackers {
            rows: rows.iter().map(row).collect(),
            ..Trackers::default()
        }
    }

    fn found(rows: &[(&str, u64, u64)]) -> Vec<String> {
        find(&trackers(rows)).iter().map(Group::sentence).collect()
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
                "outstanding together: Etwr 29390100, EtwD 29390102; 4702416128 bytes in all",
                "outstanding together: File 181000, NtFC 181002, IoFE 362001 (2 each); 115840272 bytes in all",
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
            ("EEEE", 5_000, 0x20),
            ("FFFF", 5_000, 0x20),
        ];
        assert_eq!(found(&rows), Vec::<String>::new());
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
            groups += find(&trackers(&rows)).len();
        }
        assert!(
            groups < 200,
            "{groups} groups on 200 machines of 40 large tags"
        );
    }
}
