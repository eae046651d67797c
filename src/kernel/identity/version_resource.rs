//! VS_VERSIONINFO: the version resource of a driver, from the mapped image.
//!
//! Microsoft documents the layout: a resource directory of exactly three levels (type, name,
//! language), then a data entry with the RVA of a VS_VERSIONINFO block. Third parties write
//! these bytes, so each length is bounded by its container, and a block that does not advance
//! ends the reading.

use crate::bytes::{array_at, u16_at, u32_at};
use crate::memory::{AddressSpace, Fault, Va};

/// RT_VERSION, the resource type of version data.
const RT_VERSION: u32 = 16;
/// US English, which nearly all drivers have.
const PREFERRED_LANGUAGE: u32 = 0x409;
/// Bit 31 of an entry's offset: it refers to a subdirectory.
const SUBDIRECTORY: u32 = 1 << 31;
/// Largest number of directory entries that are read.
const MAX_ENTRIES: u32 = 4096;
/// Bytes of a resource section that are searched, and bytes of a version block that are read.
const MAX_SECTION: u32 = 512 << 10;
const MAX_BLOCK: u32 = 64 << 10;
/// Largest number of strings that are read, and of characters kept from each.
const MAX_STRINGS: usize = 64;
const MAX_CHARACTERS: usize = 512;
/// VS_FIXEDFILEINFO.dwSignature.
const FIXED_SIGNATURE: u32 = 0xfeef_04bd;
/// Offset of the fixed part in the block: after a header of 6 bytes and the key
/// `VS_VERSION_INFO` in UTF-16 with its terminator, aligned to 4 bytes.
const FIXED_AT: usize = 0x28;
const FIXED_SIZE: usize = 0x34;

/// The content of a version resource. The strings are untrusted text by the driver's vendor:
/// sanitise them before display.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionInfo {
    /// `CompanyName`.
    pub company: Option<String>,
    /// `ProductName`.
    pub product: Option<String>,
    /// `FileDescription`.
    pub file_description: Option<String>,
    /// `FileVersion`, as text.
    pub file_version_text: Option<String>,
    /// `OriginalFilename`.
    pub original_filename: Option<String>,
    /// The four numbers of the fixed part.
    pub fixed_version: Option<[u16; 4]>,
}

impl VersionInfo {
    /// The file version: the text, otherwise the four numbers.
    pub fn file_version(&self) -> Option<String> {
        self.file_version_text.clone().or_else(|| {
            let [a, b, c, d] = self.fixed_version?;
            Some(format!("{a}.{b}.{c}.{d}"))
        })
    }

    fn is_empty(&self) -> bool {
        *self == VersionInfo::default()
    }
}

/// The result of reading a version resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionResource {
    /// Read through the resource directory.
    Read(VersionInfo),
    /// The directory's pages are not in the dump; the block was found by its signature.
    FoundByScan(VersionInfo),
    /// The pages are not in the dump.
    NotInDump(Fault),
    /// The image has no version resource.
    None,
    /// The resource contradicts itself.
    Malformed(&'static str),
}

impl VersionResource {
    /// The data, regardless of how it was found.
    pub fn info(&self) -> Option<&VersionInfo> {
        match self {
            VersionResource::Read(info) | VersionResource::FoundByScan(info) => Some(info),
            _ => None,
        }
    }
}

