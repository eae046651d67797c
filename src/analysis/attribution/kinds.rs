//! The kind of a tag: a cache, buffers, or one block for each object of the machine. The table
//! is `assets/tag-kinds.txt`, whose head describes its format.

use std::fmt;
use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use crate::pool::Tag;

/// The project's own table.
const BUILT_IN: &str = include_str!("../../../assets/tag-kinds.txt");

/// How a tag's memory is expected to behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Follows what the machine works on, and is given back when memory is short.
    Cache,
    /// Taken once, by configuration.
    Buffers,
    /// One block for each thing that the machine has.
    Population(Norm),
}

impl Kind {
    /// The word in answers.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Cache => "cache",
            Kind::Buffers => "buffers",
            Kind::Population(_) => "objects",
        }
    }
}

/// How many blocks of a population are common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Norm {
    /// In any case.
    pub floor: u64,
    /// For each block of these tags.
    pub per: Vec<(Tag, u64)>,
    /// One for each so many bytes of memory.
    pub memory: Option<u64>,
    /// In daily use they end as well as begin: that they only come is not typical of start-up.
    pub ends: bool,
}

/// A tag of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its kind.
    pub kind: Kind,
    /// The contents of its blocks.
    pub what: String,
}

/// A line that is not as the format has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// The kind of a tag, where the table has it.
pub fn of(tag: Tag) -> Option<&'static Holder> {
    static TABLE: OnceLock<FxHashMap<Tag, Holder>> = OnceLock::new();
    // A test holds the asset; a mistake in it would cost the table, not the program.
    TABLE
        .get_or_init(|| parse(BUILT_IN).unwrap_or_default())
        .get(&tag)
}

/// Reads the format. The first entry of a tag wins.
///
/// # Errors
/// The first line that is not as it should be.
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

/// Norms that depend on norms: threads on processes, tokens on threads.
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

    /// How many are common on a machine with this memory and these counts of other tags.
    /// A count of another population excuses no more than is common of that one: where
    /// processes leak, the tokens that they keep are no load.
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
    fn the_built_in_table_is_whole() {
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
    fn a_norm_adds_its_terms() {
        let table = parse("Abcd population 100 Thre*2 ram/1000 - things").unwrap();
        let Kind::Population(norm) = &table[&tag("Abcd")].kind else {
            panic!("no population");
        };
        let threads = |other| u64::from(other == tag("Thre")) * 7;
        assert_eq!(norm.common(Some(5_000), &threads), 119);
        assert!(!norm.ends);
    }

    #[test]
    fn a_population_that_leaks_excuses_no_other() {
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
        // Threads of processes: both are held to what is common.
        assert!(tokens.common(None, &|_| u64::MAX) < 1_000_000);
    }

    #[test]
    fn mistakes_name_their_line() {
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
