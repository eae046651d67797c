//! One dump, opened: everything that the command line and the screen ask is asked here.
//!
//! Opening reads a few megabytes whatever the dump's size: header, module list, counters
//! and trackers. The index is built afterwards, on request, in parallel.

mod cache;
mod contents;
mod diagnose;
mod memory;
mod objects;

pub use cache::{Answered, IndexCache};
pub use objects::USUAL_LOOK;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use thiserror::Error;

use crate::analysis::objects::types::Types;
use crate::analysis::references::{self, References, Targets};
use crate::analysis::verifier;
use crate::analysis::{Accounts, Coverage, Descriptions, TagSearch, VmReport};
use crate::dump::{Dump, DumpError};
use crate::kernel::sessions::{self, Sessions};
use crate::kernel::{Kernel, KernelError, vm};
use crate::memory::{AddressSpace, Va};
use crate::pool::big::BigTable;
use crate::pool::heap::{Area, Heaps, KnownTags, Parking};
use crate::pool::index::{HeapPool, IndexBuilder, Progress, Realm, Snapshot};
use crate::pool::legacy::Encoding;
use crate::pool::lookaside::Parked;
use crate::pool::page::{self, PageError, PoolPage};
use crate::pool::regions::{Regions, has_chains};
use crate::pool::tracker::{self, Trackers};
use crate::pool::{Tag, TagPattern};
use crate::pool::{session, session_tracker};
use crate::symbols::{LoadOptions, Located, Network, PdbId, Source, SymbolPath, WantedPdb};

/// How to open a dump.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where to look for PDBs.
    pub symbols: SymbolPath,
    /// Whether the servers on that path may be asked. Opening never asks them; see
    /// [`Engine::missing_pdb`].
    pub network: Network,
    /// Worker threads; 0 for one per core.
    pub threads: usize,
    /// A pooltag.txt to use over the built-in table.
    pub pooltag: Option<PathBuf>,
    /// Where finished indexes are kept.
    pub cache: IndexCache,
    /// Bytes of memory that the blocks of an index may take; `None` for three quarters of
    /// what is available, where that is known.
    pub memory: Option<u64>,
}

