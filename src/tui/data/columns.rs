//! The query fields of lists that are not tables: tags, allocations, modules.

use crate::pool::Block;
use crate::pool::tracker::Usage;

use crate::tui::data::baseline::Baseline;
use crate::tui::data::cell::Cell;
use crate::tui::data::model::{ModuleRow, ReferenceRow, TagRow};
use crate::tui::data::order::PoolChoice;
use crate::tui::input::query::{Field, Kind, Row, TextFilter, Value};

const fn field(names: &'static [&'static str], kind: Kind) -> Field {
    Field { names, kind }
}

/// The fields of a tag.
pub const TAG: [Field; 17] = [
    field(&["tag"], Kind::Text),
    field(&["bytes", "used"], Kind::Number),
    field(&["np", "nonpaged"], Kind::Number),
    field(&["paged", "pg"], Kind::Number),
    field(&["diff", "count"], Kind::Number),
    field(&["npdiff"], Kind::Number),
    field(&["pgdiff"], Kind::Number),
    field(&["allocs"], Kind::Number),
    field(&["frees"], Kind::Number),
    field(&["mean"], Kind::Number),
    field(&["share"], Kind::Share),
    field(&["owner", "binary"], Kind::Text),
    field(&["for", "about"], Kind::Text),
    field(&["known"], Kind::Text),
    field(&["change"], Kind::Number),
    field(&["rate"], Kind::Number),
    field(&["trend"], Kind::Text),
];
/// The field for a comparison without a field name, in the tag list.
pub const TAG_DEFAULT: usize = 1;

/// A tag as a query sees it: in the pool on screen.
pub struct TagAsked<'a> {
    /// The row.
    pub row: &'a TagRow,
    /// The pool.
    pub pool: PoolChoice,
    /// Bytes of all tags in that pool.
    pub total: u64,
    /// False if allocations since boot are unknown.
    pub counted: bool,
    /// The baseline of the open dump.
    pub baseline: Option<&'a Baseline>,
}

impl TagAsked<'_> {
    /// The cell of a field.
    pub fn cell(&self, field: usize) -> Cell {
        let usage: Usage = self.pool.of(&self.row.usage);
        let known = |n| match self.counted && !usage.wrapped {
            true => Cell::Count(n),
            false => Cell::Unknown,
        };
        let (np, pg) = (self.row.usage.nonpaged, self.row.usage.paged);
        match field {
            0 => Cell::Text(self.row.usage.tag.to_string()),
            1 => Cell::Bytes(usage.bytes),
            2 => Cell::Bytes(np.bytes),
            3 => Cell::Bytes(pg.bytes),
            4 => Cell::Count(usage.outstanding),
            5 => Cell::Count(np.outstanding),
            6 => Cell::Count(pg.outstanding),
            7 => known(usage.allocs),
            8 => known(usage.frees),
            9 => Cell::Bytes(usage.bytes_per_alloc()),
            10 => Cell::Share(usage.bytes as f64 / self.total.max(1) as f64),
            11 => {
                let owner = self.row.owner();
                owner.map_or(Cell::Unknown, |o| Cell::Text(o.to_owned()))
            }
            12 => {
                let about = self.row.about.as_ref();
                about.map_or(Cell::Unknown, |a| Cell::Text(a.clone()))
            }
            13 => Cell::Text(
                if self.row.about.is_some() {
                    "yes"
                } else {
                    "no"
                }
                .into(),
            ),
            14..=16 => self.change(field).unwrap_or(Cell::Unknown),
            _ => Cell::Unknown,
        }
    }

    /// The fields that need a baseline.
    fn change(&self, field: usize) -> Option<Cell> {
        let (baseline, tag) = (self.baseline?, self.row.usage.tag);
        Some(match field {
            14 => Cell::Change(baseline.delta(tag, self.pool).bytes?),
            15 => Cell::Change(baseline.rate(tag)?),
            _ => Cell::Text(baseline.trend(tag)?.word().into()),
        })
    }
}

/// The value of a cell, for queries.
fn value(cell: Cell) -> Value<'static> {
    match cell {
        Cell::Text(text) => Value::Text(text.into()),
        Cell::Count(n) | Cell::Bytes(n) => Value::Number(n),
        Cell::Change(n) => Value::Change(n),
        Cell::Address(va) => Value::Number(va.0),
        Cell::Share(share) | Cell::Bar(share) => Value::Share(share),
        Cell::Unknown | Cell::Nothing => Value::Unknown,
    }
}

impl Row for TagAsked<'_> {
    fn value(&self, field: usize) -> Value<'_> {
        value(self.cell(field))
    }

    fn has(&self, text: &TextFilter) -> bool {
        text.tag(self.row)
    }
}

/// The fields of an allocation.
pub const BLOCK: [Field; 7] = [
    field(&["address"], Kind::Address),
    field(&["bytes", "size"], Kind::Number),
    field(&["pool"], Kind::Text),
    field(&["backend", "from"], Kind::Text),
    field(&["state"], Kind::Text),
    field(&["session"], Kind::Number),
    field(&["tag"], Kind::Text),
];
/// The field for a comparison without a field name, in a list of allocations.
pub const BLOCK_DEFAULT: usize = 1;

/// The cell of a field of an allocation.
pub fn block_cell(block: &Block, field: usize) -> Cell {
    match field {
        0 => Cell::Address(block.va),
        1 => Cell::Bytes(block.bytes),
        2 => Cell::Text(block.kind.word().into()),
        3 => Cell::Text(block.backend.word().into()),
        4 => Cell::Text(block.state.word().into()),
        5 => block
            .session
            .map_or(Cell::Unknown, |s| Cell::Count(s.into())),
        6 => Cell::Text(block.tag.to_string()),
        _ => Cell::Unknown,
    }
}

