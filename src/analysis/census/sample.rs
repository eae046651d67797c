//! Selects the blocks of a tag to read: all, or a sample that is evenly spread by address and the
//! same each time.

use rayon::prelude::*;

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

/// Selects the blocks. `None` if cancelled.
pub fn pick(index: &Snapshot, question: &Question, wanted: Wanted<'_>) -> Option<Sample> {
    let list = index.blocks(question.tag);
    let counts: Option<Vec<u64>> = list
        .parts()
        .map(|blocks| wanted().then(|| blocks.filter(|b| question.takes(b)).count() as u64))
        .collect();
    let counts = counts?;
    let population = counts.iter().sum();
    let most = match question.sample {
        0 => population,
        most => most.min(population),
    };
    if population == list.len() {
        let blocks = (0..most).filter_map(|nth| list.get(place(nth, most, population)));
        return Some(Sample {
            blocks: blocks.collect(),
            population,
        });
    }
    let starts: Vec<u64> = counts
        .iter()
        .scan(0, |start, count| {
            let own = *start;
            *start += count;
            Some(own)
        })
        .collect();
    let selected: Option<Vec<Vec<Block>>> = list
        .parts()
        .zip(starts)
        .map(|(blocks, start)| {
            let taken = blocks.filter(|b| question.takes(b));
            let mut next = first_at(start, most, population);
            let selected = (start..).zip(taken).filter_map(|(i, block)| {
                let is_next = next < most && i == place(next, most, population);
                next += u64::from(is_next);
                is_next.then_some(block)
            });
            wanted().then(|| selected.collect())
        })
        .collect();
    Some(Sample {
        blocks: selected?.concat(),
        population,
    })
}

/// The first sample at or after an index, by [`place`].
fn first_at(index: u64, most: u64, all: u64) -> u64 {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low) / 2;
        match place(middle, most, all) < index {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
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
        // The first sample at or after each index.
        let first: Vec<u64> = [0, 12, 13, 62, 88].map(|i| first_at(i, 4, 100)).into();
        assert_eq!(first, [0, 0, 1, 2, 4]);
    }
}
