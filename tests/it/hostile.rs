//! A dump in which every text is an attack: on the terminal, on spreadsheets, on tickets,
//! on file names. No command, format, pane or saved file lets it through.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use clap::CommandFactory;
use poolscope::characters::is_hidden;
use poolscope::memory::Va;
use poolscope::synth::legacy::{Allocation, Holds};
use poolscope::synth::truth::Pool;
use poolscope::synth::{Container, Machine, era, small};

use crate::screens::{Screens, tour};

/// Names of drivers, each an attack on a different consumer.
const NAMES: [&str; 12] = [
    "\u{1b}[31m\u{9b}2J\u{1b}]0;owned\u{7}red.sys",
    "=HYPERLINK(\"http://e.x\")|<b>`c`.sys",
    "\u{202e}sys.evil\u{2066}\u{200b}\u{feff}.sys",
    "..\\..\\[x](http://e.x)|![i](j).sys",
    "a\t=1+1\r\n@SUM(1);=2+2.sys",
    "CON.sys",
    "-2+3\u{7f}\u{85}\u{2028}.sys",
    "~~~\u{ad}\u{34f}~~~~.sys",
    "</script><img src=x onerror=y>.sys",
    "\u{e0041}\u{fe0f}\u{3164}invisible.sys",
    "+cmd|' /C calc'!A0.sys",
    "\\\\host\\share\\x.sys",
];

const TAGS: [[u8; 4]; 8] = [
    *b"\x1b[2J",
    *b"=1+1",
    *b"@A1\t",
    *b"|<b>",
    *b"`~~~",
    *b"\x9b31m",
    [0xe2, 0x80, 0xae, 0x41],
    *b"-1\r\n",
];

const TEXT: &[u8; 48] = b"\x1b]52;c;AAAA\x07\x9b2J=cmd|x <img> ~~~ `a` \xe2\x80\xae ending..";

fn machine(era: &'static era::Era) -> Machine {
    let mut spec = small::of_era(era);
    if era.build == 7601 {
        spec = small::spec();
    }
    let first = spec.modules[3].base.0 + 0x1_0000;
    let model = spec.modules[2].clone();
    for (i, name) in NAMES.iter().enumerate() {
        let mut module = model.clone();
        module.file = (*name).into();
        module.base = Va(first + i as u64 * 0x1_0000);
        spec.modules.push(module);
    }
    spec.unloaded
        .push((NAMES[0].into(), Va(first + 0x100_0000), 0x4000));
    for file in &mut spec.vm.page_files {
        file.path = "\\??\\\u{1b}[2J=1\u{202e}.sys".into();
    }
    if let Some(name) = spec.processes.last_mut() {
        *name = "\x1b[2J=1|<b>`.x".into();
    }
    let words = TEXT.chunks(8).enumerate().map(|(i, word)| {
        let word = <[u8; 8]>::try_from(word).unwrap();
        (i * 8, u64::from_le_bytes(word))
    });
    spec.options.holds.push(Holds {
        tag: *b"Leak",
        bytes: 0,
        words: words.collect(),
    });
    spec.allocations = small::allocations(&spec);
    for tag in TAGS {
        for pool in [Pool::NonPaged, Pool::Paged] {
            for _ in 0..6 {
                spec.allocations.push(Allocation::new(tag, pool, 0x80));
            }
        }
    }
    Machine::build(&spec).unwrap()
}

struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new(era: &'static era::Era) -> Desk {
        let desk = Desk {
            folder: tempfile::tempdir().unwrap(),
        };
        let path = desk.dump();
        machine(era).write(&path, Container::BitmapKernel).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        // The build lab's text, and a driver's PDB name: a path that leads elsewhere.
        patch(&mut bytes, b".amd64fre.", b"=<b>|`~[x]");
        patch(&mut bytes, b"other.pdb\0", b"..\\..\\a:b\0");
        fs::write(&path, bytes).unwrap();
        desk
    }

    fn dump(&self) -> PathBuf {
        self.folder.path().join("it.dmp")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(assert_cmd::cargo::cargo_bin("poolscope"))
            .current_dir(self.folder.path())
            .env_remove("_NT_SYMBOL_PATH")
            .env("HOME", self.folder.path().join("home"))
            .env("XDG_CACHE_HOME", self.folder.path().join("home"))
            .env("LOCALAPPDATA", self.folder.path().join("home"))
            .env("ProgramData", self.folder.path().join("home"))
            .args(arguments)
            .output()
            .unwrap()
    }
}

