//! The options for opening a dump, and the errors.

use std::path::PathBuf;

use thiserror::Error;

use crate::dump::{Dump, DumpError};
use crate::kernel::KernelError;
use crate::symbols::{Network, SymbolPath};

use super::IndexCache;

/// The options for opening a dump.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The locations of PDBs.
    pub symbols: SymbolPath,
    /// Whether the servers on the symbol path may be contacted. Opening never contacts them; see
    /// [`crate::engine::Engine::missing_pdb`].
    pub network: Network,
    /// Number of worker threads; 0 for one per core.
    pub threads: usize,
    /// A pooltag.txt that overrides the built-in table.
    pub pooltag: Option<PathBuf>,
    /// The index cache.
    pub cache: IndexCache,
    /// Maximum memory for the blocks of an index, in bytes; `None` for 75% of the available
    /// memory.
    pub memory: Option<u64>,
    /// The other file of a VMware snapshot, if it is in another place.
    pub partner: Option<PathBuf>,
}

/// The reason why a dump can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file is not a readable dump.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The file is truncated, and the kernel's pages are missing.
    #[error(
        "the file is truncated: {missing} of {all} pages are missing, including pages of the \
            kernel; copy it again, and compare the sizes"
    )]
    Truncated {
        /// Number of pages that lie beyond the end of the file.
        missing: u64,
        /// Number of pages that the container lists.
        all: u64,
    },
    /// The file has holes, and the kernel was not found in the rest.
    #[error(
        "{why}; the file has holes of {holes} bytes, which read as zeros: the copy may be \
            incomplete"
    )]
    Holes {
        /// Number of bytes in holes.
        holes: u64,
        /// The error of the search for the kernel.
        why: KernelError,
    },
    /// An evidence file that can't be read; the text is the reason.
    #[error("{0}")]
    Evidence(String),
    /// The kernel was not found.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The user's pooltag.txt can't be used.
    #[error("{path}: {source}; omit --pooltag to use only the built-in table", path = path.display())]
    Pooltag {
        /// The path of the pooltag.txt.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

/// Reports a truncated file or holes as the reason if the kernel was not found.
pub(super) fn no_kernel(dump: &Dump, error: KernelError) -> OpenError {
    match dump.pages_cut_off() {
        0 => match dump.hole_bytes() {
            0 => error.into(),
            holes => OpenError::Holes { holes, why: error },
        },
        missing => OpenError::Truncated {
            missing,
            all: missing + dump.pages_present(),
        },
    }
}
