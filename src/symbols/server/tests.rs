//! Tests with a real HTTP server on loopback that misbehaves on request.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::symbols::fixture::{self, KEY, PDB, cabinet, files, id, in_store, other_id, put};
use crate::symbols::{Source, Symbols, WantedPdb};

/// The server's behaviour for one request.
#[derive(Clone)]
enum Reply {
    /// Status 200, a length, and these bytes.
    File(Vec<u8>),
    /// The same with content encoding gzip.
    Gzip(Vec<u8>),
    /// This status line and headers, no body.
    Head(String),
    /// Status 200 with this length, these bytes, then the end.
    Cut(usize, Vec<u8>),
    /// Status 200, these bytes without a length, then silence.
    Stall(Vec<u8>),
    /// Accepts the connection and never answers.
    Silence,
    /// Status 200 and a body that never ends.
    Endless,
}

struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn new(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            connections: Arc::default(),
        };
        let (asked, connections) = (server.asked.clone(), server.connections.clone());
        let reply = Arc::new(reply);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (asked, reply) = (asked.clone(), reply.clone());
                thread::spawn(move || serve(stream, &asked, &*reply));
            }
        });
        server
    }

    /// A symbol server that has the fixture.
    fn with_file(name: &'static str, bytes: Vec<u8>) -> Server {
        Server::new(
            move |path| match path == format!("/driver.pdb/{KEY}/{name}") {
                true => Reply::File(bytes.clone()),
                false => missing(),
            },
        )
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn missing() -> Reply {
    Reply::Head("404 Not Found".into())
}

fn redirect(to: &str) -> Reply {
    Reply::Head(format!("302 Found\r\nLocation: {to}"))
}

fn serve(stream: TcpStream, asked: &Mutex<Vec<String>>, reply: &dyn Fn(&str) -> Reply) {
    let mut lines = BufReader::new(&stream).lines();
    let Some(Ok(request)) = lines.next() else {
        return;
    };
    let path = request.split(' ').nth(1).unwrap_or_default().to_string();
    while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
    asked.lock().unwrap().push(path.clone());
    let _ = answer(&stream, reply(&path));
}

fn answer(mut out: &TcpStream, reply: Reply) -> io::Result<()> {
    const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
    match reply {
        Reply::File(bytes) => {
            write!(out, "{OK}Content-Length: {}\r\n\r\n", bytes.len())?;
            out.write_all(&bytes)
        }
        Reply::Gzip(bytes) => {
            let head = "Content-Encoding: gzip\r\nContent-Length";
            write!(out, "{OK}{head}: {}\r\n\r\n", bytes.len())?;
            out.write_all(&bytes)
        }
        Reply::Head(head) => write!(
            out,
            "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ),
        Reply::Cut(length, bytes) => {
            write!(out, "{OK}Content-Length: {length}\r\n\r\n")?;
            out.write_all(&bytes)
        }
        Reply::Stall(bytes) => {
            write!(out, "{OK}\r\n")?;
            out.write_all(&bytes)?;
            thread::sleep(Duration::from_secs(30));
            Ok(())
        }
        Reply::Silence => {
            thread::sleep(Duration::from_secs(30));
            Ok(())
        }
        Reply::Endless => {
            write!(out, "{OK}\r\n")?;
            loop {
                out.write_all(&[b'x'; 4096])?;
            }
        }
    }
}

const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    stall: Duration::from_millis(400),
    bytes: 1 << 20,
};

static GO_ON: AtomicBool = AtomicBool::new(false);

fn watch() -> Watch<'static> {
    Watch {
        cancel: &GO_ON,
        progress: &|_| {},
    }
}

fn fetch_with(path: &str, watch: Watch<'_>) -> Result<Fetched, FetchError> {
    let client = Client::new(Network::On).with_limits(LIMITS);
    client.fetch(&id(), &fixture::path(path), watch)
}

fn fetch(path: &str) -> Result<Fetched, FetchError> {
    fetch_with(path, watch())
}

/// Downloads through a new store, which must stay empty, and returns the error message.
fn fails(server: &Server) -> String {
    let store = TempDir::new().unwrap();
    let error = fetch(&format!("srv*{}*{}", store.path().display(), server.url())).unwrap_err();
    assert_eq!(files(store.path()), Vec::<PathBuf>::new(), "{error}");
    let said = error.to_string();
    assert!(said.contains(&server.url()), "{said}");
    said
}

