//! The sample dump, written once per build of the tests, and the program that runs on it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use assert_cmd::Command;
use fs4::FileExt;

/// The directory with `demo.dmp`. Programs run in it, so that no output depends on its
/// path. All test processes of one build share it (nextest runs each test in its own
/// process); the first one writes the dump.
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo");
        fs::create_dir_all(&all).unwrap();
        let own = all.join(build());
        let guard = File::create(all.join("lock")).unwrap();
        FileExt::lock(&guard).unwrap();
        if !own.join("demo.dmp").exists() {
            // Remove dumps and indexes of other builds.
            for old in fs::read_dir(&all).unwrap().flatten() {
                let _ = fs::remove_dir_all(old.path());
            }
            fs::create_dir_all(&own).unwrap();
            let fresh = own.join("fresh.dmp");
            poolscope::synth::demo::write(&fresh).unwrap();
            fs::rename(&fresh, own.join("demo.dmp")).unwrap();
        }
        own
    })
}

/// An identifier of this build of the tests.
fn build() -> String {
    let program = fs::metadata(std::env::current_exe().unwrap()).unwrap();
    let age = program.modified().unwrap();
    let age = age.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("{}-{:x}", program.len(), age.as_nanos())
}

/// A link to the dump in another directory, which a test may rename or remove there. The
/// content is shared: a test that changes it must copy it first. For the screen tests.
#[cfg(unix)]
pub fn link(directory: &Path) -> PathBuf {
    let (from, to) = (
        self::directory().join("demo.dmp"),
        directory.join("MEMORY.DMP"),
    );
    if fs::hard_link(&from, &to).is_err() {
        fs::copy(&from, &to).unwrap();
    }
    to
}

/// Copies the dump to another file, with its holes: they are most of its 780 MB. `change` gets
/// the offset and the bytes of each part.
#[cfg(unix)]
pub fn copy(to: &Path, mut change: impl FnMut(u64, &mut [u8])) {
    use std::os::unix::fs::FileExt as _;

    let from = File::open(directory().join("demo.dmp")).unwrap();
    let length = from.metadata().unwrap().len();
    let to = File::create(to).unwrap();
    to.set_len(length).unwrap();
    let mut end = 0;
    while let Some(start) = seek(&from, end, libc::SEEK_DATA).filter(|at| *at < length) {
        end = seek(&from, start, libc::SEEK_HOLE).unwrap_or(length);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        from.read_exact_at(&mut bytes, start).unwrap();
        change(start, &mut bytes);
        to.write_all_at(&bytes, start).unwrap();
    }
}

#[cfg(not(unix))]
pub fn copy(to: &Path, mut change: impl FnMut(u64, &mut [u8])) {
    let mut bytes = fs::read(directory().join("demo.dmp")).unwrap();
    change(0, &mut bytes);
    fs::write(to, bytes).unwrap();
}

#[cfg(unix)]
fn seek(file: &File, from: u64, what: i32) -> Option<u64> {
    use std::os::fd::AsRawFd as _;

    // SAFETY: the call gets numbers only, and the file is open.
    let found = unsafe { libc::lseek(file.as_raw_fd(), from as libc::off_t, what) };
    u64::try_from(found).ok()
}

/// The program, in an environment without the machine's settings.
pub fn poolscope(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("poolscope").unwrap();
    command
        .current_dir(directory())
        .env_remove("_NT_SYMBOL_PATH")
        .env("HOME", directory())
        .env("XDG_CACHE_HOME", directory())
        .env("LOCALAPPDATA", directory())
        .env("ProgramData", directory())
        .args(arguments);
    command
}

/// The stdout of a successful run.
pub fn answer(arguments: &[&str]) -> String {
    let output = poolscope(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The same, parsed as JSON.
pub fn json(arguments: &[&str]) -> serde_json::Value {
    let mut all = arguments.to_vec();
    all.extend(["--format", "json"]);
    serde_json::from_str(&answer(&all)).unwrap()
}
