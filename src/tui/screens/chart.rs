//! The history of a tag or of both pools, over the points of the baseline.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use crate::pool::{Pool, Tag};
use crate::report::text::human;

use crate::tui::data::baseline::Baseline;
use crate::tui::data::order::PoolChoice;
use crate::tui::terminal::theme::{Kind, Theme};
use crate::tui::widgets::draw::{put, split_top};
use crate::tui::widgets::pane::pane_title;

/// The state of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChartView {
    /// The tag; `None` for both pools.
    pub tag: Option<Tag>,
}

/// The values of a pool over the points: hours (or point number) and bytes.
type Values = Vec<(f64, f64)>;

impl ChartView {
    /// The name on the path.
    pub fn name(&self) -> String {
        match self.tag {
            Some(_) => "history".into(),
            None => "Pools over time".into(),
        }
    }

    /// The known values of a pool over the points.
    fn values(&self, baseline: &Baseline, pool: Pool) -> Values {
        let bytes = match (self.tag, pool) {
            (Some(tag), Pool::Nonpaged) => baseline.bytes(tag, PoolChoice::Nonpaged),
            (Some(tag), Pool::Paged) => baseline.bytes(tag, PoolChoice::Paged),
            (None, pool) => baseline.pool(pool),
        };
        let known = baseline.places().into_iter().zip(bytes);
        known
            .filter_map(|(x, bytes)| Some((x, bytes? as f64)))
            .collect()
    }

    /// As text: one line per point.
    pub fn text(&self, baseline: &Baseline) -> String {
        let [nonpaged, paged] = [Pool::Nonpaged, Pool::Paged].map(|pool| match (self.tag, pool) {
            (Some(tag), Pool::Nonpaged) => baseline.bytes(tag, PoolChoice::Nonpaged),
            (Some(tag), Pool::Paged) => baseline.bytes(tag, PoolChoice::Paged),
            (None, pool) => baseline.pool(pool),
        });
        let value = |values: &[Option<u64>], at: usize| {
            let known = values.get(at).copied().flatten();
            known.map_or_else(|| "?".to_owned(), |n| n.to_string())
        };
        let rows = baseline.points.iter().enumerate().map(|(at, point)| {
            format!(
                "{} {} nonpaged {} paged {}\n",
                point.time,
                point.source,
                value(&nonpaged, at),
                value(&paged, at)
            )
        });
        rows.collect::<String>().trim_start().to_owned()
    }

    /// Draws the screen.
    pub fn draw(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        theme: &Theme,
        baseline: Option<&Baseline>,
    ) {
        let (title, body) = split_top(area, 1);
        let Some(baseline) = baseline else {
            pane_title(buffer, title, theme, "no baseline", true);
            put(
                buffer,
                body,
                1,
                0,
                ":baseline FILE compares with an earlier dump, evidence file or log",
                Style::new(),
            );
            return;
        };
        let head = match self.tag {
            Some(tag) => match baseline.sentence(tag) {
                Some(sentence) => format!("{tag}: {}", sentence.trim_start_matches("Trend: ")),
                None => format!("{tag}: fewer than two known points, {}", baseline.words()),
            },
            None => format!("Nonpaged and paged pool, {}", baseline.words()),
        };
        pane_title(buffer, title, theme, &head, true);
        let series: Vec<(Pool, Values)> = [Pool::Nonpaged, Pool::Paged]
            .map(|pool| (pool, self.values(baseline, pool)))
            .into_iter()
            .filter(|(_, values)| values.iter().any(|v| v.1 > 0.0))
            .collect();
        let (legend, chart) = split_top(body, 1);
        draw_legend(buffer, legend, theme, &series);
        draw_chart(buffer, chart, theme, &series, baseline);
    }
}

fn style(pool: Pool, theme: &Theme) -> Style {
    theme.kind(match pool {
        Pool::Nonpaged => Kind::Nonpaged,
        Pool::Paged => Kind::Paged,
    })
}

/// Draws the first and last value of each line in words, not only in colour.
fn draw_legend(buffer: &mut Buffer, area: Rect, theme: &Theme, series: &[(Pool, Values)]) {
    let mut x = 1;
    for (pool, values) in series {
        let (Some(first), Some(last)) = (values.first(), values.last()) else {
            continue;
        };
        let text = format!(
            "{} pool: {} to {}   ",
            pool.word(),
            human(first.1 as u64),
            human(last.1 as u64)
        );
        x += put(buffer, area, x, 0, &text, style(*pool, theme));
    }
    if series.is_empty() {
        put(buffer, area, 1, 0, "no bytes at any point", theme.quiet());
    }
}

fn draw_chart(
    buffer: &mut Buffer,
    area: Rect,
    theme: &Theme,
    series: &[(Pool, Values)],
    baseline: &Baseline,
) {
    let values = series.iter().flat_map(|(_, values)| values);
    let top = values.map(|v| v.1).fold(0.0, f64::max);
    let places = baseline.places();
    let (Some(first), Some(last)) = (places.first(), places.last()) else {
        return;
    };
    if area.height < 4 || area.width < 24 || top <= 0.0 {
        return;
    }
    let bounds_x = [*first, if last > first { *last } else { first + 1.0 }];
    let in_hours = baseline.has_times();
    let label = |x: f64| match in_hours {
        true => format!("{x:.1} h"),
        false => format!("point {:.0}", x + 1.0),
    };
    let marker = if theme.ascii {
        Marker::Dot
    } else {
        Marker::Braille
    };
    let datasets = series.iter().map(|(pool, values)| {
        Dataset::default()
            .marker(marker)
            .graph_type(GraphType::Line)
            .style(style(*pool, theme))
            .data(values)
    });
    let middle = (bounds_x[0] + bounds_x[1]) / 2.0;
    let chart = Chart::new(datasets.collect())
        .x_axis(
            Axis::default()
                .bounds(bounds_x)
                .style(theme.quiet())
                .labels([bounds_x[0], middle, bounds_x[1]].map(|x| Line::from(label(x)))),
        )
        .y_axis(
            Axis::default()
                .bounds([0.0, top * 1.05])
                .style(theme.quiet())
                .labels([0.0, top / 2.0, top * 1.05].map(|y| Line::from(human(y as u64)))),
        )
        .legend_position(None);
    chart.render(area, buffer);
    if theme.ascii {
        ascii(buffer, area);
    }
}

/// Replaces the chart's characters for a terminal that has only ASCII.
fn ascii(buffer: &mut Buffer, area: Rect) {
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            if let Some(cell) = buffer.cell_mut((x, y))
                && !cell.symbol().is_ascii()
            {
                let plain = match cell.symbol() {
                    "│" => "|",
                    "─" => "-",
                    "└" => "+",
                    _ => "*",
                };
                cell.set_symbol(plain);
            }
        }
    }
}
