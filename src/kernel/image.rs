//! A loaded image in memory: sections, PDB identity, exports.
//!
//! goblin parses the headers, which are one or two pages. Everything after them is read from
//! the address space piece by piece, because most images have holes (discarded INIT sections,
//! paged-out code).

use goblin::pe::data_directories::DataDirectory;
use goblin::pe::header::Header as PeHeader;
use goblin::pe::section_table::{
    IMAGE_SCN_MEM_DISCARDABLE, IMAGE_SCN_MEM_EXECUTE, IMAGE_SCN_MEM_WRITE, SectionTable,
};

use crate::bytes::{u16_at, u32_at};
use crate::memory::{AddressSpace, Fault, PAGE_SIZE, Va};
use crate::symbols::PdbId;

const MAX_SECTIONS: u16 = 96;
const MAX_DEBUG_ENTRIES: u32 = 32;
const DEBUG_ENTRY_SIZE: u32 = 28;
const DEBUG_TYPE_CODEVIEW: u32 = 2;
const MAX_PDB_NAME: usize = 260;
/// Limit for exported names; nt has about 3,000.
const MAX_EXPORTS: u32 = 1 << 16;

/// A section of a loaded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name, as far as it is printable ASCII.
    pub name: String,
    /// Offset in bytes from the image base.
    pub rva: u32,
    /// Size in memory in bytes.
    pub size: u32,
    /// Contains code.
    pub executable: bool,
    /// Writable.
    pub writable: bool,
    /// Discarded after the driver is initialised.
    pub discardable: bool,
}

/// The headers of an image in memory.
#[derive(Clone, Debug)]
pub struct Image {
    /// Base address.
    pub base: Va,
    /// SizeOfImage in bytes.
    pub size: u32,
    /// TimeDateStamp: seconds since 1970, or a hash in reproducible builds.
    pub timestamp: u32,
    /// In RVA order.
    pub sections: Vec<Section>,
    /// The identity of its PDB.
    pub pdb: Option<PdbId>,
    /// RVA and size in bytes of the import descriptors.
    pub import_directory: Option<(u32, u32)>,
    /// RVA and size in bytes of the import address table, which remains when the names are
    /// discarded.
    pub import_slots: Option<(u32, u32)>,
    /// RVA and size in bytes of the RUNTIME_FUNCTION table.
    pub exception_directory: Option<(u32, u32)>,
    /// RVA and size in bytes of IMAGE_LOAD_CONFIG_DIRECTORY64.
    pub load_config: Option<(u32, u32)>,
    /// RVA and size in bytes of the resource directory.
    pub resource_directory: Option<(u32, u32)>,
    /// RVA and size in bytes of the debug directory.
    pub debug_directory: Option<(u32, u32)>,
    export_directory: Option<(u32, u32)>,
}

/// The reason why an image's headers are unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// The header page can't be read.
    Unreadable(Fault),
    /// It is not a PE32+ header.
    NotPe,
}

impl Image {
    /// Reads the headers of the image at `base`.
    ///
    /// # Errors
    /// An [`ImageError`].
    pub fn read(space: &AddressSpace, base: Va) -> Result<Image, ImageError> {
        let first = space.page(base).map_err(ImageError::Unreadable)?;
        let header = PeHeader::parse(first).map_err(|_| ImageError::NotPe)?;
        let optional = header.optional_header.ok_or(ImageError::NotPe)?;
        let pe_offset = header.dos_header.pe_pointer as usize;
        let sections_at = pe_offset
            .checked_add(0x18 + usize::from(header.coff_header.size_of_optional_header))
            .ok_or(ImageError::NotPe)?;
        let count = header.coff_header.number_of_sections.min(MAX_SECTIONS);
        let directories = &optional.data_directories;
        let debug =
            place(directories.get_debug_table()).filter(|&(rva, size)| rva != 0 && size != 0);
        let mut image = Image {
            base,
            size: optional.windows_fields.size_of_image,
            timestamp: header.coff_header.time_date_stamp,
            sections: sections(space, base, sections_at, count),
            pdb: None,
            import_directory: place(directories.get_import_table()),
            import_slots: place(directories.get_import_address_table()),
            exception_directory: place(directories.get_exception_table()),
            load_config: place(directories.get_load_config_table()),
            resource_directory: place(directories.get_resource_table()),
            debug_directory: debug,
            export_directory: place(directories.get_export_table()),
        };
        image.pdb = debug.and_then(|(rva, size)| image.code_view(space, rva, size));
        Ok(image)
    }

