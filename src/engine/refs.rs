//! Which modules reference a tag.

use std::sync::OnceLock;

use crate::analysis::TagSearch;
use crate::analysis::references::{self, References, Targets};
use crate::memory::Va;
use crate::pool::Tag;

use super::Engine;

/// What is read of the images for all tags, each on first use.
#[derive(Debug, Default)]
pub(super) struct Parts {
    targets: OnceLock<Targets>,
    tags: OnceLock<TagSearch>,
}

/// The answer of `refs`: the references to a tag, and where the images are that have them.
#[derive(Clone, Debug, Default)]
pub struct TagReferences {
    /// The tag.
    pub tag: Tag,
    /// What was found, with how much could be searched.
    pub found: References,
    /// First address and the one behind the last, by the index that references give.
    pub images: Vec<(Va, Va)>,
}

impl TagReferences {
    /// The addresses of an image.
    pub fn image(&self, index: usize) -> Option<(Va, Va)> {
        self.images.get(index).copied()
    }
}

impl Engine {
    /// Which modules reference a tag, with the addresses of their images.
    pub fn tag_references(&self, tag: Tag) -> TagReferences {
        let images = self.kernel.modules.iter().map(|m| (m.base, m.end()));
        TagReferences {
            tag,
            found: self.references(tag),
            images: images.collect(),
        }
    }

    /// Which modules mention a tag, and what their code does with it.
    pub fn references(&self, tag: Tag) -> References {
        self.references_while(tag, &|| true).unwrap_or_default()
    }

    /// The same, given up with `None` as soon as `wanted` says no.
    pub fn references_while(&self, tag: Tag, wanted: &dyn Fn() -> bool) -> Option<References> {
        let all = self.search.tags.get();
        let (kernel, sessions) = (&self.kernel, self.sessions());
        references::find_while(kernel, sessions, self.targets(), all, tag, wanted)
    }

    /// The functions that code may call, by address; read on first use.
    fn targets(&self) -> &Targets {
        self.search
            .targets
            .get_or_init(|| Targets::of(&self.kernel, self.sessions()))
    }

    /// Where all tags of the trackers and of the descriptions are in the images: one pass
    /// over all of them in parallel, on first use. `None` as soon as `wanted` says no, or
    /// when the system refuses to start the workers.
    pub fn tag_search(&self, wanted: &(dyn Fn() -> bool + Sync)) -> Option<&TagSearch> {
        match self.search.tags.get() {
            Some(done) => Some(done),
            None => self.tag_search_on(&self.thread_pool().ok()?, wanted),
        }
    }

    /// The same on these workers.
    pub fn tag_search_on(
        &self,
        workers: &rayon::ThreadPool,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Option<&TagSearch> {
        if let Some(done) = self.search.tags.get() {
            return Some(done);
        }
        let tags = self.trackers.rows.iter().map(|usage| usage.tag);
        let tags: Vec<Tag> = tags.chain(self.descriptions.tags()).collect();
        let (kernel, sessions) = (&self.kernel, self.sessions());
        let search = workers.install(|| TagSearch::run(kernel, sessions, tags, wanted))?;
        Some(self.search.tags.get_or_init(|| search))
    }

    /// The result of that pass, where it has been made.
    pub fn tags_found(&self) -> Option<&TagSearch> {
        self.search.tags.get()
    }
}
