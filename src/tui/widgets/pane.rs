//! The title line of a pane.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::tui::terminal::theme::Theme;
use crate::tui::widgets::draw::{cut, pieces, put};

/// Draws the title line of a pane, marked if the pane is focused.
pub fn pane_title(buffer: &mut Buffer, area: Rect, theme: &Theme, text: &str, focused: bool) {
    let rule = theme.glyph("─", "-");
    let mark = match focused {
        true => theme.glyph("▸", ">"),
        false => rule,
    };
    let style = if focused {
        theme.focus()
    } else {
        theme.quiet()
    };
    let room = usize::from(area.width).saturating_sub(4);
    let text = cut(text, room, theme);
    let used = pieces(
        buffer,
        area,
        0,
        &[(mark, style), (" ", style), (&text, style), (" ", style)],
    );
    let rest = usize::from(area.width.saturating_sub(used + 1));
    put(buffer, area, used, 0, &rule.repeat(rest), theme.quiet());
}
