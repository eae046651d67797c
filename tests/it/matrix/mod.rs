//! Whole dumps with one damaged structure, in each relevant way. Checks the answers, the
//! warnings, and that unrelated answers did not change. The results are a table in the docs.

mod answers;
mod containers;
mod damage;
mod places;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use poolscope::synth::image::Data;
use poolscope::synth::resource::Version;
use poolscope::synth::sessions::{self, Fault};
use poolscope::synth::snapshot::{self, Mode, Running};
use poolscope::synth::{Container, Machine, era, small, verifier};

use crate::screens::{Screens, short_tour};
use answers::{ANSWERS, Asked, Outcome, Probe};
use damage::{Change, Damage};
use places::Place;

/// No question takes this long, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// An undamaged dump.
struct Original {
    bytes: Vec<u8>,
    places: Vec<Place>,
    probe: Probe,
    asked: Asked,
    folder: tempfile::TempDir,
}

impl Original {
    fn new(era: &'static era::Era, with_sessions: bool) -> Original {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole.dmp");
        let mut spec = small::of_era(era);
        spec.processes = ["System", "a.exe", "b.exe"].map(String::from).to_vec();
        spec.options.whole_images = false;
        // The usual number of idle tags helps to find the tables without symbols, which
        // this test does not need.
        spec.options.idle_tags.truncate(8);
        let driver = spec.modules.iter_mut().find(|m| m.file == "leaker.sys");
        let version = Version::new("Example", "Backup", "Filter", [3, 2, 4120, 7]);
        driver.unwrap().data.push(Data::Version(version));
        spec.allocations = small::allocations(&spec);
        let mut machine = Machine::build(&spec).unwrap();
        if with_sessions {
            sessions::add(&mut machine, era, &[Fault::None, Fault::None]);
        } else if era.build == era::WIN10_2004.build {
            verifier::watch_leaker(&mut machine, era);
        }
        machine.write(&path, Container::BitmapKernel).unwrap();
        let bytes = fs::read(&path).unwrap();
        // Written again without holes: holes would be named as a reason for missing data,
        // and depend on the file system.
        fs::write(&path, &bytes).unwrap();
        let (places, probe) = places::find(&path, &bytes);
        let asked = answers::ask(&path, &probe, None);
        assert_eq!(asked.refused, None);
        Original {
            bytes,
            places,
            probe,
            asked,
            folder,
        }
    }

    /// The running machine of Windows 10 2004 in a container.
    fn in_container(case: &containers::Case, probe: Probe) -> Original {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole.image");
        running().write(&path, case.image).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes).unwrap();
        let asked = answers::ask(&path, &probe, None);
        assert_eq!(asked.refused, None);
        Original {
            places: case.places(&bytes),
            bytes,
            probe,
            asked,
            folder,
        }
    }

    /// A copy of the dump, to damage.
    fn copy(&self, name: &str) -> Copy<'_> {
        let path = self.folder.path().join(name);
        fs::write(&path, &self.bytes).unwrap();
        Copy {
            file: File::options().write(true).open(&path).unwrap(),
            path,
            original: self,
        }
    }
}

/// A copy of a dump in a file. One damage after the other is written to it and undone.
struct Copy<'a> {
    original: &'a Original,
    path: PathBuf,
    file: File,
}

impl Copy<'_> {
    /// Damages the file, passes its path to `ask`, and restores the file. `None` if the damage
    /// changes nothing.
    fn damaged<T>(
        &mut self,
        place: &Place,
        damage: Damage,
        ask: impl FnOnce(&Path) -> T,
    ) -> Option<T> {
        let bytes = &self.original.bytes;
        let (at, length) = match damage::change(bytes, place, damage)? {
            Change::Bytes(at, new) => {
                write_at(&mut self.file, at, &new);
                (at, new.len())
            }
            Change::Cut(at) => {
                self.file.set_len(at as u64).unwrap();
                (at, bytes.len() - at)
            }
        };
        let answer = ask(&self.path);
        write_at(&mut self.file, at, &bytes[at..at + length]);
        Some(answer)
    }
}

fn write_at(file: &mut File, at: usize, bytes: &[u8]) {
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(bytes).unwrap();
}

/// A row of the table.
struct Row {
    place: &'static str,
    damage: Damage,
    outcome: Vec<Outcome>,
}

