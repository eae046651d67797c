//! The sample dump, made once per run, and the program run on it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use assert_cmd::Command;

/// The directory that holds `demo.dmp`; programs run in it, so that no output depends on
/// where this is.
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo");
        std::fs::create_dir_all(&directory).unwrap();
        // Written aside and renamed: tests of other processes may read the old one.
        let fresh = directory.join(format!("demo-{}.dmp", std::process::id()));
        poolscope::synth::demo::write(&fresh).unwrap();
        std::fs::rename(&fresh, directory.join("demo.dmp")).unwrap();
        // The indexes of the old ones would be told to be stale.
        let _ = std::fs::remove_dir_all(directory.join("poolscope"));
        directory
    })
}

/// The program, with an environment that no machine's settings reach.
pub fn poolscope(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("poolscope").unwrap();
    command
        .current_dir(directory())
        .env_remove("_NT_SYMBOL_PATH")
        .env("HOME", directory())
        .env("XDG_CACHE_HOME", directory())
        .args(arguments);
    command
}

/// What it writes to stdout when all goes well.
pub fn answer(arguments: &[&str]) -> String {
    let output = poolscope(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The same as JSON.
pub fn json(arguments: &[&str]) -> serde_json::Value {
    let mut all = arguments.to_vec();
    all.extend(["--format", "json"]);
    serde_json::from_str(&answer(&all)).unwrap()
}
