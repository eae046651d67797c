//! Block contents of a tag as tables: by offset, by layout, as kernel objects.

use std::sync::Arc;

use crate::analysis::ages::Ages;
use crate::analysis::census::{Census, Count, Progress, Question, What};
use crate::analysis::objects::Objects;
use crate::engine::Machine;
use crate::pool::Tag;
use crate::pool::index::Snapshot;
use crate::report::contents::{constant, recognised};
use crate::report::text::{clean, filetime, grouped};

use crate::tui::data::cell::Cell;
use crate::tui::data::table::{Chart, Opens, TableColumn, TableData, TableKind, TableRow};
use crate::tui::input::query::Kind;
use crate::tui::widgets::table::Column;

const OFFSETS: [TableColumn; 5] = [
    TableColumn::new(Column::text("Offset", 8, 0), &["offset"], Kind::Text),
    TableColumn::new(
        Column::text("Contents", 20, 0).growing(44),
        &["what"],
        Kind::Text,
    ),
    TableColumn::new(Column::number("Of blocks", 9, 1), &["share"], Kind::Share),
    TableColumn::new(Column::text("", 10, 4), &[""], Kind::Share),
    TableColumn::new(Column::number("Blocks", 12, 2), &["blocks"], Kind::Number),
];

const FAMILIES: [TableColumn; 6] = [
    TableColumn::new(Column::number("Blocks", 11, 0), &["blocks"], Kind::Number),
    TableColumn::new(Column::number("Of blocks", 9, 1), &["share"], Kind::Share),
    TableColumn::new(Column::number("Size", 11, 1), &["size"], Kind::Number),
    TableColumn::new(
        Column::text("Points into", 16, 2).growing(30),
        &["into"],
        Kind::Text,
    ),
    TableColumn::new(Column::text("Text", 16, 3), &["text"], Kind::Text),
    TableColumn::new(Column::text("Sample", 17, 2), &["sample"], Kind::Address),
];

const OBJECTS: [TableColumn; 4] = [
    TableColumn::new(Column::text("What", 15, 1), &["what"], Kind::Text),
    TableColumn::new(
        Column::text("Name", 16, 0).growing(40),
        &["name"],
        Kind::Text,
    ),
    TableColumn::new(Column::number("Count", 10, 0), &["count"], Kind::Number),
    TableColumn::new(Column::number("Of all", 10, 2), &["all"], Kind::Number),
];

