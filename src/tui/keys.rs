//! The key table: one list that dispatch, the hints at the foot of the screen, the help
//! overlay and the documentation are made from.
//!
//! PoolMon's letters keep PoolMon's meaning on the tag list (`p b a f d m t`, `h` for
//! help); the vi letters apply where they do not clash with those.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// One key, as pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The key itself; upper-case letters stand for themselves with Shift.
    pub code: KeyCode,
    /// With Ctrl held.
    pub ctrl: bool,
}

const fn key(code: KeyCode) -> Key {
    Key { code, ctrl: false }
}

const fn letter(c: char) -> Key {
    key(KeyCode::Char(c))
}

const fn ctrl(c: char) -> Key {
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
    Help,
    Quit,
    Interrupt,
    Suspend,
    Redraw,
    Accept,
    Cancel,
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
    /// The modules that mention a tag.
    References,
    /// Bytes in memory.
    Bytes,
    /// The loaded modules.
    Modules,
    /// The help overlay.
    Help,
    /// While a line is typed at the foot of the screen.
    Prompt,
}

impl Context {
    /// All of them.
    pub const ALL: [Context; 8] = [
        Context::Tags,
        Context::Summary,
        Context::Allocations,
        Context::References,
        Context::Bytes,
        Context::Modules,
        Context::Help,
        Context::Prompt,
    ];

