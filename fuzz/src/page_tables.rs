//! Page tables: the bytes build a small physical memory, entry by entry, most of them
//! plausible, and choose addresses to translate.

use std::fs::File;
use std::sync::{Arc, Mutex, OnceLock};

use tempfile::NamedTempFile;

use poolscope::dump::{Dump, PageBytes};
use poolscope::memory::{AddressSpace, Fault, InvalidMask, MappedPage, PAGE_SIZE, Pa, Va};
use poolscope::synth::Container;
use poolscope::synth::header::DumpHeader;
use poolscope::synth::physical::Physical;

use super::input::Input;
use super::placed;

/// Number of frames; entries can refer to others.
const FRAMES: u64 = 64;
/// The frame of the top table.
const ROOT: u64 = 1;
/// Maximum number of entries.
const MOST: usize = 1024;

/// A dump of empty pages; entries are written to it, and removed afterwards.
struct Memory {
    file: NamedTempFile,
    first_page: u64,
    written: Vec<u64>,
}

impl Memory {
    fn new() -> Memory {
        let mut physical = Physical::new(vec![(0, FRAMES)]);
        physical.allocate(FRAMES);
        let header = DumpHeader {
            runs: physical.runs().to_vec(),
            directory_table: ROOT * PAGE_SIZE,
            ..DumpHeader::default()
        };
        let mut file = NamedTempFile::new().unwrap();
        let length = Container::BitmapKernel.write(&header, &physical, file.as_file_mut());
        Memory {
            first_page: length.unwrap() - FRAMES * PAGE_SIZE,
            file,
            written: Vec::new(),
        }
    }

    fn put(&mut self, frame: u64, slot: u64, entry: u64) {
        let at = self.first_page + frame % FRAMES * PAGE_SIZE + slot % 512 * 8;
        write(self.file.as_file(), at, entry);
        self.written.push(at);
    }

    fn clear(&mut self) {
        for at in self.written.drain(..) {
            write(self.file.as_file(), at, 0);
        }
    }
}

fn write(file: &File, at: u64, entry: u64) {
    placed::write(file, at, &entry.to_le_bytes());
}

/// The first byte chooses the mask; entries and addresses follow.
pub fn run(data: &[u8]) {
    static MEMORY: OnceLock<Mutex<Memory>> = OnceLock::new();
    let memory = MEMORY.get_or_init(|| Mutex::new(Memory::new()));
    let mut memory = memory.lock().unwrap();
    let mut input = Input(data);
    let mask = match input.u8() {
        Some(0) | None => InvalidMask::Unknown,
        Some(bit) => InvalidMask::Known(1 << (bit & 63)),
    };
    let mut asked = vec![Va(0), Va(0xffff_f680_0000_0000), Va(u64::MAX)];
    for _ in 0..MOST {
        match step(&mut memory, &mut input) {
            Some(Step::Ask(va)) => asked.push(va),
            Some(Step::Laid) => {}
            None => break,
        }
    }
    let dump = Arc::new(Dump::open(memory.file.path()).unwrap());
    let space = AddressSpace::new(dump, Pa(ROOT * PAGE_SIZE)).with_invalid_mask(mask);
    ask(&space, &asked);
    memory.clear();
}

enum Step {
    Laid,
    Ask(Va),
}

/// One entry, a run of equal entries, or an address to translate.
fn step(memory: &mut Memory, input: &mut Input<'_>) -> Option<Step> {
    let [kind, frame, slot, target] = input.array()?;
    // Prefer the upper half of a table, which is the kernel's: most addresses are there.
    let slot = u64::from(slot) + 256 * u64::from(kind >> 7 ^ 1);
    let to = u64::from(target) << 12;
    let entry = match kind & 15 {
        0..=4 => to | 0x63,
        5 => to | 0xe3,
        6 => to | 0x8000_0000_0000_0063,
        7 => to | 0x8c0,
        8 => to | 0x8d0,
        9 => (va(input)?.0 << 16) | 0x400,
        10 => 0x80,
        11 => to << 20 | 0xc0,
        12 => input.u64()?,
        13 => (u64::from(frame) % FRAMES) << 12 | 0x63,
        _ => return Some(Step::Ask(va(input)?)),
    };
    let count = if kind & 0x40 != 0 { 256 } else { 1 };
    for i in 0..count {
        let entry = if kind & 0x20 != 0 {
            entry.wrapping_add(i << 12)
        } else {
            entry
        };
        memory.put(frame.into(), slot + i, entry);
    }
    Some(Step::Laid)
}

