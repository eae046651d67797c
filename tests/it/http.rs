//! The reply of a symbol server in tests.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// Sends a body, or status 404 without one. If the announced length is larger than the body, the
/// connection stays open and silent, like that of a server that hangs.
pub fn reply(mut stream: &TcpStream, body: Option<&[u8]>, length: usize) {
    let head = match body {
        Some(_) => format!("200 OK\r\nContent-Length: {length}"),
        None => "404 Not Found\r\nContent-Length: 0".into(),
    };
    let _ = write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
    let body = body.unwrap_or_default();
    let _ = stream.write_all(body);
    if body.len() < length {
        thread::sleep(Duration::from_secs(120));
    }
}
