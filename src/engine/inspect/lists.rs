//! State of Driver Verifier, lookaside lists, and the file cache's totals.

use crate::analysis::verifier;
use crate::memory::PAGE_SIZE;
use crate::pool::block::State;

use super::{Engine, Listing, Value};

/// Rows of a tag table that describe cached and mapped files.
const OF_FILES: [(&str, &str); 6] = [
    ("File", "file objects"),
    ("MmSt", "page tables of mapped and cached files"),
    ("MmCa", "control areas of mapped and cached files"),
    ("MmCi", "control areas of images"),
    ("CcSc", "shared cache maps"),
    ("CcVa", "view descriptors of the cache manager"),
];

impl Engine {
    /// `!verifier`.
    pub(super) fn verifier_state(&self) -> Listing {
        let mut out = Listing::new("Driver Verifier", &["name", "value"]);
        match verifier::level(self.kernel()) {
            Some(level) => {
                out.push(vec!["level".into(), Value::Hex(level.into())]);
                for (bit, name) in verifier::NAMES {
                    let on = level & bit != 0;
                    out.push(vec![name.into(), on.into()]);
                }
                if level == 0 {
                    out.notes.push("Driver Verifier was off".into());
                }
            }
            None => out
                .notes
                .push("the state of Driver Verifier can't be read in this dump".into()),
        }
        out
    }

    /// `!lookaside`: free blocks that wait on lists.
    pub(super) fn lookaside_lists(&self) -> Listing {
        let mut out = Listing::new("blocks on lookaside and deferred lists", &["list", "blocks"]);
        let parked = self.parked();
        let count = |state: State| parked.blocks.iter().filter(|(_, s)| *s == state).count() as u64;
        out.push(vec!["pool lookaside lists".into(), count(State::Lookaside).into()]);
        let others = parked.blocks.len() as u64 - count(State::Lookaside);
        out.push(vec!["deferred frees".into(), others.into()]);
        out.notes.extend(parked.notes.iter().cloned());
        if self.heaps().is_some() {
            out.notes.push(
                "this Windows keeps small free blocks inside its segment heaps, not on these lists"
                    .into(),
            );
        }
        out.notes
            .push("lists of single drivers are not searched: a tag's blocks on them count as allocated".into());
        out
    }

    /// `!filecache`: what counters and tags say about cached files.
    pub(super) fn file_cache(&self) -> Listing {
        let mut out = Listing::new("file cache", &["name", "nonpaged bytes", "paged bytes", "allocations"]);
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
        for (name, line) in [("modified pages", &vm.modified), ("available pages", &vm.available)] {
            if let Some(pages) = line.pages {
                out.notes.push(format!(
                    "{name}: {pages} ({} MB)",
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
