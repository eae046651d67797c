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

/// Between two looks at whether to go on.
const TICK: Duration = Duration::from_millis(50);

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
            // With what is unpacked from it, no more than a gigabyte is on the disk.
            bytes: 512 << 20,
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
    /// Set to end it; looked at between chunks and several times a second.
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
    #[error("symbol servers are not used because of --no-network")]
    NetworkOff,
    /// The path has directories only.
    #[error(
        "the symbol path names no symbol server; to use Microsoft's, put srv*{PUBLIC_SERVER} into \
            --symbols or _NT_SYMBOL_PATH"
    )]
    NoServer,
    /// The dump names a file that no server has.
    #[error("{0:?} is not requested from a server: it is not a valid file name")]
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

/// A file that a server has, not read yet.
struct Found {
    events: Receiver<Event>,
    length: Option<u64>,
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

    /// Asks the servers of the path in turn until one has the PDB, and puts it into the stores that
    /// the path names for it. Blocks; to be called on its own thread.
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
        let key = self.id.key();
        match self.by_key(name, &key) {
            // A server whose files are on a case-sensitive file system may have the key in small
            // letters; Microsoft's does not care.
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

    /// Tries the forms that a file can have in its folder.
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

    /// Asks for a file of the server.
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

    /// Waits for something to happen; a failure is an error.
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

    /// Reads a file, looks whether it is the right one, and gives it to the stores.
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

    /// A file in the first store that takes one.
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

    /// A `file.ptr` from a server names a file outside the server: it is reported, and never
    /// opened.
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

/// Where a server has the files of a name and a key.
fn folder(name: &str, key: &str) -> String {
    format!("{}/{key}", super::id::percent_encode(name))
}

/// Writes what was in a cabinet to a file of its own.
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