    /// The section that contains an RVA.
    pub fn section(&self, rva: u32) -> Option<&Section> {
        self.sections
            .iter()
            .find(|s| rva >= s.rva && rva - s.rva < s.size)
    }

    /// The RSDS record: the entry of type CODEVIEW, which is not always the first.
    fn code_view(&self, space: &AddressSpace, rva: u32, size: u32) -> Option<PdbId> {
        for i in 0..(size / DEBUG_ENTRY_SIZE).min(MAX_DEBUG_ENTRIES) {
            let at = self
                .base
                .add(u64::from(rva) + u64::from(i * DEBUG_ENTRY_SIZE));
            let entry: [u8; 28] = space.array(at).ok()?;
            if u32_at(&entry, 0x0c) == Some(DEBUG_TYPE_CODEVIEW) {
                return self.rsds(space, u32_at(&entry, 0x14)?, u32_at(&entry, 0x10)?);
            }
        }
        None
    }

    fn rsds(&self, space: &AddressSpace, rva: u32, size: u32) -> Option<PdbId> {
        let length = (size as usize).clamp(0x18, 0x18 + MAX_PDB_NAME);
        let mut record = vec![0; length];
        space.read(self.base.add(rva.into()), &mut record).ok()?;
        if record.get(..4)? != b"RSDS" {
            return None;
        }
        let path = record.get(0x18..)?;
        let path = path.split(|&b| b == 0).next()?;
        let name = path.rsplit(|&b| b == b'\\' || b == b'/').next()?;
        Some(PdbId {
            name: String::from_utf8_lossy(name).into_owned(),
            guid: crate::bytes::array_at(&record, 4)?,
            age: u32_at(&record, 0x14)?,
        })
    }

    /// True when an export directory exists but some of its pages can't be read.
    pub fn lacks_exports(&self, space: &AddressSpace) -> bool {
        self.export_directory.is_some_and(|(rva, size)| {
            let size = size.clamp(1, self.size.max(1));
            let first = self.base.add(rva.into()).page();
            let last = self.base.add(u64::from(rva) + u64::from(size) - 1);
            let pages = (last.0.saturating_sub(first.0)) / PAGE_SIZE;
            (0..=pages).any(|n| space.page(first.add(n * PAGE_SIZE)).is_err())
        })
    }

    /// The name of the image in its own export directory.
    pub fn export_name(&self, space: &AddressSpace) -> Option<String> {
        let (rva, _) = self.export_directory?;
        let name = space.u32(self.base.add(u64::from(rva) + 0x0c)).ok()?;
        text(space, self.base.add(name.into()), 64)
    }

    /// The exported names with their RVAs, in RVA order; empty if the directory is not in the
    /// dump. Excludes unreadable names, and forwarders: their RVA is inside the directory and
    /// refers to the name of another image's function.
    pub fn exports(&self, space: &AddressSpace) -> Vec<(u32, String)> {
        let mut budget = MAX_EXPORTS;
        self.exports_within(space, &mut budget)
    }

    /// The same, limited to `budget` names, which is reduced by the number read. For callers
    /// that read many images, each of which may claim the maximum.
    pub fn exports_within(&self, space: &AddressSpace, budget: &mut u32) -> Vec<(u32, String)> {
        let mut out = Vec::new();
        let each = |target: Export, name: String| {
            if let Export::At(rva) = target {
                out.push((rva, name));
            }
        };
        let _ = self.each_export(space, budget, each);
        out.sort();
        out
    }

    /// The exported names that are forwarded, with their destinations as `FILE.NAME`.
    pub fn forwarders_within(
        &self,
        space: &AddressSpace,
        budget: &mut u32,
    ) -> Vec<(String, String)> {
        let mut out = Vec::new();
        let each = |target: Export, name: String| {
            if let Export::Forwarder(destination) = target {
                out.push((name, destination));
            }
        };
        let _ = self.each_export(space, budget, each);
        out
    }

