//! Fetching a PDB from the symbol servers of a path.
//!
//! The protocol is that of Microsoft's SymSrv: GET `base/name/KEY/name`, then the same
//! with the last letter `_` (a cabinet), then `file.ptr`, which only explains, because
//! what it points to is a file somewhere else; a store whose root has `index2.txt` has a
//! directory of two letters in front. Learned from the Debugging Tools documentation of
//! symbol servers.
//!
//! A server is a stranger. A file is fetched under another name, and put into the store
//! only when it is whole and is the one that was asked for; otherwise nothing is left.

mod http;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::NamedTempFile;
use thiserror::Error;
use ureq::Agent;

use super::id::{PUBLIC_SERVER, PdbId};
use super::path::{At, SymbolPath};
use super::pdb::Pdb;
use super::store::{self, Content, Pointer};
use super::wanted::Network;
pub use http::shown;
use http::{Answer, Found};

/// How long and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection to be made.
    pub connect: Duration,
    /// With no byte received.
    pub stall: Duration,
    /// Bytes of one file.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            bytes: 1 << 30,
        }
    }
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The server that is asked.
    pub server: &'a str,
    /// Bytes so far.
    pub received: u64,
    /// Bytes in all, if the server says.
    pub total: Option<u64>,
}

/// Looks on while a file is fetched, and can end it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Set to end it; looked at between chunks.
    pub cancel: &'a AtomicBool,
    /// Called for every chunk, so several hundred times a second.
    pub progress: &'a (dyn Fn(Progress<'_>) + Sync),
}

/// A file that was fetched and is now in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where it is.
    pub path: PathBuf,
    /// The server it came from.
    pub server: String,
    /// Bytes that came over the network.
    pub bytes: u64,
}

/// Why no file was fetched. None of these leaves anything behind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// The user wants no connection.
    #[error("no symbol server is asked, because of --no-network")]
    NetworkOff,
    /// The path has directories only.
    #[error(
        "the symbol path names no symbol server; to have Microsoft's asked, put srv*{PUBLIC_SERVER} into --symbols or _NT_SYMBOL_PATH"
    )]
    NoServer,
    /// The dump names a file that no server has.
    #[error("no server is asked for {0:?}, which is no plain file name")]
    UnsafeName(String),
    /// Somebody ended it.
    #[error("the download was cancelled")]
    Cancelled,
    /// Each server, and what became of it.
    #[error("{}", .0.join("; "))]
    Failed(Vec<String>),
}

/// Fetches PDBs, if that is allowed at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Client {
    network: Network,
    limits: Limits,
}

/// Why one address gave nothing.
enum Miss {
    /// The server has no such file.
    Missing,
    Cancelled,
    Failed(String),
}

impl From<String> for Miss {
    fn from(why: String) -> Miss {
        Miss::Failed(why)
    }
}

/// One file from one server.
struct Job<'a> {
    id: &'a PdbId,
    server: &'a str,
    keep_in: &'a [PathBuf],
    agent: Agent,
    limits: Limits,
    watch: Watch<'a>,
}

impl Client {
    /// A client with the usual limits.
    pub fn new(network: Network) -> Client {
        Client {
            network,
            limits: Limits::default(),
        }
    }

    /// The same with other limits.
    pub fn with_limits(self, limits: Limits) -> Client {
        Client { limits, ..self }
    }

    /// Asks the servers of the path in turn until one has the PDB, and puts it into the
    /// stores that the path names for it. Blocks; meant for a thread of its own where
    /// somebody waits.
    ///
    /// # Errors
    /// A [`FetchError`] that says what each server answered.
    pub fn fetch(
        &self,
        id: &PdbId,
        path: &SymbolPath,
        watch: Watch<'_>,
    ) -> Result<Fetched, FetchError> {
        if self.network == Network::Off {
            return Err(FetchError::NetworkOff);
        }
        if id.file_name().is_none() {
            return Err(FetchError::UnsafeName(id.name.clone()));
        }
        let mut failures = Vec::new();
        for place in path.places() {
            let At::Server(server) = place.at else {
                continue;
            };
            let job = Job {
                id,
                server,
                keep_in: &place.keep_in,
                agent: http::agent(server, &self.limits),
                limits: self.limits,
                watch,
            };
            let why = match job.run() {
                Ok(fetched) => return Ok(fetched),
                Err(Miss::Cancelled) => return Err(FetchError::Cancelled),
                Err(Miss::Missing) => "it has no such file".into(),
                Err(Miss::Failed(why)) => why,
            };
            failures.push(format!("{}: {why}", http::shown(server)));
        }
        if failures.is_empty() {
            return Err(FetchError::NoServer);
        }
        Err(FetchError::Failed(failures))
    }
}

