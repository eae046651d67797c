//! Pinning chains: blocks of a filter driver that are never freed point one to one to objects of
//! other components, so these objects are never freed either. Chains are found by pointers,
//! counts and frees, not by names.

use crate::pool::Tag;

use super::case::{Case, Row};
use super::lockstep::Group;
use super::words::{count, percent, size};

/// Blocks of one tag that point one to one to blocks of another tag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// The tag of the pointing blocks.
    pub from: Tag,
    /// The tag of the target blocks.
    pub to: Tag,
    /// Offset of the pointer in bytes from the start of the block's body.
    pub offset: u64,
    /// Share of blocks that have the pointer, 0 to 1.
    pub share: f64,
}

/// A tag of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The tag.
    pub tag: Tag,
    /// Outstanding blocks in both pools.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Tags that are kept allocated by the first of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// The tag of the pinning blocks, to which no other tag of the chain points. It is also the
    /// first of `links`.
    pub head: Tag,
    /// The driver that owns the head.
    pub module: String,
    /// All tags: the head first, the others by bytes, descending.
    pub links: Vec<Link>,
    /// The pointers between the tags.
    pub edges: Vec<Edge>,
}

/// Minimum number of blocks of the head.
pub const FEWEST: u64 = 1_000;
/// Maximum share of frees in allocations; blocks that are freed more often pin nothing.
const FREED: f64 = 0.05;
/// Minimum ratio of pointing blocks to target blocks; at least half of the target blocks must be
/// pinned.
const LEAST: f64 = 0.5;
const MOST: f64 = 1.1;
/// Modules that own pinned objects: the file systems and the kernel.
const PINNED: [&str; 8] = [
    "nt", "hal", "fltmgr", "ntfs", "refs", "fastfat", "Wdf01000", "ndis",
];

impl Chain {
    /// True if the chain contains the tag.
    pub fn holds(&self, tag: Tag) -> bool {
        self.links.iter().any(|link| link.tag == tag)
    }

    /// Bytes of all its tags.
    pub fn bytes(&self) -> u64 {
        self.links
            .iter()
            .fold(0, |sum, link| sum.saturating_add(link.bytes))
    }

    /// The chain as a sentence.
    pub fn sentence(&self) -> String {
        let others: Vec<String> = self
            .links
            .iter()
            .skip(1)
            .map(|link| format!("{} {}", link.tag, count(link.blocks)))
            .collect();
        let blocks = self.links.first().map_or(0, |link| link.blocks);
        format!(
            "{} blocks of {} ({}) are not freed and keep {}: {} in all",
            count(blocks),
            self.head,
            self.module,
            others.join(", "),
            size(self.bytes())
        )
    }

    /// The pointers as sentences.
    pub fn pointers(&self) -> Vec<String> {
        let sentence = |e: &Edge| {
            format!(
                "{} of {} blocks point at a {} block of their own, at +{:#x}",
                percent(e.share),
                e.from,
                e.to,
                e.offset
            )
        };
        self.edges.iter().map(sentence).collect()
    }
}

/// True if the tag's blocks are numerous and rarely freed, so they can pin others.
pub fn may_pin(row: &Row) -> bool {
    let few_frees = row
        .history()
        .is_some_and(|(allocs, frees)| (frees as f64) < allocs as f64 * FREED);
    few_frees && row.outstanding.is_some_and(|blocks| blocks >= FEWEST)
}

/// True if the counts of two tags are consistent with one-to-one pointers.
fn fits(from: u64, to: u64) -> bool {
    let ratio = from as f64 / to.max(1) as f64;
    (LEAST..=MOST).contains(&ratio)
}

/// Finds the chains. `owner` returns the driver of a tag, if there is a clear candidate.
pub fn find(
    case: &Case,
    edges: &[Edge],
    groups: &[Group],
    owner: &dyn Fn(Tag) -> Option<String>,
) -> Vec<Chain> {
    let blocks = |tag| case.outstanding(tag);
    let edges: Vec<Edge> = edges
        .iter()
        .filter(|e| e.from != e.to && e.share >= LEAST && fits(blocks(e.from), blocks(e.to)))
        .copied()
        .collect();
    let pins = |tag: Tag| case.rows.iter().any(|row| row.tag == tag && may_pin(row));
    let mut out: Vec<Chain> = Vec::new();
    for edge in &edges {
        let head = edge.from;
        let pointed_at = edges.iter().any(|e| e.to == head && pins(e.from));
        if pointed_at || !pins(head) || out.iter().any(|chain| chain.holds(head)) {
            continue;
        }
        let Some(module) = owner(head).filter(|m| !is_pinned(m)) else {
            continue;
        };
        out.push(chain(case, head, module, &edges, groups));
    }
    out.sort_by_key(|chain| std::cmp::Reverse(chain.bytes()));
    out
}

