//! The data of the screens: read once from an [`crate::engine::Engine`] on a worker thread,
//! or built by a test.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::analysis::attribution::suspects::listed_module;
use crate::analysis::references::{Confidence, Reference, Role};
use crate::analysis::{Coverage, Descriptions, VmReport};
use crate::engine::{DumpFacts, Machine, ModuleFacts};
use crate::kernel::identity::ModuleIdentity;
use crate::memory::Va;
use crate::pool::index::{Snapshot, TagFound, Totals};
use crate::pool::tracker::{TagUsage, Trackers};
use crate::pool::{Pool, Tag};
use crate::report::text::{clean, grouped};
use crate::symbols::WantedPdb;

use crate::tui::data::baseline::Baseline;
use crate::tui::data::order::PoolChoice;

/// The data of a dump that is known without the index.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The file's name.
    pub file: String,
    /// The Windows version and other facts in a few words, the most important first.
    pub facts: Vec<String>,
    /// The `!vm` report with its verdicts.
    pub vm: VmReport,
    /// One row per tag.
    pub tags: Vec<TagRow>,
    /// The sum of all rows.
    pub total: TagUsage,
    /// Bytes of nonpaged and paged pool in use, from the engine. On every screen, a share
    /// of a pool is a share of these. `None` if no source is complete.
    pub used: [Option<u64>; 2],
    /// False if the kernel's pool trackers cannot be read: the rows then come from the walk.
    pub counted: bool,
    /// Tag descriptions; looked up again when the walk finds more tags.
    pub descriptions: Descriptions,
    /// Loaded modules, then unloaded ones.
    pub modules: Vec<ModuleRow>,
    /// Caveats, as sentences.
    pub warnings: Vec<String>,
    /// The kernel's PDB, if it is missing.
    pub missing: Option<MissingPdb>,
    /// The overall verdict; `None` until the walk is done.
    pub verdict: Option<VerdictLine>,
    /// Earlier points in time to compare the dump with.
    pub baseline: Option<Arc<Baseline>>,
}

/// The verdict in one line, from the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerdictLine {
    /// The verdict and its reason.
    pub text: String,
    /// True if there is something to investigate.
    pub alarm: bool,
}

/// Names the images that contain the bytes of a tag.
pub fn in_images(names: &[String]) -> Option<String> {
    match names {
        [] => None,
        [one] => Some(format!("in {one}")),
        [one, other] => Some(format!("in {one}, {other}")),
        more => Some(format!("in {} images", more.len())),
    }
}

/// A missing PDB, and how to get it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingPdb {
    /// The file's name.
    pub file: String,
    /// What to download and where to put it, as a sentence.
    pub advice: String,
    /// Files found in its place that are not used, and why.
    pub refused: Vec<String>,
    /// Why the download failed.
    pub failed: Option<String>,
}

impl MissingPdb {
    fn new(wanted: &WantedPdb) -> MissingPdb {
        let safe = |text: &str| clean(text).into_owned();
        let Some(needed) = wanted.needed() else {
            return MissingPdb {
                file: safe(&wanted.id.name),
                advice: "the kernel's PDB is not searched for: its name is not a valid file name"
                    .into(),
                ..MissingPdb::default()
            };
        };
        let put = match wanted.place() {
            Some(place) => format!(
                "to load symbols, put {} at {}: it is loaded at once, without a restart; download \
                    it from {}",
                needed.file,
                place.display(),
                needed.url
            ),
            None => format!(
                "the symbol path has no directory for {}: start again with --symbols DIRECTORY; \
                    download it from {}",
                needed.file, needed.url
            ),
        };
        MissingPdb {
            advice: safe(&put),
            file: safe(&needed.file),
            ..MissingPdb::default()
        }
    }
}

/// One tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagRow {
    /// The kernel's counters (or the walk's, see [`Model::counted`]).
    pub usage: TagUsage,
    /// What the tag is for; `None` for an unknown tag.
    pub about: Option<String>,
    /// The owner from the tag list: `nt!ps`, `fltmgr.sys`; `None` if no such module is loaded.
    pub binary: Option<String>,
    /// The owner: `myfault (certain)`, the same as in every other answer. Empty if there is
    /// no evidence for an owner, `None` until it is known.
    pub owner: Option<String>,
    /// The images that contain the tag's bytes: `in myfault`.
    pub referenced_in: Option<String>,
    /// What the walk found so far.
    pub found: TagFound,
}

impl TagRow {
    fn new(usage: TagUsage, descriptions: &Descriptions) -> TagRow {
        let known = descriptions.get(usage.tag);
        TagRow {
            usage,
            about: known.map(|d| clean(&d.text).into_owned()),
            binary: known.and_then(|d| Some(clean(&d.marked_binary()?).into_owned())),
            owner: None,
            referenced_in: None,
            found: TagFound::default(),
        }
    }

