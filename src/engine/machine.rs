//! The interface for commands and screens, implemented by dumps and evidence files.

use std::fmt::Debug;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::analysis::attribution::Attribution;
use crate::analysis::attribution::drivers::Drivers;
use crate::analysis::census::{Census, Progress as CensusProgress, Question};
use crate::analysis::objects::Objects;
use crate::analysis::references::References;
use crate::analysis::{Accounts, Coverage, Descriptions, VmReport};
use crate::memory::Va;
use crate::pool::index::{IndexBuilder, Progress, Snapshot};
use crate::pool::page::{PageError, PoolPage};
use crate::pool::tracker::Trackers;
use crate::pool::{Tag, TagPattern};
use crate::symbols::WantedPdb;
use crate::system::threads::NoThreads;

use super::{
    Allocs, Answered, Attributed, DumpFacts, Engine, Info, ModuleFacts, Modules, NoAccounts,
    OpenError, PdbStatus, PoolUsed, Selection, Stacks, StacksOf, TagReferences,
};

/// A check that returns false once the answer is no longer wanted.
pub type Wanted<'a> = &'a (dyn Fn() -> bool + Sync);

/// A machine, from a dump or an evidence file.
pub trait Machine: Send + Sync + Debug {
    /// The identity of the dump and its machine.
    fn facts(&self) -> DumpFacts;
    /// The type and contents of the dump.
    fn info(&self) -> Info;
    /// What the user must know before trusting an answer, as sentences.
    fn warnings(&self) -> Vec<String>;
    /// The reason why the file can't be read any more, if that happened after it was opened.
    fn failure(&self) -> Option<String>;
    /// A hash of the dump's contents; `None` if the file could not be read for it.
    fn identity(&self) -> Option<u128>;
    /// The `!vm` summary with plausibility checks.
    fn vm(&self) -> &VmReport;
    /// The tag lists.
    fn descriptions(&self) -> &Descriptions;
    /// The trackers.
    fn trackers(&self) -> &Trackers;
    /// The trackers of session pool.
    fn session_trackers(&self) -> &Trackers;
    /// Number of bytes in holes of the file.
    fn hole_bytes(&self) -> u64;
    /// The address range of the big page table.
    fn big_table(&self) -> Option<(Va, Va)>;
    /// All modules in load order, the kernel first; references contain indexes in this list.
    fn module_list(&self) -> Vec<ModuleFacts>;
    /// The references to a tag. `None` if cancelled by `wanted`.
    fn references_while(&self, tag: Tag, wanted: Wanted<'_>) -> Option<References>;
    /// The modules whose code or structures use each tag, the likeliest owner first. `None` if
    /// cancelled by `wanted`.
    fn referenced_in(
        &self,
        workers: &rayon::ThreadPool,
        wanted: Wanted<'_>,
    ) -> Option<FxHashMap<Tag, Vec<String>>>;
    /// A census of a tag's blocks. `None` if cancelled.
    ///
    /// # Errors
    /// The reason why there is no answer, as a sentence.
    fn census(
        &self,
        index: &Snapshot,
        question: Question,
        wanted: Wanted<'_>,
        progress: &CensusProgress,
    ) -> Result<Option<Census>, String>;
    /// The kernel objects of a tag; at most `most` blocks are examined, 0 for all. `None` if
    /// cancelled.
    ///
    /// # Errors
    /// The reason why there is no answer, as a sentence.
    fn objects_of(
        &self,
        index: &Snapshot,
        tag: Tag,
        most: u64,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Option<Objects>, String>;
    /// The stacks recorded for a tag's live blocks, or for an address. `None` if cancelled.
    ///
    /// # Errors
    /// The reason why there is no answer, as a sentence.
    fn stacks_of(
        &self,
        index: Option<&Snapshot>,
        of: &StacksOf,
        wanted: Wanted<'_>,
    ) -> Result<Option<Stacks>, String>;
    /// The tag of an object type, by the type's name.
    fn object_tag(&self, name: &str) -> Option<Tag>;
    /// Pool use by driver. With a complete index, block contents are used too.
    ///
    /// # Errors
    /// The reason why there is no answer, as a sentence.
    fn by_driver(&self, index: Option<&Snapshot>) -> Result<Drivers, String>;
    /// The owner of a tag if it is already determined; for screens, which do not wait.
    fn attribution_made(&self, tag: Tag) -> Option<Arc<Attribution>>;
    /// The owners of all tags in use; `index` should be complete, so that block contents are
    /// used. `None` if cancelled.
    fn attributions(
        &self,
        workers: &rayon::ThreadPool,
        index: Option<&Snapshot>,
        wanted: Wanted<'_>,
    ) -> Option<Attributed>;
    /// The owner of a tag without a pool walk; block contents are used if an index is available.
    fn attribution_of(&self, tag: Tag) -> Option<Arc<Attribution>>;
    /// The PDBs of the kernel or of all modules, and which of them are on this machine.
    fn pdbs(&self, all: bool) -> Vec<PdbStatus>;
    /// The kernel's PDB if it is needed and missing.
    fn missing_pdb(&self) -> Option<WantedPdb>;
    /// Opens the same dump again, with the PDBs that the symbol path now has.
    ///
    /// # Errors
    /// As [`Engine::open`].
    fn reopened(&self) -> Result<Arc<dyn Machine>, OpenError>;
    /// The cached index, if there is one.
    fn kept_index(&self, wanted: Wanted<'_>) -> Answered;
    /// Caches an index. On failure returns the reason as a sentence.
    fn keep_index(&self, index: &Snapshot) -> Option<String>;
    /// Plans a pool walk; `None` if there is no memory to walk.
    fn walk(&self, progress: Arc<Progress>) -> Option<IndexBuilder>;
    /// Worker threads: the configured number, or one per core.
    ///
    /// # Errors
    /// If the threads can't be started.
    fn workers(&self) -> Result<rayon::ThreadPool, NoThreads>;
    /// Worker threads for background work.
    ///
    /// # Errors
    /// If the threads can't be started.
    fn background_workers(&self) -> Result<rayon::ThreadPool, NoThreads>;
    /// The pool page that contains an address.
    ///
    /// # Errors
    /// A [`PageError`].
    fn page(&self, address: Va) -> Result<PoolPage, PageError>;
    /// Reads memory within one page.
    ///
    /// # Errors
    /// The reason why it can't be read, as a short phrase.
    fn read(&self, session: Option<u32>, va: Va, out: &mut [u8]) -> Result<(), &'static str>;
    /// The module or pool block that contains a kernel address.
    fn points_at(&self, va: Va) -> Option<String>;
    /// A report that was stored in the evidence file: `diagnose` in the named format. `None` if
    /// it must be computed.
    fn kept_answer(&self, answer: &str, format: &str) -> Option<&str>;
    /// The dump itself, for questions that an evidence file can't answer; `None` for an evidence
    /// file.
    fn engine(&self) -> Option<&Engine>;
}

/// Answers that are derived from others.
impl dyn Machine + '_ {
    /// The kernel counters to compare an index with; session counters only if the index has
    /// session blocks.
    fn accounts(&self, index: &Snapshot) -> Accounts<'_> {
        let sessions = index.has_sessions().then(|| self.session_trackers());
        Accounts {
            system: self.trackers(),
            sessions,
        }
    }

    /// The coverage of one tag.
    pub fn coverage(&self, tag: Tag, index: &Snapshot) -> Coverage {
        let coverage = Coverage::of(tag, &self.accounts(index), index);
        coverage.with_holes(|| self.hole_bytes())
    }

    /// The coverage of all tags that match.
    pub fn coverage_of(&self, pattern: &TagPattern, index: &Snapshot) -> Coverage {
        let coverage = Coverage::matching(pattern, &self.accounts(index), index);
        coverage.with_holes(|| self.hole_bytes())
    }

    /// The allocations of the tags that match a pattern; see [`Engine::allocs`].
    pub fn allocs<'a>(
        &self,
        index: &'a Snapshot,
        pattern: &'a TagPattern,
        heuristic: bool,
    ) -> Allocs<'a> {
        let coverage = self.coverage_of(pattern, index);
        let table = self.big_table();
        Allocs::of(
            index,
            pattern,
            heuristic,
            coverage,
            table,
            self.info().regions,
        )
    }

    /// The trackers, selected and sorted.
    ///
    /// # Errors
    /// If there are none.
    pub fn pool_used(&self, selection: &Selection) -> Result<PoolUsed, NoAccounts> {
        let trackers = match selection.session {
            true => self.session_trackers(),
            false => self.trackers(),
        };
        let mut used = PoolUsed::of(trackers, self.descriptions(), selection)?;
        // The owner of one tag is computed at once; for all tags, only known owners are shown.
        let one = selection.pattern.exact();
        for row in &mut used.rows {
            row.attribution = match one {
                Some(tag) => self.attribution_of(tag),
                None => self
                    .engine()
                    .and_then(|e| e.attribution_made(row.usage.tag)),
            };
        }
        Ok(used)
    }

    /// All modules sorted by address, unloaded ones last; or those that contain an address.
    pub fn modules(&self, address: Option<Va>) -> Modules {
        Modules::of(self.module_list(), address)
    }

    /// The modules that reference a tag, with the addresses of their images.
    pub fn tag_references(&self, tag: Tag) -> TagReferences {
        let found = self.references_while(tag, &|| true).unwrap_or_default();
        TagReferences {
            attribution: self.attribution_of(tag),
            ..TagReferences::of(tag, found, &self.module_list())
        }
    }

    /// The tag as typed, or the tag of the dump that is meant
    /// ([`TagPattern::meant_among`]).
    pub fn tag_as_typed(&self, tag: Tag, pattern: &TagPattern) -> Tag {
        let rows = self.trackers().rows.iter().map(|row| row.tag);
        pattern.meant_among(rows).unwrap_or(tag)
    }

    /// The loaded module that contains an address.
    pub fn module_at(&self, va: Va) -> Option<ModuleFacts> {
        let mut list = self.module_list().into_iter();
        list.find(|m| !m.unloaded && m.contains(va))
    }
}

