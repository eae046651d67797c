//! The program in a pseudo-terminal, and what its screen shows.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{
    Child, CommandBuilder, MasterPty, PtyPair, PtySize, SlavePty, native_pty_system,
};

/// Long, because the machine may be busy with other builds.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A program in a pseudo-terminal.
pub struct Terminal {
    /// The cache, state and configuration directory of this run, unless a variable
    /// overrides it.
    _cache: tempfile::TempDir,
    pub screen: Arc<Mutex<vt100::Parser>>,
    /// All bytes that were sent to the terminal.
    pub sent: Arc<Mutex<Vec<u8>>>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    /// Kept open, so that its modes can be read after the program has ended.
    _slave: Box<dyn SlavePty + Send>,
    reads: Arc<AtomicBool>,
}

/// The program with arguments, and with its files in a folder.
fn command(arguments: &[&OsStr], folder: &Path) -> CommandBuilder {
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_poolscope"));
    command.args(arguments);
    command.env("TERM", "xterm-256color");
    command.env("LC_ALL", "C.UTF-8");
    command.env_remove("NO_COLOR");
    command.env_remove("_NT_SYMBOL_PATH");
    command.env_remove("_NT_ALT_SYMBOL_PATH");
    // Not in HOME, which a test may set to a directory that does not exist.
    command.cwd(folder);
    for kept in [
        "XDG_CACHE_HOME",
        "XDG_STATE_HOME",
        "XDG_CONFIG_HOME",
        "HOME",
    ] {
        command.env(kept, folder);
    }
    command
}

fn wait_for(child: &mut dyn Child) -> u32 {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.exit_code();
        }
        assert!(started.elapsed() < PATIENCE, "it does not end");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Opens a dump in a terminal that is not the controlling one, as under `su -c`, takes the
/// terminal away once the verdict is shown and nothing more is drawn, and returns the exit status.
pub fn exit_code_without_terminal(dump: &Path) -> u32 {
    let PtyPair { slave, master } = native_pty_system().openpty(PtySize::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&[dump.as_os_str()], folder.path());
    command.set_controlling_tty(false);
    let mut child = slave.spawn_command(command).unwrap();
    // A program that ends too early is then an error of the reader.
    drop(slave);
    let mut output = master.try_clone_reader().unwrap();
    let mut screen = vt100::Parser::default();
    let mut buffer = [0; 4096];
    while !screen.screen().contents().contains("Verdict: LEAK") {
        let length = output.read(&mut buffer).unwrap();
        assert!(length > 0, "the program ended");
        screen.process(&buffer[..length]);
    }
    drop((output, master));
    wait_for(&mut *child)
}

impl Terminal {
    pub fn open(dump: &Path, variables: &[(&str, &str)], size: (u16, u16)) -> Terminal {
        Terminal::run(&[dump.as_os_str()], variables, size)
    }

    /// Runs the program with arguments.
    pub fn run(arguments: &[&OsStr], variables: &[(&str, &str)], size: (u16, u16)) -> Terminal {
        let size = PtySize {
            cols: size.0,
            rows: size.1,
            pixel_width: 0,
            pixel_height: 0,
        };
        let pair = native_pty_system().openpty(size).unwrap();
        let cache = tempfile::tempdir().unwrap();
        let mut command = command(arguments, cache.path());
        for (name, value) in variables {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size.rows, size.cols, 0)));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let mut output = pair.master.try_clone_reader().unwrap();
        let (to_screen, to_sent) = (Arc::clone(&screen), Arc::clone(&sent));
        let reads = Arc::new(AtomicBool::new(true));
        let goes_on = Arc::clone(&reads);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                while !goes_on.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(50));
                }
                to_screen.lock().unwrap().process(&buffer[..n]);
                to_sent.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Terminal {
            _cache: cache,
            screen,
            sent,
            keys: pair.master.take_writer().unwrap(),
            child,
            master: pair.master,
            _slave: pair.slave,
            reads,
        }
    }

    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    pub fn wait(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let started = Instant::now();
        while !holds(&self.text()) {
            assert!(
                started.elapsed() < PATIENCE,
                "waited for {what}; the screen is\n{}",
                self.text()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn see(&self, text: &str) {
        self.wait(text, |screen| screen.contains(text));
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    pub fn resize(&mut self, cols: u16, rows: u16) {
        let size = PtySize {
            cols,
            rows,
            pixel_width: 0,
            pixel_height: 0,
        };
        self.screen
            .lock()
            .unwrap()
            .screen_mut()
            .set_size(rows, cols);
        self.master.resize(size).unwrap();
    }

    pub fn signal(&self, signal: i32) {
        let id = self.child.process_id().unwrap();
        // SAFETY: sends a signal to the child that this test started and has not reaped.
        unsafe { libc::kill(id as i32, signal) };
    }

    /// The processor time that the program's threads have taken, where the system tells.
    pub fn processor_time(&self) -> Option<Duration> {
        let id = self.child.process_id()?;
        let threads = fs::read_dir(format!("/proc/{id}/task")).ok()?;
        // The first number: nanoseconds on a processor.
        let taken = threads.flatten().map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        });
        let taken: Option<Vec<u64>> = taken.collect();
        Some(Duration::from_nanos(taken?.iter().sum()))
    }

    pub fn exit_code(&mut self) -> u32 {
        wait_for(&mut *self.child)
    }

    pub fn is_restored(&self) {
        let started = Instant::now();
        let restored = || {
            let parser = self.screen.lock().unwrap();
            !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
        };
        while !restored() {
            assert!(started.elapsed() < PATIENCE, "the terminal is not restored");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// True if the terminal echoes and buffers lines, as a shell expects.
    pub fn is_cooked(&self) -> bool {
        let modes = self.master.get_termios().unwrap();
        let wanted = libc::ICANON | libc::ECHO | libc::ISIG;
        modes.local_flags.bits() & wanted == wanted
    }

    /// Simulates a hanging connection.
    pub fn stop_reading(&self) {
        self.reads.store(false, Ordering::SeqCst);
    }

    pub fn took_the_screen(&self) -> bool {
        let sent = self.sent.lock().unwrap();
        sent.windows(8).any(|bytes| bytes == b"\x1b[?1049h")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}
