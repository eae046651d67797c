//! Navigation between screens: in, out, across, and back to the previous location.
//!
//! The tag list, the drivers, the modules, the marks and the report are peers: each starts
//! a new path. Going back still follows the history.

use crate::tui::app::screen::Location;
use crate::tui::app::{App, Screen};
use crate::tui::data::message::Question;
use crate::tui::data::table::{Opens, TableKind};
use crate::tui::screens::data_table::DataTable;
use crate::tui::screens::modules::ModulesView;
use crate::tui::screens::report::ReportView;
use crate::tui::screens::tag::TagView;

/// Maximum depth of the screen stack; going deeper drops the oldest screen.
const DEEPEST: usize = 64;

impl App {
    /// The path to this screen, for display.
    pub fn path(&self) -> Vec<String> {
        let mut out = vec!["Summary".to_owned()];
        if self.stack.is_empty() && self.summary_focused {
            return out;
        }
        let begins = self.stack.iter().rposition(Screen::begins_path);
        if begins.is_none() {
            out.push("Tags".into());
        }
        for screen in self.stack.iter().skip(begins.unwrap_or(0)) {
            screen.crumbs(&mut out);
        }
        out
    }

    /// Remembers the current location.
    pub(in crate::tui) fn leave(&mut self) {
        self.last = Location {
            stack: self.stack.clone(),
            summary_focused: self.summary_focused,
        };
    }

    /// Goes to a screen.
    pub(in crate::tui) fn go(&mut self, screen: Screen) {
        self.leave();
        self.stack.push(screen);
        if self.stack.len() > DEEPEST {
            self.stack.remove(0);
        }
    }

    /// Goes to the previous location; a second call returns.
    pub(in crate::tui) fn last_place(&mut self) {
        let here = Location {
            stack: std::mem::take(&mut self.stack),
            summary_focused: self.summary_focused,
        };
        let there = std::mem::replace(&mut self.last, here);
        self.stack = there.stack;
        self.summary_focused = there.summary_focused;
        // Answers that arrived while this screen was hidden were dropped.
        for screen in &mut self.stack {
            match screen {
                Screen::Table(table) => table.awaited = 0,
                Screen::Bytes(view) => view.awaited = None,
                Screen::Report(view) => view.awaited = 0,
                _ => {}
            }
        }
        self.ask_again();
    }

    /// Requests again what the open tag is still waiting for.
    fn ask_again(&mut self) {
        let Some(view) = self.tag_view() else {
            return;
        };
        let (tag, references) = (view.tag, view.references.is_none());
        if references {
            let number = self.ask(Question::References { tag });
            if let Some(view) = self.tag_view() {
                view.awaited.references = number;
            }
        }
        self.ask_blocks();
    }

    /// Goes to the tag list.
    pub(in crate::tui) fn show_tags(&mut self) {
        self.leave();
        self.stack.clear();
        self.summary_focused = false;
    }

    /// Goes to pool by driver.
    pub(in crate::tui) fn show_drivers(&mut self) {
        self.open_table(TableKind::Drivers);
    }

    /// Goes to the loaded modules.
    pub(in crate::tui) fn show_modules(&mut self) {
        let view = ModulesView::new(&self.model);
        self.go(Screen::Modules(view));
    }

    /// Goes to the report.
    pub(in crate::tui) fn show_report(&mut self) {
        self.go(Screen::Report(ReportView::default()));
    }

    /// Opens a table.
    pub(in crate::tui) fn open_table(&mut self, ask: TableKind) {
        let (crumb, command) = match &ask {
            TableKind::Drivers => ("Drivers".to_owned(), String::new()),
            TableKind::TagsOf(Some(module)) => (module.clone(), format!("lm m {module}")),
            TableKind::TagsOf(None) => ("no known owner".into(), String::new()),
            TableKind::Sizes(_) => ("sizes".into(), String::new()),
            TableKind::Frequency { column, .. } => (format!("each {column}"), String::new()),
            TableKind::Pointers { offset, .. } => (format!("at +{offset:#x}"), String::new()),
            TableKind::Page { va, .. } => (format!("page of {va}"), format!("!pool {va}")),
            TableKind::Contents(_) => ("contents".into(), String::new()),
            TableKind::Families(_) => ("families".into(), String::new()),
            TableKind::Objects(tag) => {
                let of_type = type_of(*tag).map(|name| format!("!handle 0 3 0 {name}"));
                ("objects".into(), of_type.unwrap_or_default())
            }
            TableKind::Stacks(_) => ("stacks".into(), "!verifier 80".into()),
            TableKind::Code { va, .. } => (format!("code at {va}"), format!("ub {va}")),
            TableKind::Counted => ("frequency".into(), String::new()),
            TableKind::Marks => ("Marks".into(), String::new()),
            TableKind::Points => ("Baseline".into(), String::new()),
            TableKind::ModuleChanges => ("Module changes".into(), "lm".into()),
        };
        let mut table = DataTable::new(ask, crumb, command);
        if table.ask == TableKind::Marks {
            table.take(self.marks_table());
        }
        self.fill_from_baseline(&mut table);
        self.go(Screen::Table(Box::new(table)));
    }