impl Engine {
    /// The trackers, selected and sorted.
    ///
    /// # Errors
    /// If the dump has none.
    pub fn pool_used(&self, selection: &Selection) -> Result<PoolUsed, NoAccounts> {
        let machine: &dyn Machine = self;
        machine.pool_used(selection)
    }
}

impl Machine for Engine {
    fn facts(&self) -> DumpFacts {
        self.facts()
    }

    fn info(&self) -> Info {
        self.info()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings()
    }

    fn failure(&self) -> Option<String> {
        self.dump().failure()
    }

    fn identity(&self) -> Option<u128> {
        self.dump().identity()
    }

    fn vm(&self) -> &VmReport {
        self.vm()
    }

    fn descriptions(&self) -> &Descriptions {
        self.descriptions()
    }

    fn trackers(&self) -> &Trackers {
        self.trackers()
    }

    fn session_trackers(&self) -> &Trackers {
        self.session_trackers()
    }

    fn hole_bytes(&self) -> u64 {
        self.dump().hole_bytes()
    }

    fn big_table(&self) -> Option<(Va, Va)> {
        self.big().table
    }

    fn module_list(&self) -> Vec<ModuleFacts> {
        self.module_list()
    }

    fn references_while(&self, tag: Tag, wanted: Wanted<'_>) -> Option<References> {
        let mut found = self.references_while(tag, wanted)?;
        self.name_places(&mut found);
        Some(found)
    }

