//! Collects all answers of a machine once, in the form that the tables are written from.

use rayon::prelude::*;
use rustc_hash::FxHashSet;
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use crate::analysis::census::{Census, Progress, Question};
use crate::analysis::objects::Objects;
use crate::analysis::references::References;
use crate::engine::{DumpFacts, Engine, Info, Machine, ModuleFacts, Stacks, StacksOf};
use crate::memory::Va;
use crate::pool::index::Snapshot;
use crate::pool::{Tag, TagPattern};
use crate::report::{self, Diagnose, DriversReport, Format};

use super::cell::tag_of;
use super::occupancy::{self, Occupancy};

/// Number of largest tags whose contents and objects are stored in addition to those of the
/// suspects.
const LARGEST_TAGS: usize = 12;
/// An address that lies in no block: its answer has the coverage of all tags, but no records.
pub const NOTHING: Va = Va(0);
/// The report formats that are stored.
const FORMATS: [Format; 4] = [Format::Text, Format::Json, Format::Csv, Format::Markdown];

/// The keys of every row: machine, boot and dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Identifies the machine: the given name, or a hash of its hardware.
    pub machine: String,
    /// Identifies the boot.
    pub boot: String,
    /// Identifies the dump.
    pub dump: String,
}

impl Keys {
    /// The keys of a machine; `host` is the machine's name if the user gave one.
    pub fn of(machine: &dyn Machine, host: Option<&str>) -> Keys {
        let facts = machine.facts();
        let name = match host {
            Some(host) => plain_name(host),
            None => hardware(&facts),
        };
        Keys {
            machine: name,
            boot: boot(&facts),
            dump: match machine.identity() {
                Some(identity) => format!("d{identity:032x}"),
                None => format!("d{:032x}", digest(&format!("{facts:?}"))),
            },
        }
    }
}

fn digest(text: &str) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(text.as_bytes());
    hash.digest128()
}

/// Makes a user-supplied name safe as part of a path: other characters become underscores.
fn plain_name(host: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let name: String = host.chars().take(64).map(plain).collect();
    format!("h-{name}")
}

/// A hash of the facts that are the same in every boot and present in every dump.
fn hardware(facts: &DumpFacts) -> String {
    let known = (facts.physical_pages, facts.processors);
    format!("m{:016x}", digest(&format!("{known:?}")) as u64)
}

/// A hash of the facts that all dumps of one boot share: the boot time and the kernel base, which
/// changes with every boot. The boot time is the system time minus the uptime. It is rounded to
/// ten minutes, because clocks drift and are adjusted. The page table base is not used: it
/// belongs to the process that was running and differs between dumps.
fn boot(facts: &DumpFacts) -> String {
    const DAY: i64 = 86_400;
    const TEN_MINUTES: i64 = 600;
    let unit = facts.boot_number.map_or(TEN_MINUTES, |_| DAY);
    let about = |seconds: i64| seconds.saturating_add(unit / 2).div_euclid(unit);
    let known = (
        facts.boot_number,
        booted(facts).map(about),
        facts.kernel_base,
        facts.build,
    );
    format!("b{:016x}", digest(&format!("{known:?}")) as u64)
}

/// The boot time, in seconds since 1970.
pub fn booted(facts: &DumpFacts) -> Option<i64> {
    let uptime = i64::try_from(facts.uptime_seconds?).ok()?;
    facts.system_time?.checked_sub(uptime)
}

/// A report in every stored format.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    /// Pairs of a format's name and the report's text.
    pub forms: Vec<(&'static str, String)>,
}

impl Reports {
    fn of(engine: &Engine, answer: &impl report::Answer) -> std::io::Result<Reports> {
        let mut forms = Vec::new();
        for format in FORMATS {
            let mut out = Vec::new();
            report::write(engine, answer, format, &mut out)?;
            forms.push((format.word(), String::from_utf8_lossy(&out).into_owned()));
        }
        Ok(Reports { forms })
    }

