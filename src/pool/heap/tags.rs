//! The possible tags of blocks in use. A header without other confirmation is checked against
//! them.

use rustc_hash::FxHashSet;

use crate::pool::tag::Tag;
use crate::pool::tracker::Trackers;

/// The tags with outstanding blocks in the trackers; without trackers, all printable tags.
#[derive(Clone, Debug, Default)]
pub struct KnownTags {
    nonpaged: FxHashSet<Tag>,
    paged: FxHashSet<Tag>,
}

/// The tracker for tags that did not fit in the table.
const OVERFLOW: [u8; 4] = *b"Ovfl";

impl KnownTags {
    /// Collects the tags with outstanding blocks.
    pub fn of(trackers: &Trackers) -> KnownTags {
        let overflow = Tag::new(u32::from_le_bytes(OVERFLOW));
        let full = trackers
            .rows
            .iter()
            .any(|row| row.tag == overflow && row.nonpaged.outstanding + row.paged.outstanding > 0);
        if full {
            // The overflow tracker may stand for any tag.
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

    /// True for a tag with blocks in use in nonpaged or paged pool.
    pub fn holds(&self, tag: Tag, paged: bool) -> bool {
        if self.nonpaged.is_empty() && self.paged.is_empty() {
            // Short tags are padded with blanks, sometimes with zeros.
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
    fn a_tag_with_outstanding_blocks_is_known() {
        let known = KnownTags::of(&trackers(vec![row("Leak", 3, 0), row("Idle", 0, 0)]));
        assert!(known.holds(tag("Leak"), false));
        assert!(!known.holds(tag("Leak"), true));
        assert!(!known.holds(tag("Idle"), false));
    }

    #[test]
    fn without_trackers_or_with_full_ones_any_text_is_a_tag() {
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
