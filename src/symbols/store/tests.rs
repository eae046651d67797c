use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::symbols::fixture::{self, KEY, PDB, cabinet, files, id, in_store, other_id, put};
use crate::symbols::{Located, Network, Source, Symbols, WantedPdb};

fn locate(text: &str, id: PdbId) -> Located {
    let wanted = WantedPdb {
        id,
        path: fixture::path(text),
        network: Network::Off,
    };
    wanted.locate()
}

fn root() -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let text = directory.path().to_str().unwrap().to_string();
    (directory, text)
}

/// A path in normal form: Windows has two separators and ignores case.
fn spelling(path: &Path) -> String {
    let text = path.to_str().unwrap();
    match cfg!(windows) {
        true => text.replace('/', "\\").to_lowercase(),
        false => text.to_owned(),
    }
}

/// The path of the found file, in normal form.
fn found(text: &str) -> Option<String> {
    locate(text, id()).file.as_deref().map(spelling)
}

/// The fixture with another GUID: the right name and place, but the wrong file.
fn other_pdb() -> Vec<u8> {
    let at = memchr::memmem::find(PDB, &id().guid).unwrap();
    let mut bytes = PDB.to_vec();
    bytes[at..at + 16].copy_from_slice(&other_id().guid);
    bytes
}

#[test]
fn every_layout_of_a_directory_is_searched() {
    let lower = KEY.to_lowercase();
    let packed = cabinet("driver.pdb", PDB);
    for (place, bytes) in [
        ("driver.pdb", PDB),
        ("driver.pd_", &packed),
        ("symbols/sys/driver.pdb", PDB),
        ("sys/driver.pdb", PDB),
        ("exe/driver.pdb", PDB),
        (&format!("driver.pdb/{KEY}/driver.pdb"), PDB),
        (&format!("driver.pdb/{lower}/driver.pdb"), PDB),
        (&format!("driver.pdb/{KEY}/driver.pd_"), &packed),
        // Unpacked by a user and never renamed.
        (&format!("driver.pdb/{KEY}/driver.pd_"), PDB),
    ] {
        let (directory, text) = root();
        let file = directory.path().join(place);
        put(&file, bytes);
        assert_eq!(found(&text), Some(spelling(&file)), "{place}");
        let loaded = Symbols::load_module(&id(), &fixture::path(&text));
        let Source::Pdb { path } = loaded.symbols.source() else {
            panic!("{:?}", loaded.symbols.source());
        };
        assert_eq!(spelling(path), spelling(&file));
        assert_eq!(loaded.symbols.rva("PsStart"), Some(0x1020), "{place}");
        assert_eq!(loaded.notes, Vec::<String>::new());
    }
}

#[test]
fn a_two_tier_store_has_a_directory_of_two_letters_in_front() {
    let (directory, text) = root();
    let file = in_store(&directory.path().join("dr"));
    put(&file, PDB);
    assert_eq!(locate(&text, id()).file, None);
    put(&directory.path().join("index2.txt"), b"");
    assert_eq!(locate(&text, id()).file, Some(file));
}

#[test]
fn an_upper_case_name_finds_a_lower_case_file() {
    let (directory, text) = root();
    let file = in_store(directory.path());
    put(&file, PDB);
    let capitals = PdbId {
        name: "D:\\Build\\DRIVER.PDB".into(),
        ..id()
    };
    let found = locate(&text, capitals).file.unwrap();
    assert_eq!(fs::read(found).unwrap(), fs::read(file).unwrap());
}

#[test]
fn a_path_element_may_be_a_file() {
    let (directory, _) = root();
    let file = directory.path().join("saved-by-hand.bin");
    put(&file, PDB);
    assert_eq!(locate(file.to_str().unwrap(), id()).file, Some(file));
}

#[test]
fn the_wrong_file_is_refused_and_the_search_continues() {
    let (first, a) = root();
    let (second, b) = root();
    let wrong = in_store(first.path());
    put(&wrong, &other_pdb());
    put(&in_store(second.path()), PDB);
    let found = locate(&format!("{a};{b}"), id());
    assert_eq!(found.file, Some(in_store(second.path())));
    let [note] = found.notes.as_slice() else {
        panic!("{:?}", found.notes);
    };
    for part in [wrong.to_str().unwrap(), KEY, &other_id().key()] {
        assert!(note.contains(part), "{note}");
    }
}

