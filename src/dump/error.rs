//! Errors when opening a file: what the file is, and which file to get instead.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The file can't be opened as a 64-bit kernel dump. The message says what the file is and then
/// what to do.
#[derive(Debug, Error)]
pub enum DumpError {
    /// The operating system refused to open or map the file.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The path that was requested.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A directory, pipe or device, which can't be mapped.
    #[error(
        "this is {what}, not a file; save it to a file first, or give the path of a MEMORY.DMP on a disk"
    )]
    NotAFile {
        /// "a directory", "a pipe"…
        what: &'static str,
    },
    /// Length 0.
    #[error(
        "the file is empty (0 bytes): the dump was never written, or the copy failed; copy it again, or check the free space on the machine that crashed"
    )]
    Empty,
    /// Shorter than the header of a 64-bit dump.
    #[error(
        "the file ends inside the dump header ({length} of {needed} bytes): the copy was cut short; copy it again"
    )]
    HeaderTruncated {
        /// Length of the file in bytes.
        length: u64,
        /// Length of a header in bytes (0x2000).
        needed: u64,
    },
    /// The first page holds only zeros.
    #[error(
        "the file starts with zeros: the dump was reserved but never written (or the copy is not finished); after a crash Windows writes it at the next boot, so wait for that, then copy it again"
    )]
    Zeros,
    /// "PAGEDUMP": a dump of 32-bit Windows.
    #[error(
        "this is a dump of 32-bit Windows (build {build}); poolscope reads 64-bit dumps only, open it with WinDbg"
    )]
    Bits32 {
        /// Windows build number of the header.
        build: u32,
    },
    /// "MDMP": a dump of one process.
    #[error(
        "this is a user-mode minidump: one process, no kernel memory; get the kernel dump, %SystemRoot%\\MEMORY.DMP, of the machine"
    )]
    UserMinidump,
    /// DumpType 4: about 256 KB, without pool.
    #[error(
        "this is a triage dump (\"minidump\", type 4) of {architecture} Windows build {build}, bug check {bugcheck:#x}: it holds one stack and a driver list but no pool; set the machine to \"Kernel memory dump\" or \"Automatic memory dump\" and get %SystemRoot%\\MEMORY.DMP"
    )]
    Triage {
        /// "x64", "ARM64"…
        architecture: &'static str,
        /// Windows build number of the header.
        build: u32,
        /// Bug check code of the header.
        bugcheck: u32,
    },
    /// DumpType 3.
    #[error(
        "this dump holds a header only (type 3), no memory: the machine could not write the rest; check its page file and free disk space, then get a new dump"
    )]
    HeaderOnly,
    /// A processor other than x64.
    #[error(
        "this is a dump of {architecture} Windows (build {build}); poolscope reads x64 dumps only, open it with WinDbg"
    )]
    Architecture {
        /// "ARM64", "IA-64" or "an unknown processor".
        architecture: &'static str,
        /// Windows build number of the header.
        build: u32,
    },
    /// A compressed container with the dump inside.
    #[error("this is {what}, not a dump; unpack it first: {how}")]
    Compressed {
        /// "a cabinet (CAB)"…
        what: &'static str,
        /// The command that unpacks it.
        how: String,
    },
    /// A known format that is not supported, or an image with a missing part.
    #[error("{what}; {how}")]
    Refused {
        /// What the file is, as a sentence.
        what: String,
        /// What to do.
        how: String,
    },
    /// An unknown format.
    #[error(
        "this is not a Windows kernel dump: it starts with {start}, a dump starts with \"PAGEDU64\", and a raw image of memory has 16 MB or more in whole pages of 4096 bytes; get %SystemRoot%\\MEMORY.DMP"
    )]
    NotADump {
        /// The first eight bytes, printable.
        start: String,
    },
    /// A dump type with an unknown container.
    #[error(
        "the header gives dump type {dump_type:#x}, which is not known; types 1, 2, 5, 6, 8, 9 and 0xA are read"
    )]
    UnknownType {
        /// DumpType of the header.
        dump_type: u32,
    },
    /// Attributes bit 8 is set.
    #[error(
        "the dump's data is encrypted (header attribute EncryptedDumpData); decrypt it with the machine's dump encryption key first"
    )]
    Encrypted,
    /// The header or the bitmap contradicts itself.
    #[error("the dump is damaged: {what}; copy it again, or get another dump")]
    Damaged {
        /// The structure and the problem, with the numbers.
        what: String,
    },
}

impl DumpError {
    /// A refusal: what the file is, as a sentence without its full stop, and what to do.
    pub(super) fn refused(what: impl Into<String>, how: impl Into<String>) -> DumpError {
        DumpError::Refused {
            what: what.into(),
            how: how.into(),
        }
    }

    /// The same error with the file's name in the unpack command, quoted for a shell.
    #[must_use]
    pub fn with_path(self, path: &Path) -> DumpError {
        match self {
            DumpError::Compressed { what, how } => DumpError::Compressed {
                what,
                how: how.replace("FILE", &quoted(&path.to_string_lossy())),
            },
            other => other,
        }
    }
}

/// Quotes a word for a shell if necessary.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/\\.:_-+,@".contains(c);
    match word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}
