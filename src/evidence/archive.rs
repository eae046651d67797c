//! The container of an evidence file: a zip with a manifest and the tables.
//!
//! Member names are never used as paths: members are looked up by fixed names. Unpacked data is
//! limited by the constants here, whatever sizes the zip directory claims.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, Write};
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::system::files;

use super::export::readable;
use super::read::bounded;
use super::schema::{Table, VERSION};

/// The value of the manifest's `format` field.
pub const FORMAT: &str = "poolscope-evidence";
/// The member name of the manifest.
const MANIFEST: &str = "manifest.json";
/// Maximum size of the manifest, in bytes.
const LARGEST_MANIFEST: u64 = 1 << 20;
/// Maximum unpacked size of a table, in bytes.
const LARGEST_TABLE: u64 = 256 << 20;
/// Maximum number of members.
const MOST_MEMBERS: usize = 64;
/// The signature at the start of a zip file.
const MAGIC: [u8; 4] = *b"PK\x03\x04";

/// The manifest of an evidence file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// The version of the schema: major, minor.
    pub schema: (u32, u32),
    /// The name and version of the program that wrote the file.
    pub tool: String,
    /// The dump that the evidence was made from.
    pub source: Source,
    /// True if names are replaced by keyed hashes.
    pub redacted: bool,
    /// True if the file contains bytes of sample blocks.
    pub contents: bool,
    /// Number of blocks listed.
    pub blocks_listed: u64,
    /// Number of blocks that the walk located and the file does not list.
    pub blocks_left_out: u64,
    /// Tables that are empty although the dump has their data, as sentences with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The tables.
    pub tables: Vec<Member>,
}

/// The dump that an evidence file was made from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Source {
    /// The machine key of the tables.
    pub machine: String,
    /// The boot key of the tables.
    pub boot: String,
    /// The dump key of the tables.
    pub dump: String,
    /// The file name.
    pub file: String,
    /// The file size, in bytes.
    pub bytes: u64,
}

/// A table's entry in the manifest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Member {
    /// The table's name.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    /// Unpacked size, in bytes.
    pub bytes: u64,
    /// XXH3-128 of the unpacked bytes.
    pub checksum: String,
}

/// Why a file is not a readable evidence file.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The file can't be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A zip file that is not an evidence file.
    #[error(
        "a zip file, but not a poolscope evidence file: {0}; if a dump is inside, unpack it \
        first"
    )]
    NotEvidence(String),
    /// The schema has an unsupported version.
    #[error(
        "the evidence file has schema {0}.{1}, this poolscope reads {major}; {todo}", major = VERSION.0,
        todo = if *.0 > VERSION.0 { "use a newer poolscope" } else { "create it again from the \
            dump, or use an older poolscope" }
    )]
    Version(u32, u32),
    /// The file is damaged; the text says where.
    #[error("the evidence file is damaged: {0}; copy it again, and compare the sizes")]
    Damaged(String),
}

fn damaged(why: impl ToString) -> ArchiveError {
    ArchiveError::Damaged(why.to_string())
}

/// True for a file that starts with the zip signature.
pub fn is_zip(path: &Path) -> bool {
    let mut start = [0; 4];
    let is_file = std::fs::metadata(path).is_ok_and(|m| m.is_file());
    let read = is_file && File::open(path).is_ok_and(|mut f| f.read_exact(&mut start).is_ok());
    read && start == MAGIC
}

/// True for a zip whose first member is the manifest: an evidence file, complete or truncated.
pub fn is_ours(path: &Path) -> bool {
    let mut start = [0; 30 + MANIFEST.len()];
    let read = File::open(path).is_ok_and(|mut f| f.read_exact(&mut start).is_ok());
    read && start.starts_with(&MAGIC) && start.ends_with(MANIFEST.as_bytes())
}

/// An open evidence file.
pub struct Archive<R: Read + Seek> {
    zip: ZipArchive<R>,
    /// The manifest.
    pub manifest: Manifest,
}

