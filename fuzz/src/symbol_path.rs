//! Symbol paths, identities of PDBs, and pointer files in a symbol store.

use std::fs;
use std::path::{Component, Path};
use std::sync::{Mutex, OnceLock};

use tempfile::TempDir;

use poolscope::symbols::{Network, PdbId, SymbolPath, WantedPdb, shown_address};

use super::input::Input;
use super::shown;

/// Kinds of input, by their first byte.
const PATH: u8 = 0;
const RECORD: u8 = 1;
const POINTER: u8 = 2;
const INDEX: u8 = 3;

/// Uses a text as one of four kinds of input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let Some(kind) = input.u8() else { return };
    match kind % 4 {
        PATH => path(&String::from_utf8_lossy(input.0)),
        RECORD => record(input.0),
        POINTER => store("file.ptr", input.0),
        _ => store("index2.txt", input.0),
    }
}

/// A path as a user writes it; `%a%` is a variable that contains separators.
fn path(text: &str) {
    let variable = |name: &str| (name == "a").then(|| "x;srv*y*http://z".to_string());
    let path = SymbolPath::parse_with(text, variable);
    let caches = path.clone().without_caches();
    for path in [path, caches] {
        for url in path.servers() {
            shown::check(&shown_address(url));
        }
        std::hint::black_box((path.directories(), path.first_store()));
        let wanted = WantedPdb {
            id: id(),
            path,
            network: Network::Off,
        };
        assert!(!wanted.may_download());
        std::hint::black_box((wanted.needed(), wanted.place()));
    }
}

/// A debug record. Its name is what matters: it becomes a path and a URL.
fn record(bytes: &[u8]) {
    // A fixed header, so that most mutations change the name.
    let record = [
        b"RSDS\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x01\0\0\0",
        bytes,
    ]
    .concat();
    std::hint::black_box(PdbId::from_rsds(bytes));
    let id = PdbId::from_rsds(&record).unwrap();
    shown::check(&id.to_string());
    shown::check(&id.store_path());
    let root = Path::new("/stores/first");
    let wanted = WantedPdb {
        id: id.clone(),
        path: SymbolPath::parse_with("/stores/first", |_| None),
        network: Network::Off,
    };
    let Some(name) = id.file_name() else {
        assert_eq!((id.needed(), wanted.place()), (None, None));
        return;
    };
    let plain = Path::new(name).components().collect::<Vec<_>>();
    assert!(
        matches!(plain.as_slice(), [Component::Normal(_)]),
        "{name:?}"
    );
    assert!(!name.contains(['\\', '/', ':', '\0', '*', '?', '"', '<', '>', '|']));
    let place = wanted.place().unwrap();
    assert!(
        place.starts_with(root) && place.components().count() == 6,
        "{place:?}"
    );
    let needed = id.needed().unwrap();
    assert!(
        needed.url.bytes().all(|b| b.is_ascii_graphic()),
        "{needed:?}"
    );
}

/// A file in a store; it can point anywhere.
fn store(name: &str, bytes: &[u8]) {
    static STORE: OnceLock<Mutex<TempDir>> = OnceLock::new();
    let store = STORE.get_or_init(|| Mutex::new(TempDir::new().unwrap()));
    let store = store.lock().unwrap();
    let id = id();
    let entry = store.path().join("driver.pdb").join(id.key());
    fs::create_dir_all(&entry).unwrap();
    let file = match name {
        "file.ptr" => entry.join(name),
        _ => store.path().join(name),
    };
    fs::write(&file, bytes).unwrap();
    let wanted = WantedPdb {
        id,
        path: SymbolPath::parse_with(&store.path().to_string_lossy(), |_| None),
        network: Network::Off,
    };
    let located = wanted.locate();
    assert_eq!(located.file, None);
    located.notes.iter().for_each(|note| shown::check(note));
    fs::remove_file(&file).unwrap();
}

fn id() -> PdbId {
    PdbId {
        name: "driver.pdb".into(),
        guid: [7; 16],
        age: 1,
    }
}

/// Paths that people write, and names that a dump or a store may contain.
pub fn seeds() -> Vec<Vec<u8>> {
    let paths = [
        r"srv*c:\symbols*https://msdl.microsoft.com/download/symbols",
        r"cache*c:\a;symsrv*symsrv.dll*\\server\share*http://b/;.;%a%;d:\pdb",
        "srv*;cache*;;\"/with space\" ; srv**http://a*http://b",
    ];
    let names = [
        "ntkrnlmp.pdb",
        r"C:\build\..\x\driver.pdb",
        "..",
        "con.pdb",
        "a\u{202e}b.pdb",
        "a b%41#?.pdb",
    ];
    let pointers = [
        "PATH:\\\\server\\share\\driver.pdb",
        "MSG: not \u{202e}here\x1b[2J",
        "../../etc/passwd",
        "/dev/zero",
        "/",
    ];
    let kind = |kind: u8, text: &str| [&[kind], text.as_bytes()].concat();
    let paths = paths.iter().map(|text| kind(PATH, text));
    let names = names.iter().map(|text| kind(RECORD, text));
    let pointers = pointers.iter().map(|text| kind(POINTER, text));
    let all = paths.chain(names).chain(pointers);
    all.chain([kind(INDEX, "")]).collect()
}
