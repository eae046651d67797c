//! Cached indexes give the same answers as a walk, even if the files are damaged.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, SystemTime};

use assert_cmd::Command;
use poolscope::engine::{Engine, IndexCache, Options};
use poolscope::memory::Va;
use poolscope::pool::{Tag, TagPattern};
use poolscope::synth::sessions::{self, Fault};
use poolscope::synth::{Container, Machine, Spec, era, small};
use tempfile::TempDir;

/// A dump, and a home directory with a cache.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new(spec: &Spec) -> Desk {
        Desk::of(&Machine::build(spec).unwrap())
    }

    fn of(machine: &Machine) -> Desk {
        let desk = Desk {
            folder: tempfile::tempdir().unwrap(),
        };
        machine
            .write(&desk.dump(), Container::BitmapKernel)
            .unwrap();
        desk
    }

    fn dump(&self) -> PathBuf {
        self.folder.path().join("it.dmp")
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("home/poolscope/index")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = Command::cargo_bin("poolscope")
            .unwrap()
            .current_dir(self.folder.path())
            .env_remove("_NT_SYMBOL_PATH")
            .env("XDG_CACHE_HOME", self.folder.path().join("home"))
            .env("LOCALAPPDATA", self.folder.path().join("home"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }

    /// What it prints on stdout, and on stderr.
    fn says(&self, arguments: &[&str]) -> (String, String) {
        let output = self.run(arguments);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }

    /// The cached files.
    fn kept(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.cache()) else {
            return Vec::new();
        };
        entries.map(|e| e.unwrap().path()).collect()
    }

    fn the_kept(&self) -> PathBuf {
        let mut kept = self.kept();
        assert_eq!(kept.len(), 1, "{kept:?}");
        kept.remove(0)
    }

    fn engine(&self) -> Engine {
        let options = Options {
            cache: IndexCache::In(self.cache()),
            ..Options::default()
        };
        Engine::open(&self.dump(), &options).unwrap()
    }
}

const ALL: [&str; 3] = ["allocs", "it.dmp", "*"];

#[test]
fn every_command_answers_the_same_with_no_cold_and_warm_cache() {
    for era in [
        &era::WIN7,
        &era::WIN81,
        &era::WIN10_1809,
        &era::WIN10_2004,
        &era::WIN11_24H2,
    ] {
        let desk = Desk::new(&small::of_era(era));
        let rows = desk.says(&["allocs", "it.dmp", "*", "--format", "csv", "--no-cache"]);
        let address = rows.0.lines().nth(1).unwrap().split(',').nth(2).unwrap();
        // All commands except `refs`, whose owner uses block contents from a cached index;
        // see `attribution`.
        let commands: [&[&str]; 8] = [
            &["info", "it.dmp"],
            &["vm", "it.dmp"],
            &["poolused", "it.dmp", "2"],
            &ALL,
            &["allocs", "it.dmp", "*", "--format", "csv"],
            &["allocs", "it.dmp", "?m*", "--format", "json"],
            &["pool", "it.dmp", address],
            &["modules", "it.dmp"],
        ];
        let all = |more: &[&str]| {
            let run = |c: &&[&str]| desk.says(&[*c, more].concat());
            commands.iter().map(run).collect::<Vec<_>>()
        };
        let none = all(&["--no-cache"]);
        assert!(desk.kept().is_empty(), "--no-cache wrote");
        let cold = all(&[]);
        assert!(desk.the_kept().exists());
        let warm = all(&[]);
        for ((none, cold), warm) in none.iter().zip(&cold).zip(&warm) {
            assert_eq!(none, cold, "{}", era.build);
            assert_eq!(cold, warm, "{}", era.build);
        }
    }
}

