//! References to a tag: its bytes in every loaded image, and what the code does with them.
//!
//! The search is the same as `!for_each_module s -a @#Base @#End "Leak"`, over the images in the
//! dump. A hit in code is followed through its function to the calls that take the tag. A hit in
//! data is compared with the structures that contain tags. Pages that are not in the dump are
//! counted, because absence there is not conclusive.

pub mod api;
mod callee;
mod code;
mod data;
mod flow;
mod follow;
pub mod framework;
mod library;
mod listing;
mod pages;
pub mod rank;
mod site;
mod survey;
mod targets;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::kernel::Kernel;
use crate::kernel::modules::Module;
use crate::kernel::sessions::Sessions;
use crate::memory::{AddressSpace, PAGE_SIZE, Va};
use crate::pool::Tag;

use super::attribution::kmdf::Candidate;
use super::tag_search::{MAX_PER_MODULE, Searched, TagSearch};

pub use api::Role;
pub use listing::{Line, listing};
pub use rank::{ModuleRank, Standing};
pub use survey::Survey;
pub use targets::{Targets, without_exports};

/// The confidence that a reference uses the pool tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Confidence {
    /// The instruction and the function that takes the tag are known.
    Certain,
    /// The constant is the tag, but the call that takes it is uncertain.
    Likely,
    /// A coincidental byte match, or a use that does not involve pool.
    Coincidence,
}

impl Confidence {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Confidence::Certain => "certain",
            Confidence::Likely => "likely",
            Confidence::Coincidence => "coincidence",
        }
    }
}

/// The classification of a reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The instruction that has the tag as its constant or reads it.
    pub instruction: Option<String>,
    /// The instruction's destination: a register, or a memory location in brackets.
    pub register: Option<String>,
    /// The function that takes the tag.
    pub api: Option<String>,
    /// The function that contains the instruction: `module!name` or `module+0x1234`.
    pub function: Option<String>,
    /// The first address of that function.
    #[serde(default)]
    pub start: Option<Va>,
    /// What is done with the tag.
    pub role: Role,
    /// The confidence; `None` if the image's headers are not in the dump.
    pub confidence: Option<Confidence>,
    /// The reason, as a sentence without its full stop.
    pub reason: String,
    /// The requested pool, by its name in the headers.
    pub pool: Option<String>,
    /// The requested size in bytes, if it is constant.
    pub size: Option<u64>,
    /// The calls that take the tag, the strongest evidence first.
    pub calls: Vec<Call>,
}

/// A call that takes a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The function, if known.
    pub function: Option<String>,
    /// What the function does with the tag.
    pub role: Role,
    /// The number of the tag's argument, from 1.
    pub argument: u8,
    /// Address of the call.
    pub va: Va,
}

impl Default for Verdict {
    fn default() -> Verdict {
        Verdict {
            instruction: None,
            register: None,
            api: None,
            function: None,
            start: None,
            role: Role::Unknown,
            confidence: None,
            reason: String::new(),
            pool: None,
            size: None,
            calls: Vec::new(),
        }
    }
}

/// An occurrence of a tag's bytes in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Index in the kernel's module list.
    pub module: usize,
    /// The module's name as in WinDbg.
    pub module_name: String,
    /// Address of the first of the four bytes.
    pub va: Va,
    /// The section, if the image's headers are in the dump.
    pub section: Option<String>,
    /// True in an executable section.
    pub in_code: bool,
    /// The nearest symbol at or below, with the distance in bytes.
    pub symbol: Option<(String, u32)>,
    /// Sixteen bytes from the address, fewer if the next page is missing.
    pub bytes: Vec<u8>,
    /// The classification.
    pub verdict: Verdict,
    /// The Microsoft library that the code probably comes from. The tag's blocks are then not
    /// necessarily the driver's own.
    pub library: Option<String>,
    /// The source file and line of the call that takes the tag, otherwise of the instruction with
    /// the tag. Requires the module's private PDB.
    #[serde(default)]
    pub source: Option<(String, u32)>,
}

impl Reference {
    /// The address of the call that takes the tag; the reference's own address if no call is
    /// known.
    pub fn taken_at(&self) -> Va {
        self.verdict.calls.first().map_or(self.va, |call| call.va)
    }
}

