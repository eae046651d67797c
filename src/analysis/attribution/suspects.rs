//! The owner of a tag: combines and ranks the evidence of code, names, lists and contents.
//!
//! No single piece of evidence is proof: a tag's bytes occur in images by coincidence, a list may
//! be outdated, a framework allocates on behalf of callers, and drivers link Microsoft's static
//! libraries, which contain tags. A false accusation is worse than none. Therefore:
//!
//! - code in another image does not outrank an owner that is listed and loaded, unless block
//!   contents identify the other module;
//! - a constant that is not passed to a call is not evidence;
//! - a tag that several drivers allocate with is shared and identifies none of them, unless block
//!   contents do;
//! - a driver that Driver Verifier recorded as the caller of nearly all live blocks is certain;
//! - otherwise "certain" requires an allocation call in code, and no listed owner that
//!   contradicts it.

use crate::analysis::attribution::Description;
use crate::analysis::attribution::recorded::Recorded;
use crate::analysis::census::Census;
use crate::analysis::references::{Confidence, ModuleRank, References, Standing};
use crate::pool::Tag;

/// The confidence that a module owns a tag.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Certainty {
    /// Its code allocates with the tag, and no evidence contradicts that.
    Certain,
    /// The evidence agrees but is not proof.
    Likely,
    /// It can't be excluded.
    Possible,
}

impl Certainty {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Certainty::Certain => "certain",
            Certainty::Likely => "likely",
            Certainty::Possible => "possible",
        }
    }
}

/// A module that may own a tag.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Owner {
    /// The module name as in WinDbg.
    pub module: String,
    /// The confidence.
    pub certainty: Certainty,
    /// The reasons, the strongest first.
    pub reasons: Vec<String>,
    points: u32,
}

/// All candidates for a tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Owners {
    /// The candidates, the likeliest first.
    pub ranked: Vec<Owner>,
    /// The module that calls the allocation functions with the tag, for itself or on behalf of
    /// callers.
    pub allocator: Option<String>,
    /// Drivers that all allocate with the tag, if it identifies none of them.
    pub shared_by: Vec<String>,
    /// Modules that contain the tag's bytes but do not own it, with the reason.
    pub rejected: Vec<(String, String)>,
    /// Limitations, as sentences.
    pub notes: Vec<String>,
}

/// The evidence.
pub struct Signs<'a> {
    /// The tag.
    pub tag: Tag,
    /// References to the tag in images.
    pub references: &'a References,
    /// The entry of the tag lists.
    pub description: Option<&'a Description>,
    /// The index of a loaded module, by name.
    pub loaded: &'a dyn Fn(&str) -> Option<usize>,
    /// Module name and service name of drivers with this default tag.
    pub services: &'a [(String, String)],
    /// Block contents, if they could be examined.
    pub census: Option<&'a Census>,
    /// Callers that were recorded for the live blocks.
    pub callers: &'a [Recorded],
}

/// The evidence about one candidate.
#[derive(Default)]
struct Candidate {
    module: String,
    /// The strongest use of the tag in its code, and the sentence about it.
    code: Option<(Standing, String)>,
    /// The tag list names it as the owner.
    listed: Option<String>,
    /// A wildcard entry of the tag list names it: a hint only.
    hinted: Option<String>,
    /// The framework derives this tag from its name; `true` if it is known to use the framework.
    default: Option<(bool, String)>,
    /// Shares of blocks that point into it: at any offset, and at one offset; and the sentence.
    contents: Option<(f64, f64, String)>,
    /// It was recorded as the caller: `true` if for nearly all live blocks; and the sentence.
    recorded: Option<(bool, String)>,
    /// Its code is contradicted by a listed owner; the reason.
    contradicted: Option<String>,
    /// True if other modules also allocate with the tag.
    shares: bool,
}

impl Candidate {
    fn allocates(&self) -> bool {
        matches!(
            self.code,
            Some((Standing::Allocates | Standing::HasLookaside, _))
        )
    }

