//! The help overlay, made from the key table.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::tui::input::keys::{Context, Entry, Group, KeyMap};
use crate::tui::terminal::theme::Theme;
use crate::tui::widgets::draw::{fill, pieces, split_top, wrap};
use crate::tui::widgets::pane::pane_title;

/// Marks that rows can have, and what they say.
pub const LEGEND: &[(&str, &str)] = &[
    (">", "the selected row; - in the pane without the keys"),
    (
        "!",
        "a warning of !vm, or a number that can't be right beside the others",
    ),
    (
        "?",
        "a tag without a description; as a number: not in this dump",
    ),
    (
        "~",
        "a tag: the walk found other blocks than the kernel counts, open it; an allocation: recognised by its header alone, it may be freed",
    ),
    ("f", "an allocation that is freed and kept on a list"),
    ("u", "a module that was unloaded before"),
    ("??", "a byte that can't be read; never shown as zero"),
];

/// One line of the help: a heading, or a key with (a piece of) its sentence.
enum HelpLine {
    Heading(String),
    Key(String, String),
}

/// The help in lines of a width. The keys of the screen below come first.
fn lines(keys: &KeyMap, context: Context, width: u16) -> Vec<HelpLine> {
    let mut out = Page {
        lines: Vec::new(),
        sentence: usize::from(width).saturating_sub(key_width(width) + 4),
    };
    for group in Group::ALL {
        let here = |b: &&Entry| b.group == group && b.applies(context);
        out.section(
            group.title(),
            keys.entries()
                .iter()
                .filter(here)
                .map(|b| (b.key_names(), b.help.to_owned())),
        );
    }
    let elsewhere = keys
        .entries()
        .iter()
        .filter(|b| !b.applies(context))
        .map(|b| {
            let places: Vec<_> = b.contexts.iter().map(|c| c.name()).collect();
            (b.key_names(), format!("{}: {}", places.join(", "), b.help))
        });
    let fixed = |pairs: &'static [(&str, &str)]| {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
    };
    out.section("Marks", fixed(LEGEND));
    out.section("Columns of the tag list", fixed(COLUMNS));
    out.section("Elsewhere", elsewhere);
    out.lines
}

struct Page {
    lines: Vec<HelpLine>,
    /// Cells for sentences.
    sentence: usize,
}

impl Page {
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

/// Cells for the names of keys.
fn key_width(width: u16) -> usize {
    26.min(usize::from(width) / 3)
}

/// What the columns of the tag list are.
const COLUMNS: &[(&str, &str)] = &[
    (
        "Diff",
        "allocations outstanding: allocs minus frees since boot",
    ),
    (
        "Bytes",
        "bytes outstanding, block headers included, as !poolused counts",
    ),
    ("Share", "of all bytes of the pool that is shown"),
    ("Mean", "bytes per outstanding allocation"),
];

/// Lines in all, at a width.
pub fn len(keys: &KeyMap, context: Context, width: u16) -> u64 {
    lines(keys, context, width).len() as u64
}

/// Lines on screen.
pub fn height(area: Rect) -> u64 {
    area.height.saturating_sub(1).into()
}

/// Draws it from a line on. `context` is the screen below.
pub fn draw(
    buffer: &mut Buffer,
    area: Rect,
    theme: &Theme,
    (bound, context): (&KeyMap, Context),
    top: u64,
) {
    let (title, body) = split_top(area, 1);
    let all = lines(bound, context, area.width);
    let last = (top + u64::from(body.height)).min(all.len() as u64);
    let text = format!(
        "Keys here ({}), lines {} to {last} of {}",
        context.name(),
        top + 1,
        all.len()
    );
    pane_title(buffer, title, theme, &text, true);
    let keys = key_width(area.width);
    let plain = Style::new();
    let shown = all.iter().skip(top as usize).take(body.height.into());
    for (y, line) in shown.enumerate() {
        match line {
            HelpLine::Heading(text) => {
                pieces(
                    buffer,
                    body,
                    y as u16,
                    &[(" ", plain), (text, theme.heading())],
                );
            }
            HelpLine::Key(key, text) => {
                let key = fill(key, keys, false, theme);
                pieces(
                    buffer,
                    body,
                    y as u16,
                    &[
                        ("  ", plain),
                        (&key, theme.key()),
                        (" ", plain),
                        (text, plain),
                    ],
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_screen_shows_every_key_that_the_documents_list() {
        let keys = KeyMap::default();
        for context in Context::ALL {
            let mut text = String::new();
            for line in lines(&keys, context, 2000) {
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
}
