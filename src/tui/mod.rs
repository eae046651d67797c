//! The terminal UI: the path from `!vm` to the driver, browsed.
//!
//! [`app::App`] is a state machine of plain data ([`data::model::Model`]): it takes a
//! [`data::message::Message`], changes, and names [`data::message::Effect`]s; [`app::view`]
//! draws it. Neither touches the dump or the terminal. [`jobs::worker`] reads the dump on
//! separate threads, [`data::event`] and [`terminal::signals`] bring everything into one
//! channel, and [`run`] ties them together: it waits, updates, draws once, and waits again.

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
use std::time::Duration;

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

/// How the UI should look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Draw with ASCII only, whatever the locale says.
    pub ascii: bool,
    /// Which colours.
    pub theme: terminal::theme::Choice,
    /// The file of keys, when it is not the usual one.
    pub keys: Option<PathBuf>,
    /// The mouse works, where the terminal has one; its own selection then needs Shift.
    pub mouse: bool,
    /// Keep nothing of this time, and take nothing of an earlier one.
    pub forget: bool,
    /// Earlier dumps, evidence files or logs to compare with, the earliest first.
    pub baseline: Vec<PathBuf>,
}

impl Options {
    /// Reads the file of keys; `None` when there is no place for one.
    pub fn read_keys(&self) -> Option<(PathBuf, input::keys::file::Read)> {
        let path = self.keys.clone().or_else(input::keys::file::usual_path)?;
        let read = input::keys::file::read(&path, self.keys.is_some());
        Some((path, read))
    }
}

/// What to open.
#[derive(Debug)]
pub enum Source {
    /// A dump, and how to open it.
    Path(PathBuf, engine::Options),
    /// A dump that is open already.
    Engine(Arc<dyn Machine>),
}

impl From<Arc<dyn Machine>> for Source {
    fn from(engine: Arc<dyn Machine>) -> Source {
        Source::Engine(engine)
    }
}

/// Why the UI ended other than by its user's wish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The dump can't be opened. The terminal was not touched.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no terminal to draw on.
    #[error(
        "stdout is not a terminal; use a text command, for example `poolscope poolused DUMP 2`"
    )]
    NoTerminal,
    /// The terminal takes no control sequences.
    #[error(
        "this console can't draw the screens: use Windows Terminal or a console of Windows 10, or \
            a text command, for example `poolscope poolused DUMP 2`"
    )]
    PlainConsole,
    /// The terminal failed, or a thread could not be started.
    #[error("the terminal can't be used: {0}")]
    Terminal(#[from] io::Error),
    /// A signal ended it; the terminal is restored.
    #[error("ended by signal {0}")]
    Signal(i32),
}

impl Error {
    /// The status to exit with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Open(_) | Error::Terminal(_) => 1,
            Error::NoTerminal | Error::PlainConsole => 2,
            Error::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }

    /// True when there is nothing to say: the sender of a signal knows.
    pub fn is_silent(&self) -> bool {
        matches!(self, Error::Signal(_))
    }
}

/// A dump that takes longer than this to open is announced.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(500);

/// Opens a dump and shows it until the user quits.
///
/// The terminal is taken over only once the dump is open, so what can't be opened is an
/// error on a clean screen.
///
/// # Errors
/// An [`Error`]; the terminal is restored before it returns.
pub fn run(source: impl Into<Source>, options: Options) -> Result<(), Error> {
    if !io::stdout().is_terminal() {
        return Err(Error::NoTerminal);
    }
    if !takes_sequences() {
        return Err(Error::PlainConsole);
    }
    let source = source.into();
    let opening: Arc<engine::Options> = match &source {
        Source::Path(_, options) => Arc::new(options.clone()),
        Source::Engine(_) => Arc::default(),
    };
    let engine = open(source)?;
    let variable = |name: &str| std::env::var(name).ok();
    let theme = Theme::detect(options.ascii, options.theme, variable);
    let term = variable("TERM").unwrap_or_default();
    // Windows has no names for its consoles; all have a second screen.
    let one_screen = is_plain(&term) || term == "linux" || (term.is_empty() && !cfg!(windows));
    let model = Model::of(&*engine);
    let (sender, events) = mpsc::channel();
    let signals = sender.clone();
    terminal::signals::listen(move |signal| signals.send(Event::Signal(signal)).is_ok())?;
    let mut skills = Capabilities::of(&term);
    // Who asks for colours knows that the terminal has them.
    skills.colours |= theme.is_coloured();
    // What is no more than a VT100 has no mouse.
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
    let pickup = SymbolArrival::start(&engine, &sender)?;
    drop(engine);
    let keys = sender.clone();
    terminal_input::listen(move |input| keys.send(event_of(input)).is_ok())?;
    let mut session = Session {
        screen,
        workers,
        pickup,
        sender,
        own_stop: false,
    };
    if !options.baseline.is_empty() {
        for effect in app.start_with_baseline(options.baseline) {
            session.perform(&mut app, effect)?;
        }
    }
    session.run(&mut app, &events)
}