    fn kept(machine: &dyn Machine, answer: &str) -> Reports {
        let forms = FORMATS.iter().filter_map(|format| {
            let word = format.word();
            Some((word, machine.kept_answer(answer, word)?.to_owned()))
        });
        Reports {
            forms: forms.collect(),
        }
    }

    /// The JSON form, parsed.
    pub fn json(&self) -> Option<Value> {
        let (_, text) = self.forms.iter().find(|(word, _)| *word == "json")?;
        serde_json::from_str(text).ok()
    }
}

/// All answers of a machine.
pub struct Answers<'a> {
    /// The machine that gave the answers.
    pub machine: &'a dyn Machine,
    /// The keys of the rows.
    pub keys: Keys,
    /// The dump's type and contents.
    pub info: Info,
    /// All modules, in load order.
    pub modules: Vec<ModuleFacts>,
    /// The index; `None` if the pool was not walked.
    pub index: Option<&'a Snapshot>,
    /// The report of `diagnose`.
    pub diagnose: Reports,
    /// The report of pool use by driver.
    pub drivers: Reports,
    /// References, by tag.
    pub references: Vec<(Tag, References)>,
    /// Block contents of the suspects and of the largest tags.
    pub censuses: Vec<(Tag, Census)>,
    /// Objects of the suspects and of the largest tags.
    pub objects: Vec<(Tag, Objects)>,
    /// Recorded call stacks of every tag that has any.
    pub stacks: Vec<(Tag, Stacks)>,
    /// The answer for an address without a block: the coverage of all tags, without records.
    pub no_stacks: Option<Stacks>,
    /// The use of the pages of each pool; `None` if `notes` has the reason why it is not known.
    pub occupancy: Option<Vec<Occupancy>>,
    /// Tables that are empty although the dump has their data, as sentences with the reason.
    pub notes: Vec<String>,
}

/// How much is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// For a dataset: machine facts, modules, counters and the diagnosis, with references and
    /// contents of its suspects.
    Tables,
    /// For an evidence file: in addition, contents, objects and the references of all tags in
    /// use.
    Everything,
}

