//! Names to addresses and offsets, from nt's PDB or the built-in tables.
//!
//! All other rooms get the offset of a field or the address of a symbol here and have no
//! numbers of their own. [`Symbols::load`] selects the source: first the PDB with the identity
//! stored in the dump, if the symbol path leads to it; then the built-in tables of exactly this
//! kernel; then the layouts of the nearest build, without addresses. Loading always succeeds.
//! [`Source`] names the source, and the notes list what was refused.
//!
//! Field names are those of Microsoft's public PDBs. `u1.Flink` steps into a member: with a PDB
//! into any member, with the built-in tables only into anonymous ones. So query
//! `_MI_SYSTEM_INFORMATION.Vs` and a field of `_MI_VISIBLE_STATE` separately.

mod builtin;
#[cfg(test)]
mod fixture;
mod id;
mod layout;
mod network;
mod path;
mod pdb;
mod server;
mod store;
mod verifier;
mod wanted;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use builtin::{Kernel, Tables};
pub use id::{Needed, PUBLIC_SERVER, PdbId};
pub use layout::Field;
pub use network::Network;
pub use path::{Element, Store, SymbolPath, cache_directory, default_store};
pub use pdb::lines::Origin;
use pdb::{Pdb, Refusal, Want};
pub use server::{Client, FetchError, Fetched, Limits, Progress, Watch, shown as shown_address};
pub use wanted::{Located, WantedPdb};

/// The source of an answer, as shown to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The PDB with the identity stored in the dump.
    Pdb {
        /// The file, possibly a cabinet.
        path: PathBuf,
    },
    /// Built-in tables of exactly this kernel, selected by identity.
    BuiltIn {
        /// The kernel's file version, `10.0.19041.3570`.
        version: String,
    },
    /// Built-in layouts of the nearest known build; no symbol addresses.
    Layout {
        /// The build that the layouts come from.
        build: u32,
    },
    /// No source: a driver without its PDB.
    None,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Pdb { path } => write!(f, "{}", path.display()),
            Source::BuiltIn { version } => write!(f, "built-in tables of {version}"),
            Source::Layout { build } => write!(f, "built-in layouts of build {build}"),
            Source::None => write!(f, "none"),
        }
    }
}

/// Additional facts about the kernel for loading symbols.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The update revision (the last part of `10.0.19041.3570`), if known. It selects between
    /// layouts of one build if the identity is unknown; the default is the newest layout.
    pub revision: Option<u32>,
}

/// The outcome of loading, which never fails.
#[derive(Debug)]
pub struct Loaded {
    /// The symbols, from any source.
    pub symbols: Symbols,
    /// Messages for the user: a PDB that was found but refused, a store's message.
    pub notes: Vec<String>,
}

/// Type layouts and symbol addresses of one module, owned and immutable.
pub struct Symbols {
    pdb: Option<Pdb>,
    kernel: Option<Kernel>,
    tables: Option<Arc<Tables>>,
    source: Source,
}

impl Symbols {
    /// Loads the symbols for the kernel with this identity (`None` if nt's debug record is not
    /// in the dump) and build number.
    pub fn load(id: Option<&PdbId>, build: u32, path: &SymbolPath, options: LoadOptions) -> Loaded {
        let (found, notes) = match id {
            Some(id) => find_pdb(id, path, Want::SymbolsAndTypes),
            None => (None, Vec::new()),
        };
        let kernel = id.and_then(|id| Kernel::find(&id.key()));
        let identity = kernel.as_ref().and_then(Kernel::build_and_revision);
        let tables = match identity {
            Some((build, revision)) => Tables::nearest(build, Some(revision)),
            None => Tables::nearest(build, options.revision),
        };
        let source = match (&found, &kernel) {
            (Some((_, path)), _) => Source::Pdb { path: path.clone() },
            (None, Some(kernel)) => Source::BuiltIn {
                version: kernel.version.to_string(),
            },
            (None, None) => Source::Layout {
                build: tables.build,
            },
        };
        let pdb = found.map(|(pdb, _)| pdb);
        Loaded {
            symbols: Symbols {
                pdb,
                kernel,
                tables: Some(tables),
                source,
            },
            notes,
        }
    }

