//! The diagnosis of a dump: derives the verdict from counts, blocks, code and contents.

mod attribution;
mod case;
mod chains;
mod look;
mod table;

use std::sync::Arc;

use rayon::prelude::*;

use crate::analysis::judgement::chain::Chain;
use crate::analysis::judgement::diagnosis::{self, Diagnosis, Finding, Top};
use crate::analysis::judgement::evidence::{Dominant, Facts, Layout, Pointing};
use crate::analysis::judgement::lockstep::{self, Group};
use crate::analysis::judgement::verdict::{self, Cuts, Judged};
use crate::analysis::judgement::{Case, Verdict};
use crate::analysis::objects::Objects;
use crate::pool::index::{SizeCount, Snapshot};
use crate::pool::{Pool, Tag, TagPattern};

use super::Engine;

pub(super) use attribution::Attributions;
pub(super) use table::courses_of;
pub use table::diagnose_points;

/// Maximum number of findings to examine; each requires reading images and blocks.
const MOST_FINDINGS: usize = 8;
/// Maximum number of rows to judge with their blocks. Further rows have too little evidence for
/// blocks to change the verdict.
const MOST_CANDIDATES: usize = 32;
/// Maximum number of points that blocks can add to the evidence of counts.
const BLOCKS_ADD: i32 = 6;
/// Number of blocks to examine per finding.
const LOOKED: u64 = 1 << 13;

/// A row whose blocks were examined, with the results.
struct Candidate {
    judged: Judged,
    sizes: Vec<SizeCount>,
    objects: Option<Objects>,
    pointing: Option<Pointing>,
}

impl Engine {
    /// Judges every tag by its counts and blocks, and collects the details of those that show a
    /// leak pattern. `index` should be complete; missing parts are reported.
    pub fn diagnose(&self, index: &Snapshot) -> Diagnosis {
        let mut settled = self.settling();
        let found = match self.thread_pool() {
            Ok(workers) => {
                // A single search of the images serves all tags.
                self.all_references_on(&workers, &|| true);
                workers.install(|| self.diagnose_here(index))
            }
            Err(_) => self.diagnose_here(index),
        };
        *settled |= index.is_complete();
        found
    }

    /// The diagnosis, on the calling thread's workers.
    fn diagnose_here(&self, index: &Snapshot) -> Diagnosis {
        let case = self.case(Some(index));
        let cuts = Cuts::default();
        let groups = lockstep::find(&case.rows);
        let chains = self.chains(&case, &groups, index);
        let by_counts = verdict::judge_all(&case, cuts, &|tag| Facts {
            description: self.descriptions().get(tag),
            group: groups.iter().find(|g| g.holds(tag)),
            ..Facts::default()
        });
        let worth = |j: &&Judged| {
            j.score.points + BLOCKS_ADD >= cuts.suspicious
                && (j.row.bytes.is_some_and(|b| b >= cuts.noise)
                    || chains.iter().any(|c| c.head == j.row.tag))
        };
        let worth: Vec<&Judged> = by_counts
            .iter()
            .filter(worth)
            .take(MOST_CANDIDATES)
            .collect();
        let mut candidates: Vec<Candidate> = worth
            .into_par_iter()
            .map(|j| self.with_blocks(j, &case, cuts, &groups, &chains, index))
            .collect();
        // Blocks may change the verdict that was based on counts.
        let with_blocks = |j: &Judged| {
            let same = |c: &&Candidate| c.judged.row.is_same(&j.row);
            let found = candidates.iter().find(same);
            found.map_or_else(|| j.clone(), |c| c.judged.clone())
        };
        let judged: Vec<Judged> = by_counts.iter().map(with_blocks).collect();
        candidates.retain(|c| c.judged.score.verdict >= Verdict::Suspicious);
        drop_pinned(&mut candidates, &chains);
        sort(&mut candidates, &chains);
        let more_findings = candidates.len().saturating_sub(MOST_FINDINGS);
        candidates.truncate(MOST_FINDINGS);
        let findings: Vec<Finding> = candidates
            .iter()
            .map(|c| self.look_into(c, &case, &groups, &chains, index))
            .collect();
        let pressure = verdict::pressures(&case);
        let (verdict, summary) = diagnosis::verdict(&case, &findings, &pressure);
        let named = |g: &Group| {
            let of = |f: &Finding| {
                g.holds(f.tag())
                    || f.chain
                        .as_ref()
                        .is_some_and(|c| g.members.iter().any(|m| c.holds(m.tag)))
            };
            findings.iter().any(of)
        };
        let top = [Pool::Nonpaged, Pool::Paged].map(|pool| {
            let rows = diagnosis::largest(&case, pool).into_iter();
            rows.map(|row| Top::of(row, &case, self.attribution_by(row.tag, Some(index), None)))
                .collect()
        });
        let nearest = match findings.is_empty() {
            true => diagnosis::nearest(&judged, cuts),
            false => None,
        };
        Diagnosis {
            verdict,
            summary,
            severity: diagnosis::severity(&pressure),
            exhausted_in_hours: diagnosis::exhausted_in_hours(&case, &findings),
            pressure,
            flags: self.vm().flags.clone(),
            more_findings,
            top,
            nearest,
            groups: groups.iter().filter(|g| !named(g)).cloned().collect(),
            coverage: self.coverage_of_pools(&case, index),
            unknowns: self.unknowns(index),
            findings,
        }
    }

