//! The contents of a tag's blocks.

use crate::analysis::census::{self, Census, Progress, Question, Setting};
use crate::memory::AddressSpace;
use crate::pool::index::Snapshot;
use crate::system::threads::NoThreads;

use super::Engine;
use super::objects::ByHeader;

impl Engine {
    /// Takes a census of a tag's blocks, with ages. `None` if cancelled.
    ///
    /// # Errors
    /// If the worker threads can't be started.
    pub fn contents(
        &self,
        index: &Snapshot,
        question: Question,
        wanted: &(dyn Fn() -> bool + Sync),
        progress: &Progress,
    ) -> Result<Option<Census>, NoThreads> {
        let workers = self.thread_pool()?;
        Ok(workers.install(|| {
            let mut census = self.contents_on(index, question, true, wanted, progress)?;
            census.ages = self.ages_on(index, &question, true, wanted).ok()?;
            Some(census)
        }))
    }

    /// The census without ages, on the calling thread's workers. `follow` is that of [`Setting`].
    pub(super) fn contents_on(
        &self,
        index: &Snapshot,
        question: Question,
        follow: bool,
        wanted: &(dyn Fn() -> bool + Sync),
        progress: &Progress,
    ) -> Option<Census> {
        let space = |session: Option<u32>| self.space_of_session(session);
        let setting = Setting {
            kernel: self.kernel(),
            sessions: self.sessions(),
            index,
            space: &space,
            objects: &ByHeader { engine: self },
            names: self.names(),
            follow,
        };
        census::take(&setting, question, wanted, progress)
    }

    pub(super) fn space_of_session(&self, session: Option<u32>) -> &AddressSpace {
        let own = session.and_then(|id| {
            let mut pools = self.session_pools().iter();
            pools.find(|r| r.session == Some(id))
        });
        own.map_or(&self.kernel().space, |realm| &realm.space)
    }
}