fn run(original: &Original, keep: impl Fn(&Place) -> bool) -> Vec<Row> {
    let places = original.places.iter().filter(|p| keep(p));
    let cases: Vec<(&Place, Damage)> = places
        .flat_map(|place| place.damages().iter().map(move |d| (place, *d)))
        .collect();
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (next, rows, cases) = (&next, &rows, &cases);
            scope.spawn(move || {
                let mut copy = original.copy(&format!("{worker}.dmp"));
                while let Some((place, damage)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let asked = copy.damaged(place, *damage, |path| {
                        answers::ask(path, &original.probe, Some(&original.asked))
                    });
                    assert!(start.elapsed() < LIMIT, "{} {damage:?}", place.name);
                    let Some(asked) = asked else {
                        continue;
                    };
                    let outcome = asked.outcome(&original.asked);
                    rows.lock().unwrap().push(Row {
                        place: place.name,
                        damage: *damage,
                        outcome,
                    });
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    let nth = |row: &Row| {
        let same = |(p, d): &(&Place, Damage)| p.name == row.place && *d == row.damage;
        cases.iter().position(same)
    };
    rows.sort_by_key(nth);
    rows
}

/// Only answers that depend on the damaged structure may change; each place lists them.
fn nothing_else_changed(original: &Original, rows: &[Row]) {
    let mut wrong = String::new();
    for row in rows {
        let place = original
            .places
            .iter()
            .find(|p| p.name == row.place)
            .unwrap();
        for (answer, outcome) in ANSWERS.iter().zip(&row.outcome) {
            let hangs = |name: &str| place.may.split(' ').any(|m| m == name);
            // Stacks are joined to blocks, and modules give the names of their frames.
            let joined =
                *answer == "stacks" && ["allocs", "modules", "refs"].into_iter().any(hangs);
            let may = place.may == "*" || hangs(answer) || joined;
            if *outcome != Outcome::Same && !may {
                let _ = writeln!(
                    wrong,
                    "{}, {:?}: {answer} is {:?}",
                    row.place, row.damage, outcome
                );
            }
        }
    }
    assert!(wrong.is_empty(), "answers changed that must not:\n{wrong}");
}

fn table(rows: &[Row]) -> String {
    let mut out = format!("| structure | damage | {} |\n", ANSWERS.join(" | "));
    out += &format!("| --- | --- |{}\n", " :-: |".repeat(ANSWERS.len()));
    for row in rows {
        let cells: Vec<&str> = row.outcome.iter().map(|o| o.mark()).collect();
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            row.place,
            row.damage.word(),
            cells.join(" | ")
        );
    }
    out
}

/// The table of a Windows version is part of the docs, between two markers.
fn is_documented(name: &str, rows: &[Row]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/corruption.md");
    let text = fs::read_to_string(&path).unwrap();
    let (start, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let from = text.find(&start).expect(name) + start.len();
    let to = text.find(&end).expect(name);
    let now = format!("\n{}\n", table(rows));
    if std::env::var_os("UPDATE_README").is_some() {
        // The tests of the other versions write to the same file.
        static LOCK: Mutex<()> = Mutex::new(());
        let _held = LOCK.lock().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let from = text.find(&start).unwrap() + start.len();
        let to = text.find(&end).unwrap();
        fs::write(&path, format!("{}{now}{}", &text[..from], &text[to..])).unwrap();
        return;
    }
    let before: Vec<&str> = text[from..to].lines().collect();
    let after: Vec<&str> = now.lines().collect();
    let other: Vec<String> = before
        .iter()
        .zip(&after)
        .filter(|(b, a)| b != a)
        .map(|(b, a)| format!("- {b}\n+ {a}"))
        .collect();
    assert!(
        before == after,
        "docs/corruption.md is out of date (UPDATE_README=1 cargo test --test it matrix):\n{}",
        other.join("\n")
    );
}

fn holds(name: &str, original: &Original, keep: impl Fn(&Place) -> bool) {
    let rows = run(original, keep);
    if std::env::var_os("UPDATE_README").is_none() {
        nothing_else_changed(original, &rows);
    }
    is_documented(name, &rows);
}

#[test]
fn damage_on_windows_7_with_block_chains_and_sessions() {
    let original = Original::new(&era::WIN7, true);
    holds("7601", &original, |_| true);
}

#[test]
fn damage_on_windows_10_2004_with_segment_heaps() {
    let original = Original::new(&era::WIN10_2004, false);
    // The container is the same, and the other test covers it.
    let inside = |name: &str| {
        !["header", "bitmap", "file"]
            .iter()
            .any(|p| name.starts_with(p))
    };
    holds("19041", &original, |place| inside(place.name));
}

/// Structures that are the same on 19041 are not tested again.
#[test]
fn damage_on_windows_11_24h2_with_its_own_layouts() {
    let original = Original::new(&era::WIN11_24H2, false);
    holds("26100", &original, |place| place.is_of_era);
}

/// A running machine, for the containers of memory images.
fn running() -> &'static Running {
    static RUNNING: OnceLock<Running> = OnceLock::new();
    RUNNING.get_or_init(|| {
        let mut spec = small::of_era(&era::WIN10_2004);
        spec.options.whole_images = false;
        spec.options.idle_tags.truncate(8);
        spec.allocations = small::allocations(&spec);
        let machine = Machine::build(&spec).unwrap();
        snapshot::run(&machine, &era::WIN10_2004, &[Mode::Kernel, Mode::Kernel]).unwrap()
    })
}

#[test]
fn damage_in_containers_of_images() {
    let block = running()
        .machine
        .truth
        .blocks
        .iter()
        .find(|b| !b.big)
        .unwrap()
        .va;
    let mut rows = Vec::new();
    for case in &containers::CASES {
        let original = Original::in_container(case, Probe { block });
        rows.extend(run(&original, |_| true));
    }
    is_documented("images", &rows);
}

/// The UI with every second place damaged, in turn on two machines: panes are drawn without
/// an internal error.
#[test]
fn the_ui_survives_damaged_dumps() {
    for (turn, era) in [&era::WIN7, &era::WIN10_2004].into_iter().enumerate() {
        let original = Original::new(era, turn == 0);
        let places = original
            .places
            .iter()
            .enumerate()
            .filter(|(i, _)| i % 2 == turn);
        let mut copy = original.copy("screen.dmp");
        let (mut tried, mut opened) = (0, 0);
        for (i, place) in places {
            let damages = place.damages();
            let damage = damages[i / 2 % damages.len()];
            let shown = copy.damaged(place, damage, |path| {
                let mut screens = Screens::open(path).ok()?;
                Some(short_tour(&mut screens))
            });
            let Some(shown) = shown else {
                continue;
            };
            tried += 1;
            opened += usize::from(shown.is_some());
            for screen in shown.iter().flatten() {
                assert!(
                    !screen.contains("internal error"),
                    "{} {damage:?}:\n{screen}",
                    place.name
                );
            }
        }
        assert!(opened * 2 > tried, "{opened} of {tried} opened");
    }
}
