//! Memory: as bytes with text, or as pointers with their targets. Scrolls freely;
//! unreadable memory is `??`, memory that is not read yet is blank.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::memory::Va;
use crate::pool::Block;
use crate::report::text::{dump_line, printable};

use crate::tui::data::model::Bytes;
use crate::tui::terminal::theme::Theme;
use crate::tui::widgets::draw::{cut, put, put_lines, split_top, wrap};
use crate::tui::widgets::pane::pane_title;

/// The display format of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BytesFormat {
    /// Bytes with text.
    #[default]
    Bytes,
    /// Pointers with their targets.
    Pointers,
    /// Text, one or two bytes per character.
    Text,
}

impl BytesFormat {
    /// The next format in the cycle.
    pub fn next(self) -> BytesFormat {
        match self {
            BytesFormat::Bytes => BytesFormat::Pointers,
            BytesFormat::Pointers => BytesFormat::Text,
            BytesFormat::Text => BytesFormat::Bytes,
        }
    }

    /// One word, for the path.
    pub fn word(self) -> &'static str {
        match self {
            BytesFormat::Bytes => "bytes",
            BytesFormat::Pointers => "pointers",
            BytesFormat::Text => "text",
        }
    }
}

/// The state of the screen.
#[derive(Clone, Debug)]
pub struct BytesView {
    /// The title: `Leak allocation`, `myfault+0x13aa`.
    pub title: String,
    /// A description, as a sentence.
    pub about: String,
    /// The start address of the object.
    pub first: Va,
    /// Its length in bytes, if it has one: bytes outside are marked.
    pub length: Option<u64>,
    /// The cursor: the address of the selected line.
    pub at: Va,
    /// The address of the first line on screen.
    pub top: Va,
    /// The session whose memory is read, for a block of session pool.
    pub session: Option<u32>,
    /// The allocation that is shown, if it is one.
    pub block: Option<Block>,
    /// The display format.
    pub shape: BytesFormat,
    /// Memory around the screen.
    pub memory: Option<Bytes>,
    /// The number of the pending request, and the range it asks for.
    pub awaited: Option<(u64, Va, u64)>,
    /// The memory and its pointer targets are from before the dump was read again.
    pub stale: bool,
    /// Bytes per line.
    step: u64,
}

/// Bytes to read around the screen, so that most moves need no request.
const AHEAD: u64 = 0x2000;

impl BytesView {
    /// At the start of an object.
    pub fn new(title: String, about: String, first: Va, length: Option<u64>) -> BytesView {
        BytesView {
            title,
            about,
            first,
            length,
            at: first,
            top: first,
            session: None,
            block: None,
            shape: BytesFormat::default(),
            memory: None,
            awaited: None,
            stale: false,
            step: 16,
        }
    }

    /// Starts a few lines earlier, to show the context of a hit inside a larger object.
    pub fn with_lines_before(mut self) -> BytesView {
        self.top = Va(self.at.0.saturating_sub(4 * self.step));
        self
    }

    /// Adapts the number of bytes per line to the screen width.
    pub fn settle(&mut self, width: u16, height: u64) {
        let step = step(self.shape, width);
        if step != self.step {
            self.step = step;
            self.at = self.line_of(self.at);
            self.top = self.line_of(self.top);
        }
        let height = height.max(1);
        let last_top = self.at.0.saturating_sub((height - 1).saturating_mul(step));
        let low = self.line_of(Va(last_top)).0;
        let low = if low < last_top {
            low.saturating_add(step)
        } else {
            low
        };
        self.top = Va(self.top.0.clamp(low.min(self.at.0), self.at.0));
    }

    /// The line that contains an address. Lines are counted from the start of the object,
    /// as in WinDbg's output; pointers are aligned.
    fn line_of(&self, va: Va) -> Va {
        let phase = match self.shape {
            BytesFormat::Pointers => 0,
            BytesFormat::Bytes | BytesFormat::Text => self.first.0 % self.step,
        };
        let back = (va.0 % self.step + self.step - phase) % self.step;
        Va(va.0.saturating_sub(back))
    }

