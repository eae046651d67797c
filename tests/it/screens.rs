//! The UI without a terminal: the state machine, its workers, and the drawn screen.

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

/// Maximum time for answers.
const PATIENCE: Duration = Duration::from_secs(300);
/// If no event arrives for this long, no more are pending.
const QUIET: Duration = Duration::from_millis(40);

const COLUMNS: u16 = 120;
const ROWS: u16 = 40;

pub struct Screens {
    app: App,
    workers: Workers,
    events: Receiver<Event>,
    /// The owners of all tags have arrived; they follow the verdict.
    has_owners: bool,
    /// Texts sent to the clipboard.
    pub copied: Vec<String>,
}

impl Screens {
    /// Opens a dump and waits until its pool is walked and the verdict is known.
    pub fn open(path: &Path) -> Result<Screens, OpenError> {
        Screens::open_with(path, &Options::default())
    }

    /// The same with options.
    pub fn open_with(path: &Path, options: &Options) -> Result<Screens, OpenError> {
        let engine: Arc<dyn Machine> = evidence::open(path, options)?;
        let (sender, events) = mpsc::channel();
        let files = Files::start(&engine, Store::default(), &sender).unwrap();
        let workers = Workers::start(Arc::clone(&engine), 0, sender, files).unwrap();
        let theme = Theme::detect(false, Choice::Auto, |_| None);
        let mut app = App::new(Model::of(&*engine), theme, (COLUMNS, ROWS));
        // The preview appears when the selection rests, so screens would depend on timing.
        app.shows_preview = false;
        let mut screens = Screens {
            app,
            workers,
            events,
            has_owners: false,
            copied: Vec::new(),
        };
        let start = Instant::now();
        // The verdict follows the walk; a dump without pool gets none.
        let computing = |screens: &Screens| {
            screens.app.index.stage.is_running() || screens.screen().contains("Verdict: computing")
        };
        while computing(&screens) {
            assert!(start.elapsed() < PATIENCE, "the walk does not end");
            screens.settle();
        }
        Ok(screens)
    }

    /// Handles events until a text is on the screen.
    pub fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        while !self.screen().contains(text) {
            assert!(start.elapsed() < PATIENCE, "{text} does not come");
            self.settle();
        }
    }

    /// Handles events until the owners of all tags are known. Until then, the lists show the
    /// owners of the tag list.
    pub fn wait_for_owners(&mut self) {
        let start = Instant::now();
        while !self.has_owners {
            assert!(start.elapsed() < PATIENCE, "no owners arrive");
            self.settle();
        }
    }

    /// Handles events until no more arrive.
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
        self.has_owners |= matches!(message, Message::Owners(..));
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

    /// The screen, one line per row, with the text of each cell as it would be sent.
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

/// Opens the panes that read most of the dump.
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

/// Opens every pane, one after the other; returns the screens.
pub fn tour(screens: &mut Screens) -> Vec<String> {
    let mut out = vec![screens.screen()];
    for keys in [
        // The summary, the modules and the memory of one, the drivers and the tags of one.
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
        // A tag, its references, an allocation as bytes, pointers and text, and its page.
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
        // Sizes, contents, layouts, objects.
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
