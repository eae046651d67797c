//! The terminal UI: browsing from `!vm` to the driver.
//!
//! [`app::App`] is a state machine of plain data ([`data::model::Model`]): it takes a
//! [`data::message::Message`], changes its state, and returns [`data::message::Effect`]s;
//! [`app::view`] draws it. Neither accesses the dump or the terminal. [`jobs::worker`]
//! reads the dump on separate threads. [`data::event`] and [`terminal::signals`] put all
//! events into one channel. [`run`] is the loop: it waits, updates, draws once, and waits again.

pub mod app;
pub mod data;
#[cfg(test)]
mod fixture;
pub mod input;
pub mod jobs;
pub mod persistence;
pub mod screens;
pub mod storage;
pub mod terminal;
#[cfg(test)]
mod tests;
pub mod widgets;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::{self, Machine, OpenError};
use crate::report::text::clean;
use crate::system::console::takes_sequences;

use app::{App, view};
use data::event::{Event, Reopened};
use data::message::{Effect, Message, Reopening};
use data::model::Model;
use jobs::symbols::SymbolArrival;
use jobs::worker::Workers;
use persistence::files::Files;
use persistence::session::Store;
use terminal::diff::{Capabilities, is_plain};
use terminal::input::{self as terminal_input, Input};
use terminal::screen::Screen;
use terminal::theme::Theme;

/// Options of the UI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Draw with ASCII only, regardless of the locale.
    pub ascii: bool,
    /// Colour theme.
    pub theme: terminal::theme::Choice,
    /// The key file, if not the default one.
    pub keys: Option<PathBuf>,
    /// Enable the mouse if the terminal supports it; selecting text in the terminal then
    /// needs Shift.
    pub mouse: bool,
    /// Do not save a session, and do not restore one.
    pub forget: bool,
    /// Earlier dumps, evidence files or logs to compare with, the earliest first.
    pub baseline: Vec<PathBuf>,
}

impl Options {
    /// Reads the key file; `None` if there is no directory for one.
    pub fn read_keys(&self) -> Option<(PathBuf, input::keys::file::Read)> {
        let path = self.keys.clone().or_else(input::keys::file::usual_path)?;
        let read = input::keys::file::read(&path, self.keys.is_some());
        Some((path, read))
    }
}

/// The dump to open.
#[derive(Debug)]
pub enum Source {
    /// A dump file, and how to open it.
    Path(PathBuf, engine::Options),
    /// A dump that is already open.
    Engine(Arc<dyn Machine>),
}

impl From<Arc<dyn Machine>> for Source {
    fn from(engine: Arc<dyn Machine>) -> Source {
        Source::Engine(engine)
    }
}

/// Why the UI ended without the user quitting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The dump cannot be opened. The terminal was not changed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// stdout is not a terminal.
    #[error(
        "stdout is not a terminal; use a text command, for example `poolscope poolused DUMP 2`"
    )]
    NoTerminal,
    /// The console does not accept control sequences.
    #[error(
        "this console can't draw the screens: use Windows Terminal or a console of Windows 10, or \
            a text command, for example `poolscope poolused DUMP 2`"
    )]
    PlainConsole,
    /// The terminal failed, or a thread could not start.
    #[error("the terminal can't be used: {0}")]
    Terminal(#[from] io::Error),
    /// A signal ended it; the terminal is restored.
    #[error("ended by signal {0}")]
    Signal(i32),
}

impl Error {
    /// The exit status.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Open(_) | Error::Terminal(_) => 1,
            Error::NoTerminal | Error::PlainConsole => 2,
            Error::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }

    /// True if no message is needed: the sender of a signal knows why the program ended.
    pub fn is_silent(&self) -> bool {
        matches!(self, Error::Signal(_))
    }
}

/// If opening a dump takes longer than this, a message says so.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(500);

