//! Fetching a PDB from the symbol servers of a path.
//!
//! The protocol is that of Microsoft's SymSrv: GET `base/name/KEY/name`, then the same with the
//! last letter `_` (a cabinet), then `file.ptr`. The latter is used only for messages, because
//! it refers to a file elsewhere. A store with `index2.txt` in its root has a directory of two
//! letters in front. Source: the documentation of symbol servers in the Debugging Tools.
//!
//! Servers are untrusted. A file is downloaded under a temporary name. It is moved into the
//! store only if it is complete and has the right identity; otherwise it is deleted.

mod http;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tempfile::NamedTempFile;
use thiserror::Error;
use ureq::Agent;

use super::id::{PUBLIC_SERVER, PdbId};
use super::network::Network;
use super::path::{At, SymbolPath};
use super::pdb::Pdb;
use super::store::{self, Content, Pointer};
use http::Event;
pub use http::shown;

/// Interval between checks for cancellation.
const TICK: Duration = Duration::from_millis(50);

/// Time and size limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time limit for connecting.
    pub connect: Duration,
    /// Time limit without received bytes.
    pub stall: Duration,
    /// Size limit of one file in bytes.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            // Together with the unpacked file, at most a gigabyte is on the disk.
            bytes: 512 << 20,
        }
    }
}

/// The progress of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The current server.
    pub server: &'a str,
    /// Bytes received so far.
    pub received: u64,
    /// Total bytes, if the server reports them.
    pub total: Option<u64>,
}

/// Observes a download, and can cancel it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Set this to cancel; checked between chunks and several times a second.
    pub cancel: &'a AtomicBool,
    /// Called for every chunk, several hundred times a second.
    pub progress: &'a (dyn Fn(Progress<'_>) + Sync),
}

/// A file that was downloaded and is now in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its path.
    pub path: PathBuf,
    /// The server that it came from.
    pub server: String,
    /// Bytes received over the network.
    pub bytes: u64,
}

/// The reason why no file was downloaded. No partial file is left behind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// Network access is off.
    #[error("symbol servers are not used because of --no-network")]
    NetworkOff,
    /// The symbol path contains only directories.
    #[error(
        "the symbol path names no symbol server; to use Microsoft's, put srv*{PUBLIC_SERVER} into \
            --symbols or _NT_SYMBOL_PATH"
    )]
    NoServer,
    /// The file name in the dump is not valid on any server.
    #[error("{0:?} is not requested from a server: it is not a valid file name")]
    UnsafeName(String),
    /// The user cancelled the download.
    #[error("the download was cancelled")]
    Cancelled,
    /// One message per server.
    #[error("{}", .0.join("; "))]
    Failed(Vec<String>),
}

/// Downloads PDBs, if network access is allowed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Client {
    network: Network,
    limits: Limits,
}

/// The reason why a request to one address failed.
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

/// A file on a server, before its body is read.
struct Found {
    events: Receiver<Event>,
    length: Option<u64>,
}

/// The download of one file from one server.
struct Job<'a> {
    id: &'a PdbId,
    server: &'a str,
    keep_in: &'a [PathBuf],
    agent: Agent,
    limits: Limits,
    watch: Watch<'a>,
}

impl Client {
    /// A client with the default limits.
    pub fn new(network: Network) -> Client {
        Client {
            network,
            limits: Limits::default(),
        }
    }

    /// The same client with other limits.
    pub fn with_limits(self, limits: Limits) -> Client {
        Client { limits, ..self }
    }

