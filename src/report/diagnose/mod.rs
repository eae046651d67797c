//! The diagnosis as a report: the verdict first, then the evidence; machine and coverage are
//! last.

mod text;

use std::io::{self, Write};

use serde::Serialize;

use crate::analysis::attribution::Owners;
use crate::analysis::judgement::diagnosis::{Diagnosis, Finding, Top};
use crate::analysis::judgement::pressure::Pressure;
use crate::analysis::judgement::verdict::Verdict;
use crate::engine::Engine;
use crate::memory::PAGE_SIZE;
use crate::pool::Pool;

use super::identity::IdentityRecord;
use super::info::Info;
use super::text::{clean, human, json_address};
use super::{Answer, cell, csv_writer, tag_hex};

/// Number of sizes to list per finding.
const SIZES: usize = 4;

/// The answer of `diagnose`.
#[derive(Debug, Serialize)]
pub struct Diagnose {
    verdict: &'static str,
    summary: String,
    severity: &'static str,
    exhausted_in_hours: Option<f64>,
    pressure: Vec<PressureRecord>,
    flags: Vec<&'static str>,
    findings: Vec<Record>,
    more_findings: usize,
    top: TopRecords,
    nearest: Option<NearestRecord>,
    lockstep: Vec<String>,
    coverage: Vec<String>,
    unknowns: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marked: Vec<Marked>,
    #[serde(skip)]
    machine: Vec<(&'static str, String)>,
    #[serde(skip)]
    pools: Vec<String>,
    #[serde(skip)]
    is_leak: bool,
}

#[derive(Debug, Serialize)]
struct PressureRecord {
    pool: &'static str,
    bytes: u64,
    limit: &'static str,
    limit_bytes: u64,
    share: f64,
    severity: &'static str,
    #[serde(skip)]
    sentence: String,
}

#[derive(Debug, Serialize)]
struct TopRecords {
    nonpaged: Vec<TopRecord>,
    paged: Vec<TopRecord>,
}

#[derive(Debug, Serialize)]
struct TopRecord {
    tag: String,
    tag_hex: String,
    bytes: Option<u64>,
    outstanding: Option<u64>,
    share: Option<f64>,
    owner: Option<String>,
    allocator: Option<String>,
    kind: Option<String>,
    description: Option<String>,
}

#[derive(Debug, Serialize)]
struct NearestRecord {
    tag: String,
    tag_hex: String,
    pool: &'static str,
    points: i32,
    sentence: String,
}

/// An item that the user marked.
#[derive(Debug, Serialize)]
struct Marked {
    what: String,
    note: String,
}

#[derive(Debug, Serialize)]
struct Record {
    tag: String,
    tag_hex: String,
    pool: &'static str,
    verdict: &'static str,
    points: i32,
    bytes: Option<u64>,
    outstanding: Option<u64>,
    allocs: Option<u64>,
    frees: Option<u64>,
    share: Option<f64>,
    rate_bytes_per_hour: Option<f64>,
    description: Option<String>,
    reasons: Vec<String>,
    signs: Vec<Sign>,
    sizes: Vec<Size>,
    exemplars: Vec<String>,
    allocator: Option<String>,
    owners: Vec<OwnerRecord>,
    shared_by: Vec<String>,
    rejected: Vec<Rejected>,
    notes: Vec<String>,
    references: Vec<String>,
    searched: String,
    contents: Vec<String>,
    objects: Vec<String>,
    lockstep: Option<String>,
    chain: Option<ChainRecord>,
    coverage: Vec<String>,
    what: Option<String>,
    advice: String,
    next: Vec<Step>,
    #[serde(skip)]
    owner: Option<String>,
    #[serde(skip)]
    strongest: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Sign {
    name: &'static str,
    weight: &'static str,
    direction: &'static str,
    points: i8,
    sentence: String,
}

#[derive(Debug, Serialize)]
struct Size {
    size: u64,
    count: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct OwnerRecord {
    module: String,
    confidence: &'static str,
    reasons: Vec<String>,
    #[serde(flatten)]
    identity: IdentityRecord,
}

#[derive(Debug, Serialize)]
struct Rejected {
    module: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct ChainRecord {
    module: String,
    tags: Vec<String>,
    bytes: u64,
    sentence: String,
}

#[derive(Debug, Serialize)]
struct Step {
    command: String,
    why: String,
}

fn safe(text: &str) -> String {
    clean(text).into_owned()
}

fn all(texts: &[String]) -> Vec<String> {
    texts.iter().map(|t| safe(t)).collect()
}

impl Marked {
    fn line(&self) -> String {
        match self.note.is_empty() {
            true => self.what.clone(),
            false => format!("{}: {}", self.what, self.note),
        }
    }
}

impl Diagnose {
    /// Adds the user's marks: pairs of item and note.
    #[must_use]
    pub fn with_marks(mut self, marks: Vec<(String, String)>) -> Diagnose {
        let safe = |text: String| clean(&text).into_owned();
        self.marked = marks
            .into_iter()
            .map(|(what, note)| Marked {
                what: safe(what),
                note: safe(note),
            })
            .collect();
        self
    }

