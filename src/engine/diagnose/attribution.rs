//! The owners of tags. Each is determined once and shared by lists, screens, reports and exports.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::analysis::attribution::drivers::{self, Drivers};
use crate::analysis::attribution::kmdf::default_tag;
use crate::analysis::attribution::suspects::{self, Signs};
use crate::analysis::attribution::{Attribution, Owners};
use crate::analysis::census::{self, Census, Question};
use crate::analysis::judgement::evidence::Pointing;
use crate::analysis::references::References;
use crate::kernel::identity::ModuleIdentity;
use crate::pool::index::Snapshot;
use crate::pool::{Pool, Tag};
use crate::system::threads::NoThreads;

use super::super::Engine;
use super::Shared;

/// Number of blocks per tag that are sampled for pointers.
pub(super) const SAMPLE: u64 = 512;

/// The owners that are already determined. A result with an index replaces one without.
#[derive(Debug, Default)]
pub(in crate::engine) struct Attributions {
    made: Mutex<FxHashMap<Tag, Shared>>,
    /// Module and service name by default tag; `None` before the first search.
    services: Mutex<Option<Arc<Services>>>,
    /// True once a diagnosis with a complete index has added the drivers that pin blocks. Locked
    /// while the diagnosis runs.
    settled: Mutex<bool>,
}

type Services = FxHashMap<Tag, Vec<(String, String)>>;

impl Attributions {
    fn get(&self, tag: Tag, by_contents: bool) -> Option<Shared> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let found = made.get(&tag)?;
        (found.by_contents || !by_contents).then(|| Arc::clone(found))
    }

    fn put(&self, attribution: Attribution) -> Shared {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = Arc::new(attribution);
        made.insert(shared.tag, Arc::clone(&shared));
        shared
    }
}

impl Engine {
    /// The owner of a tag. With a complete index, block contents, services and pinning chains are
    /// used too, and the result is then used everywhere. Must not be called on a worker thread:
    /// another worker may hold the lock.
    pub fn attribution(&self, tag: Tag, index: Option<&Snapshot>) -> Shared {
        if let Some(index) = index {
            self.settle(index);
        }
        self.attribution_by(tag, index, None)
    }

    /// The owner of a tag, without a pool walk: block contents count if they have been read, or
    /// if an earlier run cached the index; otherwise only code and tag lists do.
    /// [`Attribution::by_contents`] says which.
    pub fn attribution_at_hand(&self, tag: Tag) -> Shared {
        if let Some(made) = self.attributions.get(tag, true) {
            return made;
        }
        let kept = self.kept_index(&|| true).index;
        self.attribution(tag, kept.as_ref())
    }

    /// Runs the diagnosis once, which adds the drivers that pin blocks to the owners.
    pub(in crate::engine) fn settle(&self, index: &Snapshot) {
        if !index.is_complete() {
            return;
        }
        if !*self.settling() {
            self.diagnose(index);
        }
    }

    /// The lock that is held during a diagnosis; true after one with a complete index.
    pub(super) fn settling(&self) -> MutexGuard<'_, bool> {
        let settled = &self.attributions.settled;
        settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The owner if it is already determined; for screens, which do not wait.
    pub fn attribution_made(&self, tag: Tag) -> Option<Shared> {
        self.attributions.get(tag, false)
    }

    /// The owner of a tag; `references` are its references if they are already known.
    pub(in crate::engine) fn attribution_by(
        &self,
        tag: Tag,
        index: Option<&Snapshot>,
        references: Option<&References>,
    ) -> Shared {
        let index = index.filter(|index| index.is_complete());
        if let Some(made) = self.attributions.get(tag, index.is_some()) {
            return made;
        }
        let own;
        let references = match references {
            Some(references) => references,
            None => {
                own = self.references(tag);
                &own
            }
        };
        let census = index.and_then(|index| self.sample(tag, None, false, index));
        let services = index.map(|index| self.default_tags(index));
        let callers = index.map(|index| self.recorded_callers(tag, index));
        let callers = callers.unwrap_or_default();
        let modules = &self.kernel().modules;
        let loaded = |name: &str| {
            let named = |m: &crate::kernel::modules::Module| {
                !m.unloaded && m.name().eq_ignore_ascii_case(name)
            };
            modules.iter().position(named)
        };
        let description = self.descriptions().get(tag);
        let none = Vec::new();
        let owners = suspects::fuse(&Signs {
            tag,
            references,
            description,
            loaded: &loaded,
            services: services
                .as_ref()
                .and_then(|all| all.get(&tag))
                .unwrap_or(&none),
            census: census.as_ref(),
            callers: &callers,
        });
        self.attributions.put(Attribution {
            tag,
            description: description.cloned(),
            identities: self.identities(&owners),
            owners,
            by_contents: index.is_some(),
        })
    }

