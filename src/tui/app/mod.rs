//! The state machine: takes messages, changes its state, and returns effects. It reads no
//! files, draws nothing and never blocks, so tests run it without a terminal.

pub mod actions;
mod answers;
pub mod baseline;
pub mod chooser;
pub mod columns;
pub mod command;
pub mod copy_view;
pub mod execute;
pub mod marks;
pub mod mouse;
pub mod navigation;
pub mod preview;
pub mod save;
pub mod screen;
pub mod session;
pub mod symbols;
pub mod view;

pub use screen::Screen;

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::engine::Options;
use crate::report::text::grouped;

use crate::tui::app::preview::PreviewState;
use crate::tui::app::screen::Location;
use crate::tui::data::columns as fields;
use crate::tui::data::mark::Mark;
use crate::tui::data::message::{Effect, Fetch, IndexNews, Message};
use crate::tui::data::model::Model;
use crate::tui::input::keys::{self, Action, Context, KeyMap};
use crate::tui::input::prompt::{History, Kind, Prompt};
use crate::tui::input::query::Field;
use crate::tui::screens::chooser as choosing;
use crate::tui::screens::copy_view::CopyView;
use crate::tui::screens::help::{self, HelpView};
use crate::tui::screens::layout;
use crate::tui::screens::modules::ModulesView;
use crate::tui::screens::report::ReportView;
use crate::tui::screens::tag::{Pane, TagView};
use crate::tui::screens::tags::Tags;
use crate::tui::terminal::theme::Theme;
use crate::tui::widgets::list::Cursor;

/// Everything that is on screen, and the path to it.
#[derive(Debug)]
pub struct App {
    /// The data of the dump.
    pub model: Model,
    /// Colours and characters.
    pub theme: Theme,
    /// The copy view, when it is open.
    pub copy_view: Option<CopyView>,
    /// The key bindings.
    pub keys: KeyMap,
    /// Terminal size in columns and rows.
    pub size: (u16, u16),
    /// The tag list, on the first screen.
    pub tags: Tags,
    /// On the first screen: the summary has the focus, not the tag list.
    pub summary_focused: bool,
    /// The screens above the first one, topmost last.
    pub stack: Vec<Screen>,
    /// The help, when it is open.
    pub help: Option<HelpView>,
    /// The line being typed.
    pub prompt: Option<Prompt>,
    /// The last search.
    pub search: String,
    /// A message to the user, shown until the next key.
    pub message: Option<String>,
    /// A failure of the dump file, shown whenever there is no other message.
    pub failure: Option<String>,
    /// The download of the kernel's PDB.
    pub fetch: Fetch,
    /// Progress of the walk.
    pub index: IndexNews,
    /// Number of blocks that the index lists.
    pub listed: u64,
    /// The user asked to stop the walk.
    pub stopping: bool,
    /// The previous location.
    pub last: Location,
    /// The marks.
    pub marks: Vec<Mark>,
    /// Some marks are not saved yet.
    pub(in crate::tui) marks_changed: bool,
    /// The focused pane fills the first screen.
    pub zoom: bool,
    /// The first screen shows the preview if there is room for it.
    pub shows_preview: bool,
    /// The preview of the selected tag.
    pub preview: PreviewState,
    /// The column chooser, when it is open.
    pub chooser: Option<Cursor>,
    /// Lines typed before, the latest last.
    pub history: History,
    /// Marks and notes are saved with the session.
    pub keeps_session: bool,
    /// The terminal reports the mouse.
    pub mouse_on: bool,
    /// How to open files for comparison.
    pub opening: Arc<Options>,
    /// The files of the baseline.
    pub(in crate::tui) baseline_paths: Vec<std::path::PathBuf>,
    /// The number of the comparison request; 0 for none.
    pub(in crate::tui) baseline_asked: u64,
    /// The user asked to quit once, and marks or notes would be lost.
    quit_asked: bool,
    /// A key was pressed: a restored session no longer moves the user.
    pub(in crate::tui) touched: bool,
    /// The number of the request that resolves a typed line; 0 for none.
    resolving: u64,
    last_number: u64,
    pub(in crate::tui) effects: Vec<Effect>,
}

