//! Compares the trackers with the located blocks: the coverage of a tag's allocations, and the
//! reasons for missing blocks.

use crate::pool::index::{Found, PageCounts, Snapshot, TagFound};
use crate::pool::tracker::{TagUsage, Trackers, Usage};
use crate::pool::{Tag, TagPattern};

use super::judgement::words::count;

/// One pool's side of a tag: what the kernel counts and what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Outstanding allocations and bytes by the trackers; `None` without trackers.
    pub tracker: Option<Found>,
    /// Allocated blocks that were located.
    pub found: Found,
    /// Blocks that are very probably allocated too: recognised by their headers only, because the
    /// structures that lead to them are damaged. Not included in `found`.
    pub heuristic: Found,
    /// Pages of this pool that can't be read; blocks may be missing for that.
    pub pages: PageCounts,
}

impl Side {
    /// Number of blocks that the trackers count and the walk did not locate.
    pub fn missing_blocks(&self) -> u64 {
        self.tracker
            .map_or(0, |t| t.blocks.saturating_sub(self.found.blocks))
    }

    /// Number of located blocks in excess of the trackers' count.
    pub fn surplus_blocks(&self) -> u64 {
        self.tracker
            .map_or(0, |t| self.found.blocks.saturating_sub(t.blocks))
    }

    /// True if blocks and bytes are equal.
    pub fn agrees(&self) -> bool {
        self.tracker == Some(self.found)
    }

    fn is_empty(&self) -> bool {
        self.found == Found::default()
            && self.heuristic == Found::default()
            && self.tracker.is_none_or(|t| t == Found::default())
    }

    /// The possible reasons for missing blocks of this pool, with their numbers.
    fn causes(&self, number: &dyn Fn(u64) -> String) -> String {
        let p = &self.pages;
        let mut out = String::new();
        if p.unreadable() > 0 {
            out += &format!(
                "; {} pages of this pool can't be read ({} paged out, {} not in the dump)",
                number(p.unreadable()),
                number(p.paged_out),
                number(p.not_in_dump + p.failed)
            );
        }
        if p.unread_big > 0 {
            out += &format!(
                ", {} of them inside large allocations, which are still located",
                number(p.unread_big)
            );
        }
        if p.damaged > 0 {
            out += &format!(
                "; {} pages have a damaged chain of blocks",
                number(p.damaged)
            );
        }
        if p.unplaced_bytes > 0 {
            out += &format!(
                "; {} bytes in use could not be parsed",
                number(p.unplaced_bytes)
            );
        }
        if p.unowned > 0 {
            out += &format!(
                "; {} mapped pages belong to no known heap segment",
                number(p.unowned)
            );
        }
        out
    }

    /// The heuristic blocks, which are listed after the certain ones.
    fn likely(&self, number: &dyn Fn(u64) -> String) -> String {
        match self.heuristic {
            Found { blocks: 0, .. } => String::new(),
            found => format!(
                " and {} / {} bytes more recognised by header only (heuristic)",
                number(found.blocks),
                number(found.bytes)
            ),
        }
    }

    fn sentence(&self, pool: &str, number: &dyn Fn(u64) -> String) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let found = format!(
            "found {} / {} bytes",
            number(self.found.blocks),
            number(self.found.bytes)
        );
        let likely = self.likely(number);
        let Some(tracker) = self.tracker else {
            return Some(format!(
                "{pool}: {found}{likely}; no tracker to compare with"
            ));
        };
        let says = format!(
            "{pool}: kernel counters: {} blocks / {} bytes",
            number(tracker.blocks),
            number(tracker.bytes)
        );
        if self.agrees() {
            return Some(format!("{says}, all located"));
        }
        let mut out = format!("{says}, {found}{likely}");
        out += &self.causes(number);
        if self.surplus_blocks() > 0 {
            out += "; more found than counted: some freed blocks still look allocated, or \
                counters and pages are from different moments";
        }
        Some(out)
    }
}

