//! Ranks the modules that reference a tag, the likeliest owner first.

use rustc_hash::FxHashMap;

use crate::kernel::Kernel;

use super::api::Role;
use super::{Confidence, Reference, Verdict};

/// The strongest evidence of a module, in descending order.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Standing {
    /// Its code allocates with the tag.
    Allocates,
    /// It has a lookaside list with the tag.
    HasLookaside,
    /// Its code passes the tag to a function that may allocate.
    MayAllocate,
    /// A structure of it has the tag; another component allocates with it.
    HasStructure,
    /// Its code frees with the tag.
    Frees,
    /// Its code compares something with the tag.
    Compares,
    /// The use of the tag is unknown.
    Unknown,
    /// Coincidental byte match.
    Coincidence,
}

impl Standing {
    /// The standing of one reference.
    pub fn of(verdict: &Verdict) -> Standing {
        match (verdict.confidence, verdict.role) {
            (None, _) => Standing::Unknown,
            (Some(Confidence::Coincidence), _) => Standing::Coincidence,
            (Some(Confidence::Certain), Role::Allocation) => Standing::Allocates,
            (Some(Confidence::Certain), Role::Lookaside) => Standing::HasLookaside,
            (_, Role::Allocation | Role::Lookaside | Role::Unknown) => Standing::MayAllocate,
            (_, Role::Structure) => Standing::HasStructure,
            (_, Role::Free) => Standing::Frees,
            (_, Role::Comparison) => Standing::Compares,
            (_, Role::ObjectReference) => Standing::Coincidence,
        }
    }
}

/// A module that references a tag.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ModuleRank {
    /// Index in the kernel's module list.
    pub module: usize,
    /// The module's name as in WinDbg.
    pub module_name: String,
    /// The strongest evidence.
    pub standing: Standing,
    /// The role of the strongest reference.
    pub role: Role,
    /// The confidence of the strongest reference.
    pub confidence: Option<Confidence>,
    /// Number of references.
    pub sites: u64,
    /// Number of references with the same standing as the strongest.
    pub best_sites: u64,
    /// Number of its pages that could be searched.
    pub pages_readable: u64,
    /// Number of its pages.
    pub pages: u64,
    /// A limitation of the ranking, as a sentence.
    pub note: Option<String>,
    /// The Microsoft library that the strongest references probably come from, if all of them do.
    pub library: Option<String>,
}

/// Modules that have many tags in tables or allocate on behalf of others: last within a rank.
const SYSTEM: [&str; 8] = [
    "nt",
    "hal",
    "win32k",
    "win32kbase",
    "win32kfull",
    "ndis",
    "fltmgr",
    "Wdf01000",
];

/// Modules that allocate on behalf of their callers.
const ON_BEHALF: [&str; 4] = ["nt", "ndis", "fltmgr", "Wdf01000"];

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|s| s.eq_ignore_ascii_case(name))
}

/// Ranks modules by their references, which must be sorted by module. `totals` has the number of
/// references of modules where not all are listed. `missing` gives the number of a module's pages
/// that could not be searched.
pub(super) fn rank(
    kernel: &Kernel,
    places: &[Reference],
    totals: &FxHashMap<u32, u64>,
    missing: &dyn Fn(u32) -> u64,
) -> Vec<ModuleRank> {
    let mut out: Vec<ModuleRank> = Vec::new();
    for r in places {
        let standing = Standing::of(&r.verdict);
        match out.last_mut().filter(|m| m.module == r.module) {
            Some(module) => module.add(standing, r),
            None => out.push(ModuleRank::new(
                kernel,
                missing(r.module as u32),
                standing,
                r,
            )),
        }
    }
    for module in &mut out {
        let total = totals.get(&(module.module as u32)).copied();
        module.sites = total.unwrap_or(module.sites);
    }
    out.sort_by_key(|m| {
        (
            m.standing,
            is_one_of(&SYSTEM, &m.module_name),
            std::cmp::Reverse(m.best_sites),
        )
    });
    out
}

impl ModuleRank {
    fn new(kernel: &Kernel, missing: u64, standing: Standing, r: &Reference) -> ModuleRank {
        let all = kernel
            .modules
            .get(r.module)
            .map_or(0, |m| u64::from(m.size).div_ceil(0x1000));
        let mut out = ModuleRank {
            module: r.module,
            module_name: r.module_name.clone(),
            standing,
            role: r.verdict.role,
            confidence: r.verdict.confidence,
            sites: 1,
            best_sites: 1,
            pages_readable: all.saturating_sub(missing),
            pages: all,
            note: None,
            library: r.library.clone(),
        };
        out.note_caller();
        out
    }

    fn add(&mut self, standing: Standing, r: &Reference) {
        self.sites += 1;
        if standing == self.standing {
            self.best_sites += 1;
            if self.library != r.library {
                self.library = None;
            }
        } else if standing < self.standing {
            self.standing = standing;
            self.role = r.verdict.role;
            self.confidence = r.verdict.confidence;
            self.best_sites = 1;
            self.library = r.library.clone();
            self.note_caller();
        }
    }

    fn note_caller(&mut self) {
        let allocates = matches!(self.standing, Standing::Allocates | Standing::HasLookaside);
        if let Some(library) = &self.library {
            self.note = Some(format!(
                "{} likely has a copy of Microsoft's {library}, which uses this tag: other \
                    modules have the same code",
                self.module_name
            ));
            return;
        }
        self.note = (allocates && is_one_of(&ON_BEHALF, &self.module_name)).then(|| {
            format!(
                "{} allocates this on behalf of its callers: the tag does not identify the caller",
                self.module_name
            )
        });
    }
}