impl<R: Read + Seek> Archive<R> {
    /// Reads the zip directory and the manifest.
    ///
    /// # Errors
    /// An [`ArchiveError`].
    pub fn of(source: R) -> Result<Self, ArchiveError> {
        let mut zip = ZipArchive::new(source).map_err(|e| damaged(e.to_string()))?;
        if zip.len() > MOST_MEMBERS {
            return Err(ArchiveError::NotEvidence("it has many files".into()));
        }
        let text = match zip.by_name(MANIFEST) {
            Ok(member) => bounded(member, LARGEST_MANIFEST)?,
            Err(_) => return Err(ArchiveError::NotEvidence("it has no manifest".into())),
        };
        let text = text.ok_or_else(|| damaged("its manifest is too long"))?;
        let manifest: serde_json::Value =
            serde_json::from_slice(&text).map_err(|e| ArchiveError::NotEvidence(e.to_string()))?;
        if manifest["format"].as_str() != Some(FORMAT) {
            return Err(ArchiveError::NotEvidence(
                "its manifest is not one of poolscope".into(),
            ));
        }
        // Check the version first: another version may have other fields.
        let version = |at: usize| {
            let number = manifest["schema"][at].as_u64();
            u32::try_from(number.unwrap_or(0)).unwrap_or(u32::MAX)
        };
        if version(0) != VERSION.0 {
            return Err(ArchiveError::Version(version(0), version(1)));
        }
        let manifest: Manifest = serde_json::from_value(manifest).map_err(damaged)?;
        if manifest.tables.len() > MOST_MEMBERS {
            return Err(damaged("its manifest names too many tables"));
        }
        Ok(Archive { zip, manifest })
    }

    /// The bytes of a table, with the checksum verified; `None` if the file does not have the
    /// table.
    ///
    /// # Errors
    /// An [`ArchiveError`].
    pub fn table(&mut self, table: &Table) -> Result<Option<Bytes>, ArchiveError> {
        let mut named = self.manifest.tables.iter();
        let Some(about) = named.find(|m| m.name == table.name).cloned() else {
            return Ok(None);
        };
        if about.bytes > LARGEST_TABLE {
            return Err(damaged(format!("table {} is too large", table.name)));
        }
        let Ok(member) = self.zip.by_name(&member_name(table)) else {
            return Err(damaged(format!("table {} is missing", table.name)));
        };
        let bytes = bounded(member, about.bytes)
            .map_err(|e| damaged(format!("table {}: {e}", table.name)))?;
        let bytes = bytes.filter(|b| b.len() as u64 == about.bytes);
        let bytes =
            bytes.ok_or_else(|| damaged(format!("table {} has another length", table.name)))?;
        if checksum(&bytes) != about.checksum {
            return Err(damaged(format!(
                "table {} has another checksum",
                table.name
            )));
        }
        Ok(Some(bytes.into()))
    }
}

fn member_name(table: &Table) -> String {
    format!("tables/{}.parquet", table.name)
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:032x}", xxh3_128(bytes))
}

/// Writes an evidence file. On failure no file is left.
///
/// # Errors
/// I/O errors.
pub fn write(
    path: &Path,
    manifest: Manifest,
    tables: &[(&'static Table, u64, Vec<u8>)],
) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Pack in memory: if the disk is full, the zip writer prints messages of its own.
    let bytes = pack(Cursor::new(Vec::new()), manifest, tables)?.into_inner();
    let (mut file, partial) = tempfile::Builder::new()
        .prefix(".poolscope-")
        .suffix(".partial")
        .tempfile_in(folder)?
        .into_parts();
    file.write_all(&bytes)?;
    file.sync_all()?;
    drop(file);
    readable(&partial)?;
    files::put_path(partial, path)
}

/// Writes an evidence file to `out`; the list of tables is added to the manifest.
///
/// # Errors
/// I/O errors of the writer.
pub fn pack<W: Write + Seek>(
    out: W,
    mut manifest: Manifest,
    tables: &[(&'static Table, u64, Vec<u8>)],
) -> io::Result<W> {
    manifest.tables = tables
        .iter()
        .map(|(table, rows, bytes)| Member {
            name: table.name.to_owned(),
            rows: *rows,
            bytes: bytes.len() as u64,
            checksum: checksum(bytes),
        })
        .collect();
    let mut zip = ZipWriter::new(out);
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let failed = |e: zip::result::ZipError| io::Error::other(e);
    zip.start_file(MANIFEST, options).map_err(failed)?;
    serde_json::to_writer_pretty(&mut zip, &manifest)?;
    for (table, _, bytes) in tables {
        zip.start_file(member_name(table), options)
            .map_err(failed)?;
        zip.write_all(bytes)?;
    }
    zip.finish().map_err(failed)
}

/// A source that an evidence file can be read from.
pub trait Store: Read + Seek + Send {}

impl<T: Read + Seek + Send> Store for T {}

/// An open evidence file, on disk or in memory.
pub type Stored = Archive<Box<dyn Store>>;

impl Stored {
    /// Opens an evidence file on disk.
    ///
    /// # Errors
    /// An [`ArchiveError`].
    pub fn open(path: &Path) -> Result<Stored, ArchiveError> {
        Archive::of(Box::new(BufReader::new(File::open(path)?)))
    }

    /// Opens an evidence file in memory.
    ///
    /// # Errors
    /// An [`ArchiveError`].
    pub fn of_bytes(bytes: Vec<u8>) -> Result<Stored, ArchiveError> {
        Archive::of(Box::new(Cursor::new(bytes)))
    }
}
