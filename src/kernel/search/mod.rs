//! Finds nt's variables by their content, for kernels without a PDB or built-in tables.
//!
//! Every step proposes candidates and checks them against independent data: the hash that
//! places tags in a tracker table, the page counts of the dump header, a heap's signature, a
//! list head that points to itself. A variable that passes is used under its symbol name and
//! reported as found by structure; otherwise it stays unknown. The windows and distances come
//! from the public symbols of 213 kernels.

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

/// The results, by symbol name.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Addresses of variables.
    pub variables: FxHashMap<&'static str, Va>,
    /// Values of variables whose address was not found.
    pub numbers: FxHashMap<&'static str, u64>,
    /// The revision of the layouts that the structures match, if they reveal it.
    pub revision: Option<u32>,
    /// Remarks for users.
    pub notes: Vec<String>,
}

impl Found {
    fn put(&mut self, name: &'static str, at: Va) {
        self.variables.insert(name, at);
    }
}

/// Searches nt's data for the variables that readers need.
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
