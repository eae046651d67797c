//! Answers for an agent: Model Context Protocol over stdin and stdout.
//!
//! The client is not trusted: it can read only the files that the command line names, every
//! answer has a limited size, and text from a dump is cleaned and marked as data. Answers
//! are those of the command line; this module asks the same questions and computes nothing.

mod answers;
mod arguments;
mod bounds;
mod paths;
mod server;
mod session;
mod tools;
mod transport;

pub use session::Session;

use std::io;

use rmcp::ServiceExt;

use server::Server;
use transport::Lines;

/// Maximum number of concurrent tool calls; each uses all cores.
const AT_ONCE: usize = 2;

/// Serves one client until it closes stdin.
///
/// # Errors
/// If the runtime cannot start, or the client's handshake is invalid.
pub fn serve(session: Session) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(AT_ONCE)
        .build()?;
    runtime.block_on(async {
        let lines = Lines::start()?;
        let served = match Server::new(session).serve(lines).await {
            Ok(service) => service.waiting().await.map_err(io::Error::other),
            // The client left before the handshake.
            Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
            Err(error) => return Err(io::Error::other(error)),
        };
        served.map(|_| ())
    })
}
