//! The answers for an agent: Model Context Protocol over stdin and stdout.
//!
//! The client is trusted to ask, and with nothing else: it reads the files that the command
//! line names and no others, every answer has a size that is bounded, and text that comes
//! from a dump is cleaned and marked as data. Answers are those of the command line; this
//! room asks the same questions and computes nothing.

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

/// Tool calls that are worked on at the same time; each walks on all cores.
const AT_ONCE: usize = 2;

/// Serves one client until it closes stdin.
///
/// # Errors
/// When the runtime can't be started, or the client does not begin as the protocol wants.
pub fn serve(session: Session) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(AT_ONCE)
        .build()?;
    runtime.block_on(async {
        let lines = Lines::start()?;
        let served = match Server::new(session).serve(lines).await {
            Ok(service) => service.waiting().await.map_err(io::Error::other),
            // A client that leaves before it began.
            Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
            Err(error) => return Err(io::Error::other(error)),
        };
        served.map(|_| ())
    })
}
