//! How a dump is opened, and why one can't be.

use std::path::PathBuf;

use thiserror::Error;

use crate::dump::{Dump, DumpError};
use crate::kernel::KernelError;
use crate::symbols::{Network, SymbolPath};

use super::IndexCache;

/// How to open a dump.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where to look for PDBs.
    pub symbols: SymbolPath,
    /// Whether the servers on that path may be asked. Opening never asks them; see
    /// [`crate::engine::Engine::missing_pdb`].
    pub network: Network,
    /// Worker threads; 0 for one per core.
    pub threads: usize,
    /// A pooltag.txt to use over the built-in table.
    pub pooltag: Option<PathBuf>,
    /// Where finished indexes are kept.
    pub cache: IndexCache,
    /// Bytes of memory that the blocks of an index may take; `None` for three quarters of
    /// what is available, where that is known.
    pub memory: Option<u64>,
    /// The other file of a VMware snapshot, where it is not beside the first.
    pub partner: Option<PathBuf>,
}

/// Why a dump can't be worked with.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file is not a readable dump.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The file is cut short, and the kernel's own pages are among the missing.
    #[error(
        "the file is truncated: {missing} of {all} pages are missing, including pages of the \
            kernel; copy it again, and compare the sizes"
    )]
    Truncated {
        /// Pages that the container names and the file is too short for.
        missing: u64,
        /// Pages that the container names.
        all: u64,
    },
    /// The file has holes, and the kernel is not to be found in the rest.
    #[error(
        "{why}; the file has holes of {holes} bytes, which read as zeros: the copy may be \
            incomplete"
    )]
    Holes {
        /// Bytes of the file's long holes.
        holes: u64,
        /// What was not found.
        why: KernelError,
    },
    /// It is an evidence file that can't be read.
    #[error("{0}")]
    Evidence(String),
    /// The dump's kernel can't be found.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The user's pooltag.txt can't be used.
    #[error("{path}: {source}; omit --pooltag to use only the built-in table", path = path.display())]
    Pooltag {
        /// The file asked for.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

/// In a truncated file, this is why there is no kernel.
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