impl Job<'_> {
    fn run(&self) -> Result<Fetched, Miss> {
        let name = self.id.file_name().ok_or(Miss::Missing)?;
        let folder = format!("{}/{}", super::id::percent_encode(name), self.id.key());
        match self.in_folder(name, &folder) {
            Err(Miss::Missing) if self.is_two_tier()? => {
                let prefix: String = name.chars().take(2).collect();
                let prefix = super::id::percent_encode(&prefix);
                self.in_folder(name, &format!("{prefix}/{folder}"))
            }
            other => other,
        }
    }

    fn is_two_tier(&self) -> Result<bool, Miss> {
        Ok(matches!(self.get("index2.txt")?, Answer::Found(_)))
    }

    /// Tries the forms that a file can have in its folder.
    fn in_folder(&self, name: &str, folder: &str) -> Result<Fetched, Miss> {
        for form in [name.to_string(), store::packed_name(name)] {
            let form = super::id::percent_encode(&form);
            if let Answer::Found(found) = self.get(&format!("{folder}/{form}"))? {
                return self.receive(found);
            }
        }
        match self.get(&format!("{folder}/file.ptr"))? {
            Answer::Missing => Err(Miss::Missing),
            Answer::Found(found) => Err(Miss::Failed(explain_pointer(found)?)),
        }
    }

    fn get(&self, path: &str) -> Result<Answer, Miss> {
        if self.watch.cancel.load(Ordering::Relaxed) {
            return Err(Miss::Cancelled);
        }
        Ok(http::get(&self.agent, &format!("{}/{path}", self.server))?)
    }

    /// Reads a file, looks whether it is the right one, and gives it to the stores.
    fn receive(&self, mut found: Found) -> Result<Fetched, Miss> {
        let (mut file, root) = self.begin()?;
        let bytes = self.read_into(&mut found, &mut file)?;
        let unpacked = Content::open(file.path()).map_err(|e| e.to_string())?;
        if unpacked.was_packed() {
            file = repack(unpacked, root)?;
        }
        let content = Content::open(file.path()).map_err(|e| e.to_string())?;
        Pdb::check(content, self.id)
            .map_err(|refusal| format!("what it sent is not used: {refusal}"))?;
        let path = store::finish(file, root, self.id)
            .map_err(|e| format!("it can't be put into {}: {e}", root.display()))?;
        let others: Vec<_> = self
            .keep_in
            .iter()
            .filter(|r| *r != root)
            .cloned()
            .collect();
        store::copy(&path, &others, self.id);
        Ok(Fetched {
            path,
            server: http::shown(self.server),
            bytes,
        })
    }

    /// A file in the first store that takes one.
    fn begin(&self) -> Result<(NamedTempFile, &Path), Miss> {
        let mut why =
            "the symbol path names no directory to keep it in; write srv*DIRECTORY*SERVER"
                .to_string();
        for root in self.keep_in {
            match store::begin(root) {
                Ok(file) => return Ok((file, root)),
                Err(e) => why = format!("nothing can be kept in {}: {e}", root.display()),
            }
        }
        Err(Miss::Failed(why))
    }

    fn read_into(&self, found: &mut Found, file: &mut NamedTempFile) -> Result<u64, Miss> {
        let too_large = || {
            Miss::Failed(format!(
                "the file is larger than {} bytes",
                self.limits.bytes
            ))
        };
        if found.length.is_some_and(|l| l > self.limits.bytes) {
            return Err(too_large());
        }
        let mut received = 0u64;
        let mut chunk = vec![0; 64 << 10];
        loop {
            if self.watch.cancel.load(Ordering::Relaxed) {
                return Err(Miss::Cancelled);
            }
            let got = match found.body.read(&mut chunk) {
                Ok(0) => break,
                Ok(got) => got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Miss::Failed(http::explain_io(&e))),
            };
            received += got as u64;
            if received > self.limits.bytes {
                return Err(too_large());
            }
            file.write_all(chunk.get(..got).unwrap_or_default())
                .map_err(|e| format!("{} can't be written: {e}", file.path().display()))?;
            (self.watch.progress)(Progress {
                server: self.server,
                received,
                total: found.length,
            });
        }
        if found.length.is_some_and(|l| l != received) {
            return Err(Miss::Failed("the connection was cut before the end".into()));
        }
        file.flush().map_err(|e| e.to_string())?;
        Ok(received)
    }
}

/// Writes what was in a cabinet to a file of its own.
fn repack(mut unpacked: Content, root: &Path) -> Result<NamedTempFile, Miss> {
    let mut work = || {
        let mut file = store::begin(root)?;
        io::copy(&mut unpacked, &mut file)?;
        file.flush()?;
        Ok(file)
    };
    work().map_err(|e: io::Error| Miss::Failed(format!("it can't be unpacked: {e}")))
}

/// A `file.ptr` from a server names a file that is not the server's to name: it is told,
/// and never opened.
fn explain_pointer(mut found: Found) -> Result<String, Miss> {
    let mut bytes = Vec::new();
    found
        .body
        .by_ref()
        .take(store::LONGEST_POINTER)
        .read_to_end(&mut bytes)
        .map_err(|e| http::explain_io(&e))?;
    Ok(match Pointer::read(&String::from_utf8_lossy(&bytes)) {
        Pointer::Message(text) => format!("it says: {text}"),
        Pointer::Path(target) => format!(
            "it does not have the file but points to {target}; if you can reach that, put it on the symbol path"
        ),
    })
}

#[cfg(test)]
mod tests;