#[test]
fn a_download_goes_to_every_store_left_of_the_server() {
    let server = Server::with_file("driver.pdb", PDB.to_vec());
    let (cache, store) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let text = format!(
        "cache*{};srv*{}*{}/",
        cache.path().display(),
        store.path().display(),
        server.url()
    );
    let seen = Mutex::new(Vec::new());
    let progress = |p: Progress<'_>| seen.lock().unwrap().push((p.received, p.total));
    let watch = Watch {
        cancel: &GO_ON,
        progress: &progress,
    };
    let fetched = fetch_with(&text, watch).unwrap();
    assert_eq!(fetched.path, in_store(cache.path()));
    assert_eq!(fetched.server, server.url());
    let size = PDB.len() as u64;
    assert_eq!(fetched.bytes, size);
    assert_eq!(seen.lock().unwrap().last(), Some(&(size, Some(size))));
    for root in [&cache, &store] {
        assert_eq!(fs::read(in_store(root.path())).unwrap(), PDB);
        assert_eq!(files(root.path()).len(), 1);
    }
    assert_eq!(server.asked(), [format!("/driver.pdb/{KEY}/driver.pdb")]);
    let loaded = Symbols::load_module(&id(), &fixture::path(&text));
    assert_eq!(loaded.symbols.source(), &Source::Pdb { path: fetched.path });
}

#[test]
fn a_cabinet_is_stored_unpacked() {
    let server = Server::with_file("driver.pd_", cabinet("driver.pdb", PDB));
    let store = TempDir::new().unwrap();
    let fetched = fetch(&format!("srv*{}*{}", store.path().display(), server.url())).unwrap();
    assert_eq!(fetched.path, in_store(store.path()));
    assert_eq!(fs::read(&fetched.path).unwrap(), PDB);
    assert_eq!(files(store.path()).len(), 1);
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_missing_file_is_requested_in_every_form_before_it_is_reported() {
    let server = Server::new(|_| missing());
    assert!(fails(&server).contains("no such file"));
    let folder = format!("/driver.pdb/{KEY}");
    let forms = ["driver.pdb", "driver.pd_", "file.ptr"].map(|f| format!("{folder}/{f}"));
    let small = forms.clone().map(|f| f.replace(KEY, &KEY.to_lowercase()));
    assert_eq!(
        server.asked(),
        [&forms[..], &["/index2.txt".into()], &small[..]].concat()
    );
}

#[test]
fn a_lower_case_key_is_found() {
    let small = format!("/driver.pdb/{}/driver.pdb", KEY.to_lowercase());
    let server = Server::new(move |path| match path {
        _ if path == small => Reply::File(PDB.to_vec()),
        _ => missing(),
    });
    let store = TempDir::new().unwrap();
    let path = format!("srv*{}*{}", store.path().display(), server.url());
    assert!(fetch(&path).is_ok());
}

/// Some servers compress all responses, and send the compressed length.
#[test]
fn a_body_with_content_encoding_is_decompressed() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(PDB).unwrap();
    let packed = packed.finish().unwrap();
    let server = Server::new(move |path| match path {
        _ if path.ends_with("/driver.pdb") => Reply::Gzip(packed.clone()),
        _ => missing(),
    });
    let store = TempDir::new().unwrap();
    let path = format!("srv*{}*{}", store.path().display(), server.url());
    let fetched = fetch(&path).unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), PDB);
}

#[test]
fn a_web_page_instead_of_a_file_is_reported_as_such() {
    let page = b"<!DOCTYPE html><html><body>Sign in</body></html>";
    let server = Server::new(move |path| match path {
        _ if path.ends_with("/driver.pdb") => Reply::File(page.to_vec()),
        _ => missing(),
    });
    let why = fails(&server);
    assert!(why.contains("web page (HTML)"), "{why}");
}

#[test]
fn a_two_tier_server_is_recognised() {
    let server = Server::new(|path| match path {
        "/index2.txt" => Reply::File(Vec::new()),
        _ if path == format!("/dr/driver.pdb/{KEY}/driver.pdb") => Reply::File(PDB.to_vec()),
        _ => missing(),
    });
    let store = TempDir::new().unwrap();
    assert!(fetch(&format!("srv*{}*{}", store.path().display(), server.url())).is_ok());
}

#[test]
fn the_next_server_is_tried_after_a_failure() {
    let bad = Server::new(|_| Reply::Head("500 Oops".into()));
    let good = Server::with_file("driver.pdb", PDB.to_vec());
    let store = TempDir::new().unwrap();
    let path = format!(
        "srv*{}*{}*{}",
        store.path().display(),
        bad.url(),
        good.url()
    );
    assert_eq!(fetch(&path).unwrap().server, good.url());
    assert_eq!(bad.asked().len(), 1);
}

