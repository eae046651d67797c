//! Taking over the terminal, and restoring it in every case.
//!
//! It is restored exactly once per take-over: on exit, on an error, and on a panic of the
//! drawing thread. A panic of another thread is caught by its owner; its message is held
//! back until the terminal is restored, because it would otherwise appear in the middle of
//! a screen.

use std::io::{self, BufWriter, Stdout, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{
    DisableBracketedPaste, EnableBracketedPaste, KeyboardEnhancementFlags,
    PopKeyboardEnhancementFlags, PushKeyboardEnhancementFlags,
};
use crossterm::style::{Attribute, SetAttribute};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::tui::terminal::clipboard::Clipboard;
use crate::tui::terminal::diff::{Capabilities, DiffBackend};

/// The program has taken over the terminal.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// The terminal has no alternate screen, so its only screen is cleared on exit.
static ONE_SCREEN: AtomicBool = AtomicBool::new(false);
/// Mouse reports are on.
static MOUSE: AtomicBool = AtomicBool::new(false);
/// Bracketed paste is on.
static PASTE: AtomicBool = AtomicBool::new(false);
/// Kitty's keyboard protocol is on; it distinguishes Esc from the start of a sequence.
static KITTY: AtomicBool = AtomicBool::new(false);
/// Messages of other threads' panics since the take-over.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

type Hook = Arc<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// The terminal during a take-over. Dropping it restores the terminal.
pub struct Screen {
    backend: DiffBackend<BufWriter<Stdout>>,
    frame: Buffer,
    clipboard: Clipboard,
    hook_before: Hook,
}

impl Screen {
    /// Takes over the terminal. `one_screen`: it has no alternate screen; `mouse`: turn on
    /// mouse reports; `skills`: its capabilities.
    ///
    /// # Errors
    /// If stdout is not a terminal, or the terminal refuses.
    pub fn take(one_screen: bool, mouse: bool, skills: Capabilities) -> io::Result<Screen> {
        ONE_SCREEN.store(one_screen, Ordering::Relaxed);
        PASTE.store(skills.colours, Ordering::Relaxed);
        KITTY.store(skills.kitty, Ordering::Relaxed);
        MOUSE.store(mouse, Ordering::Relaxed);
        let writer = BufWriter::with_capacity(1 << 16, io::stdout());
        let hook_before: Hook = Arc::from(panic::take_hook());
        let hook = Arc::clone(&hook_before);
        let owner = thread::current().id();
        panic::set_hook(Box::new(move |info| on_panic(owner, info, &hook)));
        let mut screen = Screen {
            backend: DiffBackend::new(writer, skills),
            frame: Buffer::default(),
            clipboard: Clipboard::of_user(),
            hook_before,
        };
        screen.enter()?;
        Ok(screen)
    }

    /// Takes it over again after [`Screen::give_back`].
    ///
    /// # Errors
    /// As [`Screen::take`].
    pub fn enter(&mut self) -> io::Result<()> {
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        if !ONE_SCREEN.load(Ordering::Relaxed) {
            queue!(io::stdout(), EnterAlternateScreen)?;
        }
        if MOUSE.load(Ordering::Relaxed) {
            report_mouse(&mut io::stdout(), true)?;
        }
        if PASTE.load(Ordering::Relaxed) {
            queue!(io::stdout(), EnableBracketedPaste)?;
        }
        if KITTY.load(Ordering::Relaxed) {
            let flags = KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES;
            queue!(io::stdout(), PushKeyboardEnhancementFlags(flags))?;
        }
        execute!(io::stdout(), Hide)?;
        self.redraw_all();
        Ok(())
    }

    /// Turns mouse reports on or off.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn report_mouse(&mut self, on: bool) -> io::Result<()> {
        MOUSE.store(on, Ordering::Relaxed);
        let mut out = io::stdout();
        report_mouse(&mut out, on)?;
        out.flush()
    }

    /// Restores the terminal temporarily.
    pub fn give_back(&mut self) {
        restore();
    }

    /// Forgets the contents of the screen, so that the next frame is drawn completely.
    pub fn redraw_all(&mut self) {
        self.backend.forget();
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        crossterm::terminal::size()
    }

    /// Draws the changes of a frame.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        let (columns, rows) = self.size()?;
        self.frame.resize(Rect::new(0, 0, columns, rows));
        self.frame.reset();
        draw(&mut self.frame);
        self.backend.show(&self.frame)
    }

    /// Copies text to the clipboard of the user's terminal. Returns a message if it went
    /// elsewhere.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn copy(&mut self, text: &str) -> io::Result<Option<String>> {
        self.clipboard.copy(&mut io::stdout(), text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
        if thread::panicking() {
            return;
        }
        let hook = Arc::clone(&self.hook_before);
        panic::set_hook(Box::new(move |info| hook(info)));
        let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        for panic in panics.drain(..) {
            // A failing stderr must not cause a panic here.
            let _ = writeln!(io::stderr(), "poolscope: a background task failed: {panic}");
        }
    }
}

/// Turns reports of clicks and of the wheel on or off. The library's own command would also
/// report every move, which floods a slow line.
#[cfg(not(windows))]
fn report_mouse(out: &mut impl Write, on: bool) -> io::Result<()> {
    out.write_all(match on {
        true => b"\x1b[?1000h\x1b[?1006h",
        false => b"\x1b[?1006l\x1b[?1000l",
    })
}

/// Turns the console's mouse reports on or off.
#[cfg(windows)]
fn report_mouse(out: &mut impl Write, on: bool) -> io::Result<()> {
    use crossterm::event::{DisableMouseCapture, EnableMouseCapture};
    match on {
        true => queue!(out, EnableMouseCapture),
        false => queue!(out, DisableMouseCapture),
    }
}

/// Restores the terminal if it was taken over; errors are ignored, because nothing can be
/// done about them.
fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = io::stdout();
    if MOUSE.load(Ordering::Relaxed) {
        let _ = report_mouse(&mut out, false);
    }
    if KITTY.load(Ordering::Relaxed) {
        let _ = queue!(out, PopKeyboardEnhancementFlags);
    }
    if PASTE.load(Ordering::Relaxed) {
        let _ = queue!(out, DisableBracketedPaste);
    }
    let _ = queue!(out, SetAttribute(Attribute::Reset));
    let _ = match ONE_SCREEN.load(Ordering::Relaxed) {
        true => queue!(out, Clear(ClearType::All), MoveTo(0, 0)),
        false => queue!(out, LeaveAlternateScreen),
    };
    let _ = execute!(out, Show);
    let _ = disable_raw_mode();
}

/// Restores the terminal while the drawing thread is blocked on it: first its modes, which
/// needs no output, then its screen, if that succeeds quickly.
#[cfg(any(unix, windows))]
pub fn abandon() {
    if !TAKEN.load(Ordering::SeqCst) {
        return;
    }
    let _ = disable_raw_mode();
    let (done, waited) = std::sync::mpsc::channel::<()>();
    let shown = thread::Builder::new().spawn(move || {
        restore();
        drop(done);
    });
    if shown.is_ok() {
        let _ = waited.recv_timeout(std::time::Duration::from_millis(300));
    }
}

fn on_panic(owner: ThreadId, info: &PanicHookInfo<'_>, before: &Hook) {
    if thread::current().id() == owner {
        restore();
        before(info);
        return;
    }
    let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    if panics.len() < 16 {
        let name = thread::current().name().unwrap_or("?").to_owned();
        panics.push(format!("{name}: {info}"));
    }
}
