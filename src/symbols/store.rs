//! Searches for a PDB in local directories and symbol stores, and stores one there.
//!
//! A directory may be flat, may have WinDbg's `symbols\exe` folders, or may be a symbol store
//! in the layout of `symstore.exe` and symbol servers: `name/KEY/name`. In a store, a directory
//! of the name's first two letters comes first if the root contains `index2.txt`; the last
//! letter of the file is `_` if it is a cabinet; and a `file.ptr` refers to another location.
//! Source: the documentation of SymStore and SymSrv in the Debugging Tools.
//!
//! Files found here are untrusted: the reader checks the identity inside the file.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::characters::is_hidden;
use crate::system::files;

use super::id::PdbId;
use super::path::{At, SymbolPath, local_path, unset_variables};

/// Size limit of an unpacked cabinet. The largest kernel PDB is about 20 MB, the largest driver
/// PDB about 100 MB.
const LARGEST_UNPACKED: u64 = 256 << 20;
/// Header size of a cabinet's block, and the most bytes that one block unpacks to.
const BLOCK_HEADER: u64 = 8;
const LARGEST_BLOCK: u64 = 64 << 10;
/// Size limit of a pointer file, which is one line.
pub(super) const LONGEST_POINTER: u64 = 64 << 10;
/// First bytes of a cabinet.
const CABINET: &[u8] = b"MSCF";
/// Start and end of the name of an unfinished file.
const PARTIAL: (&str, &str) = (".poolscope-", ".partial");
const ABANDONED: Duration = Duration::from_secs(24 * 3600);
/// WinDbg's folders below a flat directory; the first is the directory itself.
const FOLDERS: [&str; 7] = [
    "",
    "symbols/exe",
    "exe",
    "symbols/sys",
    "sys",
    "symbols/dll",
    "dll",
];

/// A file that may be the right PDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub path: PathBuf,
    /// The stores that should get a copy.
    pub keep_in: Vec<PathBuf>,
}

/// The search result for one PDB.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// In search order, existing files only.
    pub candidates: Vec<Candidate>,
    /// Messages for the user, such as the message of a pointer file.
    pub notes: Vec<String>,
}

/// Searches for a PDB in every directory of the path. An unsafe name has no results.
pub(super) fn search(path: &SymbolPath, id: &PdbId) -> Search {
    let mut search = Search::default();
    let Some(name) = id.file_name() else {
        search.notes.push(format!(
            "the PDB {:?} is not searched for: the name is not a valid file name",
            id.name
        ));
        return search;
    };
    for place in path.places() {
        let At::Local(directory) = place.at else {
            continue;
        };
        let text = directory.to_string_lossy().into_owned();
        if !directory.exists() {
            let unset = unset_variables(&text);
            if unset.is_empty() && place.is_plain {
                search.notes.push(format!(
                    "a directory of the symbol path does not exist: {text}"
                ));
            }
            for name in unset {
                search.notes.push(format!(
                    "the symbol path names %{name}%, which is not set: {text}"
                ));
            }
        }
        let before = search.candidates.len();
        if directory.is_file() {
            search.add(directory);
        } else {
            search.look_in(&directory, name, &id.key());
        }
        for candidate in search.candidates.iter_mut().skip(before) {
            candidate.keep_in.clone_from(&place.keep_in);
        }
    }
    search
}

impl Search {
    fn look_in(&mut self, root: &Path, name: &str, key: &str) {
        let lower = name.to_lowercase();
        let names = if lower == name {
            vec![name]
        } else {
            vec![name, &lower]
        };
        // On a case-sensitive file system, a store that was filled on Windows may have the name
        // or the key in any case.
        let similar = same_name(root, name).filter(|found| !names.contains(&found.as_str()));
        if let Some(found) = &similar {
            let holder = root.join(found);
            self.add(holder.clone());
            if let Some(key) = same_name(&holder, key) {
                let directory = holder.join(key);
                self.look_in_store(&directory, name);
                for file in [name.to_owned(), packed_name(name)] {
                    if let Some(file) = same_name(&directory, &file) {
                        self.add(directory.join(file));
                    }
                }
            }
        }
        let keys = [key.to_string(), key.to_lowercase()];
        for name in &names {
            let holder = holder(root, name);
            for key in &keys {
                self.look_in_store(&holder.join(key), name);
            }
        }
        for name in &names {
            for folder in FOLDERS {
                self.add(root.join(folder).join(name));
            }
            self.add(root.join(packed_name(name)));
        }
    }

