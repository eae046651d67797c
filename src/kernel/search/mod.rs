//! Finds nt's variables by what they hold, for kernels that no PDB and no built-in table
//! knows.
//!
//! Every step makes candidates and checks them against something independent: the hash
//! that places tags in a tracker table, the page counts of the dump header, a heap's
//! signature, a list head that points at itself. What passes is used under the symbol's
//! own name and said to be found by structure; what does not is left unknown. The windows
//! and distances are those of the public symbols of 213 kernels.

mod big_pages;
mod data;
mod heaps;
mod partition;
mod trackers;

pub use data::Data;
pub use trackers::build as tracker_build;

use rustc_hash::FxHashMap;

use crate::memory::Va;
use crate::symbols::SymbolPath;

use super::Kernel;

/// What was found, by the name that the symbol has.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Variables.
    pub variables: FxHashMap<&'static str, Va>,
    /// Values of variables that were themselves not found.
    pub numbers: FxHashMap<&'static str, u64>,
    /// The revision of the layouts that the structures fit, where they tell.
    pub revision: Option<u32>,
    /// Sentences.
    pub notes: Vec<String>,
}

impl Found {
    fn put(&mut self, name: &'static str, at: Va) {
        self.variables.insert(name, at);
    }
}

/// Searches nt's data for what the readers need.
pub fn search(kernel: &Kernel, path: &SymbolPath) -> Found {
    let mut out = Found::default();
    let data = Data::of(kernel);
    trackers::find(kernel, &data, &mut out);
    big_pages::find(kernel, &data, &mut out);
    heaps::find(kernel, &data, &mut out);
    partition::find(kernel, path, &data, &mut out);
    if !out.variables.is_empty() {
        let mut names: Vec<&str> = out.variables.keys().copied().collect();
        names.sort_unstable();
        out.notes.push(format!(
            "found by structure, without symbols: {}",
            names.join(", ")
        ));
    }
    out
}