impl App {
    /// The first screen of a dump.
    pub fn new(model: Model, theme: Theme, size: (u16, u16)) -> App {
        let mut app = App {
            model,
            theme,
            copy_view: None,
            keys: KeyMap::default(),
            size,
            tags: Tags::default(),
            summary_focused: false,
            stack: Vec::new(),
            help: None,
            prompt: None,
            search: String::new(),
            message: None,
            failure: None,
            fetch: Fetch::default(),
            index: IndexNews::default(),
            listed: 0,
            stopping: false,
            last: Location::default(),
            marks: Vec::new(),
            marks_changed: false,
            zoom: false,
            shows_preview: true,
            preview: PreviewState::default(),
            chooser: None,
            history: History::default(),
            keeps_session: true,
            mouse_on: false,
            opening: Arc::default(),
            baseline_paths: Vec::new(),
            baseline_asked: 0,
            quit_asked: false,
            touched: false,
            resolving: 0,
            last_number: 0,
            effects: Vec::new(),
        };
        app.tags.rearrange(&app.model);
        app.settle();
        app
    }

    /// Handles a message; returns the effects to execute.
    pub fn update(&mut self, message: Message) -> Vec<Effect> {
        match message {
            Message::Key(event) => self.key(&event),
            Message::Mouse(event) => self.mouse(&event),
            Message::Paste(text) => self.paste(&text),
            Message::NotKept(why) => {
                self.keeps_session = false;
                self.message = Some(why);
            }
            Message::Settings(settings) => self.take_settings(*settings),
            Message::Judged(walk, verdict) if walk == self.index.walk => {
                self.model.verdict = Some(verdict);
            }
            Message::Judged(..) => {}
            Message::Resize(columns, rows) => self.size = (columns, rows),
            Message::Index(news) => self.take_index(news),
            Message::ReferencedIn(walk, modules) if walk == self.index.walk => {
                self.model.take_referenced_in(&modules);
            }
            Message::Owners(walk, owners) if walk == self.index.walk => {
                self.model.take_owners(&owners);
            }
            Message::ReferencedIn(..) | Message::Owners(..) => {}
            Message::Answer(answer) => self.take_answer(answer),
            Message::Symbols(news) => self.take_symbols(news),
            Message::Reopened(reopening) => self.take_reopening(*reopening),
            Message::Notice(text) => self.message = Some(text),
            Message::FileFailed(why) => self.take_failure(&why),
            Message::Session(kept) => self.take_kept(*kept),
        }
        if std::mem::take(&mut self.marks_changed) {
            let kept = Box::new(self.to_keep());
            self.effects.push(Effect::Keep(kept));
        }
        self.settle();
        std::mem::take(&mut self.effects)
    }

    fn key(&mut self, event: &KeyEvent) {
        self.touched = true;
        if self.copy_view.is_some() {
            self.copy_view_key(event);
            return;
        }
        if self.prompt.is_some() {
            self.prompt_key(event);
            return;
        }
        self.message = None;
        let action = self.keys.action(self.context(), event);
        if action != Some(Action::Quit) {
            self.quit_asked = false;
        }
        match action {
            Some(action) => self.act(action),
            // On a slow line, Esc and the next key can arrive as one key with Alt.
            None if event.modifiers.contains(KeyModifiers::ALT) => {
                self.key(&KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
                self.key(&KeyEvent::new(
                    event.code,
                    event.modifiers - KeyModifiers::ALT,
                ));
            }
            None => {
                if let Some(key) = keys::Key::of(event) {
                    let help = self.keys.keys(self.context(), Action::Help);
                    let help = help.first().map_or_else(String::new, |help| {
                        format!("; {} shows the keys", help.name())
                    });
                    self.message = Some(format!("{} does nothing here{help}", key.name()));
                }
            }
        }
    }

    /// Handles text that the terminal pasted: it goes into the open line, or into a new
    /// one. It is never run as keys.
    fn paste(&mut self, text: &str) {
        self.touched = true;
        self.copy_view = None;
        // Terminals send a line end of pasted text as a carriage return.
        let lines = text.split(['\r', '\n']).map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty());
        let line = lines.next();
        let more = lines.count();
        let line: String = line
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        if line.is_empty() {
            return;
        }
        let opened = self.prompt.is_none();
        if opened {
            self.help = None;
            self.start(Kind::Command);
        }
        if let Some(prompt) = &mut self.prompt {
            prompt.insert(&line);
        }
        self.preview_now();
        let first = match more {
            0 => "pasted text".to_owned(),
            _ => format!("the first of {} pasted lines", more + 1),
        };
        if opened {
            self.message = Some(format!("{first}: Enter runs it as a command, Esc cancels"));
        } else if more > 0 {
            self.message = Some(first);
        }
    }

