//! The questions of commands and screens, answered by a dump or by an evidence file.

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

use super::{
    Allocs, Answered, Attributed, DumpFacts, Engine, Info, ModuleFacts, Modules, NoAccounts,
    OpenError, PdbStatus, PoolUsed, Selection, Stacks, StacksOf, TagReferences,
};

/// A check that an answer is still wanted.
pub type Wanted<'a> = &'a (dyn Fn() -> bool + Sync);

/// A machine, as far as it was kept.
pub trait Machine: Send + Sync + Debug {
    /// Which dump, of which machine.
    fn facts(&self) -> DumpFacts;
    /// What kind of dump, and what it holds.
    fn info(&self) -> Info;
    /// What to know before an answer is trusted, as sentences.
    fn warnings(&self) -> Vec<String>;
    /// Why the file can't be read any more, where that happened while it was open.
    fn failure(&self) -> Option<String>;
    /// A hash of the dump's contents; `None` when the file could not be read for it.
    fn identity(&self) -> Option<u128>;
    /// The `!vm` summary, judged.
    fn vm(&self) -> &VmReport;
    /// What tags are for.
    fn descriptions(&self) -> &Descriptions;
    /// The accounts per tag.
    fn trackers(&self) -> &Trackers;
    /// The accounts per tag of session pool.
    fn session_trackers(&self) -> &Trackers;
    /// Bytes of the file's long holes.
    fn hole_bytes(&self) -> u64;
    /// Where the table of large allocations is.
    fn big_table(&self) -> Option<(Va, Va)>;
    /// All modules in the order in which they were loaded, the kernel first; references
    /// name them by their place here.
    fn module_list(&self) -> Vec<ModuleFacts>;
    /// The references to a tag. `None` as soon as `wanted` says no.
    fn references_while(&self, tag: Tag, wanted: Wanted<'_>) -> Option<References>;
    /// The modules whose code or structures use each tag, the likeliest owner first. `None`
    /// as soon as `wanted` says no.
    fn referenced_in(
        &self,
        workers: &rayon::ThreadPool,
        wanted: Wanted<'_>,
    ) -> Option<FxHashMap<Tag, Vec<String>>>;
    /// A census of a tag's blocks. `None` when cancelled.
    ///
    /// # Errors
    /// Why there is none, as a sentence.
    fn census(
        &self,
        index: &Snapshot,
        question: Question,
        wanted: Wanted<'_>,
        progress: &CensusProgress,
    ) -> Result<Option<Census>, String>;
    /// The kernel objects of a tag; at most `most` blocks are examined, 0 for all. `None` when
    /// cancelled.
    ///
    /// # Errors
    /// Why there is no answer, as a sentence.
    fn objects_of(
        &self,
        index: &Snapshot,
        tag: Tag,
        most: u64,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Option<Objects>, String>;
    /// The stacks recorded for a tag's live blocks, or for an address. `None` when cancelled.
    ///
    /// # Errors
    /// Why there is no answer, as a sentence.
    fn stacks_of(
        &self,
        index: Option<&Snapshot>,
        of: &StacksOf,
        wanted: Wanted<'_>,
    ) -> Result<Option<Stacks>, String>;
    /// The tag whose blocks hold objects of a type.
    fn object_tag(&self, name: &str) -> Option<Tag>;
    /// Pool by driver. With a complete index the blocks' contents count too.
    ///
    /// # Errors
    /// Why there is no answer, as a sentence.
    fn by_driver(&self, index: Option<&Snapshot>) -> Result<Drivers, String>;
    /// Whose a tag is, as far as that has been made: for screens, which do not wait.
    fn attribution_made(&self, tag: Tag) -> Option<Arc<Attribution>>;
    /// The owners of all tags in use; `index` should be complete, so that contents count. `None`
    /// when cancelled.
    fn attributions(
        &self,
        workers: &rayon::ThreadPool,
        index: Option<&Snapshot>,
        wanted: Wanted<'_>,
    ) -> Option<Attributed>;
    /// The owner of a tag, as far as known without a pool walk: by block contents too where an
    /// index is at hand.
    fn attribution_of(&self, tag: Tag) -> Option<Arc<Attribution>>;
    /// The PDBs of the kernel or of all modules, and which are on this machine.
    fn pdbs(&self, all: bool) -> Vec<PdbStatus>;
    /// The kernel's PDB, where one is needed.
    fn missing_pdb(&self) -> Option<WantedPdb>;
    /// The same opened again, with what the symbol path has now.
    ///
    /// # Errors
    /// As [`Engine::open`].
    fn reopened(&self) -> Result<Arc<dyn Machine>, OpenError>;
    /// The index, if it was kept.
    fn kept_index(&self, wanted: Wanted<'_>) -> Answered;
    /// Keeps an index. `Some` sentence when it is not kept and should have been.
    fn keep_index(&self, index: &Snapshot) -> Option<String>;
    /// Plans a walk over the pool; `None` where there is no memory to walk.
    fn walk(&self, progress: Arc<Progress>) -> Option<IndexBuilder>;
    /// Worker threads: as many as were asked for, or one per core.
    ///
    /// # Errors
    /// When the system refuses to start them.
    fn workers(&self) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError>;
    /// The same for background work.
    ///
    /// # Errors
    /// When the system refuses to start them.
    fn background_workers(&self) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError>;
    /// The page of pool that holds an address.
    ///
    /// # Errors
    /// A [`PageError`].
    fn page(&self, address: Va) -> Result<PoolPage, PageError>;
    /// Reads memory within one page.
    ///
    /// # Errors
    /// Why it can't be read, in a few words.
    fn read(&self, session: Option<u32>, va: Va, out: &mut [u8]) -> Result<(), &'static str>;
    /// What an address of the kernel's half is in: a module, or a block of pool.
    fn points_at(&self, va: Va) -> Option<String>;
    /// An answer as it was written when the evidence was made: `diagnose` in a format's
    /// word. `None` where it is to be made now.
    fn kept_answer(&self, answer: &str, format: &str) -> Option<&str>;
    /// The dump itself, for questions that only a dump answers.
    fn engine(&self) -> Option<&Engine>;
}

/// Answers that are made of others.
impl dyn Machine + '_ {
    /// The kernel counters to compare an index with; those of sessions only if it has their blocks.
    fn accounts(&self, index: &Snapshot) -> Accounts<'_> {
        let sessions = index.has_sessions().then(|| self.session_trackers());
        Accounts {
            system: self.trackers(),
            sessions,
        }
    }

    /// The trackers against the blocks found, for one tag.
    pub fn coverage(&self, tag: Tag, index: &Snapshot) -> Coverage {
        let coverage = Coverage::of(tag, &self.accounts(index), index);
        coverage.with_holes(|| self.hole_bytes())
    }

    /// The trackers against the blocks found, for all tags that match.
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

    /// The accounts as selected.
    ///
    /// # Errors
    /// When there are none.
    pub fn pool_used(&self, selection: &Selection) -> Result<PoolUsed, NoAccounts> {
        let trackers = match selection.session {
            true => self.session_trackers(),
            false => self.trackers(),
        };
        let mut used = PoolUsed::of(trackers, self.descriptions(), selection)?;
        // Of one tag it takes a moment; of all it is shown where it has been made.
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

    /// All modules by address, the unloaded ones last; or those that hold an address.
    pub fn modules(&self, address: Option<Va>) -> Modules {
        Modules::of(self.module_list(), address)
    }

    /// Which modules reference a tag, with the addresses of their images.
    pub fn tag_references(&self, tag: Tag) -> TagReferences {
        let found = self.references_while(tag, &|| true).unwrap_or_default();
        TagReferences {
            attribution: self.attribution_of(tag),
            ..TagReferences::of(tag, found, &self.module_list())
        }
    }

    /// The tag as typed, or the one of the dump that differs only in bytes of zero at its
    /// end, which are shown as dots and are not typed.
    pub fn tag_as_typed(&self, tag: Tag, pattern: &TagPattern) -> Tag {
        let mut rows = self.trackers().rows.iter().map(|row| row.tag);
        if rows.clone().any(|known| pattern.matches(known)) {
            return tag;
        }
        let blanks = |tag: Tag| tag.bytes().map(|b| if b == 0 { b' ' } else { b });
        rows.find(|known| blanks(*known) == tag.bytes())
            .unwrap_or(tag)
    }

    /// The loaded module that holds an address.
    pub fn module_at(&self, va: Va) -> Option<ModuleFacts> {
        let mut list = self.module_list().into_iter();
        list.find(|m| !m.unloaded && m.contains(va))
    }
}

impl Engine {
    /// The accounts as selected.
    ///
    /// # Errors
    /// When the dump has none.
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

    fn workers(&self) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
        self.thread_pool()
    }

    fn background_workers(&self) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
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
