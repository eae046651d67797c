//! PDBs on the command line: which are needed, which are downloaded, and when the network
//! is never used.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

use poolscope::synth::Container;

use crate::demo::{directory, json, poolscope};
use crate::http::reply;

/// Our own PDB and its identity; see `tests/fixtures/pdb`.
const PDB: &[u8] = include_bytes!("../fixtures/pdb/driver.pdb");
const GUID: &[u8; 16] = b"\xD0\xAD\x6D\x4D\x9D\xBE\x0A\x9ALLD PDB.";
const KEY: &str = "4D6DADD0BE9D9A0A4C4C44205044422E1";
/// The PDB identity of the sample's kernel.
const SAMPLE_GUID: &[u8; 16] = b"\x13\x74\x9e\x33\x76\x35\x9c\x43\xbc\xdf\x7e\x02\x29\xda\x37\x73";
const SAMPLE_KEY: &str = "339E74133576439CBCDF7E0229DA37731";

/// The small machine with a kernel that no built-in table knows; its PDB is the fixture.
fn unknown() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let file = directory().join("fixture.dmp");
        // Written to another name first, because other test processes may be reading it.
        let fresh = directory().join(format!("fixture-{}.dmp", std::process::id()));
        let machine = crate::machines::small();
        machine.write(&fresh, Container::BitmapKernel).unwrap();
        let mut dump = fs::read(&fresh).unwrap();
        let record = [b"RSDS".as_slice(), SAMPLE_GUID].concat();
        let at = memchr::memmem::find(&dump, &record).unwrap() + 4;
        dump[at..at + 16].copy_from_slice(GUID);
        fs::write(&fresh, dump).unwrap();
        fs::rename(&fresh, &file).unwrap();
        file
    })
}

/// A symbol server. Without a body it answers 404; if `length` exceeds the body, the
/// download stalls.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(body: Option<&'static [u8]>, length: usize) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                thread::spawn(move || serve(&stream, &log, body, length));
            }
        });
        Server { address, asked }
    }

    fn good() -> Server {
        Server::new(Some(PDB), PDB.len())
    }

    fn path(&self, store: &TempDir) -> String {
        format!("srv*{}*http://{}", store.path().display(), self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, log: &Mutex<Vec<String>>, body: Option<&[u8]>, length: usize) {
    // Before the request is read: even a connection must be noticed.
    log.lock().unwrap().push(String::new());
    let mut lines = BufReader::new(stream).lines();
    let Some(Ok(request)) = lines.next() else {
        return;
    };
    while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
    let asked = request.split(' ').nth(1).unwrap_or_default();
    *log.lock().unwrap().last_mut().unwrap() = asked.into();
    reply(stream, body, length);
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = poolscope(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn stored(store: &TempDir) -> PathBuf {
    store
        .path()
        .join("ntkrnlmp.pdb")
        .join(KEY)
        .join("ntkrnlmp.pdb")
}

#[test]
fn needed_pdbs_are_listed_without_a_network() {
    let (status, out, err) = run(&["symbols", "demo.dmp"]);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    let store = format!("ntkrnlmp.pdb/{SAMPLE_KEY}/ntkrnlmp.pdb");
    for part in [
        "339E7413-3576-439C-BCDF-7E0229DA3773, age 1",
        &format!("https://msdl.microsoft.com/download/symbols/{store}"),
        &match cfg!(windows) {
            true => format!("Dbg\\sym\\{}", store.replace('/', "\\")),
            false => format!("poolscope/symbols/{store}"),
        },
        "built in",
        "names no server",
    ] {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }
    let value = json(&["symbols", "demo.dmp"]);
    let [row] = value["symbols"].as_array().unwrap().as_slice() else {
        panic!("{value}");
    };
    assert_eq!(row["key"], SAMPLE_KEY);
    assert_eq!(row["store_path"], store.as_str());
    assert_eq!((&row["age"], &row["found"]), (&1.into(), &Value::Null));
    assert_eq!(value["servers"], Value::Array(Vec::new()));
    let all = json(&["symbols", "demo.dmp", "--all"]);
    let rows = all["symbols"].as_array().unwrap();
    assert!(rows.iter().any(|r| r["file"] == "myfault.pdb"));
}

#[test]
fn an_unknown_kernel_names_the_pdb_and_uses_it_when_present() {
    let dump = unknown().to_str().unwrap();
    let (status, _, err) = run(&["info", dump]);
    assert_eq!(status, Some(0));
    assert!(
        err.contains(KEY) && err.contains("poolscope symbols"),
        "{err}"
    );

    let store = TempDir::new().unwrap();
    let place = json(&["symbols", dump, "--symbols", store.path().to_str().unwrap()]);
    let place = PathBuf::from(place["symbols"][0]["place"].as_str().unwrap());
    assert_eq!(place, stored(&store));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, PDB).unwrap();
    let value = json(&["info", dump, "--symbols", store.path().to_str().unwrap()]);
    assert_eq!(value["dump"]["symbols"]["source"], "pdb");
    assert_eq!(value["dump"]["symbols"]["id"], KEY);
}

#[test]
fn a_missing_pdb_is_downloaded_once() {
    let (server, store) = (Server::good(), TempDir::new().unwrap());
    let dump = unknown().to_str().unwrap();
    let path = server.path(&store);
    let (status, out, err) = run(&["info", dump, "--symbols", &path]);
    assert_eq!(status, Some(0));
    assert!(out.contains(stored(&store).to_str().unwrap()), "{out}");
    assert!(err.contains("fetched"), "{err}");
    assert_eq!(fs::read(stored(&store)).unwrap(), PDB);
    let (_, _, err) = run(&["info", dump, "--symbols", &path]);
    assert!(
        !err.contains("fetched") && !err.contains("was not found"),
        "{err}"
    );
    assert_eq!(
        server.asked(),
        [format!("/ntkrnlmp.pdb/{KEY}/ntkrnlmp.pdb")]
    );
}

#[test]
fn parallel_downloads_leave_one_complete_file() {
    let (server, store) = (Server::good(), TempDir::new().unwrap());
    let dump = unknown().to_str().unwrap();
    let path = server.path(&store);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(run(&["info", dump, "--symbols", &path]).0, Some(0)));
        }
    });
    assert_eq!(fs::read(stored(&store)).unwrap(), PDB);
    assert_eq!(fs::read_dir(store.path()).unwrap().count(), 1);
    let folder = fs::read_dir(stored(&store).parent().unwrap()).unwrap();
    assert_eq!(folder.count(), 1);
}