/// What the terminal sent, for the main loop.
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
        scope.spawn(move || {
            // The sender's end is the news; only waiting too long is announced.
            if opened.recv_timeout(ANNOUNCE_AFTER) == Err(mpsc::RecvTimeoutError::Timeout) {
                let name = path.to_string_lossy();
                let _ = writeln!(io::stderr(), "opening {} ...", clean(&name));
            }
        });
        let _done = done;
        Ok(crate::evidence::open(path, &options)?)
    })
}

/// The main loop's belongings.
struct Session {
    screen: Screen,
    workers: Workers,
    /// While the kernel's PDB is missing.
    pickup: Option<SymbolArrival>,
    sender: Sender<Event>,
    /// The next SIGTSTP is the one that this program sent to its job.
    own_stop: bool,
}

/// How the loop goes on.
enum Next {
    Go,
    Quit,
}

/// A flood of events is drawn at least every so many.
const EVENTS_PER_FRAME: usize = 512;

impl Session {
    fn run(&mut self, app: &mut App, events: &Receiver<Event>) -> Result<(), Error> {
        loop {
            // All senders gone can't be: this has one.
            let Ok(first) = events.recv() else {
                return Ok(());
            };
            let waiting = std::iter::once(first).chain(events.try_iter());
            for event in waiting.take(EVENTS_PER_FRAME) {
                if let Next::Quit = self.take(app, event, events)? {
                    return Ok(());
                }
            }
            self.screen.draw(|frame| view::draw(app, frame))?;
        }
    }

    fn take(
        &mut self,
        app: &mut App,
        event: Event,
        events: &Receiver<Event>,
    ) -> Result<Next, Error> {
        let message = match event {
            Event::Message(message) => message,
            Event::Reopened(reopened) => self.swap(*reopened),
            Event::Signal(signal) => return self.signal(app, signal),
            Event::InputLost(why) => return Err(lost(why, events)),
        };
        panic_on_demand(&message);
        for effect in app.update(message) {
            if let Next::Quit = self.perform(app, effect)? {
                return Ok(Next::Quit);
            }
        }
        Ok(Next::Go)
    }

    /// Has another engine answer from now on, before anything is asked of it.
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
                if let Some(pickup) = &self.pickup {
                    pickup.cancel_fetch();
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
        // Continued: whoever had the terminal meanwhile may have changed it.
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

/// A terminal that hangs up ends the input and sends a signal: the signal says it better.
fn lost(why: io::Error, events: &Receiver<Event>) -> Error {
    while let Ok(event) = events.recv_timeout(Duration::from_millis(200)) {
        if let Event::Signal(signal) = event
            && terminal::signals::ends(signal)
        {
            return Error::Signal(signal);
        }
    }
    Error::Terminal(why)
}

/// Lets a test see that a panic restores the terminal: with the variable set, `!` panics.
/// Not in release builds.
fn panic_on_demand(message: &Message) {
    if cfg!(debug_assertions)
        && let Message::Key(key) = message
    {
        let asked = key.code == crossterm::event::KeyCode::Char('!')
            && std::env::var_os("POOLSCOPE_TEST_PANIC").is_some();
        assert!(!asked, "the panic that a test asked for");
    }
}
