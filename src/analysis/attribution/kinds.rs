//! The kind of a tag: cache, buffers, or one block for each object of some type. The table is
//! `assets/tag-kinds.txt`; its header describes the format.

use std::fmt;
use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use crate::pool::Tag;

/// The built-in table.
const BUILT_IN: &str = include_str!("../../../assets/tag-kinds.txt");

/// The expected behaviour of a tag's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Grows with the workload and shrinks when memory is short.
    Cache,
    /// Allocated once, with a size set by configuration.
    Buffers,
    /// One block for each object of some type.
    Population(Norm),
}

impl Kind {
    /// The word used in reports.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Cache => "cache",
            Kind::Buffers => "buffers",
            Kind::Population(_) => "objects",
        }
    }
}

/// The typical maximum number of blocks of a population.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Norm {
    /// The constant part.
    pub floor: u64,
    /// Added for each block of these tags.
    pub per: Vec<(Tag, u64)>,
    /// Bytes of physical memory per additional block.
    pub memory: Option<u64>,
    /// True if objects of this kind normally end as often as they begin, so allocations without
    /// frees are not typical of start-up.
    pub ends: bool,
}

/// An entry of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The kind.
    pub kind: Kind,
    /// The contents of the tag's blocks.
    pub what: String,
}

/// A line with a format error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line number, from 1.
    pub line: usize,
    /// The error.
    pub why: &'static str,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// The entry of a tag.
pub fn of(tag: Tag) -> Option<&'static Holder> {
    static TABLE: OnceLock<FxHashMap<Tag, Holder>> = OnceLock::new();
    // A test checks the file, so an error can't occur; it would disable the table only.
    TABLE
        .get_or_init(|| parse(BUILT_IN).unwrap_or_default())
        .get(&tag)
}

/// Parses the table. The first entry of a tag wins.
///
/// # Errors
/// The first line with a format error.
pub fn parse(text: &str) -> Result<FxHashMap<Tag, Holder>, Mistake> {
    let mut out = FxHashMap::default();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (tag, holder) = entry(line).map_err(|why| Mistake {
            line: number + 1,
            why,
        })?;
        out.entry(tag).or_insert(holder);
    }
    Ok(out)
}

fn entry(line: &str) -> Result<(Tag, Holder), &'static str> {
    let tag = line.get(..4).and_then(Tag::of).ok_or("no tag")?;
    let (fields, what) = line
        .get(4..)
        .and_then(|rest| rest.split_once(" - "))
        .ok_or("` - ` is missing before the description")?;
    let mut fields = fields.split_whitespace();
    let kind = match fields.next() {
        Some("cache") => Kind::Cache,
        Some("buffers") => Kind::Buffers,
        Some("population") => {
            let mut norm = Norm::default();
            for term in fields.by_ref() {
                norm.take(term).ok_or("unknown norm")?;
            }
            if norm.floor == 0 {
                return Err("a population needs a number");
            }
            Kind::Population(norm)
        }
        _ => return Err("unknown kind"),
    };
    match fields.next() {
        None => Ok((
            tag,
            Holder {
                kind,
                what: what.trim().to_owned(),
            },
        )),
        Some(_) => Err("only a population can have a norm"),
    }
}

/// Maximum nesting of norms that depend on other norms: threads on processes, tokens on threads.
const NESTED: u8 = 2;

impl Norm {
    fn take(&mut self, term: &str) -> Option<()> {
        if term == "ends" {
            self.ends = true;
        } else if let Some(bytes) = term.strip_prefix("ram/") {
            self.memory = Some(bytes.parse().ok().filter(|b| *b > 0)?);
        } else if let Some((tag, each)) = term.split_once('*') {
            self.per.push((Tag::of(tag)?, each.parse().ok()?));
        } else {
            self.floor = term.parse().ok()?;
        }
        Some(())
    }

    /// The typical maximum on a machine with this memory and these counts of other tags. The
    /// count of another population is limited to its own typical maximum: if processes leak,
    /// their tokens do not count as load.
    pub fn common(&self, memory: Option<u64>, outstanding: &dyn Fn(Tag) -> u64) -> u64 {
        self.common_at(memory, outstanding, NESTED)
    }

    fn common_at(&self, memory: Option<u64>, outstanding: &dyn Fn(Tag) -> u64, nested: u8) -> u64 {
        let per = self.per.iter().fold(0u64, |sum, (tag, each)| {
            let most = match of(*tag).map(|holder| &holder.kind) {
                Some(Kind::Population(norm)) if nested > 0 => {
                    norm.common_at(memory, outstanding, nested - 1)
                }
                Some(Kind::Population(norm)) => norm.floor,
                _ => u64::MAX,
            };
            sum.saturating_add(outstanding(*tag).min(most).saturating_mul(*each))
        });
        let by_memory = match (self.memory, memory) {
            (Some(each), Some(memory)) => memory.checked_div(each).unwrap_or(0),
            _ => 0,
        };
        self.floor.saturating_add(per).saturating_add(by_memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Tag {
        Tag::of(text).unwrap()
    }

    #[test]
    fn the_built_in_table_is_valid() {
        let table = parse(BUILT_IN).unwrap();
        let lines = BUILT_IN
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'));
        assert_eq!(lines.count(), table.len(), "a tag is there twice");
        assert_eq!(of(tag("MmSt")).unwrap().kind.word(), "cache");
        assert_eq!(of(tag("Key ")).unwrap().kind.word(), "objects");
        assert_eq!(of(tag("NtFC")), None);
    }

    #[test]
    fn a_norm_is_the_sum_of_its_terms() {
        let table = parse("Abcd population 100 Thre*2 ram/1000 - things").unwrap();
        let Kind::Population(norm) = &table[&tag("Abcd")].kind else {
            panic!("no population");
        };
        let threads = |other| u64::from(other == tag("Thre")) * 7;
        assert_eq!(norm.common(Some(5_000), &threads), 119);
        assert!(!norm.ends);
    }

    #[test]
    fn a_leaking_population_does_not_raise_the_norm_of_another() {
        let Kind::Population(tokens) = &of(tag("Toke")).unwrap().kind else {
            panic!("no population");
        };
        let counts = |processes| {
            move |other| match other == tag("Proc") {
                true => processes,
                false => 0,
            }
        };
        let busy = tokens.common(None, &counts(2_000));
        let leaking = tokens.common(None, &counts(2_000_000));
        assert!(busy > tokens.common(None, &counts(0)));
        assert!(leaking < 2 * busy, "{leaking} beside {busy}");
        // Threads depend on processes; both counts are limited to their typical maximum.
        assert!(tokens.common(None, &|_| u64::MAX) < 1_000_000);
    }

    #[test]
    fn format_errors_have_a_line_number() {
        for text in [
            "Abcd - nothing",
            "Abcd cache 100 - more",
            "Abcd population - no number",
            "Abcd population 10 Thre*x - no factor",
            "Abcd sieve - unknown",
            "Abc",
        ] {
            let text = format!("# head\n{text}");
            assert_eq!(parse(&text).unwrap_err().line, 2, "{text}");
        }
    }
}
