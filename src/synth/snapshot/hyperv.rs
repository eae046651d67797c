//! HyperVStorage and the saved state in it, following `hvs_file/FORMAT.md` of openvmm.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use crate::addr::PAGE_SIZE;
use crate::synth::header::Bytes;
use crate::synth::physical::{Page, Physical};

use super::{Out, Registers, bytes, stretches};

const BLOCK_PAGES: u64 = 256;
const TABLE: usize = 4096;

/// CRC-32 of RFC 1952, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| match crc & 1 {
            1 => crc >> 1 ^ 0xedb8_8320,
            _ => crc >> 1,
        })
    })
}

/// A value of the tree.
enum Value {
    Node,
    Int(i64),
    Array(Vec<u8>),
    /// The bytes of an array elsewhere in the file.
    Outside(Vec<u8>),
}

struct Storage {
    out: Out,
    end: u64,
    /// Full key tables, and the current one.
    tables: Vec<Vec<u8>>,
    /// Type, offset and size in bytes of the objects.
    objects: Vec<(u8, u64, u32)>,
    /// The sequence numbers of the two headers; the second is newer.
    sequences: [u16; 2],
}

impl Storage {
    /// Adds an entry; returns the key that its children use as their parent.
    fn add(&mut self, parent: (u16, u32), name: &str, value: &Value) -> io::Result<(u16, u32)> {
        let (kind, flags, data) = match value {
            Value::Node => (9u8, 0u8, vec![0; 12]),
            Value::Int(n) => (3, 0, n.to_le_bytes().to_vec()),
            Value::Array(bytes) => {
                let mut data = (bytes.len() as u32).to_le_bytes().to_vec();
                data.extend(bytes);
                (7, 0, data)
            }
            Value::Outside(bytes) => {
                let at = self.end;
                self.out.put(at, bytes)?;
                let size = (bytes.len() as u64).next_multiple_of(PAGE_SIZE);
                self.end += size;
                self.objects.push((3, at, size as u32));
                let mut data = (bytes.len() as u32).to_le_bytes().to_vec();
                data.extend(at.to_le_bytes());
                (7, 1, data)
            }
        };
        let size = 21 + name.len() + 1 + data.len();
        let full = |table: &Vec<u8>| table.len() + size + 22 > TABLE;
        if self.tables.last().is_none_or(full) {
            let index = self.tables.len() as u16 + 1;
            let mut head = Bytes(vec![0; 10]);
            head.u16(0, 2);
            head.u16(2, index);
            head.u16(4, 1);
            let checksum = crc(&head.0);
            head.u32(6, checksum);
            self.tables.push(head.0);
        }
        let index = self.tables.len() as u16;
        let Some(table) = self.tables.last_mut() else {
            return Err(io::Error::other("no table"));
        };
        let own = (index, table.len() as u32);
        let mut entry = Bytes(vec![0; 21]);
        entry.put(0, &[kind, flags]);
        entry.u32(2, size as u32);
        entry.u16(6, parent.0);
        entry.u32(8, parent.1);
        entry.u32(16, 1);
        entry.put(20, &[name.len() as u8 + 1]);
        entry.0.extend(name.as_bytes());
        entry.0.push(0);
        entry.0.extend(data);
        let checksum = crc(&entry.0);
        entry.u32(12, checksum);
        table.extend(entry.0);
        Ok(own)
    }

