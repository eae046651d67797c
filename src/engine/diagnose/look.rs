//! Collects the details of a finding.

use crate::analysis::ages::Ages;
use crate::analysis::census::{self, Census, Question, What};
use crate::analysis::judgement::Case;
use crate::analysis::judgement::chain::Chain;
use crate::analysis::judgement::diagnosis::Finding;
use crate::analysis::judgement::lockstep::Group;
use crate::analysis::judgement::words::percent;
use crate::analysis::references::{Confidence, Reference, References};
use crate::characters::grouped;
use crate::memory::Va;
use crate::pool::index::Snapshot;
use crate::pool::{Pool, Tag};

use super::super::Engine;
use super::attribution::SAMPLE;
use super::{Candidate, LOOKED};

/// Maximum number of references to list per finding.
const MOST_PLACES: usize = 6;
/// Maximum number of modules and families to list per finding.
const MOST_MODULES: usize = 4;
const MOST_FAMILIES: usize = 4;
/// Maximum number of tags to search for pointers to objects, and number of blocks of each.
const MOST_HOLDERS: usize = 48;
const LOOKED_HOLDER: u64 = 128;

impl Engine {
    pub(super) fn look_into(
        &self,
        candidate: &Candidate,
        case: &Case,
        groups: &[Group],
        chains: &[Chain],
        index: &Snapshot,
    ) -> Finding {
        let tag = candidate.judged.row.tag;
        let mut references = self.references(tag);
        self.name_places(&mut references);
        let chain = chains.iter().find(|c| c.head == tag).cloned();
        let mut objects = candidate
            .objects
            .as_ref()
            .map_or_else(Vec::new, |o| o.sentences());
        let keepers = self.holders_of(tag, index, !objects.is_empty());
        if let [(module, sentence)] = keepers.as_slice() {
            self.attribution_by(tag, Some(index), Some(&references));
            if let Some(module) = module {
                self.pinned_by(tag, module, sentence.clone());
            }
        }
        objects.extend(keepers.into_iter().map(|(_, sentence)| sentence));
        objects.extend(chain.iter().flat_map(|c| self.kept_objects(c, index)));
        let attribution = self.attribution_by(tag, Some(index), Some(&references));
        let mut contents = self.contents_of(candidate, index);
        contents.extend(chain.iter().flat_map(Chain::pointers));
        Finding {
            contents,
            objects,
            sizes: candidate.sizes.clone(),
            exemplars: exemplars(tag, index),
            places: places(&references),
            searched: searched(&references),
            pointing: candidate.pointing.clone(),
            group: groups.iter().find(|g| g.holds(tag)).cloned(),
            chain,
            coverage: self.coverage(tag, index).sentences(),
            ..Finding::of(&candidate.judged, case, attribution)
        }
    }

    /// The ages of a sample of a tag's blocks, if they contain times.
    pub(super) fn sample_ages(
        &self,
        tag: Tag,
        pool: Option<Pool>,
        index: &Snapshot,
    ) -> Option<Ages> {
        let question = Question {
            pool,
            sample: LOOKED,
            ..Question::of(tag)
        };
        self.ages_on(index, &question, false, &|| true).ok()?
    }

    /// The contents of a sample of a tag's blocks, as sentences.
    fn contents_of(&self, candidate: &Candidate, index: &Snapshot) -> Vec<String> {
        let row = candidate.judged.row;
        let question = Question {
            pool: row.pool,
            // The same sample as for the owner, so that a fact has the same number everywhere.
            sample: SAMPLE,
            ..Question::of(row.tag)
        };
        let progress = census::Progress::default();
        let Some(census) = self.contents_on(index, question, false, &|| true, &progress) else {
            return Vec::new();
        };
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

    /// The objects that a chain pins, with the share that has no open handles.
    fn kept_objects(&self, chain: &Chain, index: &Snapshot) -> Vec<String> {
        let others = chain.links.iter().skip(1).map(|link| link.tag);
        let found = others.filter_map(|tag| {
            let kind = self.object_types().of_tag(tag)?.name.clone();
            let objects = self.objects(index, tag, LOOKED, &|| true)?;
            let of = Some(objects.objects).filter(|n| *n > 0)?;
            Some(format!(
                "{tag} ({kind} objects): {} of those sampled have no open handles",
                percent(1.0 - objects.with_handles as f64 / of as f64)
            ))
        });
        found.collect()
    }

    /// Tags whose blocks point one to one to the objects of a tag, with their drivers. Only tags
    /// with enough blocks to reference most of the objects.
    fn holders_of(
        &self,
        tag: Tag,
        index: &Snapshot,
        are_objects: bool,
    ) -> Vec<(Option<String>, String)> {
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
            let census = self.contents_on(index, question, true, &|| true, &progress)?;
            let (offset, share) = points_at(&census, tag)?;
            let attribution = self.attribution_by(other, Some(index), None);
            let whose = attribution
                .owner_words()
                .unwrap_or_else(|| "no known owner".into());
            let sentence = format!(
                "{} of {other} blocks point at one of these at +{offset:#x}; {other} belongs to {whose}",
                percent(share)
            );
            let module = attribution.owners.best().map(|o| o.module.clone());
            let core = |m: &String| crate::analysis::judgement::chain::is_pinned(m);
            Some((module.filter(|m| !core(m)), sentence))
        });
        holders.collect()
    }
}

/// The offset at which most blocks point to blocks of a tag, if at least half do, and the share.
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
        (a, b) if a == b => format!("{} bytes", grouped(a)),
        (a, b) => format!("{} to {} bytes", grouped(a), grouped(b)),
    };
    let mut out = format!(
        "{} share one layout ({size}), for example {}",
        percent(family.blocks as f64 / read.max(1) as f64),
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

/// References to the tag, the most certain first, without coincidences.
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
    if let Some((file, line)) = &r.source {
        out += &format!(" ({file}:{line})");
    }
    out
}

fn searched(references: &References) -> String {
    let all = grouped(references.pages_searched + references.pages_missing);
    match references.pages_missing {
        0 => format!("all {all} image pages were searched"),
        missing => format!(
            "{} of {all} image pages are not in the dump",
            grouped(missing)
        ),
    }
}
