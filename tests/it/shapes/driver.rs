//! A driver written instruction by instruction over the pages of one of the builder's
//! drivers: this file defines its code, unwind data and variables.

use std::collections::HashMap;

use poolscope::memory::Va;
use poolscope::synth::{Machine, ModuleSpec, Spec};

/// The builder's layout of an image of this size, in pages: headers, .text, .rdata, .data
/// (a tenth of the rest), .pdata, INIT and .rsrc.
pub const SIZE: u32 = 0x4_0000;
const TEXT: u32 = 0x1000;
const RDATA: u32 = 0x3_7000;
const DATA: u32 = 0x3_8000;
const PDATA: u32 = 0x3_d000;
/// Unwind data goes where the builder writes nothing.
const XDATA: u32 = 0x3_f000;
/// The data directories: eight bytes each.
const DIRECTORIES: u64 = 0xe8 + 0x18 + 0x70;

/// The specification of a driver for the builder.
pub fn module(file: &str, base: Va, imports: &[(&str, &str)]) -> ModuleSpec {
    ModuleSpec {
        file: file.into(),
        folder: "\\SystemRoot\\system32\\drivers\\",
        base,
        size: SIZE,
        exports: Vec::new(),
        sites: Vec::new(),
        imports: imports
            .iter()
            .map(|(file, name)| ((*file).to_owned(), (*name).to_owned()))
            .collect(),
        data: Vec::new(),
        names_in_init: true,
    }
}

/// A driver of a machine, while it is written.
pub struct Driver {
    pub base: Va,
    slots: HashMap<String, u32>,
    code: Vec<u8>,
    pieces: Vec<(u32, u32, Option<u32>)>,
    data: Vec<(u32, Vec<u8>)>,
    pub guard: u32,
}

impl Driver {
    pub fn new(spec: &Spec, machine: &Machine, file: &str) -> Driver {
        let module = spec.modules.iter().find(|m| m.file == file).unwrap();
        let mut slots = HashMap::new();
        let mut files: Vec<&str> = Vec::new();
        for (file, _) in &module.imports {
            if !files.contains(&file.as_str()) {
                files.push(file);
            }
        }
        // The import address table is first in .rdata; a zero ends the slots of each file.
        let mut at = RDATA;
        for file in files {
            for (_, name) in module.imports.iter().filter(|i| i.0 == file) {
                slots.insert(name.clone(), at);
                at += 8;
            }
            at += 8;
        }
        let directory = |n: u64| machine.memory.read(module.base.add(DIRECTORIES + n * 8)) as u32;
        let config = module.base.add(u64::from(directory(10)) + 0x78);
        Driver {
            base: module.base,
            slots,
            code: Vec::new(),
            pieces: Vec::new(),
            data: Vec::new(),
            guard: (machine.memory.read(config) - module.base.0) as u32,
        }
    }

    pub fn slot(&self, name: &str) -> u32 {
        *self
            .slots
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not imported"))
    }

    /// The RVA of the next function.
    pub fn next(&self) -> u32 {
        TEXT + (self.code.len() as u32).next_multiple_of(16)
    }

    /// Adds a function; without a frame, it has no unwind data.
    pub fn add_parts(&mut self, (rva, bytes): (u32, Vec<u8>), has_frame: bool) -> u32 {
        let start = self.next();
        assert_eq!(start, rva);
        self.code.resize((start - TEXT) as usize, 0xcc);
        self.code.extend(bytes);
        let end = TEXT + self.code.len() as u32;
        assert!(end < RDATA - 0x100);
        if has_frame {
            self.pieces.push((start, end, None));
        }
        start
    }

    /// Ends the last function's unwind data at an RVA, and starts a chained piece there.
    pub fn split(&mut self, at: u32) {
        let last = self.pieces.last_mut().unwrap();
        let (start, end) = (last.0, last.1);
        last.1 = at;
        self.pieces.push((at, end, Some(start)));
    }

    pub fn data(&mut self, offset: u32, bytes: &[u8]) -> u32 {
        self.data.push((DATA + offset, bytes.to_vec()));
        DATA + offset
    }

