//! Finds tags whose blocks point one to one to another tag's blocks.

use rustc_hash::FxHashSet;

use crate::analysis::census::{Census, Count, What};
use crate::analysis::judgement::Case;
use crate::analysis::judgement::chain::{self, Chain, Edge};
use crate::analysis::judgement::lockstep::Group;
use crate::pool::Tag;
use crate::pool::index::Snapshot;

use super::super::Engine;

/// Maximum number of tags to examine, those with the most blocks.
const MOST: usize = 48;
/// Number of blocks per tag to compare.
const LOOKED: u64 = 256;
/// Minimum share of pointers that must be distinct.
const DISTINCT: f64 = 0.9;
/// Minimum share of blocks that point to the other tag.
const SHARE: f64 = 0.5;

impl Engine {
    /// The pinning chains of a machine. The head's driver becomes a suspect of all tags of the
    /// chain.
    pub(super) fn chains(&self, case: &Case, groups: &[Group], index: &Snapshot) -> Vec<Chain> {
        let mut from: Vec<(u64, Tag)> = case
            .rows
            .iter()
            .filter(|row| chain::may_pin(row))
            .map(|row| (row.outstanding.unwrap_or(0), row.tag))
            .collect();
        from.sort_by_key(|(blocks, tag)| (std::cmp::Reverse(*blocks), tag.value()));
        from.dedup_by_key(|(_, tag)| *tag);
        from.truncate(MOST);
        let mut edges: Vec<Edge> = Vec::new();
        let mut seen: FxHashSet<Tag> = FxHashSet::default();
        let mut next: Vec<Tag> = from.into_iter().map(|(_, tag)| tag).collect();
        // Pinned objects may pin others, even if they are freed elsewhere: files reference
        // tokens.
        for _ in 0..3 {
            let mut further = Vec::new();
            for tag in next {
                if !seen.insert(tag) || seen.len() > 2 * MOST {
                    continue;
                }
                let found = self.edges_of(tag, index);
                further.extend(found.iter().map(|edge| edge.to));
                edges.extend(found);
            }
            next = further;
        }
        let owner = |tag: Tag| {
            let attribution = self.attribution_by(tag, Some(index), None);
            let best = attribution.owners.best().map(|o| o.module.clone());
            best.or_else(|| attribution.allocator().map(str::to_owned))
        };
        let chains = chain::find(case, &edges, groups, &owner);
        for chain in &chains {
            for link in chain.links.iter().skip(1) {
                self.attribution_by(link.tag, Some(index), None);
                let reason = format!(
                    "its blocks ({}) keep these allocated: {}",
                    chain.head,
                    chain.sentence()
                );
                self.pinned_by(link.tag, &chain.module, reason);
            }
        }
        chains
    }

    /// The tags that most blocks of a tag point to one to one.
    fn edges_of(&self, tag: Tag, index: &Snapshot) -> Vec<Edge> {
        let Some(census) = self.sample(tag, None, true, index) else {
            return Vec::new();
        };
        let mut out: Vec<Edge> = Vec::new();
        for (offset, to, share) in pointed(&census) {
            let new = out.iter().all(|edge| edge.to != to);
            if to != tag && new && self.points_one_to_one(tag, offset, index) {
                out.push(Edge {
                    from: tag,
                    to,
                    offset,
                    share,
                });
            }
        }
        out
    }

    /// True if the words at an offset of sampled blocks are nearly all distinct.
    fn points_one_to_one(&self, tag: Tag, offset: u64, index: &Snapshot) -> bool {
        let blocks = index.blocks(tag);
        let step = (blocks.len() / LOOKED).max(1);
        let sampled = (0..LOOKED).map_while(|i| blocks.get(i * step));
        let words: Vec<u64> = sampled
            .filter_map(|block| {
                let space = self.space_of_session(block.session);
                space.u64(block.body().add(offset)).ok()
            })
            .filter(|word| *word != 0)
            .collect();
        let distinct: FxHashSet<u64> = words.iter().copied().collect();
        words.len() >= 16 && distinct.len() as f64 >= words.len() as f64 * DISTINCT
    }
}

/// Offsets at which at least half of the blocks point to live blocks of one tag.
fn pointed(census: &Census) -> Vec<(u64, Tag, f64)> {
    let mut out = Vec::new();
    for at in census.offsets.iter().filter(|o| o.read > 0) {
        let mut by_tag: Vec<(Tag, u64)> = Vec::new();
        for Count { what, blocks } in &at.counts {
            if let What::Pool {
                tag,
                is_freed: false,
                ..
            } = what
            {
                match by_tag.iter_mut().find(|(t, _)| t == tag) {
                    Some((_, sum)) => *sum += blocks,
                    None => by_tag.push((*tag, *blocks)),
                }
            }
        }
        for (tag, blocks) in by_tag {
            let share = blocks as f64 / at.read as f64;
            if share >= SHARE {
                out.push((at.offset, tag, share));
            }
        }
    }
    out.sort_by(|a, b| b.2.total_cmp(&a.2));
    out
}
