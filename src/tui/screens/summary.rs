//! `!vm`: a short summary that is always on screen, and the full listing as a separate screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::analysis::Flag;
use crate::analysis::vm::Line;
use crate::kernel::vm::PageFile;
use crate::memory::PAGE_SIZE;
use crate::report::text::{clean, grouped, human, kilobytes};

use crate::tui::data::model::{MissingPdb, Model};
use crate::tui::terminal::theme::Theme;
use crate::tui::widgets::draw::{cut, fill, pieces, put, split_top, wrap};
use crate::tui::widgets::pane::pane_title;

/// The style of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Normal text.
    Plain,
    /// A warning.
    Alarm,
    /// Doubtful or missing data.
    Doubt,
    /// A heading.
    Heading,
}

impl Tone {
    fn style(self, theme: &Theme) -> Style {
        match self {
            Tone::Plain => Style::new(),
            Tone::Alarm => theme.alarm(),
            Tone::Doubt => theme.doubt(),
            Tone::Heading => theme.heading(),
        }
    }
}

/// Pages as bytes; `?` if they are not in this dump.
fn amount(line: &Line) -> String {
    line.pages
        .map_or_else(|| "?".into(), |p| human(p.saturating_mul(PAGE_SIZE)))
}

fn share(part: &Line, whole: &Line) -> Option<f64> {
    let (part, whole) = (part.pages?, whole.pages.filter(|w| *w > 0)?);
    Some(part as f64 / whole as f64)
}

/// The memory that was still available.
fn rest_in_brief(model: &Model) -> String {
    let vm = &model.vm;
    let files = vm.page_files.iter().flatten();
    let sum = |of: fn(&PageFile) -> Option<u64>| {
        let mut files = files.clone().peekable();
        files.peek()?;
        files
            .map(of)
            .try_fold(0u64, |sum, pages| Some(sum.saturating_add(pages?)))
    };
    let amount_of = |pages| {
        amount(&Line {
            pages,
            ..Line::default()
        })
    };
    format!(
        "Page file {:>9} of {:>9} free   Resident {}   Modified {}",
        amount_of(sum(|f| f.free)),
        amount_of(sum(|f| f.current)),
        amount(&vm.resident_available),
        amount(&vm.modified)
    )
}

/// One of the bars: `NonPaged  606.9 MB of 746.4 MB  81% ########..`.
fn gauge(label: &str, part: &Line, whole: &Line, width: u16, theme: &Theme) -> String {
    let mut out = format!("{label:<9} {:>9} of {:>9}", amount(part), amount(whole));
    if let Some(share) = share(part, whole) {
        out += &format!(" {:>3.0}%", share * 100.0);
        if width >= 64 {
            out += &format!(" {}", theme.bar(share, 10));
        }
    }
    if part.doubt.is_some() || whole.doubt.is_some() {
        out += " !";
    }
    out
}

/// The short summary, at most `rows` lines. The first three are the important ones.
fn brief(model: &Model, width: u16, rows: u16, theme: &Theme) -> Vec<(String, Tone)> {
    let vm = &model.vm;
    let mut out = vec![
        (
            gauge(
                "NonPaged",
                &vm.nonpaged_usage,
                &vm.nonpaged_max,
                width,
                theme,
            ),
            Tone::Plain,
        ),
        (
            gauge("Paged", &vm.paged_usage, &vm.paged_max, width, theme),
            Tone::Plain,
        ),
        (
            gauge("Commit", &vm.committed, &vm.commit_limit, width, theme),
            Tone::Plain,
        ),
    ];
    for flag in &vm.flags {
        let at = match flag {
            Flag::ExcessiveNonpaged | Flag::HighNonpaged => 0,
            Flag::ExcessivePaged | Flag::HighPaged => 1,
        };
        if let Some(line) = out.get_mut(at) {
            let words = match width {
                0..84 if matches!(flag, Flag::HighNonpaged | Flag::HighPaged) => "HIGH".to_owned(),
                0..84 => "EXCESSIVE".to_owned(),
                _ => flag.banner().trim_matches(['*', ' ']).to_owned(),
            };
            line.0 += &format!("  ! {words}");
            line.1 = Tone::Alarm;
        }
    }
    if let Some(line) = out.get_mut(2).filter(|_| width >= 84) {
        line.0 += &format!(
            "  Available {} of {}",
            amount(&vm.available),
            amount(&vm.physical_memory)
        );
    }
    let warned = usize::from(!model.warnings.is_empty());
    if usize::from(rows) > out.len() + warned && width >= 78 {
        out.push((rest_in_brief(model), Tone::Plain));
    }
    let room = usize::from(rows).saturating_sub(out.len());
    out.extend(warnings_in_brief(model, width, room, theme));
    out.truncate(rows.into());
    out
}

