//! The tables that a worker makes from the dump.

pub mod code;
pub mod contents;
mod stacks;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::analysis::attribution::drivers::Driver;
use crate::engine::Machine;
use crate::memory::Va;
use crate::pool::index::{SizeCount, Snapshot};
use crate::pool::page::PageError;
use crate::pool::{Block, Tag, TagPattern};
use crate::report::text::{clean, grouped, human};

use crate::tui::data::block_filter::BlockFilter;
use crate::tui::data::cell::{Cell, like};
use crate::tui::data::columns;
use crate::tui::data::model::pools_in_use;
use crate::tui::data::order::PoolChoice;
use crate::tui::data::table::{Opens, TableColumn, TableData, TableKind, TableRow};
use crate::tui::input::query::Kind;
use crate::tui::widgets::table::Column;

/// Rows between two checks for cancellation.
const LOOK_EVERY: u64 = 1 << 14;
/// Maximum number of different values to count.
const MOST_VALUES: usize = 1 << 18;
/// Maximum number of allocations whose contents are read; more are sampled.
const SAMPLE: u64 = 1 << 16;

const DRIVERS: [TableColumn; 9] = [
    TableColumn::new(Column::text("Driver", 16, 0), &["driver"], Kind::Text),
    TableColumn::new(
        Column::number("NonP bytes", 14, 2),
        &["np", "nonpaged"],
        Kind::Number,
    )
    .of_pool(PoolChoice::Nonpaged),
    TableColumn::new(
        Column::number("Paged bytes", 14, 2),
        &["paged", "pg"],
        Kind::Number,
    )
    .of_pool(PoolChoice::Paged),
    TableColumn::new(Column::number("Both", 15, 1), &["bytes"], Kind::Number)
        .of_pool(PoolChoice::Both),
    TableColumn::new(Column::number("Certain", 14, 5), &["certain"], Kind::Number),
    TableColumn::new(Column::number("Of both", 8, 3), &["share"], Kind::Share),
    TableColumn::new(Column::text("", 10, 6), &[""], Kind::Share),
    TableColumn::new(
        Column::text("Tags", 12, 4).growing(20),
        &["tags"],
        Kind::Text,
    ),
    TableColumn::new(
        Column::text("Version, company, link date", 40, 7).growing(0),
        &["version", "company"],
        Kind::Text,
    ),
];

const TAGS_OF: [TableColumn; 7] = [
    TableColumn::new(Column::text("Tag", 4, 0), &["tag"], Kind::Text),
    TableColumn::new(
        Column::number("NonP bytes", 14, 2),
        &["np", "nonpaged"],
        Kind::Number,
    )
    .of_pool(PoolChoice::Nonpaged),
    TableColumn::new(
        Column::number("Paged bytes", 14, 2),
        &["paged", "pg"],
        Kind::Number,
    )
    .of_pool(PoolChoice::Paged),
    TableColumn::new(Column::number("Both", 15, 1), &["bytes"], Kind::Number)
        .of_pool(PoolChoice::Both),
    TableColumn::new(Column::number("Of driver", 9, 3), &["share"], Kind::Share),
    TableColumn::new(
        Column::text("Confidence", 10, 2),
        &["confidence", "sure"],
        Kind::Text,
    ),
    TableColumn::new(
        Column::text("Used for", 12, 4).growing(26),
        &["for", "about"],
        Kind::Text,
    ),
];

const SIZES: [TableColumn; 5] = [
    TableColumn::new(Column::number("Size", 14, 0), &["size"], Kind::Number),
    TableColumn::new(Column::number("Count", 12, 1), &["count"], Kind::Number),
    TableColumn::new(Column::number("Bytes", 16, 2), &["bytes"], Kind::Number),
    TableColumn::new(Column::number("Of tag", 6, 3), &["share"], Kind::Share),
    TableColumn::new(Column::text("", 20, 4), &[""], Kind::Share),
];

/// The columns of a frequency table.
pub const FREQUENCY: [TableColumn; 4] = [
    TableColumn::new(
        Column::text("Value", 18, 0).growing(40),
        &["value"],
        Kind::Text,
    ),
    TableColumn::new(Column::number("Count", 12, 1), &["count"], Kind::Number),
    TableColumn::new(Column::number("Of all", 6, 2), &["share"], Kind::Share),
    TableColumn::new(Column::text("", 20, 3), &[""], Kind::Share),
];

