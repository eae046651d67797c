//! The help overlay, made from the key table.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::draw::{cut, fill, pieces, split_top};
use super::keys::{Context, Group, TABLE};
use super::status::pane_title;
use super::theme::Theme;

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
        "the walk found other blocks than the kernel counts: open the tag",
    ),
    ("f", "an allocation that is freed and kept on a list"),
    ("u", "a module that was unloaded before"),
    ("??", "a byte that can't be read; never shown as zero"),
];

/// One line of the help.
enum HelpLine {
    Heading(&'static str),
    Key(String, String),
    Blank,
}

fn lines(context: Context) -> Vec<HelpLine> {
    let mut out = Vec::new();
    for group in Group::ALL {
        let bindings: Vec<_> = TABLE.iter().filter(|b| b.group == group).collect();
        out.push(HelpLine::Heading(group.title()));
        for binding in bindings {
            let here = binding.applies(context);
            let places = match here || binding.contexts.len() > 4 {
                true => String::new(),
                false => {
                    let names: Vec<_> = binding.contexts.iter().map(|c| c.name()).collect();
                    format!(" ({})", names.join(", "))
                }
            };
            out.push(HelpLine::Key(
                binding.key_names(),
                format!("{}{places}", binding.help),
            ));
        }
        out.push(HelpLine::Blank);
    }
    out.push(HelpLine::Heading("Marks"));
    for (mark, meaning) in LEGEND {
        out.push(HelpLine::Key((*mark).into(), (*meaning).into()));
    }
    out.push(HelpLine::Blank);
    out.push(HelpLine::Heading("Reading the tag list"));
    for (word, meaning) in COLUMNS {
        out.push(HelpLine::Key((*word).into(), (*meaning).into()));
    }
    out
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

/// Lines in all.
pub fn len(context: Context) -> u64 {
    lines(context).len() as u64
}

/// Lines on screen.
pub fn height(area: Rect) -> u64 {
    area.height.saturating_sub(1).into()
}

/// Draws it from a line on. `context` is the screen below: its keys are shown without
/// naming it.
pub fn draw(buffer: &mut Buffer, area: Rect, theme: &Theme, context: Context, top: u64) {
    let (title, body) = split_top(area, 1);
    let all = lines(context);
    let last = (top + u64::from(body.height)).min(all.len() as u64);
    let text = format!(
        "Keys, lines {} to {last} of {} ({} closes)",
        top + 1,
        all.len(),
        "Esc"
    );
    pane_title(buffer, title, theme, &text, true);
    let keys = 26.min(usize::from(area.width) / 3);
    for (y, line) in all
        .iter()
        .skip(top as usize)
        .take(body.height.into())
        .enumerate()
    {
        match line {
            HelpLine::Heading(text) => pieces(
                buffer,
                body,
                y as u16,
                &[(" ", Style::new()), (text, theme.heading())],
            ),
            HelpLine::Blank => 0,
            HelpLine::Key(key, text) => {
                let key = fill(key, keys, false, theme);
                let room = usize::from(area.width).saturating_sub(keys + 4);
                pieces(
                    buffer,
                    body,
                    y as u16,
                    &[
                        ("  ", Style::new()),
                        (&key, theme.key()),
                        (" ", Style::new()),
                        (&cut(text, room, theme), Style::new()),
                    ],
                )
            }
        };
    }
}
