//! A kernel that is unknown both to PDBs and to built-in tables: the important structures
//! are found by a search, with the same results as with symbols.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use poolscope::engine::{Engine, Options};
use poolscope::pool::TagPattern;
use poolscope::pool::block::Block;
use poolscope::synth::Container;

use crate::demo::{directory, poolscope};

/// The small machine, and the same with another GUID in nt's debug record.
fn dumps() -> [PathBuf; 2] {
    let known = directory().join(format!("known-{}.dmp", std::process::id()));
    let unknown = known.with_file_name(format!("unknown-{}.dmp", std::process::id()));
    let machine = crate::machines::small();
    machine.write(&known, Container::BitmapKernel).unwrap();
    let mut bytes = std::fs::read(&known).unwrap();
    let record = b"ntkrnlmp.pdb";
    let name = bytes
        .windows(record.len())
        .position(|w| w == record)
        .expect("nt has a debug record");
    assert_eq!(&bytes[name - 24..name - 20], b"RSDS");
    bytes[name - 20] ^= 0xff;
    std::fs::write(&unknown, bytes).unwrap();
    [known, unknown]
}

fn open(path: &Path) -> (Engine, Vec<Block>) {
    let engine = Engine::open(path, &Options::default()).unwrap();
    let index = engine.index(Arc::default()).unwrap();
    let blocks = index.matching(&TagPattern::any()).collect();
    (engine, blocks)
}

#[test]
fn counters_and_blocks_equal_those_found_with_symbols() {
    let [known, unknown] = dumps();
    let (with, blocks) = open(&known);
    let (without, found) = open(&unknown);
    assert_eq!(without.trackers().rows, with.trackers().rows);
    assert_eq!(
        without.trackers().tables.len(),
        with.trackers().tables.len()
    );
    assert!(blocks.len() > 100);
    let lost: Vec<_> = blocks.iter().filter(|b| !found.contains(b)).collect();
    let other: Vec<_> = found.iter().filter(|b| !blocks.contains(b)).collect();
    assert!(
        lost.is_empty() && other.is_empty(),
        "lost {lost:?}\nother {other:?}\n{said}",
        said = without.warnings().join("\n")
    );
    let said = without.warnings().join("\n");
    assert!(said.contains("found by structure"), "{said}");
    assert!(said.contains("is not built in"), "{said}");

    let name = unknown.file_name().unwrap().to_str().unwrap();
    let output = poolscope(&["info", name]).output().unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    assert!(
        answer.contains("built-in layouts of build 7601"),
        "{answer}"
    );
    for file in [known, unknown] {
        std::fs::remove_file(file).unwrap();
    }
}