#[test]
fn session_blocks_are_cached_with_their_session() {
    for era in [&era::WIN7, &era::WIN10_2004] {
        let mut spec = small::of_era(era);
        spec.processes = ["System", "a.exe", "b.exe"].map(String::from).to_vec();
        spec.allocations = small::allocations(&spec);
        let mut machine = Machine::build(&spec).unwrap();
        sessions::add(&mut machine, era, &[Fault::None, Fault::None]);
        let desk = Desk::of(&machine);
        for format in ["text", "csv", "json"] {
            let arguments = ["allocs", "it.dmp", "*", "--format", format];
            let none = desk.says(&[&arguments[..], &["--no-cache"]].concat());
            assert!(none.0.contains("session"));
            assert_eq!(desk.says(&arguments), none);
            desk.the_kept();
            assert_eq!(desk.says(&arguments), none);
        }
        let engine = desk.engine();
        let kept = engine.kept_index(&|| true).index.unwrap();
        let walked = engine.index(Default::default()).unwrap();
        let any = TagPattern::any();
        assert!(kept.matching(&any).eq(walked.matching(&any)));
        assert!(kept.matching(&any).any(|b| b.session == Some(2)));
        assert!(kept.has_sessions());
        assert_eq!(kept.totals.session_pages, walked.totals.session_pages);
    }
}

#[test]
fn a_cached_index_equals_the_walk_and_has_its_date() {
    let desk = Desk::new(&small::of_era(&era::WIN10_2004));
    let engine = desk.engine();
    assert!(engine.kept_index(&|| true).index.is_none());
    let walked = engine.index(Default::default()).unwrap();
    assert_eq!(engine.keep_index(&walked), None);
    let before = SystemTime::now();
    let kept = desk.engine().kept_index(&|| true).index.unwrap();
    assert!(kept.kept.is_some_and(|made| made <= before));
    let any = TagPattern::any();
    assert!(kept.matching(&any).eq(walked.matching(&any)));
    assert_eq!(kept.notes, walked.notes);
    assert_eq!(kept.totals.tags, walked.totals.tags);
    assert_eq!(kept.totals.paged_pages, walked.totals.paged_pages);
    let engine = desk.engine();
    assert_eq!(engine.total_coverage(&kept), engine.total_coverage(&walked));
    // The block at an address is found without a walk.
    let block = kept.matching(&any).next().unwrap();
    assert!(engine.pool_page(block.va).is_ok());
    let _ = engine.space_in(block.session, Va(block.va.0));
}

#[test]
fn a_cancelled_or_limited_walk_is_not_cached() {
    let desk = Desk::new(&small::spec());
    let engine = desk.engine();
    let progress: std::sync::Arc<poolscope::pool::index::Progress> = Default::default();
    progress.cancel();
    let partial = engine.index(progress).unwrap();
    assert_eq!(engine.keep_index(&partial), None);
    let (limited, _) = desk.says(&["allocs", "it.dmp", "*", "--memory", "1k"]);
    assert!(
        limited.contains("reached its limit of 1.0 KB after "),
        "{limited}"
    );
    assert!(limited.contains("use --memory SIZE"), "{limited}");
    assert!(desk.kept().is_empty());

    // The totals are those of the complete walk. A cached index does not bypass the memory
    // limit.
    let line = |text: &str| {
        let mut lines = text.lines();
        lines
            .find(|l| l.contains(" allocations, "))
            .map(String::from)
    };
    let (whole, _) = desk.says(&ALL);
    assert_eq!(line(&limited), line(&whole));
    assert!(line(&whole).is_some());
    let (again, note) = desk.says(&["allocs", "it.dmp", "*", "--memory", "1k"]);
    assert_eq!(again, limited);
    assert!(note.contains("more than the limit"), "{note}");

    // Pages would look emptier than they are: the table of their occupancy is left out, with
    // a sentence when the file is made and when it is opened.
    let (_, note) = desk.says(&["evidence", "it.dmp", "--out", "it.ev", "--memory", "1k"]);
    assert!(note.contains("occupancy"), "{note}");
    let (facts, _) = desk.says(&["info", "it.ev"]);
    assert!(facts.contains("occupancy of pages is not known"), "{facts}");
}

#[test]
fn damaged_cache_files_are_reported_and_replaced() {
    let desk = Desk::new(&small::spec());
    let walked = desk.says(&ALL);
    let whole = fs::read(desk.the_kept()).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (damaged, why) in [
        (&flipped[..], "its blocks"),
        (&whole[..whole.len() - 8], "its length"),
        (&whole[..10], "too short"),
        (&[], "too short"),
        (&[0; 4096], "its first bytes"),
    ] {
        fs::write(desk.the_kept(), damaged).unwrap();
        let (answer, said) = desk.says(&ALL);
        assert_eq!(answer, walked.0);
        assert!(
            said.contains("is not used, and the pool is walked again"),
            "{said}"
        );
        assert!(said.contains(why), "{said}");
        assert_eq!(desk.says(&ALL), walked, "the index comes from the cache");
    }
}

