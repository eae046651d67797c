//! One tag: the kernel's counters compared with the blocks found, its allocations, and the
//! modules that reference it.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::pool::{Block, PoolKind, State, Tag};
use crate::report::text::{grouped, human};

use crate::tui::data::blocks::{BlockSort, BlockView};
use crate::tui::data::mark::{self, Mark};
use crate::tui::data::model::{Covered, Model, ReferenceRow, References, TagRow};
use crate::tui::data::order::PoolChoice;
use crate::tui::terminal::theme::{Kind, Theme};
use crate::tui::widgets::charts::TagCharts;
use crate::tui::widgets::draw::{
    pieces, put, put_lines, split_left, split_top, unfinished, width, wrap,
};
use crate::tui::widgets::list::Cursor;
use crate::tui::widgets::pane::pane_title;
use crate::tui::widgets::table::{Column, Row, Table, widen};

/// The focused list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    /// The allocations.
    #[default]
    Allocations,
    /// The references.
    References,
}

/// The state of the screen.
#[derive(Clone, Debug)]
pub struct TagView {
    /// The tag.
    pub tag: Tag,
    /// The focused list.
    pub pane: Pane,
    /// Show only the focused list.
    pub zoom: bool,
    /// Its allocations; `None` until the first answer.
    pub view: Option<BlockView>,
    /// Requested order.
    pub sort: BlockSort,
    /// Requested filter, typed after `&`.
    pub filter: String,
    /// The filter that defines the subset, if the screen shows a subset of the tag's
    /// allocations.
    pub base_filter: String,
    /// Requested pool.
    pub pool: PoolChoice,
    /// The selected column of the allocations.
    pub column: usize,
    /// The cursor in the allocations.
    pub cursor: Cursor,
    /// The selected allocation.
    pub selected: Option<Block>,
    /// The kernel's counters compared with the walk.
    pub covered: Covered,
    /// Charts of all its allocations.
    pub shape: TagCharts,
    /// The references; `None` until the search is done.
    pub references: Option<References>,
    /// The cursor in the references.
    pub reference: Cursor,
    /// Set after the dump was read again: the list is still the old one, and the old walk
    /// had found this many blocks of the tag. The list stays until the new walk has found
    /// as many, or ends.
    pub stale: Option<u64>,
    /// Numbers of the pending requests.
    pub awaited: Awaited,
}

/// Pending requests; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Awaited {
    pub blocks: u64,
    pub references: u64,
    pub found: u64,
    /// The state of the index when the allocations were requested: blocks of the tag, and
    /// whether the walk was running.
    pub as_of: (u64, bool),
}

/// On a narrower screen, only the focused pane is shown.
const TWO_PANES: u16 = 76;

impl TagView {
    /// A screen without data yet.
    pub fn new(tag: Tag) -> TagView {
        TagView {
            tag,
            pane: Pane::default(),
            zoom: false,
            view: None,
            sort: BlockSort::default(),
            filter: String::new(),
            base_filter: String::new(),
            pool: PoolChoice::default(),
            column: 0,
            cursor: Cursor::default(),
            selected: None,
            covered: Covered::default(),
            shape: TagCharts::default(),
            references: None,
            reference: Cursor::default(),
            stale: None,
            awaited: Awaited::default(),
        }
    }

    /// The subset of the tag that is shown, in words.
    pub fn part_words(&self) -> Option<String> {
        let size = self.base_filter.strip_prefix("size = ");
        match size.and_then(|n| n.parse().ok()) {
            Some(bytes) => Some(format!("{} bytes", grouped(bytes))),
            None => (!self.base_filter.is_empty()).then(|| self.base_filter.clone()),
        }
    }

    /// The query field for keys about a column.
    pub fn selected_field(&self) -> usize {
        ALLOCATION_FIELDS
            .get(self.column)
            .copied()
            .flatten()
            .unwrap_or(0)
    }

    /// Selects the next or the previous column.
    pub fn step_column(&mut self, step: i64) {
        let mut at = self.column;
        while let Some(next) = at
            .checked_add_signed(step as isize)
            .filter(|i| *i < ALLOCATION_FIELDS.len())
        {
            at = next;
            if ALLOCATION_FIELDS.get(at).is_some_and(Option::is_some) {
                self.column = at;
                return;
            }
        }
    }