fn warnings_in_brief(model: &Model, width: u16, room: usize, theme: &Theme) -> Vec<(String, Tone)> {
    let count = model.warnings.len();
    if count == 0 || room == 0 {
        return Vec::new();
    }
    // One line each if they fit, otherwise the first ones and the number of the rest.
    let shown = if count <= room { count } else { room };
    let mut out: Vec<(String, Tone)> = model
        .warnings
        .iter()
        .take(shown)
        .map(|w| (format!("! {w}"), Tone::Doubt))
        .collect();
    if count > shown
        && let Some(last) = out.last_mut()
    {
        let more = format!(" (v: {} more)", count - shown);
        let cells = usize::from(width).saturating_sub(more.len() + 2);
        last.0 = cut(&last.0, cells, theme) + &more;
    }
    out
}

/// All lines of the full screen, wrapped to a width.
pub fn full(model: &Model, width: u16) -> Vec<(String, Tone)> {
    let mut out = Vec::new();
    let sentence = |text: String, tone| {
        wrap(&text, usize::from(width.saturating_sub(2)).max(20))
            .into_iter()
            .map(move |line| (line, tone))
    };
    for flag in &model.vm.flags {
        out.push((flag.banner().to_owned(), Tone::Alarm));
    }
    let symbols = model.missing.iter().flat_map(missing);
    for warning in symbols.chain(model.warnings.iter().cloned()) {
        out.extend(sentence(format!("! {warning}"), Tone::Doubt));
    }
    if !out.is_empty() {
        out.push((String::new(), Tone::Plain));
    }
    let counters = model.vm.lines();
    let longest = counters
        .iter()
        .map(|(label, _)| label.chars().count())
        .max();
    let label_width = longest.unwrap_or(0).max(20);
    out.push((
        format!("{:<label_width$} {:>14} {:>20}", "", "Pages", "KB"),
        Tone::Heading,
    ));
    for (label, line) in counters {
        out.extend(counter(&label, line, width, label_width));
    }
    out.push((String::new(), Tone::Plain));
    for line in page_files(model) {
        out.extend(sentence(line, Tone::Plain));
    }
    for fact in &model.facts {
        out.extend(sentence(fact.clone(), Tone::Plain));
    }
    out
}

/// What to do about a missing PDB, and what was tried.
fn missing(pdb: &MissingPdb) -> Vec<String> {
    let failed = pdb.failed.iter();
    let failed = failed.map(|why| format!("{} was not fetched: {why}", pdb.file));
    let advice = std::iter::once(pdb.advice.clone());
    advice
        .chain(failed)
        .chain(pdb.refused.iter().cloned())
        .collect()
}