    /// Quits; asks once if marks or notes would be lost.
    pub(in crate::tui) fn quit(&mut self) {
        let lost = !self.keeps_session && !self.marks.is_empty();
        if lost && !std::mem::replace(&mut self.quit_asked, true) {
            self.message = Some(format!(
                "q again quits. Marks are not saved ({}): R, then w saves them in a report",
                match self.marks.len() {
                    1 => "1 row".to_owned(),
                    n => format!("{n} rows"),
                }
            ));
            return;
        }
        self.effects.push(Effect::Quit);
    }

    /// The context that keys go to.
    pub fn context(&self) -> Context {
        if self.prompt.is_some() {
            return Context::Prompt;
        }
        if self.help.is_some() {
            return Context::Help;
        }
        if self.chooser.is_some() {
            return Context::Columns;
        }
        self.screen_context()
    }

    /// The context of the screen, ignoring help and prompt.
    pub fn screen_context(&self) -> Context {
        match self.stack.last() {
            None if self.summary_focused => Context::Summary,
            None => Context::Tags,
            Some(Screen::Summary(_)) => Context::Summary,
            Some(Screen::Tag(view)) => match view.pane {
                Pane::Allocations => Context::Allocations,
                Pane::References => Context::References,
            },
            Some(Screen::Bytes(_)) => Context::Bytes,
            Some(Screen::Modules(_)) => Context::Modules,
            Some(Screen::Table(_)) => Context::Table,
            Some(Screen::Report(_)) => Context::Report,
            Some(Screen::Chart(_)) => Context::Chart,
        }
    }

    /// The user's choices about the first screen.
    pub fn wanted(&self) -> layout::Wanted {
        layout::Wanted {
            zoom: self.zoom,
            preview: self.shows_preview,
        }
    }

    /// The fields that a query can use on this screen.
    pub fn fields(&self) -> Vec<Field> {
        match self.stack.last() {
            None => fields::TAG.to_vec(),
            Some(Screen::Tag(_)) => fields::BLOCK.to_vec(),
            Some(Screen::Modules(_)) => fields::MODULE.to_vec(),
            Some(Screen::Table(table)) => table.fields(),
            _ => Vec::new(),
        }
    }

    /// The topic of the help.
    pub fn about<'a>(&'a self, fields: &'a [Field]) -> help::About<'a> {
        help::About {
            keys: &self.keys,
            context: self.screen_context(),
            fields,
        }
    }

    /// True while the walk may still find blocks.
    pub fn indexing(&self) -> bool {
        self.index.stage.is_running()
    }

    /// The WinDbg command that corresponds to this screen.
    pub fn command(&self) -> String {
        match self.stack.last() {
            None if self.summary_focused => "!vm 1".into(),
            None => self.tags.command(),
            Some(Screen::Summary(_)) => "!vm 1".into(),
            Some(Screen::Tag(view)) => view.command(&self.model),
            Some(Screen::Bytes(view)) => view.command(),
            Some(Screen::Modules(view)) => view.command(),
            Some(Screen::Table(table)) => table.command.clone(),
            Some(Screen::Report(view)) => match &view.typed {
                Some(request) => request.line(),
                None => String::new(),
            },
            Some(Screen::Chart(_)) => String::new(),
        }
    }

