//! Simulates a user, a terminal and the workers.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use crate::pool::index::Totals;
use crate::tui::app::App;
use crate::tui::app::view;
use crate::tui::data::blocks::BlockView;
use crate::tui::data::message::{
    Answer, Body, Effect, IndexNews, Message, Question, Request, Stage,
};
use crate::tui::data::model::{Covered, Model};
use crate::tui::fixture::{self, Planted};
use crate::tui::terminal::theme::Theme;

use super::FINE;

/// A simulated user, terminal and workers.
pub(super) struct Desk {
    pub(super) app: App,
    /// Unanswered requests.
    pub(super) asked: Vec<Request>,
    pub(super) effects: Vec<Effect>,
    pub(super) blocks: u64,
    /// The result of the walk.
    pub(super) found: Arc<Totals>,
}

impl Desk {
    pub(super) fn new(size: (u16, u16)) -> Desk {
        Desk::with(fixture::model(), FINE, size)
    }

    pub(super) fn with(model: Model, theme: Theme, size: (u16, u16)) -> Desk {
        Desk {
            found: Arc::new(fixture::totals(&model)),
            app: App::new(model, theme, size),
            asked: Vec::new(),
            effects: Vec::new(),
            blocks: 601,
        }
    }

    pub(super) fn tell(&mut self, message: Message) {
        for effect in self.app.update(message) {
            match effect {
                Effect::Ask(request) => self.asked.push(request),
                other => self.effects.push(other),
            }
        }
    }

    pub(super) fn press(&mut self, code: KeyCode) -> &mut Desk {
        self.tell(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        self
    }

    pub(super) fn ctrl(&mut self, c: char) -> &mut Desk {
        self.tell(Message::Key(KeyEvent::new(
            KeyCode::Char(c),
            KeyModifiers::CONTROL,
        )));
        self
    }

    /// Types letters; the workers answer after each one.
    pub(super) fn keys(&mut self, text: &str) -> &mut Desk {
        for c in text.chars() {
            self.press(KeyCode::Char(c));
            self.answer();
        }
        self
    }

    pub(super) fn enter(&mut self) -> &mut Desk {
        self.press(KeyCode::Enter);
        self.answer();
        self
    }

    /// Answers all requests.
    pub(super) fn answer(&mut self) {
        for _ in 0..10 {
            for request in std::mem::take(&mut self.asked) {
                let body = self.body(&request.question);
                let number = request.number;
                self.tell(Message::Answer(Answer { number, body }));
            }
        }
    }

    pub(super) fn body(&self, question: &Question) -> Body {
        match question {
            Question::Blocks { sort, filter, .. } => {
                let keep = filter
                    .clone()
                    .map(|f| move |b: &crate::pool::Block| f.block(b));
                let keep = keep
                    .as_ref()
                    .map(|k| k as crate::tui::data::blocks::Keep<'_>);
                let planted = Arc::new(Planted { count: self.blocks });
                Body::Blocks {
                    shape: fixture::shape(),
                    view: BlockView::arrange(planted, *sort, keep, &|| true).unwrap(),
                    covered: Covered {
                        sentences: vec![
                            "nonpaged: kernel counters: 601 blocks / 615,424,000 bytes, all located"
                                .into(),
                        ],
                        whole: true,
                    },
                }
            }
            Question::Find {
                view,
                from,
                forward,
                filter,
            } => Body::Found(
                crate::tui::widgets::list::around(view.len(), *from, *forward)
                    .find(|&row| view.get(row).is_some_and(|b| filter.block(&b))),
            ),
            Question::References { .. } => Body::References(fixture::references()),
            Question::Bytes { start, length, .. } => Body::Bytes(fixture::bytes(*start, *length)),
            Question::Preview { tag } => Body::Preview(Box::new(fixture::preview(*tag))),
            Question::Baseline { .. } => Body::Baseline(Box::new(fixture::baseline())),
            Question::Table(ask) => Body::Table(fixture::table(ask)),
            Question::Resolve(requests) => Body::Resolved(requests.clone()),
            Question::Typed(request) => Body::Report {
                text: format!("the answer of {}", request.line()),
                whole: true,
            },
            Question::Report { marks } => Body::Report {
                text: fixture::report(marks),
                whole: self.app.index.stage == Stage::Done,
            },
            Question::Save(job) => Body::Saved {
                path: job.path.display().to_string(),
                bytes: 42,
            },
        }
    }

    /// The walk is done and found everything.
    pub(super) fn walked(&mut self) -> &mut Desk {
        self.tell(Message::Index(IndexNews {
            stage: Stage::Done,
            pages_done: 200_000,
            pages_all: 200_000,
            elapsed: Duration::from_millis(1500),
            totals: Some(Arc::clone(&self.found)),
            walk: self.app.index.walk,
            ..IndexNews::default()
        }));
        self.answer();
        self
    }

    pub(super) fn walking(&mut self) -> &mut Desk {
        self.tell(Message::Index(IndexNews {
            stage: Stage::Walking,
            pages_done: 86_000,
            pages_all: 200_000,
            elapsed: Duration::from_millis(640),
            walk: self.app.index.walk,
            ..IndexNews::default()
        }));
        self.answer();
        self
    }

    pub(super) fn draw(&self) -> Terminal<TestBackend> {
        let (columns, rows) = self.app.size;
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal
            .draw(|frame| view::draw(&self.app, frame.buffer_mut()))
            .unwrap();
        terminal
    }

    pub(super) fn screen(&self) -> String {
        self.draw().backend().to_string()
    }

    pub(super) fn status(&self) -> String {
        self.app.message.clone().unwrap_or_default()
    }

    pub(super) fn tag(&self) -> String {
        let row = self.app.tags.current(&self.app.model);
        row.map_or(String::new(), |r| r.usage.tag.to_string())
    }
}
