//! The owners of all tags, for lists.

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
    /// The owners of all tags in use, by code and block contents. Images are searched once for
    /// all tags. `None` if cancelled.
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
