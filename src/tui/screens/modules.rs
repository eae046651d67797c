//! The loaded modules: `lm`.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::memory::Va;
use crate::report::text::human;

use crate::tui::data::columns;
use crate::tui::data::model::{Model, ModuleRow};
use crate::tui::input::query::TextFilter;
use crate::tui::input::query::{self, Query};
use crate::tui::terminal::theme::Theme;
use crate::tui::widgets::draw::split_top;
use crate::tui::widgets::list::Cursor;
use crate::tui::widgets::list::around;
use crate::tui::widgets::pane::pane_title;
use crate::tui::widgets::table::{Column, Row, Table};

/// The state of the screen.
#[derive(Clone, Debug, Default)]
pub struct ModulesView {
    /// Indexes of the modules shown.
    order: Vec<usize>,
    /// The cursor.
    pub cursor: Cursor,
    /// The filter typed after `&`.
    pub filter: String,
    /// The last address that was looked up.
    pub asked: Option<Va>,
    /// The selected column.
    pub column: usize,
    /// The sort column; `None` for address order with unloaded modules at the end.
    sorted: Option<usize>,
    /// Descending.
    descending: bool,
}

impl ModulesView {
    /// All modules in address order, unloaded ones at the end.
    pub fn new(model: &Model) -> ModulesView {
        let mut view = ModulesView::default();
        view.rearrange(model);
        view
    }

    /// Applies the filter again.
    pub fn rearrange(&mut self, model: &Model) {
        let selected = self.order.get(self.cursor.row as usize).copied();
        let query = match query::compares(&self.filter) {
            true => Query::parse(&self.filter, &columns::MODULE, columns::MODULE_DEFAULT).ok(),
            false => None,
        };
        let text = TextFilter::parse(&self.filter).filter(|_| query.is_none());
        let module = |i: &usize| model.modules.get(*i);
        let keep = |m: &ModuleRow| {
            text.as_ref().is_none_or(|f| f.module(m)) && query.as_ref().is_none_or(|q| q.holds(m))
        };
        self.order = (0..model.modules.len())
            .filter(|i| module(i).is_some_and(keep))
            .collect();
        self.order
            .sort_by_key(|i| module(i).map(|m| (m.unloaded, m.base)));
        if let Some(field) = self.sorted {
            self.order.sort_by(|a, b| {
                let cell = |i: &usize| module(i).map(|m| columns::module_cell(m, field));
                match (cell(a), cell(b)) {
                    (Some(a), Some(b)) => a.compare(&b),
                    _ => std::cmp::Ordering::Equal,
                }
            });
            if self.descending {
                self.order.reverse();
            }
        }
        if let Some(at) = self.order.iter().position(|i| Some(*i) == selected) {
            self.cursor.follow(at as u64);
        }
    }

    /// Sets the filter.
    ///
    /// # Errors
    /// What is wrong with the filter, as a sentence; the list is unchanged.
    pub fn set_filter(&mut self, model: &Model, text: &str) -> Result<(), String> {
        if query::compares(text) {
            Query::parse(text, &columns::MODULE, columns::MODULE_DEFAULT)?;
        }
        text.clone_into(&mut self.filter);
        self.rearrange(model);
        Ok(())
    }

    /// Selects the next or the previous column.
    pub fn step_column(&mut self, step: i64) {
        let next = self.column.checked_add_signed(step as isize);
        if let Some(next) = next.filter(|i| *i < COLUMNS.len()) {
            self.column = next;
        }
    }

    /// Sorts by the selected column, or reverses the order if it already is the sort column.
    pub fn sort_here(&mut self, model: &Model) {
        self.descending = match self.sorted == Some(self.column) {
            true => !self.descending,
            false => self.column == columns::MODULE_DEFAULT,
        };
        self.sorted = Some(self.column);
        self.rearrange(model);
        self.cursor = Cursor::default();
    }

    /// Shows the modules of a dump that was read again; the selected module stays selected.
    pub fn renew(&mut self, old: &Model, new: &Model) {
        let selected = self.current(old).map(|m| (m.base, m.unloaded));
        self.rearrange(new);
        let same = |m: &ModuleRow| Some((m.base, m.unloaded)) == selected;
        if let Some(at) = (0..self.len()).find(|&at| self.row(new, at).is_some_and(same)) {
            self.cursor.follow(at);
        }
    }

    /// Number of rows shown.
    pub fn len(&self) -> u64 {
        self.order.len() as u64
    }

    /// True if no row is shown.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The module at a position of the list.
    pub fn row<'m>(&self, model: &'m Model, at: u64) -> Option<&'m ModuleRow> {
        model
            .modules
            .get(*self.order.get(usize::try_from(at).ok()?)?)
    }

    /// The selected module.
    pub fn current<'m>(&self, model: &'m Model) -> Option<&'m ModuleRow> {
        self.row(model, self.cursor.row)
    }

    /// Selects the loaded module that contains an address. False if there is none.
    pub fn select_holder(&mut self, model: &Model, va: Va) -> bool {
        self.asked = Some(va);
        let holds = |m: &ModuleRow| !m.unloaded && m.contains(va);
        let Some(at) = (0..self.len()).find(|&at| self.row(model, at).is_some_and(holds)) else {
            return false;
        };
        self.cursor.to(at);
        true
    }

    /// The next module that matches, wrapping around.
    pub fn find(&self, model: &Model, typed: &str, from: u64, forward: bool) -> Option<u64> {
        let filter = TextFilter::parse(typed)?;
        around(self.len(), from, forward)
            .find(|&at| self.row(model, at).is_some_and(|row| filter.module(row)))
    }

    /// The corresponding WinDbg command.
    pub fn command(&self) -> String {
        match self.asked {
            Some(va) => format!("lm a {va}"),
            None => "lm".into(),
        }
    }

    /// Number of rows on screen.
    pub fn height(area: Rect) -> u64 {
        area.height.saturating_sub(1 + Table::HEADING).into()
    }

    /// Draws the screen.
    pub fn draw(&self, buffer: &mut Buffer, area: Rect, theme: &Theme, model: &Model) {
        let (title, list) = split_top(area, 1);
        let mut text = format!("Loaded modules: {}", self.len());
        if !self.filter.is_empty() {
            text += &format!(" of {}, & {}", model.modules.len(), self.filter);
        }
        pane_title(buffer, title, theme, &text, true);
        let table = Table {
            columns: &COLUMNS,
            sorted: self.sorted.map(|i| (i, self.descending)),
            rows: self.len(),
            cursor: self.cursor,
            focused: true,
            selected_column: (self.column > 0).then_some(self.column),
        };
        table.draw(buffer, list, theme, |at| {
            let module = self.row(model, at)?;
            Some(Row {
                mark: if module.unloaded { 'u' } else { ' ' },
                cells: vec![
                    module.base.to_string().into(),
                    module.end.to_string().into(),
                    human(module.end.0.wrapping_sub(module.base.0)).into(),
                    module.name.as_str().into(),
                    module.path.as_str().into(),
                    module.pdb.as_str().into(),
                ],
                ..Row::default()
            })
        });
    }
}

const COLUMNS: [Column; 6] = [
    Column::text("Start", 17, 1),
    Column::text("End", 17, 3),
    Column::number("Size", 9, 4),
    Column::text("Module", 16, 0),
    Column::text("Path", 16, 2).growing(0),
    Column::text("PDB", 50, 5),
];
