//! HyperVStorage: a tree of named values in tables, and blobs.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::bytes::{array_at, u16_at, u32_at, u64_at};
use crate::dump::error::DumpError;

use super::MAGIC;

const COPIES: [usize; 2] = [0, 0x1000];
const HEADER: usize = 46;
const FIRST_TABLE: u64 = 0x2000;
const OBJECT_SIGNATURE: u32 = 0x0111_0001;
const LOG_SIGNATURE: u32 = 0x0111_0003;
/// Flag of an object in use; others are left over from an earlier state of the file.
const IN_USE: u8 = 1;
const OBJECT_ENTRY: usize = 18;
const KEY_SIGNATURE: u16 = 2;
const KEY_HEADER: usize = 10;
const KEY_ENTRY: usize = 21;
/// Flag of a value that is a blob elsewhere in the file.
const OUTSIDE: u8 = 1;

const FREE: u8 = 1;
const INT: u8 = 3;
const UINT: u8 = 4;
const STRING: u8 = 6;
const ARRAY: u8 = 7;
const NODE: u8 = 9;
/// Paths have at most four parts; a longer chain is a loop.
const MAX_DEPTH: usize = 16;

/// The location of a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    kind: u8,
    /// Offset of the value in bytes, after its length field.
    at: u64,
    size: u32,
}

/// The values of a file, by path.
#[derive(Debug, Default)]
pub(super) struct Storage {
    values: FxHashMap<String, Place>,
    /// Number of log entries that were not applied.
    pub pending: u32,
    /// Number of tables that do not end inside the file, because it was truncated.
    pub cut_off: u32,
    /// The log is after the end of the file, because it was truncated.
    pub is_log_missing: bool,
}

/// The key of an entry: the index of its table, and its offset in the table.
type Key = (u16, u32);

/// An entry of a key table.
struct Entry<'a> {
    kind: u8,
    parent: Key,
    name: &'a str,
    place: Place,
}

fn damaged<T>(what: impl Into<String>) -> Result<T, DumpError> {
    Err(DumpError::Damaged { what: what.into() })
}

/// The newer of the two headers with a correct checksum.
fn header(file: &[u8]) -> Option<[u8; HEADER]> {
    let sound = |at: usize| {
        let mut bytes: [u8; HEADER] = array_at(file, at)?;
        let checksum = u32_at(&bytes, 4)?;
        bytes.get_mut(4..8)?.fill(0);
        (bytes.starts_with(MAGIC) && crc32fast::hash(&bytes) == checksum).then_some(bytes)
    };
    let [first, second] = COPIES.map(sound);
    let sequence = |bytes: &[u8; HEADER]| u16_at(bytes, 8).unwrap_or(0);
    match (first, second) {
        // Sequence numbers wrap around.
        (Some(a), Some(b)) => match sequence(&b).wrapping_sub(sequence(&a)) {
            1..0x8000 => Some(b),
            _ => Some(a),
        },
        (a, b) => a.or(b),
    }
}

impl Storage {
    /// Reads all tables.
    ///
    /// # Errors
    /// [`DumpError::Damaged`], and a refusal of unknown versions.
    pub fn read(file: &[u8]) -> Result<Storage, DumpError> {
        let Some(header) = header(file) else {
            return damaged("both headers of the .vmrs have wrong checksums");
        };
        let version = u32_at(&header, 10).unwrap_or(0);
        if !(0x0200..=0x04ff).contains(&version) {
            return Err(DumpError::refused(
                format!("this is a Hyper-V file of format version {version:#x}"),
                "versions 2.0 to 4.x are read; take a live dump in the guest",
            ));
        }
        let log = u64_at(&header, 0x1a).and_then(|at| usize::try_from(at).ok());
        let pending = log.filter(|at| u32_at(file, *at) == Some(LOG_SIGNATURE));
        let (tables, cut_off) = key_tables(file)?;
        let is_log_missing = log.is_some_and(|at| at >= file.len());
        Ok(Storage {
            cut_off,
            is_log_missing,
            values: tree(file, &tables),
            pending: pending
                .and_then(|at| u32_at(file, at.checked_add(8)?))
                .unwrap_or(0),
        })
    }

