//! The whole procedure in one go.

use rayon::prelude::*;

use crate::analysis::attribution::drivers::{self, Drivers};
use crate::analysis::attribution::kmdf::default_tag;
use crate::analysis::attribution::suspects::{self, Owners};
use crate::analysis::census::{self, Census, Question, What};
use crate::analysis::judgement::diagnosis::{self, Diagnosis, Finding};
use crate::analysis::judgement::evidence::{self as score, Dominant, Setting, Verdict};
use crate::analysis::judgement::lockstep::{self, Group};
use crate::analysis::objects::Objects;
use crate::analysis::references::{Confidence, Reference, References};
use crate::analysis::vm::Flag;
use crate::analysis::{Description, judgement::guidance};
use crate::memory::{PAGE_SIZE, Va};
use crate::pool::index::{SizeCount, Snapshot};
use crate::pool::tracker::Usage;
use crate::pool::{Pool, Tag, TagPattern};

use super::Engine;

/// Findings that are looked into; each costs a look at images and blocks.
const MOST_FINDINGS: usize = 8;
/// Places that are listed of each.
const MOST_PLACES: usize = 6;
/// Blocks of a finding that are looked into.
const LOOKED: u64 = 1 << 13;
/// Modules and families that are named of each.
const MOST_MODULES: usize = 4;
const MOST_FAMILIES: usize = 4;
/// Tags that are looked into for pointers at objects, and blocks of each.
const MOST_HOLDERS: usize = 48;
const LOOKED_HOLDER: u64 = 128;
/// 100 ns intervals in a second.
const TICKS: u64 = 10_000_000;

/// A tag in a pool, with its account.
#[derive(Clone, Copy)]
struct Suspect {
    tag: Tag,
    pool: Pool,
    usage: Usage,
}

impl Engine {
    /// Judges every tag by its accounts and blocks, and looks into those that look like
    /// leaks. `index` should be complete; what it lacks is said.
    pub fn diagnose(&self, index: &Snapshot) -> Diagnosis {
        let setting = self.setting();
        let groups = lockstep::find(self.trackers());
        let mut found: Vec<(Suspect, score::Score, Vec<SizeCount>)> = self
            .suspects()
            .into_iter()
            .filter_map(|suspect| self.judge(suspect, index, &setting))
            .collect();
        found.sort_by_key(|(suspect, score, _)| {
            std::cmp::Reverse((score.verdict, suspect.usage.bytes))
        });
        let more_findings = found.len().saturating_sub(MOST_FINDINGS);
        found.truncate(MOST_FINDINGS);
        let findings: Vec<Finding> = found
            .into_iter()
            .map(|(suspect, score, sizes)| {
                self.look_into(suspect, score, sizes, index, &setting, &groups)
            })
            .collect();
        let largest = self.suspects().into_iter().max_by_key(|s| s.usage.bytes);
        let flags = self.vm().flags.clone();
        let has_accounts = !self.trackers().rows.is_empty();
        let (verdict, summary) = diagnosis::verdict(
            &findings,
            &flags,
            has_accounts,
            largest.map(|s| (s.tag, s.pool)),
        );
        let named = |g: &Group| findings.iter().any(|f| g.holds(f.tag));
        Diagnosis {
            verdict,
            summary,
            groups: groups.iter().filter(|g| !named(g)).cloned().collect(),
            flags,
            findings,
            more_findings,
            coverage: self.total_coverage(index).sentences(),
            unknowns: self.unknowns(index),
        }
    }

    /// Adds all tags up by owner. Costs a pass over all images.
    ///
    /// # Errors
    /// When the system refuses to start the workers.
    pub fn drivers(&self) -> Result<Drivers, rayon::ThreadPoolBuildError> {
        let workers = self.thread_pool()?;
        self.tag_search_on(&workers, &|| true);
        let rows = &self.trackers().rows;
        let owners: Vec<Owners> =
            workers.install(|| rows.par_iter().map(|row| self.owners(row.tag)).collect());
        Ok(drivers::by_driver(rows.iter().zip(&owners)))
    }

    /// Who may own a tag.
    pub fn owners(&self, tag: Tag) -> Owners {
        self.owners_by(tag, &self.references(tag))
    }

    fn owners_by(&self, tag: Tag, references: &References) -> Owners {
        let loaded = |name: &str| {
            let modules = &self.kernel().modules;
            modules
                .iter()
                .any(|m| !m.unloaded && m.name().eq_ignore_ascii_case(name))
        };
        suspects::fuse(tag, references, self.descriptions().get(tag), &loaded)
    }

