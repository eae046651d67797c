//! Imports run one way, from the container up to what people see.

use std::fs;
use std::path::{Path, PathBuf};

/// Each layer, and the layers it may import. `bytes` and `memory::addr` are vocabulary
/// that all but the builder's tests share.
const MAY_IMPORT: [(&str, &[&str]); 13] = [
    ("bytes", &[]),
    ("characters", &[]),
    ("dump", &[]),
    ("memory", &["dump"]),
    ("symbols", &[]),
    ("kernel", &["dump", "memory", "symbols"]),
    ("pool", &["dump", "memory", "symbols", "kernel"]),
    ("series", &["pool"]),
    (
        "analysis",
        &["dump", "memory", "symbols", "kernel", "pool", "series"],
    ),
    (
        "engine",
        &[
            "dump", "memory", "symbols", "kernel", "pool", "series", "analysis",
        ],
    ),
    (
        "report",
        &[
            "memory", "symbols", "kernel", "pool", "series", "analysis", "engine",
        ],
    ),
    (
        "tui",
        &[
            "memory", "symbols", "kernel", "pool", "series", "analysis", "engine", "report",
        ],
    ),
    ("synth", &[]),
];

fn sources(under: &Path) -> Vec<PathBuf> {
    if under.is_file() {
        return vec![under.to_owned()];
    }
    let Ok(entries) = fs::read_dir(under) else {
        return Vec::new();
    };
    entries.flatten().flat_map(|e| sources(&e.path())).collect()
}

/// The product's lines of a file: what stands before its tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

#[test]
fn imports_run_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (layer, allowed) in MAY_IMPORT {
        let files = [src.join(layer), src.join(format!("{layer}.rs"))];
        let files: Vec<_> = files.iter().flat_map(|f| sources(f)).collect();
        assert!(!files.is_empty(), "there is no layer {layer}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let code = |line: &&str| !line.trim_start().starts_with("//");
            for (number, line) in product(&text).lines().enumerate().filter(|l| code(&l.1)) {
                for import in line.match_indices("crate::") {
                    let path = &line[import.0 + "crate::".len()..];
                    let top: String = path
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect();
                    let vocabulary = path.starts_with("memory::addr")
                        || (layer != "synth" && matches!(top.as_str(), "bytes" | "characters"));
                    if top != layer && !vocabulary && !allowed.contains(&top.as_str()) {
                        wrong.push(format!("{}:{}: {line}", file.display(), number + 1));
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports against the direction:\n{}",
        wrong.join("\n")
    );
}