/// True for a module whose objects are pinned by others; it is never the cause.
pub fn is_pinned(module: &str) -> bool {
    PINNED.iter().any(|p| p.eq_ignore_ascii_case(module))
}

/// The tags that are reachable from the head, and tags whose counts are equal to one of them.
fn chain(case: &Case, head: Tag, module: String, edges: &[Edge], groups: &[Group]) -> Chain {
    let mut tags = vec![head];
    let mut own: Vec<Edge> = Vec::new();
    let mut at = 0;
    while let Some(tag) = tags.get(at).copied() {
        at += 1;
        for edge in edges.iter().filter(|e| e.from == tag) {
            own.push(*edge);
            if !tags.contains(&edge.to) {
                tags.push(edge.to);
            }
        }
    }
    for group in groups {
        if group.members.iter().any(|m| tags.contains(&m.tag)) {
            let new = group.members.iter().filter(|m| m.ratio == 1).map(|m| m.tag);
            let new: Vec<Tag> = new.filter(|tag| !tags.contains(tag)).collect();
            tags.extend(new);
        }
    }
    let mut links: Vec<Link> = tags.into_iter().map(|tag| link(case, tag)).collect();
    if let Some(rest) = links.get_mut(1..) {
        rest.sort_by_key(|link| std::cmp::Reverse(link.bytes));
    }
    Chain {
        head,
        module,
        links,
        edges: own,
    }
}

fn link(case: &Case, tag: Tag) -> Link {
    let of_tag = case.rows.iter().filter(|row| row.tag == tag);
    Link {
        tag,
        blocks: case.outstanding(tag),
        bytes: of_tag.fold(0, |sum, row| sum.saturating_add(row.bytes.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::judgement::lockstep;
    use crate::pool::Pool;

    fn tag(text: &str) -> Tag {
        Tag::of(text).unwrap()
    }

    fn row(name: &str, pool: Pool, allocs: u64, frees: u64) -> Row {
        Row {
            tag: tag(name),
            pool: Some(pool),
            allocs: Some(allocs),
            frees: Some(frees),
            outstanding: Some(allocs - frees),
            bytes: Some((allocs - frees) * 0x180),
        }
    }

    fn edge(from: &str, to: &str) -> Edge {
        Edge {
            from: tag(from),
            to: tag(to),
            offset: 0x18,
            share: 0.98,
        }
    }

    fn find_in(case: &Case, edges: &[Edge]) -> Vec<Chain> {
        let owner = |t: Tag| match t.to_string().as_str() {
            "XXsc" | "XXfc" => Some("anyflt".to_owned()),
            "NtFC" => Some("ntfs".to_owned()),
            _ => Some("nt".to_owned()),
        };
        find(case, edges, &lockstep::find(&case.rows), &owner)
    }

    fn pinned(frees: u64) -> Case {
        Case {
            rows: vec![
                row("XXsc", Pool::Nonpaged, 50_000 + frees, frees),
                row("XXri", Pool::Paged, 51_000, 1_000),
                row("NtFC", Pool::Nonpaged, 50_400, 10),
                row("File", Pool::Nonpaged, 900_000, 847_000),
                row("Toke", Pool::Paged, 90_000, 39_500),
                row("SeTd", Pool::Paged, 90_000, 39_500),
            ],
            ..Case::default()
        }
    }

    #[test]
    fn a_filter_and_the_objects_it_pins_are_one_chain() {
        let case = pinned(0);
        let edges = [
            edge("XXsc", "NtFC"),
            edge("XXsc", "File"),
            edge("File", "Toke"),
        ];
        let found = find_in(&case, &edges);
        assert_eq!(found.len(), 1);
        let chain = &found[0];
        assert_eq!((chain.head, chain.module.as_str()), (tag("XXsc"), "anyflt"));
        for name in ["XXsc", "XXri", "NtFC", "File", "Toke", "SeTd"] {
            assert!(chain.holds(tag(name)), "{name}: {}", chain.sentence());
        }
        assert_eq!(chain.bytes(), 304_390 * 0x180);
        assert!(chain.sentence().contains("anyflt"));
        assert_eq!(chain.pointers().len(), 3);
    }

    #[test]
    fn blocks_that_are_freed_regularly_pin_nothing() {
        let edges = [edge("XXsc", "File")];
        assert_eq!(find_in(&pinned(400_000), &edges), []);
    }

    #[test]
    fn objects_of_a_file_system_form_no_chain() {
        let case = pinned(0);
        assert_eq!(find_in(&case, &[edge("NtFC", "File")]), []);
    }

    #[test]
    fn many_blocks_that_point_to_few_form_no_chain() {
        let mut case = pinned(0);
        case.rows[3] = row("File", Pool::Nonpaged, 4_000, 3_000);
        assert_eq!(find_in(&case, &[edge("XXsc", "File")]), []);
    }
}
