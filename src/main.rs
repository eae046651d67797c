//! The `poolscope` binary: parses the arguments and calls the library.

use std::process::ExitCode;

use poolscope::cli;

fn main() -> ExitCode {
    cli::run(cli::arguments()).into()
}