    /// What to call it in the help.
    pub fn name(self) -> &'static str {
        match self {
            Context::Tags => "tag list",
            Context::Summary => "summary",
            Context::Allocations => "allocations",
            Context::References => "mentions",
            Context::Bytes => "bytes",
            Context::Modules => "modules",
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
            Group::Path => "Along the path",
            Group::Sort => "Pool and order (PoolMon's letters)",
            Group::Find => "Find, filter, copy",
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

use Context::{Allocations, Bytes, Help, Modules, Prompt, References, Summary, Tags};

const LISTS: &[Context] = &[Tags, Summary, Allocations, References, Bytes, Modules, Help];
const SCREENS: &[Context] = &[Tags, Summary, Allocations, References, Bytes, Modules];
const SEARCHED: &[Context] = &[Tags, Allocations, References, Modules];

const fn bind(
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

/// The table. Order matters twice: hints and help follow it.
pub const TABLE: &[Binding] = &[
    bind(
        &[key(KeyCode::Up), letter('k')],
        LISTS,
        Action::Up,
        "",
        "one row up",
        Group::Move,
    ),
    bind(
        &[key(KeyCode::Down), letter('j')],
        LISTS,
        Action::Down,
        "",
        "one row down",
        Group::Move,
    ),
    bind(
        &[key(KeyCode::PageUp), ctrl('b')],
        LISTS,
        Action::PageUp,
        "",
        "one screen up",
        Group::Move,
    ),
    bind(
        &[key(KeyCode::PageDown), letter(' '), ctrl('f')],
        LISTS,
        Action::PageDown,
        "",
        "one screen down",
        Group::Move,
    ),
    bind(
        &[key(KeyCode::Home)],
        LISTS,
        Action::Home,
        "",
        "to the first row",
        Group::Move,
    ),
    bind(
        &[key(KeyCode::End), letter('G')],
        LISTS,
        Action::End,
        "",
        "to the last row",
        Group::Move,
    ),
    bind(
        &[key(KeyCode::Enter), key(KeyCode::Right), letter('l')],
        SCREENS,
        Action::Open,
        "open",
        "into the row: tag, allocation, mention, module; in bytes, follow the pointer",
        Group::Path,
    ),
    bind(
        &[
            key(KeyCode::Esc),
            key(KeyCode::Left),
            letter('h'),
            key(KeyCode::Backspace),
        ],
        &[Summary, Allocations, References, Bytes, Modules],
        Action::Back,
        "back",
        "back by one step",
        Group::Path,
    ),
    bind(
        &[
            key(KeyCode::Esc),
            key(KeyCode::Left),
            key(KeyCode::Backspace),
        ],
        &[Tags],
        Action::Back,
        "",
        "drop the filter of the tag list",
        Group::Path,
    ),
    bind(
        &[letter('p')],
        &[Tags],
        Action::Pool,
        "pool",
        "both pools, nonpaged, paged",
        Group::Sort,
    ),
    bind(
        &[letter('b')],
        &[Tags],
        Action::SortBytes,
        "bytes",
        "sort by bytes; the same letter again reverses any sort",
        Group::Sort,
    ),
    bind(
        &[letter('d')],
        &[Tags],
        Action::SortDiff,
        "diff",
        "sort by allocations outstanding (allocs minus frees)",
        Group::Sort,
    ),
    bind(
        &[letter('b')],
        &[Allocations],
        Action::SortSize,
        "by size",
        "allocations by size; again reverses",
        Group::Sort,
    ),
    bind(
        &[letter('a')],
        &[Allocations],
        Action::SortAddress,
        "by address",
        "allocations by address; again reverses",
        Group::Sort,
    ),
    bind(
        &[letter('/')],
        SEARCHED,
        Action::Search,
        "find",
        "find a row",
        Group::Find,
    ),
    bind(
        &[letter('&')],
        &[Tags, Allocations, Modules],
        Action::Filter,
        "filter",
        "show only the rows that match; an empty filter shows all",
        Group::Find,
    ),
    bind(
        &[key(KeyCode::Tab), key(KeyCode::BackTab)],
        &[Tags, Summary, Allocations, References],
        Action::NextPane,
        "pane",
        "to the other pane of the screen",
        Group::Path,
    ),
    bind(
        &[key(KeyCode::Tab), key(KeyCode::BackTab)],
        &[Bytes],
        Action::NextPane,
        "bytes/pointers",
        "show the memory as bytes or as pointers",
        Group::Path,
    ),
    bind(
        &[letter('v')],
        &[Tags, Allocations, References, Bytes, Modules],
        Action::Summary,
        "!vm",
        "all of !vm 1, and every warning",
        Group::Path,
    ),
    bind(
        &[letter('M')],
        &[Tags, Summary, Allocations, References, Bytes],
        Action::Modules,
        "modules",
        "the loaded modules",
        Group::Path,
    ),
    bind(
        &[letter('g')],
        &[Allocations, Bytes, Modules],
        Action::Goto,
        "go to",
        "go to an address (modules: the one that holds it)",
        Group::Find,
    ),
    bind(
        &[letter('a')],
        &[Tags],
        Action::SortAllocs,
        "allocs",
        "sort by allocations since boot",
        Group::Sort,
    ),
    bind(
        &[letter('f')],
        &[Tags],
        Action::SortFrees,
        "frees",
        "sort by frees since boot",
        Group::Sort,
    ),
    bind(
        &[letter('m')],
        &[Tags],
        Action::SortPerAlloc,
        "mean",
        "sort by bytes per allocation",
        Group::Sort,
    ),
    bind(
        &[letter('t')],
        &[Tags],
        Action::SortTag,
        "tag",
        "sort by tag",
        Group::Sort,
    ),
    bind(
        &[letter('u')],
        &[Tags],
        Action::UnknownOnly,
        "unknown",
        "show only tags without a description",
        Group::Find,
    ),
    bind(
        &[letter('[')],
        &[Bytes],
        Action::PreviousBlock,
        "",
        "the bytes of the previous row (allocation, mention, module)",
        Group::Path,
    ),
    bind(
        &[letter(']')],
        &[Bytes],
        Action::NextBlock,
        "",
        "the bytes of the next row (allocation, mention, module)",
        Group::Path,
    ),
    bind(
        &[letter('n')],
        SEARCHED,
        Action::SearchNext,
        "",
        "to the next row found",
        Group::Find,
    ),
    bind(
        &[letter('N')],
        SEARCHED,
        Action::SearchPrevious,
        "",
        "to the previous row found",
        Group::Find,
    ),
    bind(
        &[letter('y')],
        SCREENS,
        Action::Copy,
        "",
        "copy the row to your terminal's clipboard (OSC 52)",
        Group::Find,
    ),
    bind(
        &[letter('?'), letter('h'), key(KeyCode::F(1))],
        &[Tags],
        Action::Help,
        "help",
        "this help",
        Group::Program,
    ),
    bind(
        &[letter('?'), key(KeyCode::F(1))],
        &[Summary, Allocations, References, Bytes, Modules],
        Action::Help,
        "help",
        "this help",
        Group::Program,
    ),
    bind(
        &[
            key(KeyCode::Esc),
            letter('?'),
            letter('q'),
            letter('h'),
            key(KeyCode::Left),
            key(KeyCode::Enter),
            key(KeyCode::F(1)),
        ],
        &[Help],
        Action::Cancel,
        "close",
        "close the help",
        Group::Program,
    ),
    bind(
        &[key(KeyCode::Esc), ctrl('c')],
        &[Prompt],
        Action::Cancel,
        "leaves it as it was",
        "leave it as it was",
        Group::Find,
    ),
    bind(
        &[letter('q')],
        SCREENS,
        Action::Quit,
        "quit",
        "quit, at once",
        Group::Program,
    ),
    bind(
        &[ctrl('c')],
        &[Tags, Summary, Allocations, References, Bytes, Modules, Help],
        Action::Interrupt,
        "",
        "stop the download of symbols, then the walk of the pool, keeping what was found; when none runs, quit",
        Group::Program,
    ),
    bind(
        &[ctrl('z')],
        LISTS,
        Action::Suspend,
        "",
        "suspend; `fg` comes back",
        Group::Program,
    ),
    bind(
        &[ctrl('l')],
        LISTS,
        Action::Redraw,
        "",
        "draw the screen anew",
        Group::Program,
    ),
    bind(
        &[key(KeyCode::Enter)],
        &[Prompt],
        Action::Accept,
        "takes it",
        "take what is typed",
        Group::Find,
    ),
];

/// What a key does in a context.
pub fn action(context: Context, event: &KeyEvent) -> Option<Action> {
    let pressed = Key::of(event)?;
    TABLE
        .iter()
        .find(|b| b.applies(context) && b.keys.contains(&pressed))
        .map(|b| b.action)
}

/// The key and the word of every hint of a context: help and quit first, so that a
/// narrow screen loses the others.
pub fn hints(context: Context) -> Vec<(String, &'static str)> {
    let important = |b: &&Binding| matches!(b.action, Action::Help | Action::Quit);
    let shown = || {
        TABLE
            .iter()
            .filter(|b| b.applies(context) && !b.hint.is_empty())
    };
    let text = |b: &Binding| (b.keys.first().map(|k| k.name()).unwrap_or_default(), b.hint);
    shown()
        .filter(important)
        .chain(shown().filter(|b| !important(b)))
        .map(text)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_place() {
        for context in Context::ALL {
            let mut seen = Vec::new();
            for binding in TABLE.iter().filter(|b| b.applies(context)) {
                for key in binding.keys {
                    assert!(!seen.contains(key), "{} twice in {context:?}", key.name());
                    seen.push(*key);
                }
            }
        }
    }

    #[test]
    fn the_letters_of_poolmon_mean_what_they_mean_in_poolmon() {
        let press = |c| action(Tags, &KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
        for (c, action) in [
            ('p', Action::Pool),
            ('b', Action::SortBytes),
            ('a', Action::SortAllocs),
            ('f', Action::SortFrees),
            ('d', Action::SortDiff),
            ('m', Action::SortPerAlloc),
            ('t', Action::SortTag),
            ('h', Action::Help),
            ('q', Action::Quit),
        ] {
            assert_eq!(press(c), Some(action), "{c}");
        }
    }

    #[test]
    fn every_screen_can_be_left_and_explains_itself() {
        for &context in SCREENS {
            let actions: Vec<Action> = TABLE
                .iter()
                .filter(|b| b.applies(context))
                .map(|b| b.action)
                .collect();
            for needed in [Action::Help, Action::Quit, Action::Back, Action::Interrupt] {
                assert!(actions.contains(&needed), "{needed:?} in {context:?}");
            }
        }
    }
}
