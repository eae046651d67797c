//! Cabinets: a symbol store may contain compressed PDBs.

use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use cab::{CabinetBuilder, CompressionType};

use poolscope::symbols::{Network, SymbolPath, WantedPdb};

use super::bed::Bed;
use super::machines;
use super::pdb;
use super::shown;

/// First byte of inputs that are a complete file.
const AS_IT_IS: u8 = 0xff;

fn beds() -> &'static [Mutex<Bed>] {
    static BEDS: OnceLock<Vec<Mutex<Bed>>> = OnceLock::new();
    BEDS.get_or_init(|| {
        let packed = [
            pack(CompressionType::MsZip, pdb::PDB),
            pack(CompressionType::None, &pdb::PDB[..0x3000]),
            pack(CompressionType::MsZip, &vec![0; 4 << 20]),
        ];
        packed
            .iter()
            .map(|bytes| Mutex::new(Bed::of_bytes(bytes)))
            .collect()
    })
}

/// A cabinet with one file.
pub fn pack(how: CompressionType, bytes: &[u8]) -> Vec<u8> {
    let mut builder = CabinetBuilder::new();
    builder.add_folder(how).add_file("driver.pdb");
    let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
    while let Some(mut file) = writer.next_file().unwrap() {
        file.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The first byte chooses a cabinet; the rest damages it.
pub fn run(data: &[u8]) {
    if let Some((&AS_IT_IS, file)) = data.split_first() {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), file).unwrap();
        return ask(path.path());
    }
    machines::run_on(beds(), data, ask);
}

/// The undamaged cabinets, one as a complete file, and some with a compression that the
/// builder does not support.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut out = machines::untouched(beds().len());
    let small = pack(CompressionType::MsZip, b"not a PDB");
    out.push([&[AS_IT_IS], small.as_slice()].concat());
    for compression in [2u8, 3, 0x15 << 1] {
        // The compression type of the folder, and its window.
        let mut other = small.clone();
        other[0x2a] = compression & 15;
        other[0x2b] = 0x12;
        out.push([&[AS_IT_IS], other.as_slice()].concat());
    }
    out
}

fn ask(path: &Path) {
    let wanted = WantedPdb {
        id: pdb::id(),
        path: SymbolPath::parse_with(&path.to_string_lossy(), |_| None),
        network: Network::Off,
    };
    let located = wanted.locate();
    located.notes.iter().for_each(|note| shown::check(note));
}