    /// Opens the selected row of a table.
    pub(in crate::tui) fn open_row(&mut self) {
        let Some(Screen::Table(table)) = self.stack.last_mut() else {
            return;
        };
        table.cursor.moved = true;
        match table.current().map(|row| row.opens.clone()) {
            None | Some(Opens::Nothing) => {
                self.message = Some("nothing further to open here; Esc goes back".into());
            }
            Some(Opens::Tag(tag, filter)) => self.open_part(tag, filter),
            Some(Opens::Table(ask)) => self.open_table(ask),
            Some(Opens::Filter(filter)) => {
                self.back();
                self.filter_here(&filter);
            }
            Some(Opens::Memory {
                title,
                about,
                va,
                length,
                session,
            }) => {
                let mut view = crate::tui::screens::bytes::BytesView::new(title, about, va, length);
                view.session = session;
                self.go(Screen::Bytes(Box::new(view)));
            }
        }
    }

    /// Opens a tag, with only the allocations that match a filter.
    pub(in crate::tui) fn open_part(&mut self, tag: crate::pool::Tag, filter: String) {
        let mut view = TagView::new(tag);
        view.filter.clone_from(&filter);
        view.base_filter = filter;
        view.awaited.references = self.ask(Question::References { tag });
        self.go(Screen::Tag(Box::new(view)));
        self.ask_blocks();
    }

    /// One step back: clears the filter first, then leaves the screen.
    pub(in crate::tui) fn back(&mut self) {
        match self.stack.last_mut() {
            Some(Screen::Tag(view)) if view.filter != view.base_filter => {
                view.filter.clone_from(&view.base_filter);
                self.ask_blocks();
                return;
            }
            Some(Screen::Table(table)) if !table.filter.is_empty() => {
                table.filter.clear();
                table.rearrange();
                return;
            }
            Some(Screen::Modules(view)) if !view.filter.is_empty() => {
                view.filter.clear();
                view.rearrange(&self.model);
                return;
            }
            _ => {}
        }
        if !self.stack.is_empty() {
            self.leave();
            self.stack.pop();
        } else if self.summary_focused {
            self.summary_focused = false;
        } else if !self.tags.filter.is_empty() || self.tags.unknown_only {
            self.tags.filter.clear();
            self.tags.unknown_only = false;
            self.tags.rearrange(&self.model);
        } else {
            self.message = Some("this is the first screen; q quits".into());
        }
    }
}

/// The type whose objects have a tag, for the types that are named otherwise; else the
/// tag's own letters.
fn type_of(tag: crate::pool::Tag) -> Option<&'static str> {
    const NAMES: [(&str, &str); 29] = [
        ("ALPC", "\"ALPC Port\""),
        ("Call", "Callback"),
        ("Debu", "DebugObject"),
        ("Desk", "Desktop"),
        ("Devi", "Device"),
        ("Dire", "Directory"),
        ("Driv", "Driver"),
        ("EtwR", "EtwRegistration"),
        ("Even", "Event"),
        ("File", "File"),
        ("IoCo", "IoCompletion"),
        ("Job", "Job"),
        ("Key", "Key"),
        ("KeyE", "KeyedEvent"),
        ("Muta", "Mutant"),
        ("PcwO", "PcwObject"),
        ("Powe", "PowerRequest"),
        ("Proc", "Process"),
        ("Sect", "Section"),
        ("Sema", "Semaphore"),
        ("Sess", "Session"),
        ("Symb", "SymbolicLink"),
        ("Thre", "Thread"),
        ("Time", "Timer"),
        ("Toke", "Token"),
        ("TpWo", "TpWorkerFactory"),
        ("Type", "Type"),
        ("Wind", "WindowStation"),
        ("WmiG", "WmiGuid"),
    ];
    let text = tag.to_string();
    let known = NAMES.iter().find(|(tag, _)| *tag == text.trim_end());
    known.map(|(_, name)| *name)
}
