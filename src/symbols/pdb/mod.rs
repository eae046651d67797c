//! Reading a PDB file: identity, public symbols, type layouts.
//!
//! The `pdb` crate reads the container, the debug information header and the symbol records.
//! [`codeview`] decodes type records, for reasons given there. Supports PDBs of every kernel
//! from Windows 7 on. Refuses other files, PDBs with another identity, compressed PDBs (MSFZ),
//! and files larger than [`LARGEST_FILE`].
//!
//! A PDB comes from a network share or a server and may be damaged or hostile. Streams can't be
//! longer than the file ([`Bounded`]), and a panic inside the crate becomes a refusal.

mod codeview;
pub(super) mod lines;
mod publics;
mod types;

use std::hash::Hasher;
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::pdb::{PDB, Source, SourceSlice, SourceView, StreamIndex};
use rustc_hash::FxHasher;
use thiserror::Error;

use super::id::PdbId;
use super::layout::Field;
use publics::Publics;
use types::Types;

/// Size limit for a PDB. A kernel's public PDB is about 12 MB, a browser's 2 GB.
pub(super) const LARGEST_FILE: u64 = 2 << 30;

/// First bytes of a compressed PDB, which newer symbol servers can send.
const MSFZ: &[u8] = b"Microsoft MSFZ Container";

/// First bytes of a PDB, and the offset of the page size and page count in its header.
const MSF: &[u8] = b"Microsoft C/C++ MSF 7.00";
const PAGE_SIZE: usize = 32;
const PAGE_COUNT: usize = 40;

/// Number of the type stream in every PDB.
const TYPE_STREAM: StreamIndex = StreamIndex(2);

/// The reason why a PDB is not used.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("it belongs to another image: it is {found}, the dump needs {wanted}")]
    OtherImage { found: String, wanted: String },
    #[error(
        "it is in the compressed MSFZ form, which is not supported; download the uncompressed \
        PDB"
    )]
    Compressed,
    #[error("it is a web page (HTML), not a PDB: a sign-in or error page of a server or proxy")]
    WebPage,
    #[error("it is cut off: {length} of {wanted} bytes; copy or fetch it again")]
    CutOff { length: u64, wanted: u64 },
    #[error("it is larger than {} MiB", LARGEST_FILE >> 20)]
    TooLarge,
    #[error("it is not a readable PDB: {0}")]
    Unreadable(String),
}

impl From<::pdb::Error> for Refusal {
    fn from(error: ::pdb::Error) -> Refusal {
        Refusal::Unreadable(error.to_string())
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Unreadable(error.to_string())
    }
}

/// The owned content of a PDB.
pub(super) struct Pdb {
    publics: Publics,
    types: Option<Types>,
}

/// The parts to read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Public symbols only, enough for a driver.
    Symbols,
    SymbolsAndTypes,
}

impl Pdb {
    /// Reads a PDB, which must have the identity `id`.
    pub fn read<R>(file: R, id: &PdbId, want: Want) -> Result<Pdb, Refusal>
    where
        R: Read + Seek + Send + std::fmt::Debug,
    {
        // The crate's arithmetic panics on some damaged headers.
        catch_unwind(AssertUnwindSafe(|| Pdb::read_inner(file, id, want)))
            .unwrap_or_else(|_| Err(Refusal::Unreadable("damaged".into())))
    }

    fn read_inner<R>(file: R, id: &PdbId, want: Want) -> Result<Pdb, Refusal>
    where
        R: Read + Seek + Send + std::fmt::Debug,
    {
        let mut file = Bounded::new(file)?;
        file.check_whole()?;
        let mut pdb = PDB::open(file)?;
        check_identity(&mut pdb, id)?;
        let types = match want {
            Want::Symbols => None,
            Want::SymbolsAndTypes => pdb.raw_stream(TYPE_STREAM)?.and_then(|s| Types::parse(&s)),
        };
        // A PDB without sections or symbols still has its types.
        let mut publics = read_publics(&mut pdb).unwrap_or_default();
        if want == Want::Symbols {
            // A driver's private PDB also names functions that are not public.
            let _ = lines::procedures(&mut pdb, &mut |name, rva| publics.push(rva, name));
            publics.sort();
        }
        if publics.len() == 0 && types.as_ref().is_none_or(|t| t.len() == 0) {
            return Err(Refusal::Unreadable(
                "it holds neither symbols nor types".into(),
            ));
        }
        Ok(Pdb { publics, types })
    }

    /// Checks that a file is the complete PDB with the identity `id`, without reading all of
    /// it.
    pub fn check<R>(file: R, id: &PdbId) -> Result<(), Refusal>
    where
        R: Read + Seek + Send + std::fmt::Debug,
    {
        let work = || {
            let mut file = Bounded::new(file)?;
            file.check_whole()?;
            check_identity(&mut PDB::open(file)?, id)
        };
        catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|_| Err(Refusal::Unreadable("damaged".into())))
    }

    pub fn rva(&self, name: &str) -> Option<u32> {
        self.publics.rva(name)
    }

    pub fn nearest(&self, rva: u32) -> Option<(&str, u32)> {
        self.publics.nearest(rva)
    }

    pub fn has_type(&self, name: &str) -> bool {
        self.types.as_ref().is_some_and(|t| t.has(name))
    }

    pub fn field(&self, ty: &str, path: &str) -> Option<Field> {
        self.types.as_ref()?.field(ty, path)
    }

    /// All fields of a type, including those of unnamed members.
    pub fn fields(&self, ty: &str) -> Option<Vec<(String, Field)>> {
        self.types.as_ref()?.fields(ty)
    }

    /// Passes every public symbol with its RVA.
    pub fn each(&self, take: &mut dyn FnMut(&str, u32)) {
        self.publics.each(take);
    }

    pub fn size_of(&self, ty: &str) -> Option<u32> {
        self.types.as_ref()?.size_of(ty)
    }

    pub fn enumerator(&self, en: &str, suffix: &str) -> Option<i64> {
        self.types.as_ref()?.enumerator(en, suffix)
    }
}

