//! Images in memory after loading: PE32+ headers, sections, imports, exports, the debug record,
//! unwind data and some code that uses pool tags.
//!
//! Structure layouts are those of "PE Format" in Microsoft's documentation and `winnt.h` of the
//! Windows SDK.

use std::collections::HashMap;

use crate::addr::Va;

use super::code::{self, Piece, Site};
use super::header::Bytes;
use super::resource::Version;

const FILE_ALIGNMENT: u32 = 0x200;
const SECTION_ALIGNMENT: u32 = 0x1000;
const PE_AT: usize = 0xe8;
const OPTIONAL_SIZE: u16 = 0xf0;
const DIRECTORIES_AT: usize = PE_AT + 0x18 + 0x70;

const CODE: u32 = 0x6800_0020;
const READ_ONLY: u32 = 0x4800_0040;
const READ_WRITE: u32 = 0xc800_0040;
const PAGED_CODE: u32 = 0x6000_0020;
const DISCARDED_CODE: u32 = 0xe200_0020;

/// The identity of a PDB.
#[derive(Clone, Debug, Default)]
pub struct Pdb {
    /// File name.
    pub name: String,
    /// GUID as stored.
    pub guid: [u8; 16],
    /// Age.
    pub age: u32,
}

/// A section: its range and its flags.
#[derive(Clone, Debug)]
pub struct Section {
    name: &'static str,
    /// Offset from the image base.
    pub rva: u32,
    /// Size in bytes, a multiple of a page.
    pub size: u32,
    flags: u32,
}

impl Section {
    /// True when its pages are discarded after the driver is initialised.
    pub fn is_discarded(&self) -> bool {
        self.flags == DISCARDED_CODE
    }

    /// True when it contains code.
    pub fn is_code(&self) -> bool {
        self.flags & 0x20 != 0
    }
}

/// The content of an image.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    /// File name.
    pub file: String,
    /// Load address.
    pub base: Va,
    /// SizeOfImage in bytes.
    pub size: u32,
    /// Link time in seconds since 1970.
    pub timestamp: u32,
    /// Its debug record.
    pub pdb: Pdb,
    /// Exported functions; `None` for any position in .text.
    pub exports: Vec<(String, Option<u32>)>,
    /// Imported functions: file and name.
    pub imports: Vec<(String, String)>,
    /// Code that uses tags.
    pub sites: Vec<Site>,
    /// Constants: RVA and bytes.
    pub constants: Vec<(u32, Vec<u8>)>,
    /// Content of the data sections.
    pub data: Vec<Data>,
    /// True when the import descriptors and names are in INIT, which is discarded.
    pub names_in_init: bool,
}

/// Data in a section; the number is the offset from the section's start in bytes.
#[derive(Clone, Debug)]
pub enum Data {
    /// Bytes.
    Bytes(&'static str, u32, Vec<u8>),
    /// Live lookaside lists in .data, linked in a ring: tags and sizes in bytes.
    Lookasides(u32, Vec<([u8; 4], u32)>),
    /// A version resource, at the start of .rsrc.
    Version(Version),
    /// A debug directory entry that marks the time stamps as a hash.
    Reproducible,
    /// The debug record refers to this PDB.
    Pdb(Pdb),
}

impl Data {
    fn put(&self, bytes: &mut Bytes, base: Va, sections: &[Section]) {
        let start = |name: &str| {
            sections
                .iter()
                .find(|s| s.name == name)
                .map_or(0, |s| s.rva)
        };
        match self {
            Data::Bytes(section, offset, what) => {
                bytes.put((start(section) + offset) as usize, what);
            }
            Data::Lookasides(offset, lists) => {
                let first = start(".data") + offset;
                lookasides(bytes, base, first, lists);
            }
            Data::Version(version) => {
                let rva = start(".rsrc");
                bytes.put(rva as usize, &version.section(rva));
            }
            // The debug directory is written with the tables of .rdata.
            Data::Reproducible | Data::Pdb(_) => {}
        }
    }
}

/// NPAGED_LOOKASIDE_LIST, 80h bytes each, linked in a ring by ListEntry.
fn lookasides(bytes: &mut Bytes, base: Va, first: u32, lists: &[([u8; 4], u32)]) {
    let count = lists.len() as u32;
    let entry = |n: u32| base.0 + u64::from(first + (n % count) * 0x80 + 0x40);
    for (n, (tag, size)) in (0..count).zip(lists) {
        let at = (first + n * 0x80) as usize;
        bytes.u16(at + 0x10, 4);
        bytes.u16(at + 0x12, 256);
        bytes.u32(at + 0x14, 1000 + n);
        bytes.u32(at + 0x1c, 900 + n);
        bytes.put(at + 0x28, tag);
        bytes.u32(at + 0x2c, *size);
        bytes.u64(at + 0x40, entry(n + 1));
        bytes.u64(at + 0x48, entry(n + count - 1));
    }
}

/// Addresses of the functions that the previous images export.
pub type Exports = HashMap<(String, String), Va>;

/// An image in memory.
#[derive(Clone, Debug)]
pub struct Image {
    /// Load address.
    pub base: Va,
    /// All bytes; gaps are zeros.
    pub bytes: Vec<u8>,
    /// In RVA order.
    pub sections: Vec<Section>,
    /// Name and RVA.
    pub exports: Vec<(String, u32)>,
}

impl Image {
    /// True when the page at this offset was discarded.
    pub fn is_discarded(&self, offset: u64) -> bool {
        self.sections.iter().any(|s| {
            s.is_discarded()
                && offset >= s.rva.into()
                && offset < u64::from(s.rva) + u64::from(s.size)
        })
    }

