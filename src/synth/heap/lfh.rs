//! LFH subsegments: slots of one size, with two bits each.

use crate::addr::PAGE_SIZE;
use crate::synth::rng::Rng;

use super::UNIT;

/// A subsegment.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Size of a slot in bytes.
    pub bytes: u64,
    /// Number of pages of the range.
    pub pages: u64,
    /// Offset of the first slot.
    pub first: u64,
    /// Offset of the commit states of its pages.
    pub commit_state: u64,
    /// Index of the allocation in each slot in use.
    pub slots: Vec<Option<u32>>,
}

impl Plan {
    /// Offset of a slot.
    pub fn at(&self, slot: usize) -> u64 {
        self.first + slot as u64 * self.bytes
    }

    /// True for a slot that straddles a page boundary: these are never allocated.
    pub fn straddles(&self, slot: usize) -> bool {
        self.at(slot) % PAGE_SIZE + self.bytes > PAGE_SIZE
    }
}

/// Places blocks of `bytes` in slots in random order, in as few pages as possible with some
/// spare slots. `bitmap` is the offset of the bitmap.
pub fn compose(allocations: &[u32], bytes: u64, bitmap: u64, rng: &mut Rng) -> Plan {
    let mut pages = 1;
    loop {
        let mut plan = empty(bytes, pages, bitmap);
        let mut usable: Vec<usize> = (0..plan.slots.len())
            .filter(|&i| !plan.straddles(i))
            .collect();
        if usable.len() >= allocations.len() + 2 {
            rng.shuffle(&mut usable);
            for (allocation, slot) in allocations.iter().zip(usable) {
                if let Some(to) = plan.slots.get_mut(slot) {
                    *to = Some(*allocation);
                }
            }
            return plan;
        }
        pages += 1;
    }
}

/// As many slots as fit after the bitmap and the commit states.
fn empty(bytes: u64, pages: u64, bitmap: u64) -> Plan {
    let whole = pages * PAGE_SIZE;
    let start = |count: u64| {
        let commit_state = bitmap + count.div_ceil(32) * 8;
        let first = (commit_state + 2 * pages).next_multiple_of(UNIT);
        (commit_state, first)
    };
    let mut count = whole / bytes;
    while count > 0 && start(count).1 + count * bytes > whole {
        count -= 1;
    }
    let (commit_state, first) = start(count);
    Plan {
        bytes,
        pages,
        first,
        commit_state,
        slots: vec![None; count as usize],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_fit_their_pages_and_none_in_use_straddles_pages() {
        for bytes in (0x20..=0x1f0).step_by(16) {
            let allocations: Vec<u32> = (0..30).collect();
            let plan = compose(&allocations, bytes, 0x30, &mut Rng::new(bytes));
            let used: Vec<usize> = (0..plan.slots.len())
                .filter(|&i| plan.slots[i].is_some())
                .collect();
            assert_eq!(used.len(), 30);
            assert!(used.iter().all(|&i| !plan.straddles(i)));
            assert!(plan.at(plan.slots.len()) <= plan.pages * PAGE_SIZE);
            assert!(plan.first as usize >= 0x30 + plan.slots.len().div_ceil(4));
        }
    }
}
