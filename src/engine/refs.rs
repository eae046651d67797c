//! References to tags.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use rustc_hash::FxHashMap;

use crate::analysis::TagSearch;
use crate::analysis::attribution::Attribution;
use crate::analysis::references::{self, Line, Reference, References, Standing, Survey, Targets};
use crate::kernel::identity::ModuleIdentity;
use crate::memory::Va;
use crate::pool::Tag;

use super::{Engine, ModuleFacts};

/// The results of searching images for all tags, each computed on first use.
#[derive(Debug, Default)]
pub(super) struct Parts {
    targets: OnceLock<Targets>,
    survey: OnceLock<Survey>,
    /// Set once the cache has been searched for references.
    asked_kept: OnceLock<()>,
}

/// The answer of `refs`: the references to a tag, and the images that contain them.
#[derive(Clone, Debug, Default)]
pub struct TagReferences {
    /// The tag.
    pub tag: Tag,
    /// The references, with the coverage of the search.
    pub found: References,
    /// Base and end address (exclusive) of each image, by module index.
    pub images: Vec<(Va, Va)>,
    /// The identity of each image's driver, by module index.
    pub identities: Vec<ModuleIdentity>,
    /// The instructions around each reference, in the order of `found`; empty if not requested.
    pub disassembly: Vec<Vec<Line>>,
    /// The owner of the tag.
    pub attribution: Option<Arc<Attribution>>,
}

/// Maximum number of modules whose PDBs are read for names.
const MOST_NAMED: usize = 16;
/// Maximum number of references whose instructions are listed.
const MAX_LISTED: usize = 1024;

impl TagReferences {
    /// Those that lie in a range of addresses.
    #[must_use]
    pub fn within(mut self, range: &Range<Va>) -> TagReferences {
        let mut kept = self.found.found.iter().map(|r| range.contains(&r.va));
        self.disassembly.retain(|_| kept.next().unwrap_or(true));
        self.found.found.retain(|r| range.contains(&r.va));
        let found = &self.found.found;
        let has = |module: usize| found.iter().any(|r| r.module == module);
        self.found.modules.retain(|m| has(m.module));
        self.found.notes.push(format!(
            "only references from {} to {} are listed; `refs TAG` lists all",
            range.start, range.end
        ));
        self
    }

    /// Of what was found in these modules.
    pub fn of(tag: Tag, found: References, modules: &[ModuleFacts]) -> TagReferences {
        TagReferences {
            tag,
            found,
            images: modules.iter().map(|m| (m.base, m.end)).collect(),
            identities: modules.iter().map(ModuleFacts::identity).collect(),
            disassembly: Vec::new(),
            attribution: None,
        }
    }

    /// The address range of an image, by module index.
    pub fn image(&self, index: usize) -> Option<(Va, Va)> {
        self.images.get(index).copied()
    }
}

impl Engine {
    /// The modules that reference a tag, with function names from PDBs and the addresses of their
    /// images.
    pub fn tag_references(&self, tag: Tag) -> TagReferences {
        let mut found = self.references(tag);
        self.name_places(&mut found);
        TagReferences {
            attribution: Some(self.attribution_at_hand(tag)),
            ..TagReferences::of(tag, found, &self.module_list())
        }
    }

    /// The references to a tag, and what the code does with it.
    pub fn references(&self, tag: Tag) -> References {
        self.references_while(tag, &|| true).unwrap_or_default()
    }

