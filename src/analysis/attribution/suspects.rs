//! Whose a tag is: what code, names and lists say of it, put together and ranked.
//!
//! No single sign is proof: a tag's bytes are in images by chance, a list may be old, and
//! a framework allocates for its callers. Signs that agree make an owner; those that were
//! looked at and don't count are kept, with the reason.

use crate::analysis::Description;
use crate::analysis::census::Census;
use crate::analysis::references::{Confidence, ModuleRank, References, Standing};
use crate::pool::Tag;

/// How sure it is that a module owns a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Its code was seen to allocate with the tag.
    Certain,
    /// The signs agree, none is proof.
    Likely,
    /// It can't be ruled out.
    Possible,
}

impl Certainty {
    /// The word in answers.
    pub fn word(self) -> &'static str {
        match self {
            Certainty::Certain => "certain",
            Certainty::Likely => "likely",
            Certainty::Possible => "possible",
        }
    }
}

/// A module that may own a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name as WinDbg has it.
    pub module: String,
    /// How sure that is.
    pub certainty: Certainty,
    /// Why, the strongest first.
    pub reasons: Vec<String>,
    points: u32,
}

/// All candidates for a tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// The likeliest first.
    pub ranked: Vec<Owner>,
    /// Modules that have the tag's bytes and are not its owner, and why.
    pub rejected: Vec<(String, String)>,
    /// What to keep in mind, as sentences.
    pub notes: Vec<String>,
}

impl Owners {
    /// The owner, when one is at least likely and nobody else is as sure.
    pub fn best(&self) -> Option<&Owner> {
        let first = self.ranked.first()?;
        let alone = self.ranked.get(1).is_none_or(|o| o.points < first.points);
        (first.certainty <= Certainty::Likely && alone).then_some(first)
    }

    fn add(&mut self, module: &str, points: u32, reason: String) {
        match self.ranked.iter_mut().find(|o| same(&o.module, module)) {
            Some(owner) => {
                owner.points += points;
                owner.reasons.push(reason);
            }
            None => self.ranked.push(Owner {
                module: module.to_owned(),
                certainty: Certainty::Possible,
                reasons: vec![reason],
                points,
            }),
        }
    }
}

fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Points of an allocation that was seen; signs from here on are proof.
const PROOF: u32 = 10;
/// Points that make an owner likely.
const LIKELY: u32 = 4;
/// A tag that more modules than this allocate with names nobody.
const SHARED: usize = 3;

/// Tags that the headers and the kernel give to whoever names none.
const DEFAULTS: [&str; 4] = ["Ddk ", "None", "Wdm ", " mdW"];

/// Puts together what is known of a tag. `loaded` says whether a module of that name is.
pub fn fuse(
    tag: Tag,
    references: &References,
    description: Option<&Description>,
    loaded: &dyn Fn(&str) -> bool,
) -> Owners {
    let mut out = Owners::default();
    for module in &references.modules {
        take_code(&mut out, module);
    }
    for candidate in &references.default_of {
        let points = if candidate.is_framework_driver { 6 } else { 2 };
        out.add(&candidate.name, points, candidate.sentence());
    }
    if let Some(description) = description {
        take_list(&mut out, description, loaded);
    }
    for owner in &mut out.ranked {
        owner.certainty = match owner.points {
            PROOF.. => Certainty::Certain,
            LIKELY.. => Certainty::Likely,
            _ => Certainty::Possible,
        };
    }
    out.ranked.sort_by_key(|o| std::cmp::Reverse(o.points));
    out.note_sharing(tag);
    out
}

fn take_code(out: &mut Owners, module: &ModuleRank) {
    let sites = match module.best_sites {
        1 => "one place".to_owned(),
        n => format!("{n} places"),
    };
    let (points, what) = match module.standing {
        Standing::Allocates => (PROOF, "its code allocates with the tag"),
        Standing::HasLookaside => (PROOF, "it has a lookaside list with the tag"),
        Standing::MayAllocate => (4, "its code hands the tag on to what may allocate"),
        Standing::HasStructure => (4, "it has a structure with the tag that others allocate by"),
        Standing::Frees => (3, "its code frees with the tag"),
        Standing::Compares | Standing::Unknown => (1, "it has the tag's bytes"),
        Standing::Coincidence => {
            let sites = format!("its {} are there by chance", plural(module.sites));
            out.rejected.push((module.module_name.clone(), sites));
            return;
        }
    };
    let sure = match module.confidence {
        Some(Confidence::Certain) | None => "",
        Some(_) => ", as far as can be told",
    };
    out.add(
        &module.module_name,
        points,
        format!("{what} in {sites}{sure}"),
    );
    out.notes.extend(module.note.clone());
}