/// The reason why the directory does not lead to a block.
enum Stop {
    Fault(Fault),
    Missing,
    Malformed(&'static str),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

/// Reads the version resource of the image at `base`. `image_size` bounds every RVA;
/// `directory` is data directory 2: RVA and size in bytes.
pub fn read(
    space: &AddressSpace,
    base: Va,
    image_size: u32,
    directory: Option<(u32, u32)>,
) -> VersionResource {
    let Some((rva, size)) = directory.filter(|&(rva, _)| rva != 0) else {
        return VersionResource::None;
    };
    if rva >= image_size {
        return VersionResource::Malformed("its resource directory lies outside the image");
    }
    let resources = Resources {
        space,
        base,
        image_size,
        rva,
    };
    match resources.version_block() {
        Ok(block) => match parse(&block) {
            Some(info) => VersionResource::Read(info),
            None => VersionResource::Malformed("its version block can't be parsed"),
        },
        Err(Stop::Missing) => VersionResource::None,
        Err(Stop::Malformed(why)) => VersionResource::Malformed(why),
        Err(Stop::Fault(fault)) => match resources.scan(size) {
            Some(info) => VersionResource::FoundByScan(info),
            None => VersionResource::NotInDump(fault),
        },
    }
}

struct Resources<'s> {
    space: &'s AddressSpace,
    base: Va,
    image_size: u32,
    /// RVA of the resource directory; offsets inside it are relative to it.
    rva: u32,
}

impl Resources<'_> {
    /// The bytes of the version block, found by type, name and language.
    fn version_block(&self) -> Result<Vec<u8>, Stop> {
        let types = self.entries(0)?;
        let version = types.iter().find(|e| e.id == RT_VERSION);
        let names = self.entries(subdirectory(version.ok_or(Stop::Missing)?)?)?;
        let languages = self.entries(subdirectory(names.first().ok_or(Stop::Missing)?)?)?;
        let language = [PREFERRED_LANGUAGE, 0]
            .iter()
            .find_map(|&wanted| languages.iter().find(|e| e.id == wanted))
            .or(languages.first())
            .ok_or(Stop::Missing)?;
        if language.offset & SUBDIRECTORY != 0 {
            return Err(Stop::Malformed(
                "its resource tree has more than three levels",
            ));
        }
        let entry: [u8; 16] = self.space.array(self.at(language.offset)?)?;
        let rva = u32_at(&entry, 0).unwrap_or_default();
        let size = u32_at(&entry, 4).unwrap_or_default();
        let inside = rva
            .checked_add(size)
            .is_some_and(|end| end <= self.image_size);
        if !inside || size == 0 {
            return Err(Stop::Malformed("its version data lies outside the image"));
        }
        let mut block = vec![0; size.min(MAX_BLOCK) as usize];
        self.space
            .read(self.base.add(rva.into()), &mut block)
            .map_err(Stop::Fault)?;
        Ok(block)
    }

    /// The address of an offset in the resource directory.
    fn at(&self, offset: u32) -> Result<Va, Stop> {
        let rva = self.rva.checked_add(offset);
        match rva.filter(|&rva| rva < self.image_size) {
            Some(rva) => Ok(self.base.add(rva.into())),
            None => Err(Stop::Malformed("its resource tree leads out of the image")),
        }
    }

    /// The entries of the directory at `offset`.
    fn entries(&self, offset: u32) -> Result<Vec<Entry>, Stop> {
        let at = self.at(offset)?;
        let head: [u8; 16] = self.space.array(at)?;
        let named = u32::from(u16_at(&head, 0x0c).unwrap_or_default());
        let ids = u32::from(u16_at(&head, 0x0e).unwrap_or_default());
        if named + ids > MAX_ENTRIES {
            return Err(Stop::Malformed("its resource tree is too large"));
        }
        let mut bytes = vec![0; (named + ids) as usize * 8];
        self.space.read(at.add(16), &mut bytes)?;
        Ok(bytes
            .chunks_exact(8)
            .filter_map(|raw| {
                Some(Entry {
                    id: u32_at(raw, 0)?,
                    offset: u32_at(raw, 4)?,
                })
            })
            .collect())
    }

    /// Searches the readable pages for the signature of the fixed part, with the key before it;
    /// used if the directory is not in the dump.
    fn scan(&self, size: u32) -> Option<VersionInfo> {
        let length = size.min(MAX_SECTION).min(self.image_size - self.rva);
        let start = self.base.add(self.rva.into());
        let signature = FIXED_SIGNATURE.to_le_bytes();
        for (at, piece) in self.space.pieces(start, length.into()) {
            let Ok(piece) = piece else { continue };
            for hit in memchr::memmem::find_iter(piece, &signature) {
                let from = at.add(hit as u64).0.checked_sub(FIXED_AT as u64);
                let Some(from) = from.map(Va).filter(|va| *va >= start) else {
                    continue;
                };
                if let Some(info) = self.block_at(from) {
                    return Some(info);
                }
            }
        }
        None
    }

    /// The block at an address, as far as its pages are readable.
    fn block_at(&self, at: Va) -> Option<VersionInfo> {
        let left = self
            .image_size
            .checked_sub(u32::try_from(at.0 - self.base.0).ok()?)?;
        let declared = u32::from(self.space.u16(at).ok()?);
        let mut block = Vec::new();
        for (_, piece) in self.space.pieces(at, declared.min(left).into()) {
            match piece {
                Ok(piece) => block.extend_from_slice(piece),
                Err(_) => break,
            }
        }
        parse(&block)
    }
}

