//! The report on the screen: the same text as on the command line.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::tui::input::query::TextFilter;
use crate::tui::terminal::theme::Theme;
use crate::tui::widgets::draw::{put, split_top, wrap};
use crate::tui::widgets::pane::pane_title;

/// The state of the screen.
#[derive(Clone, Debug, Default)]
pub struct ReportView {
    /// The text; `None` until the answer.
    pub text: Option<String>,
    /// The first line on screen, of the lines broken to the screen's width.
    pub top: u64,
    /// The number of the request that is awaited; 0 for none.
    pub awaited: u64,
    /// The walk had ended when it was made.
    pub whole: bool,
    /// The command whose answer this is; `None` for the report itself.
    pub typed: Option<Box<crate::command::Request>>,
    /// It was asked for while the walk ran, so it is asked for again at its end.
    pub early: bool,
}

impl ReportView {
    /// The answer of a command.
    pub fn of_command(request: crate::command::Request) -> ReportView {
        ReportView {
            typed: Some(Box::new(request)),
            ..ReportView::default()
        }
    }

    /// What it is, in the path.
    pub fn name(&self) -> String {
        match &self.typed {
            None => "Report".into(),
            Some(request) => request.line(),
        }
    }

    fn lines(&self, width: u16) -> Vec<String> {
        let text = self.text.as_deref().unwrap_or_default();
        let cells = usize::from(width.saturating_sub(2)).max(20);
        text.lines().flat_map(|line| broken(line, cells)).collect()
    }

    /// Lines in all, at a width.
    pub fn len(&self, width: u16) -> u64 {
        self.lines(width).len() as u64
    }

    /// Lines on screen.
    pub fn height(area: Rect) -> u64 {
        area.height.saturating_sub(1).into()
    }

    /// The next line, going round, that has the text.
    pub fn find(&self, typed: &str, width: u16, forward: bool, here: bool) -> Option<u64> {
        let filter = TextFilter::parse(typed)?;
        let lines = self.lines(width);
        let rows = lines.len() as u64;
        let from = match here && rows > 0 {
            true => (self.top + rows - 1) % rows,
            false => self.top,
        };
        crate::tui::widgets::list::around(rows, from, forward).find(|&at| {
            let line = usize::try_from(at).ok().and_then(|at| lines.get(at));
            line.is_some_and(|line| filter.in_text(line))
        })
    }

    /// Draws the screen.
    pub fn draw(&self, buffer: &mut Buffer, area: Rect, theme: &Theme) {
        let (title, body) = split_top(area, 1);
        if self.text.is_none() {
            pane_title(
                buffer,
                title,
                theme,
                &format!("{}: computing…", self.name()),
                true,
            );
            return;
        }
        let lines = self.lines(area.width);
        let last = (self.top + u64::from(body.height)).min(lines.len() as u64);
        let text = format!(
            "{}, lines {} to {last} of {}{}",
            self.name(),
            self.top + 1,
            lines.len(),
            match self.whole {
                true => "",
                false => " (the walk was not done)",
            }
        );
        pane_title(buffer, title, theme, &text, true);
        let shown = lines.iter().skip(self.top as usize);
        for (y, line) in shown.take(body.height.into()).enumerate() {
            let style = match line.starts_with("Verdict") {
                true => theme.place(),
                false => Style::new(),
            };
            put(buffer, body, 1, y as u16, line, style);
        }
    }
}

/// A line broken at blanks; what follows keeps its indent.
fn broken(line: &str, cells: usize) -> Vec<String> {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let indent = indent.min(cells / 2);
    let rest = line.trim_start_matches(' ');
    wrap(rest, cells - indent)
        .into_iter()
        .map(|piece| " ".repeat(indent) + &piece)
        .collect()
}
