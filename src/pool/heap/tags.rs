//! Which tags blocks in use can have: what a header that nothing else vouches for is
//! judged by.

use rustc_hash::FxHashSet;

use crate::pool::tag::Tag;
use crate::pool::tracker::Trackers;

/// The tags that the trackers count blocks of; without trackers, all printable ones.
#[derive(Clone, Debug, Default)]
pub struct KnownTags {
    nonpaged: FxHashSet<Tag>,
    paged: FxHashSet<Tag>,
}

/// The tracker that counts the tags for which the table has no room.
const OVERFLOW: [u8; 4] = *b"Ovfl";

impl KnownTags {
    /// Of what the trackers count as outstanding.
    pub fn of(trackers: &Trackers) -> KnownTags {
        let overflow = Tag::new(u32::from_le_bytes(OVERFLOW));
        let full = trackers
            .rows
            .iter()
            .any(|row| row.tag == overflow && row.nonpaged.outstanding + row.paged.outstanding > 0);
        if full {
            // Any tag may be behind that one.
            return KnownTags::default();
        }
        let of = |outstanding: &dyn Fn(&crate::pool::tracker::TagUsage) -> u64| {
            let rows = trackers.rows.iter();
            rows.filter(|row| outstanding(row) > 0)
                .map(|row| row.tag)
                .collect()
        };
        KnownTags {
            nonpaged: of(&|row| row.nonpaged.outstanding),
            paged: of(&|row| row.paged.outstanding),
        }
    }

    /// True for a tag of which blocks are in use in nonpaged, or paged, pool.
    pub fn holds(&self, tag: Tag, paged: bool) -> bool {
        if self.nonpaged.is_empty() && self.paged.is_empty() {
            // A tag is shown with blanks after it, and stored with zeros now and then.
            let text = |b: u8| b == 0 || (0x20..0x7f).contains(&b);
            return tag.value() & 0xff != 0 && tag.bytes().into_iter().all(text);
        }
        match paged {
            true => self.paged.contains(&tag),
            false => self.nonpaged.contains(&tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::tracker::{TagUsage, Usage};

    fn tag(text: &str) -> Tag {
        Tag::of(text).unwrap()
    }

    fn row(text: &str, nonpaged: u64, paged: u64) -> TagUsage {
        let usage = |outstanding| Usage {
            outstanding,
            ..Usage::default()
        };
        TagUsage {
            tag: tag(text),
            nonpaged: usage(nonpaged),
            paged: usage(paged),
        }
    }

    fn trackers(rows: Vec<TagUsage>) -> Trackers {
        Trackers {
            rows,
            ..Trackers::default()
        }
    }

    #[test]
    fn a_tag_is_known_where_something_is_outstanding() {
        let known = KnownTags::of(&trackers(vec![row("Leak", 3, 0), row("Idle", 0, 0)]));
        assert!(known.holds(tag("Leak"), false));
        assert!(!known.holds(tag("Leak"), true));
        assert!(!known.holds(tag("Idle"), false));
    }

    #[test]
    fn without_trackers_or_with_full_ones_text_will_do() {
        for known in [
            KnownTags::default(),
            KnownTags::of(&trackers(vec![row("Leak", 3, 0), row("Ovfl", 1, 0)])),
        ] {
            assert!(known.holds(tag("Gone"), false));
            assert!(known.holds(Tag::new(u32::from_le_bytes(*b"MZ\0\0")), true));
            assert!(!known.holds(Tag::new(0x0102_0304), false));
            assert!(!known.holds(Tag::new(0), false));
        }
    }
}