    /// Number of allocations in the list.
    pub fn len(&self) -> u64 {
        self.view.as_ref().map_or(0, BlockView::len)
    }

    /// True if there are no allocations.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The selected allocation.
    pub fn current(&self) -> Option<Block> {
        self.view.as_ref()?.get(self.cursor.row)
    }

    /// Goes to the top, after the order or the pool changed.
    pub fn to_top(&mut self) {
        self.cursor = Cursor::default();
        self.selected = None;
    }

    /// Remembers the selected allocation, after the user moved.
    pub fn remember(&mut self) {
        self.selected = self.current();
    }

    /// Applies a new list: an allocation that the user selected stays selected, on the same
    /// screen line.
    pub fn take_view(&mut self, view: BlockView, covered: Covered) {
        if self.cursor.moved {
            if let Some(block) = &self.selected {
                self.cursor.follow(view.row_of(block));
            }
        } else {
            self.cursor = Cursor::default();
        }
        self.view = Some(view);
        self.covered = covered;
    }

    /// Applies the references: the selected reference stays selected.
    pub fn take_references(&mut self, references: References) {
        let at = |m: &References, row: u64| Some(m.rows.get(usize::try_from(row).ok()?)?.va);
        let before = self.references.as_ref();
        let selected = before.and_then(|m| at(m, self.reference.row));
        if let Some(row) = references.rows.iter().position(|r| Some(r.va) == selected) {
            self.reference.follow(row as u64);
        }
        self.references = Some(references);
    }

    /// The tag's description and counters; true for doubtful data.
    fn head(&self, model: &Model, width: u16) -> Vec<(String, bool)> {
        let mut out = Vec::new();
        if let Some(row) = model.tag(self.tag) {
            let owner = row.owner.as_deref().filter(|owner| !owner.is_empty());
            let about = match (&row.about, &row.binary) {
                (Some(about), Some(binary)) if owner.is_none() => format!("{about} ({binary})"),
                (Some(about), _) => about.clone(),
                (None, _) if owner.is_some() => "tag not in the tag list".into(),
                (None, _) => {
                    "tag not in the tag list; the references show which driver uses it".into()
                }
            };
            out.push(about);
            out.extend(owner.map(|owner| format!("owner: {owner}")));
            out.extend(accounts(row, model));
            let baseline = model.baseline.as_deref();
            out.extend(baseline.and_then(|b| b.sentence(self.tag)));
        }
        if self.view.is_none() {
            out.push("searching allocations".into());
        }
        wrapped(&out, width)
    }

    /// The coverage of the tag. Empty while the walk is running: it would be preliminary.
    fn coverage(&self, width: u16, indexing: bool) -> Vec<(String, bool)> {
        match indexing {
            true => Vec::new(),
            false => wrapped(&self.covered.sentences, width),
        }
    }

    /// The areas: counters, allocations, references, coverage. A hidden pane is empty.
    pub fn areas(&self, area: Rect, model: &Model, indexing: bool) -> (Rect, Rect, Rect, Rect) {
        let narrow = area.width < TWO_PANES || self.zoom;
        let lines = self.head(model, area.width).len() as u16;
        let lines = lines.min(area.height * 2 / 5) + self.strips(area);
        let (top, rest) = split_top(area, lines);
        let foot = self.coverage(area.width, indexing).len() as u16;
        let foot = foot.min(area.height / 10);
        let (rest, bottom) = split_top(rest, rest.height.saturating_sub(foot));
        let none = Rect {
            width: 0,
            height: 0,
            ..rest
        };
        if narrow {
            return match self.pane {
                Pane::Allocations => (top, rest, none, bottom),
                Pane::References => (top, none, rest, bottom),
            };
        }
        let (left, right) = split_left(rest, allocations_width(area.width));
        (top, left, right, bottom)
    }

    /// Height of the charts: 0 if the list needs the rows.
    fn strips(&self, area: Rect) -> u16 {
        match (area.height, self.shape.sizes.is_empty()) {
            (0..18, _) | (_, true) => 0,
            _ => 2,
        }
    }

    /// Number of rows on screen, for each list.
    pub fn heights(&self, area: Rect, model: &Model, indexing: bool) -> (u64, u64) {
        let (_, left, right, _) = self.areas(area, model, indexing);
        let rows = |pane: Rect| u64::from(pane.height.saturating_sub(1 + Table::HEADING));
        (rows(left), rows(right))
    }

