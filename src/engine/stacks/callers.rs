//! The modules that recorded stacks identify as callers of a tag's live blocks.

use std::collections::BTreeMap;

use crate::analysis::attribution::recorded::Recorded;
use crate::analysis::attribution::suspects::is_everybodys;
use crate::kernel::verifier::Event;
use crate::memory::Va;
use crate::pool::index::Snapshot;
use crate::pool::{Tag, TagPattern};

use super::{Recorder, StackRow, StacksOf};
use crate::engine::Engine;

impl Engine {
    /// The modules that allocated the live blocks of a tag according to the records, by number of
    /// blocks, descending; empty without records.
    pub fn recorded_callers(&self, tag: Tag, index: &Snapshot) -> Vec<Recorded> {
        let tags = match self.recorded_tags.get() {
            Some(tags) => tags,
            // Not in `get_or_init`: a worker that waits for the search may execute other work
            // that calls this function again.
            None => {
                let all = self.tags_with_stacks(index).into_iter().collect();
                self.recorded_tags.get_or_init(|| all)
            }
        };
        if !tags.contains(&tag) {
            return Vec::new();
        }
        let of = StacksOf::Tag(TagPattern::of(tag));
        let Some(found) = self.stacks(Some(index), &of, &|| true) else {
            return Vec::new();
        };
        let live = found.coverage.live_blocks.unwrap_or(0);
        // The lists contain all live blocks of a driver, the log only recent ones of any driver.
        let counted = [Recorder::Pool, Recorder::Log].map(|source| {
            let rows = found.rows.iter();
            let rows = rows.filter(|r| r.source == source && r.event == Some(Event::Allocated));
            self.by_module(rows)
        });
        let best = counted.into_iter().max_by_key(|counted| counted.0);
        let (recorded, modules) = best.unwrap_or_default();
        let mut out: Vec<Recorded> = modules
            .into_iter()
            .map(|(module, blocks)| Recorded {
                module,
                blocks,
                recorded,
                live: live.max(recorded),
            })
            .collect();
        out.sort_by_key(|r| std::cmp::Reverse(r.blocks));
        out
    }

    /// The total number of blocks, and the number by the first driver on their stacks.
    fn by_module<'a>(
        &self,
        rows: impl Iterator<Item = &'a StackRow>,
    ) -> (u64, BTreeMap<String, u64>) {
        let mut out: BTreeMap<String, u64> = BTreeMap::new();
        let mut all = 0u64;
        for row in rows {
            all = all.saturating_add(row.count);
            let driver = |frame: &Va| {
                let name = self.kernel().module_at(*frame)?.name();
                (!is_everybodys(&name)).then_some(name)
            };
            if let Some(module) = row.frames.iter().find_map(driver) {
                *out.entry(module).or_default() += row.count;
            }
        }
        (all, out)
    }
}