#[test]
fn every_server_failure_is_reported() {
    let (one, two) = (
        Server::new(|_| Reply::Head("503 Busy".into())),
        Server::new(|_| Reply::Head("403 Forbidden".into())),
    );
    let store = TempDir::new().unwrap();
    let path = format!("srv*{}*{}*{}", store.path().display(), one.url(), two.url());
    let FetchError::Failed(failures) = fetch(&path).unwrap_err() else {
        panic!("not a failure of servers");
    };
    assert_eq!(failures.len(), 2);
    assert!(failures[0].contains("503"), "{failures:?}");
    assert!(failures[1].contains("denies access"), "{failures:?}");
}

#[test]
fn a_server_that_stops_answering_is_given_up() {
    for reply in [Reply::Silence, Reply::Stall(PDB[..5000].to_vec())] {
        let server = Server::new(move |_| reply.clone());
        let started = Instant::now();
        assert!(fails(&server).contains("stopped answering"));
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_broken_connection_leaves_no_file() {
    let server = Server::new(|_| Reply::Cut(PDB.len(), PDB[..40_000].to_vec()));
    assert!(fails(&server).contains("cut"));
    // The same without a length: only the file itself shows that it is truncated.
    let server = Server::with_file("driver.pdb", PDB[..40_000].to_vec());
    assert!(fails(&server).contains("cut off"));
}

#[test]
fn the_wrong_file_is_refused_with_both_identities() {
    let mut wrong = PDB.to_vec();
    let at = memchr::memmem::find(PDB, &id().guid).unwrap();
    wrong[at..at + 16].copy_from_slice(&other_id().guid);
    let said = fails(&Server::with_file("driver.pdb", wrong));
    assert!(
        said.contains(KEY) && said.contains(&other_id().key()),
        "{said}"
    );
    let page = b"<html>Sign in to continue</html>".to_vec();
    let said = fails(&Server::new(move |_| Reply::File(page.clone())));
    assert!(said.contains("web page (HTML)"), "{said}");
    let said = fails(&Server::with_file(
        "driver.pd_",
        b"MSCF and no more".to_vec(),
    ));
    assert!(said.contains("cabinet can't be unpacked"), "{said}");
}

#[test]
fn an_endless_body_is_stopped_at_the_limit() {
    assert!(fails(&Server::new(|_| Reply::Endless)).contains("larger than 1048576 bytes"));
    // A length above the limit is refused before the body is read.
    let server = Server::new(|_| Reply::Cut(usize::MAX >> 1, vec![b'x'; 10]));
    assert!(fails(&server).contains("larger than"));
}

#[test]
fn a_server_that_only_claims_to_speak_tls_is_given_up() {
    let server = Server::new(|_| missing());
    let url = server.url().replace("http:", "https:");
    let store = TempDir::new().unwrap();
    let error = fetch(&format!("srv*{}*{url}", store.path().display())).unwrap_err();
    let said = error.to_string();
    // Not the message of a panicked thread.
    assert!(
        said.contains(&url) && !said.contains("ended early"),
        "{said}"
    );
    assert_eq!(files(store.path()), Vec::<PathBuf>::new());
}

#[test]
fn redirects_lead_to_other_http_servers() {
    let good = Server::with_file("driver.pdb", PDB.to_vec());
    // The same machine with another name.
    let target = format!("http://localhost:{}", good.address.port());
    let server = Server::new(move |path| redirect(&format!("{target}{path}")));
    let store = TempDir::new().unwrap();
    let fetched = fetch(&format!("srv*{}*{}", store.path().display(), server.url())).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), PDB);
}

#[test]
fn invalid_redirects_are_refused() {
    let secret = TempDir::new().unwrap();
    let file = secret.path().join("driver.pdb");
    put(&file, PDB);
    for to in [
        format!("file://{}", file.display()),
        "ftp://127.0.0.1/x".into(),
    ] {
        let server = Server::new(move |_| redirect(&to));
        assert!(fails(&server).contains("not followed"));
    }
    let server = Server::new(|_| Reply::Head("302 Found".into()));
    assert!(fails(&server).contains("without an address"));
    let server = Server::new(redirect);
    assert!(fails(&server).contains("redirects more than"));
    assert!(server.asked().len() < 20);
}

#[test]
fn a_servers_pointer_never_opens_a_local_file() {
    let secret = TempDir::new().unwrap();
    let file = secret.path().join("driver.pdb");
    put(&file, PDB);
    for form in ["PATH:", ""] {
        let said = fails(&Server::with_file(
            "file.ptr",
            format!("{form}{}", file.display()).into_bytes(),
        ));
        assert!(said.contains("points to"), "{said}");
    }
    let said = fails(&Server::with_file(
        "file.ptr",
        b"MSG: not public\n".to_vec(),
    ));
    assert!(said.contains("it says: not public"), "{said}");
}