#[test]
fn an_unsafe_name_touches_no_file() {
    let (directory, text) = root();
    put(&directory.path().join("driver.pdb"), PDB);
    for name in ["..", "driver.pdb:x", "", "con"] {
        let found = locate(
            &text,
            PdbId {
                name: name.into(),
                ..id()
            },
        );
        assert_eq!(found.file, None);
        assert_eq!(found.notes.len(), 1, "{name:?}");
    }
}

#[test]
fn a_pointer_file_is_followed_or_its_message_reported() {
    let (directory, text) = root();
    let pointer = in_store(directory.path()).with_file_name("file.ptr");
    let target = directory.path().join("elsewhere").join("build.pdb");
    put(&target, PDB);
    for line in [
        format!("PATH:{}", target.display()),
        format!("\r\npath: {}\r\n", target.display()),
        target.display().to_string(),
    ] {
        put(&pointer, line.as_bytes());
        assert_eq!(locate(&text, id()).file, Some(target.clone()), "{line}");
    }
    for (line, said) in [
        ("MSG: withdrawn\x1b[2J", "withdrawn"),
        ("PATH:\\\\gone\\share\\x.pdb", "not on this machine"),
        ("PATH:/gone/x.pdb", "not on this machine"),
    ] {
        put(&pointer, line.as_bytes());
        let found = locate(&text, id());
        assert_eq!(found.file, None);
        assert!(found.notes[0].contains(said), "{:?}", found.notes);
        assert!(!found.notes[0].contains('\x1b'));
    }
}

#[test]
fn a_hit_in_a_later_store_is_copied_to_the_earlier_ones_unpacked() {
    let (cache, c) = root();
    let (near, n) = root();
    let (far, f) = root();
    let packed = in_store(far.path()).with_file_name("driver.pd_");
    put(&packed, &cabinet("driver.pdb", PDB));
    let path = fixture::path(&format!("cache*{c};srv*{n}*{f}"));
    let loaded = Symbols::load_module(&id(), &path);
    assert_eq!(loaded.symbols.source(), &Source::Pdb { path: packed });
    for root in [&cache, &near] {
        let copy = in_store(root.path());
        assert_eq!(
            files(root.path()),
            [copy.strip_prefix(root.path()).unwrap()]
        );
        assert_eq!(fs::read(copy).unwrap(), PDB);
    }
    // From now on, the file comes from the cache.
    let again = Symbols::load_module(&id(), &path);
    let first = in_store(cache.path());
    assert_eq!(again.symbols.source(), &Source::Pdb { path: first });
}

#[test]
fn refused_files_and_files_left_of_the_cache_are_not_copied() {
    let (cache, c) = root();
    let (left, l) = root();
    let (right, r) = root();
    put(&in_store(right.path()), &other_pdb());
    put(&left.path().join("driver.pdb"), PDB);
    assert!(locate(&format!("{l};cache*{c};{r}"), id()).file.is_some());
    assert!(locate(&format!("cache*{c};{r}"), id()).file.is_none());
    assert_eq!(files(cache.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_damaged_copy_in_a_cache_is_replaced() {
    let (cache, c) = root();
    let (share, s) = root();
    put(&in_store(cache.path()), &PDB[..30_000]);
    put(&in_store(share.path()), PDB);
    let found = locate(&format!("cache*{c};{s}"), id());
    assert_eq!(found.file, Some(in_store(share.path())));
    assert_eq!(found.notes.len(), 1);
    assert_eq!(fs::read(in_store(cache.path())).unwrap(), PDB);
}

#[cfg(unix)]
#[test]
fn files_in_a_store_follow_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, _) = root();
    let plain = directory.path().join("plain");
    put(&plain, b"");
    let file = begin(directory.path()).unwrap();
    let stored = finish(file, directory.path(), &id()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&stored), mode(&plain));
}

/// A case-insensitive file system shows one file under two names.
#[test]
fn one_file_under_two_cases_of_its_name_is_refused_once() {
    let (directory, text) = root();
    put(&directory.path().join("Driver.pdb"), &other_pdb());
    #[cfg(unix)]
    std::os::unix::fs::symlink("Driver.pdb", directory.path().join("driver.pdb")).unwrap();
    let wanted = PdbId {
        name: "Driver.pdb".into(),
        ..id()
    };
    let found = locate(&text, wanted);
    assert_eq!(found.file, None);
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
}

#[test]
fn an_abandoned_file_is_deleted() {
    let (directory, _) = root();
    drop(begin(directory.path()).unwrap());
    assert_eq!(files(directory.path()), Vec::<PathBuf>::new());
}