impl Row for Block {
    fn value(&self, field: usize) -> Value<'_> {
        // Called for millions of blocks: static words avoid an allocation each.
        match field {
            2 => Value::Text(self.kind.word().into()),
            3 => Value::Text(self.backend.word().into()),
            4 => Value::Text(self.state.word().into()),
            other => value(block_cell(self, other)),
        }
    }

    fn has(&self, text: &TextFilter) -> bool {
        let words = [self.kind.word(), self.backend.word(), self.state.word()];
        words.iter().any(|w| text.in_text(w))
    }
}

/// The fields of a module.
pub const MODULE: [Field; 7] = [
    field(&["start", "base"], Kind::Address),
    field(&["end"], Kind::Address),
    field(&["size"], Kind::Number),
    field(&["module", "name"], Kind::Text),
    field(&["path"], Kind::Text),
    field(&["pdb"], Kind::Text),
    field(&["unloaded"], Kind::Text),
];
/// The field for a comparison without a field name, in the module list.
pub const MODULE_DEFAULT: usize = 2;

/// The cell of a field of a module.
pub fn module_cell(module: &ModuleRow, field: usize) -> Cell {
    match field {
        0 => Cell::Address(module.base),
        1 => Cell::Address(module.end),
        2 => Cell::Bytes(module.end.0.wrapping_sub(module.base.0)),
        3 => Cell::Text(module.name.clone()),
        4 => Cell::Text(module.path.clone()),
        5 => Cell::Text(module.pdb.clone()),
        6 => Cell::Text(if module.unloaded { "yes" } else { "no" }.into()),
        _ => Cell::Unknown,
    }
}

impl Row for ModuleRow {
    fn value(&self, field: usize) -> Value<'_> {
        value(module_cell(self, field))
    }

    fn has(&self, text: &TextFilter) -> bool {
        text.module(self)
    }
}

/// Text search in each kind of row.
impl TextFilter {
    /// Searches a tag's name only.
    pub fn tag_itself(&self, row: &TagRow) -> bool {
        match self.pattern() {
            Some(pattern) => pattern.matches(row.usage.tag) || self.matches_folded(row.usage.tag),
            None => self.in_text(&row.usage.tag.to_string()),
        }
    }

    /// Searches a tag's name, description and owner.
    pub fn tag(&self, row: &TagRow) -> bool {
        let also = |text: &Option<String>| text.as_ref().is_some_and(|t| self.in_text(t));
        self.tag_itself(row)
            || (self.pattern().is_none()
                && (also(&row.about)
                    || also(&row.binary)
                    || also(&row.owner)
                    || also(&row.referenced_in)))
    }

    /// Searches a reference.
    pub fn reference(&self, row: &ReferenceRow) -> bool {
        let texts = [&row.place(), &row.section, &row.api, &row.function];
        texts.into_iter().any(|text| self.in_text(text)) || self.in_text(row.confidence)
    }

    /// Searches a module's name and path.
    pub fn module(&self, row: &ModuleRow) -> bool {
        self.in_text(&row.name) || self.in_text(&row.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;
    use crate::tui::input::query::Query;

    #[test]
    fn every_field_of_every_list_has_a_cell() {
        let model = fixture::model();
        let row = model.tag(crate::pool::Tag::of("Leak").unwrap()).unwrap();
        let asked = TagAsked {
            row,
            pool: PoolChoice::Nonpaged,
            total: model.total.nonpaged.bytes,
            counted: true,
            baseline: None,
        };
        for text in [
            "np > 100MB and frees = 0",
            "bytes > 500m share > 50%",
            "known = no and diff = 601",
            "paged = 0 pgdiff = 0 npdiff > 600 mean = 1024000 allocs >= 601",
        ] {
            let query = Query::parse(text, &TAG, TAG_DEFAULT).unwrap();
            assert!(query.holds(&asked), "{text}");
        }
        let owner = Query::parse("owner ~ amd or for ~ x", &TAG, TAG_DEFAULT).unwrap();
        assert!(
            !owner.holds(&asked),
            "no owner is known, so none is like it"
        );
        let block = fixture::planted_block(3);
        let text = "size > 1 address >= fffffa80`00000000 pool = nonpaged backend = big state ~ alloc tag = Leak";
        let query = Query::parse(text, &BLOCK, BLOCK_DEFAULT).unwrap();
        assert!(query.holds(&block));
        let module = model.modules.iter().find(|m| m.name == "myfault").unwrap();
        let text = "name = my* and size > 1k and unloaded = no";
        let query = Query::parse(text, &MODULE, MODULE_DEFAULT).unwrap();
        assert!(query.holds(module));
        for (fields, cell) in [
            (TAG.len(), asked.cell(99)),
            (BLOCK.len(), block_cell(&block, 99)),
        ] {
            assert_eq!(cell, Cell::Unknown, "{fields}");
        }
    }

    #[test]
    fn tags_are_found_by_name_pattern_description_and_owner() {
        let row = fixture::tag_row("Thre", 607, 774_048, Some("Thread objects"), Some("nt!ps"));
        let asks = |typed: &str| TextFilter::parse(typed).unwrap().tag(&row);
        for typed in [
            "Thre", "thr", "T*", "t*", "?hre", "thread", "objects", "nt!ps",
        ] {
            assert!(asks(typed), "{typed}");
        }
        for typed in ["tHre", "tH*", "nt!io", "xyz"] {
            assert!(!asks(typed), "{typed}");
        }
        assert!(TextFilter::parse("  ").is_none());
    }
}