#[test]
fn a_download_can_be_cancelled_before_and_between_chunks() {
    let server = Server::new(|_| Reply::Endless);
    let store = TempDir::new().unwrap();
    let path = format!("srv*{}*{}", store.path().display(), server.url());
    let cancel = AtomicBool::new(false);
    let progress = |p: Progress<'_>| cancel.store(p.received > 100_000, Ordering::Relaxed);
    let watch = Watch {
        cancel: &cancel,
        progress: &progress,
    };
    assert_eq!(fetch_with(&path, watch), Err(FetchError::Cancelled));
    assert_eq!(files(store.path()), Vec::<PathBuf>::new());
    let before = server.connections.load(Ordering::SeqCst);
    assert_eq!(fetch_with(&path, watch), Err(FetchError::Cancelled));
    assert_eq!(server.connections.load(Ordering::SeqCst), before);
}

#[test]
fn cancelling_does_not_wait_for_a_silent_server() {
    let server = Server::new(|_| Reply::Silence);
    let store = TempDir::new().unwrap();
    let path = format!("srv*{}*{}", store.path().display(), server.url());
    let cancel = AtomicBool::new(false);
    let watch = Watch {
        cancel: &cancel,
        progress: &|_| {},
    };
    let patient = Limits {
        stall: Duration::from_secs(20),
        ..LIMITS
    };
    let client = Client::new(Network::On).with_limits(patient);
    let started = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            cancel.store(true, Ordering::Relaxed);
        });
        let fetched = client.fetch(&id(), &fixture::path(&path), watch);
        assert_eq!(fetched, Err(FetchError::Cancelled));
    });
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn without_network_no_connection_is_made() {
    let server = Server::with_file("driver.pdb", PDB.to_vec());
    let store = TempDir::new().unwrap();
    let path = fixture::path(&format!("srv*{}*{}", store.path().display(), server.url()));
    let wanted = |network| WantedPdb {
        id: id(),
        path: path.clone(),
        network,
    };
    let off = wanted(Network::Off);
    assert!(!off.may_download());
    assert_eq!(off.download(watch()), Err(FetchError::NetworkOff));
    // Searching and loading never contact a server, whether allowed or not.
    let on = wanted(Network::On);
    assert!(on.may_download());
    assert_eq!(on.locate().file, None);
    assert_eq!(
        Symbols::load_module(&id(), &path).symbols.source(),
        &Source::None
    );
    thread::sleep(Duration::from_millis(100));
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    assert!(on.download(watch()).is_ok());
    assert_eq!(on.locate().file, Some(in_store(store.path())));
}

#[test]
fn a_path_without_a_server_explains_how_to_add_one() {
    let error = fetch("/nowhere").unwrap_err();
    assert_eq!(error, FetchError::NoServer);
    assert!(error.to_string().contains("srv*https://"));
}

#[test]
fn an_unsafe_name_is_never_requested() {
    let server = Server::new(|_| missing());
    let unsafe_id = PdbId {
        name: "a?b.pdb".into(),
        ..id()
    };
    let path = fixture::path(&server.url());
    let fetched = Client::new(Network::On).fetch(&unsafe_id, &path, watch());
    assert_eq!(fetched, Err(FetchError::UnsafeName("a?b.pdb".into())));
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[test]
fn a_writable_store_is_found_before_the_download_starts() {
    let server = Server::with_file("driver.pdb", PDB.to_vec());
    let store = TempDir::new().unwrap();
    let file = store.path().join("file");
    put(&file, b"");
    let nowhere = fetch(&format!("srv*{}/x*{}", file.display(), server.url())).unwrap_err();
    assert!(nowhere.to_string().contains("nothing can be stored in"));
    // A later store that is writable is used instead.
    let path = format!(
        "srv*{}/x*{}*{}",
        file.display(),
        store.path().display(),
        server.url()
    );
    assert_eq!(fetch(&path).unwrap().path, in_store(store.path()));
}

#[test]
fn concurrent_stores_leave_one_complete_file() {
    const MANY: usize = 8;
    let server = Server::with_file("driver.pdb", PDB.to_vec());
    let store = TempDir::new().unwrap();
    let path = format!("srv*{}*{}", store.path().display(), server.url());
    let together = Barrier::new(MANY);
    thread::scope(|scope| {
        for _ in 0..MANY {
            scope.spawn(|| {
                together.wait();
                assert!(fetch(&path).is_ok());
                assert_eq!(fs::read(in_store(store.path())).unwrap(), PDB);
            });
        }
    });
    assert_eq!(files(store.path()).len(), 1);
}
