//! The instructions around a reference to a tag, as a table.

use std::sync::Arc;

use crate::analysis::references::Line;
use crate::engine::Machine;
use crate::memory::Va;
use crate::pool::Tag;
use crate::report::text::clean;

use crate::tui::data::cell::Cell;
use crate::tui::data::table::{Opens, TableColumn, TableData, TableRow};
use crate::tui::input::query::Kind;
use crate::tui::widgets::table::Column;

const CODE: [TableColumn; 5] = [
    TableColumn::new(Column::text("Address", 17, 1), &["address"], Kind::Address),
    TableColumn::new(Column::text("", 9, 2), &["what"], Kind::Text),
    TableColumn::new(
        Column::text("Instruction", 26, 0).growing(26),
        &["instruction"],
        Kind::Text,
    ),
    TableColumn::new(Column::text("Calls", 28, 3), &["calls"], Kind::Text),
    TableColumn::new(Column::text("Bytes", 20, 4), &["bytes"], Kind::Text),
];

/// The instructions around the reference to `tag` at `va`. The instruction with the tag and
/// the calls that receive it are marked.
///
/// # Errors
/// Why there are none, as a sentence.
pub fn table(engine: &dyn Machine, tag: Tag, va: Va) -> Result<TableData, String> {
    let dump = engine
        .engine()
        .ok_or("an evidence file holds no code: open the dump for the instructions")?;
    let found = engine.references_while(tag, &|| true);
    let found = found.unwrap_or_default();
    let place = found.found.iter().find(|r| r.va == va);
    let place = place.ok_or_else(|| format!("{tag} is not referenced at {va}"))?;
    let lines = dump.instructions(place);
    if lines.is_empty() {
        return Err(format!("the bytes at {va} are not part of an instruction"));
    }
    let function = place.verdict.function.as_deref();
    let mut notes = vec![format!(
        "{}: {}",
        function.unwrap_or(&place.module_name),
        place.verdict.reason
    )];
    if let Some((file, line)) = &place.source {
        notes.push(format!("source: {file}:{line}"));
    }
    Ok(TableData {
        columns: &CODE,
        title: format!("Code that references {tag}, {} instructions", lines.len()),
        start: lines.iter().position(|l| l.is_tag).unwrap_or(0) as u64,
        rows: Arc::new(lines.iter().map(row).collect()),
        notes: notes.iter().map(|n| clean(n).into_owned()).collect(),
        ..TableData::default()
    })
}

fn row(line: &Line) -> TableRow {
    let what = match (line.is_tag, line.takes_tag) {
        (true, _) => "tag",
        (false, true) => "takes tag",
        (false, false) => "",
    };
    let bytes: Vec<String> = line.bytes.iter().map(|b| format!("{b:02x}")).collect();
    let function = line.function.as_deref().map(|f| clean(f).into_owned());
    TableRow {
        mark: match (what.is_empty(), line.gap) {
            (false, _) => '*',
            (true, true) => ':',
            (true, false) => ' ',
        },
        cells: vec![
            Cell::Address(line.va),
            Cell::Text(what.into()),
            Cell::Text(clean(&line.text).into_owned()),
            function.map_or(Cell::Text(String::new()), Cell::Text),
            Cell::Text(bytes.join(" ")),
        ],
        opens: Opens::Memory {
            title: format!("{}", line.va),
            about: clean(&line.text).into_owned(),
            va: line.va,
            length: Some(line.bytes.len() as u64),
            session: None,
        },
        ..TableRow::default()
    }
}
