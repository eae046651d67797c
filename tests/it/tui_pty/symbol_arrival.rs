//! A dump whose kernel PDB is missing: messages, detection of the file, and downloads.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::http::reply;

use super::terminal::Terminal;
use super::{ENTER, ESC};

/// Our own PDB and its identity; see `tests/fixtures/pdb`.
const PDB: &[u8] = include_bytes!("../../fixtures/pdb/driver.pdb");
const GUID: &[u8; 16] = b"\xD0\xAD\x6D\x4D\x9D\xBE\x0A\x9ALLD PDB.";
const KEY: &str = "4D6DADD0BE9D9A0A4C4C44205044422E1";
const CTRL_C: &str = "\x03";

/// The sample with a kernel that no built-in table knows; its PDB is the fixture.
fn unknown() -> &'static Path {
    static DUMP: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = DUMP.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("MEMORY.DMP");
        let mut found = 0;
        crate::demo::copy(&path, |_, bytes| {
            let Some(at) = memchr::memmem::find(bytes, b"ntkrnlmp.pdb\0") else {
                return;
            };
            // RSDS, the GUID, the age, the name.
            assert_eq!(&bytes[at - 24..at - 20], b"RSDS");
            bytes[at - 20..at - 4].copy_from_slice(GUID);
            found += 1;
        });
        assert_eq!(found, 1);
        (folder, path)
    });
    path
}

fn open(symbols: &str, more: &[&str]) -> Terminal {
    let mut arguments = vec![
        unknown().as_os_str(),
        "--symbols".as_ref(),
        symbols.as_ref(),
    ];
    arguments.extend(more.iter().map(|a| -> &OsStr { a.as_ref() }));
    Terminal::run(&arguments, &[], (120, 40))
}

fn place(store: &TempDir) -> PathBuf {
    let folder = store.path().join("ntkrnlmp.pdb").join(KEY);
    folder.join("ntkrnlmp.pdb")
}

fn put(store: &TempDir, bytes: &[u8]) {
    let place = place(store);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(place, bytes).unwrap();
}

/// A symbol server that sends `body` with a stated length of `length` bytes; 404 without a body.
fn serve(body: Option<&'static [u8]>, length: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || answer(&stream, body, length));
        }
    });
    (address, connections)
}

fn answer(stream: &TcpStream, body: Option<&[u8]>, length: usize) {
    let mut lines = BufReader::new(stream).lines();
    while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
    reply(stream, body, length);
}

#[test]
fn the_right_pdb_is_loaded_and_a_wrong_one_is_reported() {
    let store = TempDir::new().unwrap();
    let mut terminal = open(store.path().to_str().unwrap(), &[]);
    terminal.see("Pool walked");
    terminal.see("no symbols, v: what to do");
    terminal.press("v");
    // Paths are wrapped.
    terminal.wait("where to put it", |screen| {
        let screen: String = screen.split_whitespace().collect();
        screen.contains(&format!("{}:", place(&store).display()))
    });
    terminal.press(ESC);
    terminal.see("!poolused");
    terminal.press("&thre");
    terminal.press(ENTER);
    terminal.press("ppd");
    terminal.see("paged pool by outstanding allocations, descending, & thre");

    let mut wrong = PDB.to_vec();
    let at = memchr::memmem::find(&wrong, GUID).unwrap();
    wrong[at] ^= 1;
    put(&store, &wrong);
    terminal.see("ntkrnlmp.pdb is not used");
    terminal.see("it belongs to another image");

    put(&store, PDB);
    terminal.see("ntkrnlmp.pdb found");
    let screen = terminal.text();
    assert!(
        screen.contains("paged pool by outstanding allocations, descending, & thre"),
        "{screen}"
    );
    terminal.press(ESC);
    terminal.see("Pool walked");
    terminal.press("vG");
    terminal.see(&format!("symbols {}", store.path().display()));
    let screen = terminal.text();
    assert!(!screen.contains("no symbols"), "{screen}");
    assert!(!screen.contains("to have symbols"), "{screen}");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn an_open_tag_stays_open_with_its_allocation_selected() {
    let store = TempDir::new().unwrap();
    let mut terminal = open(store.path().to_str().unwrap(), &[]);
    terminal.see("Pool walked");
    // Only small blocks: the fixture lacks the kernel symbols that lead to large ones.
    terminal.press("/Thre");
    terminal.press(ENTER);
    terminal.see("> Thre");
    terminal.press(ENTER);
    terminal.see("Allocations 607, by address");
    terminal.press("b");
    terminal.see("Allocations 607, by size, descending");
    terminal.see("1/607");
    terminal.press("jjjjj");
    terminal.wait("another row", |screen| !screen.contains(" 1/607"));
    let row = |screen: &str| {
        let row = screen.lines().find(|l| l.starts_with("> "));
        row.map(|row| row[..22].to_owned())
    };
    let before = row(&terminal.text());
    assert!(before.is_some());
    put(&store, PDB);
    terminal.see("read again with it");
    terminal.see("Allocations 607, by size, descending ─");
    assert_eq!(row(&terminal.text()), before);
    terminal.press(ESC);
    terminal.see("> Thre");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn a_server_on_the_path_is_asked_in_the_background() {
    let store = TempDir::new().unwrap();
    let (server, asked) = serve(Some(PDB), PDB.len());
    let path = format!("srv*{}*{server}", store.path().display());
    let mut terminal = open(&path, &[]);
    terminal.see("ntkrnlmp.pdb found");
    assert_eq!(fs::read(place(&store)).unwrap(), PDB);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn no_network_prevents_connections_but_local_files_are_loaded() {
    let store = TempDir::new().unwrap();
    let (server, asked) = serve(Some(PDB), PDB.len());
    let path = format!("srv*{}*{server}", store.path().display());
    let mut terminal = open(&path, &["--no-network"]);
    terminal.see("no symbols, v: what to do");
    thread::sleep(Duration::from_millis(500));
    put(&store, PDB);
    terminal.see("ntkrnlmp.pdb found");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn a_failed_download_is_reported_and_a_local_file_is_still_loaded() {
    let store = TempDir::new().unwrap();
    let (server, _) = serve(None, 0);
    let path = format!("srv*{}*{server}", store.path().display());
    let mut terminal = open(&path, &[]);
    terminal.see("ntkrnlmp.pdb was not fetched");
    terminal.press("v");
    terminal.see("it has no such file");
    put(&store, PDB);
    terminal.see("read again with it");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn ctrl_c_stops_a_stalled_download_without_leftovers() {
    let (server, _) = serve(Some(&PDB[..30_000]), PDB.len());
    let store = TempDir::new().unwrap();
    let parts = || fs::read_dir(store.path()).unwrap().count();
    let path = format!("srv*{}*{server}", store.path().display());
    let mut terminal = open(&path, &[]);
    terminal.see("(Ctrl-C stops)");
    terminal.wait("a part of the file", |_| parts() == 1);
    terminal.press(CTRL_C);
    terminal.see("download stopped");
    terminal.wait("no part of the file", |_| parts() == 0);
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);

    let mut terminal = open(&path, &[]);
    terminal.wait("a part of the file", |_| parts() == 1);
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
    assert_eq!(parts(), 0, "quitting removes it too");
}