    /// Moves by lines; with `screen`, the view scrolls too.
    pub fn by(&mut self, lines: i64, screen: bool) {
        let bytes = lines.unsigned_abs().saturating_mul(self.step);
        let moved = |va: Va| match lines < 0 {
            true => va.0.checked_sub(bytes),
            false => va.0.checked_add(bytes),
        };
        if let Some(at) = moved(self.at) {
            self.at = Va(at);
            if let (true, Some(top)) = (screen, moved(self.top)) {
                self.top = Va(top);
            }
        }
    }

    /// Moves to an address.
    pub fn to(&mut self, va: Va) {
        self.at = self.line_of(va);
        let inside = self.top <= self.at;
        if !inside {
            self.top = self.at;
        }
    }

    /// Moves to the start of the object, or to its last line.
    pub fn to_end(&mut self, last: bool) {
        let length = self.length.unwrap_or(1).max(1);
        let va = match last {
            true => self.first.0.saturating_add(length - 1),
            false => self.first.0,
        };
        self.to(Va(va));
    }

    /// Switches to the next format.
    pub fn toggle(&mut self, width: u16, height: u64) {
        self.shape = self.shape.next();
        self.step = step(self.shape, width);
        self.at = self.line_of(self.at);
        self.top = self.line_of(self.top);
        self.settle(width, height);
    }

    /// Applies memory that was read.
    pub fn take(&mut self, memory: Bytes) {
        self.memory = Some(memory);
        self.awaited = None;
        self.stale = false;
    }

    /// The range to request, if the screen shows more than was read.
    pub fn wanted(&self, height: u64) -> Option<(Va, u64)> {
        let shown = height.max(1).saturating_mul(self.step);
        let shown = shown.min(u64::MAX - self.top.0);
        let enough = |first: Va, length: u64| {
            first <= self.top && first.0.saturating_add(length) >= self.top.0.saturating_add(shown)
        };
        let known = self.memory.as_ref().filter(|_| !self.stale);
        if known.is_some_and(|m| m.covers(self.top, shown)) {
            return None;
        }
        if self
            .awaited
            .is_some_and(|(_, first, length)| enough(first, length))
        {
            return None;
        }
        let first = self.top.0.saturating_sub(AHEAD / 2) & !0xf;
        let length = (shown + AHEAD).min(u64::MAX - first);
        Some((Va(first), length))
    }

    /// The pointer on the selected line, if it is a kernel address.
    pub fn target(&self) -> Option<Va> {
        let at = Va(self.at.0 & !7);
        let value = Va(self.memory.as_ref()?.qword(at)?);
        value.is_kernel().then_some(value)
    }

    /// The target of the pointer on the selected line.
    pub fn target_name(&self) -> Option<&str> {
        self.memory.as_ref()?.pointer(Va(self.at.0 & !7))
    }

    /// The WinDbg command that shows this memory.
    pub fn command(&self) -> String {
        let how = match self.shape {
            BytesFormat::Bytes => "db",
            BytesFormat::Pointers => "dps",
            BytesFormat::Text => "da /c100",
        };
        format!("{how} {}", self.at)
    }

    /// The line of the screen that the cursor is on.
    pub fn line(&self) -> u64 {
        self.at.0.saturating_sub(self.top.0) / self.step.max(1)
    }

    fn contains(&self, va: Va) -> bool {
        let end = |length: u64| self.first.0.saturating_add(length);
        self.length.is_none_or(|length| {
            va.0.saturating_add(self.step) > self.first.0 && va.0 < end(length)
        })
    }

    /// The selected line as text, for the clipboard.
    pub fn line_text(&self) -> String {
        match self.shape {
            BytesFormat::Pointers => self.pointer_line(self.at),
            BytesFormat::Text => self.letters_line(self.at),
            BytesFormat::Bytes => dump_line(self.at, &self.line_bytes(self.at, 16)),
        }
    }

    fn line_bytes(&self, va: Va, count: u64) -> Vec<Option<u8>> {
        (0..count)
            .map(|i| self.memory.as_ref()?.at(va.add(i))?)
            .collect()
    }