/// Why a dump can't be worked with.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file is no dump that can be read.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The file is cut short, and the kernel's own pages are among the missing.
    #[error(
        "the file is truncated: {missing} of {all} pages are missing, and those of the kernel are among them; copy it again, and compare the sizes"
    )]
    Truncated {
        /// Pages that the container names and the file is too short for.
        missing: u64,
        /// Pages that the container names.
        all: u64,
    },
    /// The file has holes, and the kernel is not to be found in the rest.
    #[error(
        "{why}; {holes} bytes of the file are holes, which read as zeros: if the copy was not finished, that is why"
    )]
    Holes {
        /// Bytes of the file's long holes.
        holes: u64,
        /// What was not found.
        why: KernelError,
    },
    /// The dump's kernel can't be found.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The user's pooltag.txt can't be used.
    #[error("{path}: {source}; leave --pooltag away to use the built-in table alone", path = path.display())]
    Pooltag {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The PDB that a module names, and whether it is on this machine.
#[derive(Clone, Debug)]
pub struct PdbStatus {
    /// The module's name, `nt` for the kernel.
    pub module: String,
    /// Which PDB, and where it may come from.
    pub wanted: WantedPdb,
    /// What the directories of the symbol path have.
    pub located: Located,
    /// True when built-in tables of this very kernel answer in its place.
    pub built_in: bool,
}

/// An open dump and all that is known of it without the index.
#[derive(Debug)]
pub struct Engine {
    dump: Arc<Dump>,
    kernel: Kernel,
    vm: VmReport,
    descriptions: Descriptions,
    trackers: Trackers,
    regions: Regions,
    options: Options,
    big: OnceLock<Arc<BigTable>>,
    parked: OnceLock<Arc<Parked>>,
    system_pool: OnceLock<Arc<Realm>>,
    session_pools: OnceLock<Vec<Arc<Realm>>>,
    heaps: OnceLock<Option<Arc<HeapPool>>>,
    sessions: OnceLock<Sessions>,
    session_trackers: OnceLock<Trackers>,
    object_types: OnceLock<Types>,
    targets: OnceLock<Targets>,
    tag_search: OnceLock<TagSearch>,
    attributions: diagnose::Attributions,
}

/// In a file that is cut short, that is why there is no kernel.
fn no_kernel(dump: &Dump, error: KernelError) -> OpenError {
    match dump.pages_cut_off() {
        0 => match dump.hole_bytes() {
            0 => error.into(),
            holes => OpenError::Holes { holes, why: error },
        },
        missing => OpenError::Truncated {
            missing,
            all: missing + dump.pages_present(),
        },
    }
}

/// Windows 8: the first with nonpaged pool that is not executable.
const FIRST_WITH_NX: u32 = 9200;

impl Engine {
    /// Opens a dump.
    ///
    /// # Errors
    /// An [`OpenError`] that says what the file is and what to do.
    pub fn open(path: &Path, options: &Options) -> Result<Engine, OpenError> {
        let descriptions = match &options.pooltag {
            Some(file) => Descriptions::with_file(file).map_err(|source| OpenError::Pooltag {
                path: file.clone(),
                source,
            })?,
            None => Descriptions::built_in(),
        };
        Engine::of(Arc::new(Dump::open(path)?), descriptions, options.clone())
    }

    /// The same dump opened again, with what the symbol path has now. Shares the file's
    /// mapping with this one, which stays as it is.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn reopen(&self) -> Result<Engine, OpenError> {
        let descriptions = self.descriptions.clone();
        Engine::of(Arc::clone(&self.dump), descriptions, self.options.clone())
    }

    fn of(
        dump: Arc<Dump>,
        descriptions: Descriptions,
        options: Options,
    ) -> Result<Engine, OpenError> {
        let kernel = Kernel::open(Arc::clone(&dump), &options.symbols, LoadOptions::default())
            .map_err(|error| no_kernel(&dump, error))?;
        let trackers = tracker::read(&kernel);
        Ok(Engine {
            vm: VmReport::judge(&vm::read(&kernel), dump.header(), &trackers),
            descriptions,
            trackers,
            regions: Regions::find(&kernel),
            options,
            big: OnceLock::new(),
            parked: OnceLock::new(),
            system_pool: OnceLock::new(),
            session_pools: OnceLock::new(),
            heaps: OnceLock::new(),
            sessions: OnceLock::new(),
            session_trackers: OnceLock::new(),
            object_types: OnceLock::new(),
            targets: OnceLock::new(),
            tag_search: OnceLock::new(),
            attributions: diagnose::Attributions::default(),
            dump,
            kernel,
        })
    }

    /// The container.
    pub fn dump(&self) -> &Dump {
        &self.dump
    }

    /// The kernel.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The `!vm` summary, judged.
    pub fn vm(&self) -> &VmReport {
        &self.vm
    }

    /// What tags are for.
    pub fn descriptions(&self) -> &Descriptions {
        &self.descriptions
    }

    /// Everything the user should know before trusting an answer, as sentences.
    pub fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        let header = self.dump.header();
        if self.dump.pages_cut_off() > 0 {
            out.push(format!(
                "the file is truncated: {} of {} pages are missing, those of the highest addresses",
                self.dump.pages_cut_off(),
                self.dump.pages_cut_off() + self.dump.pages_present()
            ));
        }
        if header.is_insufficient() {
            out.push(
                "Windows had too little room for the dump and says that it is incomplete".into(),
            );
        }
        if header.is_live() {
            out.push(
                "a live dump: memory changed while it was written, so counters may disagree".into(),
            );
        }
        out.extend(self.dump.failure());
        out.extend(self.kernel.notes.iter().cloned());
        out.extend(self.symbol_warning());
        out.extend(self.trackers.notes.iter().cloned());
        out.extend(self.vm.warnings());
        out.extend(verifier::note(&self.kernel));
        out
    }

    fn symbol_warning(&self) -> Option<String> {
        let Source::Layout { build } = self.kernel.symbol_source() else {
            return None;
        };
        let wanted = self.missing_pdb()?;
        Some(format!(
            "{} was not found, and this kernel is not among the built-in ones: the layouts of build {build} are used, with no addresses of symbols; `poolscope symbols` says what to fetch",
            wanted.id
        ))
    }

    /// The kernel's PDB, when neither it nor built-in tables of this very kernel are at
    /// hand. It can be downloaded or waited for in a thread of its own; afterwards the
    /// dump has to be opened again, see [`Engine::reopen`].
    pub fn missing_pdb(&self) -> Option<WantedPdb> {
        let id = self.kernel.pdb.as_ref()?;
        matches!(self.kernel.symbol_source(), Source::Layout { .. }).then(|| self.wanted(id))
    }

    fn wanted(&self, id: &PdbId) -> WantedPdb {
        WantedPdb {
            id: id.clone(),
            path: self.options.symbols.clone(),
            network: self.options.network,
        }
    }

    /// The PDBs of the kernel, or of all loaded modules that name one, and which of them
    /// are on this machine. Looks at files, so not for a thread that draws.
    pub fn pdbs(&self, all: bool) -> Vec<PdbStatus> {
        let loaded = self.kernel.modules.iter().filter(|m| !m.unloaded);
        let wanted = loaded.filter(|m| all || m.is_kernel);
        wanted
            .filter_map(|module| {
                let id = match module.base == self.kernel.base {
                    true => self.kernel.pdb.as_ref(),
                    false => module.pdb(),
                };
                let wanted = self.wanted(id?);
                let tables = matches!(self.kernel.symbol_source(), Source::BuiltIn { .. });
                Some(PdbStatus {
                    module: module.name(),
                    located: wanted.locate(),
                    wanted,
                    built_in: module.is_kernel && tables,
                })
            })
            .collect()
    }

    /// Which modules mention a tag, and what their code does with it.
    pub fn references(&self, tag: Tag) -> References {
        self.references_while(tag, &|| true).unwrap_or_default()
    }

    /// The same, given up with `None` as soon as `wanted` says no.
    pub fn references_while(&self, tag: Tag, wanted: &dyn Fn() -> bool) -> Option<References> {
        let all = self.tag_search.get();
        let (kernel, sessions) = (&self.kernel, self.sessions());
        references::find_while(kernel, sessions, self.targets(), all, tag, wanted)
    }

    /// The functions that code may call, by address; read on first use.
    fn targets(&self) -> &Targets {
        self.targets
            .get_or_init(|| Targets::of(&self.kernel, self.sessions()))
    }

    /// Where all tags of the trackers and of the descriptions are in the images: one pass
    /// over all of them in parallel, on first use. `None` as soon as `wanted` says no, or
    /// when the system refuses to start the workers.
    pub fn tag_search(&self, wanted: &(dyn Fn() -> bool + Sync)) -> Option<&TagSearch> {
        match self.tag_search.get() {
            Some(done) => Some(done),
            None => self.tag_search_on(&self.thread_pool().ok()?, wanted),
        }
    }

    /// The same on these workers.
    pub fn tag_search_on(
        &self,
        workers: &rayon::ThreadPool,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Option<&TagSearch> {
        if let Some(done) = self.tag_search.get() {
            return Some(done);
        }
        let tags = self.trackers.rows.iter().map(|usage| usage.tag);
        let tags: Vec<Tag> = tags.chain(self.descriptions.tags()).collect();
        let (kernel, sessions) = (&self.kernel, self.sessions());
        let search = workers.install(|| TagSearch::run(kernel, sessions, tags, wanted))?;
        Some(self.tag_search.get_or_init(|| search))
    }

    /// The result of that pass, where it has been made.
    pub fn tags_found(&self) -> Option<&TagSearch> {
        self.tag_search.get()
    }

    /// The trackers against the blocks found, for one tag.
    pub fn coverage(&self, tag: Tag, index: &Snapshot) -> Coverage {
        let coverage = Coverage::of(tag, &self.accounts(index), index);
        coverage.with_holes(|| self.dump.hole_bytes())
    }

    /// The trackers against the blocks found, for all tags that match.
    pub fn coverage_of(&self, pattern: &TagPattern, index: &Snapshot) -> Coverage {
        let coverage = Coverage::matching(pattern, &self.accounts(index), index);
        coverage.with_holes(|| self.dump.hole_bytes())
    }

    /// The trackers against the blocks found, for the whole pool.
    pub fn total_coverage(&self, index: &Snapshot) -> Coverage {
        let coverage = Coverage::total(&self.accounts(index), index);
        coverage.with_holes(|| self.dump.hole_bytes())
    }

    /// The accounts to hold an index against; those of sessions only where it has blocks
    /// of theirs.
    fn accounts(&self, index: &Snapshot) -> Accounts<'_> {
        let sessions = index.has_sessions().then(|| self.session_trackers());
        Accounts {
            system: &self.trackers,
            sessions,
        }
    }

    /// The accounts per tag.
    pub fn trackers(&self) -> &Trackers {
        &self.trackers
    }

    /// The terminal sessions; found on first use.
    pub fn sessions(&self) -> &Sessions {
        self.sessions.get_or_init(|| sessions::find(&self.kernel))
    }

    /// The address space to read an address in: the system's, or that of the first
    /// session that has it mapped (win32k and session pool are in no other).
    pub fn space_of(&self, va: Va) -> &AddressSpace {
        let mapped = |space: &&AddressSpace| space.page(va.page()).is_ok();
        if mapped(&&self.kernel.space) || !va.is_kernel() {
            return &self.kernel.space;
        }
        let mut spaces = self.sessions().sessions.iter().map(|s| &s.space);
        spaces.find(mapped).unwrap_or(&self.kernel.space)
    }

    /// The address space to read an address in, for a block of a session's pool: that
    /// session's.
    pub fn space_in(&self, session: Option<u32>, va: Va) -> &AddressSpace {
        if session.is_none() {
            return self.space_of(va);
        }
        let own = self.session_pools().iter().find(|r| r.session == session);
        own.map_or_else(|| self.space_of(va), |realm| &realm.space)
    }

    /// The accounts per tag of session pool, all sessions together; read on first use.
    pub fn session_trackers(&self) -> &Trackers {
        self.session_trackers
            .get_or_init(|| session_tracker::read(&self.kernel, self.sessions()))
    }

    /// Where the pools are.
    pub fn regions(&self) -> &Regions {
        &self.regions
    }

    /// Allocations of whole pages; read on first use.
    pub fn big(&self) -> &Arc<BigTable> {
        self.big
            .get_or_init(|| Arc::new(BigTable::read(&self.kernel, &self.regions)))
    }

    /// Where heaps can be.
    fn heap_areas(&self) -> Vec<Area> {
        let regions = self.regions.regions.iter();
        regions
            .map(|r| Area {
                start: r.start,
                end: r.end,
                kind: r.kind,
            })
            .collect()
    }

    /// The segment heaps of the pool, where it runs on them; found on first use.
    pub fn heaps(&self) -> Option<Arc<HeapPool>> {
        let find = || {
            let mut heaps = Heaps::find(&self.kernel, &self.heap_areas())?;
            heaps.tags = KnownTags::of(&self.trackers);
            let parking = Parking::read(&self.kernel, &heaps);
            Some(Arc::new(HeapPool { heaps, parking }))
        };
        self.heaps.get_or_init(find).clone()
    }

    fn parked(&self) -> &Arc<Parked> {
        self.parked
            .get_or_init(|| Arc::new(Parked::read(&self.kernel)))
    }

    /// The pools of the sessions; found on first use.
    pub fn session_pools(&self) -> &[Arc<Realm>] {
        self.session_pools
            .get_or_init(|| session::pools(&self.kernel, self.sessions()))
    }

    /// The pool that all of the system shares.
    pub fn system_pool(&self) -> &Arc<Realm> {
        self.system_pool
            .get_or_init(|| Arc::new(self.find_system_pool()))
    }

    fn find_system_pool(&self) -> Realm {
        let mut notes = self.regions.notes.clone();
        let heaps = self.heaps();
        if heaps.is_none() && !has_chains(&self.kernel) {
            notes.push(
                "the segment heaps of the pool were not found: its small blocks are missing".into(),
            );
        }
        Realm {
            session: None,
            space: self.kernel.space.clone(),
            regions: self.regions.regions.clone(),
            special: self.regions.special.clone(),
            big: Arc::clone(self.big()),
            parked: Arc::clone(self.parked()),
            heaps,
            tells_nx: self.kernel.build >= FIRST_WITH_NX,
            notes,
        }
    }

    /// Plans a walk over the whole pool, to be run and looked at while it runs.
    pub fn index_builder(&self, progress: Arc<Progress>) -> IndexBuilder {
        let mut realms = vec![Arc::clone(self.system_pool())];
        realms.extend(self.session_pools().iter().cloned());
        let encoding = Encoding::of_build(self.kernel.build);
        IndexBuilder::plan(encoding, realms, progress).limited_to(self.memory_limit())
    }

    /// Bytes of memory that the blocks of an index may take.
    fn memory_limit(&self) -> u64 {
        let asked = self.options.memory;
        asked.or_else(memory::default_limit).unwrap_or(u64::MAX)
    }

    /// Worker threads for the walk: as many as were asked for, or one per core.
    ///
    /// # Errors
    /// When the system refuses to start them.
    pub fn thread_pool(&self) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
        threads(self.options.threads)
    }

    /// The same for a walk behind a screen, which keeps a core for itself unless a number
    /// of threads was asked for: keys are answered while the pool is walked.
    ///
    /// # Errors
    /// When the system refuses to start them.
    pub fn background_pool(&self) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        match self.options.threads {
            0 => threads(cores.saturating_sub(1).max(1)),
            asked => threads(asked),
        }
    }

    /// Walks the whole pool and returns when it is done or cancelled.
    ///
    /// # Errors
    /// When the system refuses to start the workers.
    pub fn index(&self, progress: Arc<Progress>) -> Result<Snapshot, rayon::ThreadPoolBuildError> {
        let builder = self.index_builder(progress);
        builder.run(&self.thread_pool()?);
        Ok(builder.snapshot())
    }

    /// The page of pool that holds an address, block by block.
    ///
    /// # Errors
    /// A [`PageError`].
    pub fn pool_page(&self, address: Va) -> Result<PoolPage, PageError> {
        let encoding = Encoding::of_build(self.kernel.build);
        page::read(encoding, self.pool_of(address), address)
    }

    /// The pool that an address is in: the system's, or that of the first session that
    /// has it in its own.
    fn pool_of(&self, address: Va) -> &Realm {
        let system = self.system_pool();
        if system.holds(address) || system.space.page(address.page()).is_ok() {
            return system;
        }
        let mut sessions = self.session_pools().iter();
        sessions.find(|r| r.holds(address)).unwrap_or(system)
    }
}

fn threads(count: usize) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(|i| format!("pool-{i}"))
        .build()
}
