//! Where the bytes of one tag are.

use memchr::memmem;
use rustc_hash::FxHashMap;

use crate::analysis::tag_search::{Hit, MAX_PAGES, MAX_PER_MODULE, Searched, TagSearch, too_large};
use crate::kernel::Kernel;
use crate::kernel::modules::Module;
use crate::kernel::sessions::Sessions;
use crate::memory::{AddressSpace, PAGE_SIZE};
use crate::pool::Tag;
use crate::pool::tag::PROTECTED;

/// The occurrences of a tag in all modules.
#[derive(Clone, Debug, Default)]
pub struct Occurrences {
    /// In order of module and RVA.
    pub hits: Vec<Hit>,
    /// How much of each module was searched.
    pub coverage: FxHashMap<u32, Searched>,
    /// All occurrences in a module, where fewer are listed.
    pub totals: FxHashMap<u32, u64>,
    /// What was left out, as sentences.
    pub notes: Vec<String>,
}

impl Occurrences {
    /// From the search for all tags.
    pub fn taken(all: &TagSearch, tag: Tag) -> Occurrences {
        let hits: Vec<Hit> = all.hits(tag).collect();
        let modules = all.modules(tag).into_iter();
        let totals = modules.filter_map(|(m, _)| Some((m as u32, all.total(tag, m)?)));
        Occurrences {
            totals: totals.collect(),
            coverage: all.searched.clone(),
            notes: Vec::new(),
            hits,
        }
    }

    /// By searching; `wanted` is asked before each module.
    pub fn searched(
        kernel: &Kernel,
        sessions: &Sessions,
        tag: Tag,
        wanted: &dyn Fn() -> bool,
    ) -> Option<Occurrences> {
        let forms = [tag.value(), tag.value() | PROTECTED];
        let needles = forms.map(u32::to_le_bytes);
        let mut out = Occurrences::default();
        let mut left = MAX_PAGES;
        for (index, module) in kernel.modules.iter().enumerate() {
            if !wanted() {
                return None;
            }
            if !module.unloaded {
                let pages = u64::from(module.size).div_ceil(PAGE_SIZE);
                let Some(rest) = left.checked_sub(pages) else {
                    out.notes.push(too_large(module));
                    break;
                };
                left = rest;
                let space = sessions.space_of(kernel, module);
                out.search(space, index as u32, module, &needles);
            }
        }
        Some(out)
    }

    fn search(&mut self, space: &AddressSpace, index: u32, module: &Module, needles: &[[u8; 4]]) {
        let mut rvas: Vec<u32> = Vec::new();
        let mut total = 0u64;
        let mut searched = Searched::default();
        // The last three bytes of a page and the first three of the next may hold a hit.
        let mut seam: Vec<u8> = Vec::new();
        for (va, piece) in space.pieces(module.base, module.size.into()) {
            let Ok(bytes) = piece else {
                searched.missing += 1;
                seam.clear();
                continue;
            };
            searched.pages += 1;
            let rva = (va.0 - module.base.0) as u32;
            let kept = seam.len() as u32;
            seam.extend_from_slice(bytes.get(..3).unwrap_or(bytes));
            let mut hits: Vec<u32> = Vec::new();
            for needle in needles {
                hits.extend(memmem::find_iter(&seam, needle).map(|at| rva - kept + at as u32));
                hits.extend(memmem::find_iter(bytes, needle).map(|at| rva + at as u32));
            }
            hits.sort_unstable();
            hits.dedup();
            total += hits.len() as u64;
            rvas.extend(hits);
            rvas.truncate(MAX_PER_MODULE);
            seam.clear();
            let tail = bytes.len().saturating_sub(3);
            seam.extend_from_slice(bytes.get(tail..).unwrap_or_default());
        }
        self.coverage.insert(index, searched);
        if total > rvas.len() as u64 {
            self.totals.insert(index, total);
        }
        self.hits
            .extend(rvas.into_iter().map(|rva| Hit { module: index, rva }));
    }
}
