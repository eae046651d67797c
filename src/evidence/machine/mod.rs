//! An evidence file in place of a dump: it gives the stored answers, and returns an error for
//! questions whose answers were not stored.

mod stored;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustc_hash::FxHashMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::analysis::attribution::Attribution;
use crate::analysis::attribution::drivers::{Driver, Drivers, Holding};
use crate::analysis::attribution::suspects::Certainty;
use crate::analysis::census::{Census, Progress as CensusProgress, Question};
use crate::analysis::objects::Objects;
use crate::analysis::references::References;
use crate::analysis::{Descriptions, VmReport};
use crate::engine::{
    Answered, Attributed, DumpFacts, Engine, EvidenceFacts, Info, InsideTable, Machine,
    ModuleFacts, OpenError, Options, PdbStatus, Stacks, StacksOf, Wanted,
};
use crate::memory::Va;
use crate::pool::Tag;
use crate::pool::index::{IndexBuilder, Progress, Segment, SizeCount, Snapshot, Totals};
use crate::pool::page::{PageError, PoolPage};
use crate::pool::tracker::Trackers;
use crate::symbols::WantedPdb;
use crate::system::threads::{self, NoThreads};

use super::answers::NOTHING;
use super::archive::{ArchiveError, Manifest, Stored};
use super::cell::{tag_hex, tag_of};
use super::read::{self, Row, TableError, place};
use super::rows::va_of;
use super::schema::{BLOCKS, CONTENTS, SIZES, Table};
use stored::{BlockColumns, Windows, answers, unhex};

/// Maximum number of rows that are read from each table.
const MOST_ANSWERS: u64 = 1 << 18;
const MOST_BLOCKS: u64 = 1 << 24;
const MOST_SIZES: u64 = 1 << 22;
const MOST_SAMPLES: u64 = 1 << 12;
const MOST_NOTES: usize = 64;
/// No count that is added up with others is larger.
const LARGEST_COUNT: u64 = 1 << 56;
/// The error for memory reads.
const NOT_INSIDE: &str = "not in the evidence file";

/// The facts about an index other than its blocks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct IndexFacts {
    totals: Totals,
    windows_done: u64,
    windows_all: u64,
    notes: Vec<String>,
    failed_windows: u64,
    left_out: u64,
}

