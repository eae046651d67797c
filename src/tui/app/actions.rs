//! What each key does to the state.

use crate::pool::{Block, Tag};
use crate::report::text::grouped;

use crate::tui::app::{App, Screen};
use crate::tui::data::message::Effect;
use crate::tui::data::message::Fetch;
use crate::tui::data::order::SortBy;
use crate::tui::data::table::TableKind;
use crate::tui::input::keys::Action;
use crate::tui::input::prompt::Kind;
use crate::tui::screens::bytes::{BytesFormat, BytesView};
use crate::tui::screens::help::{self, HelpView};
use crate::tui::screens::layout;
use crate::tui::screens::modules::ModulesView;
use crate::tui::screens::report::ReportView;
use crate::tui::screens::tag::{Pane, TagView, pool_word};
use crate::tui::widgets::list::Cursor;

/// A movement within a list.
#[derive(Clone, Copy, Debug)]
pub(in crate::tui) enum Move {
    Lines(i64),
    Screens(i64),
    First,
    Last,
}

impl App {
    /// Runs the action that a key is bound to.
    pub(in crate::tui) fn act(&mut self, action: Action) {
        match action {
            Action::Up => self.travel(Move::Lines(-1)),
            Action::Down => self.travel(Move::Lines(1)),
            Action::PageUp => self.travel(Move::Screens(-1)),
            Action::PageDown => self.travel(Move::Screens(1)),
            Action::Home => self.travel(Move::First),
            Action::End => self.travel(Move::Last),
            Action::Open => self.open(),
            Action::Back => self.back(),
            Action::NextPane => self.next_pane(),
            Action::Summary => self.go(Screen::Summary(0)),
            Action::Modules => self.show_modules(),
            Action::Drivers => self.show_drivers(),
            Action::Report => self.show_report(),
            Action::TagList => self.show_tags(),
            Action::Marks => self.open_table(TableKind::Marks),
            Action::LastPlace => self.last_place(),
            Action::Zoom => self.zoom(),
            Action::Sizes => self.open_of_tag(TableKind::Sizes),
            Action::Contents => self.open_of_tag(TableKind::Contents),
            Action::Families => self.open_of_tag(TableKind::Families),
            Action::Objects => self.open_of_tag(TableKind::Objects),
            Action::Stacks => self.open_of_tag(TableKind::Stacks),
            Action::Page => self.page(),
            Action::Disassembly => self.disassembly(),
            Action::ColumnLeft => self.step_column(-1),
            Action::ColumnRight => self.step_column(1),
            Action::SortColumn => self.sort_column(),
            Action::Like => self.like_this(),
            Action::Frequency => self.frequency(),
            Action::Command => self.start(Kind::Command),
            Action::Mark => self.toggle_mark(),
            Action::Note => self.start(Kind::Note),
            Action::Save => self.start(Kind::Save),
            Action::Pool => self.next_pool(),
            Action::PreviousBlock => self.neighbour(-1),
            Action::NextBlock => self.neighbour(1),
            Action::Goto => self.start(Kind::Goto),
            Action::Search => self.start(Kind::Search),
            Action::Filter => self.start(Kind::Filter),
            Action::SearchNext => self.find(true, false),
            Action::SearchPrevious => self.find(false, false),
            Action::Copy => self.copy(),
            Action::CopyView => self.show_copy_view(),
            Action::Help => self.help = Some(HelpView::default()),
            Action::HelpPage => {
                let page = self.help.unwrap_or_default().page.next();
                self.help = Some(HelpView { page, top: 0 });
            }
            Action::History => self.show_history(),
            Action::Cancel if self.help.is_some() => self.help = None,
            Action::Cancel => self.chooser = None,
            Action::Columns => self.open_chooser(),
            Action::ChangeColumn => self.change_column(),
            Action::ResetColumns => self.reset_columns(),
            Action::Preview => self.toggle_preview(),
            Action::SortChange => self.sort_by_change(),
            Action::Accept | Action::Complete | Action::HistoryBack | Action::HistoryOn => {}
            Action::Quit => self.quit(),
            Action::Mouse => {
                self.mouse_on = !self.mouse_on;
                self.effects.push(Effect::Mouse(self.mouse_on));
                self.message = Some(
                    match self.mouse_on {
                        true => "mouse on; the terminal's own selection needs Shift",
                        false => "mouse off; the terminal's own selection works",
                    }
                    .into(),
                );
            }
            Action::Interrupt => self.interrupt(),
            Action::Suspend => self.effects.push(Effect::Suspend),
            Action::Redraw => self.effects.push(Effect::Redraw),
            sort => self.reorder(sort),
        }
    }

