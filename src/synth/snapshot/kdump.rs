//! kdump-compressed files of QEMU, and their flattened form.

use std::io;
use std::path::Path;

use crate::addr::PAGE_SIZE;
use crate::synth::header::Bytes;
use crate::synth::physical::{Page, Physical};
use crate::synth::rng::Rng;

use super::{Out, Registers, bytes, elf, stretches};

/// The compression method of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// zlib, with stored and fixed blocks.
    Zlib,
    /// LZO1X.
    Lzo,
    /// Snappy.
    Snappy,
    /// Zstandard.
    Zstd,
}

impl Method {
    fn flag(self) -> u32 {
        match self {
            Method::Zlib => 1,
            Method::Lzo => 2,
            Method::Snappy => 4,
            Method::Zstd => 0x20,
        }
    }

    /// Compresses a page; `None` if it does not become smaller.
    fn pack(self, page: &Page) -> Option<Vec<u8>> {
        let out = match self {
            Method::Zlib => zlib(page),
            Method::Lzo => lzo(page),
            Method::Snappy => snappy(page),
            Method::Zstd => zstd(page),
        }?;
        (out.len() < page.len()).then_some(out)
    }
}

/// The literals up to the last nonzero byte, and the number of zeros after it; `None` if there
/// are fewer than 64.
fn parts(page: &Page) -> Option<(&[u8], usize)> {
    let used = page
        .iter()
        .rposition(|&b| b != 0)
        .map_or(0, |at| at + 1)
        .max(8);
    let zeros = page.len() - used;
    (zeros >= 64).then_some((page.get(..used)?, zeros))
}

/// RFC 1950 around one deflate block of fixed codes (RFC 1951).
fn zlib(page: &Page) -> Option<Vec<u8>> {
    let (literals, mut zeros) = parts(page)?;
    let mut bits = Vec::new();
    let push = |bits: &mut Vec<bool>, value: u32, count: u32| {
        // Huffman codes are stored with their highest bit first.
        for i in (0..count).rev() {
            bits.push(value >> i & 1 == 1);
        }
    };
    bits.extend([true, true, false]);
    let literal = |bits: &mut Vec<bool>, byte: u8| match byte {
        0..=143 => push(bits, 0x30 + u32::from(byte), 8),
        _ => push(bits, 0x190 + u32::from(byte) - 144, 9),
    };
    for &byte in literals {
        literal(&mut bits, byte);
    }
    literal(&mut bits, 0);
    zeros -= 1;
    while zeros >= 258 {
        // Length 258 is code 285, distance 1 is code 0.
        push(&mut bits, 0b1100_0000 + 285 - 280, 8);
        push(&mut bits, 0, 5);
        zeros -= 258;
    }
    for _ in 0..zeros {
        literal(&mut bits, 0);
    }
    push(&mut bits, 0, 7);
    let mut out = vec![0x78, 0x01];
    for chunk in bits.chunks(8) {
        out.push(
            chunk
                .iter()
                .enumerate()
                .fold(0, |byte, (i, &bit)| byte | u8::from(bit) << i),
        );
    }
    let (mut a, mut b) = (1u32, 0u32);
    for &byte in page {
        a = (a + u32::from(byte)) % 65521;
        b = (b + a) % 65521;
    }
    out.extend((b << 16 | a).to_be_bytes());
    Some(out)
}

/// Instructions of LZO1X (`Documentation/staging/lzo.rst` of Linux): a run of literals, then a
/// match at distance 1 that produces the zeros.
fn lzo(page: &Page) -> Option<Vec<u8>> {
    let (literals, zeros) = parts(page)?;
    let mut first = literals.to_vec();
    first.push(0);
    let length = |out: &mut Vec<u8>, mut rest: usize| {
        while rest > 255 {
            out.push(0);
            rest -= 255;
        }
        out.push(rest as u8);
    };
    let mut out = Vec::new();
    match first.len() {
        n @ ..=238 => out.push(17 + n as u8),
        n => {
            out.push(0);
            length(&mut out, n - 18);
        }
    }
    out.extend(&first);
    match zeros - 1 {
        n @ ..=33 => out.push(0x20 | (n as u8 - 2)),
        n => {
            out.push(0x20);
            length(&mut out, n - 33);
        }
    }
    out.extend([0, 0, 0x11, 0, 0]);
    Some(out)
}

/// The block format of Snappy (`format_description.txt`).
fn snappy(page: &Page) -> Option<Vec<u8>> {
    let (literals, zeros) = parts(page)?;
    let mut out = vec![0x80, 0x20];
    let mut first = literals.to_vec();
    first.push(0);
    let n = first.len() - 1;
    match n {
        0..60 => out.push((n as u8) << 2),
        60..256 => out.extend([60 << 2, n as u8]),
        _ => out.extend([61 << 2, n as u8, (n >> 8) as u8]),
    }
    out.extend(&first);
    let mut rest = zeros - 1;
    while rest > 0 {
        let now = rest.min(64);
        out.push((now as u8 - 1) << 2 | 2);
        out.extend([1, 0]);
        rest -= now;
    }
    Some(out)
}

