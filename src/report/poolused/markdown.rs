//! `poolused` as Markdown.

use std::io::{self, Write};

use super::super::table::{Align, head, row};
use super::super::text::grouped;
use super::{PoolUsed, Side};

pub(super) fn write(answer: &PoolUsed, out: &mut dyn Write) -> io::Result<()> {
    let verbose = answer.verbose;
    let figure = |value: Option<u64>| value.map_or_else(|| "-".into(), grouped);
    let side = |s: &Side| match verbose {
        true => vec![
            figure(s.allocs.filter(|_| !s.wrapped)),
            figure(s.frees.filter(|_| !s.wrapped)),
            figure(s.outstanding),
            figure(s.bytes),
        ],
        false => vec![figure(s.outstanding), figure(s.bytes)],
    };
    let names: &[&str] = match verbose {
        true => &["allocs", "frees", "outstanding", "bytes"],
        false => &["outstanding", "bytes"],
    };
    let names = ["nonpaged", "paged"].map(|pool| names.iter().map(move |n| format!("{pool} {n}")));
    let names: Vec<String> = names.into_iter().flatten().collect();
    let mut columns = vec![("tag", Align::Left)];
    columns.extend(names.iter().map(|n| (n.as_str(), Align::Right)));
    columns.push(("description", Align::Left));
    columns.push(("binary", Align::Left));
    head(out, &columns)?;
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    for tag in answer.visible() {
        let numbers = side(&tag.nonpaged).into_iter().chain(side(&tag.paged));
        let binary = match &tag.pattern {
            None => text(&tag.binary),
            Some(_) => tag
                .binary
                .as_ref()
                .map_or_else(String::new, |b| format!("{b}?")),
        };
        let about = [text(&tag.description), binary];
        row(
            out,
            std::iter::once(tag.tag.clone()).chain(numbers).chain(about),
        )?;
    }
    let total = &answer.total;
    let numbers = side(&total.nonpaged).into_iter().chain(side(&total.paged));
    let about = [String::new(), String::new()];
    row(
        out,
        std::iter::once("total".to_owned())
            .chain(numbers)
            .chain(about),
    )
}