    /// True when the page at this offset is writable.
    pub fn is_data(&self, offset: u64) -> bool {
        self.sections.iter().any(|s| {
            s.flags == READ_WRITE
                && offset >= s.rva.into()
                && offset < u64::from(s.rva) + u64::from(s.size)
        })
    }

    /// True when the page at this offset contains code.
    pub fn is_code(&self, offset: u64) -> bool {
        self.sections.iter().any(|s| {
            s.is_code() && offset >= s.rva.into() && offset < u64::from(s.rva) + u64::from(s.size)
        })
    }
}

/// Composes a driver: .text, .rdata, .data, .pdata, INIT (discarded) and .rsrc.
pub fn driver(spec: &ImageSpec, known: &Exports) -> Image {
    let pages = spec.size / SECTION_ALIGNMENT;
    let rdata_pages = rdata_pages(spec).min(pages);
    // One page each for headers, .pdata, INIT and .rsrc; .data gets a tenth of the rest.
    let rest = pages.saturating_sub(4 + rdata_pages).max(2);
    let data_pages = (rest / 10).max(1);
    let sizes = [
        (".text", rest - data_pages, CODE),
        (".rdata", rdata_pages, READ_ONLY),
        (".data", data_pages, READ_WRITE),
        (".pdata", 1, READ_ONLY),
        ("INIT", 1, DISCARDED_CODE),
        (".rsrc", 1, READ_ONLY),
    ];
    let mut rva = SECTION_ALIGNMENT;
    let sections = sizes.map(|(name, pages, flags)| {
        let size = pages * SECTION_ALIGNMENT;
        rva += size;
        Section {
            name,
            rva: rva - size,
            size,
            flags,
        }
    });
    assemble(spec, sections.to_vec(), ".text", known)
}

/// Composes the kernel: sections that include the symbols at their addresses. `data` is the
/// range of .data, `tables` an RVA without symbols in the code.
pub fn kernel(spec: &ImageSpec, known: &Exports, data: (u32, u32), tables: u32) -> Image {
    let section = |name, rva, end: u32, flags| Section {
        name,
        rva,
        size: end.saturating_sub(rva),
        flags,
    };
    let sections = vec![
        section(".text", SECTION_ALIGNMENT, tables, CODE),
        section(".rdata", tables, tables + 0x8000, READ_ONLY),
        section(".pdata", tables + 0x8000, tables + 0xa000, READ_ONLY),
        section("POOLCODE", tables + 0xa000, data.0, CODE),
        section(".data", data.0, data.1, READ_WRITE),
        section("PAGE", data.1, spec.size, PAGED_CODE),
    ];
    assemble(spec, sections, ".text", known)
}

/// Number of pages for the tables of .rdata.
fn rdata_pages(spec: &ImageSpec) -> u32 {
    let text = |s: &str| s.len() as u32 + 4;
    let imports: u32 = spec
        .imports
        .iter()
        .map(|(f, n)| 60 + text(f) + text(n))
        .sum();
    let exports: u32 = spec.exports.iter().map(|(n, _)| 10 + text(n)).sum();
    (0x300 + imports + exports).div_ceil(SECTION_ALIGNMENT)
}

fn assemble(
    spec: &ImageSpec,
    sections: Vec<Section>,
    code_section: &str,
    known: &Exports,
) -> Image {
    let mut bytes = Bytes(vec![0; spec.size as usize]);
    let find = |name: &str| sections.iter().find(|s| s.name == name);
    let text = find(code_section).map_or((0, 0), |s| (s.rva, s.size));
    let rdata = find(".rdata").map_or(0, |s| s.rva);
    let data = find(".data").map_or(0, |s| s.rva);
    let init = find("INIT").filter(|_| spec.names_in_init).map(|s| s.rva);
    let mut tables = Tables::new(&mut bytes, rdata, init);
    let slots = tables.imports(spec, known);
    let import_directory = tables.import_directory;
    let debug = tables.debug(spec);
    let placed = code::place(&spec.sites, &spec.exports, text);
    let export_directory = tables.exports(spec, &placed.exports);
    let unwind = tables.unwind();
    let (load_config, guard) = tables.load_config(spec.base, placed.thunk);
    let targets = spec.imports.iter().filter_map(|import| {
        let target = known.get(import)?.0.wrapping_sub(spec.base.0) as u32;
        Some((import.1.clone(), target))
    });
    let around = code::Surroundings {
        slots: &slots,
        targets: &targets.collect(),
        data,
        end: spec.size,
        guard,
    };
    let pieces = code::emit(tables.bytes, &placed, &around);
    let unwind = tables.chained(&pieces, unwind);
    let pdata = find(".pdata").map_or((0, 0), |s| (s.rva, s.size));
    let pdata_size = runtime_functions(&mut bytes, pdata, &pieces, &unwind);
    for data in &spec.data {
        data.put(&mut bytes, spec.base, &sections);
    }
    for (rva, constant) in &spec.constants {
        bytes.put(*rva as usize, constant);
    }
    headers(&mut bytes, spec, &sections, text);
    let has_version = spec.data.iter().any(|d| matches!(d, Data::Version(_)));
    let resources = find(".rsrc").filter(|_| has_version);
    let directories = [
        (0, export_directory),
        (1, import_directory),
        (2, resources.map_or((0, 0), |s| (s.rva, s.size))),
        (3, (pdata.0, pdata_size)),
        (6, debug),
        (10, load_config),
        (12, (rdata, slots.len() as u32 * 8)),
    ];
    for (i, (rva, size)) in directories {
        bytes.u32(DIRECTORIES_AT + i * 8, if size == 0 { 0 } else { rva });
        bytes.u32(DIRECTORIES_AT + i * 8 + 4, size);
    }
    Image {
        base: spec.base,
        bytes: bytes.0,
        sections,
        exports: placed.exports,
    }
}

/// Writes RUNTIME_FUNCTION entries in address order. Returns their size in bytes.
fn runtime_functions(
    bytes: &mut Bytes,
    (rva, size): (u32, u32),
    functions: &[Piece],
    unwind: &[u32],
) -> u32 {
    let room = size as usize / 12;
    for (i, (piece, unwind)) in functions.iter().zip(unwind).take(room).enumerate() {
        let at = rva as usize + i * 12;
        bytes.u32(at, piece.start);
        bytes.u32(at + 4, piece.end);
        bytes.u32(at + 8, *unwind);
    }
    functions.len().min(room) as u32 * 12
}

fn headers(bytes: &mut Bytes, spec: &ImageSpec, sections: &[Section], text: (u32, u32)) {
    bytes.put(0, b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8");
    bytes.u32(0x18, 0x40);
    bytes.u32(0x3c, PE_AT as u32);
    bytes.put(0x4e, b"This program cannot be run in DOS mode.\r\r\n$");
    bytes.put(PE_AT, b"PE\0\0");
    bytes.u16(PE_AT + 4, 0x8664);
    bytes.u16(PE_AT + 6, sections.len() as u16);
    bytes.u32(PE_AT + 8, spec.timestamp);
    bytes.u16(PE_AT + 20, OPTIONAL_SIZE);
    bytes.u16(PE_AT + 22, 0x22);
    let o = PE_AT + 24;
    bytes.u16(o, 0x20b);
    bytes.u16(o + 2, 9);
    bytes.u32(o + 4, text.1);
    bytes.u32(o + 16, text.0);
    bytes.u32(o + 20, text.0);
    bytes.u64(o + 24, spec.base.0);
    bytes.u32(o + 32, SECTION_ALIGNMENT);
    bytes.u32(o + 36, FILE_ALIGNMENT);
    for (i, version) in [6u16, 1, 6, 1, 6, 1].into_iter().enumerate() {
        bytes.u16(o + 40 + i * 2, version);
    }
    bytes.u32(o + 56, spec.size);
    bytes.u32(o + 60, 0x400);
    // A checksum, as a linker would set it.
    bytes.u32(o + 64, spec.timestamp.rotate_left(7) & 0x00ff_ffff);
    bytes.u16(o + 68, 1);
    bytes.u64(o + 72, 0x4_0000);
    bytes.u64(o + 80, 0x1000);
    bytes.u64(o + 88, 0x10_0000);
    bytes.u64(o + 96, 0x1000);
    bytes.u32(o + 108, 16);
    for (i, section) in sections.iter().enumerate() {
        let at = PE_AT + 24 + usize::from(OPTIONAL_SIZE) + i * 40;
        bytes.put(at, section.name.as_bytes());
        bytes.u32(at + 8, section.size);
        bytes.u32(at + 12, section.rva);
        bytes.u32(at + 16, section.size);
        bytes.u32(at + 20, section.rva);
        bytes.u32(at + 36, section.flags);
    }
}

/// The tables of .rdata, written one after the other.
struct Tables<'a> {
    bytes: &'a mut Bytes,
    next: u32,
    /// Address of the import descriptors, if not in .rdata.
    init: Option<u32>,
    import_directory: (u32, u32),
}

impl<'a> Tables<'a> {
    fn new(bytes: &'a mut Bytes, rdata: u32, init: Option<u32>) -> Self {
        Tables {
            bytes,
            next: rdata,
            init,
            import_directory: (0, 0),
        }
    }

