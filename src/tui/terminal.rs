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

use crossterm::clipboard::CopyToClipboard;
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, SetAttribute};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::app::App;
use super::view;

/// The terminal is ours now.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// It has no second screen to leave, so its one is wiped.
static ONE_SCREEN: AtomicBool = AtomicBool::new(false);
/// What panicking threads said meanwhile.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

type Hook = Arc<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// The terminal while it is ours. Dropping it gives it back.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    hook_before: Hook,
}

impl Screen {
    /// Takes the terminal over. `one_screen`: it is known to have no alternate screen.
    ///
    /// # Errors
    /// When it is no terminal, or refuses.
    pub fn take(one_screen: bool) -> io::Result<Screen> {
        ONE_SCREEN.store(one_screen, Ordering::Relaxed);
        let writer = BufWriter::with_capacity(1 << 16, io::stdout());
        let terminal = Terminal::new(CrosstermBackend::new(writer))?;
        let hook_before: Hook = Arc::from(panic::take_hook());
        let hook = Arc::clone(&hook_before);
        let owner = thread::current().id();
        panic::set_hook(Box::new(move |info| on_panic(owner, info, &hook)));
        let mut screen = Screen {
            terminal,
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
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        self.redraw_all()
    }

    /// Gives it back for a while.
    pub fn give_back(&mut self) {
        restore();
    }

    /// Forgets what is on screen, so that the next frame draws all of it.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn redraw_all(&mut self) -> io::Result<()> {
        // Not `clear`: that asks the terminal where its cursor is and waits for the answer,
        // which a slow line or a plain terminal does not give in time.
        let size = self.terminal.size()?;
        self.terminal.resize(ratatui::layout::Rect::from((
            ratatui::layout::Position::ORIGIN,
            size,
        )))
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    /// Draws what changed. The terminal is told to show it at once, where it can.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn draw(&mut self, app: &App) -> io::Result<()> {
        let marks = !ONE_SCREEN.load(Ordering::Relaxed);
        if marks {
            queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        }
        self.terminal
            .draw(|frame| view::draw(app, frame.buffer_mut()))?;
        if marks {
            queue!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        }
        Write::flush(self.terminal.backend_mut())
    }

    /// Puts text into the clipboard of the user's terminal, over any connection.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(io::stdout(), CopyToClipboard::to_clipboard_from(text))
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

/// Gives the terminal back if it is ours; errors don't matter any more.
fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = io::stdout();
    if ONE_SCREEN.load(Ordering::Relaxed) {
        let _ = queue!(out, Clear(ClearType::All), MoveTo(0, 0));
    }
    let _ = execute!(
        out,
        SetAttribute(Attribute::Reset),
        LeaveAlternateScreen,
        Show
    );
    let _ = disable_raw_mode();
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