#[test]
fn a_renamed_dump_uses_the_cache_and_a_changed_one_does_not() {
    let desk = Desk::new(&small::spec());
    let walked = desk.says(&ALL);
    let path = desk.the_kept();
    fs::rename(desk.dump(), desk.folder.path().join("other.dmp")).unwrap();
    // Using a cached file updates its modification time.
    let old = SystemTime::now() - Duration::from_secs(1000);
    let set = |path: &Path, time| {
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    };
    set(&path, old);
    assert_eq!(desk.says(&["allocs", "other.dmp", "*"]), walked);
    assert!(path.metadata().unwrap().modified().unwrap() > old);

    fs::rename(desk.folder.path().join("other.dmp"), desk.dump()).unwrap();
    set(&desk.dump(), SystemTime::now());
    let (answer, said) = desk.says(&ALL);
    assert_eq!(answer, walked.0);
    assert!(said.contains("modified after"), "{said}");
    assert_eq!(desk.says(&ALL), walked);
}

#[test]
fn an_unusable_cache_costs_only_a_note() {
    let desk = Desk::new(&small::spec());
    let walked = desk.says(&["allocs", "it.dmp", "*", "--no-cache"]);
    // A file in place of the directory.
    fs::write(desk.folder.path().join("home"), "").unwrap();
    let (answer, said) = desk.says(&ALL);
    assert_eq!(answer, walked.0);
    assert!(said.contains("note: the index is not cached"), "{said}");
    let quiet = desk.says(&["allocs", "it.dmp", "*", "--quiet"]);
    assert_eq!(quiet, walked);
    let homeless = Command::cargo_bin("poolscope")
        .unwrap()
        .current_dir(desk.folder.path())
        .env_remove("HOME")
        .env_remove("XDG_CACHE_HOME")
        .env_remove("LOCALAPPDATA")
        .args(ALL)
        .output()
        .unwrap();
    assert!(homeless.status.success());
    assert_eq!(String::from_utf8(homeless.stdout).unwrap(), walked.0);
    let said = String::from_utf8(homeless.stderr).unwrap();
    assert!(said.contains("no cache directory is known"), "{said}");
}

#[test]
fn parallel_processes_leave_one_complete_file() {
    let desk = Desk::new(&small::spec());
    let walked = desk.says(&["allocs", "it.dmp", "*", "--no-cache"]);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert_eq!(desk.says(&ALL), walked));
        }
    });
    desk.the_kept();
    assert_eq!(desk.says(&ALL), walked);
    let engine = desk.engine();
    let kept = engine.kept_index(&|| true).index.unwrap();
    assert!(!kept.blocks(Tag::of("Leak").unwrap()).is_empty() || kept.totals.listed > 0);
}

/// A process that is killed at any moment leaves a complete cache file or none. Temporary
/// files are removed some day, and every process ends with its signal.
#[cfg(unix)]
#[test]
fn a_killed_process_leaves_a_complete_file_or_none() {
    use std::os::unix::process::ExitStatusExt;

    let signals = [libc::SIGKILL, libc::SIGINT, libc::SIGTERM, libc::SIGHUP];
    let desk = Desk::new(&small::spec());
    let start = std::time::Instant::now();
    desk.run(&ALL);
    let whole = start.elapsed();
    let mut kept = 0;
    for i in 0..16u32 {
        let signal = signals[i as usize % signals.len()];
        let _ = fs::remove_dir_all(desk.cache());
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("poolscope"))
            .current_dir(desk.folder.path())
            .env("XDG_CACHE_HOME", desk.folder.path().join("home"))
            .args(ALL)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * i / 14);
        // SAFETY: the child is ours and has not been waited for, so its ID is still valid.
        unsafe { libc::kill(child.id() as libc::pid_t, signal) };
        let ended = child.wait().unwrap();
        assert!(ended.success() || ended.signal() == Some(signal), "{ended}");
        let named = |p: &&PathBuf| p.extension().is_some_and(|e| e == "poolidx");
        let there = desk.kept().iter().filter(named).count();
        let answered = desk.engine().kept_index(&|| true);
        assert_eq!(answered.note, None);
        assert_eq!(answered.index.is_some(), there == 1);
        kept += there;
    }
    assert!(kept < 16, "none was ended in time");
}