struct Entry {
    id: u32,
    offset: u32,
}

fn subdirectory(entry: &Entry) -> Result<u32, Stop> {
    match entry.offset & SUBDIRECTORY {
        0 => Err(Stop::Malformed(
            "its resource tree has fewer than three levels",
        )),
        _ => Ok(entry.offset & !SUBDIRECTORY),
    }
}

/// Parses a VS_VERSIONINFO block; `None` if it does not start as one.
pub fn parse(block: &[u8]) -> Option<VersionInfo> {
    let (key, _) = key_at(block, 6)?;
    if key != "VS_VERSION_INFO" {
        return None;
    }
    let mut info = VersionInfo::default();
    if u32_at(block, FIXED_AT) == Some(FIXED_SIGNATURE) {
        info.fixed_version = fixed_version(block);
    }
    let value = usize::from(u16_at(block, 2)?);
    let children = align(FIXED_AT + if value == 0 { 0 } else { value.max(FIXED_SIZE) });
    let end = usize::from(u16_at(block, 0)?).min(block.len());
    let mut budget = MAX_STRINGS;
    each_child(
        block,
        children,
        end,
        &mut budget,
        |key, from, to, budget| {
            if key != "StringFileInfo" {
                return;
            }
            each_child(block, from, to, budget, |_, from, to, budget| {
                each_string(block, from, to, budget, &mut info);
            });
        },
    );
    (!info.is_empty()).then_some(info)
}

fn fixed_version(block: &[u8]) -> Option<[u16; 4]> {
    let [ms, ls] = [u32_at(block, FIXED_AT + 8)?, u32_at(block, FIXED_AT + 12)?];
    let halves = |n: u32| [(n >> 16) as u16, n as u16];
    let ([a, b], [c, d]) = (halves(ms), halves(ls));
    Some([a, b, c, d])
}

/// Calls `found` with the key of each child between `from` and `to`, and with the range after
/// that key. Each child takes one from `budget`; a child that is too short to advance ends the
/// loop.
fn each_child(
    block: &[u8],
    from: usize,
    to: usize,
    budget: &mut usize,
    mut found: impl FnMut(&str, usize, usize, &mut usize),
) {
    let mut at = from;
    while at < to && *budget > 0 {
        *budget -= 1;
        let Some(length) = u16_at(block, at).map(usize::from).filter(|&n| n >= 8) else {
            return;
        };
        let end = (at + length).min(to);
        if let Some((key, behind)) = key_at(block.get(..end).unwrap_or_default(), at + 6) {
            found(&key, align(behind), end, budget);
        }
        at = align(at + length);
    }
}

/// The strings of one language: header, key, padding, value. With most linkers, `wValueLength`
/// is in characters, with some in bytes, so only `wLength` bounds the value.
fn each_string(block: &[u8], from: usize, to: usize, budget: &mut usize, info: &mut VersionInfo) {
    each_child(block, from, to, budget, |key, from, to, _| {
        let slot = match key {
            "CompanyName" => &mut info.company,
            "ProductName" => &mut info.product,
            "FileDescription" => &mut info.file_description,
            "FileVersion" => &mut info.file_version_text,
            "OriginalFilename" => &mut info.original_filename,
            _ => return,
        };
        if slot.is_none() {
            let value = block.get(from..to).map(utf16).unwrap_or_default();
            *slot = Some(value.trim().to_owned()).filter(|text| !text.is_empty());
        }
    });
}

/// A zero-terminated UTF-16 key, and the offset after its terminator.
fn key_at(bytes: &[u8], at: usize) -> Option<(String, usize)> {
    let mut units = Vec::new();
    let mut next = at;
    while units.len() < MAX_CHARACTERS {
        let unit = u16_at(bytes, next)?;
        next += 2;
        if unit == 0 {
            return Some((String::from_utf16_lossy(&units), next));
        }
        units.push(unit);
    }
    None
}

/// UTF-16 text up to its terminator or the slice's end.
fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = (0..MAX_CHARACTERS)
        .map_while(|i| array_at(bytes, i * 2).map(u16::from_le_bytes))
        .take_while(|&unit| unit != 0)
        .collect();
    String::from_utf16_lossy(&units)
}

fn align(offset: usize) -> usize {
    offset.next_multiple_of(4)
}

#[cfg(test)]
mod tests;