    pub fn code(&self) -> Code<'_> {
        Code {
            driver: self,
            rva: self.next(),
            bytes: Vec::new(),
            labels: Vec::new(),
            jumps: Vec::new(),
        }
    }

    /// Writes the driver to the machine's memory; without `unwind`, the image has no unwind
    /// data.
    pub fn load(&self, machine: &mut Machine, unwind: bool) {
        let memory = &mut machine.memory;
        let mut write = |rva: u32, bytes: &[u8]| {
            let pages = rva / 0x1000..(rva + bytes.len() as u32).div_ceil(0x1000);
            for va in pages.map(|n| self.base.add(u64::from(n) * 0x1000)) {
                // The builder omits pages without contents.
                if memory.frame(va).is_none() {
                    memory.map_new(va, 1);
                }
            }
            memory.write(self.base.add(rva.into()), bytes);
        };
        write(TEXT, &self.code);
        for (rva, bytes) in &self.data {
            write(*rva, bytes);
        }
        let mut pieces = self.pieces.clone();
        pieces.sort_unstable();
        // UNWIND_INFO of a plain function, followed by chained ones.
        write(XDATA, &[1, 4, 1, 0, 4, 0x42, 0, 0]);
        let mut table = Vec::new();
        for (n, (start, end, parent)) in pieces.iter().enumerate() {
            let mut info = XDATA;
            if let Some(parent) = parent {
                info = XDATA + 16 + n as u32 * 16;
                let of = pieces.iter().find(|p| p.0 == *parent).unwrap();
                let mut bytes = vec![0x21, 0, 0, 0];
                for word in [of.0, of.1, XDATA] {
                    bytes.extend(word.to_le_bytes());
                }
                write(info, &bytes);
            }
            for word in [*start, *end, info] {
                table.extend(word.to_le_bytes());
            }
        }
        assert!(table.len() <= 0x1000 && pieces.len() * 16 < 0xfe0);
        write(PDATA, &table);
        let size = if unwind { table.len() as u32 } else { 0 };
        let directory = [if unwind { PDATA } else { 0 }, size].map(u32::to_le_bytes);
        write((DIRECTORIES + 3 * 8) as u32, &directory.concat());
    }
}

/// A function, while it is written.
pub struct Code<'d> {
    driver: &'d Driver,
    pub rva: u32,
    bytes: Vec<u8>,
    labels: Vec<Option<u32>>,
    jumps: Vec<(usize, usize)>,
}

impl Code<'_> {
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// An instruction that ends with a dword.
    pub fn dword(&mut self, opcode: &[u8], value: u32) -> &mut Self {
        self.put(opcode).put(&value.to_le_bytes())
    }

    pub fn tag(&mut self, opcode: &[u8], tag: [u8; 4]) -> &mut Self {
        self.put(opcode).put(&tag)
    }

    /// An instruction that ends with the relative address of an RVA.
    pub fn to(&mut self, opcode: &[u8], rva: u32) -> &mut Self {
        let next = self.rva + (self.bytes.len() + opcode.len()) as u32 + 4;
        self.dword(opcode, rva.wrapping_sub(next))
    }

    pub fn slot(&mut self, opcode: &[u8], import: &str) -> &mut Self {
        let slot = self.driver.slot(import);
        self.to(opcode, slot)
    }

    /// `call [import]`
    pub fn call(&mut self, import: &str) -> &mut Self {
        self.slot(&[0xff, 0x15], import)
    }

    pub fn data(&mut self, opcode: &[u8], offset: u32) -> &mut Self {
        self.to(opcode, DATA + offset)
    }

    pub fn guard(&mut self) -> &mut Self {
        let guard = self.driver.guard;
        self.to(&[0xff, 0x15], guard)
    }

    pub fn enter(&mut self) -> &mut Self {
        self.put(&[0x48, 0x81, 0xec, 0x88, 0, 0, 0])
    }

    pub fn leave(&mut self) -> &mut Self {
        self.put(&[0x48, 0x81, 0xc4, 0x88, 0, 0, 0, 0xc3])
    }

    pub fn label(&mut self) -> usize {
        self.labels.push(None);
        self.labels.len() - 1
    }

    pub fn here(&mut self, label: usize) -> &mut Self {
        self.labels[label] = Some(self.bytes.len() as u32);
        self
    }

    /// A jump with a four-byte displacement: `e9`, `0f 84`.
    pub fn jump(&mut self, opcode: &[u8], label: usize) -> &mut Self {
        self.dword(opcode, 0);
        self.jumps.push((self.bytes.len() - 4, label));
        self
    }

    pub fn at(&self) -> u32 {
        self.rva + self.bytes.len() as u32
    }

    /// Its RVA and its bytes.
    pub fn into_parts(mut self) -> (u32, Vec<u8>) {
        for (at, label) in self.jumps {
            let target = self.labels[label].unwrap();
            let distance = target.wrapping_sub(at as u32 + 4).to_le_bytes();
            self.bytes[at..at + 4].copy_from_slice(&distance);
        }
        (self.rva, self.bytes)
    }
}
