//! The whole procedure's outcome: which tags look like leaks, whose they are, how sure
//! that is and what it rests on.

use crate::analysis::attribution::Owners;
use crate::analysis::vm::Flag;
use crate::memory::Va;
use crate::pool::index::SizeCount;
use crate::pool::tracker::Usage;
use crate::pool::{Pool, Tag};

use super::evidence::{Score, Verdict};
use super::guidance::Entry;
use super::lockstep::Group;

/// A tag that looks like a leak, or may be one.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The tag.
    pub tag: Tag,
    /// The pool.
    pub pool: Pool,
    /// The kernel's account of it.
    pub usage: Usage,
    /// Its share of the pool, 0 to 1.
    pub share: Option<f64>,
    /// Signs for and against.
    pub score: Score,
    /// What it is listed as.
    pub description: Option<String>,
    /// Sizes of its blocks, both pools, those with the most bytes first.
    pub sizes: Vec<SizeCount>,
    /// Blocks to look at: from the beginning, the middle and the end of the list.
    pub exemplars: Vec<Va>,
    /// Whose it is.
    pub owners: Owners,
    /// Places in code and data that name it, as `module+0x13aa: mov …`, the surest first.
    pub places: Vec<String>,
    /// How much of the images could be searched.
    pub searched: String,
    /// What its blocks hold, as sentences.
    pub contents: Vec<String>,
    /// For kernel objects: whose handles and references they are, as sentences.
    pub objects: Vec<String>,
    /// Tags with the same count.
    pub group: Option<Group>,
    /// What to think of it.
    pub guidance: Option<&'static Entry>,
    /// What the numbers cover.
    pub coverage: Vec<String>,
}

/// The outcome.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// What it comes to.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub summary: String,
    /// Warnings of `!vm`.
    pub flags: Vec<Flag>,
    /// The worst first.
    pub findings: Vec<Finding>,
    /// Findings beyond those that are listed.
    pub more_findings: usize,
    /// Tags outstanding together, of which none is a finding by itself.
    pub groups: Vec<Group>,
    /// What the whole index covers.
    pub coverage: Vec<String>,
    /// What could not be known, as sentences.
    pub unknowns: Vec<String>,
}

/// The verdict over everything, and why.
pub fn verdict(
    findings: &[Finding],
    flags: &[Flag],
    has_accounts: bool,
    largest: Option<(Tag, Pool)>,
) -> (Verdict, String) {
    if let Some(worst) = findings.iter().max_by_key(|f| f.score.verdict) {
        let owner = match worst.owners.best() {
            Some(owner) => format!("; owner: {} ({})", owner.module, owner.certainty.word()),
            None => "; its owner is not known for sure".to_owned(),
        };
        let how = match worst.score.verdict {
            Verdict::Leak => "looks as leaks do",
            _ => "has signs of a leak",
        };
        let summary = format!("{} in {} pool {how}{owner}", worst.tag, worst.pool.word());
        return (worst.score.verdict, summary);
    }
    if !has_accounts {
        let summary = "the kernel's accounts of pool are not in this dump".to_owned();
        return (Verdict::Unknown, summary);
    }
    if flags.is_empty() {
        let summary = "pool use is in the normal range, and no tag has signs of a leak".to_owned();
        return (Verdict::Normal, summary);
    }
    let largest = largest.map_or(String::new(), |(tag, pool)| {
        format!("; the largest is {tag} in {} pool", pool.word())
    });
    let summary =
        format!("pool use is out of the normal range, but no tag has signs of a leak{largest}");
    (Verdict::Suspicious, summary)
}
