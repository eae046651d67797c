//! Who uses a tag: its bytes in every loaded image, and what the code there does.
//!
//! The same search as `!for_each_module s -a @#Base @#End "Leak"`, over the images as
//! they lie in the dump. Each hit in code is followed through its function to the calls
//! that take the tag; each hit in data is held against the structures that carry tags.
//! Pages that are not in the dump are counted: absence there is not conclusive.

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

/// How sure it is that a place uses the pool tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Confidence {
    /// The instruction and the function that takes the tag are known.
    Certain,
    /// The constant is the tag, but the call that takes it is not certain.
    Likely,
    /// The same four bytes by chance, or for something other than pool.
    Coincidence,
}

impl Confidence {
    /// The word in answers.
    pub fn word(self) -> &'static str {
        match self {
            Confidence::Certain => "certain",
            Confidence::Likely => "likely",
            Confidence::Coincidence => "coincidence",
        }
    }
}

/// What a place that has a tag's bytes is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The instruction with the tag as its constant, or that reads it.
    pub instruction: Option<String>,
    /// Where that puts it: a register, or a place in memory in brackets.
    pub register: Option<String>,
    /// The function that takes it.
    pub api: Option<String>,
    /// The function that the instruction is in: `module!name` or `module+0x1234`.
    pub function: Option<String>,
    /// The first address of that function.
    #[serde(default)]
    pub start: Option<Va>,
    /// What is done with it.
    pub role: Role,
    /// How sure that is; `None` where the image's headers are not in the dump.
    pub confidence: Option<Confidence>,
    /// Why, as a sentence without its full stop.
    pub reason: String,
    /// The pool that is asked for, in the headers' words.
    pub pool: Option<String>,
    /// The bytes that are asked for, where they are a constant.
    pub size: Option<u64>,
    /// The calls that are given the tag, the most telling first.
    pub calls: Vec<Call>,
}

/// A call that is given a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The function, where it is known.
    pub function: Option<String>,
    /// What it does with the tag.
    pub role: Role,
    /// In which argument it has it, from 1.
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

/// One occurrence of a tag's bytes in an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Index into the kernel's modules.
    pub module: usize,
    /// The module's name as WinDbg has it.
    pub module_name: String,
    /// Address of the first of the four bytes.
    pub va: Va,
    /// The section, where the image's headers are in the dump.
    pub section: Option<String>,
    /// True in an executable section.
    pub in_code: bool,
    /// The nearest symbol at or below, with the distance in bytes.
    pub symbol: Option<(String, u32)>,
    /// Sixteen bytes from there on, fewer where the next page is missing.
    pub bytes: Vec<u8>,
    /// What it is.
    pub verdict: Verdict,
    /// The library of Microsoft's that the code is likely a copy of, so that the tag's
    /// blocks need not be the driver's own.
    pub library: Option<String>,
    /// The source file and line of the call that takes the tag, else of the instruction
    /// with the tag; by the module's private PDB.
    #[serde(default)]
    pub source: Option<(String, u32)>,
}

impl Reference {
    /// The call that takes the tag, or the place itself where none is known.
    pub fn taken_at(&self) -> Va {
        self.verdict.calls.first().map_or(self.va, |call| call.va)
    }
}

/// All occurrences, and how much of the images could be searched.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct References {
    /// In order of module and address.
    pub found: Vec<Reference>,
    /// The modules that have them, the likeliest owner first.
    pub modules: Vec<ModuleRank>,
    /// Drivers of which this may be the tag that the driver framework made up; only
    /// where no module's code has it.
    pub default_of: Vec<Candidate>,
    /// Pages of images that were searched.
    pub pages_searched: u64,
    /// Pages of images that could not be read.
    pub pages_missing: u64,
    /// Modules of which no page could be read.
    pub modules_missing: Vec<String>,
    /// What was left out, as sentences.
    pub notes: Vec<String>,
    /// Pages that could not be read, by module.
    missing_in: FxHashMap<usize, u64>,
}

impl References {
    /// Pages of a module's image that could not be searched.
    pub fn pages_missing_in(&self, module: usize) -> u64 {
        self.missing_in.get(&module).copied().unwrap_or(0)
    }
}

/// Searches for all occurrences of a tag and judges them, until the request is cancelled. It is
/// what [`Survey`] has of the same tag.
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
    /// The places in the order of their modules' ranks, the most telling of each first.
    pub fn ranked(&self) -> Vec<&Reference> {
        let rank = |r: &Reference| self.modules.iter().position(|m| m.module == r.module);
        let mut out: Vec<&Reference> = self.found.iter().collect();
        out.sort_by_cached_key(|r| (rank(r), Standing::of(&r.verdict), r.va));
        out
    }

    /// What was searched, and how often a module has the tag that more often than listed.
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
    /// None, and why none were looked for.
    pub fn without(note: String) -> References {
        References {
            notes: vec![note],
            ..References::default()
        }
    }
}

/// Names of a module's functions: nt's symbols, or what an image exports.
struct Names {
    is_kernel: bool,
    exports: Vec<(u32, String)>,
}

/// A name further away than this says nothing about the function.
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

/// Pages of a module that are in the dump, and in all.
pub fn resident_pages(kernel: &Kernel, module: &Module) -> (u64, u64) {
    let all = u64::from(module.size).div_ceil(PAGE_SIZE);
    let here = kernel
        .space
        .pieces(module.base, module.size.into())
        .filter(|(_, p)| p.is_ok())
        .count();
    (here as u64, all)
}