    /// Symbols of a module other than the kernel: its PDB's public symbols, or an empty set.
    pub fn load_module(id: &PdbId, path: &SymbolPath) -> Loaded {
        let (found, notes) = find_pdb(id, path, Want::Symbols);
        let (pdb, source) = match found {
            Some((pdb, path)) => (Some(pdb), Source::Pdb { path }),
            None => (None, Source::None),
        };
        Loaded {
            symbols: Symbols {
                pdb,
                kernel: None,
                tables: None,
                source,
            },
            notes,
        }
    }

    /// Functions and source lines of addresses in a module, from its private PDB. The origins
    /// are in the order of the addresses, and empty if no PDB has them. The notes list what was
    /// refused.
    pub fn origins(id: &PdbId, path: &SymbolPath, rvas: &[u32]) -> (Vec<Origin>, Vec<String>) {
        let read = |file| pdb::lines::read(file, id, rvas);
        let (found, mut notes) = first_that(path, id, read);
        let Some(((origins, note), file)) = found else {
            return (vec![Origin::default(); rvas.len()], notes);
        };
        notes.extend(note.map(|note| format!("{}: {note}", file.display())));
        (origins, notes)
    }

    /// Replaces the built-in layout of a type by that of another build, which was found to fit
    /// better than the nearest build's.
    pub fn take_type(&mut self, ty: &'static str, build: u32) {
        if let Some(tables) = &mut self.tables {
            Arc::make_mut(tables).take_type(ty, build);
        }
    }

    /// Removes the built-in layout of a type, because the kernel's data does not fit it.
    pub fn distrust_type(&mut self, ty: &str) {
        if let Some(tables) = &mut self.tables {
            Arc::make_mut(tables).drop_type(ty);
        }
    }

    /// RVA of a symbol in the module, by its exact name.
    pub fn rva(&self, name: &str) -> Option<u32> {
        let from_pdb = self.pdb.as_ref().and_then(|p| p.rva(name));
        // The built-in addresses belong to the same file as the PDB, so they can supplement it.
        from_pdb.or_else(|| self.kernel.as_ref()?.symbols.get(name).copied())
    }

    /// The location of a field: `field("_POOL_HEADER", "PoolTag")`, `field("_MMPFN",
    /// "u1.Flink")`.
    ///
    /// If the PDB has the type, only the PDB is used, even if it lacks the field.
    pub fn field(&self, ty: &str, field: &str) -> Option<Field> {
        match self.pdb_with_type(ty) {
            Some(pdb) => pdb.field(ty, field),
            None => self.tables.as_ref()?.field(ty, field),
        }
    }

    /// Size of a type in bytes; `None` if it is unknown.
    pub fn size_of(&self, ty: &str) -> Option<u32> {
        match self.pdb_with_type(ty) {
            Some(pdb) => pdb.size_of(ty),
            None => self.tables.as_ref()?.size_of(ty),
        }
    }

    /// Value of the enumerator of `en` whose name ends in `name_suffix`. If several match, the
    /// shortest name wins, so that `PagedPool` does not match `NonPagedPool`.
    pub fn enumerator(&self, en: &str, name_suffix: &str) -> Option<i64> {
        match self.pdb_with_type(en) {
            Some(pdb) => pdb.enumerator(en, name_suffix),
            None => self.tables.as_ref()?.enumerator(en, name_suffix),
        }
    }

    /// The nearest public symbol at or below an RVA, and the distance in bytes. Without a PDB,
    /// only exact matches, because the built-in tables have too few symbols.
    pub fn nearest(&self, rva: u32) -> Option<(String, u32)> {
        if let Some(pdb) = &self.pdb {
            return pdb
                .nearest(rva)
                .map(|(name, distance)| (name.to_string(), distance));
        }
        let symbols = &self.kernel.as_ref()?.symbols;
        let exact = symbols
            .iter()
            .filter(|&(_, &at)| at == rva)
            .map(|(name, _)| *name);
        exact.min().map(|name| (name.to_string(), 0))
    }

