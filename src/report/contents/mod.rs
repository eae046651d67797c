//! The contents of a tag's blocks, by offset.

mod csv;
mod markdown;
mod text;

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::ages::{Ages, Recognised, SLICES};
use crate::analysis::census::{Census, Count, Family, Offset, Pointing, What, text_of};

use super::text::{clean, filetime, json_address};
use super::{Answer, tag_hex};

/// Maximum number of classes to list per offset in text.
const KINDS: usize = 3;
/// Maximum number of families to list in text.
const FAMILIES: usize = 8;

/// The answer of `contents`.
#[derive(Debug, Serialize)]
pub struct Contents {
    tag: String,
    tag_hex: String,
    blocks: u64,
    read: u64,
    unreadable: u64,
    coverage: String,
    modules: Vec<Module>,
    offsets: Vec<Row>,
    families: Vec<FamilyRow>,
    in_no_family: u64,
    ages: Option<AgesRecord>,
    notes: Vec<String>,
}

/// The ages of the blocks.
#[derive(Debug, Serialize)]
struct AgesRecord {
    source: String,
    blocks_with_time: u64,
    oldest: Option<String>,
    newest: Option<String>,
    histogram: [u64; SLICES],
    shape: &'static str,
    /// The maximum error of a time, if times are estimated.
    error_seconds: Option<u64>,
    /// The probability of a coincidence is at most 10 to this power; `None` if the field was not
    /// recognised by rarity.
    chance_power_of_ten: Option<i32>,
    #[serde(skip)]
    recognised: String,
}

impl AgesRecord {
    fn of(ages: &Ages) -> AgesRecord {
        AgesRecord {
            source: ages.source.clone(),
            blocks_with_time: ages.blocks_with_time,
            oldest: filetime(ages.oldest),
            newest: filetime(ages.newest),
            histogram: ages.histogram,
            shape: ages.shape.word(),
            error_seconds: ages.error.map(|error| error.div_ceil(10_000_000)),
            chance_power_of_ten: match ages.recognised {
                Recognised::ByRarity(power) => Some(power),
                Recognised::ByName | Recognised::ByDistribution => None,
            },
            recognised: recognised(ages),
        }
    }
}

/// How the times were recognised, as a phrase.
pub fn recognised(ages: &Ages) -> String {
    match ages.recognised {
        Recognised::ByName => "a field of the object".into(),
        Recognised::ByRarity(power) => {
            let power = power.saturating_neg().clamp(0, 99);
            format!("random values would pass in fewer than 1 of 10^{power} cases")
        }
        Recognised::ByDistribution => {
            "small numbers, assumed to be times because of their distribution".into()
        }
    }
}

#[derive(Debug, Serialize)]
struct Module {
    module: String,
    blocks: u64,
    share: f64,
    offset: u64,
    share_at_offset: f64,
    place: Option<String>,
    function: Option<String>,
    sentence: String,
}

#[derive(Debug, Serialize)]
struct Row {
    offset: u64,
    read: u64,
    unreadable: u64,
    counts: Vec<Kind>,
}

#[derive(Debug, Serialize)]
struct Kind {
    kind: &'static str,
    what: String,
    blocks: u64,
    share: f64,
}

#[derive(Debug, Serialize)]
struct FamilyRow {
    blocks: u64,
    share: f64,
    smallest: u64,
    largest: u64,
    exemplar: String,
    session: Option<u32>,
    shape: String,
    modules: Vec<String>,
    text: Option<String>,
    #[serde(skip)]
    at: crate::memory::Va,
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

impl Contents {
    /// A report of a census.
    pub fn of(census: &Census) -> Contents {
        let read = census.read();
        Contents {
            tag: census.question.tag.to_string(),
            tag_hex: tag_hex(census.question.tag),
            blocks: census.population,
            read,
            unreadable: census.unreadable,
            coverage: census.coverage(),
            modules: census
                .modules
                .iter()
                .map(|m| Module::of(m, census))
                .collect(),
            offsets: census.offsets.iter().map(Row::of).collect(),
            families: census
                .families
                .iter()
                .map(|f| FamilyRow::of(f, read))
                .collect(),
            in_no_family: census.in_no_family,
            ages: census.ages.as_ref().map(AgesRecord::of),
            notes: census.notes.iter().map(|n| clean(n).into()).collect(),
        }
    }

    /// The offsets to show: those with kernel pointers.
    fn told(&self) -> impl Iterator<Item = &Row> {
        let plain = |k: &Kind| matches!(k.kind, "zero" | "number" | "text" | "user" | "constant");
        self.offsets
            .iter()
            .filter(move |row| !row.counts.iter().all(plain))
    }
}

impl Module {
    fn of(pointing: &Pointing, census: &Census) -> Module {
        let (anywhere, at_offset) = pointing.shares(census);
        let place = pointing.place.as_ref().map(|p| &p.0);
        Module {
            module: clean(&pointing.name).into(),
            blocks: pointing.blocks,
            share: anywhere,
            offset: pointing.offset,
            share_at_offset: at_offset,
            place: place.map(|p| clean(&p.name).into()),
            function: place.and_then(|p| Some(clean(p.function.as_deref()?).into())),
            sentence: clean(&pointing.sentence(census)).into(),
        }
    }
}

impl Row {
    fn of(offset: &Offset) -> Row {
        Row {
            offset: offset.offset,
            read: offset.read,
            unreadable: offset.unreadable,
            counts: offset
                .counts
                .iter()
                .map(|c| Kind::of(c, offset.read))
                .collect(),
        }
    }
}

/// A value, and its bytes as text if they are text.
pub fn constant(value: u64) -> String {
    match text_of(value) {
        Some(text) => format!("{value:#x} \"{text}\""),
        None => format!("{value:#x}"),
    }
}

impl Kind {
    fn of(count: &Count, read: u64) -> Kind {
        let (kind, what) = match &count.what {
            What::Zero => ("zero", "zero".to_owned()),
            What::Constant(value) => ("constant", constant(*value)),
            What::Number => ("number", "various numbers".into()),
            What::Text => ("text", "text".into()),
            What::User => ("user", "addresses of processes".into()),
            What::Own => ("own", "into the block itself".into()),
            What::Module { name, place, .. } => match place {
                Some((place, _)) => ("module", format!("{name}, mostly {}", place.name)),
                None => ("module", name.clone()),
            },
            What::Pool {
                tag,
                is_freed,
                object,
            } => {
                let state = if *is_freed { "freed " } else { "" };
                match object {
                    Some(object) => ("object", format!("{object} object ({tag})")),
                    None => ("pool", format!("{state}{tag} block")),
                }
            }
            What::MorePool => ("pool", "blocks of further tags".into()),
            What::Kernel => ("kernel", "other kernel addresses".into()),
        };
        Kind {
            kind,
            what: clean(&what).into(),
            blocks: count.blocks,
            share: share(count.blocks, read),
        }
    }
}

impl FamilyRow {
    fn of(family: &Family, read: u64) -> FamilyRow {
        FamilyRow {
            blocks: family.blocks,
            share: share(family.blocks, read),
            smallest: family.sizes.0,
            largest: family.sizes.1,
            exemplar: json_address(family.exemplar),
            session: family.session,
            shape: family.shape.clone(),
            modules: family
                .modules
                .iter()
                .map(|(offset, name)| format!("+{offset:#x} {}", clean(name)))
                .collect(),
            text: family.text.as_deref().map(|t| clean(t).into()),
            at: family.exemplar,
        }
    }
}

impl Answer for Contents {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        text::write(self, out)
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        csv::write(self, out)
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        markdown::write(self, out)
    }
}
