//! Writes many small made-up dumps, each of another machine, to hold datasets against.
//!
//! `cargo run --example machines -- FOLDER COUNT`
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::ExitCode;

use poolscope::synth::era::{SERVER_2003, WIN7, WIN10_1607, WIN10_2004, WIN81};
use poolscope::synth::{Container, Machine, small};

/// 100 ns intervals in an hour.
const HOUR: u64 = 36_000_000_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count] = args.as_slice() else {
        eprintln!("usage: machines FOLDER COUNT");
        return ExitCode::from(2);
    };
    let folder = Path::new(folder);
    std::fs::create_dir_all(folder).unwrap();
    let eras = [&WIN7, &WIN10_2004, &WIN81, &SERVER_2003, &WIN10_1607];
    for nth in 0..count.parse::<u64>().unwrap() {
        let mut spec = small::of_era(eras[(nth % eras.len() as u64) as usize]);
        spec.seed = nth;
        spec.system_time += nth * HOUR;
        let path = folder.join(format!("machine-{nth:04}.dmp"));
        let machine = Machine::build(&spec).unwrap();
        machine.write(&path, Container::BitmapKernel).unwrap();
    }
    ExitCode::SUCCESS
}
