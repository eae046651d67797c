//! Gives the sources that decide what a walk of the pool finds a fingerprint, so that an
//! index that an older program kept is never taken for this one's.
#![allow(clippy::unwrap_used)]

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher;
use std::path::Path;

/// Everything below the answers, and the tables built into it.
const SOURCES: [&str; 9] = [
    "src/addr.rs",
    "src/bytes.rs",
    "src/dump",
    "src/memory",
    "src/symbols",
    "src/kernel",
    "src/pool",
    "assets/kernels.json",
    "assets/layouts",
];

/// What the references to tags are made by, beside those.
const REFERENCES: [&str; 4] = [
    "src/analysis/references",
    "src/analysis/tag_search.rs",
    "src/engine/refs.rs",
    "src/engine/kept_references.rs",
];

fn main() {
    // Tests have time limits for code that is optimized, and for code that isn't.
    println!("cargo:rustc-check-cfg=cfg(optimized)");
    println!("cargo:rerun-if-env-changed=OPT_LEVEL");
    if std::env::var("OPT_LEVEL").unwrap() != "0" {
        println!("cargo:rustc-cfg=optimized");
    }
    let mut hash = DefaultHasher::new();
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
        add(Path::new(source), &mut hash);
    }
    println!("cargo:rustc-env=POOLSCOPE_WALK={:016x}", hash.finish());
    for source in REFERENCES {
        println!("cargo:rerun-if-changed={source}");
        add(Path::new(source), &mut hash);
    }
    println!(
        "cargo:rustc-env=POOLSCOPE_REFERENCES={:016x}",
        hash.finish()
    );
}

fn add(path: &Path, hash: &mut DefaultHasher) {
    if path.is_dir() {
        let mut inside: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        inside.sort();
        inside.iter().for_each(|path| add(path, hash));
        return;
    }
    let content = fs::read(path).unwrap();
    hash.write(path.to_string_lossy().as_bytes());
    hash.write_usize(content.len());
    hash.write(&content);
}