    /// The values whose path is this prefix and a number, by that number.
    pub fn numbered(&self, prefix: &str) -> Vec<(u64, Place)> {
        let number = |path: &str| path.strip_prefix(prefix)?.parse::<u64>().ok();
        let found = self.values.iter();
        let mut out: Vec<_> = found
            .filter_map(|(path, place)| Some((number(path)?, *place)))
            .collect();
        out.sort_unstable_by_key(|(number, _)| *number);
        out
    }

    /// True when a value or a node has this path.
    pub fn has(&self, path: &str) -> bool {
        self.values.contains_key(path)
    }

    /// A number.
    pub fn number(&self, file: &[u8], path: &str) -> Option<i64> {
        let place = self.values.get(path)?;
        let at = usize::try_from(place.at).ok()?;
        let plain = matches!(place.kind, INT | UINT);
        u64_at(file, at).filter(|_| plain).map(u64::cast_signed)
    }

    /// An array.
    pub fn bytes<'a>(&self, file: &'a [u8], path: &str) -> Option<&'a [u8]> {
        self.values.get(path)?.bytes(file)
    }
}

impl Place {
    /// The bytes of an array; `None` unless all of them are in the file.
    pub fn bytes<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        let at = usize::try_from(self.at).ok()?;
        let end = at.checked_add(self.size as usize)?;
        file.get(at..end).filter(|_| self.kind == ARRAY)
    }

    /// Offset and length in bytes.
    pub fn extent(&self) -> (u64, u32) {
        (self.at, self.size)
    }
}

/// Offset and length of the key tables, by index.
type KeyTables = FxHashMap<u16, (usize, usize)>;

/// All key tables, and the number of tables that do not end inside the file.
fn key_tables(file: &[u8]) -> Result<(KeyTables, u32), DumpError> {
    let mut out: FxHashMap<u16, (u16, usize, usize)> = FxHashMap::default();
    let mut seen = FxHashSet::default();
    let mut waiting = vec![FIRST_TABLE];
    let mut first = true;
    let mut cut_off = 0u32;
    while let Some(table) = waiting.pop() {
        if !seen.insert(table) {
            continue;
        }
        let at = usize::try_from(table).unwrap_or(usize::MAX);
        if u32_at(file, at) != Some(OBJECT_SIGNATURE) {
            if first {
                return damaged("the .vmrs has no object table");
            }
            continue;
        }
        first = false;
        let room = file.len().saturating_sub(at + 8) / OBJECT_ENTRY;
        let count = u32_at(file, at + 4).unwrap_or(0) as usize;
        if count > room {
            return damaged(format!(
                "an object table of {count} entries, but the file has room for {room}"
            ));
        }
        let flags = |i: usize| file.get(at + 8 + i * OBJECT_ENTRY + 17).copied();
        let in_use = |i: usize| flags(i).is_some_and(|flags| flags & IN_USE != 0);
        // If no object is marked, the writer does not use the mark.
        let marks = (0..count).any(in_use);
        for i in (0..count).filter(|i| !marks || in_use(*i)) {
            let entry = at + 8 + i * OBJECT_ENTRY;
            let (Some(kind), Some(place), Some(size)) = (
                file.get(entry).copied(),
                u64_at(file, entry + 5),
                u32_at(file, entry + 13),
            ) else {
                break;
            };
            let start = usize::try_from(place).unwrap_or(usize::MAX);
            let end = start.saturating_add(size as usize);
            let is_cut = matches!(kind, 1 | 2) && end > file.len();
            cut_off = cut_off.saturating_add(u32::from(is_cut));
            let end = end.min(file.len());
            match kind {
                // Each table has its own signature, so the size of the file limits their
                // number.
                1 => waiting.push(place),
                2 if u16_at(file, start) == Some(KEY_SIGNATURE) => {
                    let index = u16_at(file, start + 2).unwrap_or(0);
                    let sequence = u16_at(file, start + 4).unwrap_or(0);
                    let known = out.get(&index);
                    if known.is_none_or(|(other, ..)| sequence.wrapping_sub(*other) < 0x8000) {
                        out.insert(index, (sequence, start, end));
                    }
                }
                _ => {}
            }
        }
    }
    let out = out.into_iter();
    let tables = out.map(|(index, (_, start, end))| (index, (start, end)));
    Ok((tables.collect(), cut_off))
}