    fn referenced_in(
        &self,
        workers: &rayon::ThreadPool,
        wanted: Wanted<'_>,
    ) -> Option<FxHashMap<Tag, Vec<String>>> {
        let survey = self.all_references_on(workers, wanted)?;
        Some(self.users_of_tags(survey))
    }

    fn census(
        &self,
        index: &Snapshot,
        question: Question,
        wanted: Wanted<'_>,
        progress: &CensusProgress,
    ) -> Result<Option<Census>, String> {
        let census = self.contents(index, question, wanted, progress);
        census.map_err(|e| e.to_string())
    }

    fn objects_of(
        &self,
        index: &Snapshot,
        tag: Tag,
        most: u64,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Option<Objects>, String> {
        Ok(self.objects(index, tag, most, wanted))
    }

    fn stacks_of(
        &self,
        index: Option<&Snapshot>,
        of: &StacksOf,
        wanted: Wanted<'_>,
    ) -> Result<Option<Stacks>, String> {
        Ok(self.stacks(index, of, wanted))
    }

    fn object_tag(&self, name: &str) -> Option<Tag> {
        self.object_tag(name)
    }

    fn by_driver(&self, index: Option<&Snapshot>) -> Result<Drivers, String> {
        self.drivers(index).map_err(|e| e.to_string())
    }

    fn attribution_made(&self, tag: Tag) -> Option<Arc<Attribution>> {
        self.attribution_made(tag)
    }

    fn attributions(
        &self,
        workers: &rayon::ThreadPool,
        index: Option<&Snapshot>,
        wanted: Wanted<'_>,
    ) -> Option<Attributed> {
        self.all_attributions(workers, index, wanted)
    }

    fn attribution_of(&self, tag: Tag) -> Option<Arc<Attribution>> {
        Some(self.attribution_at_hand(tag))
    }

    fn pdbs(&self, all: bool) -> Vec<PdbStatus> {
        self.pdbs(all)
    }

    fn missing_pdb(&self) -> Option<WantedPdb> {
        self.missing_pdb()
    }

    fn reopened(&self) -> Result<Arc<dyn Machine>, OpenError> {
        Ok(Arc::new(self.reopen()?))
    }

    fn kept_index(&self, wanted: Wanted<'_>) -> Answered {
        self.kept_index(wanted)
    }

    fn keep_index(&self, index: &Snapshot) -> Option<String> {
        self.keep_index(index)
    }

    fn walk(&self, progress: Arc<Progress>) -> Option<IndexBuilder> {
        Some(self.index_builder(progress))
    }

    fn workers(&self) -> Result<rayon::ThreadPool, NoThreads> {
        self.thread_pool()
    }

    fn background_workers(&self) -> Result<rayon::ThreadPool, NoThreads> {
        self.background_pool()
    }

    fn page(&self, address: Va) -> Result<PoolPage, PageError> {
        self.pool_page(address)
    }

    fn read(&self, session: Option<u32>, va: Va, out: &mut [u8]) -> Result<(), &'static str> {
        let space = self.space_in(session, va);
        space.read(va, out).map_err(|fault| fault.reason())
    }

    fn points_at(&self, va: Va) -> Option<String> {
        self.points_at(va)
    }

    fn kept_answer(&self, _: &str, _: &str) -> Option<&str> {
        None
    }

    fn engine(&self) -> Option<&Engine> {
        Some(self)
    }
}
