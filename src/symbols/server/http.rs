//! One GET request, with all limits that an untrusted server requires.
//!
//! It runs in its own thread, so that the caller can stop waiting at any time. The thread then
//! ends at its next chunk or its time limit.
//!
//! Redirects are followed here and not by the client, to check each hop: only http and https
//! are allowed, and never a change from https to http.

use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use ureq::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, LOCATION};
use ureq::http::{Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Timeout};

use crate::characters::is_hidden;

use super::Limits;

/// Largest number of redirects.
const MOST_REDIRECTS: usize = 8;
/// Bytes per read, and the number of chunks that may wait to be written.
const CHUNK: usize = 64 << 10;
const CHUNKS_AHEAD: usize = 8;
/// Time limit for a whole body, even if data arrives steadily.
const LONGEST_BODY: Duration = Duration::from_secs(2 * 3600);

/// Events during a request.
pub(super) enum Event {
    /// The server does not have the file. Last event.
    Missing,
    /// The server has the file, with this length in bytes if it reports one. Chunks follow.
    Found(Option<u64>),
    Chunk(Vec<u8>),
    /// The body is complete. Last event.
    End,
    /// The request failed. Last event.
    Failed(String),
}

/// A client for one server; does not connect yet.
pub(super) fn agent(base: &str, limits: &Limits) -> Agent {
    let mut config = Agent::config_builder()
        .user_agent(concat!("poolscope/", env!("CARGO_PKG_VERSION")))
        .accept("*/*")
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(limits.connect))
        .timeout_connect(Some(limits.connect))
        .timeout_send_request(Some(limits.stall))
        .timeout_recv_response(Some(limits.stall))
        .timeout_per_read(Some(limits.stall))
        .timeout_recv_body(Some(LONGEST_BODY))
        .tls_config(TlsConfig::builder().root_certs(roots()).build());
    if is_loopback(base) {
        config = config.proxy(None);
    }
    config.build().into()
}

/// Mozilla's root certificates, or those in the file named by SSL_CERT_FILE: organisations that
/// inspect TLS traffic use their own.
fn roots() -> RootCerts {
    let Some(file) = std::env::var_os("SSL_CERT_FILE") else {
        return RootCerts::WebPki;
    };
    let pem = std::fs::read(file).unwrap_or_default();
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return RootCerts::WebPki;
    }
    RootCerts::new_with_certs(&certificates)
}

/// Requests `url` and follows redirects; sends each event as it happens.
pub(super) fn get(agent: &Agent, url: String) -> Receiver<Event> {
    let (send, receive) = sync_channel(CHUNKS_AHEAD);
    let (agent, failed) = (agent.clone(), send.clone());
    let work = move || {
        let last = run(&agent, &url, &send).unwrap_or_else(Event::Failed);
        // An error here means that the caller stopped waiting.
        let _ = send.send(last);
    };
    let name = "symbol-server".to_string();
    if let Err(e) = std::thread::Builder::new().name(name).spawn(work) {
        let _ = failed.send(Event::Failed(format!("no thread for the download: {e}")));
    }
    receive
}

fn run(agent: &Agent, url: &str, out: &SyncSender<Event>) -> Result<Event, String> {
    let Some(response) = follow(agent, url)? else {
        return Ok(Event::Missing);
    };
    // With content encoding, the body arrives decompressed, and the length is the compressed
    // one.
    let encoded = response.headers().contains_key(CONTENT_ENCODING);
    let length = response.headers().get(CONTENT_LENGTH).filter(|_| !encoded);
    let length = length.and_then(|v| v.to_str().ok()?.trim().parse().ok());
    let gone = |_| "the download was abandoned".to_string();
    out.send(Event::Found(length)).map_err(gone)?;
    let mut body = response.into_body().into_reader();
    loop {
        let mut chunk = vec![0; CHUNK];
        match body.read(&mut chunk) {
            Ok(0) => return Ok(Event::End),
            Ok(got) => {
                chunk.truncate(got);
                out.send(Event::Chunk(chunk)).map_err(gone)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(explain_io(&e)),
        }
    }
}

/// The response after all redirects; `None` if the file does not exist.
fn follow(agent: &Agent, url: &str) -> Result<Option<Response<Body>>, String> {
    let mut at = url.to_string();
    for _ in 0..=MOST_REDIRECTS {
        let response = agent.get(&at).call().map_err(|e| explain(&e))?;
        let status = response.status();
        match status.as_u16() {
            200 => return Ok(Some(response)),
            404 | 410 => return Ok(None),
            301 | 302 | 303 | 307 | 308 => at = redirect(&at, &response)?,
            401 | 403 => {
                return Err(format!("the server denies access (status {status})"));
            }
            _ => return Err(format!("the server answers with status {status}")),
        }
    }
    Err(format!(
        "the server redirects more than {MOST_REDIRECTS} times"
    ))
}

fn redirect(from: &str, response: &Response<Body>) -> Result<String, String> {
    let location = response.headers().get(LOCATION);
    let location = location
        .and_then(|v| v.to_str().ok())
        .ok_or("the server redirects without an address")?;
    let to = join(from, location)
        .ok_or_else(|| format!("the server redirects to {location:?}, which is not followed"))?;
    if scheme(from) == Some("https") && scheme(&to) != Some("https") {
        return Err(format!(
            "the server redirects from https to {location:?}, which is not followed"
        ));
    }
    Ok(to)
}

/// The address in a `Location` header; `None` unless it is http or https.
fn join(base: &str, location: &str) -> Option<String> {
    let location = location.trim().split('#').next()?;
    let base: Uri = base.parse().ok()?;
    let (scheme_of_base, authority) = (base.scheme_str()?, base.authority()?);
    let joined = if location.starts_with("//") {
        format!("{scheme_of_base}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme_of_base}://{authority}{location}")
    } else if has_scheme(location) {
        location.to_string()
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(d, _)| d);
        format!("{scheme_of_base}://{authority}{directory}/{location}")
    };
    let parsed: Uri = joined.parse().ok()?;
    parsed.host().filter(|h| !h.is_empty())?;
    scheme(&joined)?;
    Some(joined)
}