    /// The owner that all lists show: the attributed owner, or else the images that contain
    /// the tag's bytes. Until the attribution is known, the owner from the tag list.
    pub fn owner(&self) -> Option<&str> {
        let referenced_in = self.referenced_in.as_deref();
        match self.owner.as_deref() {
            Some("") => referenced_in,
            Some(owner) => Some(owner),
            None => self.binary.as_deref().or(referenced_in),
        }
    }

    /// True if the blocks and bytes found equal the kernel's counters.
    pub fn agrees(&self) -> bool {
        let same = |usage: &crate::pool::tracker::Usage, found: &crate::pool::index::Found| {
            usage.outstanding == found.blocks && usage.bytes == found.bytes
        };
        same(&self.usage.nonpaged, &self.found.nonpaged)
            && same(&self.usage.paged, &self.found.paged)
    }
}

/// One module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleRow {
    /// WinDbg's name.
    pub name: String,
    /// First address.
    pub base: Va,
    /// The end address, exclusive.
    pub end: Va,
    /// The path it was loaded from, or the file name.
    pub path: String,
    /// The matching PDB: name and identity.
    pub pdb: String,
    /// No longer loaded.
    pub unloaded: bool,
}

impl ModuleRow {
    fn new(module: &ModuleFacts) -> ModuleRow {
        let path = module.path.as_deref().or(module.file.as_deref());
        let pdb = module.pdb.as_ref().map(|id| id.to_string());
        ModuleRow {
            name: clean(&module.name).into_owned(),
            base: module.base,
            end: module.end,
            path: clean(path.unwrap_or("")).into_owned(),
            pdb: clean(&pdb.unwrap_or_default()).into_owned(),
            unloaded: module.unloaded,
        }
    }

    /// True for an address inside it.
    pub fn contains(&self, va: Va) -> bool {
        va >= self.base && va < self.end
    }
}

impl Model {
    /// Reads the data that an open dump has at once.
    pub fn of(engine: &dyn Machine) -> Model {
        let trackers = engine.trackers();
        let facts = engine.facts();
        let file = std::path::Path::new(&facts.path).file_name();
        let mut model = Model {
            file: clean(&file.unwrap_or_default().to_string_lossy()).into_owned(),
            facts: told(&facts),
            vm: engine.vm().clone(),
            total: trackers.total,
            used: pools_in_use(engine, None),
            counted: !trackers.rows.is_empty(),
            descriptions: engine.descriptions().clone(),
            modules: engine.module_list().iter().map(ModuleRow::new).collect(),
            warnings: engine
                .warnings()
                .iter()
                .map(|w| clean(w).into_owned())
                .collect(),
            tags: Vec::new(),
            missing: engine.missing_pdb().as_ref().map(MissingPdb::new),
            verdict: None,
            baseline: None,
        };
        model.take_trackers(trackers);
        model
    }

    /// The bytes of a pool, or of both: the base of all shares.
    pub fn in_use(&self, pool: PoolChoice) -> u64 {
        let [nonpaged, paged] = self.used;
        let nonpaged = nonpaged.unwrap_or(self.total.nonpaged.bytes);
        let paged = paged.unwrap_or(self.total.paged.bytes);
        match pool {
            PoolChoice::Nonpaged => nonpaged,
            PoolChoice::Paged => paged,
            PoolChoice::Both => nonpaged.saturating_add(paged),
        }
    }

    /// Makes the rows from the kernel's counters.
    pub fn take_trackers(&mut self, trackers: &Trackers) {
        self.total = trackers.total;
        self.tags = trackers
            .rows
            .iter()
            .map(|usage| TagRow::new(*usage, &self.descriptions))
            .collect();
        self.drop_absent_binaries();
    }

    /// Removes tag-list owners that are not loaded: such a module cannot own a tag.
    fn drop_absent_binaries(&mut self) {
        let loaded: FxHashSet<String> = self
            .modules
            .iter()
            .filter(|module| !module.unloaded)
            .map(|module| module.name.to_ascii_lowercase())
            .collect();
        if loaded.is_empty() {
            return;
        }
        for row in &mut self.tags {
            let absent = |binary: &String| {
                let module = listed_module(binary.trim_end_matches('?'));
                !loaded.contains(&module.to_ascii_lowercase())
            };
            if row.binary.as_ref().is_some_and(absent) {
                row.binary = None;
            }
        }
    }

    /// Sets the images that reference each tag.
    pub fn take_referenced_in(&mut self, modules: &FxHashMap<Tag, String>) {
        for row in &mut self.tags {
            row.referenced_in = modules.get(&row.usage.tag).cloned();
        }
    }

