//! The lines around every screen: title, path, progress, key hints.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::report::text::{clean, grouped, human};

use crate::tui::data::message::Fetch;
use crate::tui::data::message::{IndexNews, Stage};
use crate::tui::data::model::{MissingPdb, Model};
use crate::tui::input::keys::{Context, KeyMap};
use crate::tui::input::prompt::Prompt;
use crate::tui::terminal::theme::Theme;
use crate::tui::widgets::draw::{cut, pieces, put, unfinished, width, wrap};

/// The first line: the file, and as many facts as fit.
pub fn title(buffer: &mut Buffer, area: Rect, theme: &Theme, model: &Model) {
    let dot = theme.glyph(" · ", " - ");
    let mut text = format!("poolscope {}{dot}{}", env!("CARGO_PKG_VERSION"), model.file);
    for fact in &model.facts {
        if width(&text) + width(fact) + 3 > usize::from(area.width) {
            break;
        }
        text += dot;
        text += fact;
    }
    put(
        buffer,
        area,
        0,
        0,
        &cut(&text, area.width.into(), theme),
        theme.quiet(),
    );
}

/// The path on the left, the corresponding WinDbg command on the right.
pub fn crumbs(buffer: &mut Buffer, area: Rect, theme: &Theme, path: &[String], command: &str) {
    let arrow = theme.glyph(" › ", " > ");
    let command = match command {
        "" => "no WinDbg equivalent",
        command => command,
    };
    let command = format!("{} {command}", theme.glyph("≡", "="));
    let room = usize::from(area.width);
    let mut path: Vec<&str> = path.iter().map(String::as_str).collect();
    // A long path is shortened in the middle: its end is the current location.
    let mut dropped = false;
    while path.len() > 2 && width(&path.join(arrow)) + 4 > room {
        path.remove(1);
        dropped = true;
    }
    if dropped {
        path.insert(1, "..");
    }
    let Some((last, before)) = path.split_last() else {
        return;
    };
    let mut start = before.join(arrow);
    if !before.is_empty() {
        start += arrow;
    }
    let last = cut(last, room.saturating_sub(width(&start)), theme);
    let used = pieces(
        buffer,
        area,
        0,
        &[(&start, theme.quiet()), (&last, theme.place())],
    );
    let left = room.saturating_sub(usize::from(used) + 2);
    if left >= 6 {
        let command = cut(&command, left, theme);
        let x = room - width(&command);
        put(buffer, area, x as u16, 0, &command, theme.quiet());
    }
}

/// The state of the walk in words.
pub fn index_words(news: &IndexNews, listed: u64, theme: &Theme, wide: bool) -> String {
    let seconds = news.elapsed.as_secs_f64();
    let share = match news.pages_all {
        0 => 0.0,
        all => news.pages_done as f64 / all as f64,
    };
    let time = match seconds {
        s if s < 60.0 => format!("{s:.1} s"),
        s => format!("{}:{:02} min", s as u64 / 60, s as u64 % 60),
    };
    match &news.stage {
        Stage::Planning => "Looking for the pool's pages".into(),
        Stage::Walking => {
            let bar = if wide {
                theme.bar(share, 10) + " "
            } else {
                String::new()
            };
            let pages = match wide {
                true => format!(
                    "{} of {} pages",
                    grouped(news.pages_done),
                    grouped(news.pages_all)
                ),
                false => format!("of {} pages", grouped(news.pages_all)),
            };
            let pace = pace(news, share);
            let took = match wide || pace.is_empty() {
                true => format!(", {time}"),
                false => String::new(),
            };
            format!(
                "Walking the pool {bar}{:.0}% {pages}{took}{pace} (Ctrl-C stops)",
                share * 100.0,
            )
        }
        Stage::Done if news.kept.is_some() => format!(
            "Index from cache ({}): {} allocations",
            news.kept.as_deref().unwrap_or_default(),
            grouped(listed)
        ),
        Stage::Done => format!("Pool walked: {} allocations in {time}", grouped(listed)),
        Stage::Cancelled => format!(
            "Walk stopped at {:.0}%: {} allocations, the rest is not listed",
            share * 100.0,
            grouped(listed)
        ),
        Stage::Failed(why) => format!("The pool could not be walked: {}", clean(why)),
    }
}

/// Speed and remaining time of the walk; empty until they are known.
fn pace(news: &IndexNews, share: f64) -> String {
    let seconds = news.elapsed.as_secs_f64();
    if seconds < 0.3 || share <= 0.01 {
        return String::new();
    }
    let rate = (news.pages_done as f64 * 4096.0 / seconds) as u64;
    let left = seconds / share - seconds;
    format!(", {}/s, {left:.0} s left", human(rate))
}

