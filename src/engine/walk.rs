//! The walk over the whole pool: planned, limited in memory, run on workers.

use std::sync::Arc;

use crate::pool::index::{IndexBuilder, Progress, Snapshot};
use crate::pool::legacy::Encoding;

use super::{Engine, memory};

impl Engine {
    /// Plans a walk over the whole pool, to be run and looked at while it runs.
    pub fn index_builder(&self, progress: Arc<Progress>) -> IndexBuilder {
        let mut realms = vec![Arc::clone(self.system_pool())];
        realms.extend(self.session_pools().iter().cloned());
        let encoding = Encoding::of_build(self.kernel.build);
        IndexBuilder::plan(encoding, realms, progress).limited_to(self.memory_limit())
    }

    /// Bytes of memory that the blocks of an index may take.
    pub(super) fn memory_limit(&self) -> u64 {
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

    /// The same for a background walk, which leaves a core to the UI unless a number of threads was
    /// given, so that keys are answered during the walk.
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
}

/// So many worker threads; 0 for one per core.
///
/// # Errors
/// When the system refuses to start them.
pub fn threads(count: usize) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(|i| format!("pool-{i}"))
        .build()
}