    /// The WinDbg command for the focused pane.
    pub fn command(&self, model: &Model) -> String {
        let typed = self.tag.typed();
        if self.pane == Pane::References {
            return format!("!for_each_module s -a @#Base @#End \"{typed}\"");
        }
        let usage = model.tag(self.tag).map(|row| row.usage);
        let (nonpaged, paged) = match self.pool {
            PoolChoice::Nonpaged => (true, false),
            PoolChoice::Paged => (false, true),
            PoolChoice::Both => usage.map_or((true, true), |u| {
                (!u.nonpaged.is_empty(), !u.paged.is_empty())
            }),
        };
        match (nonpaged, paged) {
            (true, false) => format!("!poolfind {typed} -nonpaged"),
            (false, true) => format!("!poolfind {typed} -paged"),
            _ => format!("!poolfind {typed}"),
        }
    }

    /// Draws the screen from the dump's data, the marks, and the state of the walk.
    pub fn draw(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        theme: &Theme,
        (model, marks, indexing): (&Model, &[Mark], bool),
    ) {
        let (top, left, right, bottom) = self.areas(area, model, indexing);
        let room = top.height.saturating_sub(self.strips(area));
        let head = self.head(model, area.width);
        draw_sentences(
            buffer,
            Rect {
                height: room,
                ..top
            },
            theme,
            &head,
        );
        draw_sentences(buffer, bottom, theme, &self.coverage(area.width, indexing));
        let strips = self.strips(area);
        let lines = self.shape.lines(area.width.saturating_sub(2), theme);
        for (y, line) in (top.height.saturating_sub(strips)..top.height).zip(&lines) {
            put(buffer, top, 1, y, line, Style::new());
        }
        if left.width > 0 {
            self.draw_allocations(buffer, left, theme, (marks, indexing));
        }
        if right.width > 0 {
            self.draw_references(buffer, right, theme);
        }
    }

    fn draw_allocations(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        theme: &Theme,
        (marks, indexing): (&[Mark], bool),
    ) {
        let (title, list) = split_top(area, 1);
        let focused = self.pane == Pane::Allocations;
        let count = match &self.view {
            None => String::new(),
            Some(view) if self.filter.is_empty() && self.pool == PoolChoice::Both => {
                format!(" {}", grouped(view.len()))
            }
            Some(view) => {
                let mut out = format!(" {} of {}", grouped(view.len()), grouped(view.all()));
                if self.pool != PoolChoice::Both {
                    out += &format!(", {}", self.pool.words());
                }
                if !self.filter.is_empty() {
                    out += &format!(", & {}", self.filter);
                }
                out
            }
        };
        let so_far = match (indexing, self.stale.is_some()) {
            (_, true) => " (new walk)",
            (true, false) => " so far",
            (false, false) => "",
        };
        let text = format!("Allocations{count}{so_far}, {}", self.sort.words());
        pane_title(buffer, title, theme, &text, focused);
        let Some(view) = &self.view else {
            return;
        };
        if view.is_empty() {
            let all = self.filter.is_empty() && self.pool == PoolChoice::Both;
            let why = match (indexing, all) {
                (_, false) => "none matches the filter",
                (true, true) => "none found yet",
                (false, true) => "none found",
            };
            put(buffer, list, 2, 1, why, theme.quiet());
        }
        let table = Table {
            columns: &ALLOCATIONS,
            sorted: Some((usize::from(self.sort.by_size), self.sort.descending)),
            rows: view.len(),
            cursor: self.cursor,
            focused,
            selected_column: (self.column > 0).then_some(self.column),
        };
        table.draw(buffer, list, theme, |at| {
            let block = view.get(at)?;
            Some(Row {
                mark: match block.state {
                    _ if mark::has_block(marks, &block) => '*',
                    State::Allocated if block.heuristic => '~',
                    State::Allocated => ' ',
                    _ => 'f',
                },
                cells: allocation_cells(&block),
                tints: allocation_tints(&block, theme),
                ..Row::default()
            })
        });
    }

