//! Draws the state. Never changes it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::report::text::{grouped, human};

use crate::tui::app::{App, Screen};
use crate::tui::data::message::Stage;
use crate::tui::screens::status;
use crate::tui::screens::tags::Shown;
use crate::tui::screens::{chooser, help, layout, preview, summary};
use crate::tui::widgets::draw::{cut, put, split_top};
use crate::tui::widgets::pane::pane_title;

/// Draws the whole screen.
pub fn draw(app: &App, buffer: &mut Buffer) {
    if let Some(plain) = &app.copy_view {
        plain.draw(buffer);
        if app.theme.ascii {
            keep_ascii(buffer);
        }
        return;
    }
    let size = (buffer.area.width, buffer.area.height);
    let areas = layout::areas(size);
    let theme = &app.theme;
    status::title(buffer, areas.title, theme, &app.model);
    status::crumbs(buffer, areas.crumbs, theme, &app.path(), &app.command());
    match app.help {
        Some(view) => {
            let fields = app.fields();
            help::draw(buffer, areas.body, theme, app.about(&fields), view);
        }
        None => match app.chooser {
            Some(cursor) => chooser::draw(
                buffer,
                areas.body,
                theme,
                &app.tags,
                app.model.baseline.is_some(),
                cursor,
            ),
            None => body(app, buffer, areas.body),
        },
    }
    status_line(app, buffer, (areas.body, areas.status));
    match &app.prompt {
        Some(prompt) => status::prompt(buffer, areas.hints, theme, &app.keys, prompt),
        None => status::hints(buffer, areas.hints, theme, &app.keys, app.context()),
    }
    if theme.ascii {
        keep_ascii(buffer);
    }
}

/// Replaces non-ASCII characters if the terminal can only draw ASCII: names from the dump
/// may contain any character.
fn keep_ascii(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if !cell.symbol().is_ascii() {
            cell.set_symbol("?");
        }
    }
}

fn body(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    match app.stack.last() {
        None => first_screen(app, buffer, area),
        Some(Screen::Summary(top)) => {
            summary::draw_full(buffer, area, theme, &app.model, *top, true);
        }
        Some(Screen::Tag(view)) => view.draw(
            buffer,
            area,
            theme,
            (&app.model, &app.marks, app.indexing()),
        ),
        Some(Screen::Bytes(view)) => view.draw(buffer, area, theme),
        Some(Screen::Modules(view)) => view.draw(buffer, area, theme, &app.model),
        Some(Screen::Table(table)) => table.draw(buffer, area, theme),
        Some(Screen::Report(view)) => view.draw(buffer, area, theme),
        Some(Screen::Chart(view)) => {
            view.draw(buffer, area, theme, app.model.baseline.as_deref());
        }
    }
}

fn first_screen(app: &App, buffer: &mut Buffer, area: Rect) {
    let (theme, model) = (&app.theme, &app.model);
    let (verdict, below) = layout::verdict(area);
    draw_verdict(app, buffer, verdict);
    if app.zoom && app.summary_focused {
        summary::draw_full(buffer, below, theme, model, 0, true);
        return;
    }
    let parts = layout::first_screen(model, area, app.wanted());
    let (top, list) = (parts.summary, parts.list);
    if app.zoom {
    } else if layout::beside(below) {
        summary::draw_full(buffer, top, theme, model, 0, app.summary_focused);
    } else if top.height > 0 {
        summary::draw_pane(buffer, top, theme, model, app.summary_focused);
    }
    let (title, list) = split_top(list, 1);
    let source = match model.counted {
        true => "",
        false => " as found (kernel counters can't be read)",
    };
    // Differences between boots are not growth.
    let baseline = model.baseline.as_deref();
    let boots = match baseline.and_then(|baseline| baseline.same_boot) {
        Some(false) => "; baseline of another boot",
        _ => "",
    };
    let text = format!(
        "Tags{source}: {} ({} in {} {}{boots})",
        app.tags.words(),
        human(app.tags.held(model)),
        grouped(app.tags.len()),
        if app.tags.len() == 1 { "tag" } else { "tags" }
    );
    pane_title(buffer, title, theme, &text, !app.summary_focused);
    let done = app.index.stage == Stage::Done;
    let shown = Shown {
        model,
        marks: &app.marks,
        focused: !app.summary_focused,
        done,
    };
    app.tags.draw(buffer, list, theme, shown);
    if parts.preview.height > 0 {
        preview::draw(buffer, parts.preview, theme, &app.preview.shown);
    }
    if app.tags.is_empty() && list.height > 1 {
        let why = match app.tags.filter.is_empty() {
            true => "no tags",
            false => "no tag matches; Esc clears the filter",
        };
        put(buffer, list, 2, 1, why, Style::new());
    }
}

/// The overall verdict, once it is known.
fn draw_verdict(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let (text, style) = match (&app.model.verdict, app.indexing()) {
        (Some(verdict), _) if verdict.alarm => (verdict.text.as_str(), theme.alarm()),
        (Some(verdict), _) => (verdict.text.as_str(), theme.place()),
        (None, true) => (
            "Verdict: computing; the pool is being walked",
            theme.quiet(),
        ),
        (None, false) if app.index.stage == Stage::Done => ("Verdict: computing", theme.quiet()),
        (None, false) => (
            "Verdict: none, the pool was not walked to its end; R: report",
            theme.doubt(),
        ),
    };
    let report = "  R report";
    let cells = usize::from(area.width);
    let room = match app.model.verdict.is_some() && cells > 40 {
        true => cells - report.len() - 1,
        false => cells.saturating_sub(1),
    };
    let text = cut(text, room, theme);
    let x = 1 + put(buffer, area, 1, 0, &text, style);
    if app.model.verdict.is_some() && cells > 40 {
        put(buffer, area, x, 0, report, theme.key());
    }
}

fn status_line(app: &App, buffer: &mut Buffer, (body, area): (Rect, Rect)) {
    let theme = &app.theme;
    let wide = area.width >= 100;
    let missing = app.model.missing.as_ref();
    let fetch = status::fetch_words(&app.fetch, missing, area.width);
    let mut walk = status::index_words(&app.index, app.listed, theme, wide);
    if missing.is_some() && !app.indexing() {
        const HINT: &str = "no symbols, v: what to do";
        walk = match area.width {
            // On a narrow screen the end of the line is cut off, so the hint comes first.
            0..70 => format!("{HINT}; {walk}"),
            _ => format!("{walk}; {HINT}"),
        };
    }
    let told = match (&app.message, &app.failure) {
        (Some(message), _) => Some((message.as_str(), Style::new())),
        (None, Some(failure)) => Some((failure.as_str(), theme.alarm())),
        (None, None) => None,
    };
    if let Some(told) = told {
        status::message(buffer, (body, area), theme, told, &app.position());
        return;
    }
    let (text, style) = match (&fetch, &app.index.stage) {
        (Some(fetch), _) => (fetch, Style::new()),
        (None, Stage::Failed(_) | Stage::Cancelled) => (&walk, theme.doubt()),
        (None, _) => (&walk, Style::new()),
    };
    status::status(buffer, area, theme, (text, style), &app.position());
}
