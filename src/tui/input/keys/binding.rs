//! What a key, an action and a line of the key table are.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// One key, as pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The key itself; upper-case letters stand for themselves with Shift.
    pub code: KeyCode,
    /// With Ctrl held.
    pub ctrl: bool,
}

/// A key without Ctrl.
pub(super) const fn key(code: KeyCode) -> Key {
    Key { code, ctrl: false }
}

/// A letter without Ctrl.
pub(super) const fn letter(c: char) -> Key {
    key(KeyCode::Char(c))
}

/// A letter with Ctrl.
pub(super) const fn ctrl(c: char) -> Key {
    Key {
        code: KeyCode::Char(c),
        ctrl: true,
    }
}

impl Key {
    /// The key of an event; `None` with modifiers that no binding uses.
    pub fn of(event: &KeyEvent) -> Option<Key> {
        let unused = KeyModifiers::ALT | KeyModifiers::SUPER | KeyModifiers::META;
        (!event.modifiers.intersects(unused)).then_some(Key {
            code: event.code,
            ctrl: event.modifiers.contains(KeyModifiers::CONTROL),
        })
    }

    /// What to call it: `Enter`, `Ctrl-C`, `b`.
    pub fn name(self) -> String {
        let base = match self.code {
            KeyCode::Char(' ') => "Space".into(),
            KeyCode::Char(c) if self.ctrl => c.to_ascii_uppercase().to_string(),
            KeyCode::Char(c) => c.to_string(),
            KeyCode::PageUp => "PgUp".into(),
            KeyCode::PageDown => "PgDn".into(),
            KeyCode::BackTab => "Shift-Tab".into(),
            KeyCode::F(n) => format!("F{n}"),
            other => format!("{other:?}"),
        };
        if self.ctrl {
            format!("Ctrl-{base}")
        } else {
            base
        }
    }
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Action {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Open,
    Back,
    NextPane,
    Summary,
    Modules,
    Goto,
    PreviousBlock,
    NextBlock,
    Pool,
    SortBytes,
    SortAllocs,
    SortFrees,
    SortDiff,
    SortPerAlloc,
    SortTag,
    SortSize,
    SortAddress,
    UnknownOnly,
    Search,
    SearchNext,
    SearchPrevious,
    Filter,
    Copy,
    CopyView,
    Help,
    Quit,
    Interrupt,
    Suspend,
    Redraw,
    Mouse,
    Accept,
    Cancel,
    TagList,
    Drivers,
    Report,
    Marks,
    LastPlace,
    Zoom,
    Sizes,
    Contents,
    Families,
    Objects,
    Stacks,
    Page,
    Disassembly,
    ColumnLeft,
    ColumnRight,
    SortColumn,
    Like,
    Frequency,
    Command,
    Complete,
    HistoryBack,
    HistoryOn,
    Mark,
    Note,
    Save,
    Columns,
    ChangeColumn,
    ResetColumns,
    Preview,
    SortChange,
    History,
    HelpPage,
}

/// Where a key is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Context {
    /// The tag list.
    Tags,
    /// The `!vm` summary, as a pane or as a screen.
    Summary,
    /// The allocations of a tag.
    Allocations,
    /// The modules that reference a tag.
    References,
    /// Bytes in memory.
    Bytes,
    /// The loaded modules.
    Modules,
    /// A list of another kind: drivers, sizes, frequencies, marks, a page.
    Table,
    /// The report.
    Report,
    /// A chart.
    Chart,
    /// The column chooser.
    Columns,
    /// The help overlay.
    Help,
    /// While a line is typed at the foot of the screen.
    Prompt,
}

impl Context {
    /// All of them.
    pub const ALL: [Context; 12] = [
        Context::Tags,
        Context::Summary,
        Context::Allocations,
        Context::References,
        Context::Bytes,
        Context::Modules,
        Context::Table,
        Context::Report,
        Context::Chart,
        Context::Columns,
        Context::Help,
        Context::Prompt,
    ];

    /// What to call it in the help.
    pub fn name(self) -> &'static str {
        match self {
            Context::Tags => "tag list",
            Context::Summary => "summary",
            Context::Allocations => "allocations",
            Context::References => "references",
            Context::Bytes => "bytes",
            Context::Modules => "modules",
            Context::Table => "list",
            Context::Report => "report",
            Context::Chart => "chart",
            Context::Columns => "column chooser",
            Context::Help => "help",
            Context::Prompt => "typing",
        }
    }
}

/// Headings of the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Group {
    Move,
    Path,
    Sort,
    Find,
    Program,
}

impl Group {
    /// In the order of the help.
    pub const ALL: [Group; 5] = [
        Group::Path,
        Group::Sort,
        Group::Find,
        Group::Move,
        Group::Program,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Group::Move => "Move",
            Group::Path => "Screens",
            Group::Sort => "Pool and order (PoolMon's letters)",
            Group::Find => "Find, filter, copy",
            Group::Program => "Program",
        }
    }
}

impl Group {
    /// The heading of the short help.
    pub fn short(self) -> &'static str {
        match self {
            Group::Move => "Move",
            Group::Path => "Screens",
            Group::Sort => "Pool, order, columns",
            Group::Find => "Find, filter, copy, mark",
            Group::Program => "Program",
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Keys that do it, the one to show first.
    pub keys: &'static [Key],
    /// Where.
    pub contexts: &'static [Context],
    /// What.
    pub action: Action,
    /// The word at the foot of the screen; empty for none.
    pub hint: &'static str,
    /// The sentence of the help.
    pub help: &'static str,
    /// Its heading.
    pub group: Group,
}

/// A line of the table.
pub(super) const fn bind(
    keys: &'static [Key],
    contexts: &'static [Context],
    action: Action,
    hint: &'static str,
    help: &'static str,
    group: Group,
) -> Binding {
    Binding {
        keys,
        contexts,
        action,
        hint,
        help,
        group,
    }
}

impl Binding {
    /// The keys as the help shows them: `Enter, Right, l`.
    pub fn key_names(&self) -> String {
        let names: Vec<String> = self.keys.iter().map(|k| k.name()).collect();
        names.join(", ")
    }

    /// True where it applies.
    pub fn applies(&self, context: Context) -> bool {
        self.contexts.contains(&context)
    }
}
