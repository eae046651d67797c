//! Files that are not complete dumps with pool: readers must refuse them, or read them with a
//! warning.
//!
//! First bytes: `mindumpdef.h` and `minidumpapiset.h` of the Windows SDK for dumps, the
//! formats' own documents for archives.

use std::fs;
use std::io;
use std::path::Path;

use super::container::Container;
use super::header::{Bytes, DumpHeader, HEADER_SIZE};
use super::machine::Machine;

/// A kind of unusable file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A kernel dump of 32-bit Windows 7: "PAGEDUMP".
    Bits32,
    /// A small memory dump: type 4, without pool.
    Triage,
    /// A header only: type 3.
    HeaderOnly,
    /// A minidump of a program: "MDMP".
    UserMinidump,
    /// A kernel dump of ARM64.
    Arm64,
    /// A dump whose pages are encrypted.
    Encrypted,
    /// A type that no version of Windows writes.
    UnknownType,
    /// An empty file.
    Empty,
    /// Zeros, as in a file that is still being copied.
    Zeros,
    /// A text file.
    Text,
    /// A ZIP archive.
    Zip,
    /// gzip data.
    Gzip,
    /// A cabinet; WinDbg can compress dumps into cabinets.
    Cabinet,
}

impl Broken {
    /// All kinds.
    pub const ALL: [Broken; 13] = [
        Broken::Bits32,
        Broken::Triage,
        Broken::HeaderOnly,
        Broken::UserMinidump,
        Broken::Arm64,
        Broken::Encrypted,
        Broken::UnknownType,
        Broken::Empty,
        Broken::Zeros,
        Broken::Text,
        Broken::Zip,
        Broken::Gzip,
        Broken::Cabinet,
    ];

    /// The file's bytes.
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Broken::Bits32 => bits32(),
            Broken::Triage => padded(DumpHeader::default().encode(4, 0x4_0000), 0x4_0000),
            Broken::HeaderOnly => DumpHeader::default().encode(3, HEADER_SIZE as u64),
            Broken::UserMinidump => padded(b"MDMP\x93\xa7\0\0".to_vec(), 0x1000),
            Broken::Arm64 => {
                let header = DumpHeader {
                    machine: 0xaa64,
                    ..DumpHeader::default()
                };
                padded(header.encode(6, 0x8000), 0x8000)
            }
            Broken::Encrypted => {
                let header = DumpHeader {
                    attributes: Some(1 << 8),
                    ..DumpHeader::default()
                };
                padded(header.encode(6, 0x8000), 0x8000)
            }
            Broken::UnknownType => padded(DumpHeader::default().encode(0x77, 0x8000), 0x8000),
            Broken::Empty => Vec::new(),
            Broken::Zeros => vec![0; 0x1_0000],
            Broken::Text => b"Opened log file 'c:\\debug\\memory.log'\r\n".repeat(300),
            Broken::Zip => padded(b"PK\x03\x04\x14\0\0\0\x08\0".to_vec(), 0x4000),
            Broken::Gzip => padded(
                b"\x1f\x8b\x08\x08\0\0\0\0\0\x03MEMORY.DMP\0".to_vec(),
                0x4000,
            ),
            Broken::Cabinet => padded(b"MSCF\0\0\0\0".to_vec(), 0x4000),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn write(self, path: &Path) -> io::Result<()> {
        fs::write(path, self.bytes())
    }
}

fn padded(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.resize(length.max(bytes.len()), 0);
    bytes
}

/// The 32-bit header is one page: processor 0x14C, type at 0xF88.
fn bits32() -> Vec<u8> {
    let mut bytes = Bytes(b"PAGE".repeat(0x1000 / 4));
    bytes.put(0x04, b"DUMP");
    bytes.u32(0x08, 15);
    bytes.u32(0x0c, 7601);
    bytes.u32(0x10, 0x18_5000);
    bytes.u32(0x20, 0x14c);
    bytes.u32(0x24, 2);
    bytes.u32(0x28, 0xe2);
    bytes.u32(0xf88, 2);
    padded(bytes.0, 0x1_0000)
}

/// Writes a dump that ends inside its header.
///
/// # Errors
/// The error of the file system.
pub fn cut_in_header(path: &Path, machine: &Machine) -> io::Result<()> {
    fs::write(
        path,
        machine
            .header
            .encode(6, 0)
            .get(..HEADER_SIZE / 2)
            .unwrap_or_default(),
    )
}

/// Writes the first `keep` percent of a dump.
///
/// # Errors
/// The error of the file system.
pub fn cut_in_data(
    path: &Path,
    machine: &Machine,
    container: Container,
    keep: u64,
) -> io::Result<u64> {
    let length = machine.write(path, container)? * keep / 100;
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .set_len(length)?;
    Ok(length)
}