    fn take(&mut self, size: u32) -> u32 {
        let at = self.next.next_multiple_of(8);
        self.next = at + size;
        at
    }

    fn text(&mut self, text: &str) -> u32 {
        let at = self.take(text.len() as u32 + 1);
        self.bytes.put(at as usize, text.as_bytes());
        at
    }

    /// Writes the import address table first, so that it is at the start of .rdata, then the
    /// descriptors and names. Returns the slot of each function.
    fn imports(&mut self, spec: &ImageSpec, known: &Exports) -> HashMap<String, u32> {
        let mut files: Vec<&String> = Vec::new();
        for (file, _) in &spec.imports {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        let of = |file: &String| -> Vec<&String> {
            let own = spec.imports.iter().filter(|(f, _)| f == file);
            own.map(|(_, name)| name).collect()
        };
        let mut slots = HashMap::new();
        let mut tables = Vec::new();
        for file in &files {
            let names = of(file);
            let table = self.take((names.len() as u32 + 1) * 8);
            for (i, name) in names.iter().enumerate() {
                let slot = table + i as u32 * 8;
                let target = known.get(&((*file).clone(), (*name).clone()));
                self.bytes.u64(slot as usize, target.map_or(0, |va| va.0));
                slots.insert((*name).clone(), slot);
            }
            tables.push(table);
        }
        if files.is_empty() {
            return slots;
        }
        let rdata = self.next;
        if let Some(init) = self.init {
            self.next = init;
        }
        let directory = self.take((files.len() as u32 + 1) * 20);
        self.import_directory = (directory, (files.len() as u32 + 1) * 20);
        for (i, (file, table)) in files.iter().zip(tables).enumerate() {
            let names = of(file);
            let lookup = self.take((names.len() as u32 + 1) * 8);
            for (n, name) in names.iter().enumerate() {
                // A hint of two bytes precedes the name.
                let at = self.take(name.len() as u32 + 3);
                self.bytes.put(at as usize + 2, name.as_bytes());
                self.bytes.u64(lookup as usize + n * 8, at.into());
            }
            let file_name = self.text(file);
            let at = directory as usize + i * 20;
            self.bytes.u32(at, lookup);
            self.bytes.u32(at + 12, file_name);
            self.bytes.u32(at + 16, table);
        }
        if self.init.is_some() {
            self.next = rdata;
        }
        slots
    }

    /// IMAGE_LOAD_CONFIG_DIRECTORY64 up to the pointer to the control flow guard slot, and that
    /// slot with a function of the image.
    fn load_config(&mut self, base: Va, check: u32) -> ((u32, u32), u32) {
        let slot = self.take(8);
        self.bytes.u64(slot as usize, base.0 + u64::from(check));
        let config = self.take(0x80);
        self.bytes.u32(config as usize, 0x80);
        self.bytes
            .u64(config as usize + 0x78, base.0 + u64::from(slot));
        ((config, 0x80), slot)
    }

    /// The unwind data of each piece: for chained pieces, UNWIND_INFO with the flag
    /// UNW_FLAG_CHAININFO and the first piece's entry, otherwise `plain`.
    fn chained(&mut self, pieces: &[Piece], plain: u32) -> Vec<u32> {
        let first = |start| pieces.iter().find(|p| p.start == start);
        let unwind = pieces.iter().map(|piece| {
            let Some(parent) = piece.parent.and_then(first) else {
                return plain;
            };
            let at = self.take(16);
            self.bytes.put(at as usize, &[0x21, 0, 0, 0]);
            self.bytes.u32(at as usize + 4, parent.start);
            self.bytes.u32(at as usize + 8, parent.end);
            self.bytes.u32(at as usize + 12, plain);
            at
        });
        unwind.collect()
    }

    /// IMAGE_DEBUG_DIRECTORY with one CODEVIEW entry and its RSDS record.
    fn debug(&mut self, spec: &ImageSpec) -> (u32, u32) {
        let reproducible = spec.data.iter().any(|d| matches!(d, Data::Reproducible));
        let entries = if reproducible { 2 } else { 1 };
        let directory = self.take(28 * entries);
        let size = 24 + spec.pdb.name.len() as u32 + 1;
        let record = self.take(size);
        let at = directory as usize;
        self.bytes.u32(at + 4, spec.timestamp);
        self.bytes.u32(at + 12, 2);
        self.bytes.u32(at + 16, size);
        self.bytes.u32(at + 20, record);
        self.bytes.u32(at + 24, record);
        let at = record as usize;
        self.bytes.put(at, b"RSDS");
        self.bytes.put(at + 4, &spec.pdb.guid);
        self.bytes.u32(at + 20, spec.pdb.age);
        self.bytes.put(at + 24, spec.pdb.name.as_bytes());
        if reproducible {
            self.bytes.u32(directory as usize + 28 + 12, 16);
        }
        (directory, 28 * entries)
    }

    /// Writes the export directory; names are sorted, as the loader requires. A name with `=` is
    /// forwarded: `Name=file.Function`.
    fn exports(&mut self, spec: &ImageSpec, exports: &[(String, u32)]) -> (u32, u32) {
        if exports.is_empty() {
            return (0, 0);
        }
        let mut sorted: Vec<&(String, u32)> = exports.iter().collect();
        sorted.sort();
        let count = sorted.len() as u32;
        let start = self.take(40);
        let functions = self.take(count * 4);
        let names = self.take(count * 4);
        let ordinals = self.take(count * 2);
        let file = self.text(&spec.file);
        for (i, (name, rva)) in sorted.iter().enumerate() {
            let (name, destination) = name.split_once('=').unwrap_or((name, ""));
            let text = self.text(name);
            let rva = match destination {
                "" => *rva,
                destination => self.text(destination),
            };
            self.bytes.u32(functions as usize + i * 4, rva);
            self.bytes.u32(names as usize + i * 4, text);
            self.bytes.u16(ordinals as usize + i * 2, i as u16);
        }
        let at = start as usize;
        self.bytes.u32(at + 4, spec.timestamp);
        self.bytes.u32(at + 12, file);
        self.bytes.u32(at + 16, 1);
        self.bytes.u32(at + 20, count);
        self.bytes.u32(at + 24, count);
        self.bytes.u32(at + 28, functions);
        self.bytes.u32(at + 32, names);
        self.bytes.u32(at + 36, ordinals);
        (start, self.next - start)
    }

    /// Writes the UNWIND_INFO of `sub rsp, 28h`, which all functions share.
    fn unwind(&mut self) -> u32 {
        let at = self.take(8);
        self.bytes
            .put(at as usize, &[0x01, 0x04, 0x01, 0x00, 0x04, 0x42, 0, 0]);
        at
    }
}