/// The download of the kernel's PDB in words; `None` if no download is running.
pub fn fetch_words(fetch: &Fetch, missing: Option<&MissingPdb>, columns: u16) -> Option<String> {
    let Fetch::Running {
        server,
        received,
        total,
    } = fetch
    else {
        return None;
    };
    let file = missing.map_or("the PDB", |m| &m.file);
    let amount = match (received, total) {
        (0, _) => "asking".to_owned(),
        (_, Some(total @ 1..)) if columns < 70 => {
            format!("{:.0}%", *received as f64 * 100.0 / *total as f64)
        }
        (_, Some(total)) => format!("{} of {}", human(*received), human(*total)),
        (_, None) => human(*received),
    };
    // On a narrow screen, how to stop it is more useful than the server's name.
    Some(match columns {
        100.. => format!("Fetching {file} from {server}: {amount} (Ctrl-C stops)"),
        _ => format!("Fetching {file}: {amount} (Ctrl-C stops)"),
    })
}

/// The line above the hints: a message or the walk, and the position on the right.
pub fn status(buffer: &mut Buffer, area: Rect, theme: &Theme, text: (&str, Style), row: &str) {
    let room = usize::from(area.width).saturating_sub(width(row) + 2);
    put(buffer, area, 0, 0, &cut(text.0, room, theme), text.1);
    let x = usize::from(area.width).saturating_sub(width(row));
    put(buffer, area, x as u16, 0, row, theme.quiet());
}

/// The same for a message, which says at its end what to do: where the line is too short,
/// it covers the last lines of the screen above, at most half of it.
pub fn message(
    buffer: &mut Buffer,
    (above, area): (Rect, Rect),
    theme: &Theme,
    text: (&str, Style),
    row: &str,
) {
    let room = usize::from(area.width).saturating_sub(width(row) + 2);
    let mut lines = wrap(text.0, room);
    let most = usize::from(above.height / 2) + 1;
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            *last = unfinished(last, room, theme);
        }
    }
    let Some((last, before)) = lines.split_last() else {
        return;
    };
    let count = before.len() as u16;
    let first = above.bottom().saturating_sub(count);
    let covered = Rect::new(above.x, first, above.width, count);
    for y in 0..count {
        put(
            buffer,
            covered,
            0,
            y,
            &" ".repeat(above.width.into()),
            Style::reset(),
        );
    }
    for (y, line) in (0u16..).zip(before) {
        put(buffer, covered, 0, y, line, text.1);
    }
    status(buffer, area, theme, (last, text.1), row);
}

/// The key hints of a context, as many as fit.
pub fn hints(buffer: &mut Buffer, area: Rect, theme: &Theme, keys: &KeyMap, context: Context) {
    let mut x = 0;
    for (key, word) in keys.hints(context) {
        let needed = (width(&key) + 1 + width(word)) as u16;
        if x + needed > area.width {
            continue;
        }
        x += put(buffer, area, x, 0, &key, theme.key());
        x += put(buffer, area, x, 0, &format!(" {word}  "), Style::new());
    }
}

/// The open line, with its cursor.
pub fn prompt(buffer: &mut Buffer, area: Rect, theme: &Theme, keys: &KeyMap, prompt: &Prompt) {
    let sign = prompt.kind.sign();
    let x = put(buffer, area, 0, 0, sign, theme.key());
    let room = usize::from(area.width.saturating_sub(x));
    let text = clean(prompt.text()).into_owned();
    let skip = prompt.input.visual_scroll(room);
    let shown: String = text.chars().skip(skip).collect();
    let end = x.saturating_add(put(buffer, area, x, 0, &shown, Style::new()));
    let hints: Vec<String> = keys
        .hints(Context::Prompt)
        .into_iter()
        .map(|(key, word)| format!("{key} {word}"))
        .collect();
    let hints = hints.join("  ");
    let from = usize::from(area.width).saturating_sub(width(&hints));
    if from > usize::from(end) + 2 {
        put(buffer, area, from as u16, 0, &hints, theme.quiet());
    }
    let at = usize::from(x) + prompt.input.visual_cursor().saturating_sub(skip);
    let at = u16::try_from(at).unwrap_or(u16::MAX);
    let cell = Rect::new(area.x.saturating_add(at), area.y, 1, 1);
    buffer.set_style(
        cell.intersection(area).intersection(buffer.area),
        theme.selected(),
    );
}