/// The kernel's trackers, with those of the sessions separate.
#[derive(Clone, Copy, Debug)]
pub struct Accounts<'a> {
    /// The trackers of the system's pools.
    pub system: &'a Trackers,
    /// The trackers of session pool, summed over all sessions; `None` if no session pool was
    /// walked.
    pub sessions: Option<&'a Trackers>,
}

impl Accounts<'_> {
    fn of(&self, tag: Tag) -> [Option<TagUsage>; 2] {
        [Some(self.system), self.sessions].map(|trackers| {
            let trackers = trackers.filter(|t| !t.rows.is_empty())?;
            Some(trackers.get(tag).copied().unwrap_or_default())
        })
    }

    /// Sums over all matching tags: the system's, and the sessions'; `None` without trackers.
    fn matching(&self, pattern: &TagPattern) -> [Option<TagUsage>; 2] {
        [Some(self.system), self.sessions].map(|trackers| {
            let trackers = trackers.filter(|t| !t.rows.is_empty())?;
            let mut sum = TagUsage::default();
            for row in trackers.rows.iter().filter(|r| pattern.matches(r.tag)) {
                sum.nonpaged += row.nonpaged;
                sum.paged += row.paged;
            }
            Some(sum)
        })
    }
}

/// The coverage of a tag, or of all tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Nonpaged pool.
    pub nonpaged: Side,
    /// Paged pool.
    pub paged: Side,
    /// Session pool, summed over all sessions.
    pub session: Side,
    /// Free blocks on lookaside and deferred-free lists, which are not included elsewhere.
    pub parked: Found,
    /// False if the walk is running or was cancelled.
    pub complete: bool,
    /// The walk finished without locating any block.
    pub is_empty: bool,
    /// The tag has no row in the system's trackers, but the table's overflow row has counts.
    pub overflowed: bool,
    /// Number of bytes in holes of the file, which read as zeros.
    pub holes: u64,
}

/// The last row of a tracker table: the sum of tags for which the table had no space.
const OVERFLOW: u32 = u32::from_le_bytes(*b"Ovfl");

impl Coverage {
    /// The coverage of one tag.
    pub fn of(tag: Tag, accounts: &Accounts<'_>, index: &Snapshot) -> Coverage {
        let found = index.totals.tag(tag);
        let system = accounts.system;
        let sums = system.get(Tag::new(OVERFLOW));
        Coverage {
            overflowed: system.get(tag).is_none()
                && sums.is_some_and(|s| !s.nonpaged.is_empty() || !s.paged.is_empty()),
            ..Coverage::between(accounts.of(tag), &found, index)
        }
    }

    /// The coverage of all tags that match a pattern.
    pub fn matching(pattern: &TagPattern, accounts: &Accounts<'_>, index: &Snapshot) -> Coverage {
        let mut found = TagFound::default();
        let tags = index.totals.tags.iter();
        for (_, one) in tags.filter(|(t, _)| pattern.matches(**t)) {
            found += *one;
        }
        Coverage::between(accounts.matching(pattern), &found, index)
    }

    /// The coverage of the whole pool.
    pub fn total(accounts: &Accounts<'_>, index: &Snapshot) -> Coverage {
        Coverage::matching(&TagPattern::any(), accounts, index)
    }

    fn between(
        [system, sessions]: [Option<TagUsage>; 2],
        found: &TagFound,
        index: &Snapshot,
    ) -> Coverage {
        let totals = &index.totals;
        // Session pool is paged; nonpaged counts in a session's table are not session pool.
        Coverage {
            nonpaged: side(
                system.map(|u| u.nonpaged),
                (found.nonpaged, found.heuristic.nonpaged),
                totals.nonpaged_pages,
            ),
            paged: side(
                system.map(|u| u.paged),
                (found.paged, found.heuristic.paged),
                totals.paged_pages,
            ),
            session: side(
                sessions.map(|u| u.paged),
                (found.session, found.heuristic.session),
                totals.session_pages,
            ),
            parked: found.parked,
            // If a walk locates no block at all, it read the wrong addresses.
            complete: index.is_complete() && index.found_any(),
            is_empty: index.is_complete() && !index.found_any(),
            overflowed: false,
            holes: 0,
        }
    }