    fn reorder(&mut self, action: Action) {
        let by = match action {
            Action::UnknownOnly => {
                self.tags.unknown_only = !self.tags.unknown_only;
                self.tags.rearrange(&self.model);
                None
            }
            Action::SortBytes => Some(SortBy::Bytes),
            Action::SortAllocs => Some(SortBy::Allocs),
            Action::SortFrees => Some(SortBy::Frees),
            Action::SortDiff => Some(SortBy::Diff),
            Action::SortPerAlloc => Some(SortBy::PerAlloc),
            Action::SortTag => Some(SortBy::Tag),
            Action::SortSize => return self.sort_blocks(true),
            Action::SortAddress => return self.sort_blocks(false),
            _ => None,
        };
        if let Some(by) = by {
            self.tags.sort_by(&self.model, by);
        }
        self.message = Some(format!(
            "{}: {} tags",
            self.tags.words(),
            grouped(self.tags.len())
        ));
    }

    fn open_of_tag(&mut self, ask: fn(Tag) -> TableKind) {
        if let Some(view) = self.tag_view() {
            let tag = view.tag;
            self.open_table(ask(tag));
        }
    }

    /// Opens the disassembly around the selected reference.
    fn disassembly(&mut self) {
        let Some(view) = self.tag_view() else {
            return;
        };
        let (tag, at) = (view.tag, usize::try_from(view.reference.row).ok());
        let rows = view.references.as_ref().map(|m| &m.rows);
        match rows.zip(at).and_then(|(rows, at)| rows.get(at)) {
            Some(row) if row.in_code => {
                let va = row.va;
                self.open_table(TableKind::Code { tag, va });
            }
            Some(_) => self.message = Some("this reference is in data, not in code".into()),
            None => self.message = Some("no reference is selected".into()),
        }
    }

    /// Switches to the next pool, in the list on screen or in the tag list.
    fn next_pool(&mut self) {
        match self.stack.last_mut() {
            Some(Screen::Tag(view)) => {
                view.pool = view.pool.next();
                view.to_top();
                let words = view.pool.words();
                self.message = Some(format!("allocations of {words}"));
                self.ask_blocks();
                return;
            }
            Some(Screen::Table(table)) => {
                if table.next_pool() {
                    self.message = Some(table.words().trim_start_matches(", ").to_owned());
                    return;
                }
                self.show_tags();
            }
            Some(_) => self.show_tags(),
            None => {}
        }
        self.summary_focused = false;
        self.tags.next_pool(&self.model);
        self.message = Some(format!(
            "{}: {} tags",
            self.tags.words(),
            grouped(self.tags.len())
        ));
    }

    /// Gives the whole screen to the focused pane, or shows all panes again.
    fn zoom(&mut self) {
        match self.stack.last_mut() {
            Some(Screen::Tag(view)) => view.zoom = !view.zoom,
            Some(Screen::Report(view)) => view.turn_all(),
            None => self.zoom = !self.zoom,
            _ => {}
        }
    }

    /// Shows the page that contains the selected address.
    fn page(&mut self) {
        let place = match self.stack.last() {
            Some(Screen::Tag(view)) => view.current().map(|b| (b.va, b.session)),
            Some(Screen::Bytes(view)) => Some((view.at, view.session)),
            _ => None,
        };
        match place {
            Some((va, session)) => self.open_table(TableKind::Page { va, session }),
            None => self.message = Some("no allocation is selected".into()),
        }
    }

    pub(in crate::tui) fn sort_blocks(&mut self, by_size: bool) {
        let Some(Screen::Tag(view)) = self.stack.last_mut() else {
            return;
        };
        view.sort.descending = if view.sort.by_size == by_size {
            !view.sort.descending
        } else {
            by_size
        };
        view.sort.by_size = by_size;
        view.to_top();
        self.ask_blocks();
    }

