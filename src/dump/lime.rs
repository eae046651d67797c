//! LiME: ranges of physical memory, each after a header of 32 bytes. Written by a Linux module;
//! the header is defined in the project's `lime.h`.

use crate::bytes::{u32_at, u64_at};

use super::error::DumpError;
use super::page_map::{FileRun, PageMap};

/// "EMiL", as a number.
const MAGIC: u32 = 0x4c69_4d45;
const HEADER: u64 = 32;

/// Finds the ranges.
///
/// # Errors
/// [`DumpError::Damaged`].
pub(super) fn page_map(file: &[u8]) -> Result<PageMap, DumpError> {
    let damaged = |what: String| DumpError::Damaged { what };
    let mut runs = Vec::new();
    let mut at = 0u64;
    // Each iteration advances by at least the header.
    while at < file.len() as u64 {
        let here = at as usize;
        if u32_at(file, here) != Some(MAGIC) {
            return Err(damaged(format!("there is no LiME header at {at:#x}")));
        }
        let version = u32_at(file, here + 4).unwrap_or(0);
        if version != 1 {
            return Err(damaged(format!("LiME version {version} at {at:#x}")));
        }
        let (Some(start), Some(last)) = (u64_at(file, here + 8), u64_at(file, here + 16)) else {
            return Err(damaged(format!(
                "the file ends in the LiME header at {at:#x}"
            )));
        };
        let length = last.checked_sub(start).and_then(|n| n.checked_add(1));
        let data = at + HEADER;
        let next = length.and_then(|n| data.checked_add(n));
        let (Some(length), Some(next)) = (length, next) else {
            return Err(damaged(format!(
                "a LiME range from {start:#x} to {last:#x}"
            )));
        };
        runs.extend(FileRun::of_bytes(start, length, data));
        at = next;
    }
    PageMap::of_runs(runs).map_err(|why| damaged(format!("LiME ranges: {why}")))
}