    /// Adds the file's holes, which are a possible reason for missing blocks.
    #[must_use]
    pub fn with_holes(mut self, holes: impl FnOnce() -> u64) -> Coverage {
        let sides = [&self.nonpaged, &self.paged, &self.session];
        if sides.iter().any(|side| side.missing_blocks() > 0) {
            self.holes = holes();
        }
        self
    }

    /// The coverage as sentences, one for each pool with blocks of the tag.
    pub fn sentences(&self) -> Vec<String> {
        self.sentences_with(&count)
    }

    /// The coverage as sentences; `number` formats the numbers.
    pub fn sentences_with(&self, number: &dyn Fn(u64) -> String) -> Vec<String> {
        let mut out: Vec<String> = [
            self.nonpaged.sentence("nonpaged", number),
            self.paged.sentence("paged", number),
            self.session.sentence("session", number),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.parked.blocks > 0 {
            out.push(format!(
                "{} freed blocks on lookaside or deferred lists are not counted",
                number(self.parked.blocks)
            ));
        }
        if self.overflowed {
            out.push(
                "the trackers have no row for this tag; if their tables were full, it is \
                counted in the row Ovfl"
                    .into(),
            );
        }
        if self.holes > 0 {
            out.push(format!(
                "the file has holes of {} bytes, which read as zeros: if the copy is incomplete, \
                    blocks are missing",
                number(self.holes)
            ));
        }
        if self.is_empty {
            out.push(
                "the walk found no pool blocks: the pool is not at the expected addresses, \
                or its pages are not in the dump"
                    .into(),
            );
        } else if !self.complete {
            out.push("the pool walk is not complete: more blocks may be found".into());
        }
        out
    }

    /// Number of unreadable pages in the pools that contain this tag.
    pub fn unreadable_pages(&self) -> u64 {
        let of = |side: &Side| {
            if side.is_empty() {
                0
            } else {
                side.pages.unreadable()
            }
        };
        of(&self.nonpaged) + of(&self.paged) + of(&self.session)
    }
}

fn side(usage: Option<Usage>, (found, heuristic): (Found, Found), pages: PageCounts) -> Side {
    Side {
        tracker: usage.map(|u| Found {
            blocks: u.outstanding,
            bytes: u.bytes,
        }),
        found,
        heuristic,
        pages,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(blocks: u64, bytes: u64) -> Found {
        Found { blocks, bytes }
    }

    #[test]
    fn each_cause_of_missing_blocks_is_listed_with_its_number() {
        let pages = PageCounts {
            paged_out: 5,
            not_in_dump: 3,
            failed: 1,
            unread_big: 4,
            damaged: 2,
            unplaced_bytes: 640,
            unowned: 11,
            ..PageCounts::default()
        };
        let mut side = Side {
            tracker: Some(found(10, 1000)),
            found: found(7, 700),
            heuristic: found(2, 64),
            pages,
        };
        let said = side.sentence("paged", &|n| n.to_string()).unwrap();
        for part in [
            "9 pages of this pool can't be read (5 paged out, 4 not in the dump)",
            "4 of them inside large allocations",
            "2 pages have a damaged chain",
            "640 bytes in use",
            "11 mapped pages belong to no known heap segment",
            "found 7 / 700 bytes and 2 / 64 bytes more recognised by header only (heuristic)",
        ] {
            assert!(said.contains(part), "{said}");
        }
        side.found = found(10, 1000);
        let said = side.sentence("paged", &|n| n.to_string()).unwrap();
        assert_eq!(
            said,
            "paged: kernel counters: 10 blocks / 1000 bytes, all located"
        );
    }
}
