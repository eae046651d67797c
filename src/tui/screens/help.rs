//! The help, made from the key table: the keys of the screen below on one page, a page
//! about queries and marks, and a page with all keys in full sentences.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::tui::input::keys::{Context, Entry, Group, KeyMap, brief};
use crate::tui::input::query::Field;
use crate::tui::terminal::theme::Theme;
use crate::tui::widgets::draw::{fill, pieces, split_top, width, wrap};
use crate::tui::widgets::pane::pane_title;

/// The marks of rows, and their meanings.
pub const LEGEND: &[(&str, &str)] = &[
    (">", "the selected row; - in the pane without focus"),
    ("!", "a warning of !vm, or a number that contradicts others"),
    (
        "?",
        "a tag without a description; as a number: not in this dump",
    ),
    (
        "~",
        "a tag: blocks found differ from the kernel's count, open it for details; an allocation: \
            recognised by its header only, may be free",
    ),
    ("f", "a free block on a lookaside or deferred list"),
    ("u", "a module that was unloaded"),
    ("??", "a byte that can't be read; never shown as zero"),
];

/// The columns of the tag list.
const COLUMNS: &[(&str, &str)] = &[
    (
        "Diff",
        "outstanding allocations: allocs minus frees since boot",
    ),
    (
        "Bytes",
        "bytes outstanding, block headers included, as !poolused counts",
    ),
    (
        "Of nonp",
        "share of the nonpaged pool in use, as the report has it",
    ),
    ("Mean", "bytes per outstanding allocation"),
    (
        "Change",
        "from the first point of the baseline to this dump",
    ),
];

/// The parts of a query.
const QUERIES: &[(&str, &str)] = &[
    (
        "word",
        "rows that have the word; for tags, * and ? are wildcards",
    ),
    (
        "= != < <= > >=",
        "compare a number, an address, a percentage or a text",
    ),
    ("~ !~", "the text contains, or does not contain"),
    ("and or not ( )", "join comparisons; && || ! are the same"),
    ("64k 1.5GB 0x1000", "numbers; a percentage is written 5%"),
    ("\"a b\"", "a text with blanks; * and ? are wildcards in it"),
];

/// Examples of queries, by list. Each works as typed.
const EXAMPLES: &[(Context, &[&str])] = &[
    (
        Context::Tags,
        &[
            "np > 100MB and owner ~ amd",
            "frees = 0 and diff > 1000",
            "share > 5% and known = no",
        ],
    ),
    (
        Context::Allocations,
        &["size > 4k and pool = paged", "state != allocated", ">= 1M"],
    ),
    (
        Context::Modules,
        &["name = my*", "size > 1MB and unloaded = no"],
    ),
];

/// One line of the help.
enum HelpLine {
    /// A heading.
    Heading(String),
    /// A key with its text, or a part of the text.
    Key(String, String),
}

/// A page of the help.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// The keys of the screen below.
    #[default]
    Keys,
    /// Queries, marks and columns.
    Queries,
    /// All keys in full sentences.
    All,
}

impl Page {
    /// The next page.
    pub fn next(self) -> Page {
        match self {
            Page::Keys => Page::Queries,
            Page::Queries => Page::All,
            Page::All => Page::Keys,
        }
    }
}

/// The state of the help: page and scroll position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HelpView {
    /// The page.
    pub page: Page,
    /// The first line on screen.
    pub top: u64,
}

/// The subject of the help.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// The current key bindings.
    pub keys: &'a KeyMap,
    /// The screen below.
    pub context: Context,
    /// The query fields of that screen.
    pub fields: &'a [Field],
}

/// Width of a column on the page of keys, in cells.
const KEY_COLUMN: u16 = 40;

