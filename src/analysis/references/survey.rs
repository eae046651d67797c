//! Finds the references of many tags at once. Each image's bytes, functions and variables are
//! analysed once, by all workers; the references are stored by tag.

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::analysis::attribution::kmdf;
use crate::analysis::tag_search::{Hit, Searched, TagSearch};
use crate::kernel::Kernel;
use crate::kernel::sessions::Sessions;
use crate::pool::Tag;

use super::code::{Code, Images};
use super::data::Readers;
use super::rank::{self, ModuleRank, Standing};
use super::targets::Targets;
use super::{Confidence, Names, Reference, References, Verdict, data, library, site};

/// Maximum number of references per tag that are disassembled: the bytes of a tag that is not
/// text may occur anywhere.
const MAX_JUDGED: usize = 4096;
/// Maximum number of references per tag that are listed.
const MAX_LISTED: usize = 1 << 16;
/// Number of bytes per line of a hex dump.
const LINE: usize = 16;
/// Number of references per work item.
const BATCH: usize = 64;

/// All references of a set of tags.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Survey {
    /// Sorted by tag.
    tags: Vec<Found>,
    coverage: FxHashMap<u32, Searched>,
    /// Omissions, as sentences.
    notes: Vec<String>,
}

/// The references of one tag.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Found {
    tag: Tag,
    /// Sorted by module and address.
    places: Vec<Reference>,
    /// Number of occurrences of the bytes.
    all: usize,
    /// Number of occurrences by module index, for modules where not all are listed.
    totals: FxHashMap<u32, u64>,
}

/// A reference to classify.
#[derive(Clone, Copy)]
struct Job {
    tag: Tag,
    at: u32,
    rva: u32,
    /// True if the bytes become the tag only when a value is added.
    sum: bool,
    judged: bool,
}

impl Survey {
    /// Classifies all references that a search found, on the calling thread's workers, until
    /// `wanted` cancels it.
    pub fn of(
        kernel: &Kernel,
        sessions: &Sessions,
        targets: &Targets,
        search: &TagSearch,
        tags: &[Tag],
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Option<Survey> {
        let mut tags = tags.to_vec();
        tags.sort_unstable();
        tags.dedup();
        let mut out = Survey {
            tags: Vec::with_capacity(tags.len()),
            coverage: search.searched.clone(),
            notes: search.notes.clone(),
        };
        let mut jobs: Vec<Vec<Job>> = vec![Vec::new(); kernel.modules.len()];
        let mut add = |job: Job, module: u32| {
            if let Some(of_module) = jobs.get_mut(module as usize) {
                of_module.push(job);
            }
        };
        for (at, &tag) in (0..).zip(&tags) {
            let hits: Vec<Hit> = search.hits(tag).collect();
            for (n, hit) in hits.iter().take(MAX_LISTED).enumerate() {
                let job = Job {
                    tag,
                    at,
                    rva: hit.rva,
                    sum: false,
                    judged: n < MAX_JUDGED,
                };
                add(job, hit.module);
            }
            for hit in search.sums(tag).take(MAX_JUDGED) {
                let job = Job {
                    tag,
                    at,
                    rva: hit.rva,
                    sum: true,
                    judged: true,
                };
                add(job, hit.module);
            }
            let modules = search.modules(tag).into_iter();
            let totals = modules.filter_map(|(m, _)| Some((m as u32, search.total(tag, m)?)));
            out.tags.push(Found {
                tag,
                places: Vec::new(),
                all: hits.len(),
                totals: totals.collect(),
            });
        }
        let images = Images::new(kernel, sessions, targets);
        let found: Option<Vec<Vec<(u32, Reference)>>> = jobs
            .into_par_iter()
            .enumerate()
            .map(|(module, jobs)| of_module(&images, module, jobs, wanted))
            .collect();
        for (at, reference) in found?.into_iter().flatten() {
            if let Some(tag) = out.tags.get_mut(at as usize) {
                tag.places.push(reference);
            }
        }
        for tag in &mut out.tags {
            tag.places.sort_by_key(|r| (r.module, r.va));
        }
        Some(out)
    }

    /// True if nothing was omitted.
    pub fn is_whole(&self) -> bool {
        self.notes.is_empty()
    }

    /// True if the survey is consistent with a kernel with this number of modules. A survey from
    /// a file may contain anything.
    pub fn fits(&self, modules: usize) -> bool {
        let ordered = self.tags.is_sorted_by(|a, b| a.tag < b.tag);
        let mut places = self.tags.iter().flat_map(|found| &found.places);
        ordered && places.all(|place| place.module < modules)
    }

    /// True if the survey covers a tag.
    pub fn covers(&self, tag: Tag) -> bool {
        self.tags.binary_search_by_key(&tag, |f| f.tag).is_ok()
    }

    /// The tags that the survey covers.
    pub fn tags(&self) -> impl Iterator<Item = Tag> + '_ {
        self.tags.iter().map(|f| f.tag)
    }