    /// True if it was recorded as the caller of nearly all live blocks.
    fn is_recorded(&self) -> bool {
        self.recorded.as_ref().is_some_and(|r| r.0)
    }

    /// True if records or block contents identify it.
    fn is_decided(&self) -> bool {
        if self.is_recorded() {
            return true;
        }
        self.contents.as_ref().is_some_and(|c| c.1 >= NEARLY_ALL) && !is_everybodys(&self.module)
    }

    fn points(&self) -> u32 {
        let code = match self.code {
            _ if self.contradicted.is_some() => 1,
            Some((Standing::Allocates | Standing::HasLookaside, _)) => 10,
            Some((Standing::MayAllocate | Standing::HasStructure, _)) => 4,
            Some((Standing::Frees, _)) => 3,
            Some(_) => 1,
            None => 0,
        };
        let list = match (&self.listed, &self.hinted) {
            (Some(_), _) => 5,
            (None, Some(_)) => 2,
            (None, None) => 0,
        };
        let default = match self.default {
            Some((true, _)) => 6,
            Some((false, _)) => 2,
            None => 0,
        };
        let contents = match self.contents {
            Some((_, at_offset, _)) if at_offset >= NEARLY_ALL => 6,
            Some(_) => 3,
            None => 0,
        };
        let recorded = match self.recorded {
            Some((true, _)) => 20,
            Some((false, _)) => 6,
            None => 0,
        };
        code + list + default + contents + recorded
    }

    fn certainty(&self) -> Certainty {
        // A recorded call outweighs the lists.
        if self.is_recorded() {
            return Certainty::Certain;
        }
        if self.is_decided() {
            let proven = self.allocates() && self.contradicted.is_none() && !self.shares;
            return match proven {
                true => Certainty::Certain,
                false => Certainty::Likely,
            };
        }
        if self.contradicted.is_some() || self.shares {
            return Certainty::Possible;
        }
        match self.points() {
            _ if self.allocates() => Certainty::Certain,
            4.. => Certainty::Likely,
            _ => Certainty::Possible,
        }
    }

    fn reasons(&self) -> Vec<String> {
        let mut out = Vec::new();
        out.extend(self.recorded.as_ref().map(|r| r.1.clone()));
        out.extend(self.code.as_ref().map(|c| c.1.clone()));
        out.extend(self.contradicted.clone());
        out.extend(self.default.as_ref().map(|d| d.1.clone()));
        out.extend(self.listed.clone());
        out.extend(self.hinted.clone());
        out.extend(self.contents.as_ref().map(|c| c.2.clone()));
        out
    }
}

fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Default tags of the headers and of the kernel, used if no tag is given.
const DEFAULTS: [&str; 5] = ["Ddk ", "None", "Wdm ", " mdW", "    "];

/// Modules that blocks of any driver point into, so pointers to them identify no owner.
const EVERYBODYS: [&str; 5] = ["nt", "hal", "Wdf01000", "ndis", "fltmgr"];
/// Minimum share of blocks that point into a module for it to be a candidate.
const SOME: f64 = 0.5;
/// Minimum share of blocks that point into it at one offset for it to be likely.
pub const NEARLY_ALL: f64 = 0.8;

/// True for a module that blocks of any driver point into.
pub fn is_everybodys(name: &str) -> bool {
    EVERYBODYS.iter().any(|m| same(m, name))
}

/// True for a tag that drivers without a tag of their own share.
pub fn is_default(tag: Tag) -> bool {
    DEFAULTS.iter().any(|d| Tag::of(d) == Some(tag))
}

struct Fusion<'a> {
    signs: &'a Signs<'a>,
    all: Vec<Candidate>,
    out: Owners,
}

/// Combines the evidence about a tag.
pub fn fuse(signs: &Signs<'_>) -> Owners {
    let mut fusion = Fusion {
        signs,
        all: Vec::new(),
        out: Owners::default(),
    };
    for module in &signs.references.modules {
        fusion.take_code(module);
    }
    fusion.take_names();
    fusion.take_list();
    fusion.take_contents();
    fusion.take_callers();
    fusion.hold_against_list();
    fusion.hold_against_each_other();
    fusion.finish()
}