    /// Sets the owner of each tag.
    pub fn take_owners(&mut self, owners: &FxHashMap<Tag, String>) {
        for row in &mut self.tags {
            row.owner = owners.get(&row.usage.tag).cloned();
        }
    }

    /// Records what the walk found; if there are no counters, makes the rows from it.
    pub fn take_totals(&mut self, totals: &Totals) {
        if self.counted {
            for row in &mut self.tags {
                row.found = totals.tag(row.usage.tag);
            }
            return;
        }
        self.total = TagUsage::default();
        self.tags.clear();
        for (&tag, &found) in &totals.tags {
            let mut usage = TagUsage {
                tag,
                ..TagUsage::default()
            };
            for (side, found) in [
                (&mut usage.nonpaged, found.nonpaged),
                (&mut usage.paged, found.paged),
            ] {
                side.outstanding = found.blocks;
                side.bytes = found.bytes;
            }
            self.total.nonpaged += usage.nonpaged;
            self.total.paged += usage.paged;
            let mut row = TagRow::new(usage, &self.descriptions);
            row.found = found;
            self.tags.push(row);
        }
        self.tags.sort_unstable_by_key(|row| row.usage.tag);
        self.drop_absent_binaries();
    }

    /// The row of a tag.
    pub fn tag(&self, tag: Tag) -> Option<&TagRow> {
        self.tags.iter().find(|row| row.usage.tag == tag)
    }

    /// The loaded module that contains an address.
    pub fn module_at(&self, va: Va) -> Option<&ModuleRow> {
        self.modules.iter().find(|m| !m.unloaded && m.contains(va))
    }
}

/// Bytes of both pools in use, from the source that the verdict uses.
pub fn pools_in_use(engine: &dyn Machine, index: Option<&Snapshot>) -> [Option<u64>; 2] {
    [Pool::Nonpaged, Pool::Paged].map(|pool| {
        let used = engine.pool_use(pool, index).used?;
        (used.bytes > 0 && !used.at_least).then_some(used.bytes)
    })
}

fn told(facts: &DumpFacts) -> Vec<String> {
    let mut out = vec![
        format!(
            "Windows {}.{}.{} x64",
            facts.version.0, facts.version.1, facts.build
        ),
        format!("{} dump", clean(&facts.format)),
        match facts.processors {
            1 => "1 CPU".into(),
            n => format!("{n} CPUs"),
        },
    ];
    out.extend(facts.bugcheck.map(|code| format!("bugcheck {code:#x}")));
    out.push(format!("symbols {}", clean(&facts.symbols.detail)));
    out
}

/// The modules that reference a tag, and the coverage of the search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Each occurrence.
    pub rows: Vec<ReferenceRow>,
    /// Image pages that could not be searched, of all modules.
    pub pages_missing: u64,
    /// Pages searched.
    pub pages_searched: u64,
    /// Modules that could not be searched at all.
    pub modules_missing: Vec<String>,
    /// Possible owners if no code references the tag, and what the search left out, as
    /// sentences.
    pub notes: Vec<String>,
    /// Why there was no search.
    pub failed: Option<String>,
}

/// One occurrence of a tag's bytes in an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceRow {
    /// The module's name.
    pub module: String,
    /// The address.
    pub va: Va,
    /// The section, when known.
    pub section: String,
    /// True in a code section.
    pub in_code: bool,
    /// The nearest symbol with its offset, or the offset in the module.
    pub symbol: String,
    /// The confidence in a word.
    pub confidence: &'static str,
    /// The function that receives the tag, or how the code uses it.
    pub api: String,
    /// The function that contains the reference.
    pub function: String,
    /// The reason for the confidence, as a sentence.
    pub reason: String,
    /// The module's file, version, company and link date.
    pub identity: String,
}

impl ReferenceRow {
    /// From the engine's answer; `module` is the module that contains the reference.
    pub fn new(reference: &Reference, module: Option<&ModuleFacts>) -> ReferenceRow {
        let base = module.map_or(Va(0), |m| m.base);
        let identity = module.map(ModuleFacts::identity);
        let identity = identity.filter(ModuleIdentity::is_telling);
        let symbol = match &reference.symbol {
            Some((name, 0)) => name.clone(),
            Some((name, distance)) => format!("{name}+{distance:#x}"),
            None => format!("+{:#x}", reference.va.0.wrapping_sub(base.0)),
        };
        let verdict = &reference.verdict;
        ReferenceRow {
            module: clean(&reference.module_name).into_owned(),
            va: reference.va,
            section: clean(reference.section.as_deref().unwrap_or("")).into_owned(),
            in_code: reference.in_code,
            symbol: clean(&symbol).into_owned(),
            confidence: verdict.confidence.map_or("?", |c| match c {
                Confidence::Certain => "certain",
                Confidence::Likely => "likely",
                Confidence::Coincidence => "chance",
            }),
            api: match (&verdict.api, verdict.role) {
                (Some(api), _) => clean(api).into_owned(),
                (None, Role::Unknown) => String::new(),
                (None, role) => role.word().replace('_', " "),
            },
            function: clean(verdict.function.as_deref().unwrap_or("")).into_owned(),
            reason: match &reference.source {
                Some((file, line)) => {
                    clean(&format!("{}. Source: {file}:{line}", verdict.reason)).into_owned()
                }
                None => clean(&verdict.reason).into_owned(),
            },
            identity: identity.map_or_else(String::new, |i| clean(&i.phrase()).into_owned()),
        }
    }

