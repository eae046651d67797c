//! Which modules reference a tag.

use std::sync::{Arc, OnceLock};

use crate::analysis::TagSearch;
use crate::analysis::attribution::Attribution;
use crate::analysis::references::{self, Line, References, Survey, Targets};
use crate::memory::Va;
use crate::pool::Tag;

use super::Engine;

/// What is read of the images for all tags, each on first use.
#[derive(Debug, Default)]
pub(super) struct Parts {
    targets: OnceLock<Targets>,
    tags: OnceLock<TagSearch>,
    survey: OnceLock<Survey>,
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
    /// The instructions around each place, in the order of `found`, where they were asked
    /// for.
    pub disassembly: Vec<Vec<Line>>,
    /// Whose the tag is, by these places and by all else that is known.
    pub attribution: Option<Arc<Attribution>>,
}

/// Places whose instructions are listed.
const MAX_LISTED: usize = 1024;

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
            disassembly: Vec::new(),
            attribution: Some(self.attribution(tag, None)),
        }
    }

    /// Which modules mention a tag, and what their code does with it.
    pub fn references(&self, tag: Tag) -> References {
        self.references_while(tag, &|| true).unwrap_or_default()
    }

    /// The same, given up with `None` as soon as `wanted` says no. It is taken from the
    /// references of all tags where they are known, and the same where they are not.
    pub fn references_while(
        &self,
        tag: Tag,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Option<References> {
        let (kernel, sessions) = (&self.kernel, self.sessions());
        if let Some(survey) = self.search.survey.get().filter(|s| s.covers(tag)) {
            return survey.references(kernel, sessions, tag);
        }
        let all = self.search.tags.get();
        let targets = self.targets();
        let find = || references::find_while(kernel, sessions, targets, all, tag, wanted);
        if rayon::current_thread_index().is_some() {
            return find();
        }
        match self.thread_pool() {
            Ok(workers) => workers.install(find),
            Err(_) => find(),
        }
    }

    /// The references of all tags of the trackers: every image, function and variable is
    /// looked at once, in parallel, on first use. `None` as soon as `wanted` says no, or
    /// when the system refuses to start the workers.
    pub fn all_references(&self, wanted: &(dyn Fn() -> bool + Sync)) -> Option<&Survey> {
        match self.search.survey.get() {
            Some(done) => Some(done),
            None => self.all_references_on(&self.thread_pool().ok()?, wanted),
        }
    }

    /// The same on these workers.
    pub fn all_references_on(
        &self,
        workers: &rayon::ThreadPool,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Option<&Survey> {
        if let Some(done) = self.search.survey.get() {
            return Some(done);
        }
        if let Some(kept) = self.kept_references() {
            return Some(self.search.survey.get_or_init(|| kept));
        }
        let search = self.tag_search_on(workers, wanted)?;
        let tags: Vec<Tag> = self.trackers.rows.iter().map(|usage| usage.tag).collect();
        let (kernel, sessions) = (&self.kernel, self.sessions());
        let targets = self.targets();
        let survey =
            workers.install(|| Survey::of(kernel, sessions, targets, search, &tags, wanted))?;
        self.keep_references(&survey);
        Some(self.search.survey.get_or_init(|| survey))
    }

    /// The instructions around each place in code of an answer, in its order; no lines for
    /// a place in data.
    pub fn disassembly(&self, found: &References) -> Vec<Vec<Line>> {
        let (kernel, sessions) = (&self.kernel, self.sessions());
        let targets = self.targets();
        let mut out: Vec<Vec<Line>> = Vec::new();
        for place in &found.found {
            let lines = match out.len() < MAX_LISTED {
                true => references::listing(kernel, sessions, targets, place),
                false => Vec::new(),
            };
            out.push(lines);
        }
        out
    }

    /// The references of all tags, where they have been found.
    pub fn references_found(&self) -> Option<&Survey> {
        self.search.survey.get()
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