#[test]
fn files_of_a_killed_process_are_removed_after_a_day() {
    let (directory, _) = root();
    let old = directory.path().join(".poolscope-old.partial");
    let other = directory.path().join("old.partial");
    let new = directory.path().join(".poolscope-new.partial");
    for file in [&old, &other, &new] {
        put(file, b"");
    }
    let long_ago = std::time::SystemTime::now() - ABANDONED * 2;
    for file in [&old, &other] {
        let file = File::options().write(true).open(file).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    drop(begin(directory.path()).unwrap());
    assert_eq!(
        (old.exists(), other.exists(), new.exists()),
        (false, true, true)
    );
}

#[test]
fn a_cabinet_is_unpacked_up_to_a_limit() {
    let bomb = cabinet("driver.pdb", &vec![0; 1 << 20]);
    assert!(bomb.len() < 64 << 10, "{} bytes", bomb.len());
    let whole = super::unpack(Cursor::new(&bomb), 1 << 20).unwrap();
    assert_eq!(whole.len(), 1 << 20);
    let why = super::unpack(Cursor::new(&bomb), (1 << 20) - 1).unwrap_err();
    assert!(why.to_string().contains("too large a file"), "{why}");
}

/// Downloaded and unpacked bytes together.
#[test]
fn a_download_takes_a_gigabyte_of_disk_at_most() {
    let sent = crate::symbols::server::Limits::default().bytes;
    assert!(sent + super::LARGEST_UNPACKED <= 1 << 30);
}

#[test]
fn damaged_cabinets_are_refused() {
    let whole = cabinet("driver.pdb", PDB);
    let (directory, text) = root();
    let file = directory.path().join("driver.pdb");
    for length in (4..whole.len()).step_by(501) {
        put(&file, &whole[..length]);
        assert_eq!(locate(&text, id()).file, None, "{length}");
    }
    put(&file, b"MSCF");
    assert_eq!(locate(&text, id()).file, None);
    put(&file, &whole);
    assert_eq!(locate(&text, id()).file, Some(file));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(100))]
    #[test]
    fn a_cabinet_with_flipped_bytes_is_unpacked_or_refused(
        flips in proptest::collection::vec((0usize..20_000, 0u8..), 1..20),
    ) {
        let mut bytes = cabinet("driver.pdb", &PDB[..20_000]);
        for (at, value) in flips {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let _ = unpack(Cursor::new(bytes), 1 << 20);
    }
}

/// Files copied from Windows to a case-sensitive file system.
#[test]
fn an_upper_case_store_is_searched() {
    for place in [
        format!("DRIVER.PDB/{KEY}/DRIVER.PDB"),
        format!("Driver.pdb/{}/driver.PDB", KEY.to_lowercase()),
        "DRIVER.PDB".to_owned(),
    ] {
        let (directory, text) = root();
        let file = directory.path().join(&place);
        put(&file, PDB);
        assert_eq!(found(&text), Some(spelling(&file)), "{place}");
    }
}

#[test]
fn an_unset_variable_is_reported() {
    let found = locate("%POOLSCOPE_NO_SUCH_VARIABLE%/symbols", id());
    assert!(
        found.notes.iter().any(|n| n.contains("which is not set")),
        "{:?}",
        found.notes
    );
}

#[test]
fn a_truncated_pdb_and_a_web_page_are_reported_as_such() {
    let (directory, text) = root();
    for (bytes, part) in [
        (&PDB[..PDB.len() - 1], "cut off"),
        (b"<html><body>404</body></html>", "web page (HTML)"),
    ] {
        put(&directory.path().join("driver.pdb"), bytes);
        let loaded = Symbols::load_module(&id(), &fixture::path(&text));
        assert_eq!(loaded.symbols.source(), &Source::None);
        assert!(
            loaded.notes.iter().any(|n| n.contains(part)),
            "{:?}",
            loaded.notes
        );
    }
}

#[test]
fn a_missing_directory_is_reported_and_a_missing_store_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let id = id();
    let notes = |text: &str| search(&SymbolPath::parse(text), &id).notes;
    let noted = notes(&missing.display().to_string());
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert!(noted[0].contains("does not exist"), "{noted:?}");
    assert!(noted[0].contains("missing"), "{noted:?}");
    assert!(notes(&format!("srv*{}*https://x", missing.display())).is_empty());
    assert!(notes(&folder.path().display().to_string()).is_empty());
}
