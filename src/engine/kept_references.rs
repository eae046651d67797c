//! Caches the references of all tags beside the index, so that images are searched only once. If
//! the cached data can't be used, it is computed again, which takes a second or two.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::analysis::references::{Survey, without_exports};
use crate::system::files;

use super::Engine;
use super::cache::{IndexCache, PARTIAL, REFERENCES, make_room};

/// The signature of the file; the last two characters are the format version.
const MAGIC: [u8; 8] = *b"PSREFS01";
/// Maximum size of the file, in bytes; a large server needs about 20 MB.
const LARGEST: u64 = 256 << 20;
/// Maximum size of all cached files, in bytes.
const LARGEST_CACHE: u64 = 4 << 30;

impl Engine {
    /// The cached references, if they are of this dump, these symbols, these tags and this
    /// program.
    pub(super) fn kept_references(&self) -> Option<Survey> {
        let IndexCache::In(directory) = &self.options.cache else {
            return None;
        };
        let survey = read(&self.references_place(directory)?)?;
        survey.fits(self.kernel.modules.len()).then_some(survey)
    }

    /// Caches the references. If that fails, the next run computes them again.
    pub(super) fn keep_references(&self, survey: &Survey) {
        let IndexCache::In(directory) = &self.options.cache else {
            return;
        };
        if !survey.is_whole() || !self.dump.is_unchanged() || self.dump.has_failed() {
            return;
        }
        if let Some(place) = self.references_place(directory) {
            let _ = write(directory, &place, survey);
        }
    }

    fn references_place(&self, directory: &Path) -> Option<PathBuf> {
        let mut hash = Xxh3::new();
        hash.update(&self.index_key()?.to_le_bytes());
        // build.rs sets this: a hash of the sources that determine the references.
        hash.update(env!("POOLSCOPE_REFERENCES").as_bytes());
        hash.update(format!("{:?}", self.dump.modified()?).as_bytes());
        // A PDB that names a module's functions changes the references.
        for (index, _) in without_exports(&self.kernel, self.sessions()) {
            let named = self
                .names()
                .rva(&self.kernel, index, "DriverEntry")
                .is_some();
            let source = self.names().source(index);
            hash.update(format!("{index} {named} {source:?}").as_bytes());
        }
        for row in &self.trackers.rows {
            hash.update(&row.tag.value().to_le_bytes());
        }
        Some(directory.join(format!("{:032x}{REFERENCES}", hash.digest128())))
    }
}

fn read(path: &Path) -> Option<Survey> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(LARGEST)
        .read_to_end(&mut bytes)
        .ok()?;
    let (head, payload) = bytes.split_at_checked(16)?;
    let (magic, sum) = head.split_at_checked(8)?;
    let sum = u64::from_le_bytes(sum.try_into().ok()?);
    if magic != MAGIC || xxh3_64(payload) != sum {
        return None;
    }
    postcard::from_bytes(payload).ok()
}

fn write(directory: &Path, place: &Path, survey: &Survey) -> io::Result<()> {
    let payload = postcard::to_stdvec(survey).map_err(io::Error::other)?;
    if payload.len() as u64 > LARGEST - 16 {
        return Err(io::Error::other("too large"));
    }
    fs::create_dir_all(directory)?;
    make_room(directory, LARGEST_CACHE - payload.len() as u64);
    let mut out = tempfile::Builder::new()
        .prefix(PARTIAL.0)
        .suffix(PARTIAL.1)
        .tempfile_in(directory)?;
    out.write_all(&MAGIC)?;
    out.write_all(&xxh3_64(&payload).to_le_bytes())?;
    out.write_all(&payload)?;
    files::put(out, place)
}