/// The keys of a screen by section, one line for related keys.
fn sections(about: About<'_>) -> Vec<(&'static str, Vec<(String, String)>)> {
    let mut out: Vec<(&'static str, Vec<(String, String)>)> = Vec::new();
    for group in Group::ALL {
        let mut lines: Vec<(String, String)> = Vec::new();
        let here = |e: &&Entry| e.group == group && e.applies(about.context);
        for entry in about.keys.entries().iter().filter(here) {
            let Some(key) = entry.keys.first() else {
                continue;
            };
            let words = brief::brief(entry.action, about.context);
            match lines.iter_mut().find(|(_, text)| text == words) {
                // `Ctrl-Z T`: the shared text is written once.
                Some((keys, _)) => {
                    let name = key.name();
                    let short = match keys.starts_with("Ctrl-") {
                        true => name.strip_prefix("Ctrl-").unwrap_or(&name),
                        false => &name,
                    };
                    *keys += &format!(" {short}");
                }
                None => lines.push((key.name(), words.to_owned())),
            }
        }
        if !lines.is_empty() {
            out.push((group.short(), lines));
        }
    }
    out
}

/// The page of keys in columns: each column is a list of lines.
fn key_columns(about: About<'_>, area_width: u16, height: u16) -> Vec<Vec<HelpLine>> {
    let most = usize::from((area_width / KEY_COLUMN).max(1));
    let room = most * usize::from(height.max(1));
    let sections = sections(about);
    let count: usize = sections.iter().map(|(_, lines)| lines.len() + 1).sum();
    // Headings are dropped if they would cause a second page. One heading may move to the
    // next column.
    let headings = count + most <= room;
    let mut all: Vec<HelpLine> = Vec::new();
    for (title, lines) in sections {
        if headings {
            all.push(HelpLine::Heading(title.to_owned()));
        }
        all.extend(
            lines
                .into_iter()
                .map(|(key, text)| HelpLine::Key(key, text)),
        );
    }
    // As few columns as possible, all of the same height.
    let columns = (1..=most)
        .find(|n| all.len().div_ceil(*n) <= usize::from(height.max(1)))
        .unwrap_or(most);
    let each = all.len().div_ceil(columns).max(1);
    let mut out: Vec<Vec<HelpLine>> = Vec::new();
    let mut column: Vec<HelpLine> = Vec::new();
    for line in all {
        // A heading must not be the last line of a column.
        let lone = matches!(line, HelpLine::Heading(_)) && column.len() + 1 == each;
        if (column.len() >= each || lone) && out.len() + 1 < columns {
            out.push(std::mem::take(&mut column));
        }
        column.push(line);
    }
    out.push(column);
    out
}

fn query_lines(about: About<'_>, width: u16) -> Vec<HelpLine> {
    let mut out = Lines::new(width);
    let fixed = |pairs: &'static [(&str, &str)]| {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
    };
    out.section("Queries, typed after &", fixed(QUERIES));
    let names: Vec<&str> = about
        .fields
        .iter()
        .filter_map(|f| f.names.first().copied())
        .filter(|n| !n.is_empty())
        .collect();
    if !names.is_empty() {
        let fields = (about.context.name().to_owned(), names.join(", "));
        out.section("Columns that a query can name here", [fields].into_iter());
    }
    let examples = EXAMPLES
        .iter()
        .filter(|(context, _)| *context == about.context);
    let examples = examples.flat_map(|(_, all)| all.iter());
    out.section(
        "Examples",
        examples.map(|e| (format!("& {e}"), String::new())),
    );
    out.section("Marks", fixed(LEGEND));
    if about.context == Context::Tags {
        out.section("Columns of the tag list", fixed(COLUMNS));
    }
    out.lines
}

