//! PDB files: the container, the identity, public symbols and type records.

use std::path::Path;
use std::sync::{Mutex, OnceLock};

use poolscope::symbols::{LoadOptions, Network, PdbId, SymbolPath, Symbols, WantedPdb};

use super::bed::{Bed, Place};
use super::machines;
use super::shown;

/// Made from `tests/fixtures/pdb/driver.c`.
pub const PDB: &[u8] = include_bytes!("../../tests/fixtures/pdb/driver.pdb");

/// Page size of the file.
const PAGE: usize = 4096;

/// Its identity, as stated in the driver's image.
pub fn id() -> PdbId {
    PdbId {
        name: "driver.pdb".into(),
        guid: *b"\xD0\xAD\x6D\x4D\x9D\xBE\x0A\x9ALLD PDB.",
        age: 1,
    }
}

fn beds() -> &'static [Mutex<Bed>] {
    static BEDS: OnceLock<Vec<Mutex<Bed>>> = OnceLock::new();
    BEDS.get_or_init(|| {
        let write = |path: &Path| std::fs::write(path, PDB).unwrap();
        vec![Mutex::new(Bed::new(write, |_| groups()))]
    })
}

/// The header, the directory, and the start of every page, where most streams have their header.
fn groups() -> Vec<Vec<Place>> {
    let place = |at, length| Place { at, length, va: 0 };
    let pages = || (0..PDB.len()).step_by(PAGE);
    let filled = |at: &usize| PDB[*at..*at + PAGE].iter().any(|byte| *byte != 0);
    vec![
        vec![place(0, 0x40)],
        pages().filter(filled).map(|at| place(at, 0x100)).collect(),
        pages().filter(filled).map(|at| place(at, PAGE)).collect(),
    ]
}

/// Damages the file.
pub fn run(data: &[u8]) {
    machines::run_on(beds(), data, ask);
}

/// The undamaged file, and some files with a wrong header.
pub fn seeds() -> Vec<Vec<u8>> {
    let word = |at: u8, value: u32| {
        let edit = [0, 2, 0, at, 0, 0];
        [edit.as_slice(), &value.to_le_bytes()].concat()
    };
    let mut out = vec![vec![0]];
    for (at, value) in [
        (0x20, 0),
        (0x20, u32::MAX),
        (0x20, 1),
        (0x28, u32::MAX),
        (0x2c, u32::MAX),
        (0x34, 0),
        (0x34, u32::MAX),
    ] {
        out.push(word(at, value));
    }
    out
}

/// Reads it as a module's PDB, as the kernel's PDB, and locates it.
fn ask(path: &Path) {
    let wanted = WantedPdb {
        id: id(),
        path: SymbolPath::parse_with(&path.to_string_lossy(), |_| None),
        network: Network::Off,
    };
    let located = wanted.locate();
    located.notes.iter().for_each(|note| shown::check(note));
    look(&Symbols::load_module(&wanted.id, &wanted.path).symbols);
    // Functions and lines: for addresses in three functions, between them, and outside.
    let rvas = [
        0x1000,
        0x1020,
        0x103e,
        0x1071,
        0x1075,
        0x1084,
        0x5000,
        u32::MAX,
    ];
    let (origins, notes) = Symbols::origins(&wanted.id, &wanted.path, &rvas);
    assert_eq!(origins.len(), rvas.len());
    notes.iter().for_each(|note| shown::check(note));
    for (origin, rva) in origins.iter().zip(rvas) {
        assert!(origin.function.as_ref().is_none_or(|f| f.1 <= rva));
    }
    let loaded = Symbols::load(Some(&wanted.id), 7601, &wanted.path, LoadOptions::default());
    loaded.notes.iter().for_each(|note| shown::check(note));
    look(&loaded.symbols);
}

fn look(symbols: &Symbols) {
    let types = [
        "_PS_LINK",
        "_PS_HEADER",
        "_PS_ENTRY",
        "_PS_DEVICE",
        "_PS_FRAME",
        "_POOL_HEADER",
    ];
    let fields = [
        "Flink",
        "Blink",
        "Whole",
        "Tag",
        "Owner",
        "Hash",
        "Opaque",
        "Frame",
        "Callback",
        "Last",
        "u1.Flink",
        "Previous",
        "Kind",
        "NoExecute",
        "Rest",
    ];
    for ty in types {
        std::hint::black_box((symbols.size_of(ty), symbols.type_origin(ty)));
        for field in fields {
            if let Some(field) = symbols.field(ty, field) {
                std::hint::black_box(field.extract(u64::MAX));
            }
        }
    }
    std::hint::black_box(symbols.enumerator("_PS_KIND", "Pool"));
    std::hint::black_box(symbols.rva("DriverEntry"));
    for rva in [0, 1, 0x1000, 0x2345, 0x1_0000, u32::MAX] {
        if let Some((_, distance)) = symbols.nearest(rva) {
            assert!(distance <= rva);
        }
    }
}