    /// The references of a tag, sorted by module and address; empty if the survey does not cover
    /// it.
    pub fn places(&self, tag: Tag) -> &[Reference] {
        let at = self.tags.binary_search_by_key(&tag, |f| f.tag).ok();
        at.and_then(|at| self.tags.get(at))
            .map_or(&[], |found| &found.places)
    }

    /// The modules that reference a tag, the likeliest owner first; `None` if the survey does not
    /// cover it.
    pub fn ranks(&self, kernel: &Kernel, tag: Tag) -> Option<Vec<ModuleRank>> {
        let at = self.tags.binary_search_by_key(&tag, |f| f.tag).ok()?;
        let found = self.tags.get(at)?;
        let missing = |module: u32| self.coverage.get(&module).map_or(0, |s| s.missing);
        Some(rank::rank(kernel, &found.places, &found.totals, &missing))
    }

    /// The full result for a tag, with ranked modules; `None` if the survey does not cover it.
    pub fn references(&self, kernel: &Kernel, sessions: &Sessions, tag: Tag) -> Option<References> {
        let at = self.tags.binary_search_by_key(&tag, |f| f.tag).ok()?;
        let found = self.tags.get(at)?;
        let mut out = References {
            found: found.places.clone(),
            ..References::default()
        };
        out.cover(kernel, &self.coverage, &found.totals);
        if found.all > MAX_JUDGED {
            out.notes.push(format!(
                "{} places have these four bytes: the first {MAX_JUDGED} were disassembled, and {} are listed",
                found.all,
                found.all.min(MAX_LISTED)
            ));
        }
        out.notes.extend(self.notes.iter().cloned());
        out.modules = self.ranks(kernel, tag)?;
        let owned = |m: &ModuleRank| m.standing <= Standing::Frees;
        if !out.modules.iter().any(owned) {
            out.default_of = kmdf::candidates(kernel, sessions, tag);
        }
        Some(out)
    }
}

fn of_module(
    images: &Images,
    module: usize,
    mut jobs: Vec<Job>,
    wanted: &(dyn Fn() -> bool + Sync),
) -> Option<Vec<(u32, Reference)>> {
    if !wanted() {
        return None;
    }
    let Some(code) = images.code(module).filter(|_| !jobs.is_empty()) else {
        return Some(Vec::new());
    };
    jobs.sort_by_key(|job| (job.rva, job.at));
    let names = Names::of(code.space, code.module);
    let mut variables: Vec<u32> = jobs
        .par_iter()
        .filter(|job| job.judged && !job.sum && is_variable(code, job.rva))
        .map(|job| job.rva)
        .collect();
    variables.dedup();
    let readers = match variables.is_empty() {
        true => Readers::default(),
        false => data::readers(code, &variables),
    };
    let judged: Option<Vec<Vec<(u32, Reference)>>> = jobs
        .par_chunks(BATCH)
        .map(|jobs| {
            wanted().then(|| {
                let jobs = jobs.iter();
                let one = |job: &Job| {
                    let reference = judge(images, code, *job, &names, &readers)?;
                    Some((job.at, reference))
                };
                jobs.filter_map(one).collect()
            })
        })
        .collect();
    Some(judged?.into_iter().flatten().collect())
}

fn is_variable(code: &Code, rva: u32) -> bool {
    let section = code.section(rva).filter(|s| !s.executable);
    section.is_some_and(|s| data::may_be_variable(code, rva, s.writable))
}

fn judge(
    images: &Images,
    code: &Code,
    job: Job,
    names: &Names,
    readers: &Readers,
) -> Option<Reference> {
    let va = code.va(job.rva);
    let section = code.section(job.rva);
    let executable = section.is_some_and(|s| s.executable);
    let verdict = match section {
        _ if job.sum => site::computed(images, code, job.rva, job.tag).filter(|_| executable)?,
        _ if !job.judged => Verdict {
            reason: "one of too many places with these bytes: not disassembled".into(),
            ..Verdict::default()
        },
        Some(section) if section.executable => site::judge(images, code, job.rva, job.tag),
        Some(section) => data::judge(images, code, va, section.writable, readers),
        None if code.image().is_some() => Verdict {
            confidence: Some(Confidence::Coincidence),
            reason: "in the image's headers".into(),
            ..Verdict::default()
        },
        None => Verdict {
            reason: "the image's headers are not in the dump: it is unknown whether this is code"
                .into(),
            ..Verdict::default()
        },
    };
    let module_name = code.module.name();
    Some(Reference {
        module: code.index,
        library: copied(&verdict, job.tag, &module_name),
        module_name,
        va,
        section: section.map(|s| s.name.clone()),
        in_code: executable,
        symbol: names.nearest(code.kernel, job.rva),
        bytes: code.pages.bytes(job.rva, LINE),
        source: None,
        verdict,
    })
}

/// The library that a reference probably comes from; only if the code uses the tag.
fn copied(verdict: &Verdict, tag: Tag, module: &str) -> Option<String> {
    let does = Standing::of(verdict) <= Standing::Frees;
    does.then(|| library::copy_of(tag, module))?
        .map(str::to_owned)
}