/// True when the text starts with letters, digits, `+`, `-` or `.`, and then a colon.
fn has_scheme(location: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    location
        .split_once(':')
        .is_some_and(|(head, _)| !head.is_empty() && head.chars().all(word))
}

/// The scheme, `http` or `https`.
fn scheme(url: &str) -> Option<&'static str> {
    let (scheme, _) = url.split_once("://")?;
    ["http", "https"]
        .into_iter()
        .find(|s| scheme.eq_ignore_ascii_case(s))
}

fn is_loopback(url: &str) -> bool {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(|u| u.host()).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|a| a.is_loopback())
}

/// The client's errors as sentences.
fn explain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            "no connection within the time limit".into()
        }
        ureq::Error::Timeout(_) => "the server stopped answering".into(),
        ureq::Error::HostNotFound => "unknown host".into(),
        ureq::Error::ConnectionFailed => "the connection failed".into(),
        ureq::Error::Rustls(e) => explain_tls(&e.to_string()),
        ureq::Error::Io(e) => explain_io(e),
        other => other.to_string(),
    }
}

/// Errors of the TLS library arrive directly or inside a socket error.
fn explain_tls(error: &str) -> String {
    match error.contains("certificate") {
        true => format!(
            "its certificate is not trusted ({error}); where TLS is inspected, SSL_CERT_FILE can name the roots to trust"
        ),
        false => format!("TLS failed: {error}"),
    }
}

/// An error while a body was read, as a sentence.
fn explain_io(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let inner = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<ureq::Error>());
    match (inner, error.kind()) {
        (Some(inner), _) if !matches!(inner, ureq::Error::Io(_)) => explain(inner),
        (_, ErrorKind::TimedOut | ErrorKind::WouldBlock) => "the server stopped answering".into(),
        (_, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
            "the connection was cut before the end".into()
        }
        (_, ErrorKind::ConnectionRefused) => "the connection is refused".into(),
        (_, ErrorKind::InvalidData) => explain_tls(&error.to_string()),
        _ => error.to_string(),
    }
}

/// An address for display: without user name, password and invisible characters.
pub fn shown(url: &str) -> String {
    let url: String = url.chars().filter(|c| !is_hidden(*c)).collect();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url;
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_relative_to_where_it_comes_from() {
        let base = "http://a.example:81/x/y/z?q";
        for (location, to) in [
            ("/new", "http://a.example:81/new"),
            ("w", "http://a.example:81/x/y/w"),
            ("//b.example/v", "http://b.example/v"),
            ("https://b.example/v#part", "https://b.example/v"),
            ("HTTP://b.example/v", "HTTP://b.example/v"),
        ] {
            assert_eq!(join(base, location).as_deref(), Some(to), "{location}");
        }
    }

    #[test]
    fn only_http_redirects_are_followed() {
        for location in [
            "file:///etc/passwd",
            "ftp://b.example/v",
            "data:text/plain,x",
            "javascript:x",
            "http://",
            "http:///v",
            "\\\\server\\share",
            "c:\\x",
            "http://b example/",
        ] {
            let to = join("http://a.example/x", location);
            assert!(
                to.as_deref()
                    .is_none_or(|to| to.starts_with("http://a.example/")),
                "{location} leads to {to:?}"
            );
        }
    }

    #[test]
    fn a_redirect_never_leaves_tls() {
        let to = |location: &str| {
            let response = Response::builder().header(LOCATION, location);
            let response = response.body(Body::builder().data("")).unwrap();
            redirect("https://a.example/x/y", &response)
        };
        assert!(to("http://a.example/y").unwrap_err().contains("from https"));
        assert_eq!(to("HTTPS://b.example/y").unwrap(), "HTTPS://b.example/y");
        assert_eq!(to("z").unwrap(), "https://a.example/x/z");
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(
            shown("https://me:secret@host/a@b"),
            "https://host/a@b".to_string()
        );
        assert_eq!(shown("https://host"), "https://host");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, yes) in [
            ("http://127.0.0.1:80/x", true),
            ("http://[::1]:80", true),
            ("http://localhost/", true),
            ("http://localhost.example/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(is_loopback(url), yes, "{url}");
        }
    }
}