fn patch(bytes: &mut [u8], what: &[u8], with: &[u8]) {
    assert!(with.len() <= what.len());
    let places: Vec<usize> = memchr::memmem::find_iter(bytes, what).collect();
    assert!(!places.is_empty(), "{:?}", String::from_utf8_lossy(what));
    for at in places {
        bytes[at..at + with.len()].copy_from_slice(with);
    }
}

fn desk() -> &'static Desk {
    static DESK: OnceLock<Desk> = OnceLock::new();
    DESK.get_or_init(|| Desk::new(&era::WIN7))
}

/// Text for people: only lines, tabs and visible characters.
fn is_plain(text: &[u8], what: &str) -> String {
    let text =
        String::from_utf8(text.to_vec()).unwrap_or_else(|e| panic!("{what}: invalid bytes: {e}"));
    for line in text.lines() {
        let bad = line.chars().find(|c| is_hidden(*c) && *c != '\t');
        assert_eq!(bad, None, "{what}: {line:?}");
    }
    assert!(!text.contains('\r'), "{what}");
    text
}

fn check_json(value: &serde_json::Value, what: &str) {
    match value {
        serde_json::Value::String(text) => {
            assert!(!text.contains(is_hidden), "{what}: {text:?}");
        }
        serde_json::Value::Array(all) => all.iter().for_each(|v| check_json(v, what)),
        serde_json::Value::Object(all) => all.iter().for_each(|(name, v)| {
            assert!(!name.contains(is_hidden), "{what}: {name:?}");
            check_json(v, what);
        }),
        _ => {}
    }
}

/// No formula, even if a spreadsheet splits at semicolons.
fn check_csv(text: &str, what: &str) {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    for record in reader.records() {
        for field in &record.unwrap() {
            for part in field.split(';') {
                let formula = part
                    .trim_start()
                    .starts_with(['=', '+', '-', '@', '\t', '\r']);
                assert!(!formula || part.parse::<f64>().is_ok(), "{what}: {field:?}");
            }
        }
    }
}

/// Inside fences that the text cannot close, or with all markup escaped.
fn check_markdown(text: &str, what: &str) {
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with("~~~") {
        let fences = text.lines().filter(|l| l.trim() == first).count();
        let longer = text.lines().filter(|l| {
            let l = l.trim();
            l.len() >= first.len() && l.chars().all(|c| c == '~') && !l.is_empty()
        });
        assert_eq!((fences, longer.count()), (2, 2), "{what}");
        assert_eq!(text.lines().last(), Some(first), "{what}");
        return;
    }
    // An image needs a bracket, too.
    check_escaped(text, what, &['`', '[', ']', '*', '~']);
}

fn check_escaped(text: &str, what: &str, marks: &[char]) {
    for line in text.lines() {
        assert!(
            !line.contains('<') && !line.contains("http://"),
            "{what}: {line}"
        );
        let mut before = ' ';
        // A command in a list is code, in which nothing but its end has a meaning.
        let code = line.strip_prefix("  - `").and_then(|l| l.split_once('`'));
        let line = code.map_or(line, |(_, rest)| rest);
        for c in line.chars() {
            assert!(!marks.contains(&c) || before == '\\', "{what}: {line}");
            before = if before == '\\' && c == '\\' { ' ' } else { c };
        }
    }
}

/// Rules whose results name tags and drivers of the dump.
const RULES: &str = "[[rule]]\nmax_verdict = \"normal\"\n[[rule]]\ntag = \"=1+1\"\nmax_bytes = \"1 KB\"\n\
                     [[rule]]\ntag = \"*\"\nmax_bytes = \"1 KB\"\n[[rule]]\ndriver = \"CON.sys\"\nmax_bytes = \"1 KB\"\n";