impl<'a> Answers<'a> {
    /// Collects all answers. `index` is the result of the pool walk.
    ///
    /// # Errors
    /// If a report can't be written, or worker threads can't be started.
    pub fn of(
        machine: &'a dyn Machine,
        index: Option<&'a Snapshot>,
        depth: Depth,
        host: Option<&str>,
    ) -> std::io::Result<Answers<'a>> {
        let mut out = Answers {
            machine,
            keys: Keys::of(machine, host),
            info: machine.info(),
            modules: machine.module_list(),
            index,
            diagnose: Reports::default(),
            drivers: Reports::default(),
            references: Vec::new(),
            censuses: Vec::new(),
            objects: Vec::new(),
            stacks: Vec::new(),
            no_stacks: None,
            occupancy: None,
            notes: Vec::new(),
        };
        let Some(index) = index else {
            return Ok(out);
        };
        match machine.engine() {
            Some(engine) => {
                let found = engine.diagnose(index);
                out.diagnose = Reports::of(engine, &Diagnose::of(engine, &found))?;
                if let (Ok(drivers), Depth::Everything) = (machine.by_driver(Some(index)), depth) {
                    out.drivers = Reports::of(engine, &DriversReport::of(&drivers))?;
                }
            }
            None => {
                out.diagnose = Reports::kept(machine, "diagnose");
                out.drivers = Reports::kept(machine, "drivers");
            }
        }
        out.stacks = out.recorded(index);
        let nothing = machine.stacks_of(Some(index), &StacksOf::Address(NOTHING), &|| true);
        out.no_stacks = nothing.ok().flatten();
        let workers = machine.workers().map_err(std::io::Error::other)?;
        let occupancy = match machine.engine() {
            Some(_) => workers.install(|| occupancy::of(index)),
            // The block list of an evidence file is incomplete, so use the stored occupancy.
            None => occupancy::kept(machine),
        };
        match occupancy {
            Ok(rows) => out.occupancy = Some(rows),
            Err(why) => out.notes.push(why),
        }
        let tags = match depth {
            Depth::Tables => out.suspects(),
            Depth::Everything => out.tags_in_use(),
        };
        out.references = workers.install(|| {
            let one = |tag: &Tag| Some((*tag, machine.references_while(*tag, &|| true)?));
            tags.par_iter().filter_map(one).collect()
        });
        match depth {
            Depth::Tables => {
                let suspects = out.suspects();
                out.look_into_contents(index, suspects);
            }
            Depth::Everything => out.look_into(index),
        }
        Ok(out)
    }

    /// The tags that the diagnosis names, without duplicates.
    pub fn suspects(&self) -> Vec<Tag> {
        let json = self.diagnose.json();
        let findings = json.as_ref().and_then(|j| j["findings"].as_array());
        let mut seen = FxHashSet::default();
        let tags = findings.into_iter().flatten();
        tags.filter_map(|f| tag_of(f["tag_hex"].as_str()?))
            .filter(|tag| seen.insert(*tag))
            .collect()
    }

    /// The recorded call stacks of every tag that has any.
    fn recorded(&self, index: &Snapshot) -> Vec<(Tag, Stacks)> {
        let tags = match self.machine.engine() {
            Some(engine) => engine.tags_with_stacks(index),
            None => self.tags_in_use(),
        };
        let one = |tag: Tag| {
            let of = StacksOf::Tag(TagPattern::of(tag));
            let found = self.machine.stacks_of(Some(index), &of, &|| true);
            let found = found.ok().flatten()?;
            (!found.rows.is_empty()).then_some((tag, found))
        };
        tags.into_iter().filter_map(one).collect()
    }

    fn tags_in_use(&self) -> Vec<Tag> {
        let rows = self.machine.trackers().rows.iter();
        let used = rows.filter(|row| !row.nonpaged.is_empty() || !row.paged.is_empty());
        let mut tags: Vec<Tag> = used.map(|row| row.tag).collect();
        let more = self.suspects().into_iter().filter(|t| !tags.contains(t));
        let more: Vec<Tag> = more.collect();
        tags.extend(more);
        tags
    }

    /// The suspects, then the largest tags.
    fn of_interest(&self) -> Vec<Tag> {
        let mut tags = self.suspects();
        let mut rows: Vec<_> = self.machine.trackers().rows.iter().collect();
        rows.sort_by_key(|r| std::cmp::Reverse(r.nonpaged.bytes.saturating_add(r.paged.bytes)));
        for row in rows.into_iter().take(LARGEST_TAGS) {
            if !tags.contains(&row.tag) {
                tags.push(row.tag);
            }
        }
        tags
    }

    fn look_into(&mut self, index: &Snapshot) {
        let tags = self.of_interest();
        self.look_into_contents(index, tags.clone());
        for tag in tags
            .into_iter()
            .filter(|tag| !index.blocks(*tag).is_empty())
        {
            let most = crate::engine::USUAL_LOOK;
            if let Ok(Some(found)) = self.machine.objects_of(index, tag, most, &|| true) {
                self.objects.push((tag, found));
            }
        }
    }

    /// Reads contents and ages of the blocks of each tag that has blocks.
    fn look_into_contents(&mut self, index: &Snapshot, tags: Vec<Tag>) {
        for tag in tags
            .into_iter()
            .filter(|tag| !index.blocks(*tag).is_empty())
        {
            let question = Question::of(tag);
            let census = self
                .machine
                .census(index, question, &|| true, &Progress::default());
            if let Ok(Some(census)) = census {
                self.censuses.push((tag, census));
            }
        }
    }

    /// Block sizes of each tag that has blocks.
    pub fn sizes(&self) -> Vec<(Tag, Vec<crate::pool::index::SizeCount>)> {
        let Some(index) = self.index else {
            return Vec::new();
        };
        let mut all: Vec<_> = index.sizes_by_tag().into_iter().collect();
        all.sort_unstable_by_key(|(tag, _)| tag.value());
        all
    }
}