    /// The position in the focused list: `12/1,403`.
    pub fn position(&self) -> String {
        let of = |row: u64, all: u64| match all {
            0 => String::new(),
            _ => format!("{}/{}", grouped(row.saturating_add(1)), grouped(all)),
        };
        match self.stack.last() {
            None if self.summary_focused => String::new(),
            None => of(self.tags.cursor.row, self.tags.len()),
            Some(Screen::Tag(view)) => match view.pane {
                Pane::Allocations => of(view.cursor.row, view.len()),
                Pane::References => {
                    let rows = view.references.as_ref().map_or(0, |m| m.rows.len());
                    of(view.reference.row, rows as u64)
                }
            },
            Some(Screen::Modules(view)) => of(view.cursor.row, view.len()),
            Some(Screen::Table(table)) => of(table.cursor.row, table.len()),
            Some(Screen::Report(view)) => of(view.cursor.row, view.len(self.size.0)),
            Some(Screen::Chart(_)) => String::new(),
            Some(Screen::Bytes(view)) => match view.at.0.checked_sub(view.first.0) {
                Some(offset) => format!("+{offset:#x}"),
                None => format!("-{:#x}", view.first.0 - view.at.0),
            },
            Some(Screen::Summary(_)) => String::new(),
        }
    }

    pub(in crate::tui) fn tag_view(&mut self) -> Option<&mut TagView> {
        self.stack.iter_mut().rev().find_map(|screen| match screen {
            Screen::Tag(view) => Some(&mut **view),
            _ => None,
        })
    }

    /// Clamps cursors to the screen, and requests the memory that is visible.
    pub(in crate::tui) fn settle(&mut self) {
        let areas = layout::areas(self.size);
        let indexing = self.indexing();
        let list = layout::tag_list_height(&self.model, areas.body, self.wanted());
        self.tags.cursor.settle(self.tags.len(), list);
        if let Some(cursor) = &mut self.chooser {
            let rows = choosing::rows(self.model.baseline.is_some()).len() as u64;
            cursor.settle(rows, choosing::height(areas.body));
        }
        if let Some(view) = self.help {
            let fields = self.fields();
            let rows = help::len(self.about(&fields), view.page, areas.body);
            let last = rows.saturating_sub(help::height(areas.body));
            self.help = Some(HelpView {
                top: view.top.min(last),
                ..view
            });
        }
        let mut wanted = None;
        match self.stack.last_mut() {
            Some(Screen::Summary(top)) => {
                let rows = crate::tui::screens::summary::full(&self.model, areas.body.width).len();
                let height = u64::from(areas.body.height.saturating_sub(1));
                *top = (*top).min((rows as u64).saturating_sub(height));
            }
            Some(Screen::Tag(view)) => {
                let (left, right) = view.heights(areas.body, &self.model, indexing);
                let rows = view.len();
                view.cursor.settle(rows, left);
                let rows = view.references.as_ref().map_or(0, |m| m.rows.len() as u64);
                view.reference.settle(rows, right);
            }
            Some(Screen::Modules(view)) => {
                let rows = view.len();
                view.cursor.settle(rows, ModulesView::height(areas.body));
            }
            Some(Screen::Bytes(view)) => {
                let height = view.height(areas.body);
                view.settle(areas.body.width, height);
                wanted = view.wanted(height);
            }
            Some(Screen::Table(table)) => {
                let rows = table.len();
                let height = table.height(areas.body);
                table.cursor.settle(rows, height);
            }
            Some(Screen::Report(view)) => {
                let rows = view.len(areas.body.width);
                view.cursor.settle(rows, ReportView::height(areas.body));
            }
            Some(Screen::Chart(_)) | None => {}
        }
        if let Some((start, length)) = wanted {
            self.ask_bytes(start, length);
        }
        self.ask_screen();
        self.ask_preview();
    }
}