    /// Judges a row again, with the evidence of its blocks.
    fn with_blocks(
        &self,
        judged: &Judged,
        case: &Case,
        cuts: Cuts,
        groups: &[Group],
        chains: &[Chain],
        index: &Snapshot,
    ) -> Candidate {
        let row = judged.row;
        let tag = row.tag;
        let sizes = index.sizes(&TagPattern::of(tag));
        let of = sizes.iter().map(|s| s.count).sum();
        let dominant = sizes.iter().max_by_key(|s| s.count).map(|s| Dominant {
            bytes: s.size,
            blocks: s.count,
            of,
        });
        let objects = self
            .object_types()
            .of_tag(tag)
            .and_then(|_| self.objects(index, tag, LOOKED, &|| true));
        let census = self.sample(tag, row.pool, false, index);
        let pointing = census.as_ref().and_then(|census| self.pointing(census));
        let ages = self.sample_ages(tag, row.pool, index);
        let chain = chains.iter().find(|c| c.head == tag).map(Chain::sentence);
        let facts = Facts {
            description: self.descriptions().get(tag),
            size: dominant,
            layout: census.as_ref().and_then(Layout::of),
            objects: objects.as_ref(),
            pointing: pointing.as_ref(),
            ages: ages.as_ref(),
            group: groups.iter().find(|g| g.holds(tag)),
            chain: chain.as_deref(),
        };
        let score = verdict::judge(&row, case, &facts, cuts);
        Candidate {
            judged: Judged { row, score },
            sizes,
            objects,
            pointing,
        }
    }

    /// Limitations, as sentences.
    fn unknowns(&self, index: &Snapshot) -> Vec<String> {
        let mut out = self.warnings();
        out.extend(index.notes.iter().cloned());
        let courses = self.courses();
        let points = courses.iter().map(|(.., course)| course.points).max();
        out.push(match points {
            None => "a single dump cannot show a trend: growth is an average since boot, not an observation".into(),
            Some(points) => format!("the trend comes from {points} points; changes between them \
                are unknown"),
        });
        out
    }

    fn coverage_of_pools(&self, case: &Case, index: &Snapshot) -> Vec<String> {
        let mut out = self.total_coverage(index).sentences();
        let pools = [Pool::Nonpaged, Pool::Paged].into_iter();
        out.extend(pools.filter_map(|pool| {
            let measure = case.pools[pool as usize].used.as_ref()?;
            measure.sentence(pool)
        }));
        out
    }
}

/// Removes tags that are pinned by another candidate: they are listed with its chain.
fn drop_pinned(candidates: &mut Vec<Candidate>, chains: &[Chain]) {
    let heads: Vec<Tag> = candidates.iter().map(|c| c.judged.row.tag).collect();
    candidates.retain(|c| {
        let tag = c.judged.row.tag;
        let mut over = chains
            .iter()
            .filter(|chain| chain.head != tag && chain.holds(tag));
        !over.any(|chain| heads.contains(&chain.head))
    });
    // If the head has blocks in both pools, one finding is enough.
    let mut seen: Vec<Tag> = Vec::new();
    candidates.retain(|c| {
        let tag = c.judged.row.tag;
        let again = seen.contains(&tag) && chains.iter().any(|chain| chain.head == tag);
        seen.push(tag);
        !again
    });
}

/// Sorts the worst first; a chain counts with all its bytes.
fn sort(candidates: &mut [Candidate], chains: &[Chain]) {
    let mut rows: Vec<Judged> = candidates
        .iter()
        .map(|c| {
            let mut judged = c.judged.clone();
            if let Some(chain) = chains.iter().find(|chain| chain.head == judged.row.tag) {
                judged.row.bytes = Some(chain.bytes());
            }
            judged
        })
        .collect();
    verdict::sort(&mut rows);
    let place = |c: &Candidate| {
        let same = |j: &Judged| j.row.is_same(&c.judged.row);
        rows.iter().position(same)
    };
    candidates.sort_by_key(place);
}

/// An attribution that is shared by all users.
type Shared = Arc<crate::analysis::attribution::Attribution>;