    pub(in crate::tui) fn travel(&mut self, how: Move) {
        let areas = layout::areas(self.size);
        if let Some(view) = &mut self.help {
            view.top = scrolled(view.top, how, help::height(areas.body));
            return;
        }
        if self.travel_chooser(how) {
            return;
        }
        let (indexing, wanted) = (self.indexing(), self.wanted());
        match self.stack.last_mut() {
            None if self.summary_focused => {}
            None => {
                let height = layout::tag_list_height(&self.model, areas.body, wanted);
                let rows = self.tags.len();
                moved(&mut self.tags.cursor, how, rows, height);
                self.tags.cursor.settle(rows, height);
                self.tags.remember(&self.model);
            }
            Some(Screen::Summary(top)) => {
                *top = scrolled(*top, how, areas.body.height.saturating_sub(1).into());
            }
            Some(Screen::Tag(view)) => {
                let heights = view.heights(areas.body, &self.model, indexing);
                travel_tag(view, how, heights);
            }
            Some(Screen::Modules(view)) => {
                let rows = view.len();
                moved(&mut view.cursor, how, rows, ModulesView::height(areas.body));
            }
            Some(Screen::Table(table)) => {
                let rows = table.len();
                let height = table.height(areas.body);
                moved(&mut table.cursor, how, rows, height);
            }
            Some(Screen::Report(view)) => {
                let rows = view.len(areas.body.width);
                moved(&mut view.cursor, how, rows, ReportView::height(areas.body));
            }
            Some(Screen::Chart(_)) => {}
            Some(Screen::Bytes(view)) => {
                let height = view.height(areas.body).max(2) as i64 - 1;
                match how {
                    Move::Lines(n) => view.by(n, false),
                    Move::Screens(n) => view.by(n * height, true),
                    Move::First => view.to_end(false),
                    Move::Last => view.to_end(true),
                }
            }
        }
    }

    pub(in crate::tui) fn open(&mut self) {
        match self.stack.last() {
            None if self.summary_focused => self.go(Screen::Summary(0)),
            None => {
                if let Some(row) = self.tags.current(&self.model) {
                    let tag = row.usage.tag;
                    self.tags.cursor.moved = true;
                    self.tags.remember(&self.model);
                    self.open_part(tag, String::new());
                }
            }
            Some(Screen::Summary(_) | Screen::Chart(_)) => {
                self.message = Some("nothing further to open here; Esc goes back".into());
            }
            Some(Screen::Report(_)) => self.open_report_line(),
            Some(Screen::Table(_)) => self.open_row(),
            Some(Screen::Bytes(_)) => self.follow(),
            Some(_) => {
                if let Some(view) = self.bytes_of_row() {
                    self.go(Screen::Bytes(Box::new(view)));
                }
            }
        }
    }

    /// Folds or unfolds a report section, or runs the command of a next step.
    fn open_report_line(&mut self) {
        let width = layout::areas(self.size).body.width;
        let Some(Screen::Report(view)) = self.stack.last_mut() else {
            return;
        };
        if view.turn(width) {
            return;
        }
        match view.command(width) {
            Some(command) => self.command_line(&command),
            None => {
                self.message = Some(
                    "Enter folds the section of a heading and runs the command of a step".into(),
                );
            }
        }
    }

    /// The memory of the selected row in the topmost list.
    fn bytes_of_row(&self) -> Option<BytesView> {
        self.stack.iter().rev().find_map(|screen| match screen {
            Screen::Tag(view) => Some(match view.pane {
                Pane::Allocations => bytes_of_block(&view.current()?),
                Pane::References => {
                    let references = view.references.as_ref()?;
                    let row = references
                        .rows
                        .get(usize::try_from(view.reference.row).ok()?)?;
                    let about = format!(
                        "{} references {} here, in {} {}; {}: {}",
                        row.module,
                        view.tag,
                        row.section,
                        row.kind(),
                        row.confidence,
                        row.reason
                    );
                    BytesView::new(row.place(), about, row.va, None).with_lines_before()
                }
            }),
            Screen::Modules(view) => {
                let module = view.current(&self.model)?;
                let about = format!("{}: {}", module.name, module.path);
                let length = module.end.0.wrapping_sub(module.base.0);
                Some(BytesView::new(
                    module.name.clone(),
                    about,
                    module.base,
                    Some(length),
                ))
            }
            _ => None,
        })
    }

