//! The report on screen: the same text as on the command line, in sections that fold.
//! Answer, evidence and next steps are open; machine and coverage are folded at first.

use std::collections::BTreeSet;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::tui::input::query::TextFilter;
use crate::tui::terminal::theme::{Kind, Theme};
use crate::tui::widgets::draw::{
    pieces, put, split_top, style_line, width as width_of, without_tabs, wrap,
};
use crate::tui::widgets::list::{Cursor, around};
use crate::tui::widgets::pane::pane_title;

/// The state of the screen.
#[derive(Clone, Debug, Default)]
pub struct ReportView {
    /// The text; `None` until the answer arrives.
    pub text: Option<String>,
    /// The selected line, counted in lines as shown at the current width.
    pub cursor: Cursor,
    /// The number of the pending request; 0 for none.
    pub awaited: u64,
    /// The report was made after the walk.
    pub whole: bool,
    /// The command whose output this is; `None` for the report itself.
    pub typed: Option<Box<crate::command::Request>>,
    /// The report was requested during the walk, so it is requested again when the walk is done.
    pub early: bool,
    /// Headings of sections whose default state the user toggled.
    turned: BTreeSet<String>,
}

/// The kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// The first line: the verdict.
    Verdict,
    /// The heading of a section, and the number of lines folded below it.
    Heading { folded: bool, lines: usize },
    /// The label of a list: `Evidence (9 points):`.
    Label,
    /// A line of a section.
    Item,
    /// A line of a list.
    Detail,
    /// Text without sections.
    Plain,
}

/// A line on screen.
#[derive(Clone, Debug)]
struct Line {
    text: String,
    what: What,
    /// The index of its section.
    section: usize,
    /// True for the first line of a wrapped paragraph.
    first: bool,
}

/// A section of the report.
struct Section<'t> {
    /// The heading; empty for the text above the first heading.
    heading: &'t str,
    lines: Vec<&'t str>,
}

/// Sections that are folded by default: background, not the answer.
const FOLDED: [&str; 3] = ["Machine", "Coverage", "Limitations"];

/// Splits a text into sections: a heading is not indented and follows a blank line.
fn sections(text: &str) -> Vec<Section<'_>> {
    let mut out = vec![Section {
        heading: "",
        lines: Vec::new(),
    }];
    let mut above: Option<&str> = None;
    for line in text.lines() {
        let heads = above == Some("") && !line.is_empty() && !line.starts_with(' ');
        above = Some(line);
        if heads {
            out.push(Section {
                heading: line,
                lines: Vec::new(),
            });
        } else if let Some(last) = out.last_mut().filter(|_| !line.is_empty()) {
            last.lines.push(line);
        }
    }
    out
}

impl ReportView {
    /// A screen for the output of a command.
    pub fn of_command(request: crate::command::Request) -> ReportView {
        ReportView {
            typed: Some(Box::new(request)),
            ..ReportView::default()
        }
    }

    /// The name on the path.
    pub fn name(&self) -> String {
        match &self.typed {
            None => "Report".into(),
            Some(request) => request.line(),
        }
    }

    /// True if a section is folded. All findings but the first are folded by default: the
    /// verdict is about the first.
    fn is_folded(&self, heading: &str, earlier_findings: usize) -> bool {
        let by_rule =
            FOLDED.contains(&heading) || (heading.starts_with("Tag '") && earlier_findings > 0);
        by_rule != self.turned.contains(heading)
    }