    /// The function that contains an RVA, and the distance from its start in bytes: from the
    /// PDB, or from the built-in functions of Driver Verifier and of the pool.
    pub fn function(&self, rva: u32) -> Option<(String, u32)> {
        if let Some(pdb) = &self.pdb {
            let (name, distance) = pdb.nearest(rva)?;
            return Some((name.to_string(), distance));
        }
        let (name, distance) = self.kernel.as_ref()?.verifier.function(rva)?;
        Some((name.to_owned(), distance))
    }

    /// True when [`Symbols::function`] knows the functions that allocate and free pool.
    pub fn has_functions(&self) -> bool {
        let built_in = self.kernel.as_ref();
        self.pdb.is_some() || built_in.is_some_and(|k| k.verifier.has_functions())
    }

    /// All fields of a type with their names, unordered; `None` if the type is unknown. The
    /// built-in tables have only the fields that poolscope uses.
    pub fn fields(&self, ty: &str) -> Option<Vec<(String, Field)>> {
        match self.pdb_with_type(ty) {
            Some(pdb) => pdb.fields(ty),
            None => self.tables.as_ref()?.fields(ty),
        }
    }

    /// Built-in types whose names contain a text, ignoring case; at most twelve.
    pub fn types_like(&self, text: &str) -> Vec<&'static str> {
        let tables = self.tables.as_ref();
        tables.map(|t| t.types_like(text, 12)).unwrap_or_default()
    }

    /// Passes every symbol with its RVA to `take`: from the PDB, or else from the built-in
    /// tables.
    pub fn each(&self, take: &mut dyn FnMut(&str, u32)) {
        match (&self.pdb, &self.kernel) {
            (Some(pdb), _) => pdb.each(take),
            (None, Some(kernel)) => kernel.symbols.iter().for_each(|(n, rva)| take(n, *rva)),
            (None, None) => {}
        }
    }

    /// The source of the answers.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The source for a type or enum: `pdb`, `built-in` (this kernel, or revisions with the
    /// same layout), `nearest build`, or `unknown`.
    pub fn type_origin(&self, ty: &str) -> &'static str {
        let known = self
            .tables
            .as_ref()
            .is_some_and(|t| t.has_type(ty) || t.has_enum(ty));
        if self.pdb_with_type(ty).is_some() {
            "pdb"
        } else if !known {
            "unknown"
        } else if self.kernel.is_some() {
            "built-in"
        } else {
            "nearest build"
        }
    }

    /// The file to fetch on another machine to get this PDB; `None` for an unsafe name.
    pub fn needed(id: &PdbId) -> Option<Needed> {
        id.needed()
    }

    /// True when the layout of a type is exactly this module's: from its PDB, or from the
    /// tables of its identity.
    pub fn is_exact(&self, ty: &str) -> bool {
        self.kernel.is_some() || self.pdb_with_type(ty).is_some()
    }

    fn pdb_with_type(&self, ty: &str) -> Option<&Pdb> {
        self.pdb.as_ref().filter(|p| p.has_type(ty))
    }
}

impl fmt::Debug for Symbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Symbols")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Reads the first PDB on the path with the right identity; refused files become notes.
fn find_pdb(id: &PdbId, path: &SymbolPath, want: Want) -> (Option<(Pdb, PathBuf)>, Vec<String>) {
    first_that(path, id, |file| Pdb::read(file, id, want))
}

/// The first file on the path that `read` accepts; it is copied to the stores that keep such
/// files. Refused files become notes.
fn first_that<T>(
    path: &SymbolPath,
    id: &PdbId,
    read: impl Fn(store::Content) -> Result<T, Refusal>,
) -> (Option<(T, PathBuf)>, Vec<String>) {
    let search = store::search(path, id);
    let mut notes = search.notes;
    for candidate in search.candidates {
        let content = store::Content::open(&candidate.path).map_err(Refusal::from);
        match content.and_then(&read) {
            Ok(pdb) => {
                store::copy(&candidate.path, &candidate.keep_in, id);
                return (Some((pdb, candidate.path)), notes);
            }
            Err(refusal) => notes.push(refused(&candidate.path, &refusal)),
        }
    }
    (None, notes)
}

fn refused(path: &Path, refusal: &Refusal) -> String {
    format!("{} is not used: {refusal}", path.display())
}

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Symbols>();
};
