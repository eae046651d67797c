//! One JSON message per line, on stdin and stdout. Anything else is answered with an error;
//! the connection stays open.

use std::future::Future;
use std::io::{self, BufRead, Read, Write};
use std::thread;

use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ErrorCode, ErrorData, JsonRpcMessage, RequestId, ServerJsonRpcMessage,
};
use rmcp::transport::Transport;
use serde_json::Value;
use tokio::sync::mpsc;

/// Maximum length of a message, in bytes.
const LONGEST: u64 = 1 << 20;
/// Maximum number of lines waiting to be handled.
const WAITING: usize = 8;

/// A line of input.
#[derive(Debug)]
enum Line {
    Message(Vec<u8>),
    /// Longer than [`LONGEST`]; the rest of the line was skipped.
    TooLong,
}

/// The two streams.
#[derive(Debug)]
pub struct Lines {
    read: mpsc::Receiver<Line>,
    began: bool,
}

impl Lines {
    /// Starts reading stdin.
    ///
    /// # Errors
    /// If the system refuses to start a thread.
    pub fn start() -> io::Result<Lines> {
        let (lines, read) = mpsc::channel(WAITING);
        // Ends when stdin closes, or with the process.
        thread::Builder::new().name("stdin".into()).spawn(move || {
            let mut stdin = io::stdin().lock();
            while let Ok(Some(line)) = next(&mut stdin) {
                if lines.blocking_send(line).is_err() {
                    break;
                }
            }
        })?;
        Ok(Lines { read, began: false })
    }
}

/// The next line without its line end; `None` at the end of the stream.
fn next(stream: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    stream
        .by_ref()
        .take(LONGEST + 1)
        .read_until(b'\n', &mut line)?;
    match line.last() {
        None => return Ok(None),
        Some(b'\n') => {}
        // The last line of a stream may have no line end.
        Some(_) if line.len() as u64 <= LONGEST => return Ok(Some(Line::Message(line))),
        Some(_) => {
            loop {
                let available = stream.fill_buf()?;
                let end = available.iter().position(|b| *b == b'\n');
                let used = end.map_or(available.len(), |at| at + 1);
                stream.consume(used);
                if end.is_some() || used == 0 {
                    break;
                }
            }
            return Ok(Some(Line::TooLong));
        }
    }
    Ok(Some(Line::Message(line)))
}

/// The contents of a line.
#[derive(Debug)]
enum Parsed {
    Message(Box<ClientJsonRpcMessage>),
    /// A blank line, or an unknown notification.
    Nothing,
    Wrong(ErrorData, Option<RequestId>),
}

fn parse(line: &Line) -> Parsed {
    let Line::Message(bytes) = line else {
        let why = format!("the message is longer than {LONGEST} bytes; send a shorter one");
        return Parsed::Wrong(ErrorData::new(ErrorCode::INVALID_REQUEST, why, None), None);
    };
    let bytes = bytes.trim_ascii();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.is_empty() {
        return Parsed::Nothing;
    }
    if let Ok(message) = serde_json::from_slice(bytes) {
        return Parsed::Message(Box::new(message));
    }
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(why) => {
            let why = format!("not JSON: {why}; send one JSON-RPC message on each line");
            return Parsed::Wrong(ErrorData::new(ErrorCode::PARSE_ERROR, why, None), None);
        }
    };
    let id = value.get("id").cloned();
    let id: Option<RequestId> = id.and_then(|id| serde_json::from_value(id).ok());
    if value.is_object() && id.is_none() && value.get("method").is_some() {
        return Parsed::Nothing;
    }
    let why = match value.is_array() {
        true => "batches are not supported: send one JSON-RPC message on each line",
        false => "not a request of the Model Context Protocol: check method and params",
    };
    Parsed::Wrong(ErrorData::new(ErrorCode::INVALID_REQUEST, why, None), id)
}

fn write(message: &ServerJsonRpcMessage) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

impl Transport<RoleServer> for Lines {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        // Writes a complete message, so that messages cannot interleave; nothing else
        // writes to stdout.
        std::future::ready(write(&message))
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            let line = self.read.recv().await?;
            match parse(&line) {
                Parsed::Nothing => {}
                Parsed::Wrong(error, id) => {
                    write(&ServerJsonRpcMessage::error(error, id)).ok()?;
                }
                Parsed::Message(message) => {
                    // Anything before the first request is dropped: there is no session yet.
                    let is_request = matches!(*message, JsonRpcMessage::Request(_));
                    if self.began || is_request {
                        self.began = true;
                        return Some(*message);
                    }
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.read.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<Line> {
        let mut stream = io::BufReader::with_capacity(7, bytes);
        std::iter::from_fn(|| next(&mut stream).unwrap()).collect()
    }

    #[test]
    fn long_lines_are_skipped_up_to_their_end() {
        let mut bytes = vec![b'x'; LONGEST as usize + 100];
        bytes.extend_from_slice(b"\n{}\nlast");
        let found = lines(&bytes);
        assert!(matches!(found[0], Line::TooLong));
        assert!(matches!(&found[1], Line::Message(line) if line == b"{}\n"));
        assert!(matches!(&found[2], Line::Message(line) if line == b"last"));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn invalid_messages_have_specific_errors() {
        let parsed = |text: &str| parse(&Line::Message(text.into()));
        for (text, code, word) in [
            ("garbage", -32700, "not JSON"),
            ("\u{1}\u{2}", -32700, "not JSON"),
            ("[]", -32600, "batches"),
            ("{\"id\":7}", -32600, "method"),
            ("7", -32600, "method"),
        ] {
            let Parsed::Wrong(error, _) = parsed(text) else {
                panic!("{text}");
            };
            assert_eq!(error.code.0, code, "{text}");
            assert!(error.message.contains(word), "{}", error.message);
        }
        assert!(matches!(parsed("  "), Parsed::Nothing));
        let deep = "[".repeat(100_000);
        assert!(matches!(parsed(&deep), Parsed::Wrong(..)));
    }
}
