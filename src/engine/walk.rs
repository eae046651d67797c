//! The walk of the whole pool: planned, limited in memory, and run on workers.

use std::sync::Arc;

use crate::pool::index::{IndexBuilder, Progress, Snapshot};
use crate::pool::legacy::Encoding;
use crate::system::threads::{self, NoThreads};

use super::{Engine, memory};

impl Engine {
    /// Plans a walk of the whole pool. Its results can be read while it runs.
    pub fn index_builder(&self, progress: Arc<Progress>) -> IndexBuilder {
        let mut realms = vec![Arc::clone(self.system_pool())];
        realms.extend(self.session_pools().iter().cloned());
        let encoding = Encoding::of_build(self.kernel.build);
        IndexBuilder::plan(encoding, realms, progress).limited_to(self.memory_limit())
    }

    /// Maximum memory for the blocks of an index, in bytes.
    pub(super) fn memory_limit(&self) -> u64 {
        let asked = self.options.memory;
        asked.or_else(memory::default_limit).unwrap_or(u64::MAX)
    }

    /// Worker threads for the walk: the configured number, or one per core.
    ///
    /// # Errors
    /// If the threads can't be started.
    pub fn thread_pool(&self) -> Result<rayon::ThreadPool, NoThreads> {
        threads::pool(self.options.threads)
    }

    /// Worker threads for a background walk. Unless the number is configured, one core is left to
    /// the UI, so that it responds during the walk.
    ///
    /// # Errors
    /// If the threads can't be started.
    pub fn background_pool(&self) -> Result<rayon::ThreadPool, NoThreads> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        match self.options.threads {
            0 => threads::pool(cores.saturating_sub(1).max(1)),
            asked => threads::pool(asked),
        }
    }

    /// Walks the whole pool and returns when the walk is finished or cancelled.
    ///
    /// # Errors
    /// If the worker threads can't be started.
    pub fn index(&self, progress: Arc<Progress>) -> Result<Snapshot, NoThreads> {
        let builder = self.index_builder(progress);
        builder.run(&self.thread_pool()?);
        Ok(builder.snapshot())
    }
}