    /// Requests the PDB from the servers of the path in turn until one has it, and puts it into
    /// the stores that the path specifies. Blocks, so call it on its own thread.
    ///
    /// # Errors
    /// A [`FetchError`] with the answer of each server.
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
        let key = self.id.key();
        match self.by_key(name, &key) {
            // A server with a case-sensitive file system may store the key in lower case;
            // Microsoft's server ignores case.
            Err(Miss::Missing) if self.server != PUBLIC_SERVER => {
                self.in_folder(name, &folder(name, &key.to_lowercase()))
            }
            other => other,
        }
    }

    fn by_key(&self, name: &str, key: &str) -> Result<Fetched, Miss> {
        let folder = folder(name, key);
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
        Ok(self.get("index2.txt")?.is_some())
    }

    /// Tries all forms that a file can have in its folder.
    fn in_folder(&self, name: &str, folder: &str) -> Result<Fetched, Miss> {
        for form in [name.to_string(), store::packed_name(name)] {
            let form = super::id::percent_encode(&form);
            if let Some(found) = self.get(&format!("{folder}/{form}"))? {
                return self.receive(&found);
            }
        }
        match self.get(&format!("{folder}/file.ptr"))? {
            None => Err(Miss::Missing),
            Some(found) => Err(Miss::Failed(self.explain_pointer(&found)?)),
        }
    }

    /// Requests a file from the server.
    fn get(&self, path: &str) -> Result<Option<Found>, Miss> {
        if self.cancelled() {
            return Err(Miss::Cancelled);
        }
        let events = http::get(&self.agent, format!("{}/{path}", self.server));
        match self.next(&events)? {
            Event::Found(length) => Ok(Some(Found { events, length })),
            _ => Ok(None),
        }
    }

    /// The next chunk of a file; `None` at its end.
    fn chunk(&self, found: &Found) -> Result<Option<Vec<u8>>, Miss> {
        match self.next(&found.events)? {
            Event::Chunk(chunk) => Ok(Some(chunk)),
            _ => Ok(None),
        }
    }

    /// Waits for the next event; a failure is an error.
    fn next(&self, events: &Receiver<Event>) -> Result<Event, Miss> {
        while !self.cancelled() {
            match events.recv_timeout(TICK) {
                Ok(Event::Failed(why)) => return Err(Miss::Failed(why)),
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Miss::Failed("the download ended early".into()));
                }
            }
        }
        Err(Miss::Cancelled)
    }

    fn cancelled(&self) -> bool {
        self.watch.cancel.load(Ordering::Relaxed)
    }

    /// Downloads a file, checks its identity, and puts it into the stores.
    fn receive(&self, found: &Found) -> Result<Fetched, Miss> {
        let (mut file, root) = self.begin()?;
        let bytes = self.read_into(found, &mut file)?;
        let unpacked = Content::open(file.path()).map_err(|e| e.to_string())?;
        if unpacked.was_packed() {
            file = repack(unpacked, root)?;
        }
        let content = Content::open(file.path()).map_err(|e| e.to_string())?;
        Pdb::check(content, self.id)
            .map_err(|refusal| format!("the received file is not used: {refusal}"))?;
        let path = store::finish(file, root, self.id)
            .map_err(|e| format!("it can't be stored in {}: {e}", root.display()))?;
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

    /// Creates a file in the first store that is writable.
    fn begin(&self) -> Result<(NamedTempFile, &Path), Miss> {
        let mut why =
            "the symbol path names no directory to store it in; write srv*DIRECTORY*SERVER"
                .to_string();
        for root in self.keep_in {
            match store::begin(root) {
                Ok(file) => return Ok((file, root)),
                Err(e) => why = format!("nothing can be stored in {}: {e}", root.display()),
            }
        }
        Err(Miss::Failed(why))
    }

    fn read_into(&self, found: &Found, file: &mut NamedTempFile) -> Result<u64, Miss> {
        let most = self.limits.bytes;
        let too_large = || Miss::Failed(format!("the file is larger than {most} bytes"));
        if found.length.is_some_and(|l| l > most) {
            return Err(too_large());
        }
        let mut received = 0u64;
        while let Some(chunk) = self.chunk(found)? {
            received += chunk.len() as u64;
            if received > most {
                return Err(too_large());
            }
            file.write_all(&chunk)
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
        Ok(received)
    }

    /// A server's `file.ptr` refers to a file outside the server: it is reported, never opened.
    fn explain_pointer(&self, found: &Found) -> Result<String, Miss> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(found)? {
            bytes.extend(chunk);
            if bytes.len() as u64 > store::LONGEST_POINTER {
                break;
            }
        }
        Ok(match Pointer::read(&String::from_utf8_lossy(&bytes)) {
            Pointer::Message(text) => format!("it says: {text}"),
            Pointer::Path(target) => format!(
                "it does not have the file but points to {target}; if you can reach that, put it on the symbol path"
            ),
        })
    }
}

/// The folder on a server for a name and a key.
fn folder(name: &str, key: &str) -> String {
    format!("{}/{key}", super::id::percent_encode(name))
}

/// Writes the content of a cabinet to its own file.
fn repack(mut unpacked: Content, root: &Path) -> Result<NamedTempFile, Miss> {
    let mut work = || {
        let mut file = store::begin(root)?;
        io::copy(&mut unpacked, &mut file)?;
        Ok(file)
    };
    work().map_err(|e: io::Error| Miss::Failed(format!("it can't be unpacked: {e}")))
}

#[cfg(test)]
mod tests;
