//! The screen without a terminal: the state machine, its workers, and what is drawn.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use poolscope::engine::{Machine, OpenError, Options};
use poolscope::evidence;
use poolscope::tui::app::App;
use poolscope::tui::app::view;
use poolscope::tui::data::event::Event;
use poolscope::tui::data::message::{Effect, Message};
use poolscope::tui::data::model::Model;
use poolscope::tui::jobs::worker::Workers;
use poolscope::tui::persistence::files::Files;
use poolscope::tui::persistence::session::Store;
use poolscope::tui::terminal::theme::{Choice, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Answers that have not come by then don't come.
const PATIENCE: Duration = Duration::from_secs(300);
/// After so long without an event nothing more is on its way.
const QUIET: Duration = Duration::from_millis(40);

const COLUMNS: u16 = 120;
const ROWS: u16 = 40;

pub struct Screens {
    app: App,
    workers: Workers,
    events: Receiver<Event>,
    /// What was sent to the clipboard.
    pub copied: Vec<String>,
}

impl Screens {
    /// Opens a dump and waits until its pool is walked and judged.
    pub fn open(path: &Path) -> Result<Screens, OpenError> {
        Screens::open_with(path, &Options::default())
    }

    /// The same with these options.
    pub fn open_with(path: &Path, options: &Options) -> Result<Screens, OpenError> {
        let engine: Arc<dyn Machine> = evidence::open(path, options)?;
        let (sender, events) = mpsc::channel();
        let files = Files::start(&engine, Store::default(), &sender).unwrap();
        let workers = Workers::start(Arc::clone(&engine), 0, sender, files).unwrap();
        let theme = Theme::detect(false, Choice::Auto, |_| None);
        let mut app = App::new(Model::of(&*engine), theme, (COLUMNS, ROWS));
        // It comes when the selection has rested, which would make screens differ by time.
        app.shows_preview = false;
        let mut screens = Screens {
            app,
            workers,
            events,
            copied: Vec::new(),
        };
        let start = Instant::now();
        // The verdict is made after the walk; a dump without pool gets none.
        let computing = |screens: &Screens| {
            screens.app.index.stage.is_running() || screens.screen().contains("Verdict: computing")
        };
        while computing(&screens) {
            assert!(start.elapsed() < PATIENCE, "the walk does not end");
            screens.settle();
        }
        Ok(screens)
    }

    /// Takes what comes until a text is on the screen.
    pub fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        while !self.screen().contains(text) {
            assert!(start.elapsed() < PATIENCE, "{text} does not come");
            self.settle();
        }
    }

    /// Takes what comes until nothing comes any more.
    fn settle(&mut self) {
        let start = Instant::now();
        while let Ok(event) = self.events.recv_timeout(QUIET) {
            assert!(start.elapsed() < PATIENCE, "answers without end");
            if let Event::Message(message) = event {
                self.update(message);
            }
        }
    }

    fn update(&mut self, message: Message) {
        for effect in self.app.update(message) {
            match effect {
                Effect::Ask(request) => self.workers.ask(request),
                Effect::Copy(text) => self.copied.push(text),
                _ => {}
            }
        }
    }

    pub fn keys(&mut self, keys: &str) -> String {
        for key in keys.chars() {
            let code = match key {
                '\r' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                '\u{1b}' => KeyCode::Esc,
                c => KeyCode::Char(c),
            };
            self.update(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        }
        self.settle();
        self.screen()
    }

    /// What is drawn, a line per row; every cell's text as it would be sent.
    pub fn screen(&self) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, COLUMNS, ROWS));
        view::draw(&self.app, &mut buffer);
        let rows = buffer.content().chunks(usize::from(COLUMNS));
        let line = |row: &[ratatui::buffer::Cell]| -> String {
            row.iter().map(|cell| cell.symbol().to_owned()).collect()
        };
        rows.map(line).collect::<Vec<_>>().join("\n")
    }
}

/// The panes that read most of the dump.
pub fn short_tour(screens: &mut Screens) -> Vec<String> {
    let mut out = vec![screens.screen()];
    for keys in [
        "v\u{1b}M\r",
        "\u{1b}\u{1b}/Leak\r\r",
        "\t\r",
        "\u{1b}\t\r",
        "\t\t\u{1b}P",
        "\u{1b}s",
        "\u{1b}c",
        "\u{1b}f",
        "\u{1b}\u{1b}:objects Proc\r",
        "\u{1b}R",
    ] {
        out.push(screens.keys(keys));
    }
    out
}

/// Every pane, one after the other; what each shows.
pub fn tour(screens: &mut Screens) -> Vec<String> {
    let mut out = vec![screens.screen()];
    for keys in [
        // The summary, the modules and one's bytes, the drivers and one's tags.
        "v",
        "\u{1b}",
        "M",
        "\r",
        "\u{1b}",
        "\u{1b}",
        "D",
        "\r",
        "\u{1b}",
        "\u{1b}",
        // A tag, its references, an allocation as bytes, pointers and text, its page.
        "/Leak\r",
        "\r",
        "\t",
        "\r",
        "\u{1b}",
        "\t",
        "\r",
        "\t",
        "\t",
        "\u{1b}",
        "P",
        "\u{1b}",
        // Sizes, contents, families, objects.
        "s",
        "\u{1b}",
        "c",
        "\u{1b}",
        "f",
        "\u{1b}",
        "\u{1b}",
        ":objects Proc\r",
        "\u{1b}",
        ":poolused 4\r",
        ":lm\r",
        "\u{1b}",
        // The report with a mark.
        "x",
        "R",
        "y",
        "\u{1b}",
        "?",
        "\u{1b}",
    ] {
        out.push(screens.keys(keys));
    }
    out
}