    /// The location as WinDbg writes it: `myfault+0x13aa`.
    pub fn place(&self) -> String {
        if self.symbol.starts_with('+') {
            format!("{}{}", self.module, self.symbol)
        } else {
            format!("{}!{}", self.module, self.symbol)
        }
    }

    /// The location and its use of the tag, as a sentence.
    pub fn detail(&self) -> Option<String> {
        let place = match self.function.is_empty() {
            true => self.place(),
            false => self.function.clone(),
        };
        let mut out = format!("{place}: {}", self.reason);
        if !self.identity.is_empty() {
            out += &format!(". {}", self.identity);
        }
        (!self.reason.is_empty()).then_some(out)
    }

    /// The kind of section, in one word.
    pub fn kind(&self) -> &'static str {
        match (self.in_code, self.section.is_empty()) {
            (true, _) => "code",
            (false, false) => "data",
            (false, true) => "?",
        }
    }
}

/// A range of memory as read, including unreadable parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// The first address.
    pub start: Va,
    /// Each byte; `None` if it cannot be read.
    pub bytes: Vec<Option<u8>>,
    /// Unreadable ranges: start and reason.
    pub holes: Vec<(Va, &'static str)>,
    /// Aligned qwords that point to something known: the qword's address and the target.
    pub pointers: Vec<(Va, String)>,
}

impl Bytes {
    /// The byte at an address; the outer `None` means outside the range.
    pub fn at(&self, va: Va) -> Option<Option<u8>> {
        let offset = va.0.checked_sub(self.start.0)?;
        self.bytes.get(usize::try_from(offset).ok()?).copied()
    }

    /// The qword at an address, if all of it is readable.
    pub fn qword(&self, va: Va) -> Option<u64> {
        let mut raw = [0; 8];
        for (i, to) in raw.iter_mut().enumerate() {
            *to = self.at(Va(va.0.checked_add(i as u64)?))??;
        }
        Some(u64::from_le_bytes(raw))
    }

    /// The target of the qword at an address.
    pub fn pointer(&self, va: Va) -> Option<&str> {
        let at = self.pointers.binary_search_by_key(&va, |p| p.0).ok()?;
        self.pointers.get(at).map(|p| p.1.as_str())
    }

    /// Why the page of an address cannot be read.
    pub fn hole(&self, va: Va) -> Option<&'static str> {
        if !matches!(self.at(va), Some(None)) {
            return None;
        }
        let after = self.holes.partition_point(|(start, _)| *start <= va);
        self.holes.get(after.checked_sub(1)?).map(|(_, why)| *why)
    }

    /// True if the range includes all of these addresses.
    pub fn covers(&self, first: Va, length: u64) -> bool {
        let end = self.start.0.saturating_add(self.bytes.len() as u64);
        first >= self.start && first.0.saturating_add(length) <= end
    }
}

/// A comparison of a tag's counters with the blocks found, ready to display.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// The sentences.
    pub sentences: Vec<String>,
    /// True if the walk is done and found everything that the kernel counts.
    pub whole: bool,
}

impl Covered {
    /// From the engine's answer.
    pub fn new(coverage: &Coverage) -> Covered {
        let fine = |side: &crate::analysis::coverage::Side| side.tracker.is_none() || side.agrees();
        Covered {
            sentences: coverage.sentences_with(&grouped),
            whole: coverage.complete && fine(&coverage.nonpaged) && fine(&coverage.paged),
        }
    }

    /// The same for a list that has fewer blocks than the walk found.
    #[must_use]
    pub fn listing(mut self, listed: u64, found: u64) -> Covered {
        if listed < found {
            self.whole = false;
            let (listed, found) = (grouped(listed), grouped(found));
            self.sentences.push(format!(
                "{listed} of the {found} blocks are listed: the memory limit was reached (see \
                    --memory)"
            ));
        }
        self
    }
}