const PAGE: [TableColumn; 7] = [
    TableColumn::new(Column::text("Address", 17, 0), &["address"], Kind::Address),
    TableColumn::new(
        Column::number("Bytes", 11, 1),
        &["bytes", "size"],
        Kind::Number,
    ),
    TableColumn::new(Column::number("Before", 7, 4), &["before"], Kind::Number),
    TableColumn::new(Column::text("Tag", 4, 1), &["tag"], Kind::Text),
    TableColumn::new(Column::text("Pool", 11, 3), &["pool"], Kind::Text),
    TableColumn::new(
        Column::text("Backend", 7, 5),
        &["backend", "from"],
        Kind::Text,
    ),
    TableColumn::new(Column::text("State", 9, 2), &["state"], Kind::Text),
];

/// Makes a table. `None` if cancelled.
///
/// # Errors
/// Why there is no table, as a sentence.
pub fn make(
    engine: &dyn Machine,
    index: &Snapshot,
    ask: &TableKind,
    wanted: &dyn Fn() -> bool,
) -> Result<Option<TableData>, String> {
    Ok(Some(match ask {
        TableKind::Drivers => drivers(engine, index)?,
        TableKind::TagsOf(module) => tags_of(engine, index, module.as_deref())?,
        TableKind::Sizes(tag) => sizes(*tag, index),
        TableKind::Frequency {
            tag,
            column,
            filter,
        } => match frequency(index, *tag, column, filter, wanted)? {
            Some(data) => data,
            None => return Ok(None),
        },
        TableKind::Pointers { tag, offset } => match pointers(engine, index, *tag, *offset, wanted)
        {
            Some(data) => data,
            None => return Ok(None),
        },
        TableKind::Page { va, session } => page(engine, *va, *session)?,
        TableKind::Contents(tag) | TableKind::Families(tag) => {
            match contents::census(engine, index, *tag)? {
                Some(census) if matches!(ask, TableKind::Contents(_)) => {
                    contents::offsets(&census, unfinished(index))
                }
                Some(census) => contents::families(&census, unfinished(index)),
                None => return Ok(None),
            }
        }
        TableKind::Objects(tag) => match engine.objects_of(index, *tag, 0, wanted)? {
            Some(found) => contents::objects(&found, unfinished(index)),
            None => return Ok(None),
        },
        TableKind::Stacks(tag) => match stacks::make(engine, index, *tag, unfinished(index))? {
            Some(data) => data,
            None => return Ok(None),
        },
        TableKind::Code { tag, va } => code::table(engine, *tag, *va)?,
        // The state machine makes these.
        TableKind::Counted | TableKind::Marks | TableKind::Points | TableKind::ModuleChanges => {
            return Ok(None);
        }
    }))
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn drivers(engine: &dyn Machine, index: &Snapshot) -> Result<TableData, String> {
    let found = engine.by_driver(Some(index))?;
    let all = found.rows.iter().chain([&found.unowned]);
    // The same base as the tag list has: the bytes in use, which are more than those of tags.
    let of_tags = [0, 1].map(|pool: usize| {
        let bytes = all.clone().filter_map(|d| d.bytes.get(pool));
        bytes.fold(0u64, |sum, bytes| sum.saturating_add(*bytes))
    });
    let used = pools_in_use(engine, Some(index));
    let total = used.iter().zip(of_tags).fold(0u64, |sum, (used, of_tags)| {
        sum.saturating_add(used.unwrap_or(of_tags))
    });
    let row = |driver: &Driver| {
        let module = (!driver.module.is_empty()).then(|| clean(&driver.module).into_owned());
        let tags: Vec<String> = driver
            .tags
            .iter()
            .take(8)
            .map(|t| t.tag.to_string())
            .collect();
        let share = share(driver.total(), total);
        let identity = driver.identity.as_ref().filter(|i| i.is_telling());
        let identity = identity.map(|i| clean(&i.phrase()).into_owned());
        TableRow {
            mark: if module.is_none() { '?' } else { ' ' },
            cells: vec![
                Cell::Text(module.clone().unwrap_or_else(|| "(no known owner)".into())),
                Cell::Bytes(driver.bytes[0]),
                Cell::Bytes(driver.bytes[1]),
                Cell::Bytes(driver.total()),
                Cell::Bytes(driver.certain),
                Cell::Share(share),
                Cell::Bar(share),
                Cell::Text(tags.join(" ")),
                identity.map_or(Cell::Unknown, Cell::Text),
            ],
            opens: Opens::Table(TableKind::TagsOf(module)),
            ..TableRow::default()
        }
    };
    let rows: Vec<TableRow> = all.filter(|d| d.total() > 0).map(row).collect();
    Ok(TableData {
        columns: &DRIVERS,
        title: format!("Pool by driver: {}", rows.len()),
        rows: Arc::new(rows),
        notes: vec![
            "the bytes of a tag are counted for its most likely owner; nt allocates much on \
                behalf of others"
                .into(),
        ],
        sorted: Some(3),
        start: 0,
        ..TableData::default()
    })
}

fn tags_of(
    engine: &dyn Machine,
    index: &Snapshot,
    module: Option<&str>,
) -> Result<TableData, String> {
    let found = engine.by_driver(Some(index))?;
    let driver = match module {
        None => &found.unowned,
        Some(module) => found
            .rows
            .iter()
            .find(|d| clean(&d.module) == module)
            .ok_or_else(|| format!("{module} holds no pool"))?,
    };
    let row = |holding: &crate::analysis::attribution::drivers::Holding| {
        let about = engine.descriptions().get(holding.tag);
        TableRow {
            cells: vec![
                Cell::Text(holding.tag.to_string()),
                Cell::Bytes(holding.bytes[0]),
                Cell::Bytes(holding.bytes[1]),
                Cell::Bytes(holding.total()),
                Cell::Share(share(holding.total(), driver.total())),
                match holding.certainty {
                    Some(certainty) => Cell::Text(certainty.word().into()),
                    None => Cell::Unknown,
                },
                match about {
                    Some(about) => Cell::Text(clean(&about.text).into_owned()),
                    None => Cell::Text("unknown tag".into()),
                },
            ],
            opens: Opens::Tag(holding.tag, String::new()),
            ..TableRow::default()
        }
    };
    let name = module.unwrap_or("unknown");
    Ok(TableData {
        columns: &TAGS_OF,
        title: format!("Tags of {name}: {}", driver.tags.len()),
        rows: Arc::new(driver.tags.iter().map(row).collect()),
        notes: Vec::new(),
        sorted: Some(3),
        start: 0,
        ..TableData::default()
    })
}

fn sizes(tag: Tag, index: &Snapshot) -> TableData {
    let sizes = index.sizes(&TagPattern::of(tag));
    let total = sizes
        .iter()
        .fold(0u64, |sum, s| sum.saturating_add(s.bytes()));
    let row = |size: &SizeCount| {
        let share = share(size.bytes(), total);
        TableRow {
            cells: vec![
                Cell::Bytes(size.size),
                Cell::Count(size.count),
                Cell::Bytes(size.bytes()),
                Cell::Share(share),
                Cell::Bar(share),
            ],
            opens: Opens::Tag(tag, format!("size = {}", size.size)),
            ..TableRow::default()
        }
    };
    TableData {
        columns: &SIZES,
        title: format!(
            "{tag} by size: {}, {}",
            counted(sizes.len(), "size"),
            human(total)
        ),
        rows: Arc::new(sizes.iter().map(row).collect()),
        notes: unfinished(index),
        sorted: Some(2),
        start: 0,
        ..TableData::default()
    }
}

/// `1 size`, `1,024 sizes`.
fn counted(number: usize, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {what}{s}", grouped(number as u64))
}

/// What the walk has not seen.
fn unfinished(index: &Snapshot) -> Vec<String> {
    let (done, all) = (index.windows_done, index.windows_all);
    match done < all {
        true => vec![format!(
            "the walk has read {} of {} ranges of pool",
            grouped(done as u64),
            grouped(all as u64)
        )],
        false => Vec::new(),
    }
}

/// Size of the address ranges by which addresses are counted.
const STRETCH: u64 = 2 << 20;

fn frequency(
    index: &Snapshot,
    tag: Tag,
    column: &str,
    filter: &str,
    wanted: &dyn Fn() -> bool,
) -> Result<Option<TableData>, String> {
    let filter = BlockFilter::parse(filter)?;
    let named = |f: &&crate::tui::input::query::Field| f.names.contains(&column);
    let field = columns::BLOCK.iter().position(|f| named(&f)).unwrap_or(1);
    let mut counts: FxHashMap<Key, u64> = FxHashMap::default();
    let (mut all, mut others) = (0u64, 0u64);
    for (i, block) in (0u64..).zip(index.blocks(tag).iter()) {
        if i % LOOK_EVERY == 0 && !wanted() {
            return Ok(None);
        }
        if filter.as_ref().is_some_and(|f| !f.block(&block)) {
            continue;
        }
        all += 1;
        let key = key_of(&block, field);
        let room = counts.len() < MOST_VALUES;
        match counts.get_mut(&key) {
            Some(count) => *count += 1,
            None if room => {
                counts.insert(key, 1);
            }
            None => others += 1,
        }
    }
    let mut counts: Vec<(Key, u64)> = counts.into_iter().collect();
    counts.sort_unstable();
    let rows: Vec<TableRow> = counts
        .into_iter()
        .map(|(key, count)| row_of_key(key, field, column, count, all))
        .collect();
    let mut notes = unfinished(index);
    if others > 0 {
        notes.push(format!(
            "{} allocations have other values, which are not counted separately",
            grouped(others)
        ));
    }
    Ok(Some(TableData {
        columns: &FREQUENCY,
        title: format!(
            "{} values of {column} in {} allocations of {tag}",
            grouped(rows.len() as u64),
            grouped(all)
        ),
        rows: Arc::new(rows),
        notes,
        sorted: Some(1),
        start: 0,
        ..TableData::default()
    }))
}

/// A counted value of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Number(u64),
    Word(&'static str),
    None,
}

fn key_of(block: &Block, field: usize) -> Key {
    match field {
        0 => Key::Number(block.va.0 & !(STRETCH - 1)),
        1 => Key::Number(block.bytes),
        2 => Key::Word(block.kind.word()),
        3 => Key::Word(block.backend.word()),
        4 => Key::Word(block.state.word()),
        5 => block.session.map_or(Key::None, |s| Key::Number(s.into())),
        _ => Key::None,
    }
}

fn row_of_key(key: Key, field: usize, column: &str, count: u64, all: u64) -> TableRow {
    let (cell, filter) = match (key, field) {
        (Key::Number(start), 0) => (
            Cell::Address(Va(start)),
            Some(format!(
                "address >= {start:x} and address <= {:x}",
                start | (STRETCH - 1)
            )),
        ),
        (Key::Number(n), 1) => (Cell::Bytes(n), like(column, &Cell::Bytes(n))),
        (Key::Number(n), _) => (Cell::Count(n), like(column, &Cell::Count(n))),
        (Key::Word(word), _) => {
            let cell = Cell::Text(word.into());
            let filter = like(column, &cell);
            (cell, filter)
        }
        (Key::None, _) => (Cell::Unknown, None),
    };
    let share = share(count, all);
    TableRow {
        cells: vec![
            cell,
            Cell::Count(count),
            Cell::Share(share),
            Cell::Bar(share),
        ],
        opens: filter.map_or(Opens::Nothing, Opens::Filter),
        ..TableRow::default()
    }
}

/// The targets of the qword at an offset of a tag's allocations.
fn pointers(
    engine: &dyn Machine,
    index: &Snapshot,
    tag: Tag,
    offset: u64,
    wanted: &dyn Fn() -> bool,
) -> Option<TableData> {
    let blocks = index.blocks(tag);
    let looked = blocks.len().min(SAMPLE);
    let mut counts: FxHashMap<String, (u64, Block)> = FxHashMap::default();
    let mut short = 0u64;
    for i in 0..looked {
        if i % 256 == 0 && !wanted() {
            return None;
        }
        // Cannot overflow: both are far below 2^32.
        let at = (u128::from(i) * u128::from(blocks.len()) / u128::from(looked)) as u64;
        let Some(block) = blocks.get(at) else {
            continue;
        };
        if block.bytes < offset.saturating_add(block.header_bytes() + 8) {
            short += 1;
            continue;
        }
        let name = what_is_at(engine, &block, offset);
        counts.entry(name).or_insert((0, block)).0 += 1;
    }
    let all = looked - short;
    let mut counts: Vec<(String, (u64, Block))> = counts.into_iter().collect();
    counts.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let rows = counts.into_iter().map(|(name, (count, block))| {
        let share = share(count, all);
        TableRow {
            cells: vec![
                Cell::Text(name.clone()),
                Cell::Count(count),
                Cell::Share(share),
                Cell::Bar(share),
            ],
            opens: Opens::Memory {
                title: block.va.to_string(),
                about: format!("{tag} allocation with {name} at +{offset:#x}"),
                va: block.va,
                length: Some(block.bytes),
                session: block.session,
            },
            ..TableRow::default()
        }
    });
    let rows: Vec<TableRow> = rows.collect();
    let mut notes = unfinished(index);
    if looked < blocks.len() {
        notes.push(format!(
            "{} of {} allocations were read, evenly sampled",
            grouped(looked),
            grouped(blocks.len())
        ));
    }
    if short > 0 {
        notes.push(format!("{} allocations are shorter", grouped(short)));
    }
    Some(TableData {
        columns: &FREQUENCY,
        title: format!("{tag} at +{offset:#x}: {} kinds of value", rows.len()),
        rows: Arc::new(rows),
        notes,
        sorted: Some(1),
        start: 0,
        ..TableData::default()
    })
}

fn what_is_at(engine: &dyn Machine, block: &Block, offset: u64) -> String {
    let at = block.body().add(offset);
    let mut raw = [0; 8];
    if engine.read(block.session, at, &mut raw).is_err() {
        return "can't be read".into();
    }
    let value = u64::from_le_bytes(raw);
    if let Some(target) = crate::tui::jobs::memory::target(engine, Va(value)) {
        return target;
    }
    let text: Vec<u8> = raw.iter().copied().take_while(|b| *b != 0).collect();
    match value {
        0 => "zero".into(),
        _ if text.len() >= 4 && text.iter().all(|b| (0x20..0x7f).contains(b)) => {
            format!("text \"{}\"", String::from_utf8_lossy(&text))
        }
        n if n < 1 << 32 => format!("{n:#x}"),
        n if Va(n).is_kernel() => "another kernel address".into(),
        n if n < 1 << 47 => "a user address or a number".into(),
        _ => "a number".into(),
    }
}

fn page(engine: &dyn Machine, va: Va, session: Option<u32>) -> Result<TableData, String> {
    let page = engine.page(va).map_err(|why| match why {
        PageError::Unreadable(fault) => format!("{va} can't be read: {fault}"),
        PageError::NotPool => format!("{va} is not in a page of pool"),
        PageError::NotKept => format!("the evidence file does not have the page of {va}"),
    })?;
    let row = |b: &crate::pool::page::PageBlock| {
        let block = &b.block;
        TableRow {
            mark: if b.holds_address { '*' } else { ' ' },
            cells: vec![
                Cell::Address(block.va),
                Cell::Bytes(block.bytes),
                Cell::Bytes(b.previous_bytes),
                Cell::Text(block.tag.to_string()),
                Cell::Text(block.kind.word().into()),
                Cell::Text(block.backend.word().into()),
                Cell::Text(block.state.word().into()),
            ],
            opens: Opens::Memory {
                title: block.va.to_string(),
                about: format!("{} block of {} bytes", block.tag, grouped(block.bytes)),
                va: block.va,
                length: Some(block.bytes),
                session: block.session.or(session),
            },
            ..TableRow::default()
        }
    };
    let mut notes = Vec::new();
    if let Some(at) = page.damaged_at {
        notes.push(format!(
            "the chain of blocks is damaged at {}: what follows is not listed",
            page.page.add(at.into())
        ));
    }
    Ok(TableData {
        columns: &PAGE,
        title: format!(
            "Page {}{}, {}",
            page.page,
            page.kind
                .map_or(String::new(), |k| format!(", {}", k.word())),
            counted(page.blocks.len(), "block")
        ),
        rows: Arc::new(page.blocks.iter().map(row).collect()),
        start: page
            .blocks
            .iter()
            .position(|b| b.holds_address)
            .unwrap_or(0) as u64,
        notes,
        sorted: None,
        ..TableData::default()
    })
}
