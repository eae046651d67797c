//! Asks every question, and compares the answers with those of the undamaged dump.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;

use poolscope::analysis::census::{Progress, Question};
use poolscope::engine::{Engine, Options};
use poolscope::engine::{Selection, Sort, StacksOf};
use poolscope::memory::Va;
use poolscope::pool::{Tag, TagPattern};
use poolscope::report::{self, Answer, Format};
use serde_json::Value;

pub const ANSWERS: [&str; 11] = [
    "info", "modules", "vm", "poolused", "allocs", "pool", "refs", "contents", "objects",
    "diagnose", "stacks",
];

/// Parameters of the questions.
pub struct Probe {
    /// A block of pool, for `pool`.
    pub block: Va,
}

/// All answers of a dump as JSON; `None` for an error.
#[derive(Default)]
pub struct Asked {
    answers: Vec<Option<Vec<u8>>>,
    /// The notes of each answer, once they are needed.
    notes: [OnceLock<Notes>; ANSWERS.len()],
    warnings: BTreeSet<String>,
    /// Why the dump cannot be opened.
    pub refused: Option<String>,
}

/// How an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Same,
    /// There is no answer, and an error says why.
    None,
    /// A different answer; the answer itself or a warning says that something is missing or
    /// wrong.
    Said,
    /// A different answer without a note; another answer that compares the data reports the
    /// contradiction.
    Contradicted,
    /// A different answer without any note: the damaged data is plausible.
    Believed,
}

impl Outcome {
    pub fn mark(self) -> &'static str {
        match self {
            Outcome::Same => "·",
            Outcome::None => "none",
            Outcome::Said => "warned",
            Outcome::Contradicted => "compared",
            Outcome::Believed => "*undetected*",
        }
    }
}

/// The JSON of an answer, without the envelope's warnings and the facts of the dump.
fn json(answer: &impl Answer, whole: Option<&Vec<u8>>) -> Vec<u8> {
    let written = |format| {
        let mut out = Vec::new();
        report::write_for(None, &[], answer, format, &mut out).unwrap();
        out
    };
    let json = written(Format::Json);
    // The other formats must work too. Those of an equal answer are equal.
    if whole != Some(&json) {
        for format in [Format::Text, Format::Csv, Format::Markdown] {
            written(format);
        }
    }
    json
}

/// `info` with the facts of the dump, without the path of the file.
fn info(engine: &Engine) -> Vec<u8> {
    let answer = report::Info::of(&engine.info());
    json(&answer, None);
    let mut out = Vec::new();
    report::write(engine, &answer, Format::Json, &mut out).unwrap();
    let mut value: Value = serde_json::from_slice(&out).unwrap();
    value.as_object_mut().unwrap().remove("warnings");
    value["dump"].as_object_mut().unwrap().remove("path");
    serde_json::to_vec(&value).unwrap()
}

/// Asks every question. A panic fails the test, even during a walk.
///
/// `whole` has the answers of the dump without damage.
pub fn ask(path: &Path, probe: &Probe, whole: Option<&Asked>) -> Asked {
    let asked = catch_unwind(AssertUnwindSafe(|| ask_all(path, probe, whole)));
    asked.unwrap_or_else(|_| panic!("a panic on {}", path.display()))
}