    /// In the memory view: goes to the target of the pointer on the selected line.
    fn follow(&mut self) {
        let Some(Screen::Bytes(view)) = self.stack.last_mut() else {
            return;
        };
        if view.shape != BytesFormat::Pointers {
            let areas = layout::areas(self.size);
            let height = view.height(areas.body);
            while view.shape != BytesFormat::Pointers {
                view.toggle(areas.body.width, height);
            }
            self.message = Some("shown as pointers; Enter follows the one on this line".into());
            return;
        }
        let Some(target) = view.target() else {
            self.message = Some("no kernel address on this line".into());
            return;
        };
        let name = view.target_name().unwrap_or("").to_owned();
        let title = match name.is_empty() {
            true => target.to_string(),
            false => name.clone(),
        };
        let about = format!(
            "pointed at from {}{}",
            view.at,
            if name.is_empty() {
                String::new()
            } else {
                format!(": {name}")
            }
        );
        let mut next = BytesView::new(title, about, target, None);
        if name.contains("pool") {
            next.shape = BytesFormat::Pointers;
        }
        next.to(target);
        self.go(Screen::Bytes(Box::new(next.with_lines_before())));
    }

    fn neighbour(&mut self, step: i64) {
        let Some(Screen::Bytes(old)) = self.stack.last() else {
            return;
        };
        let shape = old.shape;
        let below = self.stack.len().saturating_sub(2);
        let moved = match self.stack.get_mut(below) {
            Some(Screen::Tag(view)) => {
                let rows = view.references.as_ref().map_or(0, |m| m.rows.len() as u64);
                let (cursor, rows) = match view.pane {
                    Pane::Allocations => {
                        (&mut view.cursor, view.view.as_ref().map_or(0, |v| v.len()))
                    }
                    Pane::References => (&mut view.reference, rows),
                };
                let moved = stepped(cursor, step, rows);
                view.remember();
                moved
            }
            Some(Screen::Modules(view)) => {
                let rows = view.len();
                stepped(&mut view.cursor, step, rows)
            }
            _ => false,
        };
        if !moved {
            self.message = Some("no more rows in the list".into());
            return;
        }
        let Some(Screen::Bytes(old)) = self.stack.pop() else {
            return;
        };
        match self.bytes_of_row() {
            Some(mut view) => {
                view.shape = shape;
                view.to(view.first);
                self.stack.push(Screen::Bytes(Box::new(view)));
            }
            None => self.stack.push(Screen::Bytes(old)),
        }
    }

    fn next_pane(&mut self) {
        let areas = layout::areas(self.size);
        match self.stack.last_mut() {
            None => self.summary_focused = !self.summary_focused,
            Some(Screen::Tag(view)) => {
                view.pane = match view.pane {
                    Pane::Allocations => Pane::References,
                    Pane::References => Pane::Allocations,
                };
            }
            Some(Screen::Bytes(view)) => {
                let height = view.height(areas.body);
                view.toggle(areas.body.width, height);
            }
            Some(Screen::Summary(_)) => self.back(),
            Some(Screen::Report(view)) => view.next_section(areas.body.width),
            Some(Screen::Modules(_) | Screen::Table(_) | Screen::Chart(_)) => {}
        }
    }

    fn interrupt(&mut self) {
        if self.fetch.is_running() {
            self.fetch = Fetch::Over;
            self.effects.push(Effect::CancelFetch);
            self.message = Some("download stopped; v says where to put the file".into());
        } else if self.indexing() && !self.stopping {
            self.stopping = true;
            self.effects.push(Effect::CancelIndex);
            self.message = Some("stopping the walk; Ctrl-C again quits".into());
        } else {
            self.effects.push(Effect::Quit);
        }
    }

