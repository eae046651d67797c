//! Reads and writes bytes at a file offset, on every system.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

/// Writes bytes at an offset.
pub fn write(mut file: &File, at: u64, bytes: &[u8]) {
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

/// Fills a buffer from an offset.
pub fn read(mut file: &File, at: u64, bytes: &mut [u8]) {
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(bytes).unwrap();
}