    fn sentences(&self, width: u16) -> Vec<String> {
        wrap(&self.about, usize::from(width.saturating_sub(2)))
    }

    /// Number of memory lines on screen.
    pub fn height(&self, area: Rect) -> u64 {
        let above = self.sentences(area.width).len().min(3) as u16 + 1;
        u64::from(area.height.saturating_sub(above))
    }

    /// Draws the screen.
    pub fn draw(&self, buffer: &mut Buffer, area: Rect, theme: &Theme) {
        let sentences = self.sentences(area.width);
        let (about, rest) = split_top(area, sentences.len().min(3) as u16);
        let styled = sentences.iter().map(|line| (line, Style::new()));
        put_lines(buffer, about, theme, styled);
        let (title, body) = split_top(rest, 1);
        let how = match self.shape {
            BytesFormat::Bytes => "Bytes",
            BytesFormat::Pointers => "Pointers",
            BytesFormat::Text => "Text",
        };
        let mut text = format!("{how} at {}", self.at);
        if let Some(why) = self.memory.as_ref().and_then(|m| m.hole(self.at)) {
            text += &format!(": {why}, shown as ??");
        } else if let Some(target) = self
            .target_name()
            .filter(|_| self.shape == BytesFormat::Pointers)
        {
            text += &format!(": to {target}");
        }
        pane_title(buffer, title, theme, &text, true);
        for y in 0..body.height {
            let Some(at) = self.top.0.checked_add(u64::from(y) * self.step) else {
                break;
            };
            self.draw_line(buffer, body, theme, y, Va(at));
        }
    }

    fn draw_line(&self, buffer: &mut Buffer, area: Rect, theme: &Theme, y: u16, va: Va) {
        let text = match (self.shape, area.width) {
            (BytesFormat::Pointers, _) => self.pointer_line(va),
            (BytesFormat::Text, _) => self.letters_line(va),
            (BytesFormat::Bytes, 0..74) => self.packed_line(va, 8),
            (BytesFormat::Bytes, 74..88) => self.packed_line(va, 16),
            (BytesFormat::Bytes, _) => self.wide_line(va, area.width),
        };
        let style = if self.contains(va) {
            Style::new()
        } else {
            theme.quiet()
        };
        let mark = match (va == self.at, self.contains(va)) {
            (true, _) => ">",
            (false, true) => " ",
            (false, false) => theme.glyph("·", ":"),
        };
        let style = if va == self.at {
            theme.selected()
        } else {
            style
        };
        let text = format!("{mark} {}", text.trim_end());
        put(
            buffer,
            area,
            0,
            y,
            &cut(&text, area.width.into(), theme),
            style,
        );
    }

    fn is_read(&self, va: Va) -> bool {
        self.memory.as_ref().is_some_and(|m| m.at(va).is_some())
    }

    /// A line in WinDbg's format, and on wide screens the targets of its qwords.
    fn wide_line(&self, va: Va, width: u16) -> String {
        if !self.is_read(va) {
            return va.to_string();
        }
        let mut line = dump_line(va, &self.line_bytes(va, 16));
        if width >= 110 {
            let aligned = Va(va.0.wrapping_add(7) & !7);
            for at in [aligned, aligned.add(8)] {
                if at.0.wrapping_sub(va.0) > 8 {
                    continue;
                }
                if let Some(name) = self.memory.as_ref().and_then(|m| m.pointer(at)) {
                    line += &format!("  +{:x} {name}", at.0.wrapping_sub(va.0));
                }
            }
        }
        line
    }

    /// Bytes in pairs, for narrow screens.
    fn packed_line(&self, va: Va, count: u64) -> String {
        if !self.is_read(va) {
            return va.to_string();
        }
        let bytes = self.line_bytes(va, count);
        let mut hex = String::new();
        let mut text = String::new();
        for (i, byte) in bytes.iter().enumerate() {
            if i > 0 && i % 2 == 0 {
                hex.push(' ');
            }
            match byte {
                Some(byte) => {
                    hex += &format!("{byte:02x}");
                    text.push(printable(*byte));
                }
                None => {
                    hex += "??";
                    text.push('?');
                }
            }
        }
        format!("{va}  {hex}  {text}")
    }