impl Fusion<'_> {
    fn of(&mut self, module: &str) -> &mut Candidate {
        let at = match self.all.iter().position(|c| same(&c.module, module)) {
            Some(at) => at,
            None => {
                self.all.push(Candidate {
                    module: module.to_owned(),
                    ..Candidate::default()
                });
                self.all.len() - 1
            }
        };
        &mut self.all[at]
    }

    fn take_code(&mut self, module: &ModuleRank) {
        let name = &module.module_name;
        let what = match module.standing {
            Standing::Allocates => "its code allocates with the tag",
            Standing::HasLookaside => "it has a lookaside list with the tag",
            Standing::MayAllocate => "its code probably passes the tag to an allocator",
            Standing::HasStructure => {
                "it has a structure with the tag, from which another \
                component allocates"
            }
            Standing::Frees => "its code frees with the tag",
            // The image is only partly in the dump, so its code can't be analysed.
            Standing::Unknown => "it has the bytes of the tag, but the code is not in the dump",
            Standing::Compares => {
                let why = "its code has the constant, but no call takes it".to_owned();
                self.out.rejected.push((name.clone(), why));
                return;
            }
            Standing::Coincidence => {
                let why = format!("coincidental byte match ({})", sites(module.sites));
                self.out.rejected.push((name.clone(), why));
                return;
            }
        };
        let sure = match module.confidence {
            Some(Confidence::Certain) | None => "",
            Some(_) => ", likely",
        };
        let sentence = format!("{what} ({}{sure})", sites(module.best_sites));
        self.of(name).code = Some((module.standing, sentence));
        self.out.notes.extend(module.note.clone());
    }

    /// Adds drivers whose name gives this tag by the framework's rule.
    fn take_names(&mut self) {
        for candidate in &self.signs.references.default_of {
            self.of(&candidate.name).default =
                Some((candidate.is_framework_driver, candidate.sentence()));
        }
        for (module, service) in self.signs.services {
            if is_default(self.signs.tag) || self.of(module).default.as_ref().is_some_and(|d| d.0) {
                continue;
            }
            let sentence = format!("default tag of its service {service} (KMDF)");
            self.of(module).default = Some((true, sentence));
        }
    }

    /// Adds the tag list's owner: nt for `nt!ps`, netvsc for `netvsc.sys`.
    fn take_list(&mut self) {
        let Some(description) = self.signs.description else {
            return;
        };
        let Some(binary) = &description.binary else {
            return;
        };
        let module = listed_module(binary);
        let exact = description.pattern.is_none();
        if (self.signs.loaded)(module).is_some() {
            let candidate = self.of(module);
            match exact {
                true => {
                    let reason = format!("listed: {} ({binary})", description.text);
                    candidate.listed = Some(reason);
                }
                false => {
                    let text = &description.text;
                    let reason = format!("matches a pattern of the tag list: {text} ({binary})");
                    candidate.hinted = Some(reason);
                }
            }
        } else {
            let why = format!("listed as the tag's owner ({binary}), but it is not loaded");
            self.out.rejected.push((module.to_owned(), why));
        }
    }

    /// Adds drivers that were recorded as callers.
    fn take_callers(&mut self) {
        for caller in self.signs.callers {
            if caller.is_proof() || caller.is_sign() {
                self.of(&caller.module).recorded = Some((caller.is_proof(), caller.sentence()));
            }
        }
    }

    /// Adds modules that the blocks point into: they own the blocks or are served by them.
    fn take_contents(&mut self) {
        let Some(census) = self.signs.census else {
            return;
        };
        for pointing in &census.modules {
            let (anywhere, at_offset) = pointing.shares(census);
            if is_everybodys(&pointing.name) || anywhere < SOME {
                continue;
            }
            let sentence = pointing.sentence(census);
            self.of(&pointing.name).contents = Some((anywhere, at_offset, sentence));
        }
    }

    /// Marks code in other images as contradicted if the owner is listed and loaded: drivers link
    /// static libraries that contain tags.
    fn hold_against_list(&mut self) {
        let listed = self.all.iter().find(|c| c.listed.is_some());
        let Some((owner, seen)) = listed.map(|c| (c.module.clone(), c.code.is_some())) else {
            return;
        };
        let index = (self.signs.loaded)(&owner);
        let whole = index.is_some_and(|at| self.signs.references.pages_missing_in(at) == 0);
        let mut copies = 0;
        for other in &mut self.all {
            if same(&other.module, &owner) || other.code.is_none() {
                continue;
            }
            copies += 1;
            other.contradicted = Some(match seen {
                true => format!(
                    "{owner} is listed and uses the tag itself: this may be a copy of a static library"
                ),
                false => format!("{owner} is listed as the owner and is loaded"),
            });
        }
        if !seen && whole && copies > 0 {
            self.out.notes.push(format!(
                "{owner} is listed, but its code does not have the tag: the list may not match \
                    this build"
            ));
        }
    }

    /// Marks the candidates as sharing the tag if several drivers allocate with it.
    fn hold_against_each_other(&mut self) {
        let using = |c: &&Candidate| c.allocates() && !is_everybodys(&c.module);
        let listed = self.all.iter().any(|c| c.listed.is_some());
        let users: Vec<String> = self
            .all
            .iter()
            .filter(using)
            .map(|c| c.module.clone())
            .collect();
        if is_default(self.signs.tag) {
            self.out.notes.push(
                "drivers without a tag of their own share this one: it identifies no driver".into(),
            );
        } else if listed || users.len() < 2 {
            return;
        }
        for candidate in &mut self.all {
            candidate.shares = true;
        }
        if users.len() > 1 {
            self.out.notes.push(format!(
                "shared by {}: {} modules allocate with this tag, so it does not identify one of \
                    them",
                users.join(", "),
                users.len()
            ));
            self.out.shared_by = users;
        }
    }

    fn finish(self) -> Owners {
        let Fusion {
            signs,
            all,
            mut out,
        } = self;
        let decided = all.iter().position(Candidate::is_decided);
        let framework = all.iter().any(|c| c.default.is_some());
        out.allocator = allocator(&all, framework, signs.loaded);
        let mut ranked: Vec<(bool, Owner)> = all
            .iter()
            .enumerate()
            .map(|(at, c)| {
                let owner = Owner {
                    module: c.module.clone(),
                    certainty: c.certainty(),
                    reasons: c.reasons(),
                    points: c.points(),
                };
                // Blocks that point into one driver outweigh a module that allocates on behalf of
                // others, and decide between modules that share a tag.
                let first = decided == Some(at) && !another_is_sure(&all, at);
                (first, owner)
            })
            .collect();
        let listed = |o: &Owner| {
            all.iter()
                .any(|c| c.listed.is_some() && same(&c.module, &o.module))
        };
        ranked.sort_by_key(|(first, o)| {
            (
                !*first,
                o.certainty,
                std::cmp::Reverse(o.points),
                !listed(o),
            )
        });
        if let Some((true, first)) = ranked.first()
            && let Some(allocator) = &out.allocator
            && is_everybodys(allocator)
        {
            out.notes.push(format!(
                "allocated by {allocator} on behalf of callers: the blocks point into {}",
                first.module
            ));
        }
        // Equal points mean that no candidate stands out, so the candidate that the blocks
        // identify is raised above the highest points.
        let lead = ranked.iter().map(|(_, o)| o.points).max().unwrap_or(0) + 1;
        for (first, owner) in &mut ranked {
            if *first {
                owner.points = owner.points.max(lead);
            }
        }
        out.ranked = ranked.into_iter().map(|(_, owner)| owner).collect();
        out
    }
}

