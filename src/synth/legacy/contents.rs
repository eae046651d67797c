//! Contents of blocks: enough typical data of their owners to look real.

use crate::addr::Va;
use crate::synth::era::Era;
use crate::synth::objects;
use crate::synth::rng::Rng;
use crate::synth::truth::Tag;

/// Addresses that the contents refer to.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The era, which determines the format of object headers.
    pub era: &'static Era,
    /// An address in the kernel's data.
    pub kernel_data: Va,
    /// An address in the leaking driver's image.
    pub leaker: Va,
    /// Body addresses of previous blocks, for lists and references.
    pub neighbours: Vec<Va>,
    /// Additional contents of blocks with certain tags.
    pub holds: Vec<Holds>,
}

/// Words at offsets in the bodies of a tag's blocks.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    /// The tag of the blocks.
    pub tag: Tag,
    /// Only blocks of this size in bytes, including the header; 0 for all.
    pub bytes: u64,
    /// Offsets in the body, and the values there.
    pub words: Vec<(usize, u64)>,
}

const PATHS: [&str; 8] = [
    "\\Windows\\System32\\config\\SOFTWARE",
    "\\Windows\\System32\\drivers\\etc\\hosts",
    "\\Program Files\\Common Files\\Services",
    "\\Windows\\System32\\winevt\\Logs\\System.evtx",
    "\\Users\\Administrator\\NTUSER.DAT",
    "\\Windows\\winsxs\\Catalogs",
    "\\Device\\NamedPipe\\lsass",
    "\\Registry\\Machine\\System\\CurrentControlSet\\Services\\Tcpip",
];

impl Contents {
    /// Fills the start of a body at `va` with data typical of its tag.
    pub fn fill(&self, body: &mut [u8], va: Va, tag: &Tag, rng: &mut Rng) {
        self.usual(body, va, tag, rng);
        let bytes = body.len() as u64 + 0x10;
        let own = |h: &&Holds| h.tag == *tag && (h.bytes == 0 || h.bytes == bytes);
        for (offset, value) in self.holds.iter().filter(own).flat_map(|h| &h.words) {
            put(body, *offset, *value);
        }
    }

    fn usual(&self, body: &mut [u8], va: Va, tag: &Tag, rng: &mut Rng) {
        if let Some(index) = objects::index_of(tag) {
            return self.object(body, va, index, rng);
        }
        match tag {
            b"IoNm" | b"FMfn" | b"ObNm" | b"NtFs" | b"SeAt" | b"MmLd" | b"ObDi" => text(body, rng),
            b"CM25" | b"CM31" | b"CM16" => hive(body, rng),
            _ => self.record(body, va, rng),
        }
    }

    /// An object: quota information, OBJECT_HEADER (counts, type index at 0x18, body at
    /// 0x30) and a dispatcher header with an empty wait list.
    fn object(&self, body: &mut [u8], va: Va, index: u8, rng: &mut Rng) {
        let header = 0x20;
        let stored = objects::stored(self.era, va.add(header as u64), index);
        put(body, 0x00, 0x500);
        put(body, header, 1 + rng.below(5));
        put(body, header + 0x08, rng.below(2));
        put(body, header + 0x18, 0x4008_0000 | u64::from(stored));
        put(body, header + 0x28, self.neighbour(va, rng).0);
        let wait_list = va.add(header as u64 + 0x38);
        put(body, header + 0x30, 0x0000_0001_0006_0000 | rng.below(16));
        put(body, header + 0x38, wait_list.0);
        put(body, header + 0x40, wait_list.0);
        put(
            body,
            header + 0x48,
            self.kernel_data.add(rng.below(0x8000) & !7).0,
        );
    }

    /// A structure: a type and size, a list entry, a pointer to code or data, flags.
    fn record(&self, body: &mut [u8], va: Va, rng: &mut Rng) {
        put(body, 0x00, (body.len() as u64) << 16 | rng.below(16));
        put(body, 0x08, self.neighbour(va, rng).0);
        put(body, 0x10, self.neighbour(va, rng).0);
        put(body, 0x18, self.kernel_data.add(rng.below(0x2_0000) & !7).0);
        put(body, 0x20, rng.below(1 << 20));
    }

    /// The first page of a leaked block: a request record that points into its driver, then the
    /// driver's fill pattern to the end of the page.
    pub fn leaked(&self, page: &mut [u8], number: u32, bytes: u64) {
        for (i, byte) in page.iter_mut().enumerate() {
            *byte = b"myfault pool leak. "[i % 19];
        }
        put(page, 0x00, self.leaker.0);
        put(page, 0x08, u64::from(number));
        put(page, 0x10, bytes);
        put(page, 0x18, 0x0102_0304_0506_0708);
    }

    fn neighbour(&self, or: Va, rng: &mut Rng) -> Va {
        let at = rng.below(self.neighbours.len() as u64) as usize;
        self.neighbours.get(at).copied().unwrap_or(or)
    }
}

fn text(body: &mut [u8], rng: &mut Rng) {
    let path = PATHS
        .get(rng.below(PATHS.len() as u64) as usize)
        .copied()
        .unwrap_or_default();
    for (unit, to) in path.encode_utf16().zip(body.chunks_exact_mut(2)) {
        to.copy_from_slice(&unit.to_le_bytes());
    }
}

/// A cell of a registry hive: a negative size, then a key node's signature.
fn hive(body: &mut [u8], rng: &mut Rng) {
    let size = -(body.len().min(0x7fff) as i32);
    put(
        body,
        0,
        u64::from(size as u32) | 0x6b6e_0000_0000 | 0x20 << 48,
    );
    put(body, 0x08, 130_000_000_000_000_000 + rng.below(1 << 44));
    text(body.get_mut(0x50..).unwrap_or_default(), rng);
}

fn put(body: &mut [u8], at: usize, value: u64) {
    if let Some(to) = body.get_mut(at..at + 8) {
        to.copy_from_slice(&value.to_le_bytes());
    }
}