impl IndexFacts {
    /// The facts of an index; `left_out` is the number of blocks that the file does not list.
    pub fn of(index: &Snapshot, left_out: u64) -> IndexFacts {
        IndexFacts {
            totals: (*index.totals).clone(),
            windows_done: index.windows_done as u64,
            windows_all: index.windows_all as u64,
            notes: index.notes.to_vec(),
            failed_windows: index.failed_windows as u64,
            left_out,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
struct Rest {
    hole_bytes: u64,
    big_table: Option<(Va, Va)>,
    identity: Option<String>,
}

/// The bytes of a sample block.
#[derive(Debug)]
struct Sample {
    session: Option<u32>,
    start: Va,
    bytes: Vec<Option<u8>>,
}

/// An open evidence file.
pub struct Evidence {
    path: PathBuf,
    options: Options,
    file: Mutex<Stored>,
    manifest: Manifest,
    descriptions: Descriptions,
    info: Info,
    modules: Vec<ModuleFacts>,
    vm: VmReport,
    trackers: Trackers,
    session_trackers: Trackers,
    warnings: Vec<String>,
    rest: Rest,
    /// JSON by answer and key; parsed on demand.
    answers: FxHashMap<(String, String), String>,
    samples: OnceLock<Vec<Sample>>,
    attributed: OnceLock<Attributed>,
}

fn refused(why: ArchiveError) -> OpenError {
    OpenError::Evidence(why.to_string())
}

fn damaged(why: impl ToString) -> OpenError {
    refused(ArchiveError::Damaged(why.to_string()))
}

/// True if sums with the numbers in this value can't overflow.
fn is_sane(value: &Value) -> bool {
    match value {
        Value::Number(n) => match (n.as_u64(), n.as_i64()) {
            (Some(n), _) => n < LARGEST_COUNT,
            (None, Some(n)) => n.unsigned_abs() < LARGEST_COUNT,
            (None, None) => n.as_f64().is_some_and(f64::is_finite),
        },
        Value::Array(list) => list.iter().all(is_sane),
        Value::Object(map) => map.values().all(is_sane),
        _ => true,
    }
}

impl Evidence {
    /// Opens an evidence file. The block tables are read on demand.
    ///
    /// # Errors
    /// An [`OpenError`].
    pub fn open(path: &Path, options: &Options) -> Result<Evidence, OpenError> {
        Evidence::of(Stored::open(path).map_err(refused)?, path, options)
    }

    /// Reads an open evidence file; `path` is used in messages.
    ///
    /// # Errors
    /// An [`OpenError`].
    pub fn of(mut file: Stored, path: &Path, options: &Options) -> Result<Evidence, OpenError> {
        let answers = answers(&mut file)?;
        let descriptions = crate::engine::descriptions(options.pooltag.as_deref())?;
        let get = |name: &str| answers.get(&(name.to_owned(), String::new()));
        fn parse<T: DeserializeOwned>(name: &str, text: Option<&String>) -> Result<T, OpenError> {
            let text = text.ok_or_else(|| damaged(format!("it has no answer `{name}`")))?;
            serde_json::from_str(text).map_err(|e| damaged(format!("answer `{name}`: {e}")))
        }
        let session_trackers = match get("session_trackers") {
            None => Trackers::default(),
            some => parse("session_trackers", some)?,
        };
        let mut trackers: Trackers = parse("trackers", get("trackers"))?;
        // Lookups use binary search.
        trackers.rows.sort_by_key(|row| row.tag);
        Ok(Evidence {
            info: parse("info", get("info"))?,
            modules: parse("modules", get("modules"))?,
            vm: parse("vm", get("vm"))?,
            trackers,
            session_trackers,
            warnings: parse("warnings", get("warnings"))?,
            rest: parse("state", get("state"))?,
            manifest: file.manifest.clone(),
            file: Mutex::new(file),
            path: path.to_owned(),
            options: options.clone(),
            descriptions,
            answers,
            samples: OnceLock::new(),
            attributed: OnceLock::new(),
        })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn kept<T: DeserializeOwned>(&self, answer: &str, key: &str) -> Option<Result<T, String>> {
        let text = self.answers.get(&(answer.to_owned(), key.to_owned()))?;
        let read = || -> Result<T, String> {
            let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
            if !is_sane(&value) {
                return Err("a number is out of range".into());
            }
            serde_json::from_value(value).map_err(|e| e.to_string())
        };
        Some(read().map_err(|why| format!("the evidence file is damaged: {answer} {key}: {why}")))
    }

    fn rows(
        &self,
        table: &'static Table,
        most: u64,
        mut each: impl FnMut(Row<'_>) -> Result<(), TableError>,
    ) -> Result<(), String> {
        let bytes = {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.table(table).map_err(|e| e.to_string())?
        };
        let Some(bytes) = bytes else {
            return Ok(());
        };
        let read = read::read(table, bytes, most, |batch| {
            batch.rows().try_for_each(&mut each)
        });
        read.map(|_| ()).map_err(|e| e.to_string())
    }

    fn index(&self, wanted: Wanted<'_>) -> Result<Option<Snapshot>, String> {
        let facts: IndexFacts = match self.kept("index", "") {
            Some(facts) => facts?,
            None => return Err("the evidence file has no index".into()),
        };
        let Some(segments) = self.segments(wanted)? else {
            return Ok(None);
        };
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Ok(Some(Snapshot {
            segments: segments.into(),
            totals: Arc::new(facts.totals),
            windows_done: count(facts.windows_done),
            windows_all: count(facts.windows_all),
            notes: facts.notes.into(),
            failed_windows: count(facts.failed_windows),
            left_out: facts.left_out,
            kept: None,
            kept_sizes: Some(Arc::new(self.sizes()?)),
        }))
    }

    fn sizes(&self) -> Result<FxHashMap<Tag, Vec<SizeCount>>, String> {
        let mut out: FxHashMap<Tag, Vec<SizeCount>> = FxHashMap::default();
        let at = |name| place(&SIZES, name);
        let (tag, size, blocks) = (at("tag_hex"), at("size"), at("blocks"));
        self.rows(&SIZES, MOST_SIZES, |row| {
            let parts = (
                row.text(tag).and_then(tag_of),
                row.count(size),
                row.count(blocks),
            );
            if let (Some(tag), Some(size), Some(count)) = parts {
                out.entry(tag).or_default().push(SizeCount { size, count });
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// Reads the blocks, window by window. `None` if the caller cancelled.
    fn segments(&self, wanted: Wanted<'_>) -> Result<Option<Vec<Arc<Segment>>>, String> {
        let columns = BlockColumns::new();
        let mut windows = Windows::default();
        let mut seen = 0u64;
        let mut gone = false;
        self.rows(&BLOCKS, MOST_BLOCKS, |row| {
            seen += 1;
            if seen.is_multiple_of(1 << 16) && !wanted() {
                gone = true;
                return Err(TableError::TooLarge {
                    table: BLOCKS.name,
                    most: seen,
                    unit: "required rows",
                });
            }
            if let Some(block) = columns.block(row) {
                windows.take(block);
            }
            Ok(())
        })
        .or_else(|why| if gone { Ok(()) } else { Err(why) })?;
        Ok((!gone).then(|| windows.finish()))
    }

    /// The owners of the tags, as stored. The owners of damaged entries are unknown.
    fn attributed(&self) -> &Attributed {
        self.attributed.get_or_init(|| {
            let keys = self.answers.keys();
            let own = keys.filter(|(answer, _)| answer == "attribution");
            own.filter_map(|(answer, key)| {
                let made: Attribution = self.kept(answer, key)?.ok()?;
                Some((tag_of(key)?, Arc::new(made)))
            })
            .collect()
        })
    }

    fn samples(&self) -> &[Sample] {
        self.samples.get_or_init(|| {
            let at = |name| place(&CONTENTS, name);
            let (start, session, bytes) = (at("address"), at("session"), at("bytes"));
            let mut out = Vec::new();
            // If the table can't be read there are no samples, and every memory read reports
            // that.
            let _ = self.rows(&CONTENTS, MOST_SAMPLES, |row| {
                if let (Some(start), Some(text)) = (row.int(start), row.text(bytes)) {
                    out.push(Sample {
                        session: row.count(session).and_then(|s| u32::try_from(s).ok()),
                        start: va_of(start),
                        bytes: unhex(text),
                    });
                }
                Ok(())
            });
            out
        })
    }
}

impl std::fmt::Debug for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Evidence({})", self.path.display())
    }
}

/// Number of allocated blocks of a tag, including those that the file does not list.
fn live_blocks(index: &Snapshot, tag: Tag) -> u64 {
    let found = index.totals.tag(tag);
    let pools = [found.nonpaged, found.paged, found.session];
    pools
        .iter()
        .fold(0, |sum, pool| pool.blocks.saturating_add(sum))
}

/// The first schema version with recorded stacks.
const WITH_STACKS: (u32, u32) = (1, 1);

impl Machine for Evidence {
    fn facts(&self) -> DumpFacts {
        self.info.dump.clone()
    }

    fn info(&self) -> Info {
        let m = &self.manifest;
        let tables = m.tables.iter().map(|t| InsideTable {
            name: t.name.clone(),
            rows: t.rows,
            bytes: t.bytes,
        });
        Info {
            evidence: Some(EvidenceFacts {
                path: self.path.to_string_lossy().into_owned(),
                tool: m.tool.clone(),
                schema: m.schema,
                redacted: m.redacted,
                contents: m.contents,
                blocks_listed: m.blocks_listed,
                blocks_left_out: m.blocks_left_out,
                notes: m.notes.iter().take(MOST_NOTES).cloned().collect(),
                tables: tables.collect(),
            }),
            ..self.info.clone()
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn failure(&self) -> Option<String> {
        None
    }

    fn identity(&self) -> Option<u128> {
        u128::from_str_radix(self.rest.identity.as_deref()?, 16).ok()
    }

    fn vm(&self) -> &VmReport {
        &self.vm
    }

    fn descriptions(&self) -> &Descriptions {
        &self.descriptions
    }

    fn trackers(&self) -> &Trackers {
        &self.trackers
    }

    fn session_trackers(&self) -> &Trackers {
        &self.session_trackers
    }

    fn hole_bytes(&self) -> u64 {
        self.rest.hole_bytes
    }

    fn big_table(&self) -> Option<(Va, Va)> {
        self.rest.big_table
    }

    fn module_list(&self) -> Vec<ModuleFacts> {
        self.modules.clone()
    }

    fn references_while(&self, tag: Tag, _: Wanted<'_>) -> Option<References> {
        Some(match self.kept("references", &tag_hex(tag)) {
            Some(Ok(found)) => found,
            Some(Err(why)) => References::without(why),
            None => References::without(
                "the evidence file has references only of tags in use, and none of this tag".into(),
            ),
        })
    }

    fn referenced_in(
        &self,
        _: &rayon::ThreadPool,
        _: Wanted<'_>,
    ) -> Option<FxHashMap<Tag, Vec<String>>> {
        let places: Vec<(Tag, Vec<String>)> = self.kept("referenced_in", "")?.ok()?;
        Some(places.into_iter().collect())
    }

    fn census(
        &self,
        index: &Snapshot,
        question: Question,
        _: Wanted<'_>,
        _: &CensusProgress,
    ) -> Result<Option<Census>, String> {
        let tag = question.tag;
        if question.pool.is_some() || question.size.is_some() {
            return Err(format!(
                "the evidence file has the contents of {tag} for both pools and all sizes only: \
                    omit --pool and --size"
            ));
        }
        match self.kept("census", &tag_hex(tag)) {
            Some(census) => census.map(Some),
            // A tag without blocks has no stored contents.
            None if live_blocks(index, tag) == 0 => Ok(Some(Census::of_no_block(question))),
            None => Err(format!(
                "the evidence file has no contents of {tag}: it has those of suspects and of the \
                    largest tags"
            )),
        }
    }

    fn objects_of(
        &self,
        index: &Snapshot,
        tag: Tag,
        _: u64,
        _: &dyn Fn() -> bool,
    ) -> Result<Option<Objects>, String> {
        match self.kept("objects", &tag_hex(tag)) {
            Some(objects) => objects.map(Some),
            None if live_blocks(index, tag) == 0 => Ok(Some(Objects {
                tag,
                notes: vec![
                    "the evidence file does not record whether the kernel has a type with this tag"
                        .into(),
                ],
                ..Objects::default()
            })),
            None => Err(format!(
                "the evidence file has no objects of {tag}: it has those of suspects and of the \
                    largest tags"
            )),
        }
    }

    fn stacks_of(
        &self,
        index: Option<&Snapshot>,
        of: &StacksOf,
        _: Wanted<'_>,
    ) -> Result<Option<Stacks>, String> {
        let tag = match of {
            StacksOf::Tag(pattern) => pattern.exact(),
            StacksOf::Address(NOTHING) => return self.kept("stacks", "").transpose(),
            StacksOf::Address(_) => None,
        };
        let Some(tag) = tag else {
            return Err(
                "an evidence file has the recorded stacks by tag: name one tag, or open the dump"
                    .into(),
            );
        };
        if let Some(stacks) = self.kept("stacks", &tag_hex(tag)) {
            return stacks.map(Some);
        }
        match self.kept::<Stacks>("stacks", "") {
            Some(none) => {
                let live = index.map_or(0, |index| live_blocks(index, tag));
                none.map(|none| Some(none.of_tag_without_records(tag, live)))
            }
            // From this schema on, every tag with stacks is in the file.
            None if self.manifest.schema >= WITH_STACKS => Ok(Some(Stacks {
                of: tag.typed(),
                notes: vec![format!(
                    "the dump had no recorded stacks of {tag} when the evidence file was created"
                )],
                ..Stacks::default()
            })),
            None => Err(
                "the evidence file was created by a version without recorded stacks: create it \
                    again from the dump"
                    .into(),
            ),
        }
    }

    fn object_tag(&self, name: &str) -> Option<Tag> {
        let mut kept = self.answers.keys().filter(|key| key.0 == "objects");
        kept.find_map(|(answer, key)| {
            let objects: Objects = self.kept(answer, key)?.ok()?;
            let kind = objects.kind?;
            kind.name.eq_ignore_ascii_case(name).then_some(objects.tag)
        })
    }

    fn attribution_made(&self, tag: Tag) -> Option<Arc<Attribution>> {
        self.attributed().get(&tag).cloned()
    }

    fn attributions(
        &self,
        _: &rayon::ThreadPool,
        _: Option<&Snapshot>,
        _: Wanted<'_>,
    ) -> Option<Attributed> {
        Some(self.attributed().clone())
    }

    fn attribution_of(&self, tag: Tag) -> Option<Arc<Attribution>> {
        self.attribution_made(tag)
    }

    fn by_driver(&self, _: Option<&Snapshot>) -> Result<Drivers, String> {
        let kept = self.kept_answer("drivers", "json");
        let kept = kept.ok_or("the evidence file has no pool by driver")?;
        let json: Value = serde_json::from_str(kept).map_err(|e| e.to_string())?;
        let rows = json["drivers"].as_array();
        let identity = |name: &str| {
            let named = self
                .modules
                .iter()
                .filter(|m| m.name.eq_ignore_ascii_case(name));
            let module = named.max_by_key(|m| (!m.unloaded, m.unloaded_at))?;
            Some(module.identity())
        };
        let with_identity = |row: &Value| {
            let of = driver(row);
            Driver {
                identity: identity(&of.module),
                ..of
            }
        };
        Ok(Drivers {
            rows: rows.into_iter().flatten().map(with_identity).collect(),
            unowned: driver(&json["unowned"]),
        })
    }

    fn pdbs(&self, all: bool) -> Vec<PdbStatus> {
        let loaded = self.modules.iter().filter(|m| !m.unloaded);
        let wanted = loaded.filter(|m| all || m.is_kernel);
        wanted
            .filter_map(|module| {
                let wanted = WantedPdb {
                    id: module.pdb.clone()?,
                    path: self.options.symbols.clone(),
                    network: self.options.network,
                };
                Some(PdbStatus {
                    module: module.name.clone(),
                    located: wanted.locate(),
                    wanted,
                    // The stored answers already use symbols; no lookup is needed.
                    built_in: module.is_kernel,
                })
            })
            .collect()
    }

    fn missing_pdb(&self) -> Option<WantedPdb> {
        None
    }

    fn reopened(&self) -> Result<Arc<dyn Machine>, OpenError> {
        Ok(Arc::new(Evidence::open(&self.path, &self.options)?))
    }

    fn kept_index(&self, wanted: Wanted<'_>) -> Answered {
        match self.index(wanted) {
            Ok(index) => Answered { index, note: None },
            Err(why) => Answered {
                index: None,
                note: Some(why),
            },
        }
    }

    fn keep_index(&self, _: &Snapshot) -> Option<String> {
        None
    }

    fn walk(&self, _: Arc<Progress>) -> Option<IndexBuilder> {
        None
    }

    fn workers(&self) -> Result<rayon::ThreadPool, NoThreads> {
        threads::pool(self.options.threads)
    }

    fn background_workers(&self) -> Result<rayon::ThreadPool, NoThreads> {
        threads::pool(1)
    }

    fn page(&self, address: Va) -> Result<PoolPage, PageError> {
        let key = super::cell::hex(address.page());
        let mut page: PoolPage = match self.kept("page", &key) {
            Some(Ok(page)) => page,
            _ => return Err(PageError::NotKept),
        };
        for b in &mut page.blocks {
            let inside = address.0.checked_sub(b.block.va.0);
            b.holds_address = inside.is_some_and(|offset| offset < b.block.bytes);
        }
        Ok(page)
    }

    fn read(&self, session: Option<u32>, va: Va, out: &mut [u8]) -> Result<(), &'static str> {
        let mut samples = self.samples().iter();
        let found = samples.find_map(|sample| {
            let from = usize::try_from(va.0.checked_sub(sample.start.0)?).ok()?;
            let bytes = sample.bytes.get(from..from.checked_add(out.len())?)?;
            (session.is_none() || sample.session == session).then_some(bytes)
        });
        let found = found.ok_or(NOT_INSIDE)?;
        for (to, byte) in out.iter_mut().zip(found) {
            *to = byte.ok_or("not in the dump")?;
        }
        Ok(())
    }

    fn points_at(&self, va: Va) -> Option<String> {
        let mut loaded = self.modules.iter().filter(|m| !m.unloaded);
        if let Some(module) = loaded.find(|m| m.contains(va)) {
            return Some(format!("{}+{:#x}", module.name, va.0 - module.base.0));
        }
        let mut regions = self.info.regions.iter();
        let region = regions.find(|r| va >= r.start && va < r.end)?;
        Some(format!("{} pool", region.pool.word()))
    }

    fn kept_answer(&self, answer: &str, format: &str) -> Option<&str> {
        let kept = self.answers.get(&(answer.to_owned(), format.to_owned()));
        kept.map(String::as_str)
    }

    fn engine(&self) -> Option<&Engine> {
        None
    }
}

/// Parses a driver from the report's JSON.
fn driver(json: &Value) -> Driver {
    let number = |json: &Value, name: &str| json[name].as_u64().unwrap_or(0);
    let bytes = |json: &Value| [number(json, "nonpaged_bytes"), number(json, "paged_bytes")];
    let certainty = |word: &str| {
        let all = [Certainty::Certain, Certainty::Likely, Certainty::Possible];
        all.into_iter().find(|c| c.word() == word)
    };
    let tags = json["tags"].as_array();
    let holding = |tag: &Value| {
        Some(Holding {
            tag: tag_of(tag["tag_hex"].as_str()?)?,
            bytes: bytes(tag),
            certainty: tag["confidence"].as_str().and_then(certainty),
        })
    };
    Driver {
        module: json["module"].as_str().unwrap_or_default().to_owned(),
        bytes: bytes(json),
        certain: number(json, "certain_bytes"),
        tags: tags.into_iter().flatten().filter_map(holding).collect(),
        identity: None,
    }
}