/// Collects content statistics of a tag. `None` if cancelled.
///
/// # Errors
/// Why there are none.
pub fn census(engine: &dyn Machine, index: &Snapshot, tag: Tag) -> Result<Option<Census>, String> {
    engine.census(index, Question::of(tag), &|| true, &Progress::default())
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Rank of a kind of value by how much it tells about the owner; 0 is best.
fn rank(what: &What) -> u8 {
    match what {
        What::Module { .. } => 0,
        What::Pool { .. } => 1,
        What::Text => 2,
        What::MorePool | What::Kernel => 3,
        What::User => 4,
        What::Own => 5,
        What::Constant(_) | What::Number => 6,
        What::Zero => 7,
    }
}

/// By offset: the most significant kind of value; Enter lists all. Pointers to modules and
/// to blocks come first, zeros last.
pub fn offsets(census: &Census, mut notes: Vec<String>) -> TableData {
    let tag = census.question.tag;
    let mut rows = Vec::new();
    // The most significant kind of value at an offset, among those that are too frequent
    // for coincidence.
    let telling = |counts: &[Count], read: u64| {
        let frequent = counts.iter().filter(|c| share(c.blocks, read) >= 0.05);
        frequent.min_by_key(|c| rank(&c.what)).cloned()
    };
    let mut ranked: Vec<_> = census
        .offsets
        .iter()
        .filter_map(|o| {
            let first = telling(&o.counts, o.read).or_else(|| o.counts.first().cloned())?;
            Some((o, first))
        })
        .collect();
    ranked.sort_by(|(_, a), (_, b)| {
        (rank(&a.what), std::cmp::Reverse(a.blocks))
            .cmp(&(rank(&b.what), std::cmp::Reverse(b.blocks)))
    });
    for (offset, first) in ranked {
        let share = share(first.blocks, offset.read);
        rows.push(TableRow {
            cells: vec![
                Cell::Text(format!("+{:#05x}", offset.offset)),
                Cell::Text(what(&first)),
                Cell::Share(share),
                Cell::Bar(share),
                Cell::Count(first.blocks),
            ],
            opens: Opens::Table(TableKind::Pointers {
                tag,
                offset: offset.offset,
            }),
            ..TableRow::default()
        });
    }
    notes.insert(0, clean(&census.coverage()).into_owned());
    let chart = census.ages.as_ref().map(ages_chart);
    notes.extend(census.ages.as_ref().map(ages_note));
    let modules = census.modules.iter().take(3);
    notes.extend(modules.map(|m| clean(&format!("{}: {}", m.name, m.sentence(census))).into()));
    TableData {
        columns: &OFFSETS,
        title: format!("Block contents of {tag}, after the header"),
        chart,
        rows: Arc::new(rows),
        notes,
        sorted: None,
        start: 0,
    }
}

/// The number of blocks in use by age, from boot to dump.
fn ages_chart(ages: &Ages) -> Chart {
    Chart {
        before: "Ages: boot ".into(),
        values: ages.histogram.to_vec(),
        after: format!(" dump, {}", ages.shape.word()),
    }
}

fn ages_note(ages: &Ages) -> String {
    let time = |time: u64| filetime(time).unwrap_or_else(|| "unknown".into());
    let text = format!(
        "ages by {}: {} of {} blocks, {} to {}; freed blocks leave no trace; {}",
        ages.source,
        grouped(ages.blocks_with_time),
        grouped(ages.blocks),
        time(ages.oldest),
        time(ages.newest),
        recognised(ages)
    );
    clean(&text).into_owned()
}

fn what(count: &Count) -> String {
    let text = match &count.what {
        What::Zero => "zero".into(),
        What::Constant(value) => constant(*value),
        What::Number => "various numbers".into(),
        What::Text => "text".into(),
        What::User => "addresses of processes".into(),
        What::Own => "into the allocation itself".into(),
        What::Module { name, place, .. } => match place {
            Some((place, _)) => place.name.clone(),
            None => name.clone(),
        },
        What::Pool {
            tag,
            is_freed,
            object,
        } => match (object, is_freed) {
            (Some(object), _) => format!("{object} object"),
            (None, true) => format!("freed {tag} block"),
            (None, false) => format!("{tag} block"),
        },
        What::MorePool => "blocks of many tags".into(),
        What::Kernel => "other kernel addresses".into(),
    };
    clean(&text).into_owned()
}

/// By layout; Enter opens a typical allocation.
pub fn families(census: &Census, mut notes: Vec<String>) -> TableData {
    let tag = census.question.tag;
    let rows: Vec<TableRow> = census
        .families
        .iter()
        .map(|family| {
            let into: Vec<String> = family
                .modules
                .iter()
                .map(|(offset, name)| format!("{name} at +{offset:#x}"))
                .collect();
            let size = match family.sizes {
                (a, b) if a == b => format!("{} bytes", grouped(a)),
                (a, b) => format!("{} to {} bytes", grouped(a), grouped(b)),
            };
            TableRow {
                cells: vec![
                    Cell::Count(family.blocks),
                    Cell::Share(share(family.blocks, census.read())),
                    Cell::Bytes(family.sizes.1),
                    Cell::Text(clean(&into.join(", ")).into_owned()),
                    family
                        .text
                        .as_ref()
                        .map_or(Cell::Nothing, |t| Cell::Text(clean(t).into_owned())),
                    Cell::Address(family.exemplar),
                ],
                opens: Opens::Memory {
                    title: family.exemplar.to_string(),
                    about: format!(
                        "{tag} allocation, one of {} with this layout, {size}",
                        family.blocks
                    ),
                    va: family.exemplar,
                    length: Some(family.sizes.1),
                    session: family.session,
                },
                ..TableRow::default()
            }
        })
        .collect();
    notes.insert(0, clean(&census.coverage()).into_owned());
    if census.in_no_family > 0 {
        let count = grouped(census.in_no_family);
        notes.push(format!("{count} allocations belong to no family"));
    }
    TableData {
        columns: &FAMILIES,
        title: format!("{tag} by family: {}", rows.len()),
        rows: Arc::new(rows),
        notes,
        sorted: Some(0),
        start: 0,
        ..TableData::default()
    }
}

/// The kernel objects: their names, and the processes with handles to them.
pub fn objects(found: &Objects, mut notes: Vec<String>) -> TableData {
    let safe = |text: &str| Cell::Text(clean(text).into_owned());
    let mut rows: Vec<TableRow> = Vec::new();
    let mut add = |what: &str, name: String, count: u64, all: Cell, opens: Opens| {
        rows.push(TableRow {
            cells: vec![
                Cell::Text(what.into()),
                safe(&name),
                Cell::Count(count),
                all,
            ],
            opens,
            ..TableRow::default()
        });
    };
    for (what, count) in [
        ("with handles", found.with_handles),
        ("references only", found.referenced_only),
    ] {
        if count > 0 {
            add(what, String::new(), count, Cell::Nothing, Opens::Nothing);
        }
    }
    for holder in &found.holders {
        let name = format!("{} ({})", holder.process.image, holder.process.id);
        let all = Cell::Count(holder.all);
        add("handles", name, holder.handles, all, Opens::Nothing);
    }
    for (what, names) in [("ended", &found.ended_by_image), ("objects", &found.names)] {
        for named in names {
            let opens = Opens::Memory {
                title: named.exemplar.to_string(),
                about: clean(&named.name).into_owned(),
                va: named.exemplar,
                length: None,
                session: None,
            };
            add(what, named.name.clone(), named.count, Cell::Nothing, opens);
        }
    }
    let sentences = found.sentences();
    let told = match sentences.is_empty() {
        true => vec![format!(
            "none of {} examined blocks is a kernel object",
            grouped(found.looked)
        )],
        false => sentences,
    };
    notes.splice(
        0..0,
        told.iter().chain(&found.notes).map(|s| clean(s).into()),
    );
    TableData {
        columns: &OBJECTS,
        title: format!("{} as kernel objects", found.tag),
        rows: Arc::new(rows),
        notes,
        sorted: None,
        start: 0,
        ..TableData::default()
    }
}
