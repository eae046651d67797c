//! The parts of the program: crates from one registry only, and few uses of `unsafe`, each
//! with a reason.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_crate_is_from_crates_io_with_a_checksum() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut count = 0;
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|l| l.strip_prefix(name));
            line.map(|l| l.trim_matches(['"', ' ', '=']).to_owned())
        };
        let name = field("name").unwrap();
        if name == "poolscope" {
            continue;
        }
        count += 1;
        let source = field("source");
        assert_eq!(
            source.as_deref(),
            Some("registry+https://github.com/rust-lang/crates.io-index"),
            "{name}"
        );
        assert_eq!(field("checksum").map(|c| c.len()), Some(64), "{name}");
    }
    assert!(count > 50);
}

/// Files that may contain `unsafe`, and the number of uses in each.
const UNSAFE: [(&str, usize); 14] = [
    // The mapping of the dump.
    ("src/dump/mapping.rs", 1),
    // Decompressed pages, written and shared without a lock; the mapping of their file.
    ("src/dump/packed.rs", 3),
    // SIGBUS: mmap over lost pages, fstat, sigaction, errno, the bitmap of lost pages; a
    // mapping in its test.
    ("src/dump/guard.rs", 10),
    // The same on Windows: sections, views, reserved addresses, the exception handler.
    ("src/dump/view.rs", 12),
    // The system's memory status, and the handler of console events.
    ("src/system/memory.rs", 2),
    ("src/system/console.rs", 1),
    // Sessions and signals of the job: calls that take and return numbers.
    ("src/tui/terminal/signals.rs", 2),
    // Tests: a counting allocator, signals to their own child processes, and the holes of
    // a file.
    ("tests/memory/main.rs", 5),
    // The processor time of a fuzzing input.
    ("fuzz/fuzz_targets/harness/mod.rs", 1),
    ("tests/it/cache.rs", 1),
    ("tests/it/demo.rs", 1),
    ("tests/it/symbols.rs", 1),
    ("tests/it/tui_pty/terminal.rs", 1),
    ("tests/it/tui_tmux/mod.rs", 1),
];

fn sources(under: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(under).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn unsafe_code_is_only_in_listed_files_and_has_reasons() {
    let mut files = vec![root().join("build.rs")];
    for folder in ["src", "tests", "benches", "examples", "fuzz"] {
        sources(&root().join(folder), &mut files);
    }
    let mut found = Vec::new();
    for file in files {
        let name = file
            .strip_prefix(root())
            .unwrap()
            .to_str()
            .unwrap()
            .replace('\\', "/");
        if name == "tests/it/supply.rs" {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut count = 0;
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let word = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
            if !word.iter().any(|w| code.contains(w)) {
                continue;
            }
            count += 1;
            // The reason for an `unsafe impl` is above it, and covers its functions.
            let above = lines[number.saturating_sub(8)..number].iter().rev();
            let reason = above.clone().any(|l| l.contains("SAFETY:"));
            assert!(reason, "{name}:{}: no SAFETY reason", number + 1);
        }
        if count > 0 {
            found.push((name, count));
        }
    }
    found.sort();
    let mut allowed: Vec<(String, usize)> = UNSAFE.iter().map(|(n, c)| ((*n).into(), *c)).collect();
    allowed.sort();
    assert_eq!(found, allowed);
}

/// `cargo deny check` enforces the rules if it is installed; this test only checks the file.
#[test]
fn rules_for_dependencies_exist() {
    let rules = fs::read_to_string(root().join("deny.toml")).unwrap();
    for section in ["[licenses]", "[sources]", "[bans]", "[advisories]"] {
        assert!(rules.contains(section), "{section}");
    }
}