    /// As [`Engine::references`], but `None` if cancelled by `wanted`. Taken from the references
    /// of all tags if those are available; the result is the same.
    pub fn references_while(
        &self,
        tag: Tag,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Option<References> {
        let (kernel, sessions) = (&self.kernel, self.sessions());
        if let Some(survey) = self.known_references().filter(|s| s.covers(tag)) {
            return survey.references(kernel, sessions, tag);
        }
        let targets = self.targets();
        let find = || references::find_while(kernel, sessions, targets, tag, wanted);
        if rayon::current_thread_index().is_some() {
            return find();
        }
        match self.thread_pool() {
            Ok(workers) => workers.install(find),
            Err(_) => find(),
        }
    }

    /// The references of all tags in the trackers. Every image, function and variable is analysed
    /// once, in parallel, on first use. `None` if cancelled by `wanted`, or if the worker threads
    /// can't be started.
    pub fn all_references(&self, wanted: &(dyn Fn() -> bool + Sync)) -> Option<&Survey> {
        match self.search.survey.get() {
            Some(done) => Some(done),
            None => self.all_references_on(&self.thread_pool().ok()?, wanted),
        }
    }

    /// The references of all tags, computed on these workers.
    pub fn all_references_on(
        &self,
        workers: &rayon::ThreadPool,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Option<&Survey> {
        if let Some(done) = self.known_references() {
            return Some(done);
        }
        let tags: Vec<Tag> = self.trackers.rows.iter().map(|usage| usage.tag).collect();
        let (kernel, sessions) = (&self.kernel, self.sessions());
        let survey = workers.install(|| {
            let targets = self.targets();
            let search = TagSearch::run(kernel, sessions, tags.iter().copied(), wanted)?;
            Survey::of(kernel, sessions, targets, &search, &tags, wanted)
        })?;
        self.keep_references(&survey);
        Some(self.search.survey.get_or_init(|| survey))
    }

    /// Adds function names from the PDBs on the symbol path, and source lines from private PDBs.
    /// Reads the PDBs of the likeliest owners, so this must not be called from the UI thread.
    pub fn name_places(&self, found: &mut References) {
        let users = found.modules.iter();
        let users = users.filter(|m| m.standing < Standing::Unknown);
        let modules: Vec<usize> = users.map(|m| m.module).take(MOST_NAMED).collect();
        for index in modules {
            let Some(module) = self.kernel.modules.get(index).filter(|m| !m.is_kernel) else {
                continue;
            };
            let rva = |va: Va| u32::try_from(va.0.checked_sub(module.base.0)?).ok();
            let name = module.name();
            let nearest = |va: Va| self.names().nearest(&self.kernel, index, rva(va)?);
            let used =
                |r: &Reference| r.module == index && Standing::of(&r.verdict) < Standing::Unknown;
            let places = found.found.iter().filter(|r| used(r));
            let called: Vec<u32> = places.map(|r| rva(r.taken_at()).unwrap_or(0)).collect();
            let (origins, notes) = self.names().origins(&self.kernel, index, &called);
            let places = found.found.iter_mut().filter(|r| used(r));
            for (r, origin) in places.zip(origins) {
                if let Some(symbol) = nearest(r.va) {
                    r.symbol = Some(symbol);
                }
                let by_start = |va: Va| nearest(va).filter(|(_, distance)| *distance == 0);
                let by_unit = origin.function.filter(|_| r.in_code);
                let function = by_unit.or_else(|| r.verdict.start.and_then(by_start));
                if let Some((function, _)) = function {
                    r.verdict.function = Some(format!("{name}!{function}"));
                }
                r.source = origin.line.filter(|_| r.in_code);
            }
            let refused = self.names().refused(index).iter().cloned();
            for note in refused.chain(notes) {
                if !found.notes.contains(&note) {
                    found.notes.push(note);
                }
            }
        }
    }

    /// The instructions around a reference in code; empty for a reference in data.
    pub fn instructions(&self, place: &Reference) -> Vec<Line> {
        references::listing(&self.kernel, self.sessions(), self.targets(), place)
    }

    /// The instructions around each reference, in order; empty for references in data.
    pub fn disassembly(&self, found: &References) -> Vec<Vec<Line>> {
        let mut out: Vec<Vec<Line>> = Vec::new();
        for place in &found.found {
            let lines = match out.len() < MAX_LISTED {
                true => self.instructions(place),
                false => Vec::new(),
            };
            out.push(lines);
        }
        out
    }

    /// The references of all tags, if already computed.
    pub fn references_found(&self) -> Option<&Survey> {
        self.search.survey.get()
    }

    /// The references of all tags, if already computed or cached by an earlier run. The cache is
    /// searched once.
    fn known_references(&self) -> Option<&Survey> {
        if self.search.survey.get().is_none() && self.search.asked_kept.set(()).is_ok() {
            let kept = self.kept_references()?;
            self.search.survey.get_or_init(|| kept);
        }
        self.search.survey.get()
    }

    /// The modules whose code or structures use each tag of the trackers, the likeliest owner
    /// first. Tags without such a module have no entry.
    pub(super) fn users_of_tags(&self, survey: &Survey) -> FxHashMap<Tag, Vec<String>> {
        let rows = self.trackers.rows.iter().filter_map(|row| {
            let ranks = survey.ranks(&self.kernel, row.tag)?.into_iter();
            let users = ranks.filter(|m| m.standing < Standing::Unknown);
            let names: Vec<String> = users.map(|m| m.module_name).collect();
            (!names.is_empty()).then_some((row.tag, names))
        });
        rows.collect()
    }

    /// The possible call targets by address; read on first use.
    fn targets(&self) -> &Targets {
        self.search.targets.get_or_init(|| {
            let (kernel, sessions) = (&self.kernel, self.sessions());
            Targets::of(kernel, sessions).with_pdbs(kernel, sessions, self.names())
        })
    }
}
