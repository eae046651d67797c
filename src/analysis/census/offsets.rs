//! Counts the word classes at each offset of a tag's blocks.

use rustc_hash::FxHashMap;

use crate::pool::Tag;

use super::classify::Word;

/// Number of bytes at the start of a block that are counted by offset.
pub const LIMIT: u64 = 4096;
/// Bytes per word.
pub const STEP: u64 = 8;
/// Maximum number of values per offset that are counted individually.
pub const VALUES: usize = 6;
/// Maximum number of tags and object types per offset that are distinguished; others are counted
/// together.
const MOST_TARGETS: usize = 4096;

/// The target of a pointer into pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The block's tag.
    pub tag: Tag,
    /// True if the block is free.
    pub is_freed: bool,
    /// The object's type, as a number of this census.
    pub object: Option<u16>,
}

/// The counts of one offset.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// Number of readable words.
    pub read: u64,
    /// Number of unreadable words.
    pub unreadable: u64,
    /// Zeros.
    pub zero: u64,
    /// Numbers.
    pub number: u64,
    /// Texts.
    pub text: u64,
    /// User addresses.
    pub user: u64,
    /// Pointers into the block itself.
    pub own: u64,
    /// Pointers into modules, by module index.
    pub modules: FxHashMap<u32, u64>,
    /// Pointers into pool blocks.
    pub targets: FxHashMap<Target, u64>,
    /// Pointers into pool blocks beyond the limit of targets.
    pub other_targets: u64,
    /// Kernel addresses outside of images and blocks.
    pub kernel: u64,
    /// The count of each individually counted value.
    pub values: [u64; VALUES],
}

impl Slot {
    /// Counts a word. Kernel addresses are counted later, by [`Slot::resolve`].
    pub fn add(&mut self, word: Word, value: u64, watched: &[u64]) {
        self.read += 1;
        match word {
            Word::Zero => self.zero += 1,
            Word::Text => self.text += 1,
            Word::Own => self.own += 1,
            Word::User => self.user += 1,
            Word::Number => self.number += 1,
            Word::Module(module, _) => *self.modules.entry(module).or_default() += 1,
            Word::Kernel => {}
        }
        let watched = watched.iter().position(|v| *v == value);
        if let Some(count) = watched.and_then(|i| self.values.get_mut(i)) {
            *count += 1;
        }
    }

    /// Counts a kernel address by its target.
    pub fn resolve(&mut self, target: Option<Target>) {
        match target {
            None => self.kernel += 1,
            Some(target) => {
                let room = self.targets.len() < MOST_TARGETS;
                match self.targets.get_mut(&target) {
                    Some(count) => *count += 1,
                    None if room => {
                        self.targets.insert(target, 1);
                    }
                    None => self.other_targets += 1,
                }
            }
        }
    }

    fn merge(&mut self, other: &Slot) {
        self.read += other.read;
        self.unreadable += other.unreadable;
        self.zero += other.zero;
        self.number += other.number;
        self.text += other.text;
        self.user += other.user;
        self.own += other.own;
        for (module, count) in &other.modules {
            *self.modules.entry(*module).or_default() += count;
        }
        for (all, more) in self.values.iter_mut().zip(other.values) {
            *all += more;
        }
    }
}

/// The counts of all offsets.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The counts by offset.
    pub slots: Vec<Slot>,
    /// Number of blocks that point into a module at any offset, by module index.
    pub blocks_to: FxHashMap<u32, u64>,
}

impl Tally {
    /// The counts of the nth word.
    pub fn slot(&mut self, nth: usize) -> Option<&mut Slot> {
        if self.slots.len() <= nth && nth < (LIMIT / STEP) as usize {
            self.slots.resize_with(nth + 1, Slot::default);
        }
        self.slots.get_mut(nth)
    }

    /// Adds the counts of other blocks. Kernel addresses must not be resolved yet.
    pub fn merge(&mut self, other: &Tally) {
        for (nth, slot) in other.slots.iter().enumerate() {
            if let Some(own) = self.slot(nth) {
                own.merge(slot);
            }
        }
        for (module, count) in &other.blocks_to {
            *self.blocks_to.entry(*module).or_default() += count;
        }
    }
}

/// The most frequent values at an offset, descending. If there are at least two blocks, a value
/// must occur in two. Zero has its own count.
pub fn frequent(values: &[u64]) -> Vec<u64> {
    let mut counts: FxHashMap<u64, u32> = FxHashMap::default();
    for value in values.iter().filter(|v| **v != 0) {
        *counts.entry(*value).or_default() += 1;
    }
    let least = if values.len() > 1 { 2 } else { 1 };
    let mut out: Vec<(u64, u32)> = counts.into_iter().filter(|c| c.1 >= least).collect();
    out.sort_unstable_by_key(|&(value, count)| (std::cmp::Reverse(count), value));
    out.truncate(VALUES);
    out.into_iter().map(|(value, _)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_values_come_first_and_zero_is_excluded() {
        assert_eq!(frequent(&[0, 5, 5, 7, 7, 7, 9, 0]), [7, 5]);
        assert_eq!(frequent(&[9]), [9]);
        assert_eq!(frequent(&[]), [0; 0]);
    }

    #[test]
    fn offsets_beyond_the_limit_are_not_counted() {
        let mut tally = Tally::default();
        assert!(tally.slot(511).is_some());
        assert!(tally.slot(512).is_none());
        assert_eq!(tally.slots.len(), 512);
    }
}