    /// The selected row, or the whole text of a screen without rows.
    pub(in crate::tui) fn text_to_copy(&self) -> Option<String> {
        let text = match self.stack.last() {
            None if self.summary_focused => None,
            None => self.tags.current(&self.model).map(|row| {
                let (n, p) = (row.usage.nonpaged, row.usage.paged);
                format!(
                    "{} nonpaged {} allocations {} bytes, paged {} allocations {} bytes",
                    row.usage.tag.typed(),
                    n.outstanding,
                    n.bytes,
                    p.outstanding,
                    p.bytes
                )
            }),
            Some(Screen::Tag(view)) => match view.pane {
                Pane::Allocations => view
                    .current()
                    .map(|b| format!("{} {} {} {}", b.va, b.bytes, b.kind.word(), b.tag.typed())),
                Pane::References => view.references.as_ref().and_then(|m| {
                    let row = m.rows.get(usize::try_from(view.reference.row).ok()?)?;
                    Some(format!(
                        "{} {} {} {} {}",
                        row.va,
                        row.place(),
                        row.confidence,
                        row.api,
                        row.function
                    ))
                }),
            },
            Some(Screen::Bytes(view)) => Some(view.line_text()),
            Some(Screen::Modules(view)) => view
                .current(&self.model)
                .map(|m| format!("{} {} {} {}", m.base, m.end, m.name, m.path)),
            Some(Screen::Summary(_)) => Some(self.model.warnings.join("\n")),
            Some(Screen::Table(table)) => table.row_text(),
            Some(Screen::Report(view)) => view.text.clone(),
            Some(Screen::Chart(view)) => self.model.baseline.as_deref().map(|b| view.text(b)),
        };
        text.filter(|t| !t.is_empty())
    }

    fn copy(&mut self) {
        match self.text_to_copy() {
            Some(text) => {
                self.message = Some(format!(
                    "copied to the clipboard, if the terminal supports OSC 52: {}",
                    text.lines().next().unwrap_or("")
                ));
                self.effects.push(Effect::Copy(text));
            }
            None => self.message = Some("nothing here to copy".into()),
        }
    }
}

fn travel_tag(view: &mut TagView, how: Move, heights: (u64, u64)) {
    match view.pane {
        Pane::Allocations => {
            let rows = view.len();
            moved(&mut view.cursor, how, rows, heights.0);
            view.cursor.settle(rows, heights.0);
            view.remember();
        }
        Pane::References => {
            let rows = view.references.as_ref().map_or(0, |m| m.rows.len() as u64);
            moved(&mut view.reference, how, rows, heights.1);
        }
    }
}

fn moved(cursor: &mut Cursor, how: Move, rows: u64, height: u64) {
    let screen = height.saturating_sub(1).max(1) as i64;
    match how {
        Move::Lines(n) => cursor.by(n),
        Move::Screens(n) => cursor.page(n * screen),
        Move::First => cursor.to(0),
        Move::Last => cursor.to(rows.saturating_sub(1)),
    }
}

fn scrolled(top: u64, how: Move, height: u64) -> u64 {
    let screen = height.saturating_sub(1).max(1) as i64;
    match how {
        Move::Lines(n) => top.saturating_add_signed(n),
        Move::Screens(n) => top.saturating_add_signed(n * screen),
        Move::First => 0,
        Move::Last => u64::MAX,
    }
}

fn stepped(cursor: &mut Cursor, step: i64, rows: u64) -> bool {
    let Some(row) = cursor.row.checked_add_signed(step).filter(|r| *r < rows) else {
        return false;
    };
    cursor.to(row);
    true
}

fn bytes_of_block(block: &Block) -> BytesView {
    let header = match block.header_bytes() {
        0 => "no header".to_owned(),
        n => format!("{n} bytes of header, the owner's from {}", block.body()),
    };
    let about = format!(
        "{} block of {} bytes, {}, {}, {}; {header}",
        block.tag,
        grouped(block.bytes),
        pool_word(block.kind),
        block.backend.word(),
        block.state.word()
    );
    let about = match block.session {
        Some(session) => format!("session {session}: {about}"),
        None => about,
    };
    let mut view = BytesView::new(block.va.to_string(), about, block.va, Some(block.bytes));
    view.session = block.session;
    view.block = Some(*block);
    view
}