    /// A report of a dump's diagnosis.
    pub fn of(engine: &Engine, d: &Diagnosis) -> Diagnose {
        Diagnose::new(d, Info::of(&engine.info()).machine(), pools(engine))
    }

    /// A report of the diagnosis of a table or a log; `source` describes the file as pairs of
    /// label and value.
    pub fn of_table(d: &Diagnosis, source: Vec<(&'static str, String)>) -> Diagnose {
        Diagnose::new(d, source, Vec::new())
    }

    fn new(
        d: &Diagnosis,
        machine: Vec<(&'static str, String)>,
        mut pools: Vec<String>,
    ) -> Diagnose {
        let pressure: Vec<PressureRecord> = d
            .pressure
            .iter()
            .flatten()
            .map(PressureRecord::of)
            .collect();
        if pools.is_empty() {
            pools = pressure.iter().map(|p| p.sentence.clone()).collect();
        }
        let [nonpaged, paged] = &d.top;
        Diagnose {
            verdict: d.verdict.word(),
            summary: safe(&d.summary),
            severity: d.severity.word(),
            exhausted_in_hours: d.exhausted_in_hours.map(|h| (h * 10.0).round() / 10.0),
            pressure,
            flags: d.flags.iter().map(|f| f.word()).collect(),
            findings: d.findings.iter().map(Record::of).collect(),
            more_findings: d.more_findings,
            top: TopRecords {
                nonpaged: nonpaged.iter().map(TopRecord::of).collect(),
                paged: paged.iter().map(TopRecord::of).collect(),
            },
            nearest: d.nearest.as_ref().map(|n| NearestRecord {
                tag: n.row.tag.to_string(),
                tag_hex: tag_hex(n.row.tag),
                pool: n.row.pool.map_or("unknown", Pool::word),
                points: n.score.points,
                sentence: safe(&n.sentence),
            }),
            lockstep: d.groups.iter().map(|g| safe(&g.sentence())).collect(),
            coverage: all(&d.coverage),
            unknowns: all(&d.unknowns),
            marked: Vec::new(),
            machine,
            pools,
            is_leak: d.verdict == Verdict::Leak,
        }
    }

    /// True if a stored JSON report has the verdict "leak".
    pub fn is_leak_in(json: &str) -> bool {
        let value: Option<serde_json::Value> = serde_json::from_str(json).ok();
        value.is_some_and(|v| v.get("verdict").and_then(|v| v.as_str()) == Some("leak"))
    }

    /// True if the verdict is "leak"; `--exit-code` depends on it.
    pub fn is_leak(&self) -> bool {
        self.is_leak
    }
}

impl PressureRecord {
    fn of(p: &Pressure) -> PressureRecord {
        PressureRecord {
            pool: p.pool.word(),
            bytes: p.used,
            limit: p.limit.word(),
            limit_bytes: p.of,
            share: p.share(),
            severity: p.severity.word(),
            sentence: p.sentence(),
        }
    }
}

impl TopRecord {
    fn of(top: &Top) -> TopRecord {
        let attribution = &top.attribution;
        TopRecord {
            tag: top.row.tag.to_string(),
            tag_hex: tag_hex(top.row.tag),
            bytes: top.row.bytes,
            outstanding: top.row.outstanding,
            share: top.share,
            owner: attribution.owner_words().map(|o| safe(&o)),
            allocator: attribution.allocator().map(safe),
            kind: top.kind.clone(),
            description: attribution.description.as_ref().map(|d| safe(&d.text)),
        }
    }
}

/// The use of the two pools according to `!vm`.
fn pools(engine: &Engine) -> Vec<String> {
    let vm = engine.vm();
    let bytes = |pages: u64| human(pages.saturating_mul(PAGE_SIZE));
    let line = |name: &str, pool: Pool, max: Option<u64>| {
        let state = engine.pool_use(pool, None);
        let used = state.used.as_ref();
        match (used, max) {
            (Some(used), Some(max)) if max > 0 => format!(
                "{name}: {} of {} ({:.1}% of its maximum), from the {}",
                human(used.bytes),
                bytes(max),
                used.bytes as f64 / max.saturating_mul(PAGE_SIZE) as f64 * 100.0,
                used.source.word()
            ),
            (Some(used), _) => format!(
                "{name}: {}, maximum unknown, from the {}",
                human(used.bytes),
                used.source.word()
            ),
            (None, _) => format!("{name}: use unknown"),
        }
    };
    let mut out = vec![
        line("NonPaged", Pool::Nonpaged, vm.nonpaged_max.pages),
        line("Paged", Pool::Paged, vm.paged_max.pages),
    ];
    let banners = vm.flags.iter().map(|f| f.banner());
    out.extend(banners.map(|b| b.replace('*', "").trim().to_owned()));
    out
}

impl Record {
    fn of(f: &Finding) -> Record {
        let attribution = &f.attribution;
        let owners = attribution.owners.ranked.iter().map(|o| OwnerRecord {
            module: safe(&o.module),
            confidence: o.certainty.word(),
            reasons: all(&o.reasons),
            identity: IdentityRecord::of(attribution.identity(&o.module)),
        });
        let rejected = attribution
            .owners
            .rejected
            .iter()
            .map(|(module, why)| Rejected {
                module: safe(module),
                reason: safe(why),
            });
        let signs = f.score.evidence.iter().map(|e| Sign {
            name: e.name,
            weight: e.weight(),
            direction: e.direction(),
            points: e.points,
            sentence: safe(&e.sentence),
        });
        let strongest = f.score.strongest();
        let chain = f.chain.as_ref().map(|c| ChainRecord {
            module: safe(&c.module),
            tags: c.links.iter().map(|l| l.tag.to_string()).collect(),
            bytes: c.bytes(),
            sentence: safe(&c.sentence()),
        });
        Record {
            tag: f.tag().to_string(),
            tag_hex: tag_hex(f.tag()),
            pool: f.row.pool.map_or("unknown", Pool::word),
            verdict: f.score.verdict.word(),
            points: f.score.points,
            bytes: f.row.bytes,
            outstanding: f.row.outstanding,
            allocs: f.row.allocs,
            frees: f.row.frees,
            share: f.share,
            rate_bytes_per_hour: f.bytes_per_hour.map(f64::round),
            description: attribution
                .description
                .as_ref()
                .map(|d| safe(&d.sentence())),
            reasons: strongest.iter().map(|e| safe(&e.sentence)).collect(),
            signs: signs.collect(),
            sizes: f.sizes.iter().take(SIZES).map(Size::of).collect(),
            exemplars: f.exemplars.iter().map(|va| json_address(*va)).collect(),
            allocator: attribution.allocator().map(safe),
            owners: owners.collect(),
            shared_by: all(&attribution.owners.shared_by),
            rejected: rejected.collect(),
            notes: all(&attribution.owners.notes),
            references: all(&f.places),
            searched: f.searched.clone(),
            contents: all(&f.contents),
            objects: all(&f.objects),
            lockstep: f.group.as_ref().map(|g| safe(&g.sentence())),
            chain,
            coverage: all(&f.coverage),
            what: f.guidance.map(|g| g.is.clone()),
            advice: advice(f),
            next: steps(f),
            owner: attribution.owner_words().map(|o| safe(&o)),
            strongest: strongest
                .iter()
                .take(3)
                .map(|e| format!("{}: {} ({})", e.name, safe(&e.sentence), e.weight()))
                .collect(),
        }
    }
}

impl Size {
    fn of(s: &crate::pool::index::SizeCount) -> Size {
        Size {
            size: s.size,
            count: s.count,
            bytes: s.bytes(),
        }
    }
}

/// The recommended action, one or two sentences.
fn advice(f: &Finding) -> String {
    let owners = &f.attribution.owners;
    let mut out = match owners.best() {
        Some(owner) if owner.module.eq_ignore_ascii_case("nt") => {
            "allocated by Windows; identify the requesting component".to_owned()
        }
        Some(owner) => format!(
            "check for an update of {0}, or contact its vendor and attach this report",
            safe(&owner.module)
        ),
        None if !owners.shared_by.is_empty() => format!(
            "the tag is shared by {}: examine the block contents to tell them apart",
            safe(&owners.shared_by.join(", "))
        ),
        None if is_of_table(f) && !owners.ranked.is_empty() => of_listed(owners),
        None if is_of_table(f) && f.tag().is_printable() => format!(
            "find the drivers that have the tag (findstr /m /c:\"{}\" %SystemRoot%\\System32\\drivers\\*.sys), or take a dump: a table does not show who allocates",
            f.tag()
        ),
        None => "examine the block contents to find the owner".to_owned(),
    };
    if let Some(guidance) = f.guidance {
        out += &format!(". {}. {}", capital(&guidance.large), capital(&guidance.ask));
    }
    out
}

/// What to do where a table has only the tag list's word for the owner.
fn of_listed(owners: &Owners) -> String {
    let modules: Vec<&str> = owners.ranked.iter().map(|o| o.module.as_str()).collect();
    match modules.as_slice() {
        ["nt"] => "Windows allocates with this tag on behalf of callers: take a dump, which shows \
            what holds the allocations; a table does not"
            .to_owned(),
        modules => format!(
            "the tag list names {0} as the owner: check for an update of {0}, and take a dump, \
            which shows what holds the allocations; a table does not",
            safe(&modules.join(", "))
        ),
    }
}

/// True for a finding in a table or a log, which has neither blocks nor images.
fn is_of_table(f: &Finding) -> bool {
    f.exemplars.is_empty() && f.searched.is_empty()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// The next debugger commands.
fn steps(f: &Finding) -> Vec<Step> {
    let mut out = Vec::new();
    if f.tag().is_printable() {
        let pool = match f.row.pool {
            Some(Pool::Nonpaged) => " -nonpaged",
            Some(Pool::Paged) => " -paged",
            None => "",
        };
        out.push(Step {
            command: format!("!poolfind \"{}\"{pool}", f.tag()),
            why: "all its blocks".into(),
        });
    }
    if let Some(owner) = f.attribution.owners.best() {
        out.push(Step {
            command: format!("lmvm {}", safe(&owner.module)),
            why: "its version and vendor".into(),
        });
    }
    if let Some(guidance) = f.guidance {
        for step in &guidance.next {
            // The guidance may already contain `lmvm` for the owner.
            let again = |s: &Step| s.command.eq_ignore_ascii_case(&step.command);
            if !out.iter().any(again) {
                out.push(Step {
                    command: step.command.clone(),
                    why: step.why.clone(),
                });
            }
        }
    }
    out
}

impl Answer for Diagnose {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write(&text::Plain, out)
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        self.write(&text::Markdown, out)
    }

    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv_writer(out);
        csv.write_record([
            "tag",
            "tag_hex",
            "pool",
            "verdict",
            "bytes",
            "share",
            "owner",
            "confidence",
        ])?;
        for f in &self.findings {
            let owner = f.owners.first();
            csv.write_record([
                cell(&f.tag),
                f.tag_hex.clone(),
                f.pool.into(),
                f.verdict.into(),
                f.bytes.map(|b| b.to_string()).unwrap_or_default(),
                f.share.map(|s| format!("{s:.4}")).unwrap_or_default(),
                cell(owner.map_or("", |o| &o.module)),
                owner.map_or("", |o| o.confidence).into(),
            ])?;
        }
        csv.flush()
    }
}