/// A page of pool, for commands that need an address.
fn address(desk: &Desk) -> String {
    let rows = desk.run(&["allocs", "it.dmp", "Leak", "--format", "csv"]);
    let rows = String::from_utf8(rows.stdout).unwrap();
    rows.lines()
        .nth(1)
        .unwrap()
        .split(',')
        .nth(2)
        .unwrap()
        .into()
}

#[test]
fn no_command_lets_an_attack_through() {
    let desk = desk();
    let address = address(desk);
    let commands: Vec<Vec<&str>> = vec![
        vec!["info", "it.dmp"],
        vec!["vm", "it.dmp", "--sources"],
        vec!["poolused", "it.dmp", "3"],
        vec!["poolused", "it.dmp", "8"],
        vec!["allocs", "it.dmp", "*"],
        vec!["allocs", "it.dmp", "\\x1b[2J"],
        vec!["allocs", "it.dmp", "=1+1"],
        vec!["pool", "it.dmp", &address],
        vec!["refs", "it.dmp", "Leak"],
        vec!["refs", "it.dmp", "=1+1"],
        vec!["contents", "it.dmp", "Leak"],
        vec!["contents", "it.dmp", "`~~~"],
        vec!["objects", "it.dmp", "Process"],
        vec!["objects", "it.dmp", "Toke"],
        vec!["drivers", "it.dmp"],
        vec!["diagnose", "it.dmp"],
        vec!["modules", "it.dmp"],
        vec!["stacks", "it.dmp", "Leak"],
        vec!["symbols", "it.dmp", "--all"],
        vec!["diff", "it.dmp", "it.dmp"],
        vec!["check", "it.dmp", "--rules", "rules.toml"],
        vec!["fleet", "it.dmp"],
    ];
    fs::write(desk.folder.path().join("rules.toml"), RULES).unwrap();
    // These write files of their own, or show no text of the dump; `run` executes one of
    // the commands above.
    let others = [
        "demo",
        "keys",
        "man",
        "help",
        "completions",
        "evidence",
        "export",
        "run",
        "mcp",
    ];
    let all = poolscope::cli::Args::command();
    for sub in all.get_subcommands() {
        let name = sub.get_name();
        let asked = commands.iter().any(|c| c[0] == name);
        assert!(asked || others.contains(&name), "{name} is not asked");
    }
    let mut answered = 0;
    for command in &commands {
        for format in ["text", "json", "csv", "markdown"] {
            let mut arguments = command.clone();
            arguments.extend(["--format", format]);
            let what = arguments.join(" ");
            let output = desk.run(&arguments);
            // Status 3: the rules of `check` are violated.
            assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{what}");
            is_plain(&output.stderr, &what);
            let text = is_plain(&output.stdout, &what);
            answered += usize::from(!text.is_empty());
            match format {
                "json" if !text.is_empty() => {
                    check_json(&serde_json::from_str(&text).unwrap(), &what);
                }
                "csv" => check_csv(&text, &what),
                "markdown" => check_markdown(&text, &what),
                _ => {}
            }
        }
    }
    assert!(answered > commands.len() * 3, "{answered} answers");
    // The attacks are there in escaped form: otherwise this test would prove nothing.
    let modules = String::from_utf8(desk.run(&["modules", "it.dmp"]).stdout).unwrap();
    for word in [
        ".[31m.2J.]0;owned.red",
        "HYPERLINK",
        ".sys.evil",
        "invisible",
    ] {
        assert!(modules.contains(word), "{word}: {modules}");
    }
    let info = String::from_utf8(desk.run(&["info", "it.dmp"]).stdout).unwrap();
    assert!(info.contains("=<b>|`~[x]"), "{info}");
    let csv = desk.run(&["modules", "it.dmp", "--format", "csv"]).stdout;
    assert!(String::from_utf8(csv).unwrap().contains("'=HYPERLINK"));
}