#[test]
fn the_variable_names_a_server_as_the_option_does() {
    let (server, store) = (Server::good(), TempDir::new().unwrap());
    let mut command = poolscope(&["info", unknown().to_str().unwrap(), "--quiet"]);
    let output = command.env("_NT_SYMBOL_PATH", server.path(&store)).output();
    let err = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(!err.contains("fetched"), "{err}");
    assert!(stored(&store).is_file());
}

#[test]
fn no_network_prevents_every_connection() {
    let (server, store) = (Server::good(), TempDir::new().unwrap());
    let path = server.path(&store);
    let dump = unknown().to_str().unwrap();
    for arguments in [
        &["info", dump][..],
        &["vm", dump],
        &["modules", dump],
        &["symbols", dump, "--all"],
        &["symbols", dump, "--all", "--download"],
    ] {
        let mut all = arguments.to_vec();
        all.extend(["--no-network", "--symbols", &path]);
        let (status, out, err) = run(&all);
        let refused = arguments.contains(&"--download");
        assert_eq!(status, Some(refused.into()), "{arguments:?}: {err}");
        assert_eq!(err.contains("--no-network"), refused);
        assert!(!out.is_empty());
    }
    // No request for a kernel with built-in layouts, or for only listing the needed PDBs.
    run(&["vm", "demo.dmp", "--symbols", &path]);
    run(&["symbols", dump, "--symbols", &path]);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[test]
fn a_failed_download_is_only_a_warning() {
    let (server, store) = (Server::new(None, 0), TempDir::new().unwrap());
    let path = server.path(&store);
    let dump = unknown().to_str().unwrap();
    let (status, out, err) = run(&["info", dump, "--symbols", &path]);
    assert_eq!(status, Some(0));
    assert!(out.contains("built-in layouts"), "{out}");
    assert!(err.contains("no such file"), "{err}");
    // With an explicit --download it is an error, but the answer is printed.
    let (status, out, err) = run(&["symbols", dump, "--download", "--symbols", &path]);
    assert_eq!(status, Some(1));
    assert!(out.contains(KEY));
    assert!(
        err.starts_with("error: ") && err.contains("no such file"),
        "{err}"
    );
    let (status, _, err) = run(&["symbols", dump, "--download"]);
    assert_eq!(status, Some(1));
    assert!(err.contains("srv*https://"), "{err}");
}

#[test]
fn symbols_downloads_missing_pdbs() {
    let (server, store) = (Server::good(), TempDir::new().unwrap());
    let path = server.path(&store);
    let dump = unknown().to_str().unwrap();
    let (status, out, _) = run(&["symbols", dump, "--download", "--symbols", &path]);
    assert_eq!(status, Some(0));
    assert!(out.contains(&format!("Found          {}", stored(&store).display())));
    run(&["symbols", dump, "--download", "--symbols", &path]);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn without_caches_pdbs_are_stored_only_on_the_symbol_path() {
    let server = Server::good();
    let cache = TempDir::new().unwrap();
    let url = format!("srv*http://{}", server.address);
    let dump = unknown().to_str().unwrap();
    let run = |arguments: &[&str]| -> String {
        let mut command: Command = poolscope(arguments);
        let output = command
            .env("XDG_CACHE_HOME", cache.path())
            .env("ProgramData", cache.path())
            .output();
        String::from_utf8(output.unwrap().stderr).unwrap()
    };
    let err = run(&["info", dump, "--no-cache", "--symbols", &url]);
    assert!(err.contains("no directory to store it in"), "{err}");
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    let err = run(&["info", dump, "--symbols", &url]);
    // The cache of the installed debugger on Windows.
    let store = match cfg!(windows) {
        true => "Dbg/sym",
        false => "poolscope/symbols",
    };
    let kept = cache.path().join(store).join("ntkrnlmp.pdb").join(KEY);
    assert!(kept.join("ntkrnlmp.pdb").is_file(), "{err}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_download_leaves_no_partial_file() {
    let store = TempDir::new().unwrap();
    let server = Server::new(Some(&PDB[..30_000]), PDB.len());
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("poolscope"))
        .args(["info", unknown().to_str().unwrap(), "--symbols"])
        .arg(server.path(&store))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let entries = || fs::read_dir(store.path()).unwrap().count();
    for _ in 0..200 {
        if entries() > 0 {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(entries(), 1, "the download has not started");
    thread::sleep(Duration::from_millis(300));
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(pid, libc::SIGINT) };
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(entries(), 0);
}