    /// Writes tables, objects and headers.
    fn close(mut self) -> io::Result<()> {
        for mut table in std::mem::take(&mut self.tables) {
            // The rest is one free entry.
            let left = TABLE - table.len();
            let mut free = Bytes(vec![0; left]);
            free.put(0, &[1, 0]);
            free.u32(2, left as u32);
            table.extend(free.0);
            self.out.put(self.end, &table)?;
            self.objects.push((2, self.end, TABLE as u32));
            self.end += TABLE as u64;
        }
        // A table of an earlier state of the file: unused, but with a newer number.
        let stale_at = self.end;
        let mut stale = Bytes(vec![0; TABLE]);
        stale.u16(0, 2);
        stale.u16(2, 1);
        stale.u16(4, 9);
        stale.put(10, &[1, 0]);
        stale.u32(12, TABLE as u32 - 10);
        self.out.put(stale_at, &stale.0)?;
        self.end += TABLE as u64;
        let log_at = self.end;
        let mut log = Bytes(vec![0; 4096]);
        log.u32(0, 0x0111_0003);
        self.out.put(log_at, &log.0)?;
        self.end += 4096;
        // The first table has space for a few objects, so that others follow.
        let mut place = 0x2000;
        let mut rest = self.objects.as_slice();
        loop {
            let room = (4096 - 8) / 18 - 1;
            let (now, later) = rest.split_at(rest.len().min(room));
            let next = (!later.is_empty()).then_some(self.end);
            let mut table = Bytes(vec![0; 4096]);
            table.u32(0, 0x0111_0001);
            table.u32(4, room as u32 + 1);
            let mut put = |i: usize, kind: u8, at: u64, size: u32, in_use: u8| {
                let mut entry = Bytes(vec![0; 18]);
                entry.put(0, &[kind]);
                entry.u64(5, at);
                entry.u32(13, size);
                entry.put(17, &[in_use]);
                let checksum = crc(&entry.0);
                entry.u32(1, checksum);
                table.put(8 + i * 18, &entry.0);
            };
            for (i, &(kind, at, size)) in now.iter().enumerate() {
                put(i, kind, at, size, 1);
            }
            match next {
                Some(next) => put(room, 1, next, 4096, 1),
                None => put(room, 2, stale_at, TABLE as u32, 0),
            }
            self.out.put(place, &table.0)?;
            match next {
                Some(next) => {
                    place = next;
                    self.end += 4096;
                    rest = later;
                }
                None => break,
            }
        }
        for (at, sequence) in [0, 0x1000].into_iter().zip(self.sequences) {
            let mut head = Bytes(vec![0; 46]);
            head.put(0, &[0x14, 0x20, 0x28, 0x01]);
            head.u16(8, sequence);
            head.u32(0x0a, 0x0400);
            head.u32(0x16, 4096);
            head.u64(0x1a, log_at);
            head.u64(0x22, 4096);
            head.u32(0x2a, 4096);
            if at == 0 {
                // The older copy refers to another log.
                head.u64(0x1a, 0x2000);
            }
            let checksum = crc(&head.0);
            head.u32(4, checksum);
            self.out.put(at, &head.0)?;
        }
        self.out.finish(self.end)
    }
}

