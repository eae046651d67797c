//! `diff` as Markdown.

use std::io::{self, Write};

use super::super::table::{Align, head, row};
use super::{Diff, HEADS};

pub(super) fn write(answer: &Diff, out: &mut dyn Write) -> io::Result<()> {
    let columns = [
        ("point", Align::Right),
        ("kind", Align::Left),
        ("time", Align::Left),
        ("uptime", Align::Right),
        ("nonpaged pool bytes", Align::Right),
        ("paged pool bytes", Align::Right),
        ("source", Align::Left),
        ("event", Align::Left),
    ];
    head(out, &columns)?;
    for (at, point) in answer.points.iter().enumerate() {
        let [nonpaged, paged] = point.pools();
        row(
            out,
            [
                (at + 1).to_string(),
                point.kind.into(),
                point.when(),
                point.up(),
                nonpaged,
                paged,
                point.name(),
                point.event.unwrap_or_default().into(),
            ],
        )?;
    }
    writeln!(out, "\n{}\n", answer.boot_line())?;
    let [trend, numbers @ ..] = HEADS;
    let mut columns = vec![("tag", Align::Left), (trend, Align::Left)];
    columns.extend(numbers.map(|name| (name, Align::Right)));
    head(out, &columns)?;
    for tag in answer.shown() {
        row(out, std::iter::once(tag.tag.clone()).chain(tag.cells()))?;
    }
    writeln!(out, "\n{}", answer.rest_line())
}