    /// Adds the driver that pins a tag's blocks to its owners.
    pub(super) fn pinned_by(&self, tag: Tag, module: &str, reason: String) {
        let Some(made) = self.attributions.get(tag, false) else {
            return;
        };
        if made
            .owners
            .best()
            .is_some_and(|o| o.module.eq_ignore_ascii_case(module))
        {
            return;
        }
        let mut attribution = (*made).clone();
        attribution.owners.take_pinner(module, reason);
        attribution.identities = self.identities(&attribution.owners);
        self.attributions.put(attribution);
    }

    /// The identities of the suspects' drivers.
    fn identities(&self, owners: &Owners) -> Vec<(String, ModuleIdentity)> {
        let suspects = owners.ranked.iter();
        suspects
            .filter_map(|o| Some((o.module.clone(), self.identity_of(&o.module)?)))
            .collect()
    }

    /// A census of a small, evenly spread sample of a tag's blocks. `follow` is that of
    /// [`census::Setting`].
    pub(super) fn sample(
        &self,
        tag: Tag,
        pool: Option<Pool>,
        follow: bool,
        index: &Snapshot,
    ) -> Option<Census> {
        let question = Question {
            pool,
            sample: SAMPLE,
            ..Question::of(tag)
        };
        let progress = census::Progress::default();
        let census = self.contents_on(index, question, follow, &|| true, &progress)?;
        (census.read() > 0).then_some(census)
    }

    /// The driver that nearly all sampled blocks point into.
    pub(super) fn pointing(&self, census: &Census) -> Option<Pointing> {
        let found = census.modules.iter().find(|m| {
            !suspects::is_everybodys(&m.name) && m.shares(census).1 >= suspects::NEARLY_ALL
        })?;
        let module = self.kernel().modules.get(found.module);
        Some(Pointing {
            module: found.name.clone(),
            per_mille: (found.shares(census).1 * 1000.0) as u32,
            unloaded: module.is_some_and(|m| m.unloaded),
        })
    }

    /// The services of loaded drivers by their default tag.
    fn default_tags(&self, index: &Snapshot) -> Arc<Services> {
        let lock = &self.attributions.services;
        let mut made = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let services = made.get_or_insert_with(|| {
            let mut out = Services::default();
            for service in self.services(index) {
                let module = self.kernel().module_at(service.image);
                if let (Some(tag), Some(module)) = (default_tag(&service.name), module) {
                    let of_tag = out.entry(tag).or_default();
                    of_tag.push((module.name(), service.name));
                }
            }
            Arc::new(out)
        });
        Arc::clone(services)
    }

    /// Pool use by driver. Searches all images. With a complete index, block contents are used
    /// too.
    ///
    /// # Errors
    /// If the worker threads can't be started.
    pub fn drivers(&self, index: Option<&Snapshot>) -> Result<Drivers, NoThreads> {
        let workers = self.thread_pool()?;
        self.all_references_on(&workers, &|| true);
        if let Some(index) = index {
            self.settle(index);
        }
        let held = self.trackers().rows.iter();
        let held: Vec<_> = held
            .filter(|row| !(row.nonpaged.is_empty() && row.paged.is_empty()))
            .collect();
        let all: Vec<Shared> = workers.install(|| {
            held.par_iter()
                .map(|row| self.attribution_by(row.tag, index, None))
                .collect()
        });
        let mut found = drivers::by_driver(held.into_iter().zip(all.iter().map(|a| &a.owners)));
        for driver in &mut found.rows {
            driver.identity = self.identity_of(&driver.module);
        }
        Ok(found)
    }
}