/// True if another driver allocates with the tag without contradiction.
fn another_is_sure(all: &[Candidate], at: usize) -> bool {
    all.iter().enumerate().any(|(other, c)| {
        other != at
            && c.allocates()
            && !is_everybodys(&c.module)
            && !c.shares
            && c.contradicted.is_none()
    })
}

fn allocator(
    all: &[Candidate],
    framework: bool,
    loaded: &dyn Fn(&str) -> Option<usize>,
) -> Option<String> {
    let name = |c: &Candidate| c.module.clone();
    let callers: Vec<&Candidate> = all
        .iter()
        .filter(|c| c.allocates() && c.contradicted.is_none())
        .collect();
    let listed = all.iter().find(|c| c.listed.is_some());
    if let Some(listed) = listed {
        return Some(name(listed));
    }
    match callers.as_slice() {
        [one] => return Some(name(one)),
        [] => {}
        _ => return None,
    }
    const FRAMEWORK: &str = "Wdf01000";
    if framework && loaded(FRAMEWORK).is_some() {
        return Some(FRAMEWORK.into());
    }
    if let Some(hinted) = all.iter().find(|c| c.hinted.is_some()) {
        return Some(name(hinted));
    }
    let may = |c: &&Candidate| matches!(c.code, Some((Standing::MayAllocate, _)));
    let mut may = all.iter().filter(may);
    let first = may.next()?;
    may.next().is_none().then(|| name(first))
}

