//! The terminal: taken over, and given back whatever happens.
//!
//! It is restored exactly once per take-over: on leaving, on an error, on a panic of the
//! thread that draws. A panic of another thread is caught by its owner; its words are
//! kept until the terminal is given back, or they would land in the middle of a screen.

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

/// The terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// It has no second screen to leave, so its one is wiped.
static ONE_SCREEN: AtomicBool = AtomicBool::new(false);
/// It reports the mouse.
static MOUSE: AtomicBool = AtomicBool::new(false);
/// It marks what is pasted.
static PASTE: AtomicBool = AtomicBool::new(false);
/// It tells Esc from the start of a sequence, by kitty's keyboard protocol.
static KITTY: AtomicBool = AtomicBool::new(false);
/// Messages of threads that panicked meanwhile.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

type Hook = Arc<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// The terminal while it is ours. Dropping it gives it back.
pub struct Screen {
    backend: DiffBackend<BufWriter<Stdout>>,
    frame: Buffer,
    clipboard: Clipboard,
    hook_before: Hook,
}

impl Screen {
    /// Takes the terminal over. `one_screen`: it is known to have no alternate screen;
    /// `mouse`: it shall report the mouse; `skills`: what else is known of it.
    ///
    /// # Errors
    /// When it is no terminal, or refuses.
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

    /// Has it report the mouse, or stop it.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn report_mouse(&mut self, on: bool) -> io::Result<()> {
        MOUSE.store(on, Ordering::Relaxed);
        let mut out = io::stdout();
        report_mouse(&mut out, on)?;
        out.flush()
    }

    /// Gives it back for a while.
    pub fn give_back(&mut self) {
        restore();
    }

    /// Forgets what is on screen, so that the next frame draws all of it.
    pub fn redraw_all(&mut self) {
        self.backend.forget();
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        crossterm::terminal::size()
    }

    /// Draws what changed.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        let (columns, rows) = self.size()?;
        self.frame.resize(Rect::new(0, 0, columns, rows));
        self.frame.reset();
        draw(&mut self.frame);
        self.backend.show(&self.frame)
    }

    /// Puts text into the clipboard of the user's terminal, over any connection. Returns
    /// what to tell the user when it went elsewhere.
    ///
    /// # Errors
    /// When the terminal is gone.
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
            // Whatever stderr is, it is not worth a panic.
            let _ = writeln!(io::stderr(), "poolscope: a background task failed: {panic}");
        }
    }
}

/// Has the terminal report clicks and the wheel, or stop it. Not every move of the mouse,
/// as the library's own command does: that is a flood on a slow line.
#[cfg(not(windows))]
fn report_mouse(out: &mut impl Write, on: bool) -> io::Result<()> {
    out.write_all(match on {
        true => b"\x1b[?1000h\x1b[?1006h",
        false => b"\x1b[?1006l\x1b[?1000l",
    })
}

/// Has the console report the mouse, or stop it.
#[cfg(windows)]
fn report_mouse(out: &mut impl Write, on: bool) -> io::Result<()> {
    use crossterm::event::{DisableMouseCapture, EnableMouseCapture};
    match on {
        true => queue!(out, EnableMouseCapture),
        false => queue!(out, DisableMouseCapture),
    }
}

/// Gives the terminal back if it is ours; errors don't matter any more.
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

/// Gives the terminal back while the thread that draws is stuck in it: its modes, which
/// takes no writing, and then what it shows, as far as that goes in a moment.
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
