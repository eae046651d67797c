//! The `poolscope` binary: reads the arguments and hands over to the library.

use std::process::ExitCode;

use clap::Parser;
use poolscope::cli::{self, Args};

fn main() -> ExitCode {
    cli::run(Args::parse()).into()
}