fn plural(count: u64) -> String {
    match count {
        1 => "bytes (one place)".into(),
        n => format!("bytes ({n} places)"),
    }
}

/// What pooltag.txt says. `nt!ps` is of nt; `netvsc.sys` of that driver.
fn take_list(out: &mut Owners, description: &Description, loaded: &dyn Fn(&str) -> bool) {
    let Some(binary) = &description.binary else {
        return;
    };
    let module = binary.split('!').next().unwrap_or(binary);
    let module = module.strip_suffix(".sys").unwrap_or(module);
    if loaded(module) {
        let reason = format!("listed: {} ({binary})", description.text);
        out.add(module, 5, reason);
    } else {
        let why = format!("listed as the tag's ({binary}), but it is not loaded");
        out.rejected.push((module.to_owned(), why));
    }
}

/// Modules that everybody's blocks point into: their addresses name nobody.
const EVERYBODYS: [&str; 5] = ["nt", "hal", "Wdf01000", "ndis", "fltmgr"];
/// A share of the blocks that point into a module from which on they may be its.
const SOME: f64 = 0.5;
/// The share that makes it likely.
const NEARLY_ALL: f64 = 0.9;

impl Owners {
    /// Takes in that the tag is the framework's default for a service of this name.
    pub fn take_service(&mut self, module: &str, service: &str) {
        if same(module, service) || DEFAULTS.contains(&service) {
            // Told by the module's own name already.
            return;
        }
        let reason = format!("default tag of its service {service} (KMDF)");
        self.add(module, 5, reason);
        if let Some(owner) = self.ranked.iter_mut().find(|o| same(&o.module, module)) {
            owner.certainty = owner.certainty.min(Certainty::Likely);
        }
        self.ranked.sort_by_key(|o| std::cmp::Reverse(o.points));
    }

    /// Takes in what the blocks hold. A block that points into a driver is that driver's,
    /// or serves it: stronger than a list, weaker than code that was seen to allocate.
    /// Where only the kernel's code was seen, it allocated for the driver.
    pub fn take_contents(&mut self, census: &Census) {
        let everybodys = |name: &str| EVERYBODYS.iter().any(|m| same(m, name));
        for pointing in &census.modules {
            let (anywhere, at_offset) = pointing.shares(census);
            if everybodys(&pointing.name) || anywhere < SOME {
                continue;
            }
            let points = if at_offset >= NEARLY_ALL { 6 } else { 3 };
            self.add(&pointing.name, points, pointing.sentence(census));
        }
        self.kernel_allocates_for_callers(census);
        for owner in &mut self.ranked {
            let now = match owner.points {
                LIKELY.. => Certainty::Likely,
                _ => Certainty::Possible,
            };
            // What was certain stays so; contents alone never make it.
            owner.certainty = owner.certainty.min(now);
        }
        self.ranked.sort_by_key(|o| std::cmp::Reverse(o.points));
    }

    /// The kernel's own allocation names nobody when nearly all blocks point into one
    /// driver: `Se  ` that a filter asked for, `Even` that a driver created.
    fn kernel_allocates_for_callers(&mut self, census: &Census) {
        let kernels = self.ranked.iter().find(|o| same(&o.module, "nt"));
        let Some(points) = kernels.map(|nt| nt.points) else {
            return;
        };
        let caller = census.modules.iter().find(|m| {
            let foreign = !EVERYBODYS.iter().any(|e| same(e, &m.name));
            foreign && m.shares(census).1 >= NEARLY_ALL
        });
        let Some(caller) = caller else {
            return;
        };
        let name = caller.name.clone();
        self.notes.push(format!(
            "the kernel allocates with this tag, for whoever asks: the blocks point into {name}"
        ));
        if let Some(owner) = self.ranked.iter_mut().find(|o| same(&o.module, &name)) {
            owner.points = owner.points.max(points + 1);
        }
    }