/// Names are looked up by hash: sorting tens of thousands of names was the slowest step in
/// loading a kernel's PDB.
fn hash(name: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(name);
    hasher.finish()
}

fn read_publics<'s, S: Source<'s> + 's>(pdb: &mut PDB<'s, S>) -> ::pdb::Result<Publics> {
    let map = pdb.address_map()?;
    let table = pdb.global_symbols()?;
    let sections = pdb.sections()?.unwrap_or_default();
    Ok(Publics::read(&table, &map, &sections))
}

/// The GUID must be equal, and the age at least the image's: rewriting a PDB increases its age
/// but not the image's. The relevant age is in the debug information stream; the PDB stream has
/// the age of the last write of any kind.
fn check_identity<'s, S: Source<'s> + 's>(pdb: &mut PDB<'s, S>, id: &PdbId) -> Result<(), Refusal> {
    let information = pdb.pdb_information()?;
    let age = pdb
        .debug_information()
        .ok()
        .and_then(|d| d.age())
        .unwrap_or(information.age);
    let found = PdbId {
        guid: information.guid.to_bytes_le(),
        age,
        name: id.name.clone(),
    };
    if found.guid == id.guid && age >= id.age {
        return Ok(());
    }
    Err(Refusal::OtherImage {
        found: found.key(),
        wanted: id.key(),
    })
}

/// True for the start of an HTML or XML document.
fn is_web_page(start: &[u8]) -> bool {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let text = start.trim_ascii_start().to_ascii_lowercase();
    [&b"<!doctype"[..], b"<html", b"<head", b"<?xml"]
        .iter()
        .any(|known| text.starts_with(known))
}

/// A file with a limit on what its streams can add up to, even if its tables list the same page
/// repeatedly.
#[derive(Debug)]
struct Bounded<R> {
    file: R,
    length: u64,
    /// Limit for one stream in bytes.
    largest: u64,
    /// Bytes that may still be read: a crafted table can list the same pages in any number of
    /// streams.
    left: u64,
}

/// Bytes that may be read in addition to twice the length of the PDB.
const SPARE: u64 = 16 << 20;

impl<R: Read + Seek> Bounded<R> {
    fn new(mut file: R) -> Result<Bounded<R>, Refusal> {
        let length = file.seek(SeekFrom::End(0))?;
        if length > LARGEST_FILE {
            return Err(Refusal::TooLarge);
        }
        file.rewind()?;
        let mut magic = Vec::new();
        file.by_ref()
            .take(MSFZ.len() as u64)
            .read_to_end(&mut magic)?;
        if magic == MSFZ {
            return Err(Refusal::Compressed);
        }
        if is_web_page(&magic) {
            return Err(Refusal::WebPage);
        }
        Ok(Bounded {
            file,
            length,
            largest: length,
            left: length.saturating_mul(2).saturating_add(SPARE),
        })
    }

    /// Refuses a file that is shorter than its header's page count: the pages with the identity
    /// may exist while most of the rest is missing.
    fn check_whole(&mut self) -> Result<(), Refusal> {
        let mut head = Vec::new();
        self.file.rewind()?;
        self.file
            .by_ref()
            .take(PAGE_COUNT as u64 + 4)
            .read_to_end(&mut head)?;
        let number = |at| crate::bytes::u32_at(&head, at).map(u64::from);
        let pages = number(PAGE_SIZE).zip(number(PAGE_COUNT));
        // The reader refuses files that are not PDBs.
        let wanted = pages.map_or(0, |(size, count)| size * count);
        if head.starts_with(MSF) && self.length < wanted {
            return Err(Refusal::CutOff {
                length: self.length,
                wanted,
            });
        }
        Ok(())
    }
}

#[derive(Debug)]
struct View(Vec<u8>);

impl SourceView<'_> for View {
    fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl<'s, R: Read + Seek + std::fmt::Debug> Source<'s> for Bounded<R> {
    fn view(
        &mut self,
        slices: &[SourceSlice],
    ) -> io::Result<Box<dyn SourceView<'s> + Send + Sync>> {
        let eof = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let total = slices
            .iter()
            .try_fold(0usize, |sum, s| sum.checked_add(s.size))
            .ok_or_else(eof)?;
        if total as u64 > self.length {
            return Err(eof());
        }
        if total as u64 > self.largest {
            let why = format!("it is larger than {} MB", self.largest >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let again = || io::Error::new(io::ErrorKind::InvalidData, "its streams share pages");
        self.left = self.left.checked_sub(total as u64).ok_or_else(again)?;
        let mut bytes = Vec::with_capacity(total);
        for slice in slices {
            self.file.seek(SeekFrom::Start(slice.offset))?;
            let got = self
                .file
                .by_ref()
                .take(slice.size as u64)
                .read_to_end(&mut bytes)?;
            if got != slice.size {
                return Err(eof());
            }
        }
        Ok(Box::new(View(bytes)))
    }
}

#[cfg(test)]
mod tests;
