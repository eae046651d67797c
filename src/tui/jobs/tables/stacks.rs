//! The call stacks recorded for a tag's allocations, as a table.

use std::sync::Arc;

use crate::engine::{Machine, StackRow, StacksOf};
use crate::pool::index::Snapshot;
use crate::pool::{Tag, TagPattern};
use crate::report::text::clean;

use crate::tui::data::cell::Cell;
use crate::tui::data::table::{Opens, TableColumn, TableData, TableRow};
use crate::tui::input::query::Kind;
use crate::tui::widgets::table::Column;

const STACKS: [TableColumn; 7] = [
    TableColumn::new(Column::number("Blocks", 11, 0), &["blocks"], Kind::Number),
    TableColumn::new(Column::number("Bytes", 14, 2), &["bytes"], Kind::Number),
    TableColumn::new(Column::text("Event", 9, 3), &["event"], Kind::Text),
    TableColumn::new(Column::text("Source", 13, 4), &["source"], Kind::Text),
    TableColumn::new(Column::text("Caller", 20, 1), &["caller"], Kind::Text),
    TableColumn::new(
        Column::text("Frames, innermost first", 24, 0).growing(40),
        &["frames"],
        Kind::Text,
    ),
    TableColumn::new(Column::text("Such as", 17, 5), &["such"], Kind::Address),
];

/// Distinct stacks with their counts; Enter opens a block. `None` if cancelled.
///
/// # Errors
/// Why there are none.
pub fn make(
    engine: &dyn Machine,
    index: &Snapshot,
    tag: Tag,
    mut notes: Vec<String>,
) -> Result<Option<TableData>, String> {
    let of = StacksOf::Tag(TagPattern::of(tag));
    let Some(found) = engine.stacks_of(Some(index), &of, &|| true)? else {
        return Ok(None);
    };
    let rows: Vec<TableRow> = found.rows.iter().map(|row| of_row(tag, row)).collect();
    let said = found.warnings.iter().chain(&found.notes);
    notes.splice(0..0, said.map(|s| clean(s).into_owned()));
    if rows.is_empty() {
        notes.insert(0, format!("no call stacks are recorded for {tag}"));
    }
    Ok(Some(TableData {
        columns: &STACKS,
        title: format!("Recorded call stacks of {tag}: {}", rows.len()),
        rows: Arc::new(rows),
        notes,
        sorted: Some(0),
        ..TableData::default()
    }))
}

fn of_row(tag: Tag, row: &StackRow) -> TableRow {
    let name = |nth: usize| {
        let function = row.functions.get(nth).and_then(Option::as_deref);
        function
            .or(row.symbols.get(nth).map(String::as_str))
            .unwrap_or_default()
    };
    let frames: Vec<&str> = (0..row.frames.len()).map(name).collect();
    // The first frame outside the kernel.
    let kernel = |name: &&&str| !name.starts_with("nt!") && !name.starts_with("nt+");
    let caller = frames.iter().find(kernel).copied().unwrap_or_default();
    TableRow {
        cells: vec![
            Cell::Count(row.count),
            Cell::Bytes(row.bytes),
            row.event
                .map_or(Cell::Unknown, |e| Cell::Text(e.word().into())),
            Cell::Text(row.source.word().into()),
            Cell::Text(clean(caller).into_owned()),
            Cell::Text(clean(&frames.join(" < ")).into_owned()),
            Cell::Address(row.address),
        ],
        opens: Opens::Memory {
            title: row.address.to_string(),
            about: format!("{tag} allocation with this stack"),
            va: row.address,
            length: Some(row.size),
            session: None,
        },
        ..TableRow::default()
    }
}