/// An address, from its page table slots.
fn va(input: &mut Input<'_>) -> Option<Va> {
    let [a, b, c, d, e] = input.array()?;
    let slots = [a, b, c, d].map(u64::from);
    let high = slots[0] << 39 | slots[1] << 30 | slots[2] << 21 | slots[3] << 12;
    Some(Va(0xffff_8000_0000_0000 | high | u64::from(e) << 4))
}

fn ask(space: &AddressSpace, asked: &[Va]) {
    let mut buffer = vec![0; 0x5000];
    for va in asked {
        std::hint::black_box(space.translate(*va).is_ok());
        std::hint::black_box(space.read(*va, &mut buffer).is_ok());
        std::hint::black_box(space.unicode_string(*va, 64).is_ok());
        for (_, piece) in space.pieces(*va, 0x3000) {
            std::hint::black_box(piece.is_ok());
        }
        walk(space, *va, Va(va.0.saturating_add(1 << 32)));
    }
    walk(space, Va(0xffff_8000_0000_0000), Va(u64::MAX));
    walk(space, Va(0), Va(u64::MAX));
}

/// Walks the tables between two addresses: chunks are in order, not more than a dump of
/// this size can have, and agree with the translation of each address.
fn walk(space: &AddressSpace, start: Va, end: Va) {
    let mapped = space.mapped(start, end);
    assert!(mapped.chunks.is_sorted_by(|a, b| a.va < b.va));
    assert!(mapped.chunks.len() <= 1 << 16, "{}", mapped.chunks.len());
    assert!(mapped.unreadable.len() <= 1 << 16);
    for chunk in mapped.chunks.iter().take(4) {
        space.chunk_frames(*chunk, |frame| {
            std::hint::black_box(frame);
        });
        std::hint::black_box(space.no_execute(*chunk));
        space.chunk_pages(*chunk, |va, page| agree(space, va, page));
    }
}

fn agree(space: &AddressSpace, va: Va, page: MappedPage<'_>) {
    let at = |page: &PageBytes| std::ptr::from_ref(page);
    match (page, space.page(va)) {
        (MappedPage::Bytes(ours, _), Ok(theirs)) => assert_eq!(at(ours), at(theirs), "{va}"),
        (MappedPage::Zero, Ok(page)) => assert!(page.iter().all(|byte| *byte == 0), "{va}"),
        (MappedPage::Missing(_), Err(_)) => {}
        // The walk also covers the lower half of the top table; these are not canonical.
        (_, Err(Fault::NotCanonical)) => {}
        (ours, theirs) => panic!("{va}: {ours:?} but {:?}", theirs.map(|_| ())),
    }
}

/// Realistic tables, and tables that no machine has.
pub fn seeds() -> Vec<Vec<u8>> {
    let valid = |frame, slot, to| [0, frame, slot, to];
    let ask = |slots: [u8; 4]| [&[15, 0, 0, 0], slots.as_slice(), &[0]].concat();
    let path = [
        valid(1, 237, 1),
        valid(1, 9, 2),
        valid(2, 8, 3),
        valid(3, 7, 4),
    ]
    .concat();
    let leaves: Vec<u8> = [0, 5, 6, 7, 8, 10, 11]
        .iter()
        .enumerate()
        .flat_map(|(i, kind)| [*kind, 4, i as u8, 20 + i as u8])
        .collect();
    let prototype = [[9, 4, 40, 0].as_slice(), &[9, 8, 7, 0, 0]].concat();
    let asked = ask([9, 8, 7, 0]);
    let sound = [&[0], path.as_slice(), &leaves, &prototype, &asked].concat();
    let mut masked = sound.clone();
    masked[0] = 45;
    // Every entry of the top table maps the top table: 2^36 pages of itself.
    let mirror = [0, 0x4d, 1, 0, 1, 0xcd, 1, 0, 1];
    // A chain of prototype entries that refer to each other.
    let chain = [
        &[0],
        path.as_slice(),
        &[9, 4, 0, 0],
        &[9, 8, 7, 0, 8],
        &asked,
    ]
    .concat();
    // A full table of tables of large pages, and one of missing frames.
    let large = [
        &[0],
        path.as_slice(),
        &[0x45, 2, 0, 64, 0x60, 3, 0, 50],
        &asked,
    ]
    .concat();
    let absent = [&[0], [0x40, 1, 0, 200].as_slice(), &asked].concat();
    vec![sound, masked, mirror.to_vec(), chain, large, absent]
}