/// Opens a dump and shows it until the user quits.
///
/// The terminal is taken over only after the dump is open, so that an open error appears on
/// a clean screen.
///
/// # Errors
/// An [`Error`]; the terminal is restored before it returns.
pub fn run(source: impl Into<Source>, options: Options) -> Result<(), Error> {
    let source = source.into();
    let opening: Arc<engine::Options> = match &source {
        Source::Path(_, options) => Arc::new(options.clone()),
        Source::Engine(_) => Arc::default(),
    };
    let engine = open(source)?;
    // After the dump: a wrong file name is the more useful error.
    if !io::stdout().is_terminal() {
        return Err(Error::NoTerminal);
    }
    if !takes_sequences() {
        return Err(Error::PlainConsole);
    }
    let variable = |name: &str| std::env::var(name).ok();
    let theme = Theme::detect(options.ascii, options.theme, variable);
    let term = variable("TERM").unwrap_or_default();
    // Windows consoles have no TERM, and all have an alternate screen.
    let one_screen = is_plain(&term) || term == "linux" || (term.is_empty() && !cfg!(windows));
    let model = Model::of(&*engine);
    let (sender, events) = mpsc::channel();
    let signals = sender.clone();
    terminal::signals::listen(move |signal| signals.send(Event::Signal(signal)).is_ok())?;
    let mut skills = Capabilities::of(&term);
    // The user asked for colours, so the terminal has them.
    skills.colours |= theme.is_coloured();
    // A VT100 has no mouse.
    let mouse = options.mouse && Capabilities::of(&term).colours && term != "linux";
    let mut screen = Screen::take(one_screen, mouse, skills)?;
    let mut app = App::new(model, theme, screen.size()?);
    app.mouse_on = mouse;
    app.opening = opening;
    if let Some((path, read)) = options.read_keys() {
        app.message = read.message(&path);
        app.keys = read.map;
    }
    screen.draw(|frame| view::draw(&app, frame))?;
    let store = match options.forget {
        true => Store::default(),
        false => Store::of_user(),
    };
    app.keeps_session = store.keeps();
    let files = Files::start(&engine, store, &sender)?;
    let workers = Workers::start(Arc::clone(&engine), 0, sender.clone(), files)?;
    let symbol_arrival = SymbolArrival::start(&engine, &sender)?;
    drop(engine);
    let keys = sender.clone();
    terminal_input::listen(move |input| keys.send(event_of(input)).is_ok())?;
    let mut session = Session {
        screen,
        workers,
        symbol_arrival,
        sender,
        own_stop: false,
    };
    if !options.baseline.is_empty() {
        for effect in app.start_with_baseline(options.baseline) {
            session.perform(&mut app, effect)?;
        }
    }
    match session.run(&mut app, &events) {
        Err(Error::Terminal(why)) => Err(lost(why, &events)),
        ended => ended,
    }
}

/// Converts terminal input to an event for the main loop.
fn event_of(input: io::Result<Input>) -> Event {
    match input {
        Ok(Input::Key(key)) => Event::Message(Message::Key(key)),
        Ok(Input::Mouse(mouse)) => Event::Message(Message::Mouse(mouse)),
        Ok(Input::Paste(text)) => Event::Message(Message::Paste(text)),
        Ok(Input::Resize(columns, rows)) => Event::Message(Message::Resize(columns, rows)),
        Err(why) => Event::InputLost(why),
    }
}

impl From<(PathBuf, engine::Options)> for Source {
    fn from((path, options): (PathBuf, engine::Options)) -> Source {
        Source::Path(path, options)
    }
}

fn open(source: Source) -> Result<Arc<dyn Machine>, Error> {
    let (path, options) = match source {
        Source::Engine(engine) => return Ok(engine),
        Source::Path(path, options) => (path, options),
    };
    let (done, opened) = mpsc::channel::<()>();
    let path = path.as_path();
    thread::scope(|scope| {
        let announce = move || {
            // The sender is dropped when the dump is open; only a timeout needs a message.
            if opened.recv_timeout(ANNOUNCE_AFTER) == Err(mpsc::RecvTimeoutError::Timeout) {
                let name = path.to_string_lossy();
                let _ = writeln!(io::stderr(), "opening {} ...", clean(&name));
            }
        };
        // Without this thread, a slow dump opens without a message.
        let _ = thread::Builder::new().spawn_scoped(scope, announce);
        let _done = done;
        Ok(crate::evidence::open(path, &options)?)
    })
}

/// The state of the main loop.
struct Session {
    screen: Screen,
    workers: Workers,
    /// Set while the kernel's PDB is missing.
    symbol_arrival: Option<SymbolArrival>,
    sender: Sender<Event>,
    /// The next SIGTSTP is the one that this program sent to its own job.
    own_stop: bool,
}

/// Whether the loop continues.
enum Next {
    Go,
    Quit,
}

/// Maximum number of events between two frames during a flood of events.
const EVENTS_PER_FRAME: usize = 512;

impl Session {
    fn run(&mut self, app: &mut App, events: &Receiver<Event>) -> Result<(), Error> {
        loop {
            // Cannot fail: `self` holds a sender.
            let Ok(first) = events.recv() else {
                return Ok(());
            };
            let waiting = std::iter::once(first).chain(events.try_iter());
            for event in waiting.take(EVENTS_PER_FRAME) {
                if let Next::Quit = self.take(app, event)? {
                    return Ok(());
                }
            }
            self.screen.draw(|frame| view::draw(app, frame))?;
        }
    }