fn sites(count: u64) -> String {
    match count {
        1 => "1 call site".into(),
        n => format!("{n} call sites"),
    }
}

/// The module of a list entry: `nt` for `nt!ps`, `netvsc` for `netvsc.sys`.
pub fn listed_module(binary: &str) -> &str {
    let module = binary.split('!').next().unwrap_or(binary);
    let module = module.split(['/', ',']).next().unwrap_or(module).trim();
    match module.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => module,
    }
}

impl Owners {
    /// The owner by the tag list only, for sources without a module list.
    pub fn listed(description: &Description) -> Owners {
        let Some(binary) = &description.binary else {
            return Owners::default();
        };
        let module = listed_module(binary).to_owned();
        // The kernel is loaded in any case.
        let loaded = match module.as_str() {
            "nt" => "",
            _ => "; it is unknown whether it is loaded",
        };
        let reason = format!("listed: {} ({binary}){loaded}", description.text);
        Owners {
            allocator: Some(module.clone()),
            ranked: vec![Owner {
                module,
                certainty: Certainty::Possible,
                reasons: vec![reason],
                points: 1,
            }],
            ..Owners::default()
        }
    }

    /// The owner, if one is at least likely and no other has the same rank.
    pub fn best(&self) -> Option<&Owner> {
        let first = self.ranked.first()?;
        let alone = self
            .ranked
            .get(1)
            .is_none_or(|o| (o.certainty, first.points) > (first.certainty, o.points));
        (first.certainty <= Certainty::Likely && alone).then_some(first)
    }

    /// Adds the driver whose blocks point to these blocks one to one. It is ranked first,
    /// whichever module allocates.
    pub fn take_pinner(&mut self, module: &str, reason: String) {
        let lead = self.ranked.iter().map(|o| o.points).max().unwrap_or(0) + 1;
        let at = self.ranked.iter().position(|o| same(&o.module, module));
        let mut owner = match at {
            Some(at) => self.ranked.remove(at),
            None => Owner {
                module: module.to_owned(),
                certainty: Certainty::Likely,
                reasons: Vec::new(),
                points: 0,
            },
        };
        owner.points = owner.points.max(lead);
        owner.certainty = owner.certainty.min(Certainty::Likely);
        owner.reasons.insert(0, reason);
        self.ranked.insert(0, owner);
        for other in self.ranked.iter_mut().skip(1) {
            other.certainty = other.certainty.max(Certainty::Likely);
        }
    }
}

#[cfg(test)]
mod tests;