    /// The lines at a width; with `all`, folded ones too.
    fn lines(&self, width: u16, all: bool) -> Vec<Line> {
        let text = self.text.as_deref().unwrap_or_default();
        let cells = usize::from(width.saturating_sub(3)).max(20);
        let mut out = Vec::new();
        if self.typed.is_some() {
            for line in text.lines() {
                let whole = without_tabs(line);
                match line.split_once('\t') {
                    // The words behind the numbers of a row have lines of their own where
                    // the row is too long.
                    Some((row, words)) if !row.is_empty() && width_of(&whole) > cells => {
                        push(&mut out, row.trim_end(), cells, What::Plain, 0);
                        let start = out.len();
                        let words = format!("        {}", without_tabs(words));
                        push(&mut out, &words, cells, What::Plain, 0);
                        if let Some(line) = out.get_mut(start) {
                            line.first = false;
                        }
                    }
                    _ => push(&mut out, &whole, cells, What::Plain, 0),
                }
            }
            return out;
        }
        let mut findings = 0;
        for (at, section) in sections(text).iter().enumerate() {
            let folded = !section.heading.is_empty() && self.is_folded(section.heading, findings);
            findings += usize::from(section.heading.starts_with("Tag '"));
            if !section.heading.is_empty() {
                // A folded section is one line; an open section has a blank line above it.
                if !folded {
                    push(&mut out, "", cells, What::Plain, at);
                }
                let what = What::Heading {
                    folded,
                    lines: section.lines.len(),
                };
                push(&mut out, section.heading, cells, what, at);
            }
            if folded && !all {
                continue;
            }
            for (i, line) in section.lines.iter().enumerate() {
                let what = match line {
                    _ if at == 0 && i == 0 => What::Verdict,
                    line if line.starts_with("    ") => What::Detail,
                    line if line.ends_with(':') => What::Label,
                    _ => What::Item,
                };
                push(&mut out, line, cells, what, at);
            }
        }
        out
    }

    /// Number of lines shown at a width.
    pub fn len(&self, width: u16) -> u64 {
        self.lines(width, false).len() as u64
    }

    /// Number of lines on screen.
    pub fn height(area: Rect) -> u64 {
        area.height.saturating_sub(1).into()
    }

    fn selected(&self, width: u16) -> Option<Line> {
        let at = usize::try_from(self.cursor.row).ok()?;
        self.lines(width, false).into_iter().nth(at)
    }

    /// Folds or unfolds the section whose heading is selected. False on other lines.
    pub fn turn(&mut self, width: u16) -> bool {
        let Some(line) = self.selected(width) else {
            return false;
        };
        if !matches!(line.what, What::Heading { .. }) || self.typed.is_some() {
            return false;
        }
        self.turn_section(line.section);
        true
    }

    fn turn_section(&mut self, section: usize) {
        let text = self.text.clone().unwrap_or_default();
        if let Some(section) = sections(&text).get(section) {
            let heading = section.heading.to_owned();
            if !self.turned.remove(&heading) {
                self.turned.insert(heading);
            }
        }
    }

    /// Unfolds all sections; if all are unfolded, restores the default.
    pub fn turn_all(&mut self) {
        let text = self.text.clone().unwrap_or_default();
        let mut findings = 0;
        let mut folded = Vec::new();
        for section in sections(&text) {
            if !section.heading.is_empty() && self.is_folded(section.heading, findings) {
                folded.push(section.heading.to_owned());
            }
            findings += usize::from(section.heading.starts_with("Tag '"));
        }
        match folded.is_empty() {
            true => self.turned.clear(),
            false => {
                for heading in folded {
                    if !self.turned.remove(&heading) {
                        self.turned.insert(heading);
                    }
                }
            }
        }
    }

    /// Selects the next heading, wrapping around.
    pub fn next_section(&mut self, width: u16) {
        let lines = self.lines(width, false);
        let heads = |at: &u64| {
            let line = usize::try_from(*at).ok().and_then(|at| lines.get(at));
            line.is_some_and(|l| l.first && matches!(l.what, What::Heading { .. }))
        };
        if let Some(at) = around(lines.len() as u64, self.cursor.row, true).find(heads) {
            self.cursor.to(at);
        }
    }

    /// The WinDbg command on the selected line of a next step: `lmvm X`.
    pub fn command(&self, width: u16) -> Option<String> {
        let line = self.selected(width)?;
        if line.what != What::Detail || self.typed.is_some() {
            return None;
        }
        // A step is a command, three spaces, and the reason.
        let text = self.text.as_deref()?;
        let section = sections(text).into_iter().nth(line.section)?;
        let begin = line.text.trim();
        let whole = section.lines.iter().find(|l| l.trim().starts_with(begin))?;
        let (command, _) = whole.trim().split_once("   (")?;
        Some(command.trim().to_owned())
    }