    fn setting(&self) -> Setting<'_> {
        let vm = self.vm();
        let machine = &self.kernel().machine;
        let bytes = |pages: Option<u64>| pages.map(|p| p.saturating_mul(PAGE_SIZE));
        let total = &self.trackers().total;
        let has_accounts = !self.trackers().rows.is_empty();
        let counted = |usage: &Usage| has_accounts.then_some(usage.bytes);
        let flagged = |own: [Flag; 2]| vm.flags.iter().any(|f| own.contains(f));
        Setting {
            trackers: self.trackers(),
            memory: bytes(vm.physical_memory.pages.or(machine.physical_pages)),
            uptime: machine.uptime.map(|t| t / TICKS),
            pools: [
                bytes(vm.nonpaged_usage.pages).or(counted(&total.nonpaged)),
                bytes(vm.paged_usage.pages).or(counted(&total.paged)),
            ],
            flagged: [
                flagged([Flag::ExcessiveNonpaged, Flag::HighNonpaged]),
                flagged([Flag::ExcessivePaged, Flag::HighPaged]),
            ],
        }
    }

    fn suspects(&self) -> Vec<Suspect> {
        let rows = self.trackers().rows.iter();
        rows.flat_map(|row| {
            [(Pool::Nonpaged, row.nonpaged), (Pool::Paged, row.paged)].map(|(pool, usage)| {
                Suspect {
                    tag: row.tag,
                    pool,
                    usage,
                }
            })
        })
        .collect()
    }

    /// Judges a tag without its blocks first: few get as far as those.
    fn judge(
        &self,
        suspect: Suspect,
        index: &Snapshot,
        setting: &Setting<'_>,
    ) -> Option<(Suspect, score::Score, Vec<SizeCount>)> {
        let Suspect { tag, pool, usage } = suspect;
        let description = self.descriptions().get(tag);
        let objects = self.objects_to_judge(suspect, index, setting);
        let objects = objects.as_ref();
        let of = |size| score::score(tag, pool, &usage, description, (size, objects), setting);
        // The best that its sizes could do for it.
        let at_best = of(Some(Dominant {
            bytes: 0,
            blocks: u64::MAX,
            of: u64::MAX,
        }));
        if at_best.verdict < Verdict::Suspicious {
            return None;
        }
        let sizes = index.sizes(&TagPattern::of(tag));
        let blocks = sizes.iter().map(|s| s.count).sum();
        let dominant = sizes.iter().max_by_key(|s| s.count).map(|s| Dominant {
            bytes: s.size,
            blocks: s.count,
            of: blocks,
        });
        let score = of(dominant);
        (score.verdict >= Verdict::Suspicious).then_some((suspect, score, sizes))
    }

    /// Objects of a tag that has a good part of its pool.
    fn objects_to_judge(
        &self,
        Suspect { tag, pool, usage }: Suspect,
        index: &Snapshot,
        setting: &Setting<'_>,
    ) -> Option<Objects> {
        self.object_types().of_tag(tag)?;
        let whole = setting.pools[pool as usize]?;
        if usage.bytes < whole / 10 {
            return None;
        }
        self.objects(index, tag, LOOKED, &|| true)
    }

    fn look_into(
        &self,
        suspect: Suspect,
        score: score::Score,
        sizes: Vec<SizeCount>,
        index: &Snapshot,
        setting: &Setting<'_>,
        groups: &[Group],
    ) -> Finding {
        let Suspect { tag, pool, usage } = suspect;
        let references = self.references(tag);
        let description = self.descriptions().get(tag);
        let whole = setting.pools[pool as usize].filter(|b| *b > 0);
        let mut owners = self.owners_by(tag, &references);
        for service in self.services(index) {
            let module = self.kernel().module_at(service.image);
            if let Some(module) = module.filter(|_| default_tag(&service.name) == Some(tag)) {
                owners.take_service(&module.name(), &service.name);
            }
        }
        let contents = self.contents_of(tag, pool, index, &mut owners);
        let objects = self.objects(index, tag, LOOKED, &|| true);
        let mut objects = objects.map_or_else(Vec::new, |o| o.sentences());
        objects.extend(self.holders_of(tag, index, !objects.is_empty()));
        Finding {
            contents,
            objects,
            tag,
            pool,
            usage,
            share: whole.map(|whole| usage.bytes as f64 / whole as f64),
            score,
            description: description.map(text),
            sizes,
            exemplars: exemplars(tag, index),
            owners,
            places: places(&references),
            searched: searched(&references),
            group: groups.iter().find(|g| g.holds(tag)).cloned(),
            guidance: guidance::of(tag),
            coverage: self.coverage(tag, index).sentences(),
        }
    }

    /// What a sample of a tag's blocks holds, in words; an owner that it shows is taken in.
    fn contents_of(
        &self,
        tag: Tag,
        pool: Pool,
        index: &Snapshot,
        owners: &mut Owners,
    ) -> Vec<String> {
        let question = Question {
            pool: Some(pool),
            sample: LOOKED,
            ..Question::of(tag)
        };
        let progress = census::Progress::default();
        let census = self.contents(index, question, &|| true, &progress);
        let Ok(Some(census)) = census else {
            return Vec::new();
        };
        owners.take_contents(&census);
        let mut out = vec![census.coverage()];
        let modules = census
            .modules
            .iter()
            .filter(|m| m.shares(&census).0 >= 0.05);
        out.extend(
            modules
                .take(MOST_MODULES)
                .map(|m| format!("{}: {}", m.name, m.sentence(&census))),
        );
        let families = census.families.iter().take(MOST_FAMILIES);
        if census.families.len() > 1 {
            out.extend(families.map(|f| family(f, census.read())));
        }
        out
    }

    /// Tags whose blocks point at the objects of a tag: who keeps them, where no handle
    /// does. Only tags of which there are enough to keep most.
    fn holders_of(&self, tag: Tag, index: &Snapshot, are_objects: bool) -> Vec<String> {
        let count = |tag| index.totals.tag(tag).listed();
        let wanted = count(tag) / 2;
        if !are_objects || wanted == 0 {
            return Vec::new();
        }
        let mut tags: Vec<(u64, Tag)> = self
            .trackers()
            .rows
            .iter()
            .map(|row| (count(row.tag), row.tag))
            .filter(|(blocks, other)| *blocks >= wanted && *other != tag)
            .collect();
        tags.sort_unstable_by_key(|(blocks, tag)| (std::cmp::Reverse(*blocks), tag.value()));
        tags.truncate(MOST_HOLDERS);
        let holders = tags.into_iter().filter_map(|(_, other)| {
            let question = Question {
                sample: LOOKED_HOLDER,
                ..Question::of(other)
            };
            let progress = census::Progress::default();
            let census = self.contents(index, question, &|| true, &progress).ok()??;
            let (offset, share) = points_at(&census, tag)?;
            let mut owners = self.owners(other);
            owners.take_contents(&census);
            let whose = match owners.best() {
                Some(owner) => format!("{} ({})", owner.module, owner.certainty.word()),
                None => "no known owner".into(),
            };
            Some(format!(
                "{:.0} % of {other} blocks point at one at +{offset:#x}; {other} is of {whose}",
                share * 100.0
            ))
        });
        holders.collect()
    }

    /// What could not be known.
    fn unknowns(&self, index: &Snapshot) -> Vec<String> {
        let mut out = self.warnings();
        out.extend(index.notes.iter().cloned());
        out.push(
            "one dump has no history: growth is an average since boot, not an observation".into(),
        );
        out
    }
}

