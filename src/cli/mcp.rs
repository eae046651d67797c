//! `mcp`: serves an agent until it closes the streams.

use std::path::PathBuf;

use super::args::Args;
use super::outcome::CliError;

#[cfg(feature = "mcp")]
pub fn run(args: &Args, paths: &[PathBuf]) -> Result<(), CliError> {
    let session = crate::mcp::Session::new(paths, args.common.options());
    let session = session.map_err(CliError::Usage)?;
    if !args.common.quiet {
        let notes = session.notes();
        notes.iter().for_each(|note| super::say("note", note));
    }
    Ok(crate::mcp::serve(session)?)
}

#[cfg(not(feature = "mcp"))]
pub fn run(_: &Args, _: &[PathBuf]) -> Result<(), CliError> {
    Err(CliError::Usage(
        "this build of poolscope has no MCP server: build it with the feature mcp".into(),
    ))
}
