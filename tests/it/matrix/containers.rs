//! Finds the structures of a container in a file, as its format is documented.

use poolscope::synth::snapshot::{Image, Method, Qemu, Vmware};

use super::places::{Kind, Place};

/// A container and the structures to damage.
pub struct Case {
    pub image: Image,
    find: fn(&[u8], &mut Vec<Place>),
}

pub const CASES: [Case; 7] = [
    Case {
        image: Image::Vmware(Vmware {
            inside: true,
            old: false,
            one_by_one: false,
            padding: 3,
        }),
        find: vmware,
    },
    Case {
        image: Image::Qemu(Qemu {
            old: false,
            many: false,
            sections_last: false,
        }),
        find: elf,
    },
    Case {
        image: Image::Kdump(Method::Zstd, false),
        find: kdump,
    },
    Case {
        image: Image::Kdump(Method::Lzo, true),
        find: flattened,
    },
    Case {
        image: Image::HyperV(false),
        find: storage,
    },
    Case {
        image: Image::HyperV(true),
        find: tokens,
    },
    Case {
        image: Image::Lime,
        find: lime,
    },
];

impl Case {
    pub fn places(&self, bytes: &[u8]) -> Vec<Place> {
        let mut out = Vec::new();
        (self.find)(bytes, &mut out);
        out
    }
}

fn put(out: &mut Vec<Place>, name: &'static str, kind: Kind, at: usize, length: usize) {
    out.push(Place::of_file(name, kind, at, length));
}

/// The end of the first occurrence of a text.
fn behind(bytes: &[u8], text: &[u8]) -> usize {
    memchr::memmem::find(bytes, text).unwrap() + text.len()
}

fn u64_at(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

fn vmware(bytes: &[u8], out: &mut Vec<Place>) {
    put(out, "vmware: groups", Kind::Count, 8, 4);
    let memory = behind(bytes, b"memory\0");
    let group = memory - 7;
    put(
        out,
        "vmware: place of the memory",
        Kind::Count,
        group + 64,
        8,
    );
    put(
        out,
        "vmware: regions",
        Kind::Count,
        behind(bytes, b"regionsCount"),
        4,
    );
    // One index precedes the value.
    let of = |name: &[u8]| behind(bytes, name) + 4;
    put(
        out,
        "vmware: a region's frame",
        Kind::Count,
        of(b"regionPPN"),
        4,
    );
    put(
        out,
        "vmware: a region's pages",
        Kind::Count,
        of(b"regionSize"),
        4,
    );
    // Two indices precede the value.
    let block = behind(bytes, b"\x06Memory") + 8;
    put(out, "vmware: size of the memory", Kind::Count, block, 8);
    let control = behind(bytes, b"CR64") + 4 + 16 + 2 + 3;
    put(out, "vmware: CR3", Kind::Bytes, control + 24, 8);
    put(out, "vmware: half", Kind::End, bytes.len() / 2, 0);
}

fn elf(bytes: &[u8], out: &mut Vec<Place>) {
    put(out, "elf: place of the headers", Kind::Count, 0x20, 8);
    put(out, "elf: segments", Kind::Count, 0x38, 2);
    let note = 64;
    let load = note + 56;
    put(out, "elf: place of the notes", Kind::Count, note + 8, 8);
    put(out, "elf: a segment's place", Kind::Count, load + 8, 8);
    put(out, "elf: a segment's address", Kind::Count, load + 0x18, 8);
    put(out, "elf: a segment's bytes", Kind::Count, load + 0x20, 8);
    let state = behind(bytes, b"QEMU\0\0\0\0");
    put(out, "elf: CR3", Kind::Bytes, state + 0x1a0, 8);
    put(out, "elf: half", Kind::End, bytes.len() / 2, 0);
}

fn kdump(bytes: &[u8], out: &mut Vec<Place>) {
    put(
        out,
        "kdump: blocks of the sub-header",
        Kind::Count,
        0x1b0,
        4,
    );
    put(out, "kdump: blocks of the bitmaps", Kind::Count, 0x1b4, 4);
    put(out, "kdump: frames", Kind::Count, 0x1000 + 0x60, 8);
    put(
        out,
        "kdump: place of the notes",
        Kind::Count,
        0x1000 + 0x30,
        8,
    );
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let bitmaps = 0x1000 * (1 + word(0x1b0));
    let half = 0x1000 * word(0x1b4) / 2;
    put(
        out,
        "kdump: second bitmap",
        Kind::Bytes,
        bitmaps + half,
        0x40,
    );
    let descriptors = bitmaps + 2 * half;
    // The descriptor of a compressed page.
    let packed = (0..)
        .map(|i| descriptors + i * 24)
        .find(|at| word(at + 12) != 0);
    let packed = packed.unwrap();
    put(out, "kdump: a page's place", Kind::Count, packed, 8);
    put(out, "kdump: a page's size", Kind::Count, packed + 8, 4);
    put(
        out,
        "kdump: compressed pages",
        Kind::Bytes,
        u64_at(bytes, packed),
        0x4000,
    );
    put(out, "kdump: half", Kind::End, bytes.len() / 2, 0);
}

fn flattened(bytes: &[u8], out: &mut Vec<Place>) {
    put(out, "flattened: a record's place", Kind::Count, 0x1000, 8);
    put(out, "flattened: a record's size", Kind::Count, 0x1008, 8);
    put(out, "flattened: half", Kind::End, bytes.len() / 2, 0);
}

fn storage(bytes: &[u8], out: &mut Vec<Place>) {
    put(out, "vmrs: both headers", Kind::Bytes, 0, 0x1030);
    put(out, "vmrs: objects", Kind::Count, 0x2004, 4);
    put(out, "vmrs: an object's place", Kind::Count, 0x2008 + 5, 8);
    put(out, "vmrs: an object's size", Kind::Count, 0x2008 + 13, 4);
    let name = behind(bytes, b"RamMemoryBlock0\0");
    // The length of the array or its offset, then its fields.
    put(out, "vmrs: memory block 0", Kind::Bytes, name, 12);
    put(out, "vmrs: half", Kind::End, bytes.len() / 2, 0);
}

fn tokens(bytes: &[u8], out: &mut Vec<Place>) {
    const NAME: &[u8] = b"RamBlock0\0";
    let value = behind(bytes, NAME);
    let size = u32::from_le_bytes(bytes[value..value + 4].try_into().unwrap()) as usize;
    // A small block is in the table, after its size. A larger one is elsewhere, and its
    // offset follows its size. The flags are the second of 21 bytes before the name.
    let outside = bytes[value - NAME.len() - 20] & 1 == 1;
    let block = match outside {
        true => u64_at(bytes, value + 4),
        false => value + 4,
    };
    let length = size.min(0x1000);
    put(out, "vmrs: first token of a block", Kind::Count, block, 4);
    put(out, "vmrs: a compressed block", Kind::Bytes, block, length);
    put(out, "vmrs: half, compressed", Kind::End, bytes.len() / 2, 0);
}

fn lime(bytes: &[u8], out: &mut Vec<Place>) {
    put(out, "lime: a range's start", Kind::Count, 8, 8);
    put(out, "lime: a range's end", Kind::Count, 16, 8);
    put(out, "lime: half", Kind::End, bytes.len() / 2, 0);
}