fn counter(label: &str, line: &Line, width: u16, label_width: usize) -> Vec<(String, Tone)> {
    let number = |n: Option<u64>| n.map_or_else(|| "?".into(), grouped);
    let mut text = format!(
        "{label:<label_width$} {:>14} {:>20}",
        number(line.pages),
        number(line.pages.map(kilobytes))
    );
    // PTEs are not memory, so they have no size.
    if label == "Free System PTEs" {
        text = format!("{label:<label_width$} {:>14}", number(line.pages));
    }
    if width >= 100 {
        let cells = label_width + 38;
        text = format!("{text:<cells$}{}", clean(&line.source));
    } else if line.pages.is_none() && width >= 80 {
        text += "  (not in this dump)";
    }
    let mut out = vec![(text, Tone::Plain)];
    if let Some(doubt) = &line.doubt {
        if let Some(first) = out.first_mut() {
            first.1 = Tone::Doubt;
        }
        let wrapped = wrap(
            &format!("! {doubt}"),
            usize::from(width.saturating_sub(6)).max(20),
        );
        out.extend(
            wrapped
                .into_iter()
                .map(|l| (format!("    {l}"), Tone::Doubt)),
        );
    }
    out
}

fn page_files(model: &Model) -> Vec<String> {
    let Some(files) = &model.vm.page_files else {
        return vec!["Page files: not in this dump".into()];
    };
    let number = |pages: Option<u64>| pages.map_or_else(|| "?".into(), |p| grouped(kilobytes(p)));
    files
        .iter()
        .flat_map(|file| {
            let name = match (&file.path, file.nameless) {
                (Some(path), _) => clean(path).into_owned(),
                (None, true) => "no name".into(),
                (None, false) => "? (its name is not in this dump)".into(),
            };
            [
                format!("Page file {name}"),
                format!(
                    "  current {} KB, free {} KB, minimum {} KB, maximum {} KB",
                    number(file.current),
                    number(file.free),
                    number(file.minimum),
                    number(file.maximum)
                ),
            ]
        })
        .collect()
}

/// Height of the pane above the tag list.
pub fn pane_height(model: &Model, body: u16) -> u16 {
    let warnings = model.warnings.len().min(6) as u16;
    match body {
        0..7 => 0,
        7 => 2,
        8..14 => 3,
        14..24 => 4 + warnings.min(1),
        _ => 5 + warnings.min((body - 16) / 4),
    }
}

/// Draws the pane: title and short summary.
pub fn draw_pane(buffer: &mut Buffer, area: Rect, theme: &Theme, model: &Model, focused: bool) {
    // With three lines or less, the summary is worth more than a title.
    let titled = u16::from(area.height > 3);
    let (title, body) = split_top(area, titled);
    if titled > 0 {
        pane_title(buffer, title, theme, "!vm summary", focused);
    }
    for (y, (line, tone)) in brief(model, area.width, body.height, theme)
        .iter()
        .enumerate()
    {
        let line = &cut(line, usize::from(area.width.saturating_sub(1)), theme);
        pieces(
            buffer,
            body,
            y as u16,
            &[(" ", Style::new()), (line, tone.style(theme))],
        );
    }
}

/// Draws the full listing, from a line on.
pub fn draw_full(
    buffer: &mut Buffer,
    area: Rect,
    theme: &Theme,
    model: &Model,
    top: u64,
    focused: bool,
) {
    let (title, body) = split_top(area, 1);
    let lines = full(model, area.width);
    let more = match lines.len() > usize::from(body.height) {
        true => format!(
            ", lines {} to {} of {}",
            top + 1,
            (top + u64::from(body.height)).min(lines.len() as u64),
            lines.len()
        ),
        false => String::new(),
    };
    pane_title(
        buffer,
        title,
        theme,
        &format!("!vm 1 with warnings{more}"),
        focused,
    );
    for (y, (line, tone)) in lines
        .iter()
        .skip(top as usize)
        .take(body.height.into())
        .enumerate()
    {
        let text = fill(
            line,
            usize::from(area.width.saturating_sub(1)),
            false,
            theme,
        );
        put(buffer, body, 1, y as u16, &text, tone.style(theme));
    }
}
