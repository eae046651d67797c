//! Memory images: every container that is not a crash dump, and a running machine in which
//! Windows must be found by a search.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use poolscope::dump::Dump;
use poolscope::engine::Engine;
use poolscope::memory::{PAGE_SIZE, Pfn};
use poolscope::synth::snapshot::{self, Image, Method, Qemu, Registers, Vmware};
use poolscope::synth::{Machine, era, small};

use super::bed::{Bed, Place};
use super::input::Input;
use super::locate::{Whole, options};
use super::shown;

const CONTAINERS: [Image; 11] = [
    Image::Lime,
    Image::Vmware(Vmware {
        inside: true,
        old: false,
        one_by_one: false,
        padding: 3,
    }),
    Image::Vmware(Vmware {
        inside: true,
        old: true,
        one_by_one: true,
        padding: 0,
    }),
    Image::Qemu(Qemu {
        old: false,
        many: false,
        sections_last: false,
    }),
    Image::VirtualBox,
    Image::Kdump(Method::Zlib, false),
    Image::Kdump(Method::Lzo, true),
    Image::Kdump(Method::Snappy, false),
    Image::Kdump(Method::Zstd, true),
    Image::HyperV(false),
    Image::HyperV(true),
];

/// First byte of inputs that are a complete file, and of inputs that damage the machine.
const FILE: u8 = 0xff;
const MACHINE: u8 = 0xfe;

/// The first byte chooses the container that the rest damages, or is one of the two above.
pub fn run(data: &[u8]) {
    static BEDS: OnceLock<Vec<Mutex<Bed>>> = OnceLock::new();
    let beds = BEDS.get_or_init(|| CONTAINERS.iter().map(bed).collect());
    let mut input = Input(data);
    let Some(which) = input.u8() else { return };
    if which == MACHINE {
        return machine().lock().unwrap().run(&mut input, find);
    }
    if which == FILE {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), input.0).unwrap();
        return ask(file.path());
    }
    let bed = &beds[usize::from(which) % beds.len()];
    bed.lock().unwrap().run(&mut input, ask);
}

/// An undamaged image of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let containers = 0..CONTAINERS.len() as u8;
    containers.chain([MACHINE]).map(|c| vec![c]).collect()
}

/// A raw image, with the structures that lead to Windows.
fn machine() -> &'static Mutex<Bed> {
    static BED: OnceLock<Mutex<Bed>> = OnceLock::new();
    BED.get_or_init(|| {
        let mut spec = small::spec();
        // Raw images have at least 16 MB.
        spec.runs = vec![(1, 0x9e), (0x100, 0x1000)];
        spec.vm.physical_memory = 0x9e + 0x1000;
        let machine = Machine::build(&spec).unwrap();
        let running = snapshot::run(&machine, &era::WIN7, &[]).unwrap();
        let write = |path: &Path| running.write(path, Image::Raw).unwrap();
        Mutex::new(Bed::new(write, |path| leads(&Whole::open(path))))
    })
}

fn leads(whole: &Whole) -> Vec<Vec<Place>> {
    const SHARED_USER_DATA: u64 = 0xffff_f780_0000_0000;
    let engine = &whole.engine;
    let kernel = engine.kernel();
    let file = |at, length| Place { at, length, va: 0 };
    let root = engine.dump().file_offset(kernel.space.root()).unwrap() as usize;
    let at = |va: u64, bytes| whole.memory(poolscope::memory::Va(va), bytes);
    vec![
        vec![file(0, engine.dump().file_length() as usize)],
        // The place of a real-mode start block.
        vec![file(0x1000, 0x9f000)],
        vec![file(root, 0x800), file(root + 0x800, 0x800)],
        at(SHARED_USER_DATA, 0x400),
        at(kernel.base.0, 0x1000),
        at(kernel.machine.debugger_data.0, 0x340),
        whole.loader_list(),
    ]
}

/// Finds Windows, and asks only what depends on finding it.
fn find(path: &Path) {
    let engine = match Engine::open(path, &options()) {
        Ok(engine) => engine,
        Err(why) => return shown::check(&why.to_string()),
    };
    engine.warnings().iter().for_each(|w| shown::check(w));
    std::hint::black_box((engine.info(), engine.modules(None)));
    std::hint::black_box(engine.index(Arc::default()).unwrap().totals.listed);
}

/// An image of a few pages, with the structures that describe them.
fn bed(image: &Image) -> Mutex<Bed> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let cpu = Registers {
        cr0: 0x8005_0031,
        cr3: 0x2000,
        cr4: 0x6f8,
        rip: 0xffff_f800_0000_1234,
        ..Registers::default()
    };
    snapshot::of_pages(&path, &[cpu, cpu], *image).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let place = |at: usize, length: usize| {
        let at = at.min(bytes.len());
        Place {
            at,
            length: length.min(bytes.len() - at),
            va: 0,
        }
    };
    let head = vec![place(0, 0x200)];
    let tables = vec![place(0x1000, 0x400), place(0x2000, 0x400)];
    let start = vec![place(0, 0x4000)];
    let tail = vec![place(bytes.len().saturating_sub(0x3000), 0x3000)];
    let all = vec![place(0, bytes.len())];
    let groups = vec![head, tables, start, tail, all];
    let write = |path: &Path| std::fs::write(path, &bytes).unwrap();
    Mutex::new(Bed::new(write, |_| groups))
}

/// Opens the image and reads pages: the number of frames is limited, and no page is read
/// beyond it.
fn ask(path: &Path) {
    let dump = match Dump::open(path) {
        Ok(dump) => dump,
        Err(why) => return shown::check(&why.to_string()),
    };
    dump.limit_memory(1 << 20);
    for note in dump.notes() {
        shown::check(&note);
    }
    let frames = (0..0x300).chain((0..64).flat_map(|bit| [1 << bit, u64::MAX >> bit]));
    for frame in frames.map(Pfn) {
        if let Some(page) = dump.page(frame) {
            assert!(frame.0 < dump.frames_end());
            assert_eq!(page.len() as u64, PAGE_SIZE);
            std::hint::black_box(page.iter().fold(0u8, |sum, byte| sum ^ byte));
            // A decompressed page does not move or change.
            assert!(std::ptr::eq(page, dump.page(frame).unwrap()));
        }
    }
    std::hint::black_box((dump.identity(), dump.memory(), dump.contents()));
    std::hint::black_box(dump.written_frames(0x100).len());
}