    /// Reads IMAGE_EXPORT_DIRECTORY: counts at 0x14 and 0x18, then the RVAs of the tables of
    /// functions, names and ordinals. A missing page of a table loses only the names in it.
    fn each_export(
        &self,
        space: &AddressSpace,
        budget: &mut u32,
        mut each: impl FnMut(Export, String),
    ) -> Option<()> {
        let (rva, size) = self.export_directory?;
        let forwarder = |target: u32| target >= rva && target - rva < size;
        let directory: [u8; 40] = space.array(self.base.add(rva.into())).ok()?;
        let functions = u32_at(&directory, 0x14)?.min(MAX_EXPORTS);
        let names = u32_at(&directory, 0x18)?.min(MAX_EXPORTS).min(*budget);
        *budget -= names;
        let table = |at: usize, bytes: u32| -> Option<Table> {
            let rva = u32_at(&directory, at)?;
            Some(Table::read(space, self.base.add(rva.into()), bytes))
        };
        let addresses = table(0x1c, functions * 4)?;
        let name_rvas = table(0x20, names * 4)?;
        let ordinals = table(0x24, names * 2)?;
        for i in 0..names as usize {
            let Some(ordinal) = ordinals.at(i * 2, 2).and_then(|b| u16_at(b, 0)) else {
                continue;
            };
            let target = addresses.at(usize::from(ordinal) * 4, 4);
            let (Some(target), Some(name_rva)) = (
                target.and_then(|b| u32_at(b, 0)),
                name_rvas.at(i * 4, 4).and_then(|b| u32_at(b, 0)),
            ) else {
                continue;
            };
            let Some(name) = text(space, self.base.add(name_rva.into()), 128) else {
                continue;
            };
            if !forwarder(target) {
                each(Export::At(target), name);
            } else if let Some(to) = text(space, self.base.add(target.into()), 256) {
                each(Export::Forwarder(to), name);
            }
        }
        Some(())
    }
}

/// The target of an exported name.
enum Export {
    /// The RVA of a function or variable.
    At(u32),
    /// A function of another image, as `FILE.NAME`.
    Forwarder(String),
}

/// A table of which some pages may be missing from the dump.
struct Table {
    bytes: Vec<u8>,
    /// Ranges of unreadable offsets, in order.
    missing: Vec<(usize, usize)>,
}

impl Table {
    fn read(space: &AddressSpace, start: Va, length: u32) -> Table {
        let mut out = Table {
            bytes: vec![0; length as usize],
            missing: Vec::new(),
        };
        let mut at = 0;
        while at < out.bytes.len() {
            let va = start.add(at as u64);
            let end = (at + PAGE_SIZE as usize - va.offset()).min(out.bytes.len());
            let read = out.bytes.get_mut(at..end).map(|part| space.read(va, part));
            if !matches!(read, Some(Ok(()))) {
                out.missing.push((at, end));
            }
            at = end;
        }
        out
    }

    /// A range of bytes; `None` unless all of them were read.
    fn at(&self, offset: usize, length: usize) -> Option<&[u8]> {
        let end = offset.checked_add(length)?;
        let lost = self.missing.partition_point(|(_, to)| *to <= offset);
        let lost = self.missing.get(lost).is_some_and(|(from, _)| *from < end);
        self.bytes.get(offset..end).filter(|_| !lost)
    }
}

fn place(directory: Option<&DataDirectory>) -> Option<(u32, u32)> {
    directory.map(|d| (d.virtual_address, d.size))
}

fn sections(space: &AddressSpace, base: Va, at: usize, count: u16) -> Vec<Section> {
    let mut bytes = vec![0; usize::from(count) * 40];
    if space.read(base.add(at as u64), &mut bytes).is_err() {
        return Vec::new();
    }
    let mut out: Vec<Section> = bytes
        .chunks_exact(40)
        .filter_map(|raw| SectionTable::parse(raw, &mut 0, 0).ok())
        .map(|s| Section {
            name: s
                .name
                .iter()
                .take_while(|&&b| b != 0)
                .map(|&b| printable(b))
                .collect(),
            rva: s.virtual_address,
            size: s.virtual_size.max(s.size_of_raw_data),
            executable: s.characteristics & IMAGE_SCN_MEM_EXECUTE != 0,
            writable: s.characteristics & IMAGE_SCN_MEM_WRITE != 0,
            discardable: s.characteristics & IMAGE_SCN_MEM_DISCARDABLE != 0,
        })
        .collect();
    out.sort_by_key(|s| s.rva);
    out
}

fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() {
        byte.into()
    } else {
        '.'
    }
}

/// A zero-terminated text of printable ASCII; `None` if it is longer than `limit`, unreadable,
/// or not text.
pub fn text(space: &AddressSpace, at: Va, limit: usize) -> Option<String> {
    let mut out = Vec::new();
    for (_, piece) in space.pieces(at, limit as u64) {
        let piece = piece.ok()?;
        match memchr::memchr(0, piece) {
            Some(end) => {
                out.extend_from_slice(piece.get(..end)?);
                let all_text = out.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
                return String::from_utf8(out)
                    .ok()
                    .filter(|s| all_text && !s.is_empty());
            }
            None => out.extend_from_slice(piece),
        }
    }
    None
}