/// RFC 8878: a raw block for the literals and an RLE block for the zeros.
fn zstd(page: &Page) -> Option<Vec<u8>> {
    let (literals, zeros) = parts(page)?;
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd];
    // A single segment with a two-byte size field, which is the size minus 256.
    out.push(0x60);
    out.extend((page.len() as u16 - 256).to_le_bytes());
    let block = |out: &mut Vec<u8>, size: usize, kind: u32, last: u32| {
        let head = (size as u32) << 3 | kind << 1 | last;
        out.extend(head.to_le_bytes().iter().take(3));
    };
    block(&mut out, literals.len(), 0, 0);
    out.extend(literals);
    block(&mut out, zeros, 1, 1);
    out.push(0);
    Some(out)
}

/// Writes to a file, or to records with their position in a file.
enum Target {
    Plain(Out),
    Records(Vec<(u64, Vec<u8>)>),
}

impl Target {
    fn put(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Target::Plain(out) => out.put(at, bytes),
            Target::Records(records) => {
                records.push((at, bytes.to_vec()));
                Ok(())
            }
        }
    }
}

pub(super) fn write(
    path: &Path,
    physical: &Physical,
    cpus: &[Registers],
    method: Method,
    flattened: bool,
) -> io::Result<()> {
    let mut target = match flattened {
        true => Target::Records(Vec::new()),
        false => Target::Plain(Out::create(path)?),
    };
    let frames = physical.end();
    let notes = elf::qemu_notes(cpus, false);
    let sub_blocks = (0x80 + notes.len() as u64).div_ceil(PAGE_SIZE);
    let half = frames.div_ceil(8).next_multiple_of(PAGE_SIZE);
    let mut header = Bytes(vec![0; PAGE_SIZE as usize]);
    header.put(0, b"KDUMP   ");
    header.u32(8, 6);
    header.put(0x0c + 4 * 65, b"x86_64");
    header.u32(0x1a8, method.flag());
    header.u32(0x1ac, PAGE_SIZE as u32);
    header.u32(0x1b0, sub_blocks as u32);
    header.u32(0x1b4, (2 * half / PAGE_SIZE) as u32);
    header.u32(0x1b8, frames as u32);
    header.u32(0x1cc, cpus.len() as u32);
    let mut sub = Bytes(vec![0; (sub_blocks * PAGE_SIZE) as usize]);
    sub.u32(8, 1);
    sub.u64(0x30, PAGE_SIZE + 0x80);
    sub.u64(0x38, notes.len() as u64);
    sub.u64(0x60, frames);
    sub.put(0x80, &notes);
    let mut bitmap = vec![0u8; half as usize];
    let mut stored = Vec::new();
    for (first, count) in stretches(physical) {
        for pfn in first..first + count {
            if let Some(byte) = bitmap.get_mut(pfn as usize / 8) {
                *byte |= 1 << (pfn % 8);
            }
            stored.push(pfn);
        }
    }
    let bitmaps = PAGE_SIZE + sub_blocks * PAGE_SIZE;
    let descriptors_at = bitmaps + 2 * half;
    let mut at = descriptors_at + stored.len() as u64 * 24;
    // All pages of zeros share one position.
    let zeros = [0; PAGE_SIZE as usize];
    let mut shared = None;
    let mut descriptors = Vec::new();
    let mut data = Vec::new();
    let data_at = at;
    for pfn in stored {
        let page = bytes(physical, pfn);
        let place = match (page, shared) {
            (None, Some(place)) => place,
            (page, _) => {
                let is_zero = page.is_none();
                let page = page.unwrap_or(zeros);
                let packed = method.pack(&page);
                let flags = packed.as_ref().map_or(0, |_| method.flag());
                let packed = packed.unwrap_or_else(|| page.to_vec());
                let place = (at, packed.len() as u32, flags);
                at += packed.len() as u64;
                data.extend(packed);
                if is_zero {
                    shared = Some(place);
                }
                place
            }
        };
        descriptors.extend(place.0.to_le_bytes());
        descriptors.extend(place.1.to_le_bytes());
        descriptors.extend(place.2.to_le_bytes());
        descriptors.extend(0u64.to_le_bytes());
    }
    target.put(0, &header.0)?;
    target.put(PAGE_SIZE, &sub.0)?;
    target.put(bitmaps, &bitmap)?;
    target.put(bitmaps + half, &bitmap)?;
    target.put(descriptors_at, &descriptors)?;
    for (i, chunk) in data.chunks(0x4000).enumerate() {
        target.put(data_at + i as u64 * 0x4000, chunk)?;
    }
    match target {
        Target::Plain(out) => out.finish(at),
        Target::Records(records) => flat(path, records),
    }
}

/// Writes the flattened form: records in random order, and the header twice, first with wrong
/// bytes.
fn flat(path: &Path, mut records: Vec<(u64, Vec<u8>)>) -> io::Result<()> {
    Rng::new(0xf1a7).shuffle(&mut records);
    records.insert(0, (0x100, vec![0xee; 0x800]));
    let mut head = vec![0; 4096];
    for (at, bytes) in [
        (0, &b"makedumpfile"[..]),
        (16, &1u64.to_be_bytes()),
        (24, &1u64.to_be_bytes()),
    ] {
        if let Some(to) = head.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }
    let mut out = Out::create(path)?;
    let mut at = head.len() as u64;
    out.put(0, &head)?;
    for (place, bytes) in records {
        let mut record = place.to_be_bytes().to_vec();
        record.extend((bytes.len() as u64).to_be_bytes());
        record.extend(bytes);
        out.put(at, &record)?;
        at += record.len() as u64;
    }
    out.put(at, &[0xff; 16])?;
    out.finish(at + 16)
}