    fn take(&mut self, app: &mut App, event: Event) -> Result<Next, Error> {
        let message = match event {
            Event::Message(message) => message,
            Event::Reopened(reopened) => self.swap(*reopened),
            Event::Signal(signal) => return self.signal(app, signal),
            Event::InputLost(why) => return Err(why.into()),
        };
        panic_on_demand(&message);
        for effect in app.update(message) {
            if let Next::Quit = self.perform(app, effect)? {
                return Ok(Next::Quit);
            }
        }
        Ok(Next::Go)
    }

    /// Switches to a new engine before any further request.
    fn swap(&mut self, reopened: Reopened) -> Message {
        let walk = self.workers.walk + 1;
        let files = self.workers.files.clone();
        match Workers::start(reopened.engine, walk, self.sender.clone(), files) {
            Ok(workers) => self.workers = workers,
            Err(why) => return Message::Notice(format!("the dump can't be read again: {why}")),
        }
        Message::Reopened(Box::new(Reopening {
            model: reopened.model,
            file: clean(&reopened.file.to_string_lossy()).into_owned(),
            walk,
        }))
    }

    fn perform(&mut self, app: &mut App, effect: Effect) -> Result<Next, Error> {
        match effect {
            Effect::Ask(request) => self.workers.ask(request),
            Effect::CancelIndex => self.workers.cancel_index(),
            Effect::CancelFetch => {
                if let Some(symbol_arrival) = &self.symbol_arrival {
                    symbol_arrival.cancel_fetch();
                }
            }
            Effect::Copy(text) => {
                if let Some(told) = self.screen.copy(&text)? {
                    app.message = Some(told);
                }
            }
            Effect::Keep(kept) => self.workers.keep(*kept),
            Effect::KeepSettings(settings) => self.workers.keep_settings(*settings),
            Effect::Mouse(on) => self.screen.report_mouse(on)?,
            Effect::Redraw => self.screen.redraw_all(),
            Effect::Suspend => self.suspend(app, true)?,
            Effect::Quit => {
                self.workers.keep_now(&app.to_keep());
                return Ok(Next::Quit);
            }
        }
        Ok(Next::Go)
    }

    fn signal(&mut self, app: &mut App, signal: i32) -> Result<Next, Error> {
        if terminal::signals::ends(signal) {
            return Err(Error::Signal(signal));
        }
        if terminal::signals::suspends(signal) {
            if !std::mem::take(&mut self.own_stop) {
                self.suspend(app, false)?;
            }
            return Ok(Next::Go);
        }
        // Continued: another program may have changed the terminal in the meantime.
        self.screen.enter()?;
        app.update(self.resized()?);
        Ok(Next::Go)
    }

    fn suspend(&mut self, app: &mut App, from_keyboard: bool) -> Result<(), Error> {
        self.screen.give_back();
        self.own_stop = from_keyboard;
        let stopped = terminal::signals::suspend(from_keyboard);
        self.screen.enter()?;
        app.update(self.resized()?);
        if !stopped {
            self.own_stop = false;
            app.update(Message::Notice(
                "suspend is not available: there is no shell to return to".into(),
            ));
        }
        Ok(())
    }

    fn resized(&self) -> io::Result<Message> {
        let (columns, rows) = self.screen.size()?;
        Ok(Message::Resize(columns, rows))
    }
}

/// A terminal that hangs up fails, and also sends a signal. The signal is the better explanation.
fn lost(why: io::Error, events: &Receiver<Event>) -> Error {
    let until = Instant::now() + Duration::from_millis(200);
    let left = || until.saturating_duration_since(Instant::now());
    while let Ok(event) = events.recv_timeout(left()) {
        if let Event::Signal(signal) = event
            && terminal::signals::ends(signal)
        {
            return Error::Signal(signal);
        }
    }
    Error::Terminal(why)
}

/// Panics on `!` if the variable is set, so that a test can check that a panic restores the
/// terminal. Only in builds for tests.
fn panic_on_demand(message: &Message) {
    if cfg!(feature = "synth")
        && let Message::Key(key) = message
    {
        let asked = key.code == crossterm::event::KeyCode::Char('!')
            && std::env::var_os("POOLSCOPE_TEST_PANIC").is_some();
        assert!(!asked, "the panic that a test asked for");
    }
}
