//! `contents` as Markdown.

use std::io::{self, Write};

use super::super::table::{Align, list, plain, table};
use super::super::text::grouped;
use super::Contents;

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

pub(super) fn write(answer: &Contents, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}\n", plain(&answer.tag), plain(&answer.coverage))?;
    let sentences = answer
        .modules
        .iter()
        .map(|m| format!("{}: {}", m.module, m.sentence));
    let ages = answer.ages.as_ref().map(|ages| {
        let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "unknown".into());
        format!(
            "Ages: {}, {} blocks with a time between boot and dump; shape: {}; oldest {}, newest {}; freed blocks leave no trace; {}",
            ages.source,
            grouped(ages.blocks_with_time),
            ages.shape,
            time(&ages.oldest),
            time(&ages.newest),
            ages.recognised
        )
    });
    let sentences: Vec<String> = sentences.chain(ages).collect();
    list(out, &sentences)?;
    writeln!(out)?;
    let columns = [
        ("offset", Align::Right),
        ("kind", Align::Left),
        ("content", Align::Left),
        ("blocks", Align::Right),
        ("share of blocks read", Align::Right),
    ];
    let rows = answer.told().flat_map(|row| {
        let kinds = row.counts.iter();
        kinds.map(|kind| {
            vec![
                format!("+{:#x}", row.offset),
                kind.kind.to_owned(),
                kind.what.clone(),
                grouped(kind.blocks),
                percent(kind.share),
            ]
        })
    });
    table(out, &columns, rows)?;
    writeln!(out)?;
    let columns = [
        ("blocks", Align::Right),
        ("share of blocks read", Align::Right),
        ("smallest", Align::Right),
        ("largest", Align::Right),
        ("example", Align::Left),
        ("modules", Align::Left),
        ("text", Align::Left),
    ];
    let rows = answer.families.iter().map(|family| {
        vec![
            grouped(family.blocks),
            percent(family.share),
            grouped(family.smallest),
            grouped(family.largest),
            family.exemplar.clone(),
            family.modules.join(", "),
            family.text.clone().unwrap_or_default(),
        ]
    });
    table(out, &columns, rows)?;
    list(out, &answer.notes)
}
