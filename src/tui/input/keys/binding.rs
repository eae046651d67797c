//! The types of the key table: keys, actions, contexts and bindings.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// One key, as pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The key code; an upper-case letter implies Shift.
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
    /// The key of an event; `None` if it has modifiers that no binding uses.
    pub fn of(event: &KeyEvent) -> Option<Key> {
        let unused = KeyModifiers::ALT | KeyModifiers::SUPER | KeyModifiers::META;
        (!event.modifiers.intersects(unused)).then_some(Key {
            code: event.code,
            ctrl: event.modifiers.contains(KeyModifiers::CONTROL),
        })
    }

    /// The key's name: `Enter`, `Ctrl-C`, `b`.
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

/// An action that a key is bound to.
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

/// The part of the screen that a key goes to.
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
    /// Any other list: drivers, sizes, frequencies, marks, a page.
    Table,
    /// The report.
    Report,
    /// A chart.
    Chart,
    /// The column chooser.
    Columns,
    /// The help overlay.
    Help,
    /// The line at the bottom of the screen, while it is open.
    Prompt,
}

impl Context {
    /// All contexts.
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

    /// The context's name in the help.
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

/// Sections of the help.
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
    /// All, in the order of the help.
    pub const ALL: [Group; 5] = [
        Group::Path,
        Group::Sort,
        Group::Find,
        Group::Move,
        Group::Program,
    ];

    /// The section heading.
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
    /// The section heading in the short help.
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

/// One entry of the key table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The keys; the first is shown in hints.
    pub keys: &'static [Key],
    /// The contexts where it applies.
    pub contexts: &'static [Context],
    /// The action.
    pub action: Action,
    /// The hint at the bottom of the screen; empty for none.
    pub hint: &'static str,
    /// The help text.
    pub help: &'static str,
    /// The help section.
    pub group: Group,
}

/// Makes an entry of the key table.
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

    /// True if it applies in a context.
    pub fn applies(&self, context: Context) -> bool {
        self.contexts.contains(&context)
    }
}