    /// Selects the next line with the text, wrapping around; unfolds its section if
    /// necessary. False if there is none.
    pub fn find(&mut self, typed: &str, width: u16, forward: bool, here: bool) -> bool {
        let Some(filter) = TextFilter::parse(typed) else {
            return false;
        };
        let shown = self.lines(width, false);
        let all = self.lines(width, true);
        // Find the selected line among all lines: the line with the same section and text.
        let at = usize::try_from(self.cursor.row).unwrap_or(0);
        let same = |a: &Line, b: &Line| a.section == b.section && a.text == b.text;
        let now = shown.get(at).and_then(|line| {
            let before = shown.iter().take(at).filter(|l| same(l, line)).count();
            let places = all.iter().enumerate().filter(|(_, l)| same(l, line));
            places.map(|(at, _)| at as u64).nth(before)
        });
        let rows = all.len() as u64;
        let now = now.unwrap_or(0);
        let from = match here && rows > 0 {
            true => (now + rows - 1) % rows,
            false => now,
        };
        let line = |at: u64| usize::try_from(at).ok().and_then(|at| all.get(at));
        let has = |at: &u64| line(*at).is_some_and(|l| filter.in_text(&l.text));
        let Some(found) = around(rows, from, forward).find(has).and_then(line) else {
            return false;
        };
        let place = |lines: &[Line]| lines.iter().position(|l| same(l, found));
        let mut shown_at = place(&shown);
        if shown_at.is_none() {
            self.turn_section(found.section);
            shown_at = place(&self.lines(width, false));
        }
        if let Some(at) = shown_at {
            self.cursor.to(at as u64);
        }
        true
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
        let lines = self.lines(area.width, false);
        let count = lines.len() as u64;
        let last = (self.cursor.top + u64::from(body.height)).min(count);
        let place = match count > u64::from(body.height) {
            true => format!(", lines {} to {last} of {count}", self.cursor.top + 1),
            false => String::new(),
        };
        let text = format!(
            "{}{place}{}",
            self.name(),
            match self.whole {
                true => "",
                false => " (the walk was not done)",
            }
        );
        pane_title(buffer, title, theme, &text, true);
        let shown = lines.iter().skip(self.cursor.top as usize);
        for (y, line) in (0u16..).zip(shown.take(body.height.into())) {
            let selected = self.cursor.top + u64::from(y) == self.cursor.row;
            draw_line(buffer, body, theme, (y, line), selected);
        }
    }
}

/// Wraps a line at spaces; continuation lines keep its indent.
fn push(out: &mut Vec<Line>, line: &str, cells: usize, what: What, section: usize) {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let indent = indent.min(cells / 2);
    let rest = line.trim_start_matches(' ');
    for (i, piece) in wrap(rest, cells - indent).into_iter().enumerate() {
        out.push(Line {
            text: " ".repeat(indent) + &piece,
            what,
            section,
            first: i == 0,
        });
    }
}

fn draw_line(
    buffer: &mut Buffer,
    area: Rect,
    theme: &Theme,
    (y, line): (u16, &Line),
    selected: bool,
) {
    let plain = Style::new();
    let sign = match line.what {
        What::Heading { folded: true, .. } if line.first => theme.glyph("▸", "+"),
        What::Heading { folded: false, .. } if line.first => theme.glyph("▾", "-"),
        _ => " ",
    };
    let style = match line.what {
        What::Verdict => theme.alarm_if(is_alarm(&line.text)),
        What::Heading { .. } => theme.place(),
        What::Label => theme.heading(),
        What::Detail if line.text.contains("(evidence against)") => theme.quiet(),
        What::Detail if line.text.contains("(strong evidence)") => theme.kind(Kind::Alarm),
        _ => plain,
    };
    // `Suspect: myfault (certain)`: the label is coloured, its value is not.
    let label = match line.what {
        What::Item if line.first => line.text.split_once(": "),
        _ => None,
    };
    match label.filter(|(label, _)| label.trim().len() <= 24) {
        Some((label, text)) => {
            let label = format!(" {sign}{label}:");
            let parts = [
                (label.as_str(), theme.heading()),
                (" ", plain),
                (text, plain),
            ];
            pieces(buffer, area, y, &parts);
        }
        None => {
            let text = match line.what {
                What::Heading {
                    folded: true,
                    lines,
                } if line.first => {
                    let s = if lines == 1 { "" } else { "s" };
                    format!("{} ({lines} line{s})", line.text)
                }
                _ => line.text.clone(),
            };
            let parts = [(" ", plain), (sign, style), (text.as_str(), style)];
            pieces(buffer, area, y, &parts);
        }
    }
    if selected {
        put(buffer, area, 0, y, ">", plain);
        style_line(buffer, area, y, theme.selected());
    }
}

