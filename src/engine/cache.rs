//! A cache of finished indexes, so that each dump is walked only once.
//!
//! Each dump has one file in the user's cache directory. Its name is a hash of everything that
//! determines the result of a walk: the dump ([`Dump::identity`](crate::dump::Dump::identity)),
//! the sources of this program, the symbols, and the pool regions. A file gets its name when it
//! is complete, so neither a second process nor an interruption leaves a partial file. If the
//! cache can't be used, a note says so; the answer is unaffected.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::Xxh3;

use crate::pool::index::Snapshot;
use crate::pool::index::file::{self, ReadError, Stamp, Terms};
use crate::symbols::{Source, cache_directory};
use crate::system::files;

use super::Engine;

/// Maximum size of all cached indexes, in bytes; the least recently used are removed first.
const LARGEST_CACHE: u64 = 4 << 30;
/// An index may use at most the free disk space divided by this number.
const SHARE_OF_DISK: u64 = 4;
/// The file extension of a cached index.
const SUFFIX: &str = ".poolidx";
/// The file extension of the cached references of a dump.
pub(super) const REFERENCES: &str = ".poolrefs";
/// Prefix and suffix of the name of a file in progress.
pub(super) const PARTIAL: (&str, &str) = (".poolscope-", ".partial");
/// A file in progress that is older than this is left over from a killed process.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The location of the index cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IndexCache {
    /// The cache is disabled.
    #[default]
    Off,
    /// The cache is unavailable because this machine defines no cache directory.
    Homeless,
    /// This directory, which is created on demand.
    In(PathBuf),
}

impl IndexCache {
    /// The user's cache: the directory `index` beside the directory of symbols.
    pub fn of_user() -> IndexCache {
        match cache_directory() {
            Some(root) => IndexCache::In(root.join("index")),
            None => IndexCache::Homeless,
        }
    }
}

/// The result of a cache lookup.
#[derive(Debug, Default)]
pub struct Answered {
    /// The cached index, which is complete, with the time of its creation.
    pub index: Option<Snapshot>,
    /// The reason why an existing file is not used, as a sentence.
    pub note: Option<String>,
}

impl Engine {
    /// The cached index of this dump, if there is one. Returns soon after `wanted` returns false.
    pub fn kept_index(&self, wanted: &(dyn Fn() -> bool + Sync)) -> Answered {
        let IndexCache::In(directory) = &self.options.cache else {
            return Answered::default();
        };
        let Some(key) = self.index_key() else {
            return Answered::default();
        };
        let path = place(directory, key);
        let Ok(file) = open(&path) else {
            return Answered::default();
        };
        let terms = Terms {
            key,
            limit: self.memory_limit(),
            is_current: &|modified, opened| self.dump.is_as_of(modified, opened),
            wanted,
        };
        let read = || file::read(&file, &terms);
        let read = match self.thread_pool() {
            Ok(pool) => pool.install(read),
            Err(_) => read(),
        };
        match read {
            Ok(index) => {
                // The modification time is the time of the last use; eviction is in this order.
                let _ = file.set_modified(SystemTime::now());
                Answered {
                    index: Some(index),
                    note: None,
                }
            }
            Err(ReadError::Cancelled) => Answered::default(),
            Err(why) => Answered {
                index: None,
                note: Some(format!(
                    "the cached index {} is not used, and the pool is walked again: {why}",
                    path.display()
                )),
            },
        }
    }

    /// Caches a finished index. On failure returns the reason as a sentence.
    pub fn keep_index(&self, index: &Snapshot) -> Option<String> {
        let directory = match &self.options.cache {
            IndexCache::Off => return None,
            IndexCache::Homeless => {
                return Some(
                    "the index is not cached: no cache directory is known (HOME is not set); \
                        --no-cache turns the cache off"
                        .into(),
                );
            }
            IndexCache::In(directory) => directory,
        };
        let whole = index.is_complete() && index.left_out == 0 && index.kept.is_none();
        if !whole || index.totals.failed_pages() > 0 || index.failed_windows > 0 {
            return None;
        }
        let why = match self.keep_in(directory, index) {
            Ok(()) => return None,
            Err(why) => why,
        };
        Some(format!(
            "the index is not cached in {}: {why}",
            directory.display()
        ))
    }

