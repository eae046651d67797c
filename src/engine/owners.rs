//! Whose all tags are, for lists of them.

use std::sync::Arc;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::analysis::attribution::Attribution;
use crate::pool::Tag;
use crate::pool::index::Snapshot;

use super::Engine;

/// Attributions by tag.
pub type Attributed = FxHashMap<Tag, Arc<Attribution>>;

impl Engine {
    /// The attribution of every tag in use, by code and by contents. The images are looked
    /// through for all tags at once. `None` when it is not wanted any more.
    pub fn all_attributions(
        &self,
        workers: &rayon::ThreadPool,
        index: Option<&Snapshot>,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Option<Attributed> {
        self.all_references_on(workers, wanted)?;
        if let Some(index) = index {
            self.settle(index);
        }
        let held: Vec<Tag> = self
            .trackers()
            .rows
            .iter()
            .filter(|row| !(row.nonpaged.is_empty() && row.paged.is_empty()))
            .map(|row| row.tag)
            .collect();
        workers.install(|| {
            let one = |tag: &Tag| wanted().then(|| (*tag, self.attribution_by(*tag, index, None)));
            held.par_iter().map(one).collect()
        })
    }
}
