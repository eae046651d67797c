//! A PDB that is wanted: whether it is on this machine, and how to get it.

use std::path::PathBuf;

use super::id::{Needed, PdbId};
use super::network::Network;
use super::path::SymbolPath;
use super::pdb::Pdb;
use super::server::{Client, FetchError, Fetched, Watch, shown};
use super::store;

/// What the directories of a path have of one PDB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Located {
    /// The file whose identity is the wanted one.
    pub file: Option<PathBuf>,
    /// Files that were refused, and messages of stores.
    pub notes: Vec<String>,
}

/// A PDB by its identity, and where it may come from. Owned, so that a thread can wait
/// for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPdb {
    /// Which one.
    pub id: PdbId,
    /// Where to look.
    pub path: SymbolPath,
    /// Whether servers may be asked.
    pub network: Network,
}

impl WantedPdb {
    /// Looks for it in the directories of the path. Reads only the identity, so it can
    /// be asked again and again until the file has appeared.
    pub fn locate(&self) -> Located {
        let check = |file| Pdb::check(file, &self.id);
        let (found, notes) = super::first_that(&self.path, &self.id, check);
        Located {
            file: found.map(|((), path)| path),
            notes,
        }
    }

    /// True when there is a server to ask and it may be asked.
    pub fn may_download(&self) -> bool {
        self.network == Network::On && !self.path.servers().is_empty()
    }

    /// Asks the servers; blocks until one has answered or all have failed.
    ///
    /// # Errors
    /// A [`FetchError`] that says what each server answered.
    pub fn download(&self, watch: Watch<'_>) -> Result<Fetched, FetchError> {
        Client::new(self.network).fetch(&self.id, &self.path, watch)
    }

    /// What to fetch by hand, and where from: the first server of the path, else the
    /// public one. `None` for an unsafe name.
    pub fn needed(&self) -> Option<Needed> {
        match self.path.servers().first() {
            Some(server) => self.id.needed_from(&shown(server)),
            None => self.id.needed(),
        }
    }

    /// Where a file fetched by hand would be found; `None` when the path has no place.
    pub fn place(&self) -> Option<PathBuf> {
        store::place(&self.path.first_store()?, &self.id)
    }
}