    /// Text of one or two bytes per character: a zero byte after a character is not drawn,
    /// so that both encodings are readable.
    fn letters_line(&self, va: Va) -> String {
        if !self.is_read(va) {
            return va.to_string();
        }
        let bytes = self.line_bytes(va, self.step);
        let mut text = String::new();
        let mut after_letter = false;
        for byte in bytes {
            match byte {
                Some(0) if after_letter => after_letter = false,
                Some(byte) => {
                    after_letter = matches!(byte, 0x20..=0x7e);
                    text.push(printable(byte));
                }
                None => {
                    after_letter = false;
                    text.push('?');
                }
            }
        }
        format!("{va}  {text}")
    }

    fn pointer_line(&self, va: Va) -> String {
        if !self.is_read(va) {
            return va.to_string();
        }
        let value = match self.memory.as_ref().and_then(|m| m.qword(va)) {
            Some(value) => Va(value).to_string(),
            None => "????????`????????".into(),
        };
        let text: String = self
            .line_bytes(va, 8)
            .iter()
            .map(|byte| byte.map_or('?', printable))
            .collect();
        let name = self.memory.as_ref().and_then(|m| m.pointer(va));
        format!("{va}  {value}  {text}  {}", name.unwrap_or(""))
    }
}

/// Bytes per line.
fn step(shape: BytesFormat, width: u16) -> u64 {
    match (shape, width) {
        (BytesFormat::Pointers, _) | (BytesFormat::Bytes, 0..74) => 8,
        (BytesFormat::Bytes, _) => 16,
        (BytesFormat::Text, 0..90) => 32,
        (BytesFormat::Text, _) => 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    fn view() -> BytesView {
        let mut view = BytesView::new("x".into(), String::new(), Va(0xffff_f880_044b_63aa), None);
        view.settle(100, 10);
        view
    }

    #[test]
    fn the_first_line_starts_at_the_hit_as_in_windbg() {
        let mut view = view().with_lines_before();
        view.settle(100, 10);
        assert_eq!(view.top, Va(0xffff_f880_044b_636a));
        assert_eq!(view.at, view.first);
        view.toggle(100, 10);
        assert_eq!(view.at, Va(0xffff_f880_044b_63a8));
        view.toggle(100, 10);
        assert_eq!(view.shape, BytesFormat::Text);
        view.toggle(100, 10);
        assert_eq!(view.at.0 % 16, 0xa);
    }

    #[test]
    fn memory_is_requested_only_when_the_screen_leaves_it() {
        let mut view = view();
        let (first, length) = view.wanted(10).unwrap();
        view.awaited = Some((1, first, length));
        assert_eq!(view.wanted(10), None, "it is on its way");
        view.memory = Some(fixture::bytes(first, length));
        view.awaited = None;
        assert_eq!(view.wanted(10), None, "it is here");
        view.by(20, true);
        assert_eq!(view.wanted(10), None, "and the next screens are");
        view.by(5000, true);
        assert!(view.wanted(10).is_some());
    }

    #[test]
    fn moving_stops_at_the_ends_of_the_address_space() {
        for first in [Va(0), Va(u64::MAX), Va(u64::MAX - 15)] {
            let mut view = BytesView::new("x".into(), String::new(), first, Some(u64::MAX));
            for _ in 0..3 {
                for lines in [-1, 1, i64::MIN, i64::MAX, 40, -40] {
                    view.by(lines, true);
                    view.settle(80, 24);
                    view.wanted(24);
                    view.to_end(lines > 0);
                    view.toggle(60, 5);
                }
            }
        }
    }

    #[test]
    fn unreadable_memory_is_neither_zero_nor_blank() {
        let mut view = BytesView::new("x".into(), String::new(), Va(0x1000), None);
        view.memory = Some(fixture::bytes(Va(0x13f0), 0x20));
        assert!(view.packed_line(Va(0x1400), 16).contains("???? ????"));
        assert!(view.pointer_line(Va(0x1400)).contains("????????`????????"));
        assert_eq!(view.wide_line(Va(0x3000), 200), Va(0x3000).to_string());
    }
}
