//! Requests to the workers, and what the state machine does with their answers.

use super::{App, Screen};
use crate::memory::Va;
use crate::pool::Tag;
use crate::report::text::grouped;
use crate::tui::data::block_filter::BlockFilter;
use crate::tui::data::message::{Answer, Body, Effect, IndexNews, Question, Request};
use crate::tui::data::model::{Model, References};
use crate::tui::data::table::TableData;
use crate::tui::screens::tag::TagView;

impl App {
    /// Sends a question to a worker; returns the request number.
    pub(in crate::tui) fn ask(&mut self, question: Question) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        self.effects.push(Effect::Ask(Request { number, question }));
        number
    }

    /// Requests the allocations of the open tag with its current order, filter and pool.
    pub(in crate::tui) fn ask_blocks(&mut self) {
        let indexing = self.indexing();
        let model = &self.model;
        let listed = |tag| found_of(model, tag);
        let Some((tag, sort, filter, as_of)) = self.stack.iter().rev().find_map(|s| match s {
            Screen::Tag(v) => {
                let filter = BlockFilter::parse(&v.filter).ok().flatten();
                let filter = BlockFilter::in_pool(filter, v.pool);
                Some((v.tag, v.sort, filter, (listed(v.tag), indexing)))
            }
            _ => None,
        }) else {
            return;
        };
        let number = self.ask(Question::Blocks { tag, sort, filter });
        if let Some(view) = self.tag_view() {
            view.awaited.blocks = number;
            view.awaited.as_of = as_of;
            view.stale = None;
        }
    }

    /// Requests the allocations again if the index has more of the open tag than the screen
    /// shows.
    fn refresh_blocks(&mut self) {
        let now = |tag, app: &App| (found_of(&app.model, tag), app.indexing());
        let Some(view) = self.tag_view() else {
            return;
        };
        let (tag, as_of, busy) = (view.tag, view.awaited.as_of, view.awaited.blocks != 0);
        let stale = view.stale;
        let (found, running) = now(tag, self);
        let worse = running && stale.is_some_and(|before| found < before);
        if !busy && !worse && (stale.is_some() || (found, running) != as_of) {
            self.ask_blocks();
        }
    }

    /// Records a failure of the dump file. The message stays on screen, because data that
    /// is read from now on may be wrong.
    pub(super) fn take_failure(&mut self, why: &str) {
        self.add_warning(why);
        self.failure = Some(format!("! {why}"));
    }

    fn add_warning(&mut self, text: &str) {
        if !self.model.warnings.iter().any(|known| known == text) {
            self.model.warnings.push(text.to_owned());
        }
    }

    pub(super) fn take_index(&mut self, news: IndexNews) {
        if news.walk != self.index.walk {
            return;
        }
        if let Some(used) = news.used {
            self.model.used = used;
        }
        if let Some(totals) = &news.totals {
            self.listed = totals.listed;
            self.model.take_totals(totals);
            if !self.model.counted {
                self.tags.rearrange(&self.model);
            }
        }
        for note in news.notes.iter() {
            self.add_warning(note);
        }
        self.index = news;
        self.refresh_blocks();
        self.refresh_report();
    }

    pub(super) fn take_answer(&mut self, answer: Answer) {
        let number = answer.number;
        match answer.body {
            Body::Bytes(memory) => {
                for screen in &mut self.stack {
                    if let Screen::Bytes(view) = screen
                        && view.awaited.is_some_and(|(n, ..)| n == number)
                    {
                        view.take(memory);
                        return;
                    }
                }
            }
            Body::Failed(why) if self.preview.failed(number, &why) => {}
            Body::Failed(why) => {
                if let Some(view) = self.tag_view() {
                    fail_tag_request(view, number, &why);
                }
                self.fail_screen(number, &why);
                self.message = Some(why);
            }
            Body::Table(data) => {
                for screen in &mut self.stack {
                    if let Screen::Table(table) = screen
                        && table.awaited == number
                    {
                        table.take(data);
                        return;
                    }
                }
            }
            Body::Report { text, whole } => {
                for screen in &mut self.stack {
                    if let Screen::Report(view) = screen
                        && view.awaited == number
                    {
                        view.awaited = 0;
                        view.whole = whole;
                        view.text = Some(text);
                        break;
                    }
                }
                // The walk may have ended before this answer, which is from an earlier state.
                self.refresh_report();
            }
            Body::Baseline(baseline) if number == self.baseline_asked => {
                self.take_baseline(*baseline);
            }
            Body::Preview(preview) => self.preview.take(number, *preview),
            Body::Resolved(requests) if number == self.resolving => {
                self.message = None;
                self.run_all(requests);
            }
            Body::Saved { path, bytes } => {
                self.message = Some(format!("{path} written, {} bytes", grouped(bytes)));
            }
            body => {
                if let Some(view) = self.tag_view() {
                    let told = take_tag_answer(view, number, body);
                    if told.is_some() {
                        self.message = told;
                    }
                }
                self.refresh_blocks();
            }
        }
    }

    /// Requests the table or report on screen, unless its answer has arrived or is on the way.
    pub(super) fn ask_screen(&mut self) {
        let question = match self.stack.last() {
            Some(Screen::Table(table)) if table.data.is_none() && table.awaited == 0 => {
                Question::Table(table.ask.clone())
            }
            Some(Screen::Report(view)) if view.text.is_none() && view.awaited == 0 => {
                match &view.typed {
                    Some(request) => Question::Typed(request.clone()),
                    None => Question::Report {
                        marks: self.marks_in_words(),
                    },
                }
            }
            _ => return,
        };
        let running = self.indexing();
        let number = self.ask(question);
        // Workers answer only the newest request of each kind.
        for screen in &mut self.stack {
            if let Screen::Table(table) = screen {
                table.awaited = 0;
            }
        }
        match self.stack.last_mut() {
            Some(Screen::Table(table)) => table.awaited = number,
            Some(Screen::Report(view)) => {
                view.awaited = number;
                view.early = running;
            }
            _ => {}
        }
    }

    /// Requests the report again when the walk is done, if it was made during the walk.
    fn refresh_report(&mut self) {
        let running = self.indexing();
        if let Some(Screen::Report(view)) = self.stack.last_mut()
            && view.text.is_some()
            && view.typed.is_none()
            && view.early
            && !running
            && view.awaited == 0
        {
            let marks = self.marks_in_words();
            let number = self.ask(Question::Report { marks });
            if let Some(Screen::Report(view)) = self.stack.last_mut() {
                view.awaited = number;
                // The next report is final.
                view.early = false;
            }
        }
    }

    /// Shows why a table or report request failed, in place of its contents.
    fn fail_screen(&mut self, number: u64, why: &str) {
        for screen in &mut self.stack {
            match screen {
                Screen::Table(table) if table.awaited == number => table.take(TableData {
                    title: why.to_owned(),
                    ..TableData::default()
                }),
                Screen::Report(view) if view.awaited == number => {
                    view.awaited = 0;
                    view.whole = true;
                    view.text = Some(match view.typed {
                        Some(_) => why.to_owned(),
                        None => format!("There is no report: {why}"),
                    });
                }
                _ => {}
            }
        }
    }

    pub(super) fn ask_bytes(&mut self, start: Va, length: u64) {
        let session = match self.stack.last() {
            Some(Screen::Bytes(view)) => view.session,
            _ => None,
        };
        let number = self.ask(Question::Bytes {
            start,
            length,
            session,
        });
        if let Some(Screen::Bytes(view)) = self.stack.last_mut() {
            view.awaited = Some((number, start, length));
        }
    }
}

