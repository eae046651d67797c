//! Page occupancy: the number of pages of each pool by the share that is in use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::Machine;
use crate::memory::PAGE_SIZE;
use crate::pool::block::PoolKind;
use crate::pool::index::Snapshot;
use crate::report::text::grouped;

/// The name of this answer in an evidence file.
pub const ANSWER: &str = "occupancy";

/// The pages of a pool whose share in use rounds down to the same tenth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupancy {
    /// The pool: nonpaged, paged or session.
    pub pool: String,
    /// The share in use, in tenths, rounded down.
    pub tenths: u64,
    /// Number of pages.
    pub pages: u64,
    /// Number of allocated blocks that start in these pages.
    pub blocks: u64,
    /// Bytes of allocated blocks.
    pub used_bytes: u64,
    /// Bytes of freed blocks that are cached for reuse.
    pub cached_bytes: u64,
    /// Bytes outside of blocks.
    pub free_bytes: u64,
}

/// Pages with small blocks, by pool and tenth in use.
///
/// # Errors
/// A sentence if the index leaves out blocks, because pages would then look emptier than
/// they are.
pub fn of(index: &Snapshot) -> Result<Vec<Occupancy>, String> {
    if index.left_out > 0 {
        return Err(format!(
            "the occupancy of pages is not known: the index leaves out {} blocks. Allow more \
                with --memory",
            grouped(index.left_out)
        ));
    }
    let mut rows: BTreeMap<(&str, u64), Occupancy> = BTreeMap::new();
    for page in index.page_use(&|| true).unwrap_or_default() {
        let pool = match page.kind {
            PoolKind::NonPaged | PoolKind::NonPagedNx => "nonpaged",
            PoolKind::Paged => "paged",
            PoolKind::Session => "session",
        };
        let tenths = u64::from(page.used) * 10 / PAGE_SIZE;
        let row = rows.entry((pool, tenths)).or_default();
        row.pages += 1;
        row.blocks += u64::from(page.blocks);
        row.used_bytes += u64::from(page.used);
        row.cached_bytes += u64::from(page.parked);
        row.free_bytes += u64::from(page.free());
    }
    let named = rows.into_iter().map(|((pool, tenths), row)| Occupancy {
        pool: pool.to_owned(),
        tenths,
        ..row
    });
    Ok(named.collect())
}

/// As an evidence file has it.
///
/// # Errors
/// A sentence if the file does not have it.
pub fn kept(machine: &dyn Machine) -> Result<Vec<Occupancy>, String> {
    let json = machine.kept_answer(ANSWER, "");
    json.and_then(|json| serde_json::from_str(json).ok())
        .ok_or_else(|| "the evidence file does not have the occupancy of pages".into())
}