fn chunk(out: &mut Vec<u8>, id: u32, data: &[u8]) {
    out.extend(id.to_le_bytes());
    out.extend((data.len() as u32).to_le_bytes());
    out.extend([0; 8]);
    out.extend(data);
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The processors' state, with registers of both trust levels.
fn partition(cpus: &[Registers]) -> Vec<u8> {
    let mut chunks = Vec::new();
    let mut prolog = vec![0; 4080 - 16];
    prolog[8] = 1;
    chunk(&mut chunks, 0, &prolog);
    chunk(&mut chunks, 0x2000_1000, &[0; 8]);
    for (number, cpu) in cpus.iter().enumerate() {
        chunk(&mut chunks, 0x3000_1000, &(number as u32).to_le_bytes());
        for level in [0u8, 1] {
            let wrong = u64::from(level) * 0x7777_0000;
            chunk(&mut chunks, 0x3001_a000, &[level]);
            let mut general = [0; 18];
            general[16] = cpu.rip;
            chunk(&mut chunks, 0x3000_5000, &words(&general));
            let control = [cpu.cr0, 0, cpu.cr3 + wrong, cpu.cr4, 0, 0xd01];
            chunk(&mut chunks, 0x3000_7000, &words(&control));
            let mut segments = Bytes(vec![0; 8 * 16]);
            segments.u64(5 * 16, cpu.gs);
            chunk(&mut chunks, 0x3000_9000, &segments.0);
            let mut tables = Bytes(vec![0; 32]);
            tables.u16(6, 0xfff);
            tables.u64(8, cpu.idt);
            chunk(&mut chunks, 0x3000_a000, &tables.0);
            chunk(&mut chunks, 0x3000_b000, &words(&[0, cpu.other_gs, 0]));
        }
    }
    chunk(&mut chunks, 0xf000_0000, &[]);
    let header = 0x20u64;
    let mut out = words(&[0x18, header, header + 0x10 + chunks.len() as u64]);
    out.resize(header as usize + 0x10, 0);
    out.extend(chunks);
    out
}

/// Plain LZ77 of [MS-XCA]: greedy, with the last position of each three bytes.
fn xpress(input: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    let (mut flags_at, mut flags, mut count) = (0, 0u32, 0);
    let mut last: HashMap<[u8; 3], usize> = HashMap::new();
    let mut half: Option<usize> = None;
    let mut at = 0;
    while at < input.len() {
        let key = input.get(at..at + 3).map(|k| [k[0], k[1], k[2]]);
        let from = key
            .and_then(|key| last.insert(key, at))
            .filter(|from| at - from <= 8192);
        let length = from.map_or(0, |from| {
            let (a, b) = (&input[from..], &input[at..]);
            a.iter().zip(b).take_while(|(a, b)| a == b).count()
        });
        flags <<= 1;
        match from.filter(|_| length >= 3) {
            Some(from) => {
                flags |= 1;
                let rest = length - 3;
                let pair = ((at - from - 1) as u16) << 3 | rest.min(7) as u16;
                out.extend(pair.to_le_bytes());
                if rest >= 7 {
                    let nibble = (rest - 7).min(15) as u8;
                    match half.take() {
                        Some(place) => out[place] |= nibble << 4,
                        None => {
                            half = Some(out.len());
                            out.push(nibble);
                        }
                    }
                    if nibble == 15 {
                        let more = rest - 7 - 15;
                        out.push(more.min(255) as u8);
                        if more >= 255 {
                            out.extend((rest as u16).to_le_bytes());
                        }
                    }
                }
                at += length;
            }
            None => {
                out.push(input[at]);
                at += 1;
            }
        }
        count += 1;
        if count == 32 {
            out[flags_at..flags_at + 4].copy_from_slice(&flags.to_le_bytes());
            (flags, count, flags_at) = (0, 0, out.len());
            out.extend([0; 4]);
        }
    }
    // Unused flag bits are ones.
    let flags = match count {
        0 => u32::MAX,
        n => (flags << (32 - n)) | ((1 << (32 - n)) - 1),
    };
    out[flags_at..flags_at + 4].copy_from_slice(&flags.to_le_bytes());
    out
}

/// A block as tokens.
fn tokens(pages: &[Option<Page>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < pages.len() {
        let zeros = pages[at..].iter().take_while(|page| page.is_none()).count();
        match (zeros, &pages[at]) {
            (1, _) => {
                out.extend(0xffff_fffeu32.to_le_bytes());
                out.extend(0u64.to_le_bytes());
                at += 1;
            }
            (2.., _) => {
                out.extend(0xffff_fffdu32.to_le_bytes());
                out.extend(0u64.to_le_bytes());
                out.extend((zeros as u32).to_le_bytes());
                at += zeros;
            }
            (_, Some(page)) if at % 7 == 3 => {
                out.extend(0x1000u32.to_le_bytes());
                out.extend(page);
                at += 1;
            }
            (_, Some(page)) if at % 7 == 5 => {
                out.extend([0xfc, 0xff, 0xff, 0xff]);
                for _ in 0..2 {
                    out.extend(0x1000u32.to_le_bytes());
                }
                out.extend(page);
                at += 1;
            }
            (_, Some(page)) => {
                let packed = xpress(page);
                match packed.len() < page.len() {
                    true => {
                        out.extend((packed.len() as u32).to_le_bytes());
                        out.extend(packed);
                    }
                    false => {
                        out.extend(0x1000u32.to_le_bytes());
                        out.extend(page);
                    }
                }
                at += 1;
            }
            (_, None) => at += 1,
        }
    }
    out.extend([0xff; 4]);
    out
}

pub(super) fn write(
    path: &Path,
    physical: &Physical,
    cpus: &[Registers],
    packed: bool,
) -> io::Result<()> {
    let mut storage = Storage {
        out: Out::create(path)?,
        end: 0x3000,
        tables: Vec::new(),
        objects: Vec::new(),
        // Sequence numbers that wrap around.
        sequences: if packed { [0xffff, 0] } else { [1, 2] },
    };
    let root = (0, 0);
    let configuration = storage.add(root, "configuration", &Value::Node)?;
    let properties = storage.add(configuration, "properties", &Value::Node)?;
    storage.add(properties, "version", &Value::Int(0x0a00))?;
    let saved = storage.add(root, "savedstate", &Value::Node)?;
    storage.add(saved, "VmVersion", &Value::Int(0x0a00))?;
    let machine = storage.add(saved, "savedVM", &Value::Node)?;
    let state = partition(cpus);
    storage.add(machine, "partition_state", &Value::Outside(state))?;
    let mut data = 0;
    for (i, (first, pages)) in stretches(physical).into_iter().enumerate() {
        let mut about = Bytes(vec![0; 48]);
        about.u32(0, 3);
        about.u64(8, pages);
        about.u64(0x10, data);
        about.u64(0x18, first);
        let name = format!("RamMemoryBlock{i}");
        storage.add(saved, &name, &Value::Array(about.0))?;
        for block in 0..pages.div_ceil(BLOCK_PAGES) {
            let frames = first + block * BLOCK_PAGES..first + (block + 1) * BLOCK_PAGES;
            let inside = first + pages;
            let content: Vec<Option<Page>> = frames
                .map(|pfn| bytes(physical, pfn).filter(|_| pfn < inside))
                .collect();
            let stored = match packed {
                true => tokens(&content),
                false => content
                    .iter()
                    .flat_map(|page| page.unwrap_or([0; PAGE_SIZE as usize]))
                    .collect(),
            };
            // A compressed block as long as an uncompressed one is stored uncompressed.
            let stored = match stored.len() < 1 << 20 {
                true => stored,
                false => content
                    .iter()
                    .flat_map(|page| page.unwrap_or([0; PAGE_SIZE as usize]))
                    .collect(),
            };
            let number = data / BLOCK_PAGES + block;
            let name = format!("RamBlock{number}");
            let value = match stored.len() {
                ..2048 => Value::Array(stored),
                _ => Value::Outside(stored),
            };
            storage.add(saved, &name, &value)?;
        }
        data = (data + pages).next_multiple_of(BLOCK_PAGES);
    }
    storage.close()
}
