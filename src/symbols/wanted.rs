//! A required PDB: whether it is on this machine, and how to get it.

use std::path::PathBuf;

use super::id::{Needed, PdbId};
use super::network::Network;
use super::path::SymbolPath;
use super::pdb::Pdb;
use super::server::{Client, FetchError, Fetched, Watch, shown};
use super::store;

/// The search result for one PDB in the directories of a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Located {
    /// The file with the right identity.
    pub file: Option<PathBuf>,
    /// Refused files, and messages of stores.
    pub notes: Vec<String>,
}

/// A PDB by its identity, and its possible sources. Owned, so that a thread can wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPdb {
    /// The identity of the PDB.
    pub id: PdbId,
    /// The path to search.
    pub path: SymbolPath,
    /// Whether servers may be contacted.
    pub network: Network,
}

impl WantedPdb {
    /// Searches for the PDB in the directories of the path. Reads only the identity, so it can
    /// be called repeatedly until the file has appeared.
    pub fn locate(&self) -> Located {
        let check = |file| Pdb::check(file, &self.id);
        let (found, notes) = super::first_that(&self.path, &self.id, check);
        Located {
            file: found.map(|((), path)| path),
            notes,
        }
    }

    /// True when the path has a server and network access is allowed.
    pub fn may_download(&self) -> bool {
        self.network == Network::On && !self.path.servers().is_empty()
    }

    /// Requests the PDB from the servers; blocks until one has it or all have failed.
    ///
    /// # Errors
    /// A [`FetchError`] with the answer of each server.
    pub fn download(&self, watch: Watch<'_>) -> Result<Fetched, FetchError> {
        Client::new(self.network).fetch(&self.id, &self.path, watch)
    }

    /// The file to fetch by hand, and its address: on the first server of the path, else on the
    /// public one. `None` for an unsafe name.
    pub fn needed(&self) -> Option<Needed> {
        match self.path.servers().first() {
            Some(server) => self.id.needed_from(&shown(server)),
            None => self.id.needed(),
        }
    }

    /// The path for a file that is fetched by hand; `None` if the symbol path has no directory.
    pub fn place(&self) -> Option<PathBuf> {
        store::place(&self.path.first_store()?, &self.id)
    }
}
