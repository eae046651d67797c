//! Selects the blocks of a tag to read: all, or a sample that is evenly spread by address and the
//! same each time.

use crate::pool::Pool;
use crate::pool::Tag;
use crate::pool::block::{Block, PoolKind, State};
use crate::pool::index::Snapshot;
use crate::pool::index::sort::Wanted;

/// The blocks in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Question {
    /// The tag.
    pub tag: Tag,
    /// The pool, if only one is asked for; session pool counts as paged.
    pub pool: Option<Pool>,
    /// The size in bytes including headers, if only one is asked for.
    pub size: Option<u64>,
    /// Maximum number of blocks to read; 0 for all.
    pub sample: u64,
}

impl Question {
    /// All blocks of a tag, with the default sample, which is large enough for shares to a
    /// hundredth of a percent.
    pub fn of(tag: Tag) -> Question {
        Question {
            tag,
            pool: None,
            size: None,
            sample: USUAL_SAMPLE,
        }
    }

    /// The same question with another sample size; 0 for all blocks.
    pub fn with_sample(self, sample: u64) -> Question {
        Question { sample, ..self }
    }

    /// True if a block matches: allocated, and of the requested pool and size.
    pub fn takes(&self, block: &Block) -> bool {
        let pool = match self.pool {
            None => true,
            Some(Pool::Nonpaged) => block.kind.is_nonpaged(),
            Some(Pool::Paged) => matches!(block.kind, PoolKind::Paged | PoolKind::Session),
        };
        block.state == State::Allocated && pool && self.size.is_none_or(|s| s == block.bytes)
    }
}

/// Default sample size, in blocks.
pub const USUAL_SAMPLE: u64 = 1 << 16;

/// The selected blocks.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// In index order.
    pub blocks: Vec<Block>,
    /// Number of blocks that match the question.
    pub population: u64,
}

/// Number of blocks between two checks for cancellation.
const LOOK_EVERY: usize = 1 << 16;

/// Selects the blocks. `None` if cancelled.
pub fn pick(index: &Snapshot, question: &Question, wanted: Wanted<'_>) -> Option<Sample> {
    let list = index.blocks(question.tag);
    let mut population = 0u64;
    for (i, block) in list.iter().enumerate() {
        if i % LOOK_EVERY == 0 && !wanted() {
            return None;
        }
        population += u64::from(question.takes(&block));
    }
    let most = match question.sample {
        0 => population,
        most => most.min(population),
    };
    let mut out = Sample {
        blocks: Vec::with_capacity(usize::try_from(most).unwrap_or(0)),
        population,
    };
    if population == list.len() {
        out.blocks = (0..most)
            .filter_map(|nth| list.get(place(nth, most, population)))
            .collect();
        return Some(out);
    }
    let taken = list.iter().filter(|b| question.takes(b));
    let mut next = 0;
    for (i, block) in (0u64..).zip(taken) {
        if i % LOOK_EVERY as u64 == 0 && !wanted() {
            return None;
        }
        if next < most && i == place(next, most, population) {
            out.blocks.push(block);
            next += 1;
        }
    }
    Some(out)
}

/// The index of the nth of `most` samples among `all`: in the middle of its share.
fn place(nth: u64, most: u64, all: u64) -> u64 {
    let twice = u128::from(nth) * 2 + 1;
    let place = twice.saturating_mul(all.into()) / (u128::from(most.max(1)) * 2);
    u64::try_from(place).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampled_indexes_are_even_and_distinct() {
        let places: Vec<u64> = (0..4).map(|n| place(n, 4, 100)).collect();
        assert_eq!(places, [12, 37, 62, 87]);
        let all: Vec<u64> = (0..7).map(|n| place(n, 7, 7)).collect();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(place(u64::MAX, 1, u64::MAX), u64::MAX);
    }
}