    /// Searches one store directory: the file, its cabinet, or a pointer.
    fn look_in_store(&mut self, directory: &Path, name: &str) {
        self.add(directory.join(name));
        self.add(directory.join(packed_name(name)));
        let pointer = directory.join("file.ptr");
        let Some(text) = read_pointer(&pointer) else {
            return;
        };
        match Pointer::read(&text) {
            Pointer::Message(text) => {
                self.notes.push(format!("{}: {text}", pointer.display()));
            }
            Pointer::Path(target) => match local_path(&target).filter(|p| p.is_file()) {
                Some(target) => self.add(target),
                None => self.notes.push(format!(
                    "{} points to {target}, which is not on this machine",
                    pointer.display()
                )),
            },
        }
    }

    fn add(&mut self, path: PathBuf) {
        let known = self.candidates.iter().any(|c| is_one(&c.path, &path));
        if !known && path.is_file() {
            self.candidates.push(Candidate {
                path,
                keep_in: Vec::new(),
            });
        }
    }
}

/// True when two names refer to the same file: on a case-insensitive file system, names that
/// differ only in case.
fn is_one(one: &Path, other: &Path) -> bool {
    let alike = || {
        let (one, other) = (one.to_string_lossy(), other.to_string_lossy());
        one.to_lowercase() == other.to_lowercase()
    };
    let real = |path: &Path| fs::canonicalize(path).ok();
    one == other || alike() && real(one).is_some_and(|one| real(other) == Some(one))
}

/// Largest number of directory entries that are searched for a name in another case.
const MOST_ENTRIES: usize = 1 << 17;

/// The entry of a directory whose name is equal except for case.
fn same_name(directory: &Path, name: &str) -> Option<String> {
    if directory.join(name).exists() {
        return Some(name.to_owned());
    }
    let entries = fs::read_dir(directory).ok()?.flatten().take(MOST_ENTRIES);
    let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.find(|found| found.eq_ignore_ascii_case(name))
}

/// The directory for all files with a name: below the root, or in a two-tier store below the
/// name's first two letters.
fn holder(root: &Path, name: &str) -> PathBuf {
    if root.join("index2.txt").is_file() {
        let prefix: String = name.chars().take(2).collect();
        root.join(prefix).join(name)
    } else {
        root.join(name)
    }
}

/// The path of a PDB in a store; `None` for an unsafe name.
pub(super) fn place(root: &Path, id: &PdbId) -> Option<PathBuf> {
    let name = id.file_name()?;
    Some(holder(root, name).join(id.key()).join(name))
}

/// Creates a temporary file in a store. It is deleted when it is dropped.
pub(super) fn begin(root: &Path) -> io::Result<NamedTempFile> {
    fs::create_dir_all(root)?;
    sweep(root);
    let mut builder = tempfile::Builder::new();
    builder.prefix(PARTIAL.0).suffix(PARTIAL.1);
    // Files in a shared store are readable by all users, as far as the umask allows.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(root)
}

/// Removes files left by a killed process: no download takes a day.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = name.starts_with(PARTIAL.0) && name.ends_with(PARTIAL.1);
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if ours && age().is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Renames a finished file to its name in the store, atomically: readers see the whole file or
/// none, and of two concurrent calls one wins.
pub(super) fn finish(file: NamedTempFile, root: &Path, id: &PdbId) -> io::Result<PathBuf> {
    let target = place(root, id).ok_or(io::ErrorKind::InvalidInput)?;
    if let Some(directory) = target.parent() {
        fs::create_dir_all(directory)?;
    }
    files::put_once(file, &target)?;
    Ok(target)
}

