//! The project's own PDB for tests, and directories to store it in.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{PdbId, SymbolPath};

/// Built from `tests/fixtures/pdb/driver.c`.
pub const PDB: &[u8] = include_bytes!("../../tests/fixtures/pdb/driver.pdb");
/// Its key, as printed by llvm-readobj and llvm-pdbutil.
pub const KEY: &str = "4D6DADD0BE9D9A0A4C4C44205044422E1";

/// Its identity, as stored in the driver's image.
pub fn id() -> PdbId {
    PdbId {
        name: "driver.pdb".into(),
        guid: *b"\xD0\xAD\x6D\x4D\x9D\xBE\x0A\x9ALLD PDB.",
        age: 1,
    }
}

/// The same identity with another GUID.
pub fn other_id() -> PdbId {
    PdbId {
        guid: [7; 16],
        ..id()
    }
}

/// Writes a file and creates its parent directories.
pub fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Path of the fixture in a symbol store.
pub fn in_store(root: &Path) -> PathBuf {
    root.join("driver.pdb").join(KEY).join("driver.pdb")
}

/// A cabinet with one file.
pub fn cabinet(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut builder = cab::CabinetBuilder::new();
    builder
        .add_folder(cab::CompressionType::MsZip)
        .add_file(name);
    let mut writer = builder.build(std::io::Cursor::new(Vec::new())).unwrap();
    while let Some(mut file) = writer.next_file().unwrap() {
        file.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A symbol path without the environment.
pub fn path(text: &str) -> SymbolPath {
    SymbolPath::parse_with(text, |_| None)
}

/// Every file below a directory, relative to it.
pub fn files(root: &Path) -> Vec<PathBuf> {
    fn walk(at: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(at).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => walk(&path, out),
                path => out.push(path),
            }
        }
    }
    let mut out = Vec::new();
    walk(root, &mut out);
    out.sort();
    out.iter()
        .map(|p| p.strip_prefix(root).unwrap().to_owned())
        .collect()
}