/// All references to a tag, and the coverage of the search.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct References {
    /// Sorted by module and address.
    pub found: Vec<Reference>,
    /// The modules with references, the likeliest owner first.
    pub modules: Vec<ModuleRank>,
    /// Drivers whose default tag this may be: the driver framework derives it from the driver's
    /// name. Empty if a module's code has the tag.
    pub default_of: Vec<Candidate>,
    /// Number of image pages that were searched.
    pub pages_searched: u64,
    /// Number of image pages that could not be read.
    pub pages_missing: u64,
    /// Modules without any readable page.
    pub modules_missing: Vec<String>,
    /// Omissions, as sentences.
    pub notes: Vec<String>,
    /// Number of unreadable pages, by module index.
    missing_in: FxHashMap<usize, u64>,
}

impl References {
    /// Number of pages of a module's image that could not be searched.
    pub fn pages_missing_in(&self, module: usize) -> u64 {
        self.missing_in.get(&module).copied().unwrap_or(0)
    }
}

/// Searches for all references to a tag and classifies them, until the request is cancelled. The
/// result equals [`Survey`]'s for the same tag.
pub fn find_while(
    kernel: &Kernel,
    sessions: &Sessions,
    targets: &Targets,
    tag: Tag,
    wanted: &(dyn Fn() -> bool + Sync),
) -> Option<References> {
    let found = TagSearch::run(kernel, sessions, [tag], wanted)?;
    let survey = Survey::of(kernel, sessions, targets, &found, &[tag], wanted)?;
    survey.references(kernel, sessions, tag)
}

impl References {
    /// The references in the order of their modules' ranks, each module's strongest evidence
    /// first.
    pub fn ranked(&self) -> Vec<&Reference> {
        let rank = |r: &Reference| self.modules.iter().position(|m| m.module == r.module);
        let mut out: Vec<&Reference> = self.found.iter().collect();
        out.sort_by_cached_key(|r| (rank(r), Standing::of(&r.verdict), r.va));
        out
    }

    /// Records the coverage, and notes modules with more references than are listed.
    fn cover(
        &mut self,
        kernel: &Kernel,
        coverage: &FxHashMap<u32, Searched>,
        totals: &FxHashMap<u32, u64>,
    ) {
        for (index, module) in kernel.modules.iter().enumerate() {
            let Some(searched) = coverage.get(&(index as u32)) else {
                continue;
            };
            self.pages_searched += searched.pages;
            self.pages_missing += searched.missing;
            self.missing_in.insert(index, searched.missing);
            if searched.pages == 0 && searched.missing > 0 {
                self.modules_missing.push(module.name());
            }
            if let Some(&total) = totals.get(&(index as u32)) {
                self.notes.push(format!(
                    "{} has these four bytes {total} times: the first {MAX_PER_MODULE} are listed",
                    module.name()
                ));
            }
        }
    }
}

impl References {
    /// An empty result with the reason why no search was done.
    pub fn without(note: String) -> References {
        References {
            notes: vec![note],
            ..References::default()
        }
    }
}

/// Names of a module's functions: from nt's symbols, or the image's exports.
struct Names {
    is_kernel: bool,
    exports: Vec<(u32, String)>,
}

/// A symbol at a larger distance, in bytes, does not name the function.
const NEAR: u32 = 0x10000;

impl Names {
    fn of(space: &AddressSpace, module: &Module) -> Names {
        let exports = module.image.as_ref().map(|image| image.exports(space));
        Names {
            is_kernel: module.is_kernel,
            exports: exports.unwrap_or_default(),
        }
    }

    fn nearest(&self, kernel: &Kernel, rva: u32) -> Option<(String, u32)> {
        if self.is_kernel
            && let Some(found) = kernel.symbols.nearest(rva)
        {
            return Some(found).filter(|(_, distance)| *distance < NEAR);
        }
        let after = self.exports.partition_point(|(at, _)| *at <= rva);
        let (at, name) = self.exports.get(after.checked_sub(1)?)?;
        Some((name.clone(), rva - at)).filter(|(_, distance)| *distance < NEAR)
    }
}

/// Number of a module's pages that are in the dump, and of all its pages.
pub fn resident_pages(kernel: &Kernel, module: &Module) -> (u64, u64) {
    let all = u64::from(module.size).div_ceil(PAGE_SIZE);
    let here = kernel
        .space
        .pieces(module.base, module.size.into())
        .filter(|(_, p)| p.is_ok())
        .count();
    (here as u64, all)
}