/// Copies a verified PDB, unpacked, to other stores. Errors are ignored: a store may be a
/// read-only share.
pub(super) fn copy(found: &Path, stores: &[PathBuf], id: &PdbId) {
    for root in stores {
        let _ = copy_one(found, root, id);
    }
}

fn copy_one(found: &Path, root: &Path, id: &PdbId) -> io::Result<PathBuf> {
    let mut content = Content::open(found)?;
    let mut file = begin(root)?;
    io::copy(&mut content, &mut file)?;
    finish(file, root, id)
}

/// The content of a PDB file.
#[derive(Debug)]
pub(super) enum Content {
    Plain(File),
    Unpacked(Cursor<Vec<u8>>),
}

impl Content {
    /// Opens a file, or unpacks it.
    pub fn open(path: &Path) -> io::Result<Content> {
        let mut file = File::open(path)?;
        let mut magic = Vec::new();
        file.by_ref()
            .take(CABINET.len() as u64)
            .read_to_end(&mut magic)?;
        file.rewind()?;
        if magic == CABINET {
            unpack(file, LARGEST_UNPACKED).map(|b| Content::Unpacked(Cursor::new(b)))
        } else {
            Ok(Content::Plain(file))
        }
    }

    /// True when a cabinet was unpacked.
    pub fn was_packed(&self) -> bool {
        matches!(self, Content::Unpacked(_))
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Content::Plain(file) => file.read(buffer),
            Content::Unpacked(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for Content {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        match self {
            Content::Plain(file) => file.seek(to),
            Content::Unpacked(bytes) => bytes.seek(to),
        }
    }
}

/// Unpacks the first file of a cabinet into memory, limited to `most` bytes.
fn unpack<R: Read + Seek>(mut file: R, most: u64) -> io::Result<Vec<u8>> {
    let packed = file.seek(io::SeekFrom::End(0))?;
    file.rewind()?;
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    let work = || {
        let mut cabinet = cab::Cabinet::new(file)?;
        let first = cabinet
            .folder_entries()
            .flat_map(|f| f.file_entries())
            .next();
        let first = first.map(|f| (f.name().to_string(), u64::from(f.uncompressed_size())));
        let (name, length) = first.ok_or_else(|| invalid("it is empty"))?;
        if length > most {
            return Err(invalid("it holds too large a file"));
        }
        // A buffer that grows by doubling would need twice the memory.
        let mut bytes = Vec::new();
        let likely = packed / BLOCK_HEADER * LARGEST_BLOCK;
        bytes.try_reserve_exact(length.min(likely) as usize)?;
        cabinet
            .read_file(&name)?
            .take(length)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // The decompressors index by untrusted data and may panic.
    let unpacked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    unpacked
        .unwrap_or_else(|_| Err(invalid("it is damaged")))
        .map_err(|e| io::Error::new(e.kind(), format!("the cabinet can't be unpacked: {e}")))
}

/// `ntkrnlmp.pdb` to `ntkrnlmp.pd_`.
pub(super) fn packed_name(name: &str) -> String {
    let mut chars = name.chars();
    chars.next_back();
    format!("{}_", chars.as_str())
}

/// The content of a `file.ptr`: `PATH:` and a file, `MSG:` and a reason, or in old stores just
/// a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pointer {
    Path(String),
    Message(String),
}

impl Pointer {
    /// Reads the first line with text, without invisible characters.
    pub fn read(text: &str) -> Pointer {
        let line = text
            .lines()
            .map(str::trim)
            .find(|l| !l.is_empty())
            .unwrap_or_default();
        let line: String = line.chars().filter(|c| !is_hidden(*c)).collect();
        match line.split_once(':') {
            Some((word, rest)) if word.eq_ignore_ascii_case("MSG") => {
                Pointer::Message(rest.trim().into())
            }
            Some((word, rest)) if word.eq_ignore_ascii_case("PATH") => {
                Pointer::Path(rest.trim().into())
            }
            _ => Pointer::Path(line),
        }
    }
}

fn read_pointer(path: &Path) -> Option<String> {
    // Reading something other than a regular file could block or never end.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(LONGEST_POINTER)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