    fn note_sharing(&mut self, tag: Tag) {
        let sure = self
            .ranked
            .iter()
            .filter(|o| o.certainty == Certainty::Certain)
            .count();
        let default = DEFAULTS.iter().any(|d| Tag::of(d) == Some(tag));
        if default {
            self.notes.push(
                "drivers that name no tag of their own share this one: it names nobody".into(),
            );
        }
        if sure > SHARED {
            self.notes.push(format!(
                "{sure} modules allocate with this tag: look at what the blocks hold, size by size"
            ));
        }
        if default || sure > SHARED {
            for owner in &mut self.ranked {
                owner.certainty = owner.certainty.max(Certainty::Possible);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::attribution::kmdf::Candidate;
    use crate::analysis::references::Role;

    fn module(name: &str, standing: Standing) -> ModuleRank {
        ModuleRank {
            module: 0,
            module_name: name.into(),
            standing,
            role: Role::Allocation,
            confidence: Some(Confidence::Certain),
            sites: 2,
            best_sites: 2,
            pages_readable: 1,
            pages: 1,
            note: None,
        }
    }

    fn references(modules: Vec<ModuleRank>) -> References {
        let mut out = References::default();
        out.modules = modules;
        out
    }

    fn listed(binary: &str) -> Description {
        Description {
            text: "something".into(),
            binary: Some(binary.into()),
        }
    }

    fn tag(text: &str) -> Tag {
        Tag::of(text).unwrap()
    }

    #[test]
    fn code_that_allocates_is_the_owner_and_chance_is_not() {
        let found = references(vec![
            module("myfault", Standing::Allocates),
            module("ndis", Standing::Coincidence),
        ]);
        let owners = fuse(tag("Leak"), &found, None, &|_| true);
        let best = owners.best().unwrap();
        assert_eq!(
            (best.module.as_str(), best.certainty),
            ("myfault", Certainty::Certain)
        );
        assert_eq!(
            best.reasons,
            ["its code allocates with the tag in 2 places"]
        );
        assert_eq!(owners.rejected.len(), 1);
        assert!(owners.rejected[0].1.contains("by chance"));
    }

    #[test]
    fn a_tag_in_no_image_is_likely_of_the_framework_driver_of_that_name() {
        let mut found = references(Vec::new());
        found.default_of = vec![Candidate {
            module: 3,
            name: "amdacpbus2".into(),
            is_framework_driver: true,
        }];
        let owners = fuse(tag("amda"), &found, None, &|_| true);
        let best = owners.best().unwrap();
        assert_eq!(
            (best.module.as_str(), best.certainty),
            ("amdacpbus2", Certainty::Likely)
        );
    }

    #[test]
    fn the_list_counts_only_for_what_is_loaded() {
        let nothing = references(Vec::new());
        let owners = fuse(tag("netv"), &nothing, Some(&listed("netvsc.sys")), &|_| {
            true
        });
        assert_eq!(owners.best().unwrap().module, "netvsc");
        let owners = fuse(tag("netv"), &nothing, Some(&listed("netvsc.sys")), &|_| {
            false
        });
        assert_eq!(owners.best(), None);
        assert!(owners.rejected[0].1.contains("not loaded"));
        let owners = fuse(tag("Thre"), &nothing, Some(&listed("nt!ps")), &|name| {
            name == "nt"
        });
        assert_eq!(owners.best().unwrap().module, "nt");
    }

    #[test]
    fn shared_tags_name_nobody() {
        let found = references(vec![module("one", Standing::Allocates)]);
        let owners = fuse(tag("Ddk "), &found, None, &|_| true);
        assert_eq!(owners.best(), None);
        assert_eq!(owners.ranked[0].certainty, Certainty::Possible);
        assert!(owners.notes[0].contains("names nobody"));
        let many = ["a", "b", "c", "d"].map(|n| module(n, Standing::Allocates));
        let owners = fuse(tag("Many"), &references(many.to_vec()), None, &|_| true);
        assert_eq!(owners.best(), None);
        assert!(owners.notes[0].contains("4 modules"));
    }
}
