//! The dump file itself: truncated, removed, or written to while it is open; pipes, devices
//! and archives; missing permissions; and where answers and caches are written.

use std::fs::{self, File};
use std::path::Path;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
#[cfg(unix)]
use std::time::{Duration, Instant};

#[cfg(unix)]
use poolscope::engine::IndexCache;
use poolscope::engine::{Engine, Options};
#[cfg(unix)]
use poolscope::pool::{Tag, TagPattern};
use poolscope::synth::{Container, era, small};
use tempfile::TempDir;

/// A folder with a small dump, `it.dmp`, of heaps or of block chains.
fn desk(era: &'static era::Era) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let spec = small::of_era(era);
    let machine = poolscope::synth::Machine::build(&spec).unwrap();
    let path = folder.path().join("it.dmp");
    machine.write(&path, Container::BitmapKernel).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("poolscope"));
    command
        .current_dir(folder)
        .env_remove("_NT_SYMBOL_PATH")
        .env("HOME", folder.join("home"))
        .env("XDG_CACHE_HOME", folder.join("home"))
        .env("LOCALAPPDATA", folder.join("home"))
        .env("ProgramData", folder.join("home"))
        .stdin(Stdio::null())
        .args(arguments);
    command
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Calls every question of the library; returns answers that must exist.
#[cfg(unix)]
fn ask(engine: &Engine) -> Vec<String> {
    let index = engine.index(Default::default()).unwrap();
    let any = TagPattern::any();
    let blocks: Vec<_> = index.matching(&any).collect();
    for block in blocks.iter().step_by(blocks.len() / 4 + 1) {
        let _ = engine.pool_page(block.va);
    }
    let _ = engine.references(Tag::of("Leak").unwrap());
    let _ = engine.diagnose(&index);
    let mut said = engine.coverage_of(&any, &index).sentences();
    said.extend(engine.warnings());
    said
}

#[cfg(unix)]
#[test]
fn a_dump_truncated_while_open_is_reported() {
    for era in [&era::WIN7, &era::WIN10_2004] {
        for keep in [0, 1, 30, 70, 99] {
            let folder = desk(era);
            let path = folder.path().join("it.dmp");
            let options = Options {
                cache: IndexCache::In(folder.path().join("cache")),
                ..Options::default()
            };
            let engine = Engine::open(&path, &options).unwrap();
            let length = path.metadata().unwrap().len() * keep / 100;
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(length).unwrap();
            let said = ask(&engine).join("\n");
            assert!(
                said.contains("the file was truncated from"),
                "{keep}: {said}"
            );
            let index = engine.index(Default::default()).unwrap();
            // The index is not cached.
            let _ = engine.keep_index(&index);
            let kept = fs::read_dir(folder.path().join("cache"));
            assert_eq!(kept.into_iter().flatten().count(), 0, "{keep}");
        }
    }
}

