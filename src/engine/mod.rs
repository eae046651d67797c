//! An open dump, and the answers to the questions of the command line and the screens.
//!
//! Opening reads a few megabytes, independent of the size of the dump: header, module list,
//! counters and trackers. The index is built later, on request and in parallel. Each answer has a
//! file of its own that computes one value; commands and screens only render it.

mod ages;
mod allocs;
mod cache;
pub mod check;
mod contents;
mod coverage;
mod diagnose;
mod info;
pub mod inspect;
mod kept_references;
mod machine;
mod memory;
mod modules;
mod objects;
mod open;
mod owners;
mod page;
mod points;
mod pools;
mod poolused;
mod refs;
mod series;
mod sessions;
mod stacks;
mod symbols;
mod trend;
mod walk;
mod warnings;

pub use allocs::{Allocs, Summary as AllocsSummary, TrackerSide};
pub use cache::{Answered, IndexCache};
pub use diagnose::diagnose_points;
pub use info::{
    ConsistencyFacts, DumpFacts, EvidenceFacts, ImageFacts, Info, InsideTable, ProcessorFacts,
    RegionFacts, SymbolFacts, SymbolSource,
};
pub use machine::{Machine, Wanted};
pub use memory::default_limit;
pub use modules::{Maker, ModuleFacts, ModuleSymbols, Modules};
pub use objects::USUAL_LOOK;
pub use open::{OpenError, Options};
pub use owners::Attributed;
pub use poolused::{ListedPoolUsed, NoAccounts, PoolUsed, PoolUsedRow, Selection, Sort};
pub use refs::TagReferences;
pub use stacks::{Recorder, StackRow, Stacks, StacksCoverage, StacksOf};
pub use symbols::PdbStatus;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustc_hash::FxHashSet;

use crate::analysis::ages::luid::Luids;
use crate::analysis::objects::types::Types;
use crate::analysis::{Descriptions, VmReport};
use crate::dump::Dump;
use crate::kernel::etw::Trace;
use crate::kernel::verifier::Verifier;
use crate::kernel::{Kernel, vm};
use crate::pool::Tag;
use crate::pool::regions::Regions;
use crate::pool::tracker::{self, Trackers};
use crate::symbols::LoadOptions;

/// An open dump with all facts that do not need the index.
#[derive(Debug)]
pub struct Engine {
    dump: Arc<Dump>,
    kernel: Kernel,
    vm: VmReport,
    descriptions: Descriptions,
    trackers: Trackers,
    regions: Regions,
    options: Options,
    pools: pools::Parts,
    sessions: sessions::Parts,
    modules: modules::Parts,
    search: refs::Parts,
    object_types: OnceLock<Types>,
    attributions: diagnose::Attributions,
    verifier: OnceLock<Verifier>,
    trace: OnceLock<Trace>,
    /// The earlier points in time that the dump is judged with.
    trend: trend::Trend,
    recorded_tags: OnceLock<FxHashSet<Tag>>,
    /// The time scale of LUIDs; read on first use.
    luids: OnceLock<Option<Luids>>,
}

/// The tag lists: the built-in table, overridden by the user's pooltag.txt.
///
/// # Errors
/// [`OpenError::Pooltag`] if that file can't be read.
pub fn descriptions(pooltag: Option<&Path>) -> Result<Descriptions, OpenError> {
    match pooltag {
        Some(file) => Descriptions::with_file(file).map_err(|source| OpenError::Pooltag {
            path: file.to_owned(),
            source,
        }),
        None => Ok(Descriptions::built_in()),
    }
}

impl Engine {
    /// Opens a dump.
    ///
    /// # Errors
    /// An [`OpenError`] that says what the file is and what to do.
    pub fn open(path: &Path, options: &Options) -> Result<Engine, OpenError> {
        let descriptions = descriptions(options.pooltag.as_deref())?;
        let dump = Dump::open_with(path, options.partner.as_deref())?;
        if dump.decompresses()
            && let Some(limit) = options.memory.or_else(memory::default_limit)
        {
            dump.limit_memory(limit);
        }
        Engine::of(Arc::new(dump), descriptions, options.clone())
    }

    /// Opens the same dump again, with the PDBs that the symbol path now has. Shares the file's
    /// mapping with this instance, which is unchanged.
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
            .map_err(|error| open::no_kernel(&dump, error))?;
        let trackers = tracker::read(&kernel);
        Ok(Engine {
            vm: VmReport::judge(&vm::read(&kernel), kernel.machine.physical_pages, &trackers),
            descriptions,
            trackers,
            regions: Regions::find(&kernel),
            options,
            pools: pools::Parts::default(),
            sessions: sessions::Parts::default(),
            modules: modules::Parts::default(),
            search: refs::Parts::default(),
            object_types: OnceLock::new(),
            attributions: diagnose::Attributions::default(),
            verifier: OnceLock::new(),
            trace: OnceLock::new(),
            trend: trend::Trend::default(),
            recorded_tags: OnceLock::new(),
            luids: OnceLock::new(),
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

    /// The `!vm` summary with plausibility checks.
    pub fn vm(&self) -> &VmReport {
        &self.vm
    }

    /// The tag lists.
    pub fn descriptions(&self) -> &Descriptions {
        &self.descriptions
    }

    /// The trackers.
    pub fn trackers(&self) -> &Trackers {
        &self.trackers
    }

    /// The pool regions.
    pub fn regions(&self) -> &Regions {
        &self.regions
    }
}