/// The entry at an offset, and the offset of the next one.
fn entry(file: &[u8], at: usize, end: usize) -> Option<(Option<Entry<'_>>, usize)> {
    if at.checked_add(KEY_ENTRY)? >= end {
        return None;
    }
    let (kind, flags) = (*file.get(at)?, *file.get(at + 1)?);
    let size = u32_at(file, at + 2)? as usize;
    // A size smaller than the entry's header would not advance.
    let next = at
        .checked_add(size)
        .filter(|next| size >= KEY_ENTRY && *next <= end)?;
    let length = usize::from(*file.get(at + 20)?);
    let name = file.get(at + KEY_ENTRY..at + KEY_ENTRY + length)?;
    let name = name.split(|&b| b == 0).next().unwrap_or_default();
    let value = at + KEY_ENTRY + length;
    let place = match (flags & OUTSIDE != 0, kind) {
        (true, _) => (u64_at(file, value + 4)?, u32_at(file, value)?),
        (false, STRING | ARRAY) => (value as u64 + 4, u32_at(file, value)?),
        (false, _) => (value as u64, 8),
    };
    let found = std::str::from_utf8(name).ok().filter(|_| kind != FREE);
    let found = found.map(|name| Entry {
        kind,
        parent: (
            u16_at(file, at + 6).unwrap_or(0),
            u32_at(file, at + 8).unwrap_or(0),
        ),
        name,
        place: Place {
            kind,
            at: place.0,
            size: place.1,
        },
    });
    Some((found, next))
}

/// All values by their path.
fn tree(file: &[u8], tables: &KeyTables) -> FxHashMap<String, Place> {
    let mut nodes: FxHashMap<Key, (&str, Key)> = FxHashMap::default();
    let mut leaves = Vec::new();
    for (&index, &(start, end)) in tables {
        let mut at = start + KEY_HEADER;
        while let Some((found, next)) = entry(file, at, end) {
            if let Some(found) = found {
                let own = (index, (at - start) as u32);
                if found.kind == NODE {
                    nodes.insert(own, (found.name, found.parent));
                }
                leaves.push(found);
            }
            at = next;
        }
    }
    // An entry is identified by its offset from the start of its table; some writers count from
    // the end of the table's header.
    let parent = |of: Key| {
        let behind = (of.0, of.1.saturating_add(KEY_HEADER as u32));
        nodes.get(&of).or_else(|| nodes.get(&behind))
    };
    let mut paths: FxHashMap<Key, Option<String>> = FxHashMap::default();
    let mut out = FxHashMap::default();
    for leaf in leaves {
        let path = paths.entry(leaf.parent).or_insert_with(|| {
            let mut names = Vec::new();
            let mut at = leaf.parent;
            while at.0 != 0 {
                let (name, above) = parent(at)?;
                names.push(*name);
                at = *above;
                if names.len() > MAX_DEPTH {
                    return None;
                }
            }
            Some(names.iter().rev().map(|name| format!("{name}/")).collect())
        });
        if let Some(path) = path {
            out.insert(format!("{path}{}", leaf.name), leaf.place);
        }
    }
    out
}