fn ask_all(path: &Path, probe: &Probe, whole: Option<&Asked>) -> Asked {
    let options = Options {
        threads: 1,
        memory: Some(256 << 20),
        ..Options::default()
    };
    let engine = match Engine::open(path, &options) {
        Ok(engine) => engine,
        Err(why) => {
            return Asked {
                refused: Some(why.to_string()),
                ..Asked::default()
            };
        }
    };
    let index = engine.index(Default::default()).unwrap();
    let lost = |n: &&String| n.contains("could not be walked");
    assert_eq!(index.notes.iter().find(lost), None);
    let kernel = engine.kernel();
    let selection = Selection {
        sort: Sort::Tag,
        verbose: true,
        session: false,
        top: None,
        pattern: TagPattern::any(),
    };
    let (leak, any) = (Tag::of("Leak").unwrap(), TagPattern::any());
    let question = Question {
        tag: leak,
        pool: None,
        size: None,
        sample: 64,
    };
    let census = engine.contents(&index, question, &|| true, &Progress::default());
    let objects = engine.objects(&index, Tag::of("Proc").unwrap(), 64, &|| true);
    let page = engine.pool_page(probe.block).ok();
    let used = engine.pool_used(&selection).ok();
    let allocs = engine.allocs(&index, &any, true);
    let of = StacksOf::Tag(TagPattern::of(leak));
    let stacks = engine.stacks(Some(&index), &of, &|| true).unwrap();
    let before = |nth: usize| whole.and_then(|whole| whole.answers.get(nth)?.as_ref());
    let modules = report::Modules::of(&engine.modules(None));
    let answers = vec![
        Some(info(&engine)),
        (!kernel.modules.is_empty()).then(|| json(&modules, before(1))),
        Some(json(&report::Vm::of(engine.vm()), before(2))),
        used.map(|used| json(&report::PoolUsed::of(&used), before(3))),
        Some(json(&report::Allocs::of(&allocs), before(4))),
        page.map(|page| json(&report::Page::of(&page, engine.descriptions()), before(5))),
        Some(json(
            &report::Refs::of(&engine.tag_references(leak)),
            before(6),
        )),
        census
            .unwrap()
            .map(|census| json(&report::Contents::of(&census), before(7))),
        objects.map(|found| json(&report::ObjectsReport::of(&found), before(8))),
        Some(json(
            &report::Diagnose::of(&engine, &engine.diagnose(&index)),
            before(9),
        )),
        Some(json(&report::StacksReport::of(&stacks), before(10))),
    ];
    assert_eq!(answers.len(), ANSWERS.len());
    Asked {
        answers,
        notes: Default::default(),
        warnings: engine.warnings().into_iter().collect(),
        refused: None,
    }
}

/// Collects the sentences of an answer, and counts its unknown values.
fn said(value: &Value, sentences: &mut BTreeSet<String>, unknown: &mut usize) {
    match value {
        Value::String(text) if text.matches(' ').count() > 2 => {
            sentences.insert(text.clone());
        }
        Value::Null => *unknown += 1,
        Value::Object(all) if all.get("damaged_at").is_some_and(Value::is_string) => {
            sentences.insert(format!("damaged at {}", all["damaged_at"]));
            all.values().for_each(|v| said(v, sentences, unknown));
        }
        Value::Array(all) => all.iter().for_each(|v| said(v, sentences, unknown)),
        Value::Object(all) => all.values().for_each(|v| said(v, sentences, unknown)),
        _ => {}
    }
}

/// The notes of an answer: its sentences, and the number of its unknown values.
struct Notes {
    sentences: BTreeSet<String>,
    unknown: usize,
}

impl Notes {
    fn of(json: &[u8]) -> Notes {
        let mut out = Notes {
            sentences: BTreeSet::new(),
            unknown: 0,
        };
        let value = serde_json::from_slice(json).unwrap();
        said(&value, &mut out.sentences, &mut out.unknown);
        out
    }

    fn say_more_than(&self, other: &Notes) -> bool {
        self.unknown > other.unknown || !self.sentences.is_subset(&other.sentences)
    }
}

impl Asked {
    /// Compares with the answers of the undamaged dump.
    pub fn outcome(&self, whole: &Asked) -> Vec<Outcome> {
        if self.refused.is_some() {
            return vec![Outcome::None; ANSWERS.len()];
        }
        let warned = self.warnings.difference(&whole.warnings).next().is_some();
        let says_more = |nth: usize| match (&whole.answers[nth], &self.answers[nth]) {
            (Some(before), Some(after)) if before != after => {
                let before = whole.notes[nth].get_or_init(|| Notes::of(before));
                let after = self.notes[nth].get_or_init(|| Notes::of(after));
                after.say_more_than(before)
            }
            _ => false,
        };
        let outcome = |nth: usize| match (&whole.answers[nth], &self.answers[nth]) {
            (before, after) if before == after => Outcome::Same,
            (_, None) => Outcome::None,
            (None, _) => Outcome::Said,
            _ if warned || says_more(nth) => Outcome::Said,
            _ if (0..ANSWERS.len()).any(says_more) => Outcome::Contradicted,
            _ => Outcome::Believed,
        };
        (0..ANSWERS.len()).map(outcome).collect()
    }
}