    fn keep_in(&self, directory: &Path, index: &Snapshot) -> io::Result<()> {
        let key = self.index_key();
        let (Some(key), Some(modified)) = (key, self.dump.modified()) else {
            return Err(io::Error::other("the dump could not be identified"));
        };
        if !self.dump.is_unchanged() || self.dump.has_failed() {
            return Err(io::Error::other(
                "the dump changed, or could not be read, while it was walked",
            ));
        }
        let stamp = Stamp {
            key,
            modified,
            opened: self.dump.opened(),
        };
        fs::create_dir_all(directory)?;
        let needed = index.footprint() as u64;
        if needed > LARGEST_CACHE / 2 {
            return Err(io::Error::other(format!(
                "it takes {:.1} MB, more than half of the cache",
                needed as f64 / 1e6
            )));
        }
        make_room(directory, LARGEST_CACHE - needed);
        if fs4::available_space(directory).is_ok_and(|free| needed > free / SHARE_OF_DISK) {
            return Err(io::Error::other(format!(
                "it takes {:.1} MB, more than a quarter of the free disk",
                needed as f64 / 1e6
            )));
        }
        let mut out = tempfile::Builder::new()
            .prefix(PARTIAL.0)
            .suffix(PARTIAL.1)
            .tempfile_in(directory)?;
        match self.thread_pool() {
            Ok(pool) => pool.install(|| file::write(index, &stamp, out.as_file_mut())),
            Err(_) => file::write(index, &stamp, out.as_file_mut()),
        }?;
        // No sync: the checksums detect data lost in a power failure.
        files::put(out, &place(directory, key))?;
        make_room(directory, LARGEST_CACHE);
        Ok(())
    }

    /// A hash of everything that determines the result of a walk of this dump.
    pub(super) fn index_key(&self) -> Option<u128> {
        let mut hash = Xxh3::new();
        hash.update(&self.dump.identity()?.to_le_bytes());
        // Two images of one machine may be equal in all sampled bytes, so add the machine's
        // facts.
        let machine = &self.kernel.machine;
        for time in [machine.system_time, machine.uptime] {
            hash.update(&time.unwrap_or(0).to_le_bytes());
        }
        // build.rs sets this: a hash of the walk's sources.
        hash.update(env!("POOLSCOPE_WALK").as_bytes());
        let id = self.kernel.pdb.as_ref().map(|id| id.key());
        let source = match self.kernel.symbol_source() {
            Source::Pdb { path } => {
                let length = fs::metadata(path).map(|m| m.len()).ok();
                format!("pdb of {length:?} bytes")
            }
            other => format!("{other:?}"),
        };
        let regions = (&self.regions.regions, &self.regions.special);
        hash.update(format!("{id:?} {source} {regions:?}").as_bytes());
        Some(hash.digest128())
    }
}

fn place(directory: &Path, key: u128) -> PathBuf {
    directory.join(format!("{key:032x}{SUFFIX}"))
}

/// Opens a regular file, writable if permitted so that its time can be set.
fn open(path: &Path) -> io::Result<File> {
    // Reading a device or pipe might block or never end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let both = File::options().read(true).write(true).open(path);
    both.or_else(|_| File::open(path))
}

/// Removes the least recently used files until at most `allowed` bytes are left, and partial
/// files of killed processes. Files that can't be removed stay.
pub(super) fn make_room(directory: &Path, allowed: u64) {
    let mut kept = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Ok(about) = entry.metadata() else {
            continue;
        };
        let used = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let partial = name.starts_with(PARTIAL.0) && name.ends_with(PARTIAL.1);
        if partial && used.elapsed().is_ok_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(entry.path());
        } else if about.is_file()
            && (partial || [SUFFIX, REFERENCES].iter().any(|end| name.ends_with(end)))
        {
            kept.push((used, about.len(), entry.path(), partial));
        }
    }
    let mut all: u64 = kept.iter().fold(0, |sum, k| sum.saturating_add(k.1));
    kept.sort();
    for (_, length, path, partial) in kept {
        if all > allowed && !partial && fs::remove_file(path).is_ok() {
            all -= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(directory: &Path, name: &str, length: usize, age: u64) -> PathBuf {
        let path = directory.join(name);
        fs::write(&path, vec![0; length]).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age);
        let file = File::options().append(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
        path
    }

    #[test]
    fn only_the_least_recently_used_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a.poolidx", "b.poolidx", "c.poolidx", "other.txt"];
        let ages = [10, 30, 20, 100];
        let files = [0, 1, 2, 3].map(|i| file(folder.path(), names[i], 100, ages[i]));
        let there = || files.clone().map(|f| f.exists());
        make_room(folder.path(), 300);
        assert_eq!(there(), [true, true, true, true]);
        make_room(folder.path(), 299);
        assert_eq!(there(), [true, false, true, true]);
        make_room(folder.path(), 100);
        assert_eq!(there(), [true, false, false, true]);
    }

    #[test]
    fn abandoned_partial_files_are_removed_and_current_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let old = file(folder.path(), ".poolscope-1.partial", 10, 7200);
        let new = file(folder.path(), ".poolscope-2.partial", 10, 60);
        make_room(folder.path(), 0);
        assert_eq!((old.exists(), new.exists()), (false, true));
    }
}
