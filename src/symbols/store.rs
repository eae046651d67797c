//! Looking for a PDB in local directories and symbol stores.
//!
//! A directory may be a flat one, one with WinDbg's `symbols\exe` folders, or a symbol
//! store as `symstore.exe` and symbol servers lay it out: `name/KEY/name`, with a
//! directory of the name's first two letters in front when the root holds `index2.txt`,
//! with the last letter of the file replaced by `_` when it is a cabinet, or with a
//! `file.ptr` that names another place. Learned from the Debugging Tools documentation
//! of SymStore and SymSrv.
//!
//! Nothing found here is believed: the reader checks the identity inside the file.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use super::id::PdbId;
use super::path::SymbolPath;

/// A cabinet may not unpack to more. The largest kernel PDB is around 20 MB.
const LARGEST_UNPACKED: u64 = 512 << 20;
/// A pointer file is one line.
const LONGEST_POINTER: u64 = 64 << 10;

/// A file that may be the wanted PDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub path: PathBuf,
    pub packed: bool,
}

/// What the directories hold for one PDB.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// In search order, existing files only.
    pub candidates: Vec<Candidate>,
    /// What the user should know, such as the message of a pointer file.
    pub notes: Vec<String>,
}

/// Looks for a PDB in every directory of the path. An unsafe name finds nothing.
pub(super) fn search(path: &SymbolPath, id: &PdbId) -> Search {
    let mut search = Search::default();
    let Some(name) = id.file_name() else {
        search.notes.push(format!(
            "not looking for a PDB named {:?}: no plain file name",
            id.name
        ));
        return search;
    };
    for directory in path.directories() {
        if directory.is_file() {
            search.add_file(directory);
        } else {
            search.look_in(&directory, name, &id.key());
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
        let keys = [key.to_string(), key.to_lowercase()];
        let two_tier = root.join("index2.txt").is_file();
        for name in &names {
            let prefix: String = name.chars().take(2).collect();
            let holder = if two_tier {
                root.join(prefix).join(name)
            } else {
                root.join(name)
            };
            for key in &keys {
                self.look_in_store(&holder.join(key), name);
            }
        }
        for name in &names {
            for folder in [
                "",
                "symbols/exe",
                "exe",
                "symbols/sys",
                "sys",
                "symbols/dll",
                "dll",
            ] {
                self.add(root.join(folder).join(name), false);
            }
        }
    }

    /// One store directory: the file, its cabinet, or a pointer.
    fn look_in_store(&mut self, directory: &Path, name: &str) {
        self.add(directory.join(name), false);
        self.add(directory.join(packed_name(name)), true);
        let pointer = directory.join("file.ptr");
        if let Some(text) = read_pointer(&pointer) {
            match follow(&text) {
                Pointer::Path(target) => self.add_file(target),
                Pointer::Message(text) => {
                    let text: String = text.chars().filter(|c| !c.is_control()).collect();
                    self.notes.push(format!("{}: {text}", pointer.display()));
                }
            }
        }
    }

    /// A file named outright: its last letter tells a cabinet.
    fn add_file(&mut self, path: PathBuf) {
        let packed = path
            .extension()
            .is_some_and(|e| e.to_string_lossy().ends_with('_'));
        self.add(path, packed);
    }

    fn add(&mut self, path: PathBuf, packed: bool) {
        let candidate = Candidate { path, packed };
        if candidate.path.is_file() && !self.candidates.contains(&candidate) {
            self.candidates.push(candidate);
        }
    }
}

impl Candidate {
    /// Opens the file, or what is packed in it.
    pub fn open(&self) -> io::Result<Content> {
        let file = File::open(&self.path)?;
        if self.packed {
            unpack(file).map(|b| Content::Unpacked(Cursor::new(b)))
        } else {
            Ok(Content::Plain(file))
        }
    }
}

/// A PDB's bytes.
#[derive(Debug)]
pub(super) enum Content {
    Plain(File),
    Unpacked(Cursor<Vec<u8>>),
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

/// Unpacks the first file of a cabinet into memory.
fn unpack<R: Read + Seek>(file: R) -> io::Result<Vec<u8>> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the cabinet is damaged");
    let work = || {
        let mut cabinet = cab::Cabinet::new(file)?;
        let first = cabinet
            .folder_entries()
            .flat_map(|f| f.file_entries())
            .next();
        let name = first.map(|f| f.name().to_string()).ok_or_else(damaged)?;
        let mut bytes = Vec::new();
        cabinet
            .read_file(&name)?
            .take(LARGEST_UNPACKED + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST_UNPACKED {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the cabinet holds too large a file",
            ));
        }
        Ok(bytes)
    };
    // The decompressors index by what the data says.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| Err(damaged()))
}

/// `ntkrnlmp.pdb` to `ntkrnlmp.pd_`.
fn packed_name(name: &str) -> String {
    let mut chars = name.chars();
    chars.next_back();
    format!("{}_", chars.as_str())
}

#[derive(Debug, PartialEq, Eq)]
enum Pointer {
    Path(PathBuf),
    Message(String),
}

/// `PATH:` and a file, `MSG:` and why there is none, or in old stores just a path.
fn follow(text: &str) -> Pointer {
    let line = text
        .lines()
        .map(str::trim)
        .find(|l| !l.is_empty())
        .unwrap_or_default();
    match line.split_once(':') {
        Some((word, rest)) if word.eq_ignore_ascii_case("MSG") => {
            Pointer::Message(rest.trim().into())
        }
        Some((word, rest)) if word.eq_ignore_ascii_case("PATH") => {
            Pointer::Path(super::path::native_path(rest.trim()))
        }
        _ => Pointer::Path(super::path::native_path(line)),
    }
}

fn read_pointer(path: &Path) -> Option<String> {
    // Not a regular file would block or never end.
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