#[test]
fn no_pane_copy_or_saved_file_lets_an_attack_through() {
    let desk = desk();
    let mut screens = Screens::open(&desk.dump()).unwrap();
    let shown = tour(&mut screens);
    assert!(shown.iter().any(|s| s.contains("HYPERLINK")));
    screens.keys("Ti/Leak\r");
    screens.wait_for("Preview of Leak");
    is_plain(screens.screen().as_bytes(), "the preview");
    screens.keys("i");
    for screen in &shown {
        is_plain(screen.as_bytes(), "a pane");
    }
    // Every list and view, saved in every format.
    let out = desk.folder.path().join("saved");
    fs::create_dir(&out).unwrap();
    let mut number = 0;
    for (open, close) in [
        ("", ""),
        ("v", "\u{1b}"),
        ("M", "\u{1b}"),
        ("D", "\u{1b}"),
        ("/Leak\r\r", "\u{1b}"),
        ("/Leak\r\r\t", "\u{1b}"),
        ("/Leak\r\r\r", "\u{1b}\u{1b}"),
        ("/Leak\r\rs", "\u{1b}\u{1b}"),
        ("/Leak\r\rc", "\u{1b}\u{1b}"),
        ("/Leak\r\rf", "\u{1b}\u{1b}"),
        (":objects Proc\r", "\u{1b}"),
        ("R", "\u{1b}"),
    ] {
        screens.keys(open);
        for end in ["txt", "csv", "json", "md"] {
            number += 1;
            let path = out.join(format!("{number}.{end}"));
            let told = screens.keys(&format!(":save {}\r", path.display()));
            is_plain(told.as_bytes(), "what is told");
        }
        screens.keys(close);
        screens.keys("T");
    }
    screens.keys("y");
    for text in &screens.copied {
        is_plain(text.as_bytes(), "a copy");
    }
    let saved: Vec<PathBuf> = fs::read_dir(&out)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert!(saved.len() >= number * 3 / 4, "{} of {number}", saved.len());
    for path in saved {
        check_file(&path);
    }
}

fn check_file(path: &Path) {
    let what = path.display().to_string();
    let text = is_plain(&fs::read(path).unwrap(), &what);
    match path.extension().unwrap().to_str().unwrap() {
        "json" => check_json(&serde_json::from_str(&text).unwrap(), &what),
        "csv" => check_csv(&text, &what),
        "md" if text.starts_with('|') => check_escaped(&text, &what, &['`', '[', ']', '*', '~']),
        "md" if text.starts_with('#') => check_markdown(&text, &what),
        _ => {}
    }
}

/// Cached and searched files have names chosen by poolscope, or plain names, and all of
/// them are in the right place.
#[test]
fn no_name_from_the_dump_becomes_a_path() {
    let desk = Desk::new(&era::WIN10_2004);
    let store = desk.folder.path().join("store");
    fs::create_dir(&store).unwrap();
    // A file that a path made of the name would find. Windows allows no such file name.
    let trap = match cfg!(windows) {
        true => "a_b",
        false => "a:b",
    };
    fs::write(desk.folder.path().join(trap), "MSFT").unwrap();
    let path = store.to_str().unwrap();
    let output = desk.run(&["symbols", "it.dmp", "--all", "--symbols", path]);
    let text = is_plain(&output.stdout, "symbols") + &is_plain(&output.stderr, "symbols");
    assert!(!text.contains("a:b/"), "{text}");
    desk.run(&["allocs", "it.dmp", "Leak", "--symbols", path]);
    assert_eq!(
        fs::read_dir(&store).unwrap().count(),
        0,
        "nothing is put there"
    );
    let index = desk.folder.path().join("home/poolscope/index");
    for entry in fs::read_dir(index).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (stem, end) = name.split_once('.').unwrap();
        assert!(stem.len() == 32 && stem.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(end, "poolidx");
    }
    let mut above: Vec<_> = fs::read_dir(desk.folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    above.sort();
    assert_eq!(above, [trap, "home", "it.dmp", "store"]);
}