/// All keys in full sentences. Keys of the screen below come first.
fn all_lines(about: About<'_>, width: u16) -> Vec<HelpLine> {
    let (keys, context) = (about.keys, about.context);
    let mut out = Lines::new(width);
    for group in Group::ALL {
        let here = |b: &&Entry| b.group == group && b.applies(context);
        let entries = keys.entries().iter().filter(here);
        out.section(
            group.title(),
            entries.map(|b| (b.key_names(), b.help.to_owned())),
        );
    }
    let elsewhere = keys.entries().iter().filter(|b| !b.applies(context));
    let elsewhere = elsewhere.map(|b| {
        let places: Vec<_> = b.contexts.iter().map(|c| c.name()).collect();
        (b.key_names(), format!("{}: {}", places.join(", "), b.help))
    });
    out.section("On other screens", elsewhere);
    out.lines
}

struct Lines {
    lines: Vec<HelpLine>,
    /// Width of the sentence, in cells.
    sentence: usize,
}

impl Lines {
    fn new(width: u16) -> Lines {
        Lines {
            lines: Vec::new(),
            sentence: usize::from(width).saturating_sub(key_width(width) + 4),
        }
    }

    fn section(&mut self, title: &str, pairs: impl Iterator<Item = (String, String)>) {
        let mut pairs = pairs.peekable();
        if pairs.peek().is_none() {
            return;
        }
        if !self.lines.is_empty() {
            self.lines.push(HelpLine::Heading(String::new()));
        }
        self.lines.push(HelpLine::Heading(title.to_owned()));
        for (mut key, text) in pairs {
            for piece in wrap(&text, self.sentence) {
                self.lines
                    .push(HelpLine::Key(std::mem::take(&mut key), piece));
            }
        }
    }
}

/// Width of the key names, in cells.
fn key_width(width: u16) -> usize {
    30.min(usize::from(width) * 2 / 5)
}

/// Total number of lines, for a screen of a size.
pub fn len(about: About<'_>, page: Page, area: Rect) -> u64 {
    let lines = match page {
        Page::Keys => {
            let columns = key_columns(about, area.width, height(area) as u16);
            columns.iter().map(Vec::len).max().unwrap_or(0)
        }
        Page::Queries => query_lines(about, area.width).len(),
        Page::All => all_lines(about, area.width).len(),
    };
    lines as u64
}

/// Number of lines on screen.
pub fn height(area: Rect) -> u64 {
    area.height.saturating_sub(1).into()
}

/// Draws the help.
pub fn draw(buffer: &mut Buffer, area: Rect, theme: &Theme, about: About<'_>, view: HelpView) {
    let (title, body) = split_top(area, 1);
    let all = len(about, view.page, area);
    let last = (view.top + u64::from(body.height)).min(all);
    let name = match view.page {
        Page::Keys => format!("Keys of the {}", about.context.name()),
        Page::Queries => "Queries and marks".into(),
        Page::All => "All keys".into(),
    };
    let lines = match all > u64::from(body.height) {
        true => format!(", lines {} to {last} of {all}", view.top + 1),
        false => String::new(),
    };
    let next = match view.page {
        Page::Keys => "queries and marks",
        Page::Queries => "all keys",
        Page::All => "the keys of this screen",
    };
    let key = about.keys.hints(Context::Help);
    let key = key.iter().find(|(_, word)| *word == "next page");
    let more = key.map_or_else(String::new, |(key, _)| format!("; {key}: {next}"));
    pane_title(buffer, title, theme, &format!("{name}{lines}{more}"), true);
    let page = match view.page {
        Page::Keys => key_columns(about, area.width, body.height),
        Page::Queries => vec![query_lines(about, area.width)],
        Page::All => vec![all_lines(about, area.width)],
    };
    let each = match page.len() {
        0 | 1 => body.width,
        n => body.width / n as u16,
    };
    for (x, column) in (0u16..).zip(page.iter()) {
        let place = Rect {
            x: body.x + x.saturating_mul(each),
            width: each,
            ..body
        };
        let keys = match view.page {
            Page::Keys => column_keys(column),
            _ => key_width(area.width),
        };
        let shown = column.iter().skip(view.top as usize);
        for (y, line) in shown.take(body.height.into()).enumerate() {
            draw_line(buffer, place, theme, y as u16, line, keys);
        }
    }
}

