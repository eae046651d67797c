//! The header and the page maps of types 1, 2, 5 and 6.

use std::collections::HashSet;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use poolscope::dump::Dump;
use poolscope::memory::{PAGE_SIZE, Pfn};
use poolscope::synth::Container;
use poolscope::synth::header::DumpHeader;
use poolscope::synth::physical::Physical;

use super::bed::{Bed, Place};
use super::input::Input;
use super::shown;

const CONTAINERS: [Container; 6] = [
    Container::Full,
    Container::WIN7_KERNEL,
    Container::Summary { bitmap_at: 0x24 },
    Container::SummaryWide,
    Container::BitmapFull,
    Container::BitmapKernel,
];

/// First byte of inputs that are a complete file.
pub const AS_IT_IS: u8 = 0xff;

/// The first byte chooses the container; the rest damages it.
pub fn run(data: &[u8]) {
    static BEDS: OnceLock<Vec<Mutex<Bed>>> = OnceLock::new();
    let beds = BEDS.get_or_init(|| beds(&CONTAINERS));
    run_on(beds, data);
}

/// An undamaged dump of each kind, and inputs with a header that is rejected.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = (0..CONTAINERS.len() as u8).map(|c| vec![c]).collect();
    for broken in poolscope::synth::broken::Broken::ALL {
        let mut bytes = broken.bytes();
        bytes.truncate(0x3000);
        out.push([&[AS_IT_IS], bytes.as_slice()].concat());
    }
    out
}

/// Dumps of the same few pages.
pub fn beds(containers: &[Container]) -> Vec<Mutex<Bed>> {
    let mut physical = Physical::new(vec![(1, 30), (40, 20), (0x80, 8)]);
    for frame in [2, 5, 44, 0x83] {
        physical.skip_to(Pfn(frame));
        let first = physical.allocate(3);
        physical.page_mut(first).fill(frame as u8);
        // An entry that maps its own table is evidence that a bitmap is right.
        let root = frame << 12 | 0x63;
        physical.page_mut(first)[0xf68..0xf70].copy_from_slice(&root.to_le_bytes());
    }
    let header = DumpHeader {
        runs: physical.runs().to_vec(),
        directory_table: 0x2000,
        ..DumpHeader::default()
    };
    let bed = |container: &Container| {
        let mut file = Cursor::new(Vec::new());
        container.write(&header, &physical, &mut file).unwrap();
        let bytes = file.into_inner();
        let place = |at, length| Place { at, length, va: 0 };
        let fields = vec![place(0, 0xa0), place(0xf98, 0x18), place(0x1030, 0x24)];
        let runs = vec![place(0x88, 0x60)];
        let second = vec![place(0x2000, 0x80)];
        let bitmap = vec![place(0x2020, 0x1000 - 0x20)];
        let all = vec![place(0, bytes.len())];
        let write = |path: &Path| std::fs::write(path, &bytes).unwrap();
        let groups = vec![fields, runs, second, bitmap, all];
        Mutex::new(Bed::new(write, |_| groups))
    };
    containers.iter().map(bed).collect()
}

/// Runs an input on the bed that its first byte chooses.
pub fn run_on(beds: &[Mutex<Bed>], data: &[u8]) {
    let mut input = Input(data);
    let Some(which) = input.u8() else { return };
    if which == AS_IT_IS {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(input.0).unwrap();
        return ask(file.path());
    }
    let bed = &beds[usize::from(which) % beds.len()];
    bed.lock().unwrap().run(&mut input, ask);
}

/// Opens the file and looks up pages: no two frames share a page of the file, and there are
/// not more pages than the header states.
fn ask(path: &Path) {
    let dump = match Dump::open(path) {
        Ok(dump) => dump,
        Err(why) => return shown::check(&why.to_string()),
    };
    // Memory images have a target of their own.
    if dump.header().is_none() {
        return;
    }
    let length = dump.file_length();
    assert!(dump.pages_present() <= length / PAGE_SIZE);
    let memory = dump.memory();
    let ends = memory.iter().flat_map(|r| {
        let last = r.first.0 + r.pages.saturating_sub(1);
        [r.first.0, last, last + 1]
    });
    let frames: HashSet<u64> = (0..0x200)
        .chain(ends)
        .chain((0..64).flat_map(|bit| [1 << bit, u64::MAX >> bit]))
        .collect();
    let mut offsets = HashSet::new();
    let mut readable = 0;
    for frame in frames.into_iter().map(Pfn) {
        if let Some(offset) = dump.file_offset(frame) {
            assert!(offsets.insert(offset), "two frames at {offset:#x}");
        }
        if let Some(page) = dump.page(frame) {
            readable += 1;
            std::hint::black_box(page.iter().fold(0u8, |sum, byte| sum ^ byte));
        }
    }
    assert!(readable <= dump.pages_present());
    std::hint::black_box(dump.identity());
    std::hint::black_box((dump.highest_frame(), dump.notes()));
    std::hint::black_box((dump.format(), dump.contents(), dump.pages_cut_off()));
}