/// True for a verdict that needs action.
fn is_alarm(verdict: &str) -> bool {
    let word = verdict.trim_start_matches("Verdict: ");
    word.starts_with("LEAK") || word.starts_with("SUSPICIOUS")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Verdict: LEAK. Tag 'Leak'.
  Evidence: growth: it grows (strong \
        evidence)
  Next action: check for an update

Tag 'Leak', nonpaged pool (leak)
  Evidence \
        (9 points):
      growth: it grows (strong evidence)
  Next steps in the debugger:
      \
        !poolfind \"Leak\" -nonpaged   (all its blocks)

Tag 'Othr', paged pool (suspicious)
  \
        Owner: unknown

Machine
  Windows: 6.1.7601

Coverage
  all tags are listed
";

    fn view() -> ReportView {
        ReportView {
            text: Some(TEXT.into()),
            ..ReportView::default()
        }
    }

    fn texts(view: &ReportView) -> Vec<String> {
        let lines = view.lines(80, false);
        lines.iter().map(|l| l.text.trim().to_owned()).collect()
    }

    fn select(view: &mut ReportView, start: &str) {
        let at = texts(view)
            .iter()
            .position(|l| l.starts_with(start))
            .unwrap();
        view.cursor.to(at as u64);
    }

    #[test]
    fn the_answer_is_unfolded_and_the_machine_is_folded() {
        let mut view = view();
        let shown = texts(&view);
        assert!(shown.contains(&"growth: it grows (strong evidence)".to_owned()));
        for folded in ["Owner: unknown", "Windows: 6.1.7601", "all tags are listed"] {
            assert!(!shown.contains(&folded.to_owned()), "{folded}");
        }
        select(&mut view, "Machine");
        assert!(view.turn(80));
        assert!(texts(&view).contains(&"Windows: 6.1.7601".to_owned()));
        select(&mut view, "Machine");
        assert!(view.turn(80));
        assert!(!texts(&view).contains(&"Windows: 6.1.7601".to_owned()));
        view.turn_all();
        assert!(texts(&view).contains(&"all tags are listed".to_owned()));
        view.turn_all();
        assert_eq!(texts(&view), shown);
    }

    #[test]
    fn a_step_is_a_command_that_can_be_run() {
        let mut view = view();
        select(&mut view, "!poolfind");
        assert_eq!(
            view.command(80).as_deref(),
            Some("!poolfind \"Leak\" -nonpaged")
        );
        select(&mut view, "growth");
        assert_eq!(view.command(80), None);
        assert!(!view.turn(80));
    }

    #[test]
    fn a_search_unfolds_the_section_of_a_match() {
        let mut view = view();
        assert!(view.find("7601", 80, true, false));
        assert_eq!(view.selected(80).unwrap().text.trim(), "Windows: 6.1.7601");
        assert!(!view.find("nothing like it", 80, true, false));
        view.next_section(80);
        assert_eq!(view.selected(80).unwrap().text, "Coverage");
        view.next_section(80);
        assert!(view.selected(80).unwrap().text.starts_with("Tag 'Leak'"));
    }

    #[test]
    fn the_words_of_a_long_row_have_lines_of_their_own() {
        let mut view = ReportView::of_command(crate::command::Request::Vm);
        let row = " Leak       601    615424000          0            0";
        view.text = Some(format!(
            " Tag\n{row}\tUNKNOWN pooltag 'Leak', please update"
        ));
        let lines = |width| -> Vec<String> {
            let lines = view.lines(width, false).into_iter();
            lines.map(|line| line.text).collect()
        };
        assert_eq!(lines(120).len(), 2);
        assert_eq!(
            lines(80),
            [" Tag", row, "        UNKNOWN pooltag 'Leak', please update"]
        );
    }
}