    fn draw_references(&self, buffer: &mut Buffer, area: Rect, theme: &Theme) {
        let (title, list) = split_top(area, 1);
        let focused = self.pane == Pane::References;
        let text = match &self.references {
            None => "Modules that reference this tag: searching".to_owned(),
            Some(references) => {
                format!("Modules that reference this tag: {}", references.rows.len())
            }
        };
        pane_title(buffer, title, theme, &text, focused);
        let Some(references) = &self.references else {
            return;
        };
        let wide = usize::from(list.width.saturating_sub(2));
        let selected = usize::try_from(self.reference.row).ok();
        let selected = selected.and_then(|at| references.rows.get(at));
        let detail = selected.and_then(ReferenceRow::detail);
        let detail = detail.map_or_else(Vec::new, |d| wrap(&d, wide));
        let mut notes: Vec<(String, Style)> = Vec::new();
        notes.extend(detail.into_iter().take(4).map(|n| (n, Style::new())));
        let doubts = self.reference_notes(references, list.width);
        notes.extend(doubts.into_iter().map(|n| (n, theme.doubt())));
        // The rows come first: heading and two of them, before what is known of one.
        let room = match references.rows.len() {
            0 => usize::from(list.height),
            rows => usize::from(list.height.saturating_sub(1 + rows.min(2) as u16)),
        };
        if notes.len() > room {
            notes.truncate(room);
            if let Some((last, _)) = notes.last_mut() {
                *last = unfinished(last, wide, theme);
            }
        }
        // Without rows the reason is shown in their place.
        let (list, foot) = match references.rows.is_empty() {
            true => split_top(list, 0),
            false => split_top(list, list.height.saturating_sub(notes.len() as u16)),
        };
        for (y, (note, style)) in notes.iter().enumerate() {
            pieces(buffer, foot, y as u16, &[(" ", *style), (note, *style)]);
        }
        let cells: Vec<[Cow<'_, str>; 7]> = references.rows.iter().map(reference_cells).collect();
        let mut columns = REFERENCES;
        let longest = |at: usize| {
            let column = cells.iter().filter_map(|row| row.get(at));
            column.map(|cell| width(cell)).max().unwrap_or(0) as u16
        };
        let wanted: Vec<u16> = (0..columns.len()).map(longest).collect();
        // The scroll bar takes one column.
        widen(&mut columns, &wanted, list.width.saturating_sub(1));
        let table = Table {
            columns: &columns,
            sorted: None,
            rows: references.rows.len() as u64,
            cursor: self.reference,
            focused,
            selected_column: None,
        };
        table.draw(buffer, list, theme, |at| {
            let at = usize::try_from(at).ok()?;
            let (row, cells) = (references.rows.get(at)?, cells.get(at)?);
            Some(Row {
                mark: ' ',
                cells: cells
                    .iter()
                    .map(|cell| Cow::Borrowed(cell.as_ref()))
                    .collect(),
                tints: vec![(6, theme.kind(section_kind(row)))],
                ..Row::default()
            })
        });
    }

    fn reference_notes(&self, references: &References, width: u16) -> Vec<String> {
        let mut notes: Vec<String> = references.failed.iter().cloned().collect();
        let all = references.pages_missing + references.pages_searched;
        notes.extend(references.notes.iter().cloned());
        if references.rows.is_empty() && references.failed.is_none() {
            notes.push("no loaded image has these four bytes: the driver may be unloaded, or compute the tag".into());
        }
        if references.pages_missing > 0 {
            notes.push(format!(
                "{} of {} image pages are not in the dump: absence is not conclusive",
                grouped(references.pages_missing),
                grouped(all)
            ));
        }
        notes
            .iter()
            .flat_map(|n| wrap(n, usize::from(width.saturating_sub(2))))
            .take(if references.rows.is_empty() { 12 } else { 4 })
            .collect()
    }
}

/// Sentences wrapped to a width. All lines of a doubtful sentence are marked.
fn wrapped(sentences: &[String], width: u16) -> Vec<(String, bool)> {
    const DOUBTFUL: [&str; 3] = ["never freed", "can't be read", "more found"];
    let lines = sentences.iter().flat_map(|sentence| {
        let doubtful = DOUBTFUL.iter().any(|words| sentence.contains(words));
        let lines = wrap(sentence, usize::from(width.saturating_sub(2)));
        lines.into_iter().map(move |line| (line, doubtful))
    });
    lines.collect()
}

/// Draws as many lines as fit; if there are more, the last one ends in dots.
fn draw_sentences(buffer: &mut Buffer, area: Rect, theme: &Theme, lines: &[(String, bool)]) {
    let styled = lines.iter().map(|(line, doubtful)| match doubtful {
        true => (line, theme.doubt()),
        false => (line, Style::new()),
    });
    put_lines(buffer, area, theme, styled);
}

/// The tag's counters since boot and its share of the pool. They distinguish a leak from a
/// large user.
fn accounts(row: &TagRow, model: &Model) -> Vec<String> {
    let sides = [
        (
            "nonpaged",
            &row.usage.nonpaged,
            model.in_use(PoolChoice::Nonpaged),
        ),
        ("paged", &row.usage.paged, model.in_use(PoolChoice::Paged)),
    ];
    let used = sides
        .into_iter()
        .filter(|(_, usage, _)| model.counted && !usage.is_empty());
    used.map(|(pool, usage, total)| {
        let history = match (usage.wrapped, usage.frees) {
            (true, _) => "counters of allocations and frees have wrapped".to_owned(),
            (_, 0) => format!("allocated {}, never freed", grouped(usage.allocs)),
            (_, frees) => {
                format!(
                    "allocated {}, freed {}",
                    grouped(usage.allocs),
                    grouped(frees)
                )
            }
        };
        format!(
            "{pool}: {history}; holds {}, {:.1}% of {pool} pool",
            human(usage.bytes),
            usage.bytes as f64 * 100.0 / total.max(1) as f64
        )
    })
    .collect()
}

/// Width of the left pane: what its columns need, and a little more on wide screens.
fn allocations_width(width: u16) -> u16 {
    if width < 110 {
        width / 2 + 2
    } else {
        (width * 2 / 5).clamp(54, 80)
    }
}

const ALLOCATIONS: [Column; 6] = [
    Column::text("Address", 17, 0),
    Column::number("Bytes", 11, 1),
    Column::number("", 9, 5),
    Column::text("Pool", 8, 2),
    Column::text("Backend", 7, 4),
    Column::text("State", 9, 3),
];

/// The query field of each column of the allocations.
const ALLOCATION_FIELDS: [Option<usize>; 6] = [Some(0), Some(1), None, Some(2), Some(3), Some(4)];

const REFERENCES: [Column; 7] = [
    Column::text("Module", 10, 0),
    Column::text("Confidence", 10, 1),
    Column::text("Address", 17, 2),
    Column::text("Used by", 21, 3).growing(32),
    Column::text("In", 14, 4),
    Column::text("Symbol", 10, 5),
    Column::text("Section", 10, 6),
];

fn reference_cells(row: &ReferenceRow) -> [Cow<'_, str>; 7] {
    let section = match row.section.is_empty() {
        true => row.kind().to_owned(),
        false => format!("{} {}", row.section, row.kind()),
    };
    [
        row.module.as_str().into(),
        row.confidence.into(),
        row.va.to_string().into(),
        row.api.as_str().into(),
        row.function.as_str().into(),
        row.symbol.as_str().into(),
        section.into(),
    ]
}

fn allocation_cells(block: &Block) -> Vec<Cow<'static, str>> {
    vec![
        block.va.to_string().into(),
        grouped(block.bytes).into(),
        if block.bytes < 1024 {
            "".into()
        } else {
            human(block.bytes).into()
        },
        pool_word(block.kind).into(),
        block.backend.word().into(),
        block.state.word().into(),
    ]
}

/// Colours for the pool, and for freed blocks.
fn allocation_tints(block: &Block, theme: &Theme) -> Vec<(usize, Style)> {
    let pool = match block.kind {
        PoolKind::NonPaged | PoolKind::NonPagedNx => Kind::Nonpaged,
        _ => Kind::Paged,
    };
    let mut tints = vec![(3, theme.kind(pool))];
    if block.state != State::Allocated {
        tints.push((5, theme.kind(Kind::Freed)));
    }
    tints
}

fn section_kind(row: &ReferenceRow) -> Kind {
    match row.in_code {
        true => Kind::Code,
        false => Kind::Data,
    }
}

/// The name of the pool in eight characters.
pub fn pool_word(kind: PoolKind) -> &'static str {
    match kind {
        PoolKind::NonPagedNx => "nonp NX",
        kind => kind.word(),
    }
}
