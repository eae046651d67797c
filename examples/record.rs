//! Records a session of the terminal UI as an asciicast (version 2) for asciinema and web
//! players.
//!
//! `cargo run --example record -- target/release/poolscope docs/demo.cast`
//!
//! Opens the sample dump in a pseudo-terminal, types the keys of the script, and writes the
//! program's output with its times.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

const COLUMNS: u16 = 120;
const ROWS: u16 = 32;

/// Keys, and the time to read the screen after each.
const SCRIPT: [(&str, u64); 14] = [
    ("", 3500),
    ("j", 500),
    ("j", 900),
    ("k", 300),
    ("k", 1500),
    ("\r", 2500),
    ("\t", 1200),
    ("\r", 2500),
    ("\x1b", 600),
    ("c", 2500),
    ("R", 3500),
    ("jjjjjj", 1500),
    ("y", 1500),
    ("q", 400),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [program, out] = args.as_slice() else {
        eprintln!("usage: record PROGRAM OUT.cast");
        return ExitCode::from(2);
    };
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("MEMORY.DMP");
    let made = Command::new(program)
        .args(["demo", "--out"])
        .arg(&dump)
        .status();
    assert!(made.unwrap().success(), "the sample dump is not written");
    record(Path::new(program), &dump, Path::new(out));
    ExitCode::SUCCESS
}

fn record(program: &Path, dump: &Path, out: &Path) {
    let size = PtySize {
        rows: ROWS,
        cols: COLUMNS,
        pixel_width: 0,
        pixel_height: 0,
    };
    let pty = native_pty_system().openpty(size).unwrap();
    let mut command = CommandBuilder::new(std::fs::canonicalize(program).unwrap());
    command.args(["--no-network", "--no-cache"]);
    command.arg(dump);
    command.cwd(dump.parent().unwrap());
    for (name, value) in [
        ("TERM", "xterm-256color"),
        ("LANG", "C.UTF-8"),
        ("COLORTERM", ""),
        ("_NT_SYMBOL_PATH", ""),
    ] {
        command.env(name, value);
    }
    command.env("HOME", dump.parent().unwrap());
    let mut child = pty.slave.spawn_command(command).unwrap();
    drop(pty.slave);
    let mut reader = pty.master.try_clone_reader().unwrap();
    let mut writer = pty.master.take_writer().unwrap();
    let started = Instant::now();
    let (sender, events) = mpsc::channel();
    let reading = thread::spawn(move || {
        let mut buffer = [0; 1 << 16];
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            let text = buffer[..read].to_vec();
            if sender.send((started.elapsed(), text)).is_err() {
                return;
            }
        }
    });
    for (keys, pause) in SCRIPT {
        for key in keys.split_inclusive(|_| true) {
            writer.write_all(key.as_bytes()).unwrap();
            writer.flush().unwrap();
            thread::sleep(Duration::from_millis(120));
        }
        thread::sleep(Duration::from_millis(pause));
    }
    child.wait().unwrap();
    drop(writer);
    drop(pty.master);
    reading.join().unwrap();
    write_cast(out, events.into_iter());
}

/// Writes a header, then an event for each piece of output. A character that is split
/// between two pieces goes to the second one.
fn write_cast(out: &Path, events: impl Iterator<Item = (Duration, Vec<u8>)>) {
    let mut file = BufWriter::new(File::create(out).unwrap());
    let header = serde_json::json!({
        "version": 2,
        "width": COLUMNS,
        "height": ROWS,
        "title": "poolscope: from the first screen to the report",
        "env": {"TERM": "xterm-256color"},
    });
    writeln!(file, "{header}").unwrap();
    let mut left: Vec<u8> = Vec::new();
    for (time, piece) in events {
        left.extend(piece);
        let whole = match std::str::from_utf8(&left) {
            Ok(_) => left.len(),
            Err(error) => error.valid_up_to(),
        };
        let text = String::from_utf8(left.drain(..whole).collect()).unwrap();
        if !text.is_empty() {
            let seconds = time.as_millis() as f64 / 1000.0;
            writeln!(file, "{}", serde_json::json!([seconds, "o", text])).unwrap();
        }
    }
}