/// Truncation at any moment of a run. Never a signal, a panic, or a partial line.
#[cfg(unix)]
#[test]
fn truncating_the_dump_at_any_moment_does_not_crash_the_program() {
    let folder = desk(&era::WIN10_2004);
    let path = folder.path().join("it.dmp");
    let whole = fs::read(&path).unwrap();
    // Written again without holes, because holes would be mentioned if blocks are missing.
    fs::write(&path, &whole).unwrap();
    let arguments = ["diagnose", "it.dmp", "--no-cache", "--format", "json"];
    let start = Instant::now();
    let before = command(folder.path(), &arguments).output().unwrap();
    assert!(before.status.success());
    let takes = start.elapsed();
    let (mut answered, mut said) = (0, 0);
    for i in 0..14u32 {
        fs::write(&path, &whole).unwrap();
        let child = command(folder.path(), &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(takes * i / 12);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(whole.len() as u64 / 20 * u64::from(i % 4))
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let status = output.status.code();
        assert!(matches!(status, Some(0 | 1)), "{i}: {:?}", output.status);
        assert!(!told(&output).contains("panicked"), "{}", told(&output));
        if status == Some(0) {
            let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            answered += 1;
            let warned = answer["warnings"]
                .to_string()
                .contains("was truncated from");
            let same = output.stdout == before.stdout;
            said += u32::from(warned);
            assert!(
                warned || same,
                "{i}: other, and not said: {}",
                told(&output)
            );
        } else {
            assert!(told(&output).contains("error: "), "{}", told(&output));
        }
    }
    println!("{answered} answered, {said} said that the file was cut");
}

/// On Windows, a mapped file cannot be truncated or removed.
#[cfg(windows)]
#[test]
fn an_open_dump_cannot_be_truncated() {
    let folder = desk(&era::WIN7);
    let path = folder.path().join("it.dmp");
    let engine = Engine::open(&path, &Options::default()).unwrap();
    let file = File::options().write(true).open(&path);
    assert!(file.and_then(|file| file.set_len(100)).is_err());
    drop(engine);
}

/// Spaces, other alphabets, and Windows' long form of a path.
#[test]
fn a_dump_in_a_folder_with_any_name_is_opened() {
    let folder = desk(&era::WIN7);
    let inside = folder.path().join("two words \u{e9} \u{6f22}\u{5b57}");
    fs::create_dir(&inside).unwrap();
    let path = inside.join("a b.dmp");
    fs::rename(folder.path().join("it.dmp"), &path).unwrap();
    let long = fs::canonicalize(&path).unwrap();
    assert_eq!(cfg!(windows), long.to_string_lossy().starts_with(r"\\?\"));
    for path in [path, long] {
        let path = path.to_str().unwrap();
        for arguments in [vec!["info", path], vec!["poolused", path, "2"]] {
            let output = command(folder.path(), &arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", told(&output));
        }
        let out = inside.join("the answer.evidence");
        let arguments = [
            "evidence",
            path,
            "--out",
            out.to_str().unwrap(),
            "--no-cache",
        ];
        let output = command(folder.path(), &arguments).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        fs::remove_file(out).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_dump_removed_while_open_is_read_to_its_end() {
    let folder = desk(&era::WIN7);
    let path = folder.path().join("it.dmp");
    let options = Options {
        cache: IndexCache::In(folder.path().join("cache")),
        ..Options::default()
    };
    let engine = Engine::open(&path, &options).unwrap();
    let before = ask(&engine);
    let engine = Engine::open(&path, &options).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(ask(&engine), before);
    let index = engine.index(Default::default()).unwrap();
    let why = engine.keep_index(&index).unwrap();
    assert!(why.contains("the dump changed"), "{why}");
}

/// Pipes, devices and directories cannot be mapped, and the program never waits for them.
#[cfg(unix)]
#[test]
fn pipes_devices_and_directories_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    fs::create_dir(folder.path().join("directory")).unwrap();
    std::os::unix::fs::symlink("circle", folder.path().join("circle")).unwrap();
    for (name, word) in [
        ("fifo", "a pipe or a device"),
        ("directory", "a directory"),
        ("/dev/null", "a pipe or a device"),
        ("/dev/zero", "a pipe or a device"),
        ("circle", "circle"),
        ("missing", "missing"),
    ] {
        for command_name in ["info", "allocs", "diagnose"] {
            let mut arguments = vec![command_name, name];
            arguments.extend((command_name == "allocs").then_some("Leak"));
            let start = Instant::now();
            let output = command(folder.path(), &arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
            assert!(told(&output).contains(word), "{}", told(&output));
            assert!(start.elapsed() < Duration::from_secs(10));
        }
    }
    let mut child = command(folder.path(), &["info", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _held = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("save it to a file"),
        "{}",
        told(&output)
    );
}

/// Each archive format is named, with the command that unpacks it.
#[test]
fn archives_are_named_with_the_command_that_unpacks_them() {
    let folder = tempfile::tempdir().unwrap();
    for (first, what, how) in [
        (&b"MSCF\0\0\0\0"[..], "a cabinet", "cabextract"),
        (b"PK\x03\x04\x14\0", "a zip archive", "unzip"),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "7z x"),
        (b"\x1f\x8b\x08\x08", "gzip", "gunzip"),
        (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
        (b"\xfd7zXZ\0", "xz", "unxz"),
        (b"BZh9", "bzip2", "bunzip2"),
        (b"Rar!\x1a\x07\x01\0", "a RAR archive", "unrar x"),
        (b"\x04\x22\x4d\x18", "lz4", "unlz4"),
        (b"MSWIM\0\0\0", "a Windows image (WIM)", "wimapply"),
    ] {
        let mut bytes = first.to_vec();
        bytes.resize(0x4000, 0x55);
        fs::write(folder.path().join("it.dmp"), bytes).unwrap();
        let output = command(folder.path(), &["info", "it.dmp"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = told(&output);
        assert!(told.contains(what) && told.contains(how), "{told}");
        assert!(told.contains("it.dmp"), "the command has the name: {told}");
    }
}

/// True for root, who can read every file.
#[cfg(unix)]
fn is_root() -> bool {
    let told = Command::new("id").arg("-u").output().unwrap();
    told.stdout == b"0\n"
}

/// Root can read everything, so the test then runs as another user.
#[cfg(unix)]
#[test]
fn a_dump_without_read_permission_is_reported() {
    use std::os::unix::fs::PermissionsExt;
    let folder = desk(&era::WIN7);
    let path = folder.path().join("it.dmp");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(folder.path(), 0o755);
    mode(&path, 0o000);
    let program = folder.path().join("poolscope");
    let mut command = match is_root() {
        true => {
            // Other users may have no access to the folders above the program.
            fs::copy(assert_cmd::cargo::cargo_bin("poolscope"), &program).unwrap();
            mode(&program, 0o755);
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            command.arg(&program);
            command
        }
        false => Command::new(assert_cmd::cargo::cargo_bin("poolscope")),
    };
    let output = match command.arg("info").arg(&path).output() {
        Ok(output) if output.status.code() == Some(1) => output,
        other => {
            // A container may not allow a change of user, or may hide the folder from other
            // users.
            eprintln!("skipped: no other user to be here: {other:?}");
            return;
        }
    };
    assert!(
        told(&output).contains("Permission denied"),
        "{}",
        told(&output)
    );
    assert!(told(&output).contains("it.dmp"), "{}", told(&output));
}

/// An unfinished or damaged copy has a hole that reads as zeros. Its data is missing, and
/// the answers say so.
#[cfg(target_os = "linux")]
#[test]
fn a_hole_in_the_file_is_reported() {
    use std::os::unix::fs::FileExt;
    let folder = desk(&era::WIN7);
    let path = folder.path().join("it.dmp");
    let whole = fs::read(&path).unwrap();
    // The same without a hole: zeros in place of the pages.
    fs::write(&path, &whole).unwrap();
    let run = || {
        let arguments = ["allocs", "it.dmp", "*", "--no-cache"];
        let output = command(folder.path(), &arguments).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1)));
        String::from_utf8(output.stdout.clone()).unwrap() + &told(&output)
    };
    assert!(!run().contains("has holes"));
    let middle = whole.len() / 2;
    let (from, to) = (
        (middle - (1 << 20)) & !0xfff,
        (middle + (1 << 20) + 0x2000) & !0xfff,
    );
    let file = File::create(&path).unwrap();
    file.write_at(&whole[..from], 0).unwrap();
    file.write_at(&whole[to..], to as u64).unwrap();
    drop(file);
    let said = run();
    assert!(said.contains("the file has holes of"), "{said}");
}

/// Answers reach their destination, or an error says that they do not; never a signal.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_with_a_message() {
    let folder = desk(&era::WIN7);
    for arguments in [
        &["allocs", "it.dmp", "*"][..],
        &["info", "it.dmp"],
        &["diagnose", "it.dmp", "--format", "json"],
        &["poolused", "it.dmp", "--format", "csv"],
        &["modules", "it.dmp", "--format", "markdown"],
        &["man"],
        &["keys"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(folder.path(), arguments)
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(
            told(&output).contains("the answer can't be written: No space left"),
            "{arguments:?}: {}",
            told(&output)
        );
    }
    // If stderr is full too, the error message is lost, but the status is right.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let status = command(folder.path(), &["info", "nosuch.dmp"])
        .stderr(full)
        .status();
    assert_eq!(status.unwrap().code(), Some(1));
}

/// `ulimit -f`: files can have 8 blocks of 512 bytes.
#[cfg(unix)]
fn limited(folder: &Path, arguments: &[&str]) -> Output {
    let program = assert_cmd::cargo::cargo_bin("poolscope");
    Command::new("sh")
        .current_dir(folder)
        .env("HOME", folder.join("home"))
        .env("XDG_CACHE_HOME", folder.join("home"))
        .env("LOCALAPPDATA", folder.join("home"))
        .env("ProgramData", folder.join("home"))
        .args(["-c", "ulimit -f 8; exec \"$0\" \"$@\""])
        .arg(program)
        .args(arguments)
        .output()
        .unwrap()
}

#[cfg(unix)]
#[test]
fn a_file_size_limit_costs_the_cache_but_not_the_answer() {
    let folder = desk(&era::WIN10_2004);
    let free = command(folder.path(), &["allocs", "it.dmp", "*", "--no-cache"]).output();
    let output = limited(folder.path(), &["allocs", "it.dmp", "*"]);
    assert_eq!(output.status.code(), Some(0), "{:?}", output.status);
    assert_eq!(output.stdout, free.unwrap().stdout);
    assert!(
        told(&output).contains("note: the index is not cached"),
        "{}",
        told(&output)
    );
    assert_eq!(entries(&folder.path().join("home/poolscope/index")), 0);
    let output = limited(folder.path(), &["demo", "--out", "demo.dmp"]);
    assert_eq!(output.status.code(), Some(1), "{:?}", output.status);
    assert!(
        told(&output).contains("can't be written"),
        "{}",
        told(&output)
    );
}

#[cfg(unix)]
fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).into_iter().flatten().count()
}

/// A home directory that is read-only, and a full disk. A directory cannot be in /dev/full,
/// so a file system of one page is mounted if that is allowed.
#[cfg(target_os = "linux")]
#[test]
fn a_full_or_read_only_cache_disk_costs_only_a_note() {
    let folder = desk(&era::WIN10_2004);
    let free = command(folder.path(), &["allocs", "it.dmp", "*", "--no-cache"]).output();
    let free = free.unwrap().stdout;
    for options in ["size=4k", "ro,size=64m"] {
        let place = Mounted::new(&folder.path().join("home"), options);
        let Some(place) = place else {
            eprintln!("skipped: no file system can be mounted here");
            return;
        };
        let output = command(folder.path(), &["allocs", "it.dmp", "*"]).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(0), "{options}");
        assert_eq!(output.stdout, free, "{options}");
        assert!(
            told(&output).contains("note: the index is not cached"),
            "{options}: {}",
            told(&output)
        );
        drop(place);
    }
}

/// A small temporary file system; dropping it unmounts it.
#[cfg(target_os = "linux")]
struct Mounted(PathBuf);

#[cfg(target_os = "linux")]
impl Mounted {
    fn new(place: &Path, options: &str) -> Option<Mounted> {
        fs::create_dir_all(place).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(place)
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|s| s.success())
            .then(|| Mounted(place.to_owned()))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
