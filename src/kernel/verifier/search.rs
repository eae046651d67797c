//! Finds Driver Verifier's records without symbols, through variables of nt that lead to
//! unmistakable structures.
//!
//! The tree of drivers is recognised by its nodes, which are loaded modules with their sizes
//! and refer to records. The log is recognised by its records, which contain a pool address, a
//! thread and return addresses in modules.

use crate::kernel::Kernel;
use crate::kernel::search::Data;
use crate::memory::{PAGE_SIZE, Va};

use super::log::Log;
use super::{Code, slist, tree};

const TREE: &str = "_VF_AVL_TREE";
const RECORDS: &str = "_VF_TARGET_VERIFIED_DRIVER_DATA";
/// Largest number of tables of a tree in a search; Windows has one.
const FEW_TABLES: u64 = 64;

/// The results of the search.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// `ViTargetDriversAvl`.
    pub tree: Option<Va>,
    /// The log, without its index.
    pub log: Option<Log>,
}

/// Searches nt's data.
pub(super) fn search(kernel: &Kernel) -> Found {
    let data = Data::of(kernel);
    let code = Code::of(kernel);
    let mut out = Found::default();
    let places = data.stretches.iter().flat_map(|s| s.places());
    let offsets = kernel
        .offset(TREE, "Tables")
        .zip(kernel.offset(TREE, "TablesNo"));
    for at in places {
        let Some(word) = data.word(at) else { continue };
        if !Va(word).is_kernel() {
            continue;
        }
        if out.log.is_none() && word.is_multiple_of(PAGE_SIZE) {
            out.log = Log::found(kernel, Va(word), &code);
        }
        if let (None, Some((tables, number))) = (out.tree, offsets) {
            let start = Va(at.0.wrapping_sub(tables));
            let count = data.word(start.add(number)).map(|n| n & 0xffff_ffff);
            let few = count.is_some_and(|n| (1..=FEW_TABLES).contains(&n));
            if few && is_tree(kernel, start) {
                out.tree = Some(start);
            }
        }
    }
    out
}

/// True for a tree whose nodes are all loaded modules, at least one with records.
fn is_tree(kernel: &Kernel, at: Va) -> bool {
    let Ok(walked) = tree::walk(kernel, at) else {
        return false;
    };
    let is_module = |node: &tree::Node| {
        kernel.modules.iter().any(|m| {
            let pages = u64::from(m.size).next_multiple_of(PAGE_SIZE);
            let same = node.size.checked_next_multiple_of(PAGE_SIZE) == Some(pages);
            !m.unloaded && m.base == node.base && same
        })
    };
    let has_records = |node: &tree::Node| {
        let list = kernel.offset(RECORDS, "PoolPageHeaders");
        let head = list.map(|list| slist::head(kernel, node.data.add(list)));
        node.data.is_kernel() && matches!(head, Some(Ok(_)))
    };
    walked.damage.is_empty()
        && !walked.nodes.is_empty()
        && walked.nodes.iter().all(is_module)
        && walked.nodes.iter().any(has_records)
}