/// The offset at which most blocks point at blocks of a tag, when at least half do.
fn points_at(census: &Census, tag: Tag) -> Option<(u64, f64)> {
    let at = census.offsets.iter().filter(|o| o.read > 0).map(|o| {
        let of_tag = |c: &&census::Count| matches!(&c.what, What::Pool { tag: t, .. } if *t == tag);
        let blocks: u64 = o.counts.iter().filter(of_tag).map(|c| c.blocks).sum();
        (o.offset, blocks as f64 / o.read as f64)
    });
    at.max_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|(_, share)| *share >= 0.5)
}

fn family(family: &census::Family, read: u64) -> String {
    let size = match family.sizes {
        (a, b) if a == b => format!("{a} bytes"),
        (a, b) => format!("{a} to {b} bytes"),
    };
    let mut out = format!(
        "{:.0} % are alike ({size}), such as {}",
        family.blocks as f64 * 100.0 / read.max(1) as f64,
        family.exemplar
    );
    let modules: Vec<String> = family
        .modules
        .iter()
        .map(|(offset, name)| format!("{name} at +{offset:#x}"))
        .collect();
    if !modules.is_empty() {
        out += &format!(", pointing into {}", modules.join(", "));
    }
    if let Some(text) = &family.text {
        out += &format!(", with the text \"{text}\"");
    }
    out
}

fn text(description: &Description) -> String {
    match &description.binary {
        Some(binary) => format!("{} ({binary})", description.text),
        None => description.text.clone(),
    }
}

/// The first, the middle and the last block.
fn exemplars(tag: Tag, index: &Snapshot) -> Vec<Va> {
    let blocks = index.blocks(tag);
    let last = blocks.len().saturating_sub(1);
    let mut places = vec![0, last / 2, last];
    places.dedup();
    places
        .into_iter()
        .filter_map(|at| blocks.get(at))
        .map(|b| b.va)
        .collect()
}

/// Where the tag is named, the surest places first; chance is left out.
fn places(references: &References) -> Vec<String> {
    let mut own: Vec<&Reference> = references
        .found
        .iter()
        .filter(|r| r.verdict.confidence != Some(Confidence::Coincidence))
        .collect();
    own.sort_by_key(|r| r.verdict.confidence.is_none());
    own.sort_by_key(|r| r.verdict.confidence);
    let mut out: Vec<String> = own.iter().take(MOST_PLACES).map(|r| place(r)).collect();
    if own.len() > MOST_PLACES {
        out.push(format!("and {} more places", own.len() - MOST_PLACES));
    }
    out
}

fn place(r: &Reference) -> String {
    let at = r.verdict.function.as_deref().unwrap_or(&r.module_name);
    let mut out = format!("{} in {at}", r.va);
    if let Some(instruction) = &r.verdict.instruction {
        out += &format!(": {instruction}");
    }
    if let Some(api) = &r.verdict.api {
        out += &format!(", to {api}");
    }
    out
}

fn searched(references: &References) -> String {
    let all = references.pages_searched + references.pages_missing;
    match references.pages_missing {
        0 => format!("all {all} pages of images were searched"),
        missing => format!("{missing} of {all} pages of images are not in the dump"),
    }
}
