//! Lookaside lists, PoolMon's list, and the totals of the file cache.

use crate::characters::grouped;
use crate::command::request::{PoolChoice, PoolMon, SortBy};
use crate::memory::PAGE_SIZE;
use crate::pool::TagPattern;
use crate::pool::block::State;
use crate::pool::index::Snapshot;
use crate::pool::tracker::Usage;

use crate::engine::Engine;
use crate::engine::{Machine, NoAccounts, Selection, Sort};

use super::listing::Listing;

/// The tags of cached and mapped files, with the meaning of each.
const OF_FILES: [(&str, &str); 6] = [
    ("File", "file objects"),
    ("MmSt", "page tables of mapped and cached files"),
    ("MmCa", "control areas of mapped and cached files"),
    ("MmCi", "control areas of images"),
    ("CcSc", "shared cache maps"),
    ("CcVa", "view descriptors of the cache manager"),
];

/// The sizes of a tag's allocations, by total bytes, descending.
pub fn sizes_of(index: &Snapshot, pattern: &TagPattern) -> Listing {
    let mut out = Listing::new("allocations by size", &["size", "allocations", "bytes"]);
    for size in index.sizes(pattern) {
        out.push(vec![
            size.size.into(),
            size.count.into(),
            size.bytes().into(),
        ]);
    }
    if index.left_out > 0 {
        out.notes.push(format!(
            "{} allocations are not listed because of the memory limit",
            grouped(index.left_out)
        ));
    }
    out.bounded()
}

/// The list of tags with PoolMon's options: one row per tag and pool, as in PoolMon.
///
/// # Errors
/// If the dump has no trackers.
pub fn pool_mon(machine: &dyn Machine, wanted: &PoolMon) -> Result<Listing, NoAccounts> {
    let session = wanted.pool == Some(PoolChoice::Session);
    let selection = Selection {
        sort: Sort::Tag,
        verbose: true,
        session,
        top: None,
        pattern: TagPattern::any(),
    };
    let used = machine.pool_used(&selection)?;
    let mut rows = Vec::new();
    for row in used.rows.iter().filter(|row| wanted.shows(row.usage.tag)) {
        let binary = row.about.as_ref().and_then(|d| d.marked_binary());
        let sides = [("Nonp", &row.usage.nonpaged), ("Paged", &row.usage.paged)];
        for (name, side) in sides {
            let asked = match wanted.pool {
                Some(PoolChoice::Nonpaged) => name == "Nonp",
                Some(PoolChoice::Paged | PoolChoice::Session) => name == "Paged",
                _ => true,
            };
            if asked && !side.is_empty() {
                rows.push((row.usage.tag, name, *side, binary.clone()));
            }
        }
    }
    let per = |s: &Usage| s.bytes.checked_div(s.outstanding).unwrap_or(0);
    let key = |s: &Usage| match wanted.sort.unwrap_or(SortBy::Tag) {
        SortBy::Tag => 0,
        // Wrapped counters cannot be compared.
        SortBy::Allocs | SortBy::Frees if s.wrapped => 0,
        SortBy::Allocs => s.allocs,
        SortBy::Frees => s.frees,
        SortBy::Outstanding => s.outstanding,
        SortBy::Bytes => s.bytes,
        SortBy::PerAllocation => per(s),
    };
    rows.sort_by_key(|(tag, _, side, _)| (std::cmp::Reverse(key(side)), *tag));
    let mut out = Listing::new(
        "pool tags",
        &[
            "tag",
            "type",
            "allocs",
            "frees",
            "diff",
            "bytes",
            "per alloc",
            "mapped driver",
        ],
    );
    if rows.is_empty() {
        out.notes.push("no tag matches the switches".into());
    }
    if rows.iter().any(|(_, _, side, _)| side.wrapped) {
        out.notes.push(
            "counters of allocations and frees that have wrapped are not shown; diff and bytes are right".into(),
        );
    }
    for (tag, name, side, binary) in rows {
        let since_boot = |count: u64| (!side.wrapped).then_some(count);
        out.push(vec![
            tag.to_string().into(),
            name.into(),
            since_boot(side.allocs).into(),
            since_boot(side.frees).into(),
            side.outstanding.into(),
            side.bytes.into(),
            per(&side).into(),
            binary.unwrap_or_default().into(),
        ]);
    }
    Ok(out)
}

impl Engine {
    /// `!lookaside`: free blocks on lookaside lists.
    pub(super) fn lookaside_lists(&self) -> Listing {
        let mut out = Listing::new(
            "blocks on lookaside and deferred lists",
            &["list", "blocks"],
        );
        let parked = self.parked();
        let count = |state: State| parked.blocks.iter().filter(|(_, s)| *s == state).count() as u64;
        out.push(vec![
            "pool lookaside lists".into(),
            count(State::Lookaside).into(),
        ]);
        let others = parked.blocks.len() as u64 - count(State::Lookaside);
        out.push(vec!["deferred frees".into(), others.into()]);
        out.notes.extend(parked.notes.iter().cloned());
        if self.heaps().is_some() {
            out.notes.push(
                "this Windows keeps small free blocks inside its segment heaps, not on these lists"
                    .into(),
            );
        }
        out.notes.push(
            "lookaside lists of individual drivers are not searched: a tag's blocks on them count \
                as allocated"
                .into(),
        );
        out
    }

    /// `!filecache`: counters and tags of cached files.
    pub(super) fn file_cache(&self) -> Listing {
        let mut out = Listing::new(
            "file cache",
            &["name", "nonpaged bytes", "paged bytes", "allocations"],
        );
        let rows = &self.trackers().rows;
        for (name, what) in OF_FILES {
            let row = rows.iter().find(|row| row.tag.to_string() == name);
            let Some(row) = row else {
                continue;
            };
            out.push(vec![
                format!("{name}  {what}").into(),
                row.nonpaged.bytes.into(),
                row.paged.bytes.into(),
                (row.nonpaged.outstanding + row.paged.outstanding).into(),
            ]);
        }
        let vm = self.vm();
        for (name, line) in [
            ("modified pages", &vm.modified),
            ("available pages", &vm.available),
        ] {
            if let Some(pages) = line.pages {
                out.notes.push(format!(
                    "{name}: {} ({} MB)",
                    grouped(pages),
                    pages.saturating_mul(PAGE_SIZE) >> 20
                ));
            }
        }
        out.notes.push(
            "only pool that describes cached files is counted; the cache itself and its files are not listed".into(),
        );
        out
    }
}