fn found_of(model: &Model, tag: Tag) -> u64 {
    model.tag(tag).map_or(0, |row| row.found.listed())
}

/// Shows why a request of the open tag failed, in place of the result.
fn fail_tag_request(view: &mut TagView, number: u64, why: &str) {
    if view.awaited.blocks == number {
        view.awaited.blocks = 0;
        view.view.get_or_insert_default();
        view.covered.sentences = vec![why.to_owned()];
    }
    if view.awaited.references == number {
        view.awaited.references = 0;
        view.references = Some(References {
            failed: Some(why.to_owned()),
            ..References::default()
        });
    }
}

/// Applies an answer to the open tag; drops answers to older requests. Returns a message
/// for the user.
fn take_tag_answer(view: &mut TagView, number: u64, body: Body) -> Option<String> {
    match body {
        Body::Blocks {
            view: list,
            covered,
            shape,
        } if view.awaited.blocks == number => {
            view.awaited.blocks = 0;
            view.shape = shape;
            view.take_view(list, covered);
        }
        Body::References(references) if view.awaited.references == number => {
            view.awaited.references = 0;
            view.take_references(references);
        }
        Body::Found(row) if view.awaited.found == number => {
            view.awaited.found = 0;
            let Some(row) = row else {
                return Some("no allocation matches".into());
            };
            view.cursor.to(row);
            view.remember();
        }
        _ => {}
    }
    None
}