/// Width of the longest key in a column, in cells.
fn column_keys(lines: &[HelpLine]) -> usize {
    let key = |line: &HelpLine| match line {
        HelpLine::Key(key, _) => width(key),
        HelpLine::Heading(_) => 0,
    };
    lines.iter().map(key).max().unwrap_or(0)
}

fn draw_line(buffer: &mut Buffer, area: Rect, theme: &Theme, y: u16, line: &HelpLine, keys: usize) {
    let plain = Style::new();
    match line {
        HelpLine::Heading(text) => {
            pieces(buffer, area, y, &[(" ", plain), (text, theme.heading())]);
        }
        HelpLine::Key(key, text) => {
            // A long key name without text uses the whole line.
            let key = match text.is_empty() {
                true => key.clone(),
                false => fill(key, keys, false, theme),
            };
            let parts = [
                ("  ", plain),
                (key.as_str(), theme.key()),
                (" ", plain),
                (text.as_str(), plain),
            ];
            pieces(buffer, area, y, &parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::data::columns;
    use crate::tui::input::query::Query;

    fn about(keys: &KeyMap, context: Context) -> About<'_> {
        About {
            keys,
            context,
            fields: &columns::TAG,
        }
    }

    #[test]
    fn the_page_of_all_keys_shows_every_key_that_the_documents_list() {
        let keys = KeyMap::default();
        for context in Context::ALL {
            let mut text = String::new();
            for line in all_lines(about(&keys, context), 2000) {
                if let HelpLine::Key(key, sentence) = line {
                    text += &format!("{key}: {sentence}\n");
                }
            }
            for entry in keys.entries() {
                let line = |l: &str| l.starts_with(&entry.key_names()) && l.ends_with(entry.help);
                assert!(text.lines().any(line), "{} in {context:?}", entry.help);
            }
            for listed in keys.listed() {
                assert!(text.contains(listed.help), "{} in {context:?}", listed.help);
            }
        }
    }

    #[test]
    fn the_keys_of_every_screen_fit_on_one_page() {
        let keys = KeyMap::default();
        for context in Context::ALL {
            for (columns, rows) in [(80, 20), (120, 36), (200, 46)] {
                let area = Rect::new(0, 0, columns, rows);
                let about = about(&keys, context);
                let lines = len(about, Page::Keys, area);
                assert!(
                    lines <= height(area),
                    "{context:?}: {lines} lines at {columns}"
                );
                for entry in keys.entries().iter().filter(|e| e.applies(context)) {
                    let key = entry.keys[0].name();
                    let words = brief::brief(entry.action, context);
                    let shown = key_columns(about, columns, rows - 1);
                    let short = key.strip_prefix("Ctrl-").unwrap_or(&key);
                    let has = |l: &HelpLine| {
                        let named = |k: &str| k.split(' ').any(|k| k == key || k == short);
                        matches!(l, HelpLine::Key(k, t) if t == words && named(k))
                    };
                    assert!(shown.iter().flatten().any(has), "{key} of {context:?}");
                }
            }
        }
    }

    fn examples_hold(context: Context, fields: &[Field], default: usize) -> Result<(), String> {
        for (_, all) in EXAMPLES.iter().filter(|(c, _)| *c == context) {
            for example in *all {
                Query::parse(example, fields, default)?;
            }
        }
        Ok(())
    }

    #[test]
    fn the_examples_of_queries_work() {
        examples_hold(Context::Tags, &columns::TAG, columns::TAG_DEFAULT).unwrap();
        examples_hold(
            Context::Allocations,
            &columns::BLOCK,
            columns::BLOCK_DEFAULT,
        )
        .unwrap();
        examples_hold(Context::Modules, &columns::MODULE, columns::MODULE_DEFAULT).unwrap();
    }
}
